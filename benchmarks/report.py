"""What a benchmark reports: figures, each beside what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        name: What was measured.
        value: Our figure.
        unit: Its unit.
        baseline: The other side of the ratio, measured in the same run.
        baseline_name: What the other side is.
        bar: What the ratio (with a baseline) or the value (without) must reach.
        ok: Whether it does; None where there is no bar.
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    baseline_name: str = ""
    bar: float | None = None
    ok: bool | None = None


def print_table(rows: Iterable[Row], earlier: Mapping[str, float] = MappingProxyType({})) -> None:
    """Print figures as a table, one row each, with how each differs from `earlier` by name."""
    cells = [("measure", "ours", "baseline", "ratio", "bar", "", "earlier")]
    for row in rows:
        baseline = "" if row.baseline is None else f"{row.baseline:,.0f} {row.baseline_name}"
        ratio = "" if not row.baseline else f"{row.value / row.baseline:.2f}"
        bar = "" if row.bar is None else f"{row.bar:g}"
        verdict = "" if row.ok is None else ("ok" if row.ok else "MISSED")
        value = f"{row.value:,.0f} {row.unit}"
        cells.append((row.name, value, baseline, ratio, bar, verdict, _change(row, earlier)))
    widths = [max(len(line[column]) for line in cells) for column in range(7)]
    for line in cells:
        texts = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        print("  ".join(texts).rstrip())


def _change(row: Row, earlier: Mapping[str, float]) -> str:
    before = earlier.get(row.name)
    if not before:
        return ""
    now = row.value / row.baseline if row.baseline else row.value
    return f"{(now / before - 1) * 100:+.0f} %"
