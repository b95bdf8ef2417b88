"""Set: the reads and the algebra of a set, in the order of a dict, against both."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mosaik_actors.codec import EncodeError
from mosaik_actors.collections import insertion
from mosaik_actors.collections.commands import Cleared, ContentsReplaced, Extend
from mosaik_actors.collections.set import (
    MemberInserted,
    MemberRemoved,
    SetInsert,
    SetMachine,
    SetView,
)
from mosaik_actors.errors import ConfigError, DecodeError
from mosaik_actors.groups.sync.settings import SnapshotSync

from .replicas import apply, context, restore, travelled

SMALL_PARTS = SnapshotSync(fetch_batch_size=3)


def make(member: Any = int, **kwargs: Any) -> SetMachine[Any]:
    return SetMachine(member, store_id="members", **kwargs)


def filled(members: Iterable[Any], type_: Any = int) -> SetMachine[Any]:
    machine = make(type_)
    apply(machine, *machine.extend(members))
    return machine


class OtherSet(Set[Any]):
    """A set that is no set of Python's."""

    def __init__(self, members: Iterable[Any]) -> None:
        self._members = list(dict.fromkeys(members))

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def __iter__(self) -> Iterator[Any]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


# Reads.


def test_reads_are_those_of_a_set() -> None:
    view = filled([3, 1, 2, 1]).view
    assert isinstance(view, Set)
    assert list(view) == [3, 1, 2]
    assert len(view) == 3
    assert 1 in view
    assert 9 not in view
    assert bool(view)
    assert not make().view
    assert repr(view) == "SetView({3, 1, 2})"
    assert repr(make().view) == "SetView()"
    with pytest.raises(TypeError):
        hash(view)
    with pytest.raises(TypeError, match="unhashable"):
        _ = [] in view


MEMBERS = st.lists(st.integers(0, 5), max_size=6)
OPERATORS: list[Callable[[Any, Any], Any]] = [
    operator.and_,
    operator.or_,
    operator.sub,
    operator.xor,
    operator.le,
    operator.lt,
    operator.ge,
    operator.gt,
    operator.eq,
    operator.ne,
]


@pytest.mark.parametrize("kind", [set, frozenset, OtherSet, dict.fromkeys, filled])
@given(one=MEMBERS, other=MEMBERS)
@settings(max_examples=60)
def test_algebra_is_that_of_a_set(
    kind: Callable[[Iterable[int]], Any],
    one: list[int],
    other: list[int],
) -> None:
    view = filled(one).view
    operand = kind(other)
    operand = operand.view if isinstance(operand, SetMachine) else operand
    operand = operand.keys() if isinstance(operand, dict) else operand
    for apply_ in OPERATORS:
        assert apply_(view, operand) == apply_(set(one), set(other)), apply_
        assert apply_(operand, view) == apply_(set(other), set(one)), apply_
    assert view.isdisjoint(operand) == set(one).isdisjoint(other)
    assert view.is_subset(operand) == set(one).issubset(other)
    assert view.is_superset(operand) == set(one).issuperset(other)


def test_results_of_algebra_are_plain_sets() -> None:
    view = filled([1, 2]).view
    assert type(view & {1}) is set
    assert type({1} | view) is set


def test_other_types_are_no_sets() -> None:
    view = filled([1, 2]).view
    assert view != [1, 2]
    with pytest.raises(TypeError):
        _ = view <= [1, 2, 3]  # type: ignore[operator]
    assert view.is_subset([1, 2, 3])
    assert view.is_superset(iter([1]))
    assert not view.is_superset(iter([3]))


def test_iteration_notices_a_change_of_size() -> None:
    machine = filled([1, 2])
    iterator = iter(machine.view)
    next(iterator)
    apply(machine, machine.insert(3))
    with pytest.raises(RuntimeError, match="changed size"):
        next(iterator)


# Commands.


def test_members_stay_where_they_came_in() -> None:
    machine = filled([1, 2, 3])
    apply(machine, machine.insert(1), machine.remove(2), machine.insert(2), machine.remove(9))
    assert list(machine.view) == [1, 3, 2]


def test_changes_carry_the_position_of_their_command() -> None:
    machine = make()
    told: list[list[Any]] = []
    machine.on_change = told.append
    commands = [
        machine.insert(1),
        machine.insert(1),
        *machine.extend([1, 2, 2, 3]),
        machine.remove(9),
        machine.remove(2),
        machine.clear(),
        machine.clear(),
    ]
    apply(machine, *commands, position=7)
    assert told == [
        [
            MemberInserted(1, 7),
            MemberInserted(2, 9),
            MemberInserted(3, 9),
            MemberRemoved(2, 11),
            Cleared(12),
        ]
    ]
    restore(machine, list(filled([5]).snapshot()))
    assert told[1:] == [[ContentsReplaced()]]


def test_members_must_have_a_hash() -> None:
    with pytest.raises(ConfigError, match="a list has no hash"):
        make(list[int])
    for machine, member in ((make(), "a"), (make(object), []), (make(float), float("nan"))):
        for make_command in (machine.insert, machine.remove):
            with pytest.raises(EncodeError):
                make_command(member)
        with pytest.raises(EncodeError):
            machine.extend([member])


