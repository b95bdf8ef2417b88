"""Map: the reads of a dict, the commands, and snapshots while it changes, against a dict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple

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
from mosaik_actors.collections import insertion
from mosaik_actors.collections.commands import ABSENT, Cleared, ContentsReplaced, Extend
from mosaik_actors.collections.map import (
    EntryInserted,
    EntryRemoved,
    EntryUpdated,
    MapInsert,
    MapMachine,
    MapView,
)
from mosaik_actors.errors import ConfigError, DecodeError
from mosaik_actors.groups.sync.settings import SnapshotSync
from mosaik_actors.ids import PeerId, SecretKey, UniqueId

from .replicas import apply, context, restore, travelled

SMALL_PARTS = SnapshotSync(fetch_batch_size=3)


def make(key: Any = str, value: Any = int, **kwargs: Any) -> MapMachine[Any, Any]:
    return MapMachine(key, value, store_id="prices", **kwargs)


def filled(pairs: Mapping[Any, Any], key: Any = str, value: Any = int) -> MapMachine[Any, Any]:
    machine = make(key, value)
    apply(machine, *machine.extend(pairs))
    return machine


# Reads.


def test_reads_are_those_of_a_dict() -> None:
    model = {"b": 2, "a": 1, "c": 3}
    view = filled(model).view
    assert isinstance(view, Mapping)
    assert list(view) == ["b", "a", "c"]
    assert len(view) == 3
    assert view["a"] == 1
    assert view.get("a") == 1
    assert view.get("x") is None
    assert view.get("x", "none") == "none"
    assert "a" in view
    assert "x" not in view
    assert bool(view)
    assert not make().view
    assert dict(view) == {**view} == model
    assert repr(view) == "MapView({'b': 2, 'a': 1, 'c': 3})"
    with pytest.raises(KeyError, match="x"):
        view["x"]
    with pytest.raises(TypeError, match="unhashable"):
        view.get([])
    with pytest.raises(TypeError):
        hash(view)


def test_equality_is_that_of_a_mapping() -> None:
    model = {"a": 1, "b": 2}
    view, other = filled(model).view, filled({"b": 2, "a": 1}).view
    assert view == model
    assert model == view
    assert view == other
    assert view == MappingOf(model)
    assert view != {"a": 1}
    assert view != [("a", 1), ("b", 2)]
    assert view != MappingOf({"a": 2, "b": 2})


def test_views_are_live_and_have_set_algebra() -> None:
    machine = filled({"a": 1, "b": 2})
    keys, values, items = machine.view.keys(), machine.view.values(), machine.view.items()
    apply(machine, machine.insert("c", 3))
    assert list(keys) == ["a", "b", "c"]
    assert list(values) == [1, 2, 3]
    assert list(items) == [("a", 1), ("b", 2), ("c", 3)]
    assert (len(keys), len(values), len(items)) == (3, 3, 3)
    assert "c" in keys
    assert 3 in values
    assert 4 not in values
    assert ("c", 3) in items
    assert ("c", 4) not in items
    assert keys & {"a", "x"} == {"a"}
    assert {"a", "x"} - keys == {"x"}
    assert keys == {"a", "b", "c"}
    assert items >= {("a", 1)}
    apply(machine, machine.clear())
    assert list(keys) == []


def test_iteration_notices_a_change_of_size() -> None:
    machine = filled({"a": 1, "b": 2})
    iterator = iter(machine.view)
    next(iterator)
    apply(machine, machine.insert("c", 3))
    with pytest.raises(RuntimeError, match="changed size"):
        next(iterator)


class MappingOf(Mapping[Any, Any]):
    """A mapping that is no dict."""

    def __init__(self, data: dict[Any, Any]) -> None:
        self._data = data

    def __getitem__(self, key: Any) -> Any:
        return self._data[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


# Commands.


def test_insertion_order_is_that_of_a_dict() -> None:
    machine = filled({"a": 1, "b": 2, "c": 3})
    apply(machine, machine.insert("a", 9), machine.remove("b"), machine.insert("b", 8))
    assert list(machine.view.items()) == [("a", 9), ("c", 3), ("b", 8)]


def test_commands_that_do_nothing_are_applied_all_the_same() -> None:
    machine = filled({"a": 1})
    before = list(machine.snapshot())
    changes: list[Any] = []
    machine.on_change = changes.extend
    apply(
        machine,
        machine.remove("x"),
        machine.compare_exchange("a", 2, 3),
        machine.compare_exchange("x", 2, 3),
        machine.compare_exchange("a", None, 3),
        machine.compare_exchange("x", None, None),
        *machine.extend({}),
    )
    assert list(machine.snapshot()) == before
    assert changes == []


def test_compare_exchange_inserts_replaces_and_removes() -> None:
    machine = make()
    apply(machine, machine.compare_exchange("a", ABSENT, 1))
    assert machine.view == {"a": 1}
    apply(machine, machine.compare_exchange("a", 1, 2))
    assert machine.view == {"a": 2}
    apply(machine, machine.compare_exchange("a", 2, None))
    assert machine.view == {}


def test_none_is_a_value_where_the_type_says_so() -> None:
    machine = make(value=int | None)
    apply(machine, machine.compare_exchange("a", None, 1))
    assert machine.view == {}
    apply(machine, machine.insert("a", None), machine.compare_exchange("a", None, 1))
    assert machine.view == {"a": 1}
    apply(machine, machine.compare_exchange("a", 1, None))
    assert machine.view == {"a": None}
    apply(machine, machine.compare_exchange("a", None, ABSENT))
    assert machine.view == {}


def test_what_does_not_compare_is_not_equal() -> None:
    machine = make(value=Decimal)
    nan = Decimal("sNaN")
    apply(machine, machine.insert("a", nan), machine.compare_exchange("a", nan, Decimal(1)))
    assert machine.view["a"].is_snan()


def test_extend_takes_mappings_and_pairs_and_splits_what_is_long() -> None:
    machine = make()
    commands = machine.extend((f"k{n}", n) for n in range(5000))
    assert len(commands) == 3
    apply(machine, *commands, *machine.extend(MappingOf({"k0": -1})))
    assert list(machine.view.items()) == [("k0", -1)] + [(f"k{n}", n) for n in range(1, 5000)]
    texts = make(value=str)
    commands = texts.extend((str(n), "x" * 10_000) for n in range(100))
    assert len(commands) == 4
    assert all(len(command.rows) < 257 * 1024 for command in commands)
    apply(texts, *commands)
    assert len(texts.view) == 100


def test_last_of_equal_keys_in_an_extend_wins() -> None:
    machine = make()
    apply(machine, *machine.extend([("a", 1), ("b", 2), ("a", 3)]))
    assert list(machine.view.items()) == [("a", 3), ("b", 2)]


def test_changes_carry_the_position_of_their_command() -> None:
    machine = make()
    told: list[list[Any]] = []
    machine.on_change = told.append
    commands = [
        machine.insert("a", 1),
        machine.remove("x"),
        *machine.extend({"a": 2, "b": 3}),
        machine.compare_exchange("b", 3, 4),
        machine.remove("b"),
        machine.clear(),
        machine.clear(),
    ]
    apply(machine, *commands, position=10)
    assert told == [
        [
            EntryInserted("a", 1, 10),
            EntryUpdated("a", 2, 1, 12),
            EntryInserted("b", 3, 12),
            EntryUpdated("b", 4, 3, 13),
            EntryRemoved("b", 4, 14),
            Cleared(15),
        ]
    ]
    restore(machine, list(filled({"z": 1}).snapshot()))
    assert told[1:] == [[ContentsReplaced()]]


# Types.


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int


@dataclasses.dataclass(frozen=True)
class Place:
    name: str
    at: tuple[int, int]


class Pair(NamedTuple):
    left: str
    right: int


PEER = SecretKey.from_seed("seed").peer_id


@pytest.mark.parametrize(
    ("type_", "key"),
    [
        (tuple[str, int], ("a", 1)),
        (tuple[int, ...], (1, 2, 3)),
        (tuple[tuple[int, str], int], ((1, "a"), 2)),
        (tuple, (1, "a")),
        (Point, Point(1, 2)),
        (Place, Place("here", (1, 2))),
        (Pair, Pair("a", 1)),
        (UniqueId, UniqueId("name")),
        (PeerId, PEER),
        (frozenset[str], frozenset(["b", "a"])),
        (int, 1 << 100),
        (int | str, "a"),
        (Decimal, Decimal("1.50")),
        (Literal["a", "b"], "a"),
        (object, ((1, 2), frozenset([3]))),
        (Any, ("a", UniqueId("name"))),
    ],
)
def test_keys_are_found_again_on_every_member(type_: Any, key: Any) -> None:
    machine = make(type_, int)
    apply(machine, machine.insert(key, 1), *machine.extend([(key, 2)]))
    assert machine.view[key] == 2
    assert list(map(type, machine.view)) == [type(key)]
    joined = make(type_, int)
    restore(joined, list(machine.snapshot()))
    assert joined.view[key] == 2
    assert list(joined.snapshot()) == list(machine.snapshot())
    apply(joined, joined.remove(key))
    assert len(joined.view) == 0


class Loose(msgspec.Struct):
    x: int


class FrozenWithList(msgspec.Struct, frozen=True):
    names: list[str]


@dataclasses.dataclass
class LooseData:
    x: int


@pytest.mark.parametrize(
    ("type_", "why"),
    [
        (list[int], "a list has no hash"),
        (set[int], "a set has no hash"),
        (dict[str, int], "a dict has no hash"),
        (tuple[int, list[int]], "a list has no hash"),
        (int | list[int], "a list has no hash"),
        (bytearray, "a bytearray has no hash"),
        (Loose, "Loose is not frozen"),
        (tuple[Loose, ...], "Loose is not frozen"),
        (FrozenWithList, "a list has no hash"),
        (LooseData, "LooseData is not frozen"),
    ],
)
def test_types_without_a_hash_are_no_keys(type_: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        make(type_, int)


@pytest.mark.parametrize(
    ("type_", "key"),
    [
        (str, 5),
        (int, "a"),
        (int, True),
        (float, float("nan")),
        (tuple, (1, (2, 3))),
        (tuple[Any, ...], ([1],)),
        (object, [1, 2]),
        (object, {1, 2}),
        (object, object()),
        (Decimal, Decimal("sNaN")),
        (str, "x" * ((1 << 20) + (1 << 16))),
        (Point, Point("a", 2)),  # type: ignore[arg-type]
    ],
)
def test_keys_that_would_not_arrive_are_refused_where_they_are_written(
    type_: Any, key: Any
) -> None:
    machine = make(type_, int)
    for make_command in (
        lambda: machine.insert(key, 1),
        lambda: machine.remove(key),
        lambda: machine.extend([(key, 1)]),
        lambda: machine.compare_exchange(key, None, 1),
    ):
        with pytest.raises(EncodeError):
            make_command()


def test_values_of_another_type_are_refused_where_they_are_written() -> None:
    machine = make()
    for make_command in (
        lambda: machine.insert("a", "1"),
        lambda: machine.extend({"a": 1, "b": "1"}),
        lambda: machine.compare_exchange("a", 1, "1"),
    ):
        with pytest.raises(EncodeError, match="type"):
            make_command()


def test_what_was_written_is_no_longer_the_writers() -> None:
    """A list that the writer goes on changing must not change one member."""
    machine = make(value=list[int])
    mine = [1]
    command = machine.insert("a", mine)
    mine.append(2)
    machine.apply_batch([command], context(1))
    assert machine.view == {"a": [1]}


@pytest.mark.parametrize("value", [Any, object])
def test_untyped_values_keep_tuples_and_sets(value: Any) -> None:
    content = {"t": (1, (2,)), "s": {"a", "b"}, "l": [1], "big": 1 << 90, "id": UniqueId("x")}
    machine = make(str, value)
    apply(machine, machine.insert("k", content), *machine.extend({"m": content}))
    joined = make(str, value)
    restore(joined, list(machine.snapshot()))
    assert joined.view == machine.view == {"k": content, "m": content}


class Named(msgspec.Struct):
    tags: frozenset[str]
    by_name: dict[str, set[str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    tags: frozenset[str]

    def __post_init__(self) -> None:
        assert isinstance(self.tags, frozenset)


class PairOfSets(NamedTuple):
    one: frozenset[str]
    other: list[frozenset[str]]


WORDS = ["q", "w", "e", "r", "t", "y", "u", "i", "o", "p"]


@pytest.mark.parametrize(
    ("type_", "wrap"),
    [
        (set[str], set),
        (frozenset[str], frozenset),
        (frozenset[frozenset[str]], lambda words: frozenset([frozenset(words), frozenset("a")])),
        (Named, lambda words: Named(frozenset(words), {"k": set(words)})),
        (Checked, lambda words: Checked(frozenset(words))),
        (PairOfSets, lambda words: PairOfSets(frozenset(words), [frozenset(words)])),
        (dict[str, tuple[set[str], int]], lambda words: {"k": (set(words), 1)}),
        (Any, lambda words: {"k": [set(words), {frozenset(words): 1}, (frozenset(words),)]}),
    ],
)
def test_snapshots_do_not_depend_on_how_sets_are_ordered(type_: Any, wrap: Any) -> None:
    """Members may have put the same strings into a set in another order."""
    one, other = make(str, type_), make(str, type_)
    grown = set("abcdefghijklmnopqrstuvwxyz0123456789").union(WORDS)
    grown.intersection_update(WORDS)  # the same members in a larger table: another order
    words = sorted(WORDS)
    one._items.put("k", wrap(words))
    other._items.put("k", wrap(list(grown)))
    parts = list(one.snapshot())
    assert list(other.snapshot()) == parts
    joined = make(str, type_)
    restore(joined, parts)
    assert joined.view == one.view
    assert list(joined.snapshot()) == parts


# The signature.


def test_signature_says_what_members_must_agree_on() -> None:
    signature = make().signature
    assert signature == make().signature
    assert "Map[str:" in signature
    assert str(UniqueId("prices")) in signature
    others = [
        make(value=float),
        make(key=bytes),
        make(value=Point),
        MapMachine(str, int, store_id="volumes"),
        make(sync=SnapshotSync(fetch_batch_size=7)),
    ]
    found = [other.signature for other in others]
    assert len(dict.fromkeys([signature, *found])) == 6


def test_signature_follows_the_fields_of_records() -> None:
    def version_of(name: str) -> Any:
        return msgspec.defstruct("Quote", [(name, int)], frozen=True, module="feeds")

    assert make(value=version_of("bid")).signature != make(value=version_of("ask")).signature
    assert make(value=version_of("bid")).signature == make(value=version_of("bid")).signature


# Snapshots.


def test_empty_map_has_a_snapshot() -> None:
    parts = list(make().snapshot())
    assert len(parts) == 1
    machine = filled({"a": 1})
    restore(machine, parts)
    assert machine.view == {}


def test_restore_changes_nothing_until_it_is_through() -> None:
    source = make(sync=SMALL_PARTS)
    apply(source, *source.extend({str(n): n for n in range(10)}))
    machine = filled({"a": 1})
    steps = machine.restore(list(source.snapshot()))
    for _ in range(4):
        next(steps)
    assert machine.view == {"a": 1}
    with pytest.raises(StopIteration):
        next(steps)
    assert machine.view == source.view


def test_values_changed_meanwhile_do_not_show_in_a_snapshot() -> None:
    machine = make(sync=SMALL_PARTS)
    before = {str(n): n for n in range(10)}
    apply(machine, *machine.extend(before))
    snapshot = machine.snapshot()
    parts = [next(snapshot), next(snapshot)]
    apply(machine, machine.insert("9", 0), machine.remove("8"), machine.insert("8", 0))
    apply(machine, machine.insert("new", 0), machine.insert("8", 1))
    parts.append(next(snapshot))
    apply(machine, machine.clear(), machine.insert("7", 0))
    parts += snapshot
    joined = make()
    restore(joined, parts)
    assert list(joined.view.items()) == list(before.items())
    assert machine.view == {"7": 0}


def test_dropped_snapshot_costs_nothing_any_more() -> None:
    machine = filled({"a": 1, "b": 2})
    snapshots = [machine.snapshot() for _ in range(3)]
    next(snapshots[0])
    assert len(machine._items._active_iterators.refs) == 3
    del snapshots[1:]
    assert len(machine._items._active_iterators.refs) == 1
    assert len(list(snapshots[0])) == 1
    assert machine._items._active_iterators.refs == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda parts: [],
        lambda parts: parts[1:],
        lambda parts: parts[:-1],
        lambda parts: [*parts, parts[-1]],
        lambda parts: [parts[0], *parts[2:], parts[-1]],
        lambda parts: [*parts[:-1], b""],
        lambda parts: [*parts[:-1], parts[-1][:-1]],
        lambda parts: [b"\x92\x02\x07", *parts[1:]],
        lambda parts: [b"\x92\x01\xff", *parts[1:]],
        lambda parts: list(filled({str(n): str(n) for n in range(7)}, str, str).snapshot()),
    ],
)
def test_parts_that_are_no_snapshot_are_refused(spoil: Any) -> None:
    source = make(sync=SMALL_PARTS)
    apply(source, *source.extend({str(n): n for n in range(7)}))
    machine = filled({"a": 1})
    with pytest.raises(DecodeError):
        restore(machine, spoil(list(source.snapshot())))
    assert machine.view == {"a": 1}


@given(parts=st.lists(st.binary(max_size=60), max_size=4), at=st.integers(0, 3), byte=st.integers())
@settings(max_examples=200)
def test_hostile_parts_raise_nothing_but_decode_errors(
    parts: list[bytes], at: int, byte: int
) -> None:
    source = filled({"a": 1, "b": 2})
    good = [bytearray(part) for part in source.snapshot()]
    part = good[at % len(good)]
    part[byte % len(part)] ^= 1 + byte % 255
    for hostile in (parts, [bytes(p) for p in good], [bytes(good[0]), *parts]):
        machine = make()
        try:
            restore(machine, hostile)
        except DecodeError:
            assert machine.view == {}


@given(rows=st.binary(max_size=60))
def test_extends_that_cannot_be_decoded_are_said_to_be(rows: bytes) -> None:
    machine = filled({"a": 1})
    try:
        apply(machine, Extend(rows))
    except DecodeError:
        with pytest.raises(DecodeError):  # so no leader takes them in
            machine.check_readable([machine.insert("b", 2), Extend(rows)])
        assert machine.view == {"a": 1}
    else:
        machine.check_readable([Extend(rows)])


def test_hostile_keys_do_nothing() -> None:
    """A key without a hash, sent by a program other than ours, leaves each member as it was."""
    typed, untyped = make(tuple[Any, ...], int), make(Any, int)
    for machine, key in ((typed, ([1],)), (untyped, b"\x02\x91\x91\x01"), (untyped, b"\x02\x91")):
        told: list[Any] = []
        machine.on_change = told.extend
        apply(machine, MapInsert(key, 1))
        assert machine.view == {}
        assert told == []


# Against a model.

KEYS = st.sampled_from("abcdefg")
VALUES = st.integers(0, 3)
MAYBE = st.none() | VALUES


class MapModel(RuleBasedStateMachine):
    """Two replicas, one of which applies in larger batches, and a dict; snapshots all the time.

    The first one listens to its changes, from which a second dict is made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, int] = {}
        self.told: dict[str, int] = {}
        self.one = make(sync=SMALL_PARTS)
        self.one.on_change = self.take_changes
        self.other = make(sync=SMALL_PARTS)
        self.waiting: list[Any] = []
        self.version = 0
        self.snapshots: list[tuple[Iterator[bytes], list[bytes], dict[str, int]]] = []

    def take_changes(self, changes: list[Any]) -> None:
        for change in changes:
            match change:
                case EntryInserted(key, value, version):
                    assert key not in self.told
                    self.told[key] = value
                case EntryUpdated(key, value, old, version):
                    assert self.told[key] == old
                    self.told[key] = value
                case EntryRemoved(key, old, version):
                    assert self.told.pop(key) == old
                case Cleared(version):
                    self.told.clear()
                case ContentsReplaced():
                    self.told = dict(self.one.view)
                    continue
            assert version == self.version

    def do(self, *commands: Any) -> None:
        for command in commands:
            self.version += 1
            apply(self.one, command, position=self.version)
            self.waiting.append(command)

    @rule(key=KEYS, value=VALUES)
    def insert(self, key: str, value: int) -> None:
        self.do(self.one.insert(key, value))
        self.model[key] = value

    @rule(pairs=st.lists(st.tuples(KEYS, VALUES), max_size=12))
    def extend(self, pairs: list[tuple[str, int]]) -> None:
        self.do(*self.one.extend(pairs))
        self.model.update(pairs)

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        self.do(self.one.remove(key))
        self.model.pop(key, None)

    @rule(key=KEYS, value=VALUES, times=st.integers(1, 3))
    def come_and_go(self, key: str, value: int, times: int) -> None:
        """Leave a key behind several times before it stays."""
        for _ in range(times):
            self.insert(key, value)
            self.remove(key)
        self.insert(key, value)

    @rule(key=KEYS, expected=MAYBE, new=MAYBE)
    def compare_exchange(self, key: str, expected: int | None, new: int | None) -> None:
        self.do(self.one.compare_exchange(key, expected, new))
        if self.model.get(key) == expected:
            if new is None:
                self.model.pop(key, None)
            else:
                self.model[key] = new

    @rule()
    def clear(self) -> None:
        self.do(self.one.clear())
        self.model.clear()

    @rule()
    def look(self) -> None:
        self.snapshots.append((self.one.snapshot(), [], self.model.copy()))

    @precondition(lambda self: self.snapshots)
    @rule(number=st.integers(0, 9), count=st.integers(1, 3))
    def read_on(self, number: int, count: int) -> None:
        parts, read, _ = self.snapshots[number % len(self.snapshots)]
        for _ in range(count):
            read += [part for part in [next(parts, None)] if part is not None]

    @precondition(lambda self: self.snapshots)
    @rule()
    def drop(self) -> None:
        self.snapshots.pop(0)

    @precondition(lambda self: self.snapshots)
    @rule()
    def join(self) -> None:
        """Read a snapshot to its end: it shows the moment when it was taken."""
        parts, read, expected = self.snapshots.pop()
        read += parts
        joined = make(sync=SMALL_PARTS)
        restore(joined, read)
        assert list(joined.view.items()) == list(expected.items())
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
        assert list(self.one.view.items()) == list(self.model.items())
        assert list(self.told.items()) == list(self.model.items())
        assert len(self.one._items._active_iterators.refs) <= len(self.snapshots)

    def teardown(self) -> None:
        self.catch_up()


def test_map_is_a_dict_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insertion, "CHUNK_MAX", 4)
    monkeypatch.setattr(insertion, "STALE_FREE", 6)
    run_state_machine_as_test(
        MapModel, settings=settings(max_examples=150, stateful_step_count=50, deadline=None)
    )


def test_view_shows_what_its_items_show() -> None:
    machine = filled({"a": 1})
    view: MapView[str, int] = MapView(machine._items)
    restore(machine, list(filled({"b": 2}).snapshot()))
    assert view == {"b": 2}
