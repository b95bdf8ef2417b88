"""`PriorityQueue`, against a plain list that is sorted anew for each question."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
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
from mosaik_actors.collections import chunks, ranking
from mosaik_actors.collections.commands import ABSENT, Cleared, ContentsReplaced, Extend
from mosaik_actors.collections.priority_queue import PriorityQueueMachine
from mosaik_actors.collections.queue_records import (
    QueueCompareExchangeValue,
    QueueEvicted,
    QueueInsert,
    QueueInserted,
    QueueRemoved,
    QueueRemoveRange,
    QueueUpdatePriority,
)
from mosaik_actors.collections.ranking import Inclusive
from mosaik_actors.errors import ConfigError, DecodeError
from mosaik_actors.groups.sync.settings import SnapshotSync

from .logs import Log, Replica

PRIORITIES = st.integers(0, 6)
KEYS = st.sampled_from("abcdefghijklmnopqrst")
VALUES = st.integers(0, 3)
INCLUSIVE = st.sampled_from(["left", "right", "both", "neither"])
NAN = float("nan")

Item = tuple[Any, Any, Any]


def queue(
    items: Sequence[Item] = (), *types: Any, **options: Any
) -> Replica[PriorityQueueMachine[Any, Any, Any]]:
    machine: PriorityQueueMachine[Any, Any, Any]
    machine = PriorityQueueMachine(*(types or (int, str, int)), store_id="a queue", **options)
    replica = Replica(machine)
    if items:
        replica.execute(*machine.extend(items))
    return replica


class Oracle:
    """What a queue does, slowly and plainly: its items in the order in which they came.

    An item that gets another priority comes anew.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.items: list[Item] = []
        self.capacity = capacity

    def find(self, key: str) -> Item | None:
        return next((item for item in self.items if item[1] == key), None)

    def insert(self, priority: int, key: str, value: int) -> None:
        old = self.find(key)
        if old is not None and old[0] == priority:
            self.items[self.items.index(old)] = (priority, key, value)
            return
        if old is not None:
            self.items.remove(old)
        self.items.append((priority, key, value))
        if self.capacity is not None and len(self.items) > self.capacity:
            self.items.remove(self.descending()[-1])

    def remove(self, key: str) -> None:
        self.items = [item for item in self.items if item[1] != key]

    def ascending(self) -> list[Item]:
        return sorted(self.items, key=lambda item: item[0])

    def descending(self) -> list[Item]:
        return sorted(self.items, key=lambda item: item[0], reverse=True)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_MAX", 8)
    monkeypatch.setattr(chunks, "CHUNK_SMALL", 2)


# The whole, in random order.


