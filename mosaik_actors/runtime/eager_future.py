"""A future whose waiter can go on at once, without another turn of the loop.

When a future of asyncio gets its result, who awaits it goes on with the next turn: the
loop asks the system whether anything else has happened first. Where what came over a
socket is for one task, and nothing else is left to do, that is a good part of a round
trip. `resume` runs the waiter here and now.

It is for who stands right above the loop, with nothing half done: the waiter may do
anything, and call anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any


class EagerFuture(asyncio.Future[None]):
    """A future that one task awaits."""

    _waiter: Callable[[Any], object] | None = None
    _context: Context | None = None

    def add_done_callback(
        self, fn: Callable[[Any], object], /, *, context: Context | None = None
    ) -> None:
        """Call this when it is done, as any future does, or from `resume`."""
        asyncio.Future.add_done_callback(self, fn, context=context)
        self._waiter, self._context = fn, context

    def resume(self) -> bool:
        """Be done, and let the waiter go on now. No task may be running.

        Returns:
            False when nobody goes on: it is done already, or was cancelled.
        """
        waiter, context = self._waiter, self._context
        if waiter is None or context is None:
            if is_new := not self.done():
                self.set_result(None)
            return is_new
        if not self.remove_done_callback(waiter):
            return False  # it is called already, or will be
        self.set_result(None)
        context.run(waiter, self)
        return True
