"""An event loop on virtual time: its clock jumps to the next timer.

`SimLoop` runs callbacks as asyncio does, in the same order, but it never waits:
when nothing is ready, the time becomes that of the next timer. Two minutes of
timeouts take as long as the code between them. Everything that asks the loop
follows: ``asyncio.sleep``, ``asyncio.timeout``, ``call_later``, the actors'
wake-ups, and the clocks that nodes are given.

There is nothing outside: no sockets, no threads, no signals. What asks for one
gets an error that says so, except functions for an executor, which run in
place.

Two ways of getting stuck raise instead of hanging:
    * `SimDeadlock`: something is awaited, and nothing is left to happen.
    * `SimLivelock`: callbacks go on and on while time stands still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, NoReturn, TypeVar, TypeVarTuple, Unpack

from ..errors import MosaikError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TURNS_MAX_PER_INSTANT = 1_000_000
_CLOCK_RESOLUTION_S = 1e-9


class SimDeadlock(MosaikError, RuntimeError):
    """Tasks wait, and neither a callback nor a timer is left that could wake them."""

    def __init__(self, waiting: list[str], now: float) -> None:
        super().__init__(waiting, now)
        self.waiting = waiting
        self.now = now

    def __str__(self) -> str:
        return f"at {self.now:.6f} s nothing is left to happen, but these wait: " + "; ".join(
            self.waiting
        )


class SimLivelock(MosaikError, RuntimeError):
    """The loop turned `TURNS_MAX_PER_INSTANT` times without time going on."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.now = now

    def __str__(self) -> str:
        return f"at {self.now:.6f} s callbacks go on for ever while time stands still"


class _Jump:
    """Stands where asyncio has its selector: instead of waiting, it moves the clock."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.jump(timeout)
        return []


class SimLoop(asyncio.BaseEventLoop):
    """An event loop whose time is virtual. It begins at 0.

    Use `run` to run one coroutine to its end on a loop of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._turns = 0
        self._selector = _Jump(self)
        self._clock_resolution = _CLOCK_RESOLUTION_S
        # Debugging a loop means a stack trace per callback; simulations have millions of them.
        self.set_debug(False)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def jump(self, timeout: float | None) -> None:
        """Let time go on by `timeout` seconds, 0 when callbacks are ready.

        Raises:
            SimDeadlock: `timeout` is None: nothing is scheduled.
            SimLivelock: Time has stood still for too many turns.
        """
        if timeout is None:
            if self._stopping:  # type: ignore[attr-defined]
                return
            raise SimDeadlock(self._waiting(), self._now)
        if timeout > 0:
            self._now += timeout
            self._turns = 0
            return
        self._turns += 1
        if self._turns > TURNS_MAX_PER_INSTANT:
            raise SimLivelock(self._now)

    def run_in_executor(
        self, executor: Any, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run `func` here and now, so that no thread decides what comes first."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Do as `call_soon`: there are no other threads."""
        return self.call_soon(callback, *args, context=context)

    def _waiting(self) -> list[str]:
        tasks = [task for task in asyncio.all_tasks(self) if not task.done()]
        return sorted(f"{task.get_name()} in {task.get_coro().__qualname__}" for task in tasks)  # type: ignore[union-attr]

    def _process_events(self, event_list: list[Any]) -> None:
        """Do nothing: there is nothing outside."""

    def _write_to_self(self) -> None:
        """Do nothing: nobody has to be woken."""

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise RuntimeError("a simulated event loop has no sockets, files, processes or signals")

    add_reader = _refuse  # type: ignore[assignment]
    add_writer = _refuse  # type: ignore[assignment]
    add_signal_handler = _refuse  # type: ignore[assignment]
    sock_recv = sock_sendall = sock_connect = sock_accept = _refuse
    _make_socket_transport = _make_datagram_transport = _refuse
    subprocess_exec = subprocess_shell = connect_read_pipe = connect_write_pipe = _refuse


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new `SimLoop`, cancel what it left, and return its result.

    Raises:
        Exception: What the coroutine raised, or why the simulation got stuck.
    """
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        return runner.run(main)