def test_members_may_be_sets_and_tuples() -> None:
    members = [frozenset("abc"), (1, (2, "x")), "text", 1 << 70]
    machine = filled(members, object)
    joined = make(object)
    restore(joined, list(machine.snapshot()))
    assert list(joined.view) == list(machine.view) == members
    assert list(joined.snapshot()) == list(machine.snapshot())


def test_signature_names_kind_store_and_type() -> None:
    signatures = [
        make().signature,
        make(str).signature,
        SetMachine(int, store_id="others").signature,
        make(sync=SMALL_PARTS).signature,
    ]
    assert make().signature == signatures[0]
    assert "Set[int:" in signatures[0]
    assert len(dict.fromkeys(signatures)) == 4


# What peers send.


@given(rows=st.binary(max_size=40))
def test_hostile_commands_do_nothing_or_insert(rows: bytes) -> None:
    machine = make(object)
    with suppress(DecodeError):  # and no leader takes it in
        apply(machine, Extend(rows))
    apply(machine, SetInsert(rows), machine.insert("a"))
    assert "a" in machine.view


@pytest.mark.parametrize(
    "spoil",
    [
        lambda parts: [],
        lambda parts: parts[:-1],
        lambda parts: [*parts, parts[-1]],
        lambda parts: [parts[0], parts[1], *parts[1:-1]],
        lambda parts: [*parts[:-1], parts[-1][:-1]],
        lambda parts: list(filled("abcdefg", str).snapshot()),
    ],
)
def test_parts_that_are_no_snapshot_are_refused(spoil: Any) -> None:
    source = make(sync=SMALL_PARTS)
    apply(source, *source.extend(range(7)))
    machine = filled([9])
    with pytest.raises(DecodeError):
        restore(machine, spoil(list(source.snapshot())))
    assert machine.view == {9}


# Against a model.

ITEMS = st.integers(0, 6)


class SetModel(RuleBasedStateMachine):
    """Two replicas, one of which applies in larger batches, and a dict for the order."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[int, None] = {}
        self.told: dict[int, None] = {}
        self.one = make(sync=SMALL_PARTS)
        self.one.on_change = self.take_changes
        self.other = make(sync=SMALL_PARTS)
        self.waiting: list[Any] = []
        self.version = 0
        self.snapshots: list[tuple[Iterator[bytes], list[bytes], list[int]]] = []

    def take_changes(self, changes: list[Any]) -> None:
        for change in changes:
            match change:
                case MemberInserted(member, self.version):
                    assert member not in self.told
                    self.told[member] = None
                case MemberRemoved(member, self.version):
                    del self.told[member]
                case Cleared(self.version):
                    self.told.clear()
                case ContentsReplaced():
                    self.told = dict.fromkeys(self.one.view)
                case _:
                    pytest.fail(f"{change} at {self.version}")

    def do(self, *commands: Any) -> None:
        for command in commands:
            self.version += 1
            apply(self.one, command, position=self.version)
            self.waiting.append(command)

    @rule(member=ITEMS)
    def insert(self, member: int) -> None:
        self.do(self.one.insert(member))
        self.model[member] = None

    @rule(members=st.lists(ITEMS, max_size=9))
    def extend(self, members: list[int]) -> None:
        self.do(*self.one.extend(members))
        self.model.update(dict.fromkeys(members))

    @rule(member=ITEMS)
    def remove(self, member: int) -> None:
        self.do(self.one.remove(member))
        self.model.pop(member, None)

    @rule(member=ITEMS, times=st.integers(1, 3))
    def come_and_go(self, member: int, times: int) -> None:
        for _ in range(times):
            self.insert(member)
            self.remove(member)
        self.insert(member)

    @rule()
    def clear(self) -> None:
        self.do(self.one.clear())
        self.model.clear()

    @rule()
    def look(self) -> None:
        self.snapshots.append((self.one.snapshot(), [], list(self.model)))

    @precondition(lambda self: self.snapshots)
    @rule(number=st.integers(0, 9))
    def read_on(self, number: int) -> None:
        parts, read, _ = self.snapshots[number % len(self.snapshots)]
        read += [part for part in [next(parts, None)] if part is not None]

    @precondition(lambda self: self.snapshots)
    @rule()
    def join(self) -> None:
        parts, read, expected = self.snapshots.pop()
        read += parts
        joined = make(sync=SMALL_PARTS)
        restore(joined, read)
        assert list(joined.view) == expected
        assert list(joined.snapshot()) == read

    @rule()
    def replace(self) -> None:
        restore(self.one, list(self.one.snapshot()))

    @rule()
    def catch_up(self) -> None:
        self.other.apply_batch(travelled(self.other, self.waiting), context(1))
        self.waiting.clear()
        assert list(self.other.snapshot()) == list(self.one.snapshot())

    @invariant()
    def is_the_model(self) -> None:
        assert list(self.one.view) == list(self.model) == list(self.told)
        assert self.one.view == set(self.model)

    def teardown(self) -> None:
        self.catch_up()


def test_set_is_a_set_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insertion, "CHUNK_MAX", 4)
    monkeypatch.setattr(insertion, "STALE_FREE", 6)
    run_state_machine_as_test(
        SetModel, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )


def test_view_shows_what_its_items_show() -> None:
    machine = filled([1])
    view: SetView[int] = SetView(machine._items)
    restore(machine, list(filled([2]).snapshot()))
    assert view == {2}
