"""`PriorityQueue`: keys with priorities and values, the same on every node.

Each key is there once. The queue is read from either end: from the highest
priority or from the lowest; among equal priorities the oldest comes first either
way, as with Python's ``sorted``, ``min`` and ``max``. How old an entry is, what
the data structure is and what is evicted says `ranking`:

    * A queue with a `capacity` that is full makes room by evicting the lowest
      priority, and of several the newest. So what is put in with a priority not
      above the lowest is not there afterwards.
    * Writing a value, or a priority equal to the present one, keeps an entry's place.
    * Inserting a key that is there gives it the new priority and value.

Any two priorities must compare; types for which that is not so are refused when
the machine is made, and a value such as NaN when a command is made. What another
program sends nevertheless does nothing.

A snapshot freezes the sorted order; each of its chunks is copied before its first
change after that. It shows the entries in the order of the list, from which ages
follow. Memory: for each entry a tuple of four, a number, and what a dictionary
takes; during a snapshot up to 8 bytes more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

from ..codec import EncodeError
from ..config import require_between
from ..errors import DecodeError
from ..groups.machine.machine import ApplyContext
from ..groups.machine.state_sync import StateSync
from ..ids import UniqueId
from .chunks import ChunkedList
from .commands import (
    Absent,
    Clear,
    Cleared,
    CollectionMachine,
    Extend,
    Handler,
    filled,
    is_same,
    maybe,
)
from .elements import Element
from .ordering import order_of
from .queue_records import (
    QueueCompareExchangeValue,
    QueueEvicted,
    QueueInsert,
    QueueInserted,
    QueueRemove,
    QueueRemoved,
    QueueRemoveRange,
    QueueUpdatePriority,
    QueueUpdateValue,
)
from .queue_view import PriorityQueueView
from .ranking import Entry, Inclusive, Ranking
from .snapshots import read_parts, write_parts

P = TypeVar("P")
K = TypeVar("K")
V = TypeVar("V")

__all__ = ["PriorityQueueMachine", "PriorityQueueView"]

CAPACITY_MAX: Final = 1 << 40

_Changes: TypeAlias = list[Any] | None


class PriorityQueueMachine(CollectionMachine, Generic[P, K, V]):
    """The state machine of a `PriorityQueue`.

    Args:
        priority_type: What priorities are: see `ordering`.
        key_type: What keys are; they must be hashable.
        value_type: What values are: a record, an annotated or builtin type, or ``Any``.
        store_id: Which collection it is.
        sync: How members that join get the state; `SnapshotSync` if not given.
        capacity: How many keys it holds at most; None is any number.

    Attributes:
        view: Reads the replica.

    Raises:
        ConfigError: Priorities would not compare, keys would not be hashable, or
            the capacity is less than 1.
        TypeError: msgspec cannot describe a type.
    """

    def __init__(
        self,
        priority_type: Any,
        key_type: Any,
        value_type: Any,
        *,
        store_id: UniqueId | str,
        sync: StateSync | None = None,
        capacity: int | None = None,
    ) -> None:
        if capacity is not None:
            require_between("capacity", capacity, 1, CAPACITY_MAX)
        self._has_place = order_of(priority_type)
        self._priority = Element[P](priority_type)
        self._key = Element[K](key_type, is_key=True)
        self._value = Element[V](value_type)
        p, k, v = self._priority.wire, self._key.wire, self._value.wire
        records = (
            filled(QueueInsert, p, k, v),
            filled(QueueUpdatePriority, p, k),
            filled(QueueUpdateValue, k, v),
            filled(QueueCompareExchangeValue, k, v),
            filled(QueueRemove, k),
            filled(QueueRemoveRange, p),
            Extend,
            Clear,
        )
        super().__init__(
            "PriorityQueue",
            (self._priority, self._key, self._value),
            records,
            store_id=store_id,
            sync=sync,
            settings="" if capacity is None else f"capacity={capacity}",
        )
        self._is_direct = self._key.is_direct and self._value.is_direct
        self._ranking: Ranking[P, K, V] = Ranking(capacity)
        self.contents = self._ranking
        self.view: PriorityQueueView[P, K, V] = PriorityQueueView(self._ranking)

    # Commands. All raise `EncodeError` for what is not of its type or has no place in the order.

    def insert(self, priority: P, key: K, value: V) -> QueueInsert[P, K, V]:
        """Return the command that puts a key in, or gives it another priority and value."""
        return QueueInsert(
            self._prepare_priority(priority), self._key.prepare(key), self._value.prepare(value)
        )

    def extend(self, items: Iterable[tuple[P, K, V]]) -> list[Extend]:
        """Return the commands that insert (priority, key, value), about 2,000 each."""
        triples = [(priority, key, value) for priority, key, value in items]
        columns = [[triple[column] for triple in triples] for column in range(3)]
        self._check_priorities(columns[0])
        return self._extends(columns)

    def update_priority(self, key: K, priority: P) -> QueueUpdatePriority[P, K]:
        """Return the command that gives a key another priority, if it is there."""
        return QueueUpdatePriority(self._key.prepare(key), self._prepare_priority(priority))

    def update_value(self, key: K, value: V) -> QueueUpdateValue[K, V]:
        """Return the command that gives a key another value, if it is there."""
        return QueueUpdateValue(self._key.prepare(key), self._value.prepare(value))

    def compare_exchange_value(
        self, key: K, expected: V, new: V | Absent | None
    ) -> QueueCompareExchangeValue[Any, Any]:
        """Return the command that gives a key another value, if its value is `expected` by then.

        `ABSENT` for the new one removes the key. So does None, unless values can be None.
        """
        return QueueCompareExchangeValue(
            self._key.prepare(key), self._value.prepare(expected), maybe(self._value, new)
        )

    def remove(self, key: K) -> QueueRemove[K]:
        """Return the command that removes a key, if it is there."""
        return QueueRemove(self._key.prepare(key))

    def remove_range(
        self, low: P | None, high: P | None, inclusive: Inclusive = "left"
    ) -> QueueRemoveRange[P]:
        """Return the command that removes all keys with a priority from `low` to `high`.

        Args:
            low: The lower limit; None is none.
            high: The upper limit; None is none.
            inclusive: Which limits belong to the range: "left" as in Python's
                ``range``, "right", "both" or "neither".

        Raises:
            ValueError: `inclusive` is none of these.
        """
        if inclusive not in ("left", "right", "both", "neither"):
            raise ValueError(f"inclusive is {inclusive!r}, expected left, right, both or neither")
        return QueueRemoveRange(
            None if low is None else self._prepare_priority(low),
            None if high is None else self._prepare_priority(high),
            inclusive,
        )

    def clear(self) -> Clear:
        """Return the command that removes all keys."""
        return Clear()

    # State.

    def snapshot(self) -> Iterator[bytes]:
        """Return the entries of this moment in parts."""
        order = self._ranking.order
        return write_parts(self.rows, _Iterator(order), len(order), self.part_items)

    def restore(self, parts: Iterable[bytes]) -> Iterator[None]:
        """Replace the entries by those of a snapshot, once all of it is read."""
        ranking: Ranking[P, K, V] = Ranking(self._ranking.capacity)
        for columns in read_parts(self.rows, parts):
            self._receive_priorities(columns[0])
            if not ranking.append_sorted(list(zip(*columns, strict=True))):
                raise DecodeError("a snapshot of a queue that is not in order, or too long")
            yield
        self._ranking.take_over(ranking)
        self._replaced()

    def check_readable(self, commands: Sequence[Any]) -> None:
        """Raise `DecodeError` if items could not be decoded, or have no place in the order."""
        for command in commands:
            if type(command) is Extend:
                self._receive_items(command)

    # Applying. What was received is read, and may raise `DecodeError`, before anything changes.

    def apply_batch(self, commands: Sequence[Any], ctx: ApplyContext) -> None:
        """Apply several commands in order, then publish what they changed.

        What only extends is put in as one: sorting once is much quicker.
        """
        if self.on_change is not None or any(type(command) is not Extend for command in commands):
            super().apply_batch(commands, ctx)
            return
        items: list[tuple[P, K, V]] = []
        for command in commands:
            items += self._receive_items(command)
        self._put_all(items, ctx.index, None)

    def _apply_insert(
        self, command: QueueInsert[Any, Any, Any], version: int, changes: _Changes
    ) -> None:
        priority, key, value = command.priority, command.key, command.value
        if self._has_place is not None:
            self._receive_priorities((priority,))
        if not self._is_direct:
            key, value = self._key.receive(key), self._value.receive(value)
        self._put(priority, key, value, version, changes)

    def _apply_extend(self, command: Extend, version: int, changes: _Changes) -> None:
        self._put_all(self._receive_items(command), version, changes)

    def _apply_update_priority(
        self, command: QueueUpdatePriority[Any, Any], version: int, changes: _Changes
    ) -> None:
        key, priority = self._key.receive(command.key), self._receive_priority(command.priority)
        self._changed(self._ranking.move(key, priority), version, changes)

    def _apply_update_value(
        self, command: QueueUpdateValue[Any, Any], version: int, changes: _Changes
    ) -> None:
        key, value = self._key.receive(command.key), self._value.receive(command.value)
        self._changed(self._ranking.update(key, value), version, changes)

    def _apply_exchange(
        self, command: QueueCompareExchangeValue[Any, Any], version: int, changes: _Changes
    ) -> None:
        key = self._key.receive(command.key)
        expected = self._value.receive(command.expected)
        new = list(map(self._value.receive, command.new))
        entry = self._ranking.entries.get(key)
        if entry is None or not is_same([entry[3]], [expected]):
            return
        if new:
            self._changed(self._ranking.update(key, new[0]), version, changes)
        else:
            self._removed(self._ranking.remove(key), version, changes)

    def _apply_remove(self, command: QueueRemove[Any], version: int, changes: _Changes) -> None:
        self._removed(self._ranking.remove(self._key.receive(command.key)), version, changes)

    def _apply_remove_range(
        self, command: QueueRemoveRange[Any], version: int, changes: _Changes
    ) -> None:
        limits = [limit for limit in (command.low, command.high) if limit is not None]
        self._receive_priorities(limits)
        entries = self._ranking.remove_range(command.low, command.high, command.inclusive)
        if changes is not None:
            for entry in entries:
                self._removed(entry, version, changes)

    def _apply_clear(self, command: Clear, version: int, changes: _Changes) -> None:
        if self._ranking.entries:
            self._ranking.clear()
            if changes is not None:
                changes.append(Cleared(version))

    handlers: ClassVar[dict[type, Handler]] = {
        QueueInsert: _apply_insert,
        Extend: _apply_extend,
        QueueUpdatePriority: _apply_update_priority,
        QueueUpdateValue: _apply_update_value,
        QueueCompareExchangeValue: _apply_exchange,
        QueueRemove: _apply_remove,
        QueueRemoveRange: _apply_remove_range,
        Clear: _apply_clear,
    }

    # Helpers.

    def _receive_priority(self, priority: P) -> P:
        self._receive_priorities((priority,))
        return priority

    def _receive_items(self, command: Extend) -> list[tuple[P, K, V]]:
        columns = self.rows.unpack(command.rows)
        self._receive_priorities(columns[0])
        return list(zip(*columns, strict=True))

    def _put_all(self, items: list[tuple[P, K, V]], version: int, changes: _Changes) -> None:
        if changes is None and self._ranking.insert_all(items):
            return
        for priority, key, value in items:
            self._put(priority, key, value, version, changes)

    def _put(self, priority: P, key: K, value: V, version: int, changes: _Changes) -> None:
        ranking = self._ranking
        evicted = None
        if ranking.is_full:
            if not ranking.has_room(priority, key):
                return
            evicted = ranking.make_room(key)
        old = ranking.insert(priority, key, value)
        if changes is None:
            return
        was = None if old is None else (old[0], old[3])
        changes.append(QueueInserted(ranking.entries[key][2], priority, value, was, version))
        if evicted is not None:
            changes.append(QueueEvicted(evicted[2], evicted[0], evicted[3], version))

    def _changed(self, old: Entry[P, K, V] | None, version: int, changes: _Changes) -> None:
        if old is not None and changes is not None:
            priority, _, key, value = self._ranking.entries[old[2]]
            changes.append(QueueInserted(key, priority, value, (old[0], old[3]), version))

    def _removed(self, old: Entry[P, K, V] | None, version: int, changes: _Changes) -> None:
        if old is not None and changes is not None:
            changes.append(QueueRemoved(old[2], old[0], old[3], version))

    def _prepare_priority(self, priority: P) -> Any:
        self._check_priorities([priority])
        return self._priority.prepare(priority)

    def _check_priorities(self, priorities: list[Any]) -> None:
        """Raise `EncodeError` for the first that has no place in the order."""
        if self._has_place is None:
            return
        for priority in priorities:
            try:
                has_place = self._has_place(priority)
            except (TypeError, AttributeError, LookupError):
                continue  # not of the type, which encoding says better
            if not has_place:
                raise EncodeError(priority, f"{priority!r} has no place among priorities"[:500])

    def _receive_priorities(self, priorities: Sequence[P]) -> None:
        """Raise `DecodeError` unless all have a place in the order."""
        if self._has_place is not None and not all(map(self._has_place, priorities)):
            raise DecodeError("a priority without a place in the order")


class _Iterator:
    """Reads through the entries of one moment, as the three columns of a snapshot."""

    __slots__ = ("_entries",)

    def __init__(self, order: ChunkedList[Any]) -> None:
        self._entries = order.freeze()

    def take(self, count: int) -> list[list[Any]]:
        entries = self._entries.take(count)
        return [[entry[column] for entry in entries] for column in (0, 2, 3)]
