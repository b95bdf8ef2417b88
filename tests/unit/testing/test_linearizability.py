"""Histories made by hand: what is accepted, what is rejected, and the reason shown."""

from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.testing import models
from mosaik_actors.testing.history import History, Operation, Outcome
from mosaik_actors.testing.linearizability import Decision, Verdict, check_linearizable
from mosaik_actors.testing.models import Counter, MapModel, Model, Queue, Register, SetModel
from mosaik_actors.testing.values import Value

from .histories import assert_proven

read, write = Register.read, Register.write
put, take = Queue.put, Queue.take


def rejected(history: History, model: Model[Any]) -> Verdict:
    verdict = check_linearizable(history, model)
    assert verdict.decision is Decision.VIOLATION
    assert not verdict.ok
    assert verdict.orders == ()
    return verdict


def accepted(history: History, model: Model[Any]) -> Verdict:
    verdict = check_linearizable(history, model)
    assert verdict.ok, verdict.reason
    assert verdict.contradiction == ()
    assert_proven(verdict, history, model)
    return verdict


# Rejected.


def test_stale_read_is_rejected_and_drawn() -> None:
    history = History()
    history.add("alice", write(1), 0, 1)
    history.add("alice", write(2), 2, 3)
    history.add("bob", read(), 4, 5, result=1)
    assert rejected(history, Register()).reason.splitlines() == [
        "not linearizable: bob: read() -> 1 fits nowhere",
        "the longest order places 2 of the 3 calls; "
        "these contradict each other, whatever the others did:",
        "",
        "alice  write(1)  -> None  [0, 1]  |======|                              placed 1",
        "alice  write(2)  -> None  [2, 3]               |=======|                placed 2",
        "bob    read()    -> 1     [4, 5]                             |=======|  fits nowhere",
        "",
        "what the state can be at that point, and what the call returns there:",
        "  2: 2, not 1",
    ]


def test_lost_update_is_rejected() -> None:
    """Two clients read 0 and both compare-and-set it, and both hear that it worked."""
    history = History()
    history.add("alice", read(), 0, 1, result=0)
    history.add("bob", read(), 0, 1, result=0)
    history.add("alice", Register.compare_and_set(0, 1), 2, 4, result=True)
    history.add("bob", Register.compare_and_set(0, 2), 3, 5, result=True)
    verdict = rejected(history, Register(0))
    assert "bob: compare_and_set(0, 2) -> True fits nowhere" in verdict.reason
    assert "  1: False, not True" in verdict.reason
    # The two reads have nothing to do with it.
    assert [str(call) for call in verdict.contradiction] == [
        "alice: compare_and_set(0, 1) -> True",
        "bob: compare_and_set(0, 2) -> True",
    ]


def test_lost_increment_is_rejected() -> None:
    history = History()
    history.add("alice", Counter.increment(), 0, 2)
    history.add("bob", Counter.increment(), 1, 3)
    history.add("carol", Counter.get(), 4, 5, result=1)
    assert "  2: 2, not 1" in rejected(history, Counter()).reason


def test_split_brain_is_rejected() -> None:
    """Each half of a network acknowledges a write, and each keeps reading its own."""
    history = History()
    history.add("alice", MapModel.insert("x", "left"), 0, 3)
    history.add("bob", MapModel.insert("x", "right"), 0, 3)
    history.add("alice", MapModel.get("x"), 4, 5, result="left")
    history.add("bob", MapModel.get("x"), 6, 7, result="right")
    history.add("carol", MapModel.insert("y", 1), 0, 9)
    verdict = rejected(history, MapModel())
    assert verdict.reason.startswith(
        "not linearizable at key 'x': bob: get('x') -> 'right' fits nowhere\n"
        "the longest order places 3 of the 4 calls at key 'x'"
    )
    assert "  {('x', 'left')}: 'left', not 'right'" in verdict.reason
    assert "carol" not in verdict.reason


