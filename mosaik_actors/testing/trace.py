"""What happened in a simulation, in order: for replays and for people.

Every delivery, fault and note is one line with its virtual time. All lines go
into one digest: two runs with the same seed and the same code have the same
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
        kind: "fault", "node", "message" or "note".
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
        line = TraceLine(at, kind, text)
        self._hasher.update(f"{at!r} {kind} {text}\n".encode())
        # Kept by kind, so that a flood of messages does not wash the faults away.
        kept = self._kept.setdefault(kind, deque(maxlen=self._lines_kept))
        kept.append((self.line_count, line))
        self.line_count += 1

    @property
    def digest(self) -> str:
        """The digest of all lines so far."""
        return self._hasher.hexdigest()

    def lines(self, *kinds: str) -> list[TraceLine]:
        """Return the lines that are still kept, of all kinds or of these, in order."""
        chosen = [line for kind in (kinds or self._kept) for line in self._kept.get(kind, ())]
        return [line for _, line in sorted(chosen, key=lambda numbered: numbered[0])]

    def timeline(self, line_count: int = 60) -> str:
        """Return the end of the trace as text: every fault and note, and the last messages."""
        story = self.lines("fault", "node", "note")[-line_count:]
        since = self.lines("message")[-line_count // 2 :]
        lines = sorted(
            {id(line): line for line in story + since}.values(), key=lambda line: line.at
        )
        return "\n".join(map(str, lines))
