"""Timeouts that follow how late this process itself is.

Pure. ``now`` is monotonic time in seconds.

Who cannot keep up sees the answers of others late, gives up what would have come, begins it anew,
and is later still: where many nodes start on a small machine, none would ever meet. So a timeout
that is noticed late shows that others may have been too late for this side alone, and they get
several times as much more (local health, as in Dadgar, Phillips, Currey: Lifeguard, 2018), up to
`STRETCH_MAX` times the timeout in all. How late this process was is forgotten by halves: also one
that is always late notices something in time now and then. What is noticed in time by a process
that was not late is over.
"""

from __future__ import annotations

from typing import Final

STRETCH_MAX: Final = 8

_BUSY_S: Final = 0.05  # any loop is as late as this now and then
_TURNS: Final = 4  # a handshake takes a turn at each end to be asked for, given, and heard


class Deadline:
    """When something has to be there: `timeout_s` after `began_at`, or later.

    Attributes:
        began_at: When what is waited for began. May be set anew.
        extended_to: Until when it is waited for if that is longer. May be set.
    """

    __slots__ = ("_late_s", "_timeout_s", "began_at", "extended_to")

    def __init__(self, timeout_s: float, *, now: float) -> None:
        self.began_at = self.extended_to = now
        self._timeout_s = timeout_s
        self._late_s = 0.0

    @property
    def due_at(self) -> float:
        """When to call `is_over`."""
        return max(self.began_at + self._timeout_s, self.extended_to)

    def is_over(self, *, now: float, late_s: float | None = None) -> bool:
        """Return whether the time is up. Where it is not, re-read `due_at`.

        Args:
            now: When it is looked at.
            late_s: How late that is; None: since it was due.
        """
        due_at, latest_at = self.due_at, self.began_at + STRETCH_MAX * self._timeout_s
        if now < due_at:
            return False
        if late_s is None:
            late_s = now - due_at
        if due_at == self.extended_to:  # it was late when this was due before
            late_s = max(late_s, self._late_s / 2)
        if late_s < _BUSY_S or now >= latest_at:
            return True
        self._late_s = late_s
        self.extended_to = min(now + _TURNS * late_s, latest_at)
        return False
