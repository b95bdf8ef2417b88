"""`Vec`: a list, the same on every node.

Reads are those of `collections.abc.Sequence`. An index in a command counts in the
list as it is when the command is applied, a negative one from its end, as in
Python; one that is out of range then makes the command do nothing. (So does
`insert` behind the end: `list.insert` would clamp, but who inserts at a place
that is gone meanwhile means no other.)

Items are kept in a `ChunkedList`: pushing and popping at both ends, swapping and
reading by index cost about the same whatever the length, and inserting or
removing in the middle moves one chunk. A snapshot freezes the list of chunks, and a
chunk is copied before its first change after that; so while a snapshot is held,
memory grows by 8 bytes an item for the chunks that change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import index as as_index
from typing import Any, ClassVar, Generic, SupportsIndex, TypeAlias, TypeVar, overload

import msgspec

from ..groups.machine.state_sync import StateSync
from ..ids import UniqueId
from .chunks import ChunkedList
from .commands import Clear, Cleared, CollectionMachine, ContentsReplaced, Extend, Handler, filled
from .elements import Element
from .snapshots import read_parts, write_parts

T = TypeVar("T")

_Changes: TypeAlias = list[Any] | None


# Commands.


class VecPushBack(msgspec.Struct, Generic[T], frozen=True, array_like=True, tag="push_back"):
    """Add an item at the end."""

    value: T


class VecPushFront(msgspec.Struct, Generic[T], frozen=True, array_like=True, tag="push_front"):
    """Add an item at the front."""

    value: T


class VecInsert(msgspec.Struct, Generic[T], frozen=True, array_like=True, tag="insert"):
    """Add an item before the one at an index, or at the end if that is the length."""

    index: int
    value: T


class VecPopBack(msgspec.Struct, frozen=True, array_like=True, tag="pop_back"):
    """Remove the last item."""


class VecPopFront(msgspec.Struct, frozen=True, array_like=True, tag="pop_front"):
    """Remove the first item."""


class VecRemove(msgspec.Struct, frozen=True, array_like=True, tag="remove"):
    """Remove the item at an index."""

    index: int


class VecSwap(msgspec.Struct, frozen=True, array_like=True, tag="swap"):
    """Exchange the items at two indexes; both must be in range."""

    one: int
    other: int


class VecTruncate(msgspec.Struct, frozen=True, array_like=True, tag="truncate"):
    """Remove all items from an index on, which counts from the front."""

    length: int


# Changes.


@dataclass(frozen=True, slots=True)
class ItemInserted(Generic[T]):
    """An item was put in; what was at its index and behind it moved back."""

    index: int
    value: T
    version: int


@dataclass(frozen=True, slots=True)
class ItemRemoved(Generic[T]):
    """An item was removed; what was behind it moved up."""

    index: int
    value: T
    version: int


@dataclass(frozen=True, slots=True)
class ItemsSwapped:
    """The items at two indexes, from the front, changed places."""

    one: int
    other: int
    version: int


@dataclass(frozen=True, slots=True)
class Truncated:
    """The items from index `length` on were removed."""

    length: int
    version: int


VecChange = ItemInserted[T] | ItemRemoved[T] | ItemsSwapped | Truncated | Cleared | ContentsReplaced


class VecView(Sequence[T]):
    """Reads a `Vec`'s replica: a `collections.abc.Sequence` that equals the list of its items.

    It shows the replica as it is at each moment. As with a list, a change
    while an iteration is under way shows in it. A slice is a list of its own.

    Args:
        items: The replica's items.
    """

    __slots__ = ("_items",)
    __hash__ = None  # type: ignore[assignment]  # it changes, and equals lists

    def __init__(self, items: ChunkedList[T]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        items = self._items
        if type(index) is not int:
            if isinstance(index, slice):
                return self._slice(index)
            index = _as_int(index)
        count = len(items)
        if index < 0:
            index += count
        if 0 <= index < count:
            return items[index]
        raise IndexError("Vec index out of range")

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __reversed__(self) -> Iterator[T]:
        return reversed(self._items)

    def __contains__(self, value: object) -> bool:
        return any(value in chunk for chunk in self._items.chunks())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, VecView):
            other = other._items.to_list()
        if not isinstance(other, list):
            return NotImplemented
        return len(self) == len(other) and self._items.to_list() == other

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items.to_list()!r})"

    def count(self, value: Any) -> int:
        """Return how many items equal `value`."""
        return sum(chunk.count(value) for chunk in self._items.chunks())

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the index of the first item that equals `value`, from `start` up to `stop`.

        Raises:
            ValueError: There is none.
        """
        first, end, _ = slice(start, stop).indices(len(self))
        try:
            return first + self._items.slice(first, end).index(value)
        except ValueError:
            raise ValueError(f"{value!r} is not in Vec") from None

    def front(self) -> T | None:
        """Return the first item; None when there is none."""
        return self._items[0] if self._items else None

    def back(self) -> T | None:
        """Return the last item; None when there is none."""
        return self._items[len(self._items) - 1] if self._items else None

    def _slice(self, index: slice) -> list[T]:
        start, stop, step = index.indices(len(self._items))
        if step > 0:
            return self._items.slice(start, stop)[::step]
        # Backwards from `start` down to before `stop`: the same items, from their last.
        return self._items.slice(stop + 1, start + 1)[::step]


