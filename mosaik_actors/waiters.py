"""A queue of those who wait for something, woken in the order they came.

Not bound to asyncio: whoever makes it says how futures are made. A waiter that
is cancelled after it was woken passes its turn on, so no wake-up gets lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar


class FutureLike(Awaitable[Any], Protocol):
    """What is needed of a future."""

    def done(self) -> bool:
        """Return whether it has a result or was cancelled."""

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""

    def set_result(self, result: Any, /) -> None:
        """Wake whoever awaits it."""


MakeFuture = Callable[[], FutureLike]

F = TypeVar("F", bound=FutureLike)


class Waiters(Generic[F]):
    """Coroutines that wait for one thing, first come, first woken.

    Attributes:
        waiting: Their futures.
    """

    __slots__ = ("_make_future", "waiting")

    def __init__(self, make_future: Callable[[], F]) -> None:
        self._make_future = make_future
        self.waiting: deque[F] = deque()

    def __bool__(self) -> bool:
        return bool(self.waiting)

    async def wait(self) -> None:
        """Wait until woken; then check again what was waited for. May be cancelled."""
        future = self.join()
        try:
            await future
        except BaseException:
            self.leave(future)
            raise

    def join(self) -> F:
        """Return a new waiter's future: await it, and `leave` if that raises."""
        future = self._make_future()
        self.waiting.append(future)
        return future

    def leave(self, future: F) -> None:
        """Forget a waiter whose wait was cancelled; its turn, if it had one, goes to the next."""
        if future.done() and not future.cancelled():
            self.wake(1)
        else:
            # A wake between the cancellation and this turn has taken it out already.
            with suppress(ValueError):
                self.waiting.remove(future)

    def wake(self, count: int) -> None:
        """Wake up to `count` waiters."""
        while count > 0 and self.waiting:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(None)
                count -= 1

    def wake_all(self) -> None:
        """Wake everybody."""
        self.wake(len(self.waiting))
