"""Waiting for what a handle shows: `when()` of streams, groups and collections.

`When` makes `Wait` objects. All of them behave alike:

    * The first ``await`` returns at once if the condition holds. The next ones
      wait for it to *become* true: it must have been false since the last return,
      however briefly. So this makes one round per time that it comes true, and
      misses none::

          while True:
              await ready

    * It never returns, nor raises, before the loop has had a turn.
    * When what it waits at is closed, and the condition does not hold, it raises
      the error that is documented for the handle; and so it does when awaited once
      more. A predicate that raises concerns those who wait for it, and nobody else.
    * Cancelling a wait leaves nothing behind and takes nothing away: a return that
      was on its way is there for whoever awaits next.
    * Any number of tasks may await one `Wait`. Those who do at the same time are woken
      together; one that comes later waits for the next time.

A `Change` waits for a value to become another one than it was when the change was
made, and then than it returned last.

A `Wait` is a coroutine to asyncio, because `create_task` wants one (and with it
`gather`, `wait_for` and `TaskGroup`). But an ordinary coroutine is awaited once, and
by one task. Here each ``await``, and each task that is made of it, has a *run* of its
own, and `send` and `throw` go to that of the task which calls them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from .shared_state import Watched

T = TypeVar("T")

_Run = Coroutine[Any, Any, T]


class _Report:
    """That the condition holds, or what the value is now: what wakes those who wait."""

    __slots__ = ("is_delivered", "value")

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.is_delivered = False  # whether anybody has returned from their ``await`` with it


class Wait(Coroutine[Any, Any, T], Generic[T]):
    """Something to wait for: await it, over and over, or ask `is_met`; see above."""

    __slots__ = ("__weakref__", "_holds", "_report", "_runs", "_state", "_waiting")

    def __init__(self, state: Watched, holds: Callable[[], bool]) -> None:
        self._state = state
        self._holds = holds
        self._waiting: dict[asyncio.Future[_Report], None] = {}
        self._report: _Report | None = None  # of the present time of being true
        self._runs: WeakKeyDictionary[asyncio.Task[Any], _Run[T]] | None = None

    @property
    def is_met(self) -> bool:
        """Whether it holds at this moment."""
        return self._holds()

    def unmet(self) -> Wait[None]:
        """Return a wait for the opposite."""
        holds = self._holds
        return Wait(self._state, lambda: not holds())

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()

    def send(self, value: Any, /) -> Any:
        """Go on with the run of the present task; asyncio calls this."""
        return self._step(lambda run: run.send(value))

    def throw(self, error: Any, value: Any = None, trace: Any = None, /) -> Any:
        """Raise an error in the run of the present task; asyncio calls this."""
        if isinstance(error, type):
            error = value if isinstance(value, error) else error()
        return self._step(lambda run: run.throw(error))

    def close(self) -> None:
        """Do nothing: each run ends with its task, and others may go on."""

    def look(self) -> None:
        """Follow the condition, so that no time of being true, or false, is missed."""
        try:
            report = self._due_report()
        except Exception as error:
            self._fail(error)
            return
        if report is None:
            if self._waiting and self._state.is_closed:
                self._fail(self._state.ended())
        else:
            for future in self._taken():
                future.set_result(report)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._waiting)} tasks>"

    # What a `Change` does in another way.

    def _due_report(self) -> _Report | None:
        """Return what is to be reported now, if anything."""
        if not self._holds():
            self._report = None
            return None
        if self._report is None:
            self._report = _Report()
        return None if self._report.is_delivered else self._report

    def _deliver(self, report: _Report) -> T:
        """Note that somebody was notified of it, and return what ``await`` returns."""
        report.is_delivered = True
        return report.value  # type: ignore[no-any-return]  # None, and so is `T`

    # Helpers.

    async def _wait(self) -> T:
        future: asyncio.Future[_Report] = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        self._state.hold(self)
        try:
            self.look()
            if future.done():
                await asyncio.sleep(0)
            report = await future
        except BaseException:
            self._forget(future)
            raise
        return self._deliver(report)

    def _forget(self, future: asyncio.Future[_Report]) -> None:
        """Take in that nobody waits for a future, whether or not it has been woken."""
        if future in self._waiting:
            del self._waiting[future]
            if not self._waiting:
                self._state.release(self)
        if future.done() and not future.cancelled():
            future.exception()  # asyncio complains of errors that nobody took

    def _fail(self, error: Exception) -> None:
        if isinstance(error, StopIteration):  # which no future takes
            stopped = RuntimeError("a predicate raised StopIteration")
            stopped.__cause__ = error
            error = stopped
        for future in self._taken():
            future.set_exception(error)

    def _taken(self) -> list[asyncio.Future[_Report]]:
        """Return the futures of those who wait, who are woken now and wait no more."""
        if not self._waiting:
            return []
        taken = [future for future in self._waiting if not future.done()]
        self._waiting.clear()
        self._state.release(self)
        return taken

    def _step(self, step: Callable[[_Run[T]], Any]) -> Any:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a Wait is awaited by a task, not driven by hand")
        if self._runs is None:
            self._runs = WeakKeyDictionary()
        run = self._runs.get(task)
        if run is None:
            run = self._runs[task] = self._wait()
        try:
            return step(run)
        except BaseException:  # it has ended, also when it returns
            del self._runs[task]
            raise


class _Value(Generic[T]):
    """A value that is read anew each time, and what it was when it was seen last."""

    __slots__ = ("_accepts", "read", "seen")

    def __init__(self, read: Callable[[], T], accepts: Callable[[T, T], bool]) -> None:
        self.read = read
        self.seen = read()
        self._accepts = accepts

    def has_changed(self) -> bool:
        return self._accepts(self.seen, self.read())


class Change(Wait[T]):
    """Waits until a value is another one than it was; awaiting it returns the new value.

    Args:
        state: Where the value is shown.
        read: Reads it.
        accepts: Whether a value, given second, is one to return after the one seen last.
    """

    __slots__ = ("_value",)

    def __init__(
        self,
        state: Watched,
        read: Callable[[], T],
        accepts: Callable[[T, T], bool] = lambda old, new: old != new,
    ) -> None:
        self._value = _Value(read, accepts)
        super().__init__(state, self._value.has_changed)

    def _due_report(self) -> _Report | None:
        return _Report(self._value.read()) if self._holds() else None

    def _deliver(self, report: _Report) -> T:
        value: T = report.value
        self._value.seen = value
        return value


class When:
    """What a handle can be waited for. Each kind of handle adds what it has to show.

    Args:
        state: What the handle shows.
        is_online: Whether it is online, while it is not closed.
    """

    __slots__ = ("_online", "_state")

    def __init__(self, state: Watched, is_online: Callable[[], bool]) -> None:
        self._state = state
        self._online = is_online

    def online(self) -> Wait[None]:
        """Return a wait for the handle to be online."""
        return Wait(self._state, self._is_online)

    def offline(self) -> Wait[None]:
        """Return a wait for the handle not to be online."""
        return Wait(self._state, lambda: not self._is_online())

    def _is_online(self) -> bool:
        return not self._state.is_closed and self._online()
