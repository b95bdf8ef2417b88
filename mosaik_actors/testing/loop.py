"""An event loop on virtual time: its clock jumps to the next timer.

`SimLoop` runs callbacks as asyncio does, in the same order, but it never waits:
when nothing is ready, the time becomes that of the next timer. Two minutes of
timeouts take as long as the code between them. Everything that asks the loop
follows: ``asyncio.sleep``, ``asyncio.timeout``, ``call_later``, the actors'
wake-ups, and the clocks that nodes are given.

There is nothing outside: no sockets, no threads, no signals. What asks for one
gets an error that says so, except functions for an executor, which run in
place: at once, or in the middle of the time that `set_delay` says they take.

Two ways of getting stuck raise instead of hanging:
    * `SimDeadlock`: something is awaited, and nothing is left to happen.
    * `SimLivelock`: callbacks go on and on while time stands still.

A callback may have an *owner*, for instance a simulated node: the value of a
context variable, which tasks, timers and callbacks inherit from what made
them. `pause` makes an owner stand still, as a stopped process does: what is its
own waits, timers that are due included, and happens in order on `resume`.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
import math
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, NoReturn, Self, TypeVar, TypeVarTuple, Unpack

from ..errors import MosaikError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TURNS_MAX_PER_INSTANT = 1_000_000
_CLOCK_RESOLUTION_S = 1e-9
_TIMERS_TO_SIFT_MIN = 100
_CANCELLED_SHARE_MAX = 0.5
# Millions of objects that stay: to look through the youngest of them more rarely costs less.
_GC_THRESHOLDS = (200_000, 20, 50)

_owner: ContextVar[Hashable] = ContextVar("owner", default=None)


def context_of(owner: Hashable) -> Context:
    """Return a context whose tasks, timers and callbacks belong to `owner`."""
    context = contextvars.copy_context()
    context.run(_owner.set, owner)
    return context


class SimDeadlock(MosaikError, RuntimeError):
    """Tasks wait, and neither a callback nor a timer is left that could wake them."""

    def __init__(self, waiting: list[str], now: float) -> None:
        super().__init__(waiting, now)
        self.waiting = waiting
        self.now = now

    def __str__(self) -> str:
        names = "; ".join(self.waiting)
        return f"at {self.now:.6f} s nothing is left to happen, but these wait: {names}"


class SimLivelock(MosaikError, RuntimeError):
    """The loop turned `TURNS_MAX_PER_INSTANT` times without time going on."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.now = now

    def __str__(self) -> str:
        return f"at {self.now:.6f} s callbacks go on for ever while time stands still"


class Job:
    """A function for an executor that takes its time: it runs halfway, its answer comes after.

    Attributes:
        future: Who waits for it.
    """

    def __init__(self, future: asyncio.Future[Any], function: Callable[[], Any]) -> None:
        self.future = future
        self._function: Callable[[], Any] | None = function
        self._result: Any = None
        self._error: Exception | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it has not run, nor been dropped."""
        return self._function is not None

    def run(self) -> None:
        """Run the function, once."""
        function, self._function = self._function, None
        if function is None:
            return
        try:
            self._result = function()
        except Exception as error:
            self._error = error

    def end(self) -> None:
        """Give the answer to who waits."""
        if self.future.done():
            return
        if self._error is not None:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(self._result)


class _Due(float):
    """When a timer is due: it compares as the timer does, without Python's help."""

    __slots__ = ("timer",)

    timer: Any

    def __new__(cls, when: float, timer: asyncio.TimerHandle) -> Self:
        self = super().__new__(cls, when)
        self.timer = timer
        return self


