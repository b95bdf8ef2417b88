"""A wall clock without excursions: what discovery dates entries with.

The machine's clock may jump, forth or back, and be put right a moment later. An
entry that was dated meanwhile would be refused by others, or would outlive the
mistake. So a jump is believed only when it has lasted `SETTLE_S`: until then
time goes on as the monotonic clock says. Small differences are followed at once.
"""

from __future__ import annotations

SETTLE_S = 10.0
_SLEW_S = 1.0  # differences below this are followed at once


class SteadyClock:
    """Turns readings of both clocks into wall-clock time that does not follow short jumps.

    Attributes:
        shift_s: The sum of the jumps that were followed, in seconds.
        due_at: When to read again because the wall clock has jumped, and it is not clear
            yet whether it means it; None for never.
    """

    def __init__(self) -> None:
        self.shift_s = 0.0
        self.due_at: float | None = None
        self._offset_s: float | None = None
        self._jumped: tuple[float, float] | None = None  # to which offset, and since when

    def read(self, wall: float, monotonic: float) -> tuple[float, float]:
        """Return the time to go by, and by how much it has just jumped, both in seconds."""
        now, jump_s = self._follow(wall, monotonic)
        self.shift_s += jump_s
        if self._jumped is None:
            self.due_at = None
        elif self.due_at is None:
            self.due_at = now + SETTLE_S
        return now, jump_s

    def _follow(self, wall: float, monotonic: float) -> tuple[float, float]:
        offset_s = wall - monotonic
        if self._offset_s is None or abs(offset_s - self._offset_s) < _SLEW_S:
            self._offset_s, self._jumped = offset_s, None
        elif self._jumped is None or abs(offset_s - self._jumped[0]) >= _SLEW_S:
            self._jumped = (offset_s, monotonic)
        elif monotonic >= self._jumped[1] + SETTLE_S:
            jump_s = offset_s - self._offset_s
            self._offset_s, self._jumped = offset_s, None
            return monotonic + offset_s, jump_s
        return monotonic + self._offset_s, 0.0
