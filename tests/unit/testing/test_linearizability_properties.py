"""The checker against a slow and obvious one, and against real objects."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.testing.history import History, Outcome
from mosaik_actors.testing.linearizability import Decision, check_linearizable
from mosaik_actors.testing.wing_gong import result_of

from .histories import (
    OPERATIONS,
    arbitrary_histories,
    assert_proven,
    correct_histories,
    definite_calls,
    is_linearizable_by_brute_force,
    results_of,
    with_result,
)

kinds = pytest.mark.parametrize("kind", OPERATIONS)


@kinds
@given(data=st.data())
@settings(deadline=None)
def test_real_objects_are_accepted(kind: str, data: st.DataObject) -> None:
    history = data.draw(correct_histories(kind))
    model, _ = OPERATIONS[kind]
    verdict = check_linearizable(history, model)
    assert verdict.ok, f"{verdict.reason}\n{history}"
    assert_proven(verdict, history, model)


@kinds
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_checker_agrees_with_brute_force(kind: str, data: st.DataObject) -> None:
    history = data.draw(arbitrary_histories(kind))
    assert_agrees(history, kind)


@kinds
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_checker_agrees_when_everything_happens_at_one_instant(
    kind: str, data: st.DataObject
) -> None:
    """The order of recording decides, as it must under a virtual clock."""
    assert_agrees(data.draw(arbitrary_histories(kind, live=True)), kind)


@kinds
@given(data=st.data())
@settings(deadline=None, max_examples=80)
def test_one_wrong_answer_is_found_when_brute_force_finds_it(
    kind: str, data: st.DataObject
) -> None:
    history = data.draw(correct_histories(kind, calls_max=5))
    model, operations = OPERATIONS[kind]
    answered = list(definite_calls(history))
    if not answered:
        return
    call = data.draw(st.sampled_from(answered))
    others = [each for each in results_of(operations, model)[call.operation] if each != call.result]
    if others:
        assert_agrees(with_result(history, call, data.draw(st.sampled_from(others))), kind)


@kinds
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_contradiction_stands_whatever_the_other_calls_did(kind: str, data: st.DataObject) -> None:
    history = data.draw(arbitrary_histories(kind))
    model, _ = OPERATIONS[kind]
    verdict = check_linearizable(history, model)
    if verdict.ok:
        return
    shown = {call.call_id for call in verdict.contradiction}
    loosened = [
        call if call.call_id in shown else replace(call, outcome=Outcome.UNKNOWN, result=None)
        for call in history
        if call.outcome is not Outcome.FAILED
        and (call.call_id in shown or not model.is_read_only(call.operation, result_of(call)))
    ]
    assert shown
    assert not is_linearizable_by_brute_force(loosened, model), f"{verdict.reason}\n{history}"


@kinds
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_read_only_calls_leave_every_state_alone(kind: str, data: st.DataObject) -> None:
    model, operations = OPERATIONS[kind]
    state = model.initial()
    for operation in data.draw(st.lists(st.sampled_from(operations), max_size=6)):
        state, _ = model.apply(state, operation)
    for operation in operations:
        left, told = model.apply(state, operation)
        if model.is_read_only(operation, told):
            assert left == state


@kinds
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_histories_survive_being_written_down(kind: str, data: st.DataObject) -> None:
    history = data.draw(arbitrary_histories(kind, live=data.draw(st.booleans())))
    assert History.from_json(history.to_json()) == history


def assert_agrees(history: History, kind: str) -> None:
    model, _ = OPERATIONS[kind]
    verdict = check_linearizable(history, model)
    expected = is_linearizable_by_brute_force(history.calls, model)
    assert verdict.decision is not Decision.UNDECIDED
    assert verdict.ok == expected, f"{verdict.reason}\n{history}"
    if verdict.ok:
        assert_proven(verdict, history, model)
