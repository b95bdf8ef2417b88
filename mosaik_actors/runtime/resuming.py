"""Letting who awaits a future go on at once, without another turn of the loop.

When a future of asyncio gets its result, who awaits it goes on with the next turn: the
loop asks the system whether anything else has happened first. Where what came over a
socket is for one task, and nothing else is left to do, that is a good part of a round
trip. `resume` runs the waiter here and now.

It is for who stands right above the loop, with nothing half done: the waiter may do
anything, and call anybody.

Who awaits is read off the future, where asyncio's own `repr` reads it. A subclass that
notes it would take no more than public names, and twice the time of a wait: tasks know
asyncio's own class by heart.
"""

from __future__ import annotations

import asyncio
from typing import Any


def resume(future: asyncio.Future[Any]) -> bool:
    """Have a future be done, and let the task that awaits it go on now. No task may be running.

    Returns:
        False when nobody goes on for it: it is done already, or was cancelled.
    """
    callbacks = future._callbacks
    if not callbacks or len(callbacks) > 1:
        if is_new := not future.done():
            future.set_result(None)
        return is_new
    ((waiter, context),) = callbacks
    future.remove_done_callback(waiter)
    future.set_result(None)
    context.run(waiter, future)
    return True
