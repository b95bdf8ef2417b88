"""Slow and obvious versions of what the checker does, and histories to try it on."""

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from typing import Any

from hypothesis import strategies as st

from mosaik_actors.testing.history import Call, History, Operation, Outcome
from mosaik_actors.testing.linearizability import Verdict
from mosaik_actors.testing.models import Counter, MapModel, Model, Queue, Register, SetModel
from mosaik_actors.testing.values import Value

AnyModel = Model[Any]

# Few keys and values: so that a wrong result is often a result that could have been.
OPERATIONS: dict[str, tuple[AnyModel, list[Operation]]] = {
    "register": (
        Register(0),
        [Register.read(), Register.write(1), Register.write(2), Register.compare_and_set(1, 2)],
    ),
    "map": (
        MapModel(),
        [
            MapModel.get("x"),
            MapModel.insert("x", 1),
            MapModel.insert("y", 1),
            MapModel.get("y"),
            MapModel.pop("x"),
            MapModel.compare_and_set("x", None, 2),
            MapModel.contains("y"),
            MapModel.remove("y"),
        ],
    ),
    "map of all keys": (
        MapModel(),
        [
            MapModel.insert("x", 1),
            MapModel.insert("y", 1),
            MapModel.remove("x"),
            MapModel.size(),
            MapModel.items(),
            MapModel.clear(),
        ],
    ),
    "set": (
        SetModel(),
        [SetModel.insert(1), SetModel.remove(1), SetModel.contains(1), SetModel.insert(2)],
    ),
    "set of all elements": (
        SetModel(),
        [
            SetModel.insert(1),
            SetModel.insert(2),
            SetModel.remove(1),
            SetModel.members(),
            SetModel.size(),
            SetModel.clear(),
        ],
    ),
    "counter": (
        Counter(),
        [Counter.get(), Counter.increment(), Counter.increment(2), Counter.increment_and_get()],
    ),
    "queue": (Queue(), [Queue.put(1), Queue.put(2), Queue.take(), Queue.take(), Queue.size()]),
}


def is_linearizable_by_brute_force(calls: Sequence[Call], model: AnyModel) -> bool:
    """Try every choice of unknown calls in every order."""
    definite = [call for call in calls if call.outcome is Outcome.OK]
    unknown = [call for call in calls if call.outcome is Outcome.UNKNOWN]
    return any(
        is_a_proof(order, model)
        for count in range(len(unknown) + 1)
        for chosen in combinations(unknown, count)
        for order in permutations([*definite, *chosen])
    )


def is_a_proof(order: Sequence[Call], model: AnyModel) -> bool:
    """Return whether an order keeps to real time and the model gives the same answers."""
    for place, call in enumerate(order):
        if any(later.precedes(call) for later in order[place + 1 :]):
            return False
    state = model.initial()
    for call in order:
        state, told = model.apply(state, call.operation)
        if call.outcome is Outcome.OK and told != call.result:
            return False
    return True


def assert_proven(verdict: Verdict, history: History, model: AnyModel) -> None:
    """Assert that the orders of a verdict prove that the history is linearizable."""
    assert all(is_a_proof(order, model) for order in verdict.orders)
    placed = sorted(call.call_id for order in verdict.orders for call in order)
    assert len(set(placed)) == len(placed), "a call was placed twice"
    definite = {call.call_id for call in history if call.outcome is Outcome.OK}
    assert definite <= set(placed), "an answered call was not placed"
    failed = {call.call_id for call in history if call.outcome is Outcome.FAILED}
    assert not failed & set(placed), "a call was placed that did not happen"


def results_of(operations: Sequence[Operation], model: AnyModel) -> dict[Operation, list[Value]]:
    """Return what each operation can return after up to three others."""
    states = {model.initial()}
    for _ in range(3):
        states |= {model.apply(state, each)[0] for state in states for each in operations}
    ordered = sorted(states, key=repr)
    return {
        each: list(dict.fromkeys(model.apply(state, each)[1] for state in ordered))
        for each in operations
    }


@st.composite
def arbitrary_histories(
    draw: st.DrawFn, kind: str, calls_max: int = 5, *, live: bool = False
) -> History:
    """Draw a history that may or may not be linearizable.

    A live one is recorded event by event, all at the same time.
    """
    model, operations = OPERATIONS[kind]
    results = results_of(operations, model)
    history = History()
    waiting = []
    for number in range(draw(st.integers(1, calls_max))):
        operation = draw(st.sampled_from(operations))
        result = draw(st.sampled_from(results[operation]))
        outcome = draw(st.sampled_from([Outcome.OK] * 4 + [Outcome.UNKNOWN, Outcome.FAILED]))
        if not live:
            began = draw(st.integers(0, 8))
            ended = began + draw(st.integers(0, 4))
            told = result if outcome is Outcome.OK else None
            history.add(f"c{number}", operation, began, ended, result=told, outcome=outcome)
            continue
        waiting.append((history.invoke(f"c{number}", operation, now=0.0), outcome, result))
        for _ in range(draw(st.integers(0, len(waiting)))):
            call_id, outcome, result = waiting.pop(draw(st.integers(0, len(waiting) - 1)))
            if outcome is Outcome.OK:
                history.respond(call_id, result, now=0.0)
            elif outcome is Outcome.FAILED:
                history.fail(call_id, now=0.0)
    return history


@st.composite
def correct_histories(draw: st.DrawFn, kind: str, calls_max: int = 30) -> History:
    """Draw what clients saw of a real object that one of them used at a time.

    Each call takes effect at a moment drawn from its interval; or, unknown to
    the client, long after it gave up, or never.
    """
    model, operations = OPERATIONS[kind]
    effects = []
    for number in range(draw(st.integers(1, calls_max))):
        began = draw(st.integers(0, 60))
        effect_at = began + draw(st.integers(0, 10))
        ended = effect_at + draw(st.integers(0, 10))
        operation = draw(st.sampled_from(operations))
        fate = draw(st.sampled_from(["ok"] * 6 + ["lost answer", "lost", "late", "failed"]))
        at = began + draw(st.integers(0, 60)) if fate == "late" else effect_at
        effects.append((at, number, operation, began, ended, fate))
    state = model.initial()
    history = History()
    for _, number, operation, began, ended, fate in sorted(effects):
        told: Value = None
        if fate in ("ok", "lost answer", "late"):
            state, told = model.apply(state, operation)
        client = f"c{number}"
        if fate == "ok":
            history.add(client, operation, began, ended, result=told)
        elif fate == "failed":
            history.add(client, operation, began, ended, outcome=Outcome.FAILED)
        else:
            history.add(client, operation, began)
    return history


def with_result(history: History, changed: Call, result: Value) -> History:
    """Return a copy of a history in which one call returned something else."""
    copy = History()
    for call in history:
        copy.add(
            call.client,
            call.operation,
            call.began_s,
            call.ended_s,
            result=result if call.call_id == changed.call_id else call.result,
            outcome=call.outcome,
        )
    return copy


def definite_calls(history: History) -> Iterator[Call]:
    """Yield the calls that were answered."""
    return (call for call in history if call.outcome is Outcome.OK)
