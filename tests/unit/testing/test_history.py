"""What a history records, refuses and writes down."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from mosaik_actors.errors import DecodeError, Full, Offline
from mosaik_actors.testing.history import Call, CallId, History, Operation, Outcome, timeline
from mosaik_actors.testing.values import HistoryError, freeze, show

READ = Operation("read")


def write(value: Any) -> Operation:
    return Operation("write", (value,))


class Ticks:
    """A clock that moves on by one second whenever it is read."""

    def __init__(self) -> None:
        self._ticks: Iterator[int] = iter(range(1_000))

    def __call__(self) -> float:
        return float(next(self._ticks))


# Recording.


def test_call_lies_between_its_two_times() -> None:
    history = History()
    token = history.invoke("alice", write(1), now=1.0)
    assert history.calls[0].outcome is Outcome.UNKNOWN
    assert history.calls[0].ended_s is None
    history.respond(token, "done", now=2.5)
    (call,) = history
    assert (call.client, call.operation) == ("alice", write(1))
    assert (call.began_s, call.ended_s) == (1.0, 2.5)
    assert (call.outcome, call.result) == (Outcome.OK, "done")


def test_call_that_was_given_up_may_still_be_answered() -> None:
    history = History()
    token = history.invoke("alice", READ, now=1.0)
    history.give_up(token, now=2.0)
    assert history.calls[0].outcome is Outcome.UNKNOWN
    assert history.calls[0].ended_s == 2.0
    history.respond(token, 5, now=3.0)
    assert (history.calls[0].outcome, history.calls[0].ended_s) == (Outcome.OK, 3.0)


def test_call_ends_once() -> None:
    history = History()
    token = history.invoke("alice", READ, now=1.0)
    history.fail(token, now=2.0)
    with pytest.raises(HistoryError, match=r"alice: read\(\) \(failed\) has ended already"):
        history.respond(token, 1, now=3.0)
    with pytest.raises(HistoryError, match="there is no call 7, the history has 1"):
        history.respond(CallId(7), 1, now=3.0)


def test_call_does_not_end_before_it_began() -> None:
    history = History()
    token = history.invoke("alice", READ, now=2.0)
    with pytest.raises(HistoryError, match=r"ends at 1\.0, before it began at 2\.0"):
        history.respond(token, 1, now=1.0)
    assert history.calls[0].outcome is Outcome.UNKNOWN


def test_order_of_recording_decides_between_equal_times() -> None:
    history = History()
    first = history.invoke("alice", READ, now=1.0)
    second = history.invoke("bob", READ, now=1.0)
    history.respond(first, now=1.0)
    third = history.invoke("carol", READ, now=1.0)
    history.respond(second, now=1.0)
    history.respond(third, now=1.0)
    one, two, three = history
    assert one.precedes(three)
    assert not one.precedes(two)
    assert not two.precedes(three)


def test_history_is_bounded() -> None:
    history = History(calls_max=1)
    history.invoke("alice", READ, now=0.0)
    with pytest.raises(Full) as refused:
        history.invoke("alice", write(3), now=1.0)
    assert refused.value.value == write(3)
    with pytest.raises(Full):
        history.add("alice", READ, 0, 1)
    assert len(history) == 1


# Values.


def test_lists_and_sets_are_frozen_on_the_way_in() -> None:
    told = [1, {2, 3}, b"x", (None, True, 0.5)]
    frozen = freeze(told)
    assert frozen == (1, frozenset([2, 3]), b"x", (None, True, 0.5))
    told.append(4)
    assert Operation("write", (["a"],)).args == (("a",),)  # type: ignore[arg-type]  # unhashable
    assert freeze(frozen) == frozen


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = (value,)
    return value


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1},
        object(),
        float("nan"),
        float("inf"),
        nested(17),
        "x" * 70_000,
        list(range(70_000)),
        ["x" * 40_000] * 2,
        1 << 10_000,
        [bytearray(b"x")],
    ],
    ids=lambda value: show(value)[:20],
)
def test_what_is_not_plain_and_small_is_refused(value: Any) -> None:
    history = History()
    token = history.invoke("alice", READ, now=0.0)
    with pytest.raises(HistoryError, match=r"plain value|has size"):
        history.respond(token, value, now=1.0)
    with pytest.raises(HistoryError):
        Operation("write", (value,))


@pytest.mark.parametrize("name", ["", "x" * 65, 7, None])
def test_names_are_checked(name: Any) -> None:
    with pytest.raises(HistoryError, match=r"operation is .*, expected a name"):
        Operation(name)
    with pytest.raises(HistoryError, match=r"client is .*, expected a name"):
        History().invoke(name, READ, now=0.0)
    with pytest.raises(HistoryError, match=r"client is .*, expected a name"):
        History().client(name, Ticks())


@pytest.mark.parametrize("now", [float("nan"), float("inf")])
def test_times_are_numbers(now: float) -> None:
    with pytest.raises(HistoryError, match="expected a finite number of seconds"):
        History().invoke("alice", READ, now=now)


def test_only_an_answered_call_has_a_result() -> None:
    with pytest.raises(HistoryError, match="was not answered"):
        History().add("alice", READ, 0, 1, result=3, outcome=Outcome.FAILED)
    with pytest.raises(HistoryError, match="ended ok but has no ended_s"):
        History().add("alice", READ, 0, outcome=Outcome.OK)


# Recording around code.


async def test_client_records_what_it_awaits() -> None:
    history = History()
    alice = history.client("alice", Ticks())

    async def cell(value: int) -> int:
        await asyncio.sleep(0)
        return value

    assert await alice.call(READ, cell(7)) == 7
    assert await alice.call(write(8), cell(1), result=lambda version: None) == 1
    with alice.calling(READ) as call:
        call.result = await cell(9)
    assert [(c.began_s, c.ended_s, c.outcome, c.result) for c in history] == [
        (0.0, 1.0, Outcome.OK, 7),
        (2.0, 3.0, Outcome.OK, None),
        (4.0, 5.0, Outcome.OK, 9),
    ]


async def test_exception_leaves_the_outcome_open_unless_it_proves_a_failure() -> None:
    history = History()
    alice = history.client("alice", Ticks(), fails=(Offline,))

    async def breaks(error: BaseException) -> None:
        raise error

    for error in (Offline(8), TimeoutError(), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            await alice.call(write(8), breaks(error))
    outcomes = [call.outcome for call in history]
    assert outcomes == [Outcome.FAILED, Outcome.UNKNOWN, Outcome.UNKNOWN]


async def test_cancelled_call_is_unknown() -> None:
    history = History()
    alice = history.client("alice", Ticks())
    forever: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(alice.call(write(1), forever))
    await asyncio.sleep(0)  # it begins
    assert len(history) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (history.calls[0].outcome, history.calls[0].ended_s) == (Outcome.UNKNOWN, 1.0)


async def test_result_that_cannot_be_kept_leaves_the_call_unknown() -> None:
    history = History()
    with pytest.raises(HistoryError), history.client("alice", Ticks()).calling(READ) as call:
        call.result = object()
    assert history.calls[0].outcome is Outcome.UNKNOWN


# Text.


def some_history() -> History:
    history = History()
    history.add("alice", write(("x", b"\x00", frozenset([2, 1]))), 0, 1.5)
    token = history.invoke("bob", READ, now=0.25)
    history.invoke("carol", write("\u00fc\n"), now=0.25)
    history.respond(token, [1, None], now=0.25)
    history.add("dave", READ, 1, 2, outcome=Outcome.FAILED)
    history.give_up(history.invoke("erin", write(2.5), now=1.0), now=3.0)
    return history


def test_history_is_kept_as_one_line_per_call() -> None:
    history = some_history()
    assert history.to_json().splitlines() == [
        '{"history": 1, "calls": [',
        '{"client": "alice", "call": ["write", ["x", {"bytes": "00"}, {"set": [1, 2]}]], '
        '"at": [0.0, 1.5], "outcome": "ok", "result": null},',
        '{"client": "bob", "call": ["read"], "at": [0.25, 0.25], "order": [1, 3], '
        '"outcome": "ok", "result": [1, null]},',
        '{"client": "carol", "call": ["write", "\\u00fc\\n"], "at": [0.25, null], '
        f'"order": [2, {2**53}], "outcome": "unknown"}},',
        '{"client": "dave", "call": ["read"], "at": [1.0, 2.0], "outcome": "failed"},',
        '{"client": "erin", "call": ["write", 2.5], "at": [1.0, 3.0], "order": [4, 5], '
        '"outcome": "unknown"}',
        "]}",
    ]
    assert History.from_json(history.to_json()) == history


def test_recording_goes_on_after_reading() -> None:
    """The order of what is recorded then comes after the order of what was read."""
    history = History.from_json(some_history().to_json())
    history.respond(history.invoke("bob", READ, now=0.25), now=0.25)
    assert history.calls[1].precedes(history.calls[-1])


GOOD = {"client": "a", "call": ["read"], "at": [0, 1], "outcome": "ok", "result": 1}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"client": 5}, "does not have the fields of a call"),
        ({"client": ""}, "client is ''"),
        ({"call": []}, "does not have the fields of a call"),
        ({"call": ["x" * 100]}, "operation is"),
        ({"call": ["write", {"a": 1}]}, "is neither"),
        ({"call": ["write", {"bytes": "0g"}]}, "non-hexadecimal"),
        ({"call": ["write", {"set": [1], "more": 1}]}, "is neither"),
        ({"at": [1]}, "does not have the fields of a call"),
        ({"at": [2, 1]}, "ends at 1"),
        ({"at": [0, True]}, "at 0, True, expected seconds"),
        ({"at": [10**400, None]}, "too large"),
        ({"order": [5, 1], "at": [1, 1]}, "ends at 1"),
        ({"order": [0, 2**60]}, "expected two numbers"),
        ({"order": "first"}, "expected two numbers"),
        ({"outcome": "maybe"}, "maybe"),
        ({"outcome": "failed"}, "was not answered"),
        ({"surprise": 1}, "does not have the fields of a call"),
        ({"result": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}, "nested deeper"),
    ],
    ids=str,
)
def test_wrong_call_is_refused_with_its_place(change: dict[str, Any], complaint: str) -> None:
    text = json.dumps({"history": 1, "calls": [GOOD, GOOD | change]})
    with pytest.raises(DecodeError, match=complaint) as refused:
        History.from_json(text)
    assert "call 1 of a history" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        '{"history": 2, "calls": []}',
        '{"history": 1, "calls": 5}',
        '{"history": true, "calls": []}',
        '{"history": 1, "calls": [' + "[" * 100_000,
        '{"history": 1, "calls": [' + "9" * 10_000 + "]}",
        '{"history": 1, "calls": [], "more": 1}',
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_history_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        History.from_json(text)


def test_infinite_numbers_are_refused_in_text_too() -> None:
    for number in ("1e999", "NaN", "Infinity"):
        text = json.dumps({"history": 1, "calls": [GOOD]}).replace(
            '"result": 1', f'"result": {number}'
        )
        with pytest.raises(DecodeError):
            History.from_json(text)


def test_text_with_too_many_calls_is_refused() -> None:
    text = json.dumps({"history": 1, "calls": [GOOD, GOOD]})
    assert len(History.from_json(text)) == 2
    with pytest.raises(DecodeError, match="2 calls, expected 1 at most"):
        History.from_json(text, calls_max=1)


def test_timeline_is_drawn_to_scale() -> None:
    history = History()
    history.add("a", write({2, 1}), 0, 1.5, result=["x", None])
    history.add("bob", READ, 0.25)
    history.add("c", READ, 1, 2, outcome=Outcome.FAILED)
    assert timeline(history, {CallId(1): "what?"}, bar_chars=12).splitlines() == [
        "a    write({1, 2})  -> ('x', None)  [0, 1.5]     |=======|",
        "bob  read()         -> ?            [0.25, ...]   |..........  what?",
        "c    read()         did not happen  [1, 2]            |=====|",
    ]
    assert str(history) == timeline(history)


def test_timeline_of_nothing_says_so() -> None:
    assert timeline([]) == "(no calls)"


def test_long_values_are_clipped_in_text() -> None:
    call = Call(CallId(0), "alice", write("x" * 500), 0.0)
    assert len(str(call)) < 100
    assert len(timeline([call])) < 160


def test_sets_are_shown_sorted() -> None:
    """So that a failing scenario prints the same text in every process."""
    assert show(frozenset(["b", "a", "c"])) == "{'a', 'b', 'c'}"
    assert show((frozenset([("k", 1)]),)) == "({('k', 1)},)"