class VecMachine(CollectionMachine, Generic[T]):
    """The state machine of a `Vec`.

    Args:
        item_type: What the items are: a record, an annotated or builtin type, or ``Any``.
        store_id: Which collection it is.
        sync: How members that join get the state; `SnapshotSync` if not given.

    Attributes:
        view: Reads the replica.

    Raises:
        TypeError: msgspec cannot describe the type.
    """

    def __init__(
        self, item_type: Any, *, store_id: UniqueId | str, sync: StateSync | None = None
    ) -> None:
        self._item = item = Element[T](item_type)
        with_value = (filled(kind, item.wire) for kind in (VecPushBack, VecPushFront, VecInsert))
        others = (VecPopBack, VecPopFront, VecRemove, VecSwap, VecTruncate, Extend, Clear)
        super().__init__("Vec", (item,), (*with_value, *others), store_id=store_id, sync=sync)
        self._items: ChunkedList[T] = ChunkedList()
        self.contents = self._items
        self.view: VecView[T] = VecView(self._items)

    # Commands. Those with a value raise `EncodeError` when it is not of the type.

    def push_back(self, value: T) -> VecPushBack[T]:
        """Return the command that adds an item at the end."""
        return VecPushBack(self._item.prepare(value))

    def push_front(self, value: T) -> VecPushFront[T]:
        """Return the command that adds an item at the front."""
        return VecPushFront(self._item.prepare(value))

    def insert(self, index: SupportsIndex, value: T) -> VecInsert[T]:
        """Return the command that puts an item before the one at `index`.

        At the length it adds one at the end; beyond it, it does nothing.
        """
        return VecInsert(_as_int(index), self._item.prepare(value))

    def extend(self, values: Iterable[T]) -> list[Extend]:
        """Return the commands that add items at the end, about 2,000 each; none for no items."""
        return self._extends([list(values)])

    def pop_back(self) -> VecPopBack:
        """Return the command that removes the last item, if there is one."""
        return VecPopBack()

    def pop_front(self) -> VecPopFront:
        """Return the command that removes the first item, if there is one."""
        return VecPopFront()

    def remove(self, index: SupportsIndex) -> VecRemove:
        """Return the command that removes the item at `index`, if there is one."""
        return VecRemove(_as_int(index))

    def swap(self, one: SupportsIndex, other: SupportsIndex) -> VecSwap:
        """Return the command that exchanges two items, if there are both."""
        return VecSwap(_as_int(one), _as_int(other))

    def truncate(self, length: SupportsIndex) -> VecTruncate:
        """Return the command that leaves the first `length` items, if there are more.

        Raises:
            ValueError: `length` is negative.
        """
        if _as_int(length) < 0:
            raise ValueError(f"a length is 0 or more, got {length}")
        return VecTruncate(_as_int(length))

    def clear(self) -> Clear:
        """Return the command that removes all items."""
        return Clear()

    # State.

    def snapshot(self) -> Iterator[bytes]:
        """Return the items of this moment in parts."""
        return write_parts(self.rows, _Iterator(self._items), len(self._items), self.part_items)

    def restore(self, parts: Iterable[bytes]) -> Iterator[None]:
        """Replace the items by those of a snapshot, once all of it is read."""
        items: ChunkedList[T] = ChunkedList()
        for (column,) in read_parts(self.rows, parts):
            items.extend(column)
            yield
        self._items.take_over(items)
        self._replaced()

    # Applying.

    def _apply_push_back(self, command: VecPushBack[Any], version: int, changes: _Changes) -> None:
        value = self._item.receive(command.value)
        self._items.append(value)
        if changes is not None:
            changes.append(ItemInserted(len(self._items) - 1, value, version))

    def _apply_push_front(
        self, command: VecPushFront[Any], version: int, changes: _Changes
    ) -> None:
        self._put(0, self._item.receive(command.value), version, changes)

    def _apply_insert(self, command: VecInsert[Any], version: int, changes: _Changes) -> None:
        value, count = self._item.receive(command.value), len(self._items)
        place = count if command.index == count else _place(command.index, count)
        if place is not None:
            self._put(place, value, version, changes)

    def _apply_extend(self, command: Extend, version: int, changes: _Changes) -> None:
        (values,) = self.rows.unpack(command.rows)
        count = len(self._items)
        self._items.extend(values)
        if changes is not None:
            changes += [
                ItemInserted(index, value, version) for index, value in enumerate(values, count)
            ]

    def _apply_pop_back(self, command: VecPopBack, version: int, changes: _Changes) -> None:
        self._take(_place(-1, len(self._items)), version, changes)

    def _apply_pop_front(self, command: VecPopFront, version: int, changes: _Changes) -> None:
        self._take(_place(0, len(self._items)), version, changes)

    def _apply_remove(self, command: VecRemove, version: int, changes: _Changes) -> None:
        self._take(_place(command.index, len(self._items)), version, changes)

    def _apply_swap(self, command: VecSwap, version: int, changes: _Changes) -> None:
        items = self._items
        one, other = _place(command.one, len(items)), _place(command.other, len(items))
        if one is None or other is None or one == other:
            return
        here, there = items.find(one), items.find(other)
        value = items.at(here)
        items.replace(here, items.at(there))
        items.replace(there, value)
        if changes is not None:
            changes.append(ItemsSwapped(one, other, version))

    def _apply_truncate(self, command: VecTruncate, version: int, changes: _Changes) -> None:
        items, length = self._items, command.length
        if 0 <= length < len(items):
            items.pop_range(items.find(length), items.end())
            if changes is not None:
                changes.append(Truncated(length, version))

    def _apply_clear(self, command: Clear, version: int, changes: _Changes) -> None:
        if self._items:
            self._items.clear()
            if changes is not None:
                changes.append(Cleared(version))

    handlers: ClassVar[dict[type, Handler]] = {
        VecPushBack: _apply_push_back,
        VecPushFront: _apply_push_front,
        VecInsert: _apply_insert,
        Extend: _apply_extend,
        VecPopBack: _apply_pop_back,
        VecPopFront: _apply_pop_front,
        VecRemove: _apply_remove,
        VecSwap: _apply_swap,
        VecTruncate: _apply_truncate,
        Clear: _apply_clear,
    }

    # Helpers.

    def _put(self, place: int, value: T, version: int, changes: _Changes) -> None:
        self._items.insert(self._items.find(place), value)
        if changes is not None:
            changes.append(ItemInserted(place, value, version))

    def _take(self, place: int | None, version: int, changes: _Changes) -> None:
        if place is None:
            return
        value = self._items.pop(self._items.find(place))
        if changes is not None:
            changes.append(ItemRemoved(place, value, version))


class _Iterator:
    """Reads through the items of one moment, as the one column of a snapshot."""

    __slots__ = ("_items",)

    def __init__(self, items: ChunkedList[Any]) -> None:
        self._items = items.freeze()

    def take(self, count: int) -> list[list[Any]]:
        return [self._items.take(count)]


def _as_int(index: SupportsIndex) -> int:
    return int(as_index(index))


def _place(index: int, count: int) -> int | None:
    """Return an index counted from the front; None when it is out of range."""
    if index < 0:
        index += count
    return index if 0 <= index < count else None
