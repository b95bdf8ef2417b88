"""`Vec`, against Python's list."""

import gc
import itertools
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
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

from mosaik_actors import PeerId
from mosaik_actors.codec import EncodeError
from mosaik_actors.collections import chunks
from mosaik_actors.collections.commands import Clear, Cleared, ContentsReplaced, Extend
from mosaik_actors.collections.vec import (
    ItemInserted,
    ItemRemoved,
    ItemsSwapped,
    Truncated,
    VecInsert,
    VecMachine,
    VecRemove,
    VecSwap,
    VecTruncate,
)
from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.sync.settings import LogReplaySync, SnapshotSync

from .logs import Log, Replica

ITEMS = st.integers(0, 9)
# Where an index counts from, and how far it is off.
INDEXES = st.tuples(st.sampled_from(["front", "middle", "end", "negative end"]), st.integers(-2, 2))
Index = tuple[str, int]


class Order(msgspec.Struct, frozen=True):
    price: float
    owner: PeerId
    tags: tuple[str, ...] = ()


def vec(type_: Any = int, items: Sequence[Any] = (), **options: Any) -> Replica[VecMachine[Any]]:
    replica: Replica[VecMachine[Any]] = Replica(VecMachine(type_, store_id="a vec", **options))
    if items:
        replica.execute(*replica.machine.extend(items))
    return replica


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_MAX", 8)
    monkeypatch.setattr(chunks, "CHUNK_SMALL", 2)


# The whole, in random order.


