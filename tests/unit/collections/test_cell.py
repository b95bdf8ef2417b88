"""Cell: one value, its compare-and-exchange, its snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.codec import EncodeError
from mosaik_actors.collections.cell import CellMachine, CellView, ValueWritten, Write
from mosaik_actors.collections.commands import ABSENT, Cleared, ContentsReplaced
from mosaik_actors.collections.map import MapMachine
from mosaik_actors.errors import DecodeError

from .replicas import apply, context, restore, travelled


class Leader(msgspec.Struct):
    name: str
    term: int


def make(value: Any = int) -> CellMachine[Any]:
    return CellMachine(value, store_id="leader")


def test_cell_reads_what_was_written_last() -> None:
    machine = make(Leader)
    view = machine.view
    assert view.is_empty()
    assert view.read() is None
    assert view.read("nobody") == "nobody"
    assert repr(view) == "CellView()"
    apply(machine, machine.write(Leader("a", 1)), machine.write(Leader("b", 2)))
    assert not view.is_empty()
    assert view.read() == view.get() == Leader("b", 2)
    assert repr(view) == "CellView(Leader(name='b', term=2))"
    apply(machine, machine.clear())
    assert view.is_empty()
    assert view.get() is None


def test_of_several_who_saw_the_same_value_one_wins() -> None:
    machine = make()
    apply(machine, machine.compare_exchange(None, 1), machine.compare_exchange(None, 2))
    assert machine.view.read() == 1
    apply(machine, machine.compare_exchange(1, 10), machine.compare_exchange(1, 20))
    assert machine.view.read() == 10
    apply(machine, machine.compare_exchange(10, ABSENT), machine.compare_exchange(10, 5))
    assert machine.view.is_empty()


def test_none_is_a_value_where_the_type_says_so() -> None:
    machine = make(int | None)
    apply(machine, machine.compare_exchange(None, 1))
    assert machine.view.is_empty()
    apply(machine, machine.compare_exchange(ABSENT, None))
    assert not machine.view.is_empty()
    assert machine.view.read(5) is None
    apply(machine, machine.compare_exchange(None, 1))
    assert machine.view.read() == 1


def test_changes_carry_the_position_of_their_command() -> None:
    machine = make()
    told: list[list[Any]] = []
    machine.on_change = told.append
    apply(machine, machine.clear(), machine.compare_exchange(5, 6), position=1)
    assert told == []
    apply(
        machine,
        machine.write(1),
        machine.compare_exchange(1, 2),
        machine.clear(),
        machine.compare_exchange(None, None),
        position=3,
    )
    assert told == [[ValueWritten(1, ABSENT, 3), ValueWritten(2, 1, 4), Cleared(5)]]
    restore(machine, list(make().snapshot()))
    assert told[1:] == [[ContentsReplaced()]]


def test_values_of_another_type_are_refused_where_they_are_written() -> None:
    machine = make()
    for make_command in (
        lambda: machine.write("1"),
        lambda: machine.write(None),
        lambda: machine.write(ABSENT),
        lambda: machine.compare_exchange("1", 1),
        lambda: machine.compare_exchange(1, "1"),
    ):
        with pytest.raises(EncodeError):
            make_command()


def test_untyped_value_keeps_its_types() -> None:
    machine, joined = make(object), make(object)
    value = {"a": (1, {2, 3}), "n": 1 << 80}
    apply(machine, machine.write(value), machine.compare_exchange(value, (value,)))
    restore(joined, list(machine.snapshot()))
    assert joined.view.read() == machine.view.read() == (value,)


def test_hostile_untyped_value_does_nothing() -> None:
    machine = make(object)
    apply(machine, Write(b"\x02\x91\xc1"), Write(b""))
    assert machine.view.is_empty()


def test_snapshot_shows_the_moment_when_it_was_taken() -> None:
    machine, joined = make(), make()
    apply(machine, machine.write(1))
    snapshot = machine.snapshot()
    apply(machine, machine.write(2))
    restore(joined, list(snapshot))
    assert joined.view.read() == 1
    restore(joined, list(make().snapshot()))
    assert joined.view.is_empty()


def test_large_value_has_a_part_for_itself() -> None:
    machine, joined = make(bytes), make(bytes)
    apply(machine, machine.write(b"x" * (1 << 20)))
    restore(joined, list(machine.snapshot()))
    assert joined.view.read() == b"x" * (1 << 20)
    with pytest.raises(EncodeError, match="at most"):
        machine.write(b"x" * 1_200_000)


def test_parts_that_are_no_snapshot_are_refused() -> None:
    machine = make()
    apply(machine, machine.write(1))
    good = list(machine.snapshot())
    text = make(str)
    apply(text, text.write("a"))
    several: MapMachine[int, int] = MapMachine(int, int, store_id="leader")
    apply(several, *several.extend({1: 1, 2: 2}))
    for parts in (
        [],
        good[:1],
        good[1:],
        [*good, good[1]],
        [good[0], b"\x91"],
        list(text.snapshot()),
        list(several.snapshot()),
        [b"\x92\x01\x02", good[1], good[1]],
    ):
        with pytest.raises(DecodeError):
            restore(machine, parts)
        assert machine.view.read() == 1


def test_signature_names_kind_store_and_type() -> None:
    signatures = [
        make().signature,
        make(str).signature,
        CellMachine(int, store_id="other").signature,
    ]
    assert make().signature == signatures[0]
    assert "Cell[int:" in signatures[0]
    assert len(dict.fromkeys(signatures)) == 3


VALUES = st.integers(0, 2)
MAYBE = st.none() | VALUES
STEPS = st.one_of(
    st.tuples(st.just("write"), VALUES),
    st.tuples(st.just("exchange"), MAYBE, MAYBE),
    st.tuples(st.just("clear")),
    st.tuples(st.just("join")),
)


@given(steps=st.lists(STEPS, max_size=40))
@settings(max_examples=150)
def test_cell_is_a_variable_whatever_happens(steps: list[tuple[Any, ...]]) -> None:
    model: int | None = None
    machine, other = make(), make()
    commands: list[Any] = []
    for step in steps:
        match step:
            case ("write", value):
                commands.append(machine.write(value))
                model = value
            case ("exchange", expected, new):
                commands.append(machine.compare_exchange(expected, new))
                model = new if model == expected else model
            case ("clear",):
                commands.append(machine.clear())
                model = None
            case _:
                parts: Iterator[bytes] = machine.snapshot()
                machine = make()
                restore(machine, list(parts))
                continue
        apply(machine, commands[-1])
        assert machine.view.read() == model
        assert machine.view.is_empty() == (model is None)
    other.apply_batch(travelled(other, commands), context(1))
    assert list(other.snapshot()) == list(machine.snapshot())


def test_view_shows_what_its_slot_shows() -> None:
    machine = make()
    view: CellView[int] = CellView(machine._slot)
    apply(machine, machine.write(1))
    assert view.read() == 1
