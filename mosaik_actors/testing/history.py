"""Histories: what clients asked, what they were told, and when.

A scenario records every call of its clients here; `check_linearizable` then
says whether one copy of the data, used by one client at a time, could have
given the same answers. A pure record: ``now`` is an argument in seconds, on
one clock for all clients of a history.

A call ends in one of three ways:

    * `respond`: it happened, between its two times, with this result.
    * `fail`: it certainly did not happen. The checker leaves it out.
    * neither, or `give_up`: nobody knows (a timeout, a crash, a lost answer).
      It may take effect at any time after it began, or never.

When in doubt a call is unknown. A false `fail` makes the checker accuse a
correct system; a false unknown only makes it more lenient.

Invariants:
    * Records are frozen; a value in one is None, a bool, an int, a finite
      float, a str, bytes, or a tuple or frozenset of these. Lists and sets are
      converted. So every history can be kept as text and used as a test.
    * Under a virtual clock many events share a time. What was recorded first
      happened first. Calls written down by hand with `add` have no such order,
      and those that touch at one instant count as concurrent.
    * Calls, and the size of each value, are bounded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NewType, TypeVar

from ..errors import DecodeError, Full
from .values import HistoryError, Value, check_name, clip, freeze, from_plain, show, to_plain

CALLS_MAX = 100_000
TEXT_CHARS_MAX = 64 * 1024 * 1024
ORDER_MAX = 2**53

_FORMAT = 1
_BAR_CHARS = 36

CallId = NewType("CallId", int)
T = TypeVar("T")


class Outcome(Enum):
    """How a call ended."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client asks for: a name and plain arguments, as ``write('x', 1)``."""

    name: str
    args: tuple[Value, ...] = ()

    def __post_init__(self) -> None:
        check_name("operation", self.name)
        object.__setattr__(self, "args", freeze(self.args))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(show(arg) for arg in self.args)})"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one client.

    Attributes:
        call_id: Its number in the history, from 0.
        client: Who called.
        operation: What was asked.
        began_s: When it was invoked.
        ended_s: When the client was told, or gave up; None while it waits.
        outcome: How it ended. A call that still waits is unknown.
        result: What the client was told; meaningful only when `outcome` is OK.
        began_order: Its place among the events of the same instant; 0 is
            before all of them.
        ended_order: The same for its end; `ORDER_MAX` is after all of them.
    """

    call_id: CallId
    client: str
    operation: Operation
    began_s: float
    ended_s: float | None = None
    outcome: Outcome = Outcome.UNKNOWN
    result: Value = None
    began_order: int = 0
    ended_order: int = ORDER_MAX

    def __post_init__(self) -> None:
        check_name("client", self.client)
        for name, at in (("began_s", self.began_s), ("ended_s", self.ended_s)):
            if at is not None and not math.isfinite(at):
                raise HistoryError(f"{name} is {at}, expected a finite number of seconds")
        object.__setattr__(self, "result", freeze(self.result))
        if self.result is not None and self.outcome is not Outcome.OK:
            raise HistoryError(f"{self} has a result, {show(self.result)}, but was not answered")
        if self.ended_s is None:
            if self.outcome is not Outcome.UNKNOWN:
                raise HistoryError(f"{self} ended {self.outcome.value} but has no ended_s")
        elif self.ended_key < self.began_key:
            raise HistoryError(f"{self} ends at {self.ended_s}, before it began at {self.began_s}")

    @property
    def began_key(self) -> tuple[float, int]:
        """What the beginnings of calls are ordered by."""
        return (self.began_s, self.began_order)

    @property
    def ended_key(self) -> tuple[float, int]:
        """What the ends of calls are ordered by; a call without an end is last."""
        return (math.inf if self.ended_s is None else self.ended_s, self.ended_order)

    def precedes(self, other: Call) -> bool:
        """Return whether this call was answered before `other` began."""
        return self.outcome is Outcome.OK and self.ended_key < other.began_key

    def __str__(self) -> str:
        answer = f"-> {show(self.result)}" if self.outcome is Outcome.OK else None
        return f"{self.client}: {self.operation} {answer or f'({self.outcome.value})'}"


class History:
    """The calls of all clients of one run, as this module's docstring describes.

    Args:
        calls_max: How many calls it holds; `invoke` raises `Full` beyond.
    """

    def __init__(self, *, calls_max: int = CALLS_MAX) -> None:
        self._calls_max = calls_max
        self._calls: list[Call] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self._calls == other._calls

    __hash__ = None  # type: ignore[assignment]  # it grows

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls, in the order in which they were recorded."""
        return tuple(self._calls)

    # Recording as it happens.

    def invoke(self, client: str, operation: Operation, *, now: float) -> CallId:
        """Record that a client calls; pass the id to `respond`, `fail` or `give_up`.

        A call that none of them is told about stays unknown. A client may have
        several calls waiting at once.

        Raises:
            Full: The history holds `calls_max` calls.
            HistoryError: A name or argument is not what a history can hold.
        """
        self._check_room(operation)
        call_id = CallId(len(self._calls))
        order = self._order + 1
        self._calls.append(Call(call_id, client, operation, float(now), began_order=order))
        self._order = order
        return call_id

    def respond(self, call_id: CallId, result: object = None, *, now: float) -> None:
        """Record an answer: the call happened, with this result.

        An answer to a call that was given up is welcome, however late.

        Raises:
            HistoryError: The call was answered already, began later than
                `now`, or the result is not a plain value.
        """
        self._end(call_id, Outcome.OK, freeze(result), now)

    def fail(self, call_id: CallId, *, now: float) -> None:
        """Record that the call certainly did not happen, and never will."""
        self._end(call_id, Outcome.FAILED, None, now)

    def give_up(self, call_id: CallId, *, now: float) -> None:
        """Record that the client stopped waiting; the call may still take effect at any time."""
        self._end(call_id, Outcome.UNKNOWN, None, now)

    def client(
        self,
        name: str,
        clock: Callable[[], float],
        *,
        fails: tuple[type[BaseException], ...] = (),
    ) -> RecordingClient:
        """Return a recorder for one client, which reads the time from `clock`.

        Args:
            name: The client's name in the history.
            clock: Returns the time in seconds, for instance ``loop.time``.
            fails: Exceptions that prove that a call did not happen. After any
                other one, cancellation included, the call is unknown.
        """
        return RecordingClient(self, name, clock, fails)

    # Writing one down, and keeping it.

    def add(
        self,
        client: str,
        operation: Operation,
        began_s: float,
        ended_s: float | None = None,
        *,
        result: object = None,
        outcome: Outcome | None = None,
    ) -> CallId:
        """Write down a whole call, for histories made by hand; any order will do.

        Without `outcome` a call that has an end is OK, one without is unknown.
        """
        self._check_room(operation)
        if outcome is None:
            outcome = Outcome.UNKNOWN if ended_s is None else Outcome.OK
        call_id = CallId(len(self._calls))
        end = None if ended_s is None else float(ended_s)
        value = freeze(result)
        self._calls.append(Call(call_id, client, operation, float(began_s), end, outcome, value))
        return call_id

    def to_json(self) -> str:
        """Return the history as JSON text, one call per line; `from_json` reads it."""
        lines = ",\n".join(json.dumps(_record_of(call)) for call in self._calls)
        return f'{{"history": {_FORMAT}, "calls": [\n{lines}\n]}}\n'

    @classmethod
    def from_json(cls, text: str, *, calls_max: int = CALLS_MAX) -> History:
        """Return the history that `to_json` wrote, or that was written by hand.

        The ``order`` of a call may be left out, as `add` does. Times are in
        seconds, ``null`` for a call that never ended.

        Raises:
            DecodeError: The text is not such a history, or too large.
        """
        history = cls(calls_max=calls_max)
        try:
            for record in _records_of(text, calls_max):
                history._calls.append(_call_of(record, CallId(len(history._calls))))
        except HistoryError as error:
            raise DecodeError(f"call {len(history)} of a history: {error}") from error
        orders = (o for c in history._calls for o in (c.began_order, c.ended_order))
        history._order = max((order for order in orders if order < ORDER_MAX), default=0)
        return history

    def __str__(self) -> str:
        return timeline(self._calls)

    # Helpers.

    def _check_room(self, operation: Operation) -> None:
        if len(self._calls) >= self._calls_max:
            raise Full(operation)

    def _end(self, call_id: CallId, outcome: Outcome, result: Value, now: float) -> None:
        if not 0 <= call_id < len(self._calls):
            raise HistoryError(f"there is no call {call_id}, the history has {len(self._calls)}")
        call = self._calls[call_id]
        if call.outcome is not Outcome.UNKNOWN:
            raise HistoryError(f"{call} has ended already")
        order = self._order + 1
        self._calls[call_id] = replace(
            call, outcome=outcome, result=result, ended_s=float(now), ended_order=order
        )
        self._order = order


