"""Timeouts that follow how late this process itself is.

Pure. ``now`` is monotonic time in seconds.

Who cannot keep up sees the answers of others late, gives up what would have come, begins it anew,
and is later still: where many nodes start on a small machine, none would ever meet. So a timeout
that is noticed late shows that others may have been too late for this side alone, and they get
several times as much more (local health, as in Dadgar, Phillips, Currey: Lifeguard, 2018), up to
`STRETCH_MAX` times the timeout in all. A timeout that is noticed in time is over.
"""

from __future__ import annotations

from typing import Final

STRETCH_MAX: Final = 8

_BUSY_S: Final = 0.05  # any loop is as late as this now and then
_TURNS: Final = 4  # a handshake takes a turn at each end to be asked for, given, and heard


def find_extension(due_at: float, *, began_at: float, timeout_s: float, now: float) -> float | None:
    """Return until when to wait on for what was due at `due_at`; None when its time is over.

    Args:
        due_at: When it would have been noticed by a process that is never late.
        began_at: When what is waited for began.
        timeout_s: How long it may take in a process that is never late.
        now: When it is noticed.
    """
    late_s, latest_at = now - due_at, began_at + STRETCH_MAX * timeout_s
    if late_s < _BUSY_S or now >= latest_at:
        return None
    return min(now + _TURNS * late_s, latest_at)


class Deadline:
    """When something has to be there: `timeout_s` after `began_at`, or later; see above."""

    __slots__ = ("_extended_to", "_timeout_s", "began_at")

    def __init__(self, timeout_s: float, *, now: float) -> None:
        self.began_at = now  # may be set anew
        self._timeout_s = timeout_s
        self._extended_to = now

    @property
    def due_at(self) -> float:
        """When to call `is_over`."""
        return max(self.began_at + self._timeout_s, self._extended_to)

    def is_over(self, *, now: float) -> bool:
        """Return whether the time is up. Where it is not, re-read `due_at`."""
        due_at, began_at, timeout_s = self.due_at, self.began_at, self._timeout_s
        if now < due_at:
            return False
        more = find_extension(due_at, began_at=began_at, timeout_s=timeout_s, now=now)
        self._extended_to = more or due_at
        return more is None
