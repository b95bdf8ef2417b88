"""Once: the first write wins, on every member and after every snapshot."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.codec import EncodeError
from mosaik_actors.collections.cell import CellMachine, ValueWritten, Write
from mosaik_actors.collections.commands import ABSENT, ContentsReplaced
from mosaik_actors.collections.once import OnceMachine
from mosaik_actors.errors import DecodeError

from .replicas import apply, context, restore, travelled


def make(value: Any = str) -> OnceMachine[Any]:
    return OnceMachine(value, store_id="name")


def test_first_write_wins() -> None:
    machine = make()
    view = machine.view
    assert view.is_none()
    assert not view.is_some()
    assert view.read() is None
    assert repr(view) == "OnceView()"
    apply(machine, machine.write("a"), machine.write("b"))
    assert view.is_some()
    assert not view.is_none()
    assert view.read() == "a"
    assert repr(view) == "OnceView('a')"


def test_only_the_write_that_wins_is_told() -> None:
    machine = make()
    told: list[Any] = []
    machine.on_change = told.extend
    apply(machine, machine.write("a"), machine.write("b"), position=5)
    apply(machine, machine.write("c"), position=7)
    assert told == [ValueWritten("a", ABSENT, 5)]
    restore(machine, list(machine.snapshot()))
    assert told[1:] == [ContentsReplaced()]


def test_none_can_be_written_where_the_type_says_so() -> None:
    machine = make(str | None)
    apply(machine, machine.write(None), machine.write("late"))
    assert machine.view.is_some()
    assert machine.view.read() is None


def test_value_of_another_type_is_refused_where_it_is_written() -> None:
    with pytest.raises(EncodeError):
        make().write(1)


def test_hostile_write_leaves_the_place_free() -> None:
    machine = make(object)
    apply(machine, Write(b"\x02\x91\xc1"), machine.write(("a", 1)))
    assert machine.view.read() == ("a", 1)


@given(values=st.lists(st.text(max_size=3), max_size=6), joins_after=st.integers(0, 6))
def test_members_agree_on_the_first_whenever_they_join(values: list[str], joins_after: int) -> None:
    machine, other, joined = make(), make(), make()
    commands = [machine.write(value) for value in values]
    apply(machine, *commands[:joins_after])
    restore(joined, list(machine.snapshot()))
    for command in commands[joins_after:]:
        apply(machine, command)
        apply(joined, command)
    other.apply_batch(travelled(other, commands), context(1))
    assert machine.view.read() == (values[0] if values else None)
    parts = list(machine.snapshot())
    assert list(other.snapshot()) == list(joined.snapshot()) == parts


def test_parts_that_are_no_snapshot_are_refused() -> None:
    machine = make()
    apply(machine, machine.write("a"))
    numbers = make(int)
    apply(numbers, numbers.write(1))
    for parts in ([], list(machine.snapshot())[1:], list(numbers.snapshot())):
        with pytest.raises(DecodeError):
            restore(machine, parts)
        assert machine.view.read() == "a"


def test_once_and_cell_never_meet() -> None:
    cell: CellMachine[str] = CellMachine(str, store_id="name")
    assert cell.signature != make().signature
    assert "Once[str:" in make().signature