class RecordingClient:
    """Records the calls of one client, around the code that makes them.

    Example::

        alice = history.client("alice", loop.time, fails=(Offline,))
        value = await alice.call(Register.read(), cell.get_strong())
        with alice.calling(Register.write(7)) as call:
            await cell.write(7)         # call.result stays None
    """

    def __init__(
        self,
        history: History,
        name: str,
        clock: Callable[[], float],
        fails: tuple[type[BaseException], ...],
    ) -> None:
        check_name("client", name)
        self.name = name
        self._history = history
        self._clock = clock
        self._fails = fails

    async def call(
        self,
        operation: Operation,
        answer: Awaitable[T],
        *,
        result: Callable[[T], object] = lambda told: told,
    ) -> T:
        """Await `answer` as one call and return what it returns.

        Args:
            operation: What the call asks for, in the words of the model.
            answer: The call itself; not started before this one is.
            result: Turns what came back into what the model speaks of, for
                instance ``lambda version: None`` for a write.
        """
        with self.calling(operation) as call:
            told = await answer
            call.result = result(told)
        return told

    @contextmanager
    def calling(self, operation: Operation) -> Iterator[PendingCall]:
        """Record the block as one call; set ``result`` on what it yields.

        Exceptions pass through, after the call was recorded as failed or unknown.
        """
        pending = PendingCall()
        call_id = self._history.invoke(self.name, operation, now=self._clock())
        try:
            yield pending
        except self._fails:
            self._history.fail(call_id, now=self._clock())
            raise
        except BaseException:
            self._history.give_up(call_id, now=self._clock())
            raise
        self._history.respond(call_id, pending.result, now=self._clock())


