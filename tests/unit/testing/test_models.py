"""What each model answers, one call at a time."""

from typing import Any

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.testing.history import Operation
from mosaik_actors.testing.models import (
    UNKNOWN,
    WHOLE,
    Counter,
    MapModel,
    Model,
    Queue,
    Register,
    SetModel,
)
from mosaik_actors.testing.values import Value

Steps = list[tuple[Operation, Value]]


def play(model: Model[Any], steps: Steps) -> None:
    state = model.initial()
    for operation, expected in steps:
        before = hash(state)
        left, told = model.apply(state, operation)
        assert told == expected, f"{operation} in {state!r}"
        assert hash(state) == before
        assert model.step(state, operation, expected) == (left,)
        assert model.step(state, operation, "something else") == ()
        assert model.step(state, operation, UNKNOWN) == (left,)
        state = left


def test_register() -> None:
    play(
        Register(0),
        [
            (Register.read(), 0),
            (Register.write("a"), None),
            (Register.compare_and_set("b", "c"), False),
            (Register.read(), "a"),
            (Register.compare_and_set("a", "c"), True),
            (Register.read(), "c"),
        ],
    )


def test_map() -> None:
    play(
        MapModel(),
        [
            (MapModel.get("x"), None),
            (MapModel.contains("x"), False),
            (MapModel.insert("x", 1), None),
            (MapModel.insert("y", 2), None),
            (MapModel.insert("x", 3), None),
            (MapModel.get("x"), 3),
            (MapModel.contains("x"), True),
            (MapModel.items(), frozenset([("x", 3), ("y", 2)])),
            (MapModel.size(), 2),
            (MapModel.pop("x"), 3),
            (MapModel.pop("x"), None),
            (MapModel.remove("x"), None),
            (MapModel.compare_and_set("x", 3, 4), False),
            (MapModel.compare_and_set("x", None, 4), True),
            (MapModel.compare_and_set("x", 4, None), True),
            (MapModel.contains("x"), False),
            (MapModel.clear(), None),
            (MapModel.size(), 0),
        ],
    )


def test_set() -> None:
    play(
        SetModel(),
        [
            (SetModel.contains(1), False),
            (SetModel.insert(1), None),
            (SetModel.insert(1), None),
            (SetModel.insert(2), None),
            (SetModel.size(), 2),
            (SetModel.remove(1), None),
            (SetModel.remove(1), None),
            (SetModel.members(), frozenset([2])),
            (SetModel.contains(2), True),
            (SetModel.clear(), None),
            (SetModel.contains(2), False),
        ],
    )


def test_counter() -> None:
    play(
        Counter(10),
        [
            (Counter.get(), 10),
            (Counter.increment(), None),
            (Counter.increment(-3), None),
            (Counter.increment_and_get(2), 10),
            (Counter.get(), 10),
        ],
    )


def test_queue() -> None:
    play(
        Queue(),
        [
            (Queue.take(), None),
            (Queue.put("a"), None),
            (Queue.put("b"), None),
            (Queue.size(), 2),
            (Queue.take(), "a"),
            (Queue.take(), "b"),
            (Queue.take(), None),
        ],
    )


@pytest.mark.parametrize(
    ("model", "operation", "key"),
    [
        (Register(), Register.read(), WHOLE),
        (Counter(), Counter.get(), WHOLE),
        (Queue(), Queue.take(), WHOLE),
        (MapModel(), MapModel.insert("x", 1), "x"),
        (MapModel(), MapModel.get(None), None),
        (MapModel(), MapModel.clear(), WHOLE),
        (SetModel(), SetModel.contains(1), 1),
        (SetModel(), SetModel.members(), WHOLE),
    ],
    # Not `str` of the model, which differs from process to process.
    ids=lambda value: type(value).__name__ if isinstance(value, Model) else str(value),
)
def test_calls_are_independent_by_key(model: Model[Any], operation: Operation, key: Value) -> None:
    assert model.partition(operation) == key


@pytest.mark.parametrize("model", [Register(), MapModel(), SetModel(), Counter(), Queue()])
@pytest.mark.parametrize(
    "operation", [Operation("jump"), Operation("write"), Operation("get", (1, 2, 3))], ids=str
)
def test_operation_that_does_not_exist_is_refused(model: Model[Any], operation: Operation) -> None:
    with pytest.raises(ConfigError, match="has no operation"):
        model.apply(model.initial(), operation)


def test_failed_comparison_only_reads_but_an_unknown_one_may_write() -> None:
    for model, operation in (
        (Register(), Register.compare_and_set(1, 2)),
        (MapModel(), MapModel.compare_and_set("x", 1, 2)),
    ):
        assert model.is_read_only(operation, False)
        assert not model.is_read_only(operation, True)
        assert not model.is_read_only(operation, UNKNOWN)