class QueueModel(RuleBasedStateMachine):
    """Commands on three replicas and on the oracle; snapshots are read while more are applied."""

    capacity: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.log: Log[PriorityQueueMachine[int, str, int]] = Log(self.make)
        self.oracle = Oracle(self.capacity)
        self.snapshots: list[tuple[Iterator[bytes], list[bytes], list[Item]]] = []

    def make(self) -> PriorityQueueMachine[int, str, int]:
        sync = SnapshotSync(fetch_batch_size=3)
        return PriorityQueueMachine(
            int, str, int, store_id="a queue", sync=sync, capacity=self.capacity
        )

    @property
    def machine(self) -> PriorityQueueMachine[int, str, int]:
        return self.log.eager.machine

    @rule(priority=PRIORITIES, key=KEYS, value=VALUES)
    def insert(self, priority: int, key: str, value: int) -> None:
        self.log.execute(self.machine.insert(priority, key, value))
        self.oracle.insert(priority, key, value)

    @rule(items=st.lists(st.tuples(PRIORITIES, KEYS, VALUES), max_size=12))
    def extend(self, items: list[Item]) -> None:
        self.log.execute(*self.machine.extend(items))
        for item in items:
            self.oracle.insert(*item)

    @rule(priority=PRIORITIES, key=KEYS)
    def update_priority(self, priority: int, key: str) -> None:
        self.log.execute(self.machine.update_priority(key, priority))
        old = self.oracle.find(key)
        if old is not None:
            self.oracle.insert(priority, key, old[2])

    @rule(key=KEYS, value=VALUES)
    def update_value(self, key: str, value: int) -> None:
        self.log.execute(self.machine.update_value(key, value))
        old = self.oracle.find(key)
        if old is not None:
            self.oracle.insert(old[0], key, value)

    @rule(key=KEYS, expected=VALUES, new=st.none() | VALUES)
    def compare_exchange_value(self, key: str, expected: int, new: int | None) -> None:
        self.log.execute(self.machine.compare_exchange_value(key, expected, new))
        old = self.oracle.find(key)
        if old is not None and old[2] == expected:
            if new is None:
                self.oracle.remove(key)
            else:
                self.oracle.insert(old[0], key, new)

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        self.log.execute(self.machine.remove(key))
        self.oracle.remove(key)

    @rule(low=st.none() | PRIORITIES, high=st.none() | PRIORITIES, inclusive=INCLUSIVE)
    def remove_range(self, low: int | None, high: int | None, inclusive: Inclusive) -> None:
        self.log.execute(self.machine.remove_range(low, high, inclusive))

        def is_within(priority: int) -> bool:
            above = low is None or low < priority
            above |= low == priority and inclusive in ("left", "both")
            below = high is None or priority < high
            below |= high == priority and inclusive in ("right", "both")
            return above and below

        self.oracle.items = [item for item in self.oracle.items if not is_within(item[0])]

    @precondition(lambda self: len(self.oracle.items) > 4)
    @rule()
    def clear(self) -> None:
        self.log.execute(self.machine.clear())
        self.oracle.items.clear()

    @rule()
    def start_snapshot(self) -> None:
        parts = iter(self.machine.snapshot())
        self.snapshots.append((parts, [], self.oracle.descending()))

    @rule(which=st.integers(0, 5), count=st.integers(1, 4))
    def read_snapshot(self, which: int, count: int) -> None:
        for parts, read, _ in self.snapshots[which : which + 1]:
            read.extend(itertools.islice(parts, count))

    @rule(which=st.integers(0, 5))
    def drop_snapshot(self, which: int) -> None:
        del self.snapshots[which : which + 1]

    @rule(which=st.integers(0, 5))
    def finish_snapshot(self, which: int) -> None:
        for parts, read, items in self.snapshots[which : which + 1]:
            replica = Replica(self.make())
            replica.restore([*read, *parts])
            assert list(replica.machine.view.iter_desc()) == items
        del self.snapshots[which : which + 1]

    @rule(batch_size=st.integers(1, 9))
    def catch_up(self, batch_size: int) -> None:
        self.log.catch_up(self.log.lazy, batch_size)

    @rule()
    def restore(self) -> None:
        self.log.restore()

    @invariant()
    def same_as_the_oracle(self) -> None:
        view, items = self.machine.view, self.oracle.items
        ascending, descending = self.oracle.ascending(), self.oracle.descending()
        assert list(view.iter_asc()) == ascending
        assert list(view.iter_desc()) == descending
        assert len(view) == len(items)
        assert view.get_min() == min(items, key=lambda item: item[0], default=None)
        assert view.get_max() == max(items, key=lambda item: item[0], default=None)
        assert view.min_priority() == (ascending[0][0] if items else None)
        assert view.max_priority() == (descending[0][0] if items else None)
        for key in "abcdefghijklmnopqrst":
            item = self.oracle.find(key)
            assert (key in view) == view.contains_key(key) == (item is not None)
            assert view.get(key) == (None if item is None else item[2])
            assert view.get_priority(key) == (None if item is None else item[0])

    def teardown(self) -> None:
        for which in reversed(range(len(self.snapshots))):
            self.finish_snapshot(which)
        self.log.require_same()


