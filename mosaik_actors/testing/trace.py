"""What happened in a simulation, in order: for replays and for people.

Every delivery, fault, change of state and note is one line with its virtual
time. All lines go into one digest: two runs with the same seed and the same code have the same
digest, or something in them decides by what it was not given. The last lines
are kept for the timeline that a failing scenario shows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from blake3 import blake3

LINES_KEPT = 2000


@dataclass(frozen=True, slots=True)
class TraceLine:
    """One thing that happened.

    Attributes:
        at: When, in virtual seconds.
        kind: "fault", "node", "peer", "message" or "note".
        text: What.
    """

    at: float
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.at:12.6f}  {self.kind:<8} {self.text}"


class Trace:
    """The lines of one run."""

    def __init__(self, *, lines_kept: int = LINES_KEPT) -> None:
        self.line_count = 0
        self._hasher = blake3()
        self._kept: dict[str, deque[tuple[int, TraceLine]]] = {}
        self._lines_kept = lines_kept

    def add(self, at: float, kind: str, text: str) -> None:
        """Note that something happened at virtual time `at`."""
        self._hasher.update(f"{at!r} {kind} {text}\n".encode())
        kept = self._kept.get(kind)
        if kept is None:
            # Kept by kind, so that a flood of messages does not wash the faults away.
            kept = self._kept[kind] = deque(maxlen=self._lines_kept)
        kept.append((self.line_count, TraceLine(at, kind, text)))
        self.line_count += 1

    @property
    def digest(self) -> str:
        """The digest of all lines so far."""
        return self._hasher.hexdigest()

    def lines(self, *kinds: str) -> list[TraceLine]:
        """Return the lines that are still kept, of all kinds or of these, in order."""
        return [line for _, line in self._numbered(kinds or tuple(self._kept))]

    def timeline(self, line_count: int = 60) -> str:
        """Return the end of the trace as text.

        So many faults, nodes and notes, half as many peers that came and went,
        and half as many messages, all in the order in which they happened.
        """
        half = line_count // 2
        story = self._numbered(("fault", "node", "note"))[-line_count:]
        peers = self._numbered(("peer",))[-half:] if half else []
        messages = self._numbered(("message",))[-half:] if half else []
        return "\n".join(str(line) for _, line in sorted(story + peers + messages, key=_number))

    def _numbered(self, kinds: tuple[str, ...]) -> list[tuple[int, TraceLine]]:
        chosen = [numbered for kind in kinds for numbered in self._kept.get(kind, ())]
        return sorted(chosen, key=_number)


def _number(numbered: tuple[int, TraceLine]) -> int:
    return numbered[0]
