"""Map: a dict that is the same on every node.

Reads are those of `collections.abc.Mapping`, local and synchronous. Keys are in
insertion order on every member, also on one that began with a snapshot: a new
key goes to the end, a new value of an old key leaves it where it is, and a key
that was removed and comes back goes to the end.

A value is handed out as it is kept. Whoever changes a list or a record that came
out of a map changes it for this member alone: write a new one instead.

An iteration that is under way when the map grows or shrinks raises RuntimeError, as
a dict's does; one that is under way at a `clear`, or when a snapshot takes the
place of everything, ends with what was there before.
"""

from __future__ import annotations

from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    ValuesView,
)
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar, overload

import msgspec

from ..errors import DecodeError
from ..groups.machine.state_sync import StateSync
from ..ids import UniqueId
from .commands import (
    Absent,
    Clear,
    Cleared,
    CollectionMachine,
    ContentsReplaced,
    Extend,
    Handler,
    filled,
    is_same,
    maybe,
)
from .elements import Element
from .insertion import InsertionOrder
from .snapshots import read_parts, write_parts

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class MapInsert(msgspec.Struct, Generic[K, V], frozen=True, array_like=True, tag="insert"):
    """Set the value of a key."""

    key: K
    value: V


class MapRemove(msgspec.Struct, Generic[K], frozen=True, array_like=True, tag="remove"):
    """Remove a key; without it, do nothing."""

    key: K


class MapCompareExchange(msgspec.Struct, Generic[K, V], frozen=True, array_like=True, tag="cas"):
    """Set the value of a key if it is now `expected`; empty stands for no value."""

    key: K
    expected: Annotated[tuple[V, ...], msgspec.Meta(max_length=1)]
    new: Annotated[tuple[V, ...], msgspec.Meta(max_length=1)]


@dataclass(frozen=True, slots=True)
class EntryInserted(Generic[K, V]):
    """A key that was not there has a value now."""

    key: K
    value: V
    version: int


@dataclass(frozen=True, slots=True)
class EntryUpdated(Generic[K, V]):
    """A key has another value now, possibly an equal one; `old` is the one before."""

    key: K
    value: V
    old: V
    version: int


@dataclass(frozen=True, slots=True)
class EntryRemoved(Generic[K, V]):
    """A key is gone; `old` was its value."""

    key: K
    old: V
    version: int


