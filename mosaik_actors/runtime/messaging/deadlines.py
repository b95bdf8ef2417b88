"""When asks are over: a timer for all that end at about the same time, not one each.

Most asks are answered long before their time is over, and a timer of the loop costs more than
the rest of waiting does: a handle, a place in a heap, and another visit when it was cancelled.
Here an ask is put into the group of those that end within the same `GRAIN_S`. Only when that
time comes do those that still wait get timers of their own, so that each ends at its moment.

A group without asks has no timer: a node at rest has nothing to wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

GRAIN_S: Final = 0.5
LATEST_S: Final = 1e9  # of what is later nobody sees the end

Expire = Callable[[], None]


class QuestionDeadlines:
    """What to call when its time is over, unless it is discarded before.

    Args:
        loop: Where it runs, and whose clock is meant.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._groups: dict[int, dict[object, tuple[float, Expire]]] = {}
        self._group_timers: dict[int, asyncio.TimerHandle] = {}
        self._timers: dict[object, asyncio.TimerHandle] = {}

    def add(self, key: object, deadline: float, now: float, expire: Expire) -> int:
        """Call `expire` at `deadline`; return what `discard` needs beside the key.

        Args:
            key: What it is called for; in here once at most.
            deadline: When, on the loop's clock.
            now: What time it is.
            expire: What to call.
        """
        number = int(min(deadline, LATEST_S) / GRAIN_S)
        if number * GRAIN_S <= now:
            self._timers[key] = self._loop.call_at(deadline, self._expire, key, expire)
            return number
        group = self._groups.get(number)
        if group is None:
            group = self._groups[number] = {}
            self._group_timers[number] = self._loop.call_at(number * GRAIN_S, self._split, number)
        group[key] = (deadline, expire)
        return number

    def discard(self, key: object, number: int) -> None:
        """Call nothing any more for `key`, which `add` gave this number. May be repeated."""
        group = self._groups.get(number)
        if group is None:
            if (timer := self._timers.pop(key, None)) is not None:
                timer.cancel()
        elif group.pop(key, None) is not None and not group:
            del self._groups[number]
            self._group_timers.pop(number).cancel()

    def _split(self, number: int) -> None:
        """The time of a group has come: give a timer to each that is left."""
        del self._group_timers[number]
        for key, (deadline, expire) in self._groups.pop(number).items():
            self._timers[key] = self._loop.call_at(deadline, self._expire, key, expire)

    def _expire(self, key: object, expire: Expire) -> None:
        del self._timers[key]
        expire()
