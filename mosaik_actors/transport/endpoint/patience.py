"""Waiting for a peer for so long, or longer while this process is late itself (`late`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..late import find_extension


@asynccontextmanager
async def patience(timeout_s: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` after so many seconds, or as many more as `find_extension` gives."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    timer: asyncio.TimerHandle

    def look(due_at: float) -> None:
        nonlocal timer
        now = loop.time()
        more = find_extension(due_at, began_at=began_at, timeout_s=timeout_s, now=now)
        if more is None:
            scope.reschedule(now)
        else:
            timer = loop.call_at(more, look, more)

    due_at = began_at + timeout_s
    timer = loop.call_at(due_at, look, due_at)
    try:
        async with asyncio.timeout(None) as scope:
            yield
    finally:
        timer.cancel()