class PendingCall:
    """A call inside its block: set `result` to what the client was told."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: object = None


def timeline(
    calls: Iterable[Call], notes: Mapping[CallId, str] | None = None, *, bar_chars: int = _BAR_CHARS
) -> str:
    """Return calls as aligned text, one line each, with their intervals drawn to scale.

    Args:
        calls: What to show, in this order.
        notes: What to write at the end of a call's line, by call id.
        bar_chars: How wide the drawing is.
    """
    shown = list(calls)
    if not shown:
        return "(no calls)"
    first = min(call.began_s for call in shown)
    last = max(call.began_s if call.ended_s is None else call.ended_s for call in shown)
    rows = [
        (
            call.client,
            str(call.operation),
            _answer(call),
            f"[{call.began_s:g}, {_end_text(call)}]",
            _bar(call, first, last, bar_chars),
            (notes or {}).get(call.call_id, ""),
        )
        for call in shown
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


# Text.


def _answer(call: Call) -> str:
    if call.outcome is Outcome.OK:
        return f"-> {show(call.result)}"
    return "-> ?" if call.outcome is Outcome.UNKNOWN else "did not happen"


def _end_text(call: Call) -> str:
    # What is unknown may take effect long after the client gave up.
    return "..." if call.outcome is Outcome.UNKNOWN else f"{call.ended_s:g}"


def _bar(call: Call, first: float, last: float, bar_chars: int) -> str:
    span = (last - first) or 1.0
    left = int((call.began_s - first) / span * (bar_chars - 2))
    if call.outcome is Outcome.UNKNOWN:
        return " " * left + "|" + "." * (bar_chars - 1 - left)
    assert call.ended_s is not None  # only unknown calls have no end
    right = int((call.ended_s - first) / span * (bar_chars - 2)) + 1
    return (" " * left + "|" + "=" * (right - left - 1) + "|").ljust(bar_chars)


# Values and records.


def _record_of(call: Call) -> dict[str, Any]:
    record: dict[str, Any] = {
        "client": call.client,
        "call": [call.operation.name, *(to_plain(arg) for arg in call.operation.args)],
        "at": [call.began_s, call.ended_s],
    }
    if (call.began_order, call.ended_order) != (0, ORDER_MAX):
        record["order"] = [call.began_order, call.ended_order]
    record["outcome"] = call.outcome.value
    if call.outcome is Outcome.OK:
        record["result"] = to_plain(call.result)
    return record


def _records_of(text: str, calls_max: int) -> list[Any]:
    if len(text) > TEXT_CHARS_MAX:
        raise DecodeError(
            f"a history has {len(text)} characters, expected {TEXT_CHARS_MAX} at most"
        )
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from error
    match read:
        case {"history": version, "calls": list(records), **rest} if not rest and (
            version == _FORMAT and version is not True
        ):
            if len(records) > calls_max:
                raise DecodeError(f"{len(records)} calls, expected {calls_max} at most")
            return records
    raise DecodeError(f'expected {{"history": {_FORMAT}, "calls": [...]}}, got {clip(repr(read))}')


def _call_of(record: Any, call_id: CallId) -> Call:
    try:
        match record:
            case {
                "client": str(client),
                "call": [str(name), *args],
                "at": [int() | float() as began_s, int() | float() | None as ended_s],
                "outcome": str(outcome),
                **rest,
            } if rest.keys() <= {"order", "result"}:
                if isinstance(began_s, bool) or isinstance(ended_s, bool):
                    raise HistoryError(f"a call is at {began_s}, {ended_s}, expected seconds")
                began_order, ended_order = _orders_of(rest.get("order", [0, ORDER_MAX]))
                return Call(
                    call_id,
                    client,
                    Operation(name, tuple(freeze(from_plain(arg)) for arg in args)),
                    float(began_s),
                    None if ended_s is None else float(ended_s),
                    Outcome(outcome),
                    freeze(from_plain(rest.get("result"))),
                    began_order,
                    ended_order,
                )
    except (ValueError, OverflowError, TypeError) as error:
        raise HistoryError(str(error)) from error
    raise HistoryError(f"{clip(repr(record))} does not have the fields of a call")


def _orders_of(orders: Any) -> tuple[int, int]:
    match orders:
        case [int(began), int(ended)] if 0 <= began <= ORDER_MAX and 0 <= ended <= ORDER_MAX:
            return began, ended
    raise HistoryError(f"order is {clip(repr(orders))}, expected two numbers from 0 to {ORDER_MAX}")
