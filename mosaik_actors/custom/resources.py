"""What an actor holds: handles, tasks and timers, all of which end with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, Protocol

from ..runtime.messaging.asking import handling_now
from .timers import Timer

logger = logging.getLogger(__name__)

Close = Callable[[], Coroutine[Any, Any, Any]]


class Closers(Protocol):
    """Who sees things through that end after their actor."""

    def see_through(self, closing: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine beside everything else, until the node closes."""


class Resources:
    """What one actor holds.

    Attributes:
        timers: The keyed timers.
        is_released: Whether it holds nothing any more, and takes nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._closers: list[tuple[Any, Close]] = []
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._timers: dict[Timer, None] = {}
        self._keyed: dict[Hashable, Timer] = {}
        self.is_released = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to wait for at the end."""
        return not self._closers and not self._tasks

    def keep(self, handle: Any, close: Close) -> None:
        """Close a handle when the actor ends."""
        self._closers.append((handle, close))

    def forget(self, handle: Any) -> None:
        """Leave a handle alone: it is closed, or somebody else's."""
        self._closers = [entry for entry in self._closers if entry[0] is not handle]

    # Timers.

    def put_timer(self, timer: Timer, key: Hashable | None) -> None:
        """Take a timer in; with a key it replaces the one that has it."""
        self._timers = {one: None for one in self._timers if one.is_active}
        self._timers[timer] = None
        if key is not None:
            self.cancel_timer(key)
            self._keyed[key] = timer

    def cancel_timer(self, key: Hashable) -> bool:
        """Cancel the timer of a key; return whether there was one."""
        timer = self._keyed.pop(key, None)
        if timer is None or not timer.is_active:
            return False
        timer.cancel()
        return True

    # Tasks.

    def start_task(
        self,
        work: Coroutine[Any, Any, Any],
        context: Context,
        on_failed: Callable[[BaseException], None],
        name: str,
    ) -> asyncio.Task[Any]:
        """Run a coroutine that ends with the actor."""
        context.run(handling_now.set, None)  # no handler waits for it
        task = self._loop.create_task(work, name=name, context=context)
        self._tasks[task] = None

        def done(task: asyncio.Task[Any]) -> None:
            self._tasks.pop(task, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                if self.is_released:
                    logger.warning("a task of an actor that has ended failed", exc_info=error)
                else:
                    on_failed(error)

        task.add_done_callback(done)
        return task

    # The end.

    def release(self, closers: Closers | None) -> None:
        """End all at once; what takes time to close is seen through by others."""
        self.is_released = True
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._keyed.clear()
        for task in list(self._tasks):
            task.cancel()
        if self._closers and closers is not None:
            closers.see_through(self._close_handles())

    async def close(self) -> None:
        """End all, and wait until it has ended."""
        self.release(None)
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks)
        await self._close_handles()

    async def _close_handles(self) -> None:
        while self._closers:
            handle, close = self._closers.pop()
            try:
                await close()
            except Exception:
                logger.exception("closing %r failed, with its actor", handle)