def test_retried_increment_that_was_applied_twice_is_rejected() -> None:
    """The client sent it again after a leader change, and was answered once."""
    history = History()
    history.add("alice", Counter.increment(), 0, 5)
    history.add("alice", Counter.get(), 6, 7, result=2)
    verdict = rejected(history, Counter())
    assert "alice: get() -> 2 fits nowhere" in verdict.reason
    assert "  1: 1, not 2" in verdict.reason


def test_element_that_comes_out_twice_is_rejected() -> None:
    history = History()
    history.add("alice", put("job"), 0, 1)
    history.add("bob", take(), 2, 4, result="job")
    history.add("carol", take(), 3, 5, result="job")
    verdict = rejected(history, Queue())
    assert "carol: take() -> 'job' fits nowhere" in verdict.reason
    assert "  (): None, not 'job'" in verdict.reason


def test_queue_that_reorders_is_rejected() -> None:
    history = History()
    history.add("alice", put(1), 0, 1)
    history.add("alice", put(2), 2, 3)
    history.add("bob", take(), 4, 5, result=2)
    assert "  (1, 2): 1, not 2" in rejected(history, Queue()).reason


def test_read_that_goes_back_in_time_is_rejected() -> None:
    """While a write is on its way, one client sees it, and a later read does not."""
    history = History()
    history.add("alice", write(1), 0, 1)
    history.add("alice", write(2), 2, 20)
    history.add("bob", read(), 4, 5, result=2)
    history.add("carol", read(), 6, 7, result=1)
    verdict = rejected(history, Register())
    assert "carol: read() -> 1 fits nowhere" in verdict.reason
    assert "bob    read()    -> 2" in verdict.reason


def test_acknowledged_write_that_vanishes_is_rejected() -> None:
    history = History()
    history.add("alice", SetModel.insert("a"), 0, 1)
    history.add("bob", SetModel.contains("a"), 2, 3, result=False)
    assert "  {'a'}: True, not False" in rejected(history, SetModel()).reason


def test_effect_of_a_call_that_failed_is_rejected() -> None:
    history = History()
    history.add("alice", write(1), 0, 1, outcome=Outcome.FAILED)
    history.add("bob", read(), 2, 3, result=1)
    assert "  None: None, not 1" in rejected(history, Register()).reason


def test_unknown_call_cannot_take_effect_before_it_began() -> None:
    history = History()
    history.add("bob", read(), 0, 1, result=1)
    history.add("alice", write(1), 2)
    rejected(history, Register())


def test_unknown_call_cannot_take_effect_twice() -> None:
    history = History()
    history.add("alice", Counter.increment(), 0)
    history.add("bob", Counter.get(), 1, 2, result=2)
    rejected(history, Counter())


def test_number_of_elements_joins_the_keys() -> None:
    """No key alone shows it, only the size of the whole."""
    history = History()
    history.add("alice", SetModel.insert("a"), 0, 1)
    history.add("bob", SetModel.insert("b"), 0, 1)
    history.add("carol", SetModel.size(), 2, 3, result=1)
    verdict = rejected(history, SetModel())
    assert "at key" not in verdict.reason
    assert "  {'a', 'b'}: 2, not 1" in verdict.reason


def test_recorded_order_decides_at_one_instant() -> None:
    """Under a virtual clock, a write and the read after it may share a time."""
    history = History()
    first = history.invoke("alice", write(1), now=1.0)
    history.respond(first, now=1.0)
    second = history.invoke("bob", read(), now=1.0)
    history.respond(second, None, now=1.0)
    rejected(history, Register())


# Accepted.


def test_nothing_is_linearizable() -> None:
    accepted(History(), Register())


