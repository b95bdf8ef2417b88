"""The timers of an actor: a message to itself, once or again and again.

A timer that is cancelled sends nothing more, not even what is in the mailbox already: what
waits there is the timer, which is asked again when its turn comes. A repeated one has one
message in the mailbox at most: an actor that is behind misses rounds instead of piling
them up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..config import require_above
from ..runtime.messaging.hooks import HookMessage


class Timer:
    """One timer; made by `MosaikActor.after` and `MosaikActor.every`."""

    __slots__ = (
        "_deliver",
        "_due",
        "_handle",
        "_has_fired",
        "_is_cancelled",
        "_is_waiting",
        "_loop",
        "_period_s",
        "message",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        delay_s: float,
        message: Any,
        deliver: Callable[[TimerFired], None],
        *,
        is_repeated: bool,
    ) -> None:
        if is_repeated:
            require_above("seconds", delay_s)
        self.message = message
        self._loop = loop
        self._deliver = deliver
        self._period_s = delay_s if is_repeated else None
        self._is_waiting = False
        self._is_cancelled = self._has_fired = False
        self._due = loop.time() + delay_s
        self._handle = loop.call_at(self._due, self._fire)

    @property
    def is_active(self) -> bool:
        """Whether a message is still to come."""
        return not self._is_cancelled and (self._period_s is not None or not self._has_fired)

    def cancel(self) -> None:
        """Send nothing more. May be repeated."""
        self._is_cancelled = True
        self._handle.cancel()

    def _fire(self) -> None:
        self._has_fired = True
        if not self._is_waiting:
            self._is_waiting = True
            self._deliver(TimerFired(self))
        if self._period_s is not None:
            behind = self._loop.time() - self._due
            self._due += self._period_s * (1 + max(0.0, behind) // self._period_s)
            self._handle = self._loop.call_at(self._due, self._fire)

    def take(self) -> bool:
        """Return whether the message is to be handled now that its turn has come."""
        self._is_waiting = False
        return not self._is_cancelled


class TimerFired(HookMessage):
    """To the actor itself: the time of a timer has come."""

    def __init__(self, timer: Timer) -> None:
        self.timer = timer
