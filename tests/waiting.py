"""Waiting for what a test wants to become true, never for time to pass."""

import asyncio
from collections.abc import Callable

from mosaik_actors.testing import TIME_FACTOR


async def until(condition: Callable[[], object], timeout: float = 20.0) -> None:
    """Let the event loop run until `condition` holds; fail after `timeout` seconds."""
    async with asyncio.timeout(timeout * TIME_FACTOR):
        while not condition():  # noqa: ASYNC110  # the condition has no event to wait on
            await asyncio.sleep(0.001)
