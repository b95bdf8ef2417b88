"""Running a coroutine that ends cleanly on every usual way to stop a process.

`asyncio.run` turns the first Ctrl-C into a cancellation, so that everything the
coroutine opened is closed in order. The same is done here for SIGTERM and for
SIGHUP, the closing of the terminal, which would otherwise end the process on
the spot and leave the terminal as a live display had set it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

INTERRUPTED = 128 + signal.SIGINT


def run_to_the_end(coroutine: Coroutine[Any, Any, int]) -> int:
    """Run `coroutine` and return its exit code, or 128 and the number of the signal.

    Raises:
        KeyboardInterrupt: Ctrl-C; the coroutine has been cancelled and is done.
    """
    return asyncio.run(_run(coroutine))


async def _run(coroutine: Coroutine[Any, Any, int]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    caught: list[int] = []

    def end(number: int) -> None:
        caught.append(number)
        task.cancel()

    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):
        if number is not None:
            with suppress(NotImplementedError):  # loops without Unix signals
                loop.add_signal_handler(number, end, number)
    try:
        return await coroutine
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]
