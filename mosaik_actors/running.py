"""Running a program until it ends or is stopped, with an orderly close either way.

    async def main() -> None:
        async with Network("my-app") as net:
            ...

    if __name__ == "__main__":
        sys.exit(run(main))

`asyncio.run` turns Ctrl-C into a cancellation of the program, so that every
``async with`` is left in order. Here SIGTERM, which is what supervisors and
containers send, does the same, and so does SIGHUP, the closing of the terminal:
a node that is stopped says goodbye, hands over what it leads, and drains what it
accepted, instead of being missed by its peers until they give it up.

What users of well-behaved tools expect, and get:

    * The first signal cancels the program. A second one, of any kind but SIGHUP, ends the
      process at once, and so does `close_timeout`, for closes that hang.
    * A signal that the process was started to ignore stays ignored (``nohup``, and
      SIGINT for what a shell script runs in the background).
    * The exit code is 128 and the number of the signal, as shells report it.
      Systemd takes that for success with ``SuccessExitStatus=143``.

The handlers run in the main thread between two instructions of whatever is
running there, so they take no lock: they note the signal, have the loop cancel
the program, and start the watch with the one call that needs none.
"""

from __future__ import annotations

import _thread
import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from types import FrameType
from typing import Any

from .config import require_above, seconds

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # not every system has the last one
_HANGUP = getattr(signal, "SIGHUP", None)

Main = Callable[..., Coroutine[Any, Any, int | None]] | Coroutine[Any, Any, int | None]


def run(main: Main, *arguments: Any, close_timeout: float | timedelta = 15.0) -> int:
    """Run a program until it ends or a signal stops it; return the exit code.

    SIGINT, SIGTERM and SIGHUP cancel it, so that what it opened with ``async with``
    is closed. A second signal ends the process at once. Outside the main thread
    signals are left alone, as Python wants it.

    Args:
        main: A coroutine function, called with `arguments`; or a coroutine.
        arguments: What `main` is called with.
        close_timeout: Seconds that the close may take after a signal; then the
            process ends at once, with a line on stderr.

    Returns:
        What `main` returned, if that is a number; else 0, or after a signal 128 and
        its number: 130 for SIGINT, 143 for SIGTERM. Give it to `sys.exit`.

    Raises:
        RuntimeError: A loop runs in this thread already.
        Exception: Whatever `main` raises, also while it closes after a signal.
    """
    timeout_s = seconds(close_timeout)
    require_above("close_timeout", timeout_s)
    if asyncio._get_running_loop() is not None:
        if isinstance(main, Coroutine):
            main.close()
        raise RuntimeError("run() is for the whole program; inside of one, await the coroutine")
    stop = _Stop(timeout_s)
    try:
        with asyncio.Runner() as runner:
            return runner.run(_run(main, arguments, stop))
    finally:
        stop.restore()


async def _run(main: Main, arguments: tuple[Any, ...], stop: _Stop) -> int:
    task = asyncio.current_task()
    assert task is not None
    stop.catch(asyncio.get_running_loop(), task)
    result = None
    try:
        result = await (main if isinstance(main, Coroutine) else main(*arguments))
    except asyncio.CancelledError:
        if stop.number is None:
            raise
    if isinstance(result, int):
        return result
    return 0 if stop.number is None else 128 + stop.number


class _Stop:
    """What signals do to one program.

    Attributes:
        number: The signal that stopped it, None while none has.
    """

    def __init__(self, timeout_s: float) -> None:
        self.number: int | None = None
        self._timeout_s = timeout_s
        self._before: dict[int, Any] = {}
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[Any]

    def catch(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        """Let signals cancel `task` from now on, those that are not ignored."""
        self._loop, self._task = loop, task
        if threading.current_thread() is not threading.main_thread():
            return
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Give the signals back."""
        self._is_over = True
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.number is not None:
            if number == _HANGUP:
                return  # a terminal that closes may say so twice: itself, and its shell
            os._exit(128 + number)
        self.number = number
        # `threading` takes locks that this thread may be holding where it was interrupted.
        _thread.start_new_thread(self._watch, ())
        with suppress(RuntimeError):  # the loop is closed: the program has ended
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _watch(self) -> None:
        time.sleep(self._timeout_s)
        if not self._is_over and self.number is not None:
            name = signal.Signals(self.number).name
            text = f"{sys.argv[0]}: not closed {self._timeout_s:g} s after {name}; ending at once\n"
            # Not `print`: whoever hangs may hold the lock of the stream.
            os.write(2, text.encode(errors="replace"))
            os._exit(128 + self.number)
