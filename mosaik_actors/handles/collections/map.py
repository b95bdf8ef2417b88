"""`Map` and `MapReader`: a dictionary that all nodes share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, Unpack

from ...collections.commands import Absent, Cleared
from ...collections.config import CollectionConfig, CollectionSettings
from ...collections.map import EntryInserted, EntryRemoved, EntryUpdated, MapMachine, MapView
from ...collections.version import Version
from ...groups.member.events import StateReplaced
from ...ids import StoreId
from .handle import CollectionHandle, WriterHandle
from .replica import HasGroups

K = TypeVar("K")
V = TypeVar("V")

MapChange: TypeAlias = (
    EntryInserted[K, V] | EntryUpdated[K, V] | EntryRemoved[K, V] | Cleared | StateReplaced
)
"""What `changes` gives of a map."""


class MapReader(CollectionHandle[MapMachine[K, V], MapChange[K, V]], MapView[K, V]):
    """Reads a map: a `collections.abc.Mapping`, in insertion order. Made by `Map.reader`."""

    kind: ClassVar[str] = "Map"
    type_count: ClassVar[int] = 2
    machine_class: ClassVar[Any] = MapMachine

    if not TYPE_CHECKING:  # type checkers say so themselves

        def __setitem__(self, key: Any, value: Any) -> None:
            raise TypeError("write `await m.insert(key, value)` for `m[key] = value`, on a writer")

        def __delitem__(self, key: Any) -> None:
            raise TypeError("write `await m.remove(key)` for `del m[key]`, on a writer")


class Map(MapReader[K, V], WriterHandle[MapMachine[K, V], MapChange[K, V]]):
    """Reads and writes a map. Made by ``Map[K, V].writer(net, store_id)``."""

    @classmethod
    def reader(
        cls,
        net: HasGroups,
        store_id: StoreId | str,
        *,
        config: CollectionConfig | None = None,
        **settings: Unpack[CollectionSettings],
    ) -> MapReader[K, V]:
        """Return a reader of a map: it follows, and never votes. See `writer`."""
        opened: MapReader[K, V] = cls._open_reader(MapReader, net, store_id, config, settings)
        return opened

    async def insert(self, key: K, value: V) -> Version:
        """Set the value of a key; a new key goes to the end."""
        return await self._write(self._machine.insert(key, value), (key, value))

    async def extend(self, items: Mapping[K, V] | Iterable[tuple[K, V]]) -> Version:
        """Set the values of several keys, in order.

        They are committed some thousand at a time; others' writes may come
        between. Without items nothing is committed.
        """
        pairs = list(items.items() if isinstance(items, Mapping) else items)
        return await self._extend(pairs, self._machine.extend)

    async def remove(self, key: K) -> Version:
        """Remove a key; without it, do nothing. `took_effect` says whether it was there."""
        return await self._write_and_see(self._machine.remove(key), key)

    async def compare_exchange(
        self, key: K, expected: V | Absent | None, new: V | Absent | None
    ) -> Version:
        """Set the value of a key if it is `expected` by then; `took_effect` says whether it was.

        `ABSENT` on either side stands for no value, so it can insert and remove.
        So does None, unless the map's values can be None.
        """
        command = self._machine.compare_exchange(key, expected, new)
        return await self._write_and_see(command, (key, expected, new))

    async def clear(self) -> Version:
        """Remove everything."""
        return await self._write(self._machine.clear(), None)