class BoundedQueueModel(QueueModel):
    capacity = 5


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("model", [QueueModel, BoundedQueueModel])
def test_does_what_the_oracle_does(model: type[QueueModel]) -> None:
    run_state_machine_as_test(
        model, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


@given(
    first=st.lists(st.tuples(PRIORITIES, KEYS, VALUES), max_size=20),
    then=st.lists(st.tuples(PRIORITIES, KEYS, VALUES), max_size=20),
    capacity=st.none() | st.integers(1, 30),
)
def test_many_at_once_are_as_one_by_one(
    first: list[Item], then: list[Item], capacity: int | None
) -> None:
    """Sorting anew, which is how many are put into few, gives what inserting gives."""
    one, other = queue(capacity=capacity), queue(capacity=capacity)
    for items in (first, then):
        one.execute(*one.machine.extend(items))
        other.execute(*itertools.starmap(other.machine.insert, items))
    assert one.parts() == other.parts()


# Order and eviction.


def test_among_equals_the_oldest_comes_first_at_both_ends() -> None:
    view = queue([(1, "a", 0), (2, "b", 0), (1, "c", 0), (2, "d", 0)]).machine.view
    assert [key for _, key, _ in view.iter_desc()] == ["b", "d", "a", "c"]
    assert [key for _, key, _ in view.iter_asc()] == ["a", "c", "b", "d"]
    assert view.get_max() == (2, "b", 0)
    assert view.get_min() == (1, "a", 0)


def test_a_new_value_keeps_the_place_and_a_new_priority_does_not() -> None:
    replica = queue([(1, "a", 0), (1, "b", 0), (1, "c", 0)])
    machine = replica.machine
    replica.execute(machine.update_value("a", 7), machine.insert(1, "b", 8))
    replica.execute(machine.update_priority("a", 1))
    assert [key for _, key, _ in machine.view.iter_desc()] == ["a", "b", "c"]
    replica.execute(machine.update_priority("a", 2), machine.update_priority("a", 1))
    assert [key for _, key, _ in machine.view.iter_desc()] == ["b", "c", "a"]


def test_a_full_queue_evicts_the_lowest_priority_and_of_several_the_newest() -> None:
    replica = queue([(1, "a", 0), (1, "b", 0), (5, "c", 0)], capacity=3)
    replica.execute(replica.machine.insert(3, "d", 0))
    assert [key for _, key, _ in replica.machine.view.iter_desc()] == ["c", "d", "a"]


@pytest.mark.parametrize("priority", [0, 1])
def test_what_is_not_above_the_lowest_evicts_itself(priority: int) -> None:
    replica = queue([(1, "a", 0), (2, "b", 0)], capacity=2)
    replica.listen()
    replica.execute(replica.machine.insert(priority, "c", 0))
    assert list(replica.machine.view.iter_desc()) == [(2, "b", 0), (1, "a", 0)]
    assert replica.changes == []


def test_a_key_that_is_there_needs_no_room() -> None:
    replica = queue([(1, "a", 0), (2, "b", 0)], capacity=2)
    replica.execute(replica.machine.insert(0, "b", 9))
    assert list(replica.machine.view.iter_asc()) == [(0, "b", 9), (1, "a", 0)]


def test_a_range_is_half_open_unless_said_otherwise() -> None:
    for inclusive, left in [(None, [3]), ("both", []), ("right", [1]), ("neither", [1, 3])]:
        replica = queue([(1, "a", 0), (2, "b", 0), (3, "c", 0)])
        options: Any = {} if inclusive is None else {"inclusive": inclusive}
        replica.execute(replica.machine.remove_range(1, 3, **options))
        assert [priority for priority, _, _ in replica.machine.view.iter_asc()] == left


def test_the_first_key_is_kept_as_in_a_dictionary() -> None:
    for many in (False, True):
        replica = queue([(1, 1, "a")], int, int | float, str)
        machine = replica.machine
        replica.execute(machine.extend([(2, 1.0, "b")])[0] if many else machine.insert(2, 1.0, "b"))
        item = machine.view.get_min()
        assert item == (2, 1, "b")
        assert type(item[1]) is int


def test_iterating_while_it_changes_is_an_error_as_with_a_dictionary() -> None:
    replica = queue([(1, "a", 0), (2, "b", 0)])
    for items in (replica.machine.view.iter_asc(), replica.machine.view.iter_desc()):
        next(items)
        replica.execute(replica.machine.update_value("a", 5))
        with pytest.raises(RuntimeError, match="changed during iteration"):
            next(items)


def test_a_view_reads_as_said() -> None:
    view = queue([(1, "a", 0)]).machine.view
    assert view.get("b") is None
    assert view.get("b", 7) == 7
    assert view.get_priority("b", 8) == 8
    assert repr(view) == "PriorityQueueView([(1, 'a', 0)])"
    assert view
    assert not queue().machine.view
    with pytest.raises(TypeError, match="unhashable"):
        view.contains_key([])
    no_iterable: Any = view
    with pytest.raises(TypeError):
        iter(no_iterable)  # from which end?


# Commands that do nothing, and those that never come to be.


def test_commands_for_what_is_not_there_do_nothing() -> None:
    replica = queue([(1, "a", 0)])
    replica.listen()
    machine = replica.machine
    replica.execute(
        machine.remove("b"),
        machine.update_value("b", 1),
        machine.update_priority("b", 1),
        machine.compare_exchange_value("b", 0, 1),
        machine.compare_exchange_value("a", 1, 2),
        machine.remove_range(2, None),
        machine.remove_range(3, 0, "both"),
        machine.remove_range(1, 1),
    )
    assert list(machine.view.iter_asc()) == [(1, "a", 0)]
    assert replica.changes == []
    empty = queue()
    empty.execute(machine.clear(), machine.remove_range(None, None))
    assert len(empty.machine.view) == 0


def test_a_value_is_exchanged_or_removed_if_it_is_the_expected_one() -> None:
    replica = queue([(1, "a", 0), (1, "b", 0), (1, "c", 0)])
    machine = replica.machine
    replica.execute(machine.compare_exchange_value("a", 0, 5))
    replica.execute(machine.compare_exchange_value("b", 0, None))
    replica.execute(machine.compare_exchange_value("c", 0, ABSENT))
    assert list(machine.view.iter_asc()) == [(1, "a", 5)]


def test_none_is_a_value_where_the_type_has_it() -> None:
    replica = queue([(1, "a", 0), (1, "b", 0)], int, str, int | None)
    machine = replica.machine
    replica.execute(machine.compare_exchange_value("a", 0, None))
    replica.execute(machine.compare_exchange_value("b", 0, ABSENT))
    assert list(machine.view.iter_asc()) == [(1, "a", None)]


def test_a_priority_without_a_place_in_the_order_is_refused() -> None:
    machine = queue([], float, str, int).machine
    for make in (
        lambda: machine.insert(NAN, "a", 0),
        lambda: machine.extend([(1.0, "a", 0), (NAN, "b", 0)]),
        lambda: machine.update_priority("a", NAN),
        lambda: machine.remove_range(NAN, None),
        lambda: machine.remove_range(None, NAN),
    ):
        with pytest.raises(EncodeError, match="no place"):
            make()


def test_a_time_without_a_zone_is_refused() -> None:
    machine = queue([], datetime, str, int).machine
    machine.insert(datetime(2020, 1, 1, tzinfo=UTC), "a", 0)
    with pytest.raises(EncodeError, match="no place"):
        machine.insert(datetime(2020, 1, 1), "a", 0)
    with pytest.raises(EncodeError):
        machine.insert("2020", "a", 0)


def test_what_is_not_of_its_type_is_refused() -> None:
    machine = queue().machine
    with pytest.raises(EncodeError):
        machine.insert("1", "a", 0)
    with pytest.raises(EncodeError):
        machine.insert(1, 2, 0)
    with pytest.raises(EncodeError):
        machine.insert(1, "a", "0")
    with pytest.raises(EncodeError):
        machine.extend([(1, "a", 0), (1, 2, 0)])
    with pytest.raises(ValueError, match="unpack"):
        machine.extend([(1, "a")])  # type: ignore[list-item]
    wrong: Any = "all"
    with pytest.raises(ValueError, match="inclusive"):
        machine.remove_range(1, 2, wrong)


@pytest.mark.parametrize(
    ("types", "text"),
    [
        ((int | str, str, int), "priority"),
        ((object, str, int), "priority"),
        ((int, list[int], int), "key"),
    ],
)
def test_types_that_do_not_fit_are_refused_at_once(types: tuple[Any, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        PriorityQueueMachine(*types, store_id="a")


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_capacity_is_one_at_least(capacity: int) -> None:
    with pytest.raises(ConfigError, match="capacity"):
        PriorityQueueMachine(int, str, int, store_id="a", capacity=capacity)


def test_commands_of_another_program_do_nothing() -> None:
    replica = queue([(1.0, "a", 0)], float, str, int)
    replica.execute(
        QueueInsert(NAN, "b", 0),
        QueueInsert(NAN, "a", 5),
        QueueUpdatePriority("a", NAN),
        QueueRemoveRange(NAN, None, "both"),
        QueueRemoveRange(None, NAN, "left"),
        Extend(b"\x90"),
    )
    assert replica.position == 1 + 6
    for rows in (
        b"",
        replica.machine.rows.pack([[2.0, NAN], ["c", "d"], [0, 0]], 9)[0],
        queue().machine.extend([(2, "c", 0)])[0].rows[:-1],
    ):
        with pytest.raises(DecodeError):  # and no leader takes it in
            replica.machine.check_readable([Extend(rows)])
        with pytest.raises(DecodeError):
            replica.execute(Extend(rows))
    assert list(replica.machine.view.iter_asc()) == [(1.0, "a", 0)]


@given(data=st.binary(max_size=80))
def test_hostile_items_do_nothing_or_are_items(data: bytes) -> None:
    replica = queue([(1, "a", 0)])
    with suppress(DecodeError):
        replica.execute(Extend(data))
    for priority, key, value in replica.machine.view.iter_asc():
        assert (type(priority), type(key), type(value)) == (int, str, int)


# Types.


class Level(msgspec.Struct, frozen=True, order=True):
    major: int
    minor: int = 0


@dataclass(frozen=True, order=True)
class Fee:
    rate: float


@pytest.mark.parametrize(
    ("types", "items"),
    [
        ((str, int, str), [("b", 1, "x"), ("a", 2, "y"), ("é", 3, "")]),
        ((tuple[int, str], tuple[str, int], float), [((1, "b"), ("k", 1), 0.5)]),
        ((Level, Level, Level), [(Level(1, 2), Level(3), Level(4))]),
        ((Fee, str, Any), [(Fee(2.5), "a", (1, {2})), (Fee(1.5), "b", None)]),
        ((int | float, object, object), [(1, (1, 2), [1]), (1.5, "k", {1: (2,)}), (2**70, 1, 1)]),
        ((datetime, bytes, bool), [(datetime(2020, 1, 1, tzinfo=UTC), b"k", True)]),
    ],
    ids=str,
)
def test_items_of_any_type_arrive_as_they_were(types: tuple[Any, ...], items: list[Item]) -> None:
    one, other = queue(items, *types), queue([], *types)
    other.execute(*itertools.starmap(other.machine.insert, items))
    expected = sorted(items, key=lambda item: item[0])
    assert list(one.machine.view.iter_asc()) == expected
    assert one.parts() == other.parts()
    for priority, key, value in items:
        assert one.machine.view.get(key) == value
        one.execute(one.machine.compare_exchange_value(key, value, value))
        one.execute(one.machine.update_priority(key, priority))
    other.restore(one.parts())
    assert list(other.machine.view.iter_asc()) == expected
    one.execute(*(one.machine.remove(key) for _, key, _ in items))
    assert not one.machine.view


def test_a_key_without_a_hash_is_refused_where_the_type_does_not_say() -> None:
    replica = queue([], int, Any, int)
    with pytest.raises(EncodeError, match="key"):
        replica.machine.insert(1, [1], 1)
    hostile = queue([], int, str, Any).machine
    wire = hostile.update_value("a", [1]).value
    replica.execute(QueueInsert(1, wire, 1))
    assert len(replica.machine.view) == 0
    assert replica.position == 1


def test_values_that_do_not_compare_are_not_equal() -> None:
    """A command must not fail, whatever the values' ``==`` does."""
    replica = queue([], int, str, Any)
    replica.execute(replica.machine.insert(1, "a", {1: 2}))
    replica.execute(replica.machine.compare_exchange_value("a", "other", 1))
    assert replica.machine.view.get("a") == {1: 2}
    assert isinstance(QueueCompareExchangeValue("a", b"", ()), msgspec.Struct)


# Changes.


def test_changes_are_told_once_a_batch_with_the_versions_of_their_commands() -> None:
    replica = queue([(1, "a", 0), (2, "b", 0)], capacity=3)
    replica.listen()
    machine = replica.machine
    replica.execute(
        machine.insert(3, "c", 0),
        machine.remove("x"),
        machine.insert(4, "d", 0),
        machine.update_value("b", 5),
        machine.update_priority("b", 9),
    )
    replica.execute(
        machine.compare_exchange_value("b", 5, 6),
        machine.compare_exchange_value("b", 6, None),
        *machine.extend([(7, "e", 0), (8, "c", 1)]),
        machine.remove("e"),
        machine.remove_range(4, None),
        machine.insert(1, "f", 0),
        machine.clear(),
    )
    assert replica.changes == [
        [
            QueueInserted("c", 3, 0, None, 2),
            QueueInserted("d", 4, 0, None, 4),
            QueueEvicted("a", 1, 0, 4),
            QueueInserted("b", 2, 5, (2, 0), 5),
            QueueInserted("b", 9, 5, (2, 5), 6),
        ],
        [
            QueueInserted("b", 9, 6, (9, 5), 7),
            QueueRemoved("b", 9, 6, 8),
            QueueInserted("e", 7, 0, None, 9),
            QueueInserted("c", 8, 1, (3, 0), 9),
            QueueRemoved("e", 7, 0, 10),
            QueueRemoved("d", 4, 0, 11),
            QueueRemoved("c", 8, 1, 11),
            QueueInserted("f", 1, 0, None, 12),
            Cleared(13),
        ],
    ]


# Snapshots.


def test_a_snapshot_shows_the_moment_it_was_taken() -> None:
    items = [(n % 100, str(n), n) for n in range(10_000)]
    replica = queue(items)
    parts = iter(replica.machine.snapshot())
    head = [next(parts), next(parts)]
    machine = replica.machine
    replica.execute(*(machine.remove(str(n)) for n in range(0, 10_000, 13)))
    replica.execute(*(machine.insert(50, str(n), 0) for n in range(5, 10_000, 17)))
    replica.execute(machine.remove_range(20, 60), machine.clear())
    copy = queue()
    copy.restore([*head, *parts])
    assert list(copy.machine.view.iter_asc()) == sorted(items, key=lambda item: item[0])


def test_parts_depend_on_the_entries_alone() -> None:
    """Not on how they came to their places, nor on whether a member began with a snapshot."""
    one = queue([(n % 7, str(n), n) for n in range(5000)])
    one.execute(one.machine.remove_range(3, 5), *one.machine.extend([(1, "0", 5), (9, "x", 5)]))
    two = queue()
    two.restore(one.parts())
    three = queue()
    items = list(one.machine.view.iter_desc())
    three.execute(*itertools.starmap(three.machine.insert, items))
    assert one.parts() == two.parts() == three.parts()


def test_a_restored_queue_goes_on_as_the_others() -> None:
    one = queue([(1, str(n), 0) for n in range(20)], capacity=20)
    two = queue(capacity=20)
    two.restore(one.parts())
    commands = [one.machine.insert(1 + n % 2, "new", n) for n in range(5)]
    commands += [one.machine.insert(2, f"{n} more", n) for n in range(5)]
    for replica in (one, two):
        replica.execute(*commands)
    assert one.parts() == two.parts()
    assert len(two.machine.view) == 20


def test_a_restore_replaces_everything_at_its_end() -> None:
    items = [(n, n, n) for n in range(6000)]
    source, replica = queue(items, int, int, int), queue([(1, 2, 3)], int, int, int)
    replica.listen()
    view = replica.machine.view
    steps = replica.machine.restore(source.parts())
    next(steps)
    next(steps)
    assert list(view.iter_asc()) == [(1, 2, 3)]
    assert list(steps) == [None]
    assert list(view.iter_asc()) == items
    assert view.get(5) == 5
    assert replica.changes == [[ContentsReplaced()]]


def test_parts_that_are_no_snapshot_change_nothing() -> None:
    items = [(n, str(n), n) for n in range(5000)]
    good = queue(items).parts()
    rows = queue().machine.rows
    hostile: list[list[bytes]] = [
        [],
        good[1:],
        good[:-1],
        [*good, good[-1]],
        [good[0], good[2], good[1], good[3]],  # out of order
        [good[0], b"", *good[2:]],
        [good[0], good[1][:-1], *good[2:]],
        [good[0], rows.pack([[1] * 5000, ["a"] * 5000, [1] * 5000], 5000)[0]],  # one key twice
    ]
    for parts in hostile:
        replica = queue([(1, "a", 0)])
        with pytest.raises(DecodeError):
            replica.restore(parts)
        assert list(replica.machine.view.iter_asc()) == [(1, "a", 0)]


def test_a_snapshot_of_more_than_fit_or_of_nan_is_refused() -> None:
    bounded = queue(capacity=10)
    with pytest.raises(DecodeError, match="too long"):
        bounded.restore(queue([(n, str(n), 0) for n in range(11)]).parts())
    replica = queue([], float, str, int)
    head = queue([(1, "a", 0)]).parts()[0]
    with pytest.raises(DecodeError, match="place"):
        replica.restore([head, replica.machine.rows.pack([[NAN], ["a"], [0]], 9)[0]])
    assert len(bounded.machine.view) == len(replica.machine.view) == 0


@given(parts=st.lists(st.binary(max_size=40), max_size=3))
def test_random_parts_raise_decode_error_or_nothing(parts: list[bytes]) -> None:
    replica = queue([(1, "a", 0)])
    try:
        replica.restore(parts)
    except DecodeError:
        assert list(replica.machine.view.iter_asc()) == [(1, "a", 0)]


# Identity, and where sorting anew is not done.


def test_the_signature_names_what_members_must_agree_on() -> None:
    def signature(*types: Any, **options: Any) -> str:
        return queue([], *types, **options).machine.signature

    assert signature() == signature()
    assert "PriorityQueue" in signature()
    others = [signature(float, str, int), signature(int, int, int), signature(int, str, str)]
    others += [signature(capacity=5), signature(capacity=6)]
    assert len({signature(), *others}) == 6


def test_few_among_many_are_not_sorted_anew() -> None:
    held: ranking.Ranking[int, int, int] = ranking.Ranking()
    assert held.insert_all([(n, n, n) for n in range(100)])
    assert not held.insert_all([(n, n, n) for n in range(10)])
    bounded: ranking.Ranking[int, int, int] = ranking.Ranking(5)
    assert not bounded.insert_all([(n, n, n) for n in range(6)])