class VecModel(RuleBasedStateMachine):
    """Commands on three replicas and on a list; snapshots are read while more are applied."""

    def __init__(self) -> None:
        super().__init__()
        self.log: Log[VecMachine[int]] = Log(
            lambda: VecMachine(int, store_id="a vec", sync=SnapshotSync(fetch_batch_size=5))
        )
        self.model: list[int] = []
        self.snapshots: list[tuple[Iterator[bytes], list[bytes], list[int]]] = []

    @property
    def machine(self) -> VecMachine[int]:
        return self.log.eager.machine

    def index(self, index: Index) -> int:
        count = len(self.model)
        starts = {"front": 0, "middle": count // 2, "end": count, "negative end": -count}
        return starts[index[0]] + index[1]

    @rule(item=ITEMS)
    def push_back(self, item: int) -> None:
        self.log.execute(self.machine.push_back(item))
        self.model.append(item)

    @rule(item=ITEMS)
    def push_front(self, item: int) -> None:
        self.log.execute(self.machine.push_front(item))
        self.model.insert(0, item)

    @rule(items=st.lists(ITEMS, max_size=30))
    def extend(self, items: list[int]) -> None:
        self.log.execute(*self.machine.extend(items))
        self.model.extend(items)

    @rule(place=INDEXES, items=st.lists(ITEMS, min_size=1, max_size=6))
    def insert(self, place: Index, items: list[int]) -> None:
        index = self.index(place)
        for item in items:
            self.log.execute(self.machine.insert(index, item))
            if -len(self.model) <= index <= len(self.model):
                self.model.insert(index, item)

    @rule()
    def pop_back(self) -> None:
        self.log.execute(self.machine.pop_back())
        del self.model[-1:]

    @rule()
    def pop_front(self) -> None:
        self.log.execute(self.machine.pop_front())
        del self.model[:1]

    @rule(place=INDEXES)
    def remove(self, place: Index) -> None:
        index = self.index(place)
        self.log.execute(self.machine.remove(index))
        if -len(self.model) <= index < len(self.model):
            del self.model[index]

    @rule(here=INDEXES, there=INDEXES)
    def swap(self, here: Index, there: Index) -> None:
        one, other = self.index(here), self.index(there)
        self.log.execute(self.machine.swap(one, other))
        count = len(self.model)
        if -count <= one < count and -count <= other < count:
            self.model[one], self.model[other] = self.model[other], self.model[one]

    @rule(length=st.integers(0, 60))
    def truncate(self, length: int) -> None:
        self.log.execute(self.machine.truncate(length))
        del self.model[length:]

    @precondition(lambda self: len(self.model) > 30)
    @rule()
    def clear(self) -> None:
        self.log.execute(self.machine.clear())
        self.model.clear()

    @rule()
    def start_snapshot(self) -> None:
        self.snapshots.append((iter(self.machine.snapshot()), [], self.model.copy()))

    @rule(which=st.integers(0, 5), count=st.integers(1, 4))
    def read_snapshot(self, which: int, count: int) -> None:
        if which < len(self.snapshots):
            parts, read, _ = self.snapshots[which]
            read.extend(itertools.islice(parts, count))

    @rule(which=st.integers(0, 5))
    def drop_snapshot(self, which: int) -> None:
        del self.snapshots[which : which + 1]

    @rule(which=st.integers(0, 5))
    def finish_snapshot(self, which: int) -> None:
        for parts, read, model in self.snapshots[which : which + 1]:
            replica = vec(int, sync=SnapshotSync(fetch_batch_size=5))
            replica.restore([*read, *parts])
            assert replica.machine.view == model
        del self.snapshots[which : which + 1]

    @rule(batch_size=st.integers(1, 9))
    def catch_up(self, batch_size: int) -> None:
        self.log.catch_up(self.log.lazy, batch_size)

    @rule()
    def restore(self) -> None:
        self.log.restore()

    @invariant()
    def same_as_the_list(self) -> None:
        view, model = self.machine.view, self.model
        assert view == model
        assert list(view) == model
        assert list(reversed(view)) == model[::-1]
        assert len(view) == len(model)
        assert view.front() == (model[0] if model else None)
        assert view.back() == (model[-1] if model else None)

    def teardown(self) -> None:
        for which in reversed(range(len(self.snapshots))):
            self.finish_snapshot(which)
        self.log.require_same()


@pytest.mark.usefixtures("small_chunks")
def test_does_what_a_list_does() -> None:
    run_state_machine_as_test(
        VecModel, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


# Reading.


@given(
    items=st.lists(ITEMS, max_size=12),
    start=st.none() | st.integers(-15, 15),
    stop=st.none() | st.integers(-15, 15),
    step=st.none() | st.integers(-4, 4).filter(bool),
)
def test_slices_are_those_of_a_list(
    items: list[int], start: int | None, stop: int | None, step: int | None
) -> None:
    view = vec(int, items).machine.view
    assert view[start:stop:step] == items[start:stop:step]
    assert type(view[start:stop:step]) is list


@given(
    items=st.lists(ITEMS, max_size=12),
    item=ITEMS,
    start=st.integers(-15, 15),
    stop=st.none() | st.integers(-15, 15),
)
def test_searching_is_that_of_a_list(
    items: list[int], item: int, start: int, stop: int | None
) -> None:
    view = vec(int, items).machine.view
    end = len(items) if stop is None else stop
    assert view.count(item) == items.count(item)
    assert (item in view) == (item in items)
    try:
        expected = items.index(item, start, end)
    except ValueError:
        with pytest.raises(ValueError, match="is not in Vec"):
            view.index(item, start, stop)
    else:
        assert view.index(item, start, stop) == expected


@given(items=st.lists(ITEMS, max_size=8), index=st.integers(-12, 12))
def test_an_index_is_that_of_a_list(items: list[int], index: int) -> None:
    view = vec(int, items).machine.view
    if -len(items) <= index < len(items):
        assert view[index] == items[index]
    else:
        with pytest.raises(IndexError, match="out of range"):
            view[index]


def test_an_index_is_an_integer_or_a_slice() -> None:
    view = vec(int, [1, 2]).machine.view
    wrong: list[Any] = ["0", 0.0, None, (0, 1)]
    for index in wrong:
        with pytest.raises(TypeError):
            view[index]
    with pytest.raises(ValueError, match="zero"):
        view[::0]
    assert view[True] == 2  # as in a list

    class Second:
        def __index__(self) -> int:
            return 1

    assert view[Second()] == 2  # type: ignore[call-overload]
    with pytest.raises(IndexError):
        view[10**30]


def test_equals_lists_of_the_same_items_and_nothing_else() -> None:
    view = vec(int, [1, 2]).machine.view
    assert view == [1, 2]
    items = [1, 2]
    assert items == view
    assert view == vec(int, [1, 2]).machine.view
    assert view != [2, 1]
    assert view != [1]
    assert view != (1, 2)  # as a list
    assert vec().machine.view == []
    assert not vec().machine.view


def test_has_no_hash_for_it_changes() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(vec().machine.view)


def test_is_a_sequence_that_cannot_be_written_to() -> None:
    view: Any = vec(int, [1, 2]).machine.view
    assert isinstance(view, Sequence)
    match view:
        case [first, *rest]:
            assert (first, rest) == (1, [2])
    for name in ("__setitem__", "__delitem__", "__iadd__", "append", "insert"):
        assert not hasattr(view, name)
    assert repr(view) == "VecView([1, 2])"


def test_items_are_found_by_identity_too() -> None:
    """As in a list: a NaN equals nothing, yet the list has the one that was put in."""
    replica = vec(float, [float("nan")])
    view = replica.machine.view
    assert view[0] in view
    assert view.index(view[0]) == 0
    assert float("nan") not in view
    assert view == [view[0]]


def test_front_and_back_of_an_empty_one_are_none() -> None:
    view = vec().machine.view
    assert view.front() is None
    assert view.back() is None


# Commands that do nothing, and those that never come to be.


@pytest.mark.parametrize(
    "name_and_arguments",
    [
        ("insert", 4, 0),
        ("insert", -4, 0),
        ("insert", 10**30, 0),
        ("remove", 3),
        ("remove", -4),
        ("remove", -(10**30)),
        ("swap", 0, 3),
        ("swap", -4, 0),
        ("swap", 1, 1),
        ("swap", 1, -2),
        ("truncate", 3),
        ("truncate", 10**30),
    ],
    ids=str,
)
def test_a_command_out_of_range_does_nothing(name_and_arguments: tuple[Any, ...]) -> None:
    replica = vec(int, [1, 2, 3])
    replica.listen()
    name, *arguments = name_and_arguments
    replica.execute(getattr(replica.machine, name)(*arguments))
    assert replica.machine.view == [1, 2, 3]
    assert replica.changes == []


def test_an_index_that_is_the_length_inserts_at_the_end() -> None:
    replica = vec(int, [1, 2])
    replica.execute(replica.machine.insert(2, 3), replica.machine.insert(3, 4))
    assert replica.machine.view == [1, 2, 3, 4]


def test_commands_on_an_empty_one_do_nothing() -> None:
    replica = vec()
    replica.listen()
    machine = replica.machine
    replica.execute(machine.pop_back(), machine.pop_front(), machine.remove(0), machine.clear())
    replica.execute(machine.truncate(0), machine.swap(0, 0), machine.remove(-1))
    assert replica.machine.view == []
    assert replica.changes == []


def test_a_negative_index_counts_from_the_end_when_it_is_applied() -> None:
    replica = vec(int, [1, 2, 3])
    machine = replica.machine
    replica.execute(machine.push_back(4), machine.insert(-1, 9), machine.remove(-2))
    assert machine.view == [1, 2, 3, 4]


def test_what_is_no_index_or_length_is_refused() -> None:
    machine = vec().machine
    no_index: Any = "0"
    for make in (machine.remove, machine.truncate, lambda i: machine.insert(i, 0)):
        with pytest.raises(TypeError):
            make(no_index)
    with pytest.raises(ValueError, match="0 or more"):
        machine.truncate(-1)


def test_what_is_not_of_the_type_is_refused() -> None:
    machine: VecMachine[Any] = vec().machine
    for make in (machine.push_back, machine.push_front, lambda v: machine.insert(0, v)):
        with pytest.raises(EncodeError):
            make("text")
    with pytest.raises(EncodeError):
        machine.extend([1, "text"])


def test_commands_of_another_program_do_nothing() -> None:
    """They fit the type of commands, but our own handle would not have made them."""
    replica = vec(int, [1, 2, 3])
    replica.execute(VecTruncate(-1), Extend(b"\x90"))
    for rows in (b"", b"\x91\x91\xc4\x00", vec(str).machine.extend(["x"])[0].rows):
        with pytest.raises(DecodeError):  # and no leader takes it in
            replica.machine.check_readable([Extend(rows)])
        with pytest.raises(DecodeError):
            replica.execute(Extend(rows))
    assert replica.machine.view == [1, 2, 3]


@given(data=st.binary(max_size=60))
def test_hostile_items_do_nothing_or_are_items(data: bytes) -> None:
    replica = vec(int, [1])
    with suppress(DecodeError):
        replica.execute(Extend(data))
    assert all(type(item) is int for item in replica.machine.view)


# Many items, and of many types.


def test_many_items_are_split_into_several_commands() -> None:
    machine = vec().machine
    assert [type(command) for command in machine.extend(range(5000))] == [Extend] * 3
    assert machine.extend([]) == []
    assert len(vec(bytes).machine.extend([bytes(100_000)] * 10)) >= 4


@pytest.mark.parametrize(
    ("type_", "items"),
    [
        (str, ["", "a", "é"]),
        (int, [2**70, -1, 0]),
        (float, [1.5, float("inf")]),
        (int | None, [1, None]),
        (tuple[int, str], [(1, "a"), (2, "b")]),
        (list[int], [[1, 2], []]),
        (dict[str, set[int]], [{"a": {1, 2}}, {}]),
        (Order, [Order(1.5, PeerId(bytes(32)), ("x",))]),
        (Any, [None, (1, (2, 3)), {1, 2}, [1], {"a": (1,)}]),
        (object, [frozenset([1]), b"x", 2**80]),
    ],
    ids=str,
)
def test_items_of_any_type_arrive_as_they_were(type_: Any, items: list[Any]) -> None:
    replica = vec(type_, items)
    replica.execute(*map(replica.machine.push_back, items))
    replica.execute(replica.machine.insert(0, items[0]), replica.machine.push_front(items[-1]))
    expected = [items[-1], items[0], *items, *items]
    assert replica.machine.view == expected
    copy = vec(type_)
    copy.restore(replica.parts())
    assert copy.machine.view == expected
    assert copy.parts() == replica.parts()


# Changes.


def test_changes_are_told_once_a_batch_with_the_versions_of_their_commands() -> None:
    replica = vec(int, [1, 2, 3])
    replica.listen()
    machine = replica.machine
    replica.execute(
        machine.push_back(4),
        machine.pop_front(),
        machine.remove(9),
        machine.insert(-1, 8),
        machine.swap(0, -1),
    )
    replica.execute(*machine.extend([6, 7]), machine.truncate(3), machine.clear())
    assert replica.changes == [
        [
            ItemInserted(3, 4, 2),
            ItemRemoved(0, 1, 3),
            ItemInserted(2, 8, 5),
            ItemsSwapped(0, 3, 6),
        ],
        [ItemInserted(4, 6, 7), ItemInserted(5, 7, 7), Truncated(3, 8), Cleared(9)],
    ]


def test_following_the_changes_gives_the_same_list() -> None:
    replica = vec()
    replica.listen()
    machine = replica.machine
    commands: list[Any] = [*machine.extend([1, 2, 3]), machine.push_front(0), machine.pop_back()]
    commands += [machine.insert(1, 9), machine.swap(0, 2), machine.remove(1), machine.truncate(2)]
    replica.execute(*commands)
    items: list[int] = []
    for change in replica.changes[0]:
        match change:
            case ItemInserted(index, value, _):
                items.insert(index, value)
            case ItemRemoved(index, value, _):
                assert items.pop(index) == value
            case ItemsSwapped(one, other, _):
                items[one], items[other] = items[other], items[one]
            case Truncated(length, _):
                del items[length:]
    assert machine.view == items == [1, 0]


# Snapshots.


def test_a_snapshot_shows_the_moment_it_was_taken() -> None:
    replica = vec(int, range(10_000))
    parts = iter(replica.machine.snapshot())
    head = [next(parts), next(parts)]
    machine = replica.machine
    replica.execute(machine.push_front(-1), machine.insert(5000, -2), machine.swap(0, 9000))
    replica.execute(machine.truncate(9500), machine.pop_back(), machine.clear())
    copy = vec()
    copy.restore([*head, *parts])
    assert copy.machine.view == list(range(10_000))


def test_a_dropped_snapshot_keeps_nothing() -> None:
    class Item:
        """Stands for an item that nothing but the snapshot keeps."""

    machine: VecMachine[Any] = vec(Any).machine
    item = Item()
    alive = weakref.ref(item)
    machine._items.append(item)
    parts = machine.snapshot()
    machine._items.clear()
    del item
    gc.collect()
    assert alive() is not None
    del parts
    gc.collect()
    assert alive() is None


def test_parts_depend_on_the_items_alone() -> None:
    """Not on how they came: chunks differ between one that was restored and one that was not."""
    one = vec(int, range(3000))
    for index in range(0, 2500, 7):
        one.execute(one.machine.remove(index), one.machine.insert(index, index))
    two = vec(int, list(one.machine.view))
    two.restore(one.parts())
    three = vec(int)
    for item in reversed(one.machine.view):
        three.execute(three.machine.push_front(item))
    assert one.parts() == two.parts() == three.parts()
    assert len(one.parts()) == 1 + 2  # the header; 2,000 and 1,000 items


def test_a_restore_replaces_everything_at_its_end() -> None:
    source = vec(int, range(6000))
    replica = vec(int, [1, 2])
    replica.listen()
    steps = replica.machine.restore(source.parts())
    next(steps)
    next(steps)
    assert replica.machine.view == [1, 2]
    assert list(steps) == [None]
    assert replica.machine.view == list(range(6000))
    assert replica.changes == [[ContentsReplaced()]]


def test_a_view_outlives_a_restore() -> None:
    replica = vec(int, [1])
    view = replica.machine.view
    replica.restore(vec(int, [2, 3]).parts())
    assert view == [2, 3]
    replica.execute(replica.machine.push_back(4))
    assert view == [2, 3, 4]


def test_parts_that_are_no_snapshot_change_nothing() -> None:
    good = vec(int, range(5000)).parts()
    other = vec(str, ["a"]).parts()
    hostile: list[list[bytes]] = [
        [],
        good[1:],
        good[:-1],
        [*good, good[-1]],
        [good[0], b"", *good[2:]],
        [good[0], good[1][:-1], *good[2:]],
        other,
        [b"\xff", *good[1:]],
    ]
    for parts in hostile:
        replica = vec(int, [1, 2])
        with pytest.raises(DecodeError):
            replica.restore(parts)
        assert replica.machine.view == [1, 2]


@given(parts=st.lists(st.binary(max_size=40), max_size=3))
def test_random_parts_raise_decode_error_or_nothing(parts: list[bytes]) -> None:
    replica = vec(int, [1])
    try:
        replica.restore(parts)
    except DecodeError:
        assert replica.machine.view == [1]


# Identity.


def test_the_signature_names_what_members_must_agree_on() -> None:
    def signature(type_: Any = int, store: str = "a", **options: Any) -> str:
        return VecMachine(type_, store_id=store, **options).signature

    assert signature() == signature()
    assert "Vec" in signature()
    others = [signature(str), signature(store="b"), signature(list[int]), signature(Order)]
    others.append(signature(sync=SnapshotSync(fetch_batch_size=1)))
    assert len({signature(), *others}) == 6
    assert VecMachine(int, store_id="a", sync=LogReplaySync()).state_sync == LogReplaySync()


def test_commands_are_small() -> None:
    """Nothing but a short name and the item travels."""
    replica = vec()
    for command in (VecInsert(1, 2), VecRemove(1), VecSwap(1, 2), Clear()):
        assert len(replica.codec.encode(command)) <= 20
