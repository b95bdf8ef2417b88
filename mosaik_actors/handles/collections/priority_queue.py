"""`PriorityQueue` and its reader: keys with priorities and values that all nodes share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self, TypeAlias, TypeVar, Unpack

from ...collections.commands import Absent, Cleared
from ...collections.config import CollectionConfig, CollectionSettings
from ...collections.priority_queue import PriorityQueueMachine, PriorityQueueView
from ...collections.queue_records import QueueEvicted, QueueInserted, QueueRemoved
from ...collections.ranking import Inclusive
from ...collections.version import Version
from ...groups.member.events import StateReplaced
from ...ids import StoreId
from .handle import CollectionHandle, WriterHandle
from .replica import HasGroups

P = TypeVar("P")
K = TypeVar("K")
V = TypeVar("V")

PriorityQueueChange: TypeAlias = (
    QueueInserted[P, K, V] | QueueRemoved[P, K, V] | QueueEvicted[P, K, V] | Cleared | StateReplaced
)
"""What `changes` gives of a priority queue."""


class PriorityQueueReader(
    CollectionHandle[PriorityQueueMachine[P, K, V], PriorityQueueChange[P, K, V]],
    PriorityQueueView[P, K, V],
):
    """Reads a priority queue, from either end or by key. Made by `PriorityQueue.reader`."""

    kind: ClassVar[str] = "PriorityQueue"
    type_count: ClassVar[int] = 3
    machine_class: ClassVar[Any] = PriorityQueueMachine
    options: ClassVar[tuple[str, ...]] = ("capacity",)


class PriorityQueue(
    PriorityQueueReader[P, K, V],
    WriterHandle[PriorityQueueMachine[P, K, V], PriorityQueueChange[P, K, V]],
):
    """Reads and writes a priority queue.

    Made by ``PriorityQueue[P, K, V].writer(net, store_id)``: types of the
    priority, the key and the value.
    """

    @classmethod
    def writer(
        cls,
        net: HasGroups,
        store_id: StoreId | str,
        *,
        capacity: int | None = None,
        config: CollectionConfig | None = None,
        **settings: Unpack[CollectionSettings],
    ) -> Self:
        """Return a writer of a queue; see `Map.writer`.

        Args:
            net: The node.
            store_id: Which queue, by name or id.
            capacity: How many keys it holds at most, None for any number; part
                of the group's id.
            config: How it is opened.
            **settings: Fields of `CollectionConfig`, in place of those in `config`.
        """
        return cls._open(net, store_id, config, settings, is_observer=False, capacity=capacity)

    @classmethod
    def new(
        cls,
        net: HasGroups,
        store_id: StoreId | str,
        *,
        capacity: int | None = None,
        config: CollectionConfig | None = None,
        **settings: Unpack[CollectionSettings],
    ) -> Self:
        """Return a writer; the same as `writer`."""
        return cls.writer(net, store_id, capacity=capacity, config=config, **settings)

    @classmethod
    def reader(
        cls,
        net: HasGroups,
        store_id: StoreId | str,
        *,
        capacity: int | None = None,
        config: CollectionConfig | None = None,
        **settings: Unpack[CollectionSettings],
    ) -> PriorityQueueReader[P, K, V]:
        """Return a reader of a queue: it follows, and never votes. See `writer`."""
        opened: PriorityQueueReader[P, K, V] = cls._open_reader(
            PriorityQueueReader, net, store_id, config, settings, capacity=capacity
        )
        return opened

    async def insert(self, priority: P, key: K, value: V) -> Version:
        """Put a key in, or give it another priority and value.

        A full queue evicts its lowest priority for it, which may be this one: of a
        queue with a `capacity`, `took_effect` says whether the key is in, and the
        version's `changes` who had to go.
        """
        command = self._machine.insert(priority, key, value)
        write = self._write if self._machine._ranking.capacity is None else self._write_and_see
        return await write(command, (priority, key, value))

    async def extend(self, items: Iterable[tuple[P, K, V]]) -> Version:
        """Insert several (priority, key, value), in order.

        They are committed some thousand at a time; others' writes may come
        between. Without items nothing is committed.
        """
        return await self._extend(list(items), self._machine.extend)

    async def update_priority(self, key: K, priority: P) -> Version:
        """Give a key another priority; `took_effect` says whether it was there."""
        command = self._machine.update_priority(key, priority)
        return await self._write_and_see(command, (key, priority))

    async def update_value(self, key: K, value: V) -> Version:
        """Give a key another value; `took_effect` says whether it was there."""
        command = self._machine.update_value(key, value)
        return await self._write_and_see(command, (key, value))

    async def compare_exchange_value(self, key: K, expected: V, new: V | Absent | None) -> Version:
        """Give a key another value if its value is `expected` by then.

        `took_effect` says whether it was. `ABSENT` for the new one removes the
        key; so does None, unless values can be None.
        """
        command = self._machine.compare_exchange_value(key, expected, new)
        return await self._write_and_see(command, (key, expected, new))

    async def remove(self, key: K) -> Version:
        """Remove a key, if it is there; what it had is in the version's `changes`."""
        return await self._write_and_see(self._machine.remove(key), key)

    async def remove_range(
        self, low: P | None, high: P | None, inclusive: Inclusive = "left"
    ) -> Version:
        """Remove all keys with a priority from `low` to `high`; they are in the `changes`.

        Args:
            low: The lower limit; None is none.
            high: The upper limit; None is none.
            inclusive: Which limits belong to the range: "left" as in Python's
                ``range``, "right", "both" or "neither".

        Raises:
            ValueError: `inclusive` is none of these.
        """
        command = self._machine.remove_range(low, high, inclusive)
        return await self._write_and_see(command, (low, high, inclusive))

    async def clear(self) -> Version:
        """Remove all keys."""
        return await self._write(self._machine.clear(), None)