def test_overlapping_calls_take_effect_in_any_order() -> None:
    history = History()
    history.add("alice", write(1), 0, 10)
    history.add("bob", write(2), 0, 10)
    history.add("carol", read(), 1, 2, result=2)
    history.add("carol", read(), 3, 4, result=1)
    history.add("dave", read(), 1, 20, result=None)
    verdict = accepted(history, Register())
    assert [str(call) for call in verdict.orders[0]] == [
        "dave: read() -> None",
        "bob: write(2) -> None",
        "carol: read() -> 2",
        "alice: write(1) -> None",
        "carol: read() -> 1",
    ]


def test_calls_made_by_hand_that_touch_are_concurrent() -> None:
    history = History()
    history.add("alice", write(1), 0, 1)
    history.add("bob", read(), 1, 2, result=None)
    accepted(history, Register())


def test_unknown_call_turns_out_to_have_happened() -> None:
    history = History()
    history.add("alice", write(1), 0, 1)
    history.add("bob", write(2), 2, 3, outcome=Outcome.UNKNOWN)  # gave up at 3
    history.add("carol", read(), 10, 11, result=1)
    history.add("carol", read(), 12, 13, result=2)  # it took effect after all
    verdict = accepted(history, Register())
    assert "bob: write(2) (unknown)" in map(str, verdict.orders[0])


def test_unknown_call_turns_out_never_to_have_happened() -> None:
    history = History()
    history.add("alice", write(1), 0, 1)
    history.add("bob", write(2), 2)
    history.add("carol", read(), 10, 11, result=1)
    verdict = accepted(history, Register())
    assert [call.client for call in verdict.orders[0]] == ["alice", "carol"]


def test_failed_call_is_left_out() -> None:
    history = History()
    history.add("alice", write(1), 0, 1)
    history.add("bob", write(2), 2, 3, outcome=Outcome.FAILED)
    history.add("carol", read(), 4, 5, result=1)
    accepted(history, Register())


def test_keys_are_independent() -> None:
    history = History()
    for key in ("x", "y", "z"):
        history.add(f"writes {key}", MapModel.insert(key, 1), 0, 1)
        history.add(f"reads {key}", MapModel.get(key), 2, 3, result=1)
    verdict = accepted(history, MapModel())
    assert len(verdict.orders) == 3
    assert verdict.reason == "linearizable: 6 calls placed in 3 independent parts"


def test_long_history_needs_no_deep_stack() -> None:
    history = History()
    for number in range(20_000):
        history.add("alice", Counter.increment_and_get(), number, number + 0.5, result=number + 1)
    verdict = accepted_quickly(history, Counter())
    assert len(verdict.orders[0]) == 20_000


def accepted_quickly(history: History, model: Model[Any]) -> Verdict:
    """Check without proving again: the slow proof takes all pairs of calls."""
    verdict = check_linearizable(history, model)
    assert verdict.ok, verdict.reason
    return verdict


