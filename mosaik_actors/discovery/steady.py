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
    """Turns readings of both clocks into wall-clock time that does not follow short jumps."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._jumped: tuple[float, float] | None = None  # to which offset, and since when

    @property
    def is_unsettled(self) -> bool:
        """Whether the wall clock has jumped and it is not clear yet whether it means it."""
        return self._jumped is not None

    def read(self, wall: float, monotonic: float) -> tuple[float, float]:
        """Return the time to go by, and by how much it has just jumped, both in seconds."""
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
