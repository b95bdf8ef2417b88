"""How late the event loop is: a timer twice a second, and how long after its moment it ran."""

from __future__ import annotations

import asyncio
from typing import Final

from .records import DELAY_BOUNDS_S, LoopStatus

INTERVAL_S: Final = 0.5


class LoopDelay:
    """Measures from its making until `close`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._counts = [0] * len(DELAY_BOUNDS_S)
        self._samples = 0
        self._sum_s = self._last_s = self._max_s = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle
        self._arm()

    def status(self) -> LoopStatus:
        """Return what was measured so far."""
        return LoopStatus(
            samples=self._samples,
            delay_sum_s=self._sum_s,
            delay_last_s=self._last_s,
            delay_max_s=self._max_s,
            delays=tuple(self._counts),
        )

    def close(self) -> None:
        """Measure no longer. May be repeated."""
        self._timer.cancel()

    def _arm(self) -> None:
        self._due = self._loop.time() + INTERVAL_S
        self._timer = self._loop.call_at(self._due, self._measure)

    def _measure(self) -> None:
        delay_s = self._last_s = max(0.0, self._loop.time() - self._due)
        self._samples += 1
        self._sum_s += delay_s
        self._max_s = max(self._max_s, delay_s)
        for index, bound in enumerate(DELAY_BOUNDS_S):
            self._counts[index] += delay_s <= bound
        self._arm()