class MapView(Mapping[K, V]):
    """What can be read of a map.

    Args:
        items: The items, which somebody else changes.
    """

    def __init__(self, items: InsertionOrder[K, V]) -> None:
        self._items = items

    def __getitem__(self, key: K) -> V:
        return self._items.data[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items.data)

    def __len__(self) -> int:
        return len(self._items.data)

    def __contains__(self, key: object) -> bool:
        return key in self._items.data

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MapView):
            return self._items.data == other._items.data
        return self._items.data == other if type(other) is dict else super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]  # as every Mapping that changes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items.data!r})"

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...
    def get(self, key: K, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        return self._items.data.get(key, default)

    def keys(self) -> KeysView[K]:
        """Return the keys, a live view."""
        return MapKeys(self)

    def values(self) -> ValuesView[V]:
        """Return the values, a live view."""
        return MapValues(self)

    def items(self) -> ItemsView[K, V]:
        """Return the pairs of keys and values, a live view."""
        return MapItems(self)


class MapKeys(KeysView[K]):
    """The keys of a map."""

    _mapping: MapView[K, Any]

    def __iter__(self) -> Iterator[K]:
        return iter(self._mapping._items.data)


class MapValues(ValuesView[V]):
    """The values of a map."""

    _mapping: MapView[Any, V]

    def __iter__(self) -> Iterator[V]:
        return iter(self._mapping._items.data.values())

    def __contains__(self, value: object) -> bool:
        return value in self._mapping._items.data.values()


class MapItems(ItemsView[K, V]):
    """The pairs of keys and values of a map."""

    _mapping: MapView[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return iter(self._mapping._items.data.items())


class MapMachine(CollectionMachine, Generic[K, V]):
    """The machine of a map.

    Attributes:
        view: What it holds, to be read.

    Args:
        key_type: The type of the keys, hashable.
        value_type: The type of the values.
        store_id: Which map it is.
        sync: How members that join get the state; None: `SnapshotSync`.

    Raises:
        ConfigError: Keys of this type have no hash.
        TypeError: A type is none that msgspec can describe.
    """

    def __init__(
        self,
        key_type: Any,
        value_type: Any,
        *,
        store_id: UniqueId | str,
        sync: StateSync | None = None,
    ) -> None:
        self._key: Element[K] = Element(key_type, is_key=True)
        self._value: Element[V] = Element(value_type)
        wires = self._key.wire, self._value.wire
        super().__init__(
            "Map",
            (self._key, self._value),
            (
                filled(MapInsert, *wires),
                filled(MapRemove, self._key.wire),
                filled(MapCompareExchange, *wires),
                Extend,
                Clear,
            ),
            store_id=store_id,
            sync=sync,
        )
        self._is_direct = self._key.is_direct and self._value.is_direct
        self._items: InsertionOrder[K, V] = InsertionOrder()
        self.contents = self._items
        self.view: MapView[K, V] = MapView(self._items)

    # Commands.

    def insert(self, key: K, value: V) -> MapInsert[Any, Any]:
        """Return the command that sets the value of a key. Raises `EncodeError`."""
        return MapInsert(self._key.prepare(key), self._value.prepare(value))

    def extend(self, items: Mapping[K, V] | Iterable[tuple[K, V]]) -> list[Extend]:
        """Return the commands that set the values of several keys. Raises `EncodeError`.

        There are as many as their sizes demand, none for no items, and others'
        commands may come between them.
        """
        pairs = list(items.items() if isinstance(items, Mapping) else items)
        return self._extends(([key for key, _ in pairs], [value for _, value in pairs]))

    def remove(self, key: K) -> MapRemove[Any]:
        """Return the command that removes a key, if it is there. Raises `EncodeError`."""
        return MapRemove(self._key.prepare(key))

    def compare_exchange(
        self, key: K, expected: V | Absent | None, new: V | Absent | None
    ) -> MapCompareExchange[Any, Any]:
        """Return the command that sets the value of a key if it is `expected` by then.

        `ABSENT` on either side stands for no value, so it can insert and remove. So
        does None, unless the map's values can be None.

        Raises:
            EncodeError: An argument is not of its type.
        """
        return MapCompareExchange(
            self._key.prepare(key), maybe(self._value, expected), maybe(self._value, new)
        )

    def clear(self) -> Clear:
        """Return the command that removes everything."""
        return Clear()

    # Snapshots.

    def snapshot(self) -> Iterator[bytes]:
        """Return the state of this moment in parts, made one at a time."""
        return write_parts(self.rows, self._items.look(), len(self.view), self.part_items)

    def restore(self, parts: Iterable[bytes]) -> Iterator[None]:
        """Replace the state by that of a snapshot; nothing changes until all of it was read.

        Raises:
            DecodeError: The parts are no snapshot of such a map.
        """
        fresh: InsertionOrder[K, V] = InsertionOrder()
        for keys, values in read_parts(self.rows, parts):
            if fresh.put_many(keys, values) != len(keys):
                raise DecodeError("a snapshot with a key twice")
            yield
        self._items.take_over(fresh)
        self._replaced()

    # Applying.

    def _apply_insert(
        self, command: MapInsert[Any, Any], version: int, changes: list[Any] | None
    ) -> None:
        key, value = command.key, command.value
        if not self._is_direct:
            key, value = self._key.receive(key), self._value.receive(value)
        if changes is not None:
            self._tell_put(key, value, version, changes)
        self._items.put(key, value)

    def _apply_extend(self, command: Extend, version: int, changes: list[Any] | None) -> None:
        keys, values = self.rows.unpack(command.rows)
        if changes is None:
            self._items.put_many(keys, values)
            return
        for key, value in zip(keys, values, strict=True):
            self._tell_put(key, value, version, changes)
            self._items.put(key, value)

    def _apply_remove(
        self, command: MapRemove[Any], version: int, changes: list[Any] | None
    ) -> None:
        self._remove(self._key.receive(command.key), version, changes)

    def _apply_compare_exchange(
        self, command: MapCompareExchange[Any, Any], version: int, changes: list[Any] | None
    ) -> None:
        key = self._key.receive(command.key)
        expected = [self._value.receive(value) for value in command.expected]
        new = [self._value.receive(value) for value in command.new]
        now = [self._items.data[key]] if key in self._items.data else []
        if not is_same(now, expected):
            return
        if not new:
            self._remove(key, version, changes)
            return
        if changes is not None:
            self._tell_put(key, new[0], version, changes)
        self._items.put(key, new[0])

    def _apply_clear(self, command: Clear, version: int, changes: list[Any] | None) -> None:
        if changes is not None and self._items.data:
            changes.append(Cleared(version))
        self._items.clear()

    handlers: ClassVar[dict[type, Handler]] = {
        MapInsert: _apply_insert,
        MapRemove: _apply_remove,
        MapCompareExchange: _apply_compare_exchange,
        Extend: _apply_extend,
        Clear: _apply_clear,
    }

    def _remove(self, key: K, version: int, changes: list[Any] | None) -> None:
        if key not in self._items.data:
            return
        old = self._items.remove(key)
        if changes is not None:
            changes.append(EntryRemoved(key, old, version))

    def _tell_put(self, key: K, value: V, version: int, changes: list[Any]) -> None:
        data = self._items.data
        if key in data:
            changes.append(EntryUpdated(key, value, data[key], version))
        else:
            changes.append(EntryInserted(key, value, version))


MapChange = (
    EntryInserted[K, V] | EntryUpdated[K, V] | EntryRemoved[K, V] | Cleared | ContentsReplaced
)
"""What `on_change` tells of a map."""
