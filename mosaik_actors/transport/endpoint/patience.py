"""Waiting for a peer for so long, or longer while this process is late itself (`late`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..late import Deadline


@asynccontextmanager
async def patience(timeout_s: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` after so many seconds, or later where `Deadline` gives more."""
    loop = asyncio.get_running_loop()
    deadline = Deadline(timeout_s, now=loop.time())
    timer: asyncio.TimerHandle

    def look() -> None:
        nonlocal timer
        now = max(loop.time(), timer.when())
        if deadline.is_over(now=now):
            scope.reschedule(now)
        else:
            timer = loop.call_at(deadline.due_at, look)

    timer = loop.call_at(deadline.due_at, look)
    try:
        async with asyncio.timeout(None) as scope:
            yield
    finally:
        timer.cancel()