def test_many_unknown_calls_do_not_double_the_work() -> None:
    """Sixty lost increments have 2**60 subsets and 61 sums."""
    history = History()
    for number in range(60):
        history.add("alice", Counter.increment(), number)
        history.add("bob", Counter.get(), number, number + 1, result=number // 2)
    assert accepted_quickly(history, Counter()).steps < 50_000
    history.add("bob", Counter.get(), 70, 71, result=61)
    rejected(history, Counter())


def test_way_that_leaves_more_choices_is_not_skipped() -> None:
    """The search first spends the unknown write on the first 5, and then lacks it for the second.

    The other way to the first 5, bob before alice, arrives at the same state
    with the unknown write to spare.
    """
    history = History()
    history.add("alice", write(5), 0, 2)
    history.add("bob", write(6), 0, 3)
    history.add("erin", write(5), 0)
    history.add("carol", read(), 4, 5, result=5)
    history.add("carol", write(7), 6, 7)
    history.add("carol", read(), 8, 9, result=5)
    accepted(history, Register())


def test_ways_that_leave_different_choices_are_all_tried() -> None:
    """A sum of 2 can be 1 + 1 or 2, and the next sum tells which."""
    for remaining in (3, 4):
        history = History()
        history.add("alice", Counter.increment(2), 0)
        history.add("bob", Counter.increment(1), 1)
        history.add("bob", Counter.increment(1), 2)
        history.add("carol", Counter.get(), 3, 4, result=2)
        history.add("carol", Counter.get(), 5, 6, result=remaining)
        accepted(history, Counter())


# Undecided, and the limits.


def queue_with_a_long_backlog() -> History:
    """Puts that all overlap: their order shows only in the end, where it is wrong."""
    history = History()
    for number in range(12):
        history.add(f"c{number}", put(number), 0, 10)
    for number in range(10):
        history.add("c", take(), 20 + number, 20.5 + number, result=number)
    history.add("c", take(), 40, 41, result=0)
    return history


def test_search_that_is_too_long_is_undecided() -> None:
    verdict = check_linearizable(queue_with_a_long_backlog(), Queue(), steps_max=1_000)
    assert verdict.decision is Decision.UNDECIDED
    assert not verdict.ok
    assert verdict.steps < 1_100
    assert verdict.reason.startswith("undecided after 10")


def test_violation_at_one_key_is_found_beside_an_undecided_one() -> None:
    @dataclass(frozen=True)
    class NamedQueues(Model[tuple[Value, ...]]):
        def initial(self) -> tuple[Value, ...]:
            return ()

        def apply(
            self, state: tuple[Value, ...], operation: Operation
        ) -> tuple[tuple[Value, ...], Value]:
            return Queue().apply(state, Operation(operation.name, operation.args[1:]))

        def partition(self, operation: Operation) -> Value:
            return operation.args[0]

    history = History()
    for call in queue_with_a_long_backlog():
        named = Operation(call.operation.name, ("hard", *call.operation.args))
        history.add(call.client, named, call.began_s, call.ended_s, result=call.result)
    history.add("a", Operation("put", ("easy", 1)), 0, 1)
    undecided = check_linearizable(history, NamedQueues(), steps_max=1_000)
    assert undecided.decision is Decision.UNDECIDED
    assert "(keys 'hard')" in undecided.reason
    history.add("a", Operation("take", ("easy",)), 2, 3, result=2)
    verdict = check_linearizable(history, NamedQueues(), steps_max=1_000)
    assert verdict.decision is Decision.VIOLATION
    assert "at key 'easy'" in verdict.reason


def test_reason_of_a_long_violation_is_short() -> None:
    """A thousand calls of five clients, and one stale read near the end."""
    rng = Random(7)
    history = History()
    value = 0
    for number in range(1_000):
        client, at = f"c{number % 5}", float(number)
        if number == 950:
            history.add(client, read(), at, at + 0.5, result=value - 3)
        elif rng.random() < 0.5:
            value += 1
            history.add(client, write(value), at, at + 0.5)
        else:
            history.add(client, read(), at, at + 0.5, result=value)
    verdict = rejected(history, Register(0))
    assert len(verdict.contradiction) <= 3
    assert verdict.contradiction[-1].call_id == 950
    assert len(verdict.reason.splitlines()) < 12
    assert "whichever state the calls before them led to" in verdict.reason
    assert f"  {value_at(history, 950)}: " in verdict.reason


def test_reason_of_a_long_violation_does_not_rest_on_a_call_that_may_be_older() -> None:
    """A write that spans nearly everything may have happened before all that is shown."""
    history = History()
    history.add("slow", write("slow"), 0, 940)
    for number in range(1, 60):
        history.add("alice", write(number), number, number + 0.5)
    newest = history.add("alice", write("new"), 900, 930)
    stale = history.add("bob", read(), 950, 951, result=3)
    verdict = rejected(history, Register())
    assert [call.call_id for call in verdict.contradiction] == [newest, stale]


def value_at(history: History, call_id: int) -> Value:
    """Return what was written last before a call."""
    return [c.operation.args[0] for c in history.calls[:call_id] if c.operation.args][-1]


def test_reason_does_not_blame_a_call_whose_explanation_came_later() -> None:
    """The search is stuck at the second call; the element that carol takes is put in after that."""
    history = History()
    history.add("alice", put(1), 0, 0)
    history.add("bob", take(), 1, 1, result=None)
    history.add("carol", take(), 0, 2, result=2)
    history.add("alice", put(2), 2, 2)
    verdict = rejected(history, Queue())
    assert "bob: take() -> None fits nowhere" in verdict.reason
    assert [call.client for call in verdict.contradiction] == ["alice", "carol", "bob"]


def test_long_timeline_is_clipped() -> None:
    """Forty increments that all matter: the sum shows that one was applied twice."""
    history = History()
    for number in range(40):
        history.add("alice", Counter.increment(), number, number + 0.5)
    history.add("bob", Counter.get(), 50, 51, result=41)
    reason = rejected(history, Counter()).reason
    assert "(28 calls before these)" in reason
    assert "  40: 40, not 41" in reason
    assert len(reason.splitlines()) == 20


# Models of one's own.


def test_model_in_the_documentation_works() -> None:
    lines = (models.__doc__ or "").partition("::\n")[2].splitlines()
    block = [line for line in lines if not line or line.startswith("    ")]
    source = "\n".join(line[4:] for line in block).split("\n* ")[0]
    scope: dict[str, Any] = {"Model": Model, "Operation": Operation}
    exec(source, scope)
    model = scope["Locks"]()

    def lock(name: str, owner: str) -> Operation:
        return Operation("lock", (name, owner))

    history = History()
    history.add("a", lock("door", "a"), 0, 1, result=True)
    history.add("b", lock("window", "b"), 0, 1, result=True)
    history.add("b", lock("door", "b"), 2, 3, result=False)
    assert len(accepted(history, model).orders) == 2
    history.add("c", lock("door", "c"), 4, 5, result=True)
    assert "  'a': False, not True" in rejected(history, model).reason


class Bag(Model[frozenset[Value]]):
    """Taking gives any element: an operation with several answers, and so a step of its own."""

    def initial(self) -> frozenset[Value]:
        return frozenset()

    def step(
        self, state: frozenset[Value], operation: Operation, result: Value
    ) -> tuple[frozenset[Value], ...]:
        if operation.name == "put":
            return (state | {operation.args[0]},)
        if result is models.UNKNOWN:
            return tuple(state - {element} for element in sorted(state, key=repr))
        return (state - {result},) if result in state else ()


def test_model_may_have_several_answers() -> None:
    history = History()
    history.add("a", put(1), 0, 1)
    history.add("a", put(2), 2, 3)
    history.add("b", take(), 4)  # takes one of them, perhaps
    history.add("b", take(), 6, 7, result=2)
    assert check_linearizable(history, Bag()).ok
    history.add("c", take(), 8, 9, result=1)
    assert check_linearizable(history, Bag()).ok
    history.add("c", take(), 10, 11, result=1)
    reason = rejected(history, Bag()).reason
    assert "c: take() -> 1 fits nowhere" in reason
    assert "  {}: not 1" in reason


def test_model_without_such_an_operation_says_so() -> None:
    history = History()
    history.add("a", Operation("reed"), 0, 1)
    with pytest.raises(ConfigError, match=r"Register has no operation reed\(\)"):
        check_linearizable(history, Register())


def test_model_with_mutable_states_is_refused() -> None:
    class Lists(Model[Any]):
        def initial(self) -> Any:
            return []

    history = History()
    history.add("a", read(), 0, 1)
    with pytest.raises(ConfigError, match="Lists has a state without a hash"):
        check_linearizable(history, Lists())


def test_model_with_a_mutable_key_is_refused() -> None:
    class Keyed(Register):
        def partition(self, operation: Operation) -> Any:
            return [operation.name]

    history = History()
    history.add("a", read(), 0, 1)
    with pytest.raises(ConfigError, match="Keyed gives a key that has no hash"):
        check_linearizable(history, Keyed())