class SimLoop(asyncio.BaseEventLoop):
    """An event loop whose time is virtual. It begins at 0.

    Use `run` to run one coroutine to its end on a loop of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._turns = 0
        self._clock_resolution = _CLOCK_RESOLUTION_S
        self._held: dict[Hashable, list[asyncio.Handle]] = {}
        self._delays: dict[Hashable, float] = {}
        self._jobs: dict[Hashable, list[tuple[Job, list[asyncio.TimerHandle]]]] = {}
        # Debugging a loop means a stack trace per callback; simulations have millions of them.
        self.set_debug(False)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call `callback` at that time."""
        self._check_closed()  # type: ignore[attr-defined]
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._scheduled, _Due(when, timer))
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def pause(self, owner: Hashable) -> None:
        """Let nothing of an owner happen until `resume`. May be repeated."""
        self._held.setdefault(owner, [])

    def resume(self, owner: Hashable) -> None:
        """Let what became due for an owner meanwhile happen now, in order, then go on."""
        held = self._held.pop(owner, ())
        self._ready.extendleft(reversed(held))  # type: ignore[attr-defined]

    def set_delay(self, owner: Hashable, delay_s: float) -> None:
        """Let an owner's functions for an executor take so long from now on."""
        if delay_s:
            self._delays[owner] = delay_s
        else:
            self._delays.pop(owner, None)

    def drop_jobs(self, owner: Hashable) -> list[Job]:
        """Let an owner's jobs never end, and return those that have not run."""
        dropped = []
        for job, timers in self._jobs.pop(owner, ()):
            for timer in timers:
                timer.cancel()
            if job.is_waiting:
                dropped.append(job)
        return dropped

    def run_in_executor(
        self, executor: Any, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run `func` here and now, or at its time, so that no thread decides what comes first."""
        future: asyncio.Future[T] = self.create_future()
        owner = _owner.get()
        if self._delays and (delay_s := self._delays.get(owner, 0.0)):
            self._run_later(owner, delay_s, Job(future, lambda: func(*args)))
            return future
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _run_later(self, owner: Hashable, delay_s: float, job: Job) -> None:
        jobs = self._jobs.setdefault(owner, [])
        jobs[:] = [entry for entry in jobs if not entry[0].future.done()]
        timers = [self.call_later(delay_s / 2, job.run), self.call_later(delay_s, job.end)]
        jobs.append((job, timers))

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
        return sorted(f"{task.get_name()} in {_name_of(task.get_coro())}" for task in tasks)

    def _run_once(self) -> None:
        """Run what is ready; when nothing is, jump to the next timer first.

        The same steps as asyncio's own, without a selector to wait in.
        """
        self._sift_cancelled()
        ready: Any = self._ready  # type: ignore[attr-defined]
        scheduled: list[Any] = self._scheduled
        if ready or self._stopping:  # type: ignore[attr-defined]
            self._turns += 1
            if self._turns > TURNS_MAX_PER_INSTANT:
                raise SimLivelock(self._now)
        elif not scheduled:
            raise SimDeadlock(self._waiting(), self._now)
        if not ready and scheduled and scheduled[0] > self._now:
            self._now = float(scheduled[0])
            self._turns = 0
        # After weeks a float's steps are coarser than the resolution.
        end = max(self._now + _CLOCK_RESOLUTION_S, math.nextafter(self._now, math.inf))
        while scheduled and scheduled[0] < end:
            handle = heapq.heappop(scheduled).timer
            handle._scheduled = False
            ready.append(handle)
        held = self._held
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            if held and (owner := handle._context.get(_owner)) in held:
                held[owner].append(handle)
            else:
                handle._run()

    def _sift_cancelled(self) -> None:
        """Drop timers that were cancelled: those on top, or all when they are many."""
        scheduled: list[Any] = self._scheduled  # type: ignore[has-type]
        count = len(scheduled)
        if (
            count > _TIMERS_TO_SIFT_MIN
            and self._timer_cancelled_count > count * _CANCELLED_SHARE_MAX  # type: ignore[has-type]
        ):
            for due in scheduled:
                due.timer._scheduled = not due.timer._cancelled
            self._scheduled = [due for due in scheduled if not due.timer._cancelled]
            heapq.heapify(self._scheduled)
            self._timer_cancelled_count = 0
            return
        while scheduled and scheduled[0].timer._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled).timer._scheduled = False

    def _write_to_self(self) -> None:
        """Do nothing: nobody has to be woken."""

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise RuntimeError("a simulated event loop has no sockets, files, processes or signals")

    add_reader = _refuse  # type: ignore[assignment]
    add_writer = _refuse  # type: ignore[assignment]
    add_signal_handler = _refuse  # type: ignore[assignment]
    sock_recv = sock_sendall = sock_connect = sock_accept = _refuse
    _make_socket_transport = _make_datagram_transport = _refuse
    create_connection = create_server = create_datagram_endpoint = _refuse
    create_unix_connection = create_unix_server = getaddrinfo = getnameinfo = _refuse
    subprocess_exec = subprocess_shell = connect_read_pipe = connect_write_pipe = _refuse


def _name_of(coroutine: Any) -> str:
    return getattr(coroutine, "__qualname__", None) or repr(coroutine)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new `SimLoop`, cancel what it left, and return its result.

    Raises:
        Exception: What the coroutine raised, or why the simulation got stuck.
    """
    with _rare_collections(), asyncio.Runner(loop_factory=SimLoop) as runner:
        return runner.run(main)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let garbage be looked for more rarely in the block."""
    before = gc.get_threshold()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
