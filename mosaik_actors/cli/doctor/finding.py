"""One check's outcome: the verdict, what was found, and what to do about it.

A pure module. The verdicts, the worst last:

    skip   nothing was measured, and `found` says why
    ok     nothing to do
    warn   it works, and worse than it could; `advice` says what to do
    fail   something will not work; `advice` says what to do
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from textwrap import wrap

from ...peer_text import printable

_TEXT_COLUMNS = 76


class Judgement(StrEnum):
    """How a check came out."""

    SKIP = "skip"
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to.

    Attributes:
        check: What was checked, in a word or two.
        verdict: How it came out.
        found: What was measured, in one sentence.
        advice: What to do; empty where there is nothing to do.
    """

    check: str
    verdict: Judgement
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding with nothing to do."""
    return Finding(check, Judgement.OK, found)


def skip(check: str, why: str) -> Finding:
    """Return a finding of a check that was not made."""
    return Finding(check, Judgement.SKIP, why)


def warn(check: str, found: str, advice: str) -> Finding:
    """Return a finding of something that could be better."""
    return Finding(check, Judgement.WARN, found, advice)


def fail(check: str, found: str, advice: str) -> Finding:
    """Return a finding of something that will not work."""
    return Finding(check, Judgement.FAIL, found, advice)


def has_failed(findings: Sequence[Finding]) -> bool:
    """Return whether a check failed."""
    return any(one.verdict is Judgement.FAIL for one in findings)


def as_json(findings: Sequence[Finding]) -> str:
    """Return one JSON object: whether all is well, and all findings."""
    return json.dumps(
        {"ok": not has_failed(findings), "checks": [asdict(one) for one in findings]}, indent=2
    )


def as_table(findings: Sequence[Finding]) -> str:
    """Return a table for people, with what to do below each line, and a last line that counts."""
    width = max((len(one.check) for one in findings), default=0)
    indent = " " * (width + 8)
    lines = []
    for one in findings:
        # Names and reasons come from peers and the system: nothing in them steers the terminal.
        found = wrap(printable(one.found), _TEXT_COLUMNS) or [""]
        lines.append(f"{one.verdict:<4}  {one.check:<{width}}  {found[0]}".rstrip())
        lines += [indent + line for line in found[1:]]
        if one.advice:
            advice = wrap(f"-> {printable(one.advice)}", _TEXT_COLUMNS, subsequent_indent="   ")
            lines += [indent + line for line in advice]
    counts = {verdict: sum(one.verdict is verdict for one in findings) for verdict in Judgement}
    lines.append("")
    lines.append(
        f"{counts[Judgement.OK]} ok, {counts[Judgement.WARN]} to look at, "
        f"{counts[Judgement.FAIL]} failed, {counts[Judgement.SKIP]} not checked"
    )
    return "\n".join(lines)
