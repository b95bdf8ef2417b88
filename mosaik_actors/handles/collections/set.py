"""`Set` and `SetReader`: a set that all nodes share, and its order too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, TypeAlias, TypeVar, Unpack

from ...collections.commands import Cleared
from ...collections.config import CollectionConfig, CollectionSettings
from ...collections.set import MemberInserted, MemberRemoved, SetMachine, SetView
from ...collections.version import Version
from ...groups.member.events import StateReplaced
from ...ids import StoreId
from .handle import CollectionHandle, WriterHandle
from .replica import HasGroups

T = TypeVar("T")

SetChange: TypeAlias = MemberInserted[T] | MemberRemoved[T] | Cleared | StateReplaced
"""What `changes` gives of a set."""


class SetReader(CollectionHandle[SetMachine[T], SetChange[T]], SetView[T]):
    """Reads a set: a `collections.abc.Set`, in insertion order. Made by `Set.reader`."""

    kind: ClassVar[str] = "Set"
    machine_class: ClassVar[Any] = SetMachine


class Set(SetReader[T], WriterHandle[SetMachine[T], SetChange[T]]):
    """Reads and writes a set. Made by ``Set[T].writer(net, store_id)``."""

    @classmethod
    def reader(
        cls,
        net: HasGroups,
        store_id: StoreId | str,
        *,
        config: CollectionConfig | None = None,
        **settings: Unpack[CollectionSettings],
    ) -> SetReader[T]:
        """Return a reader of a set: it follows, and never votes. See `writer`."""
        opened: SetReader[T] = cls._open_reader(SetReader, net, store_id, config, settings)
        return opened

    async def insert(self, member: T) -> Version:
        """Add a member; `took_effect` says whether it was not there."""
        return await self._write_and_see(self._machine.insert(member), member)

    async def extend(self, members: Iterable[T]) -> Version:
        """Add several members, in order.

        They are committed some thousand at a time; others' writes may come
        between. Without members nothing is committed.
        """
        return await self._extend(list(members), self._machine.extend)

    async def remove(self, member: T) -> Version:
        """Remove a member; without it, do nothing. `took_effect` says whether it was there."""
        return await self._write_and_see(self._machine.remove(member), member)

    async def clear(self) -> Version:
        """Remove everything."""
        return await self._write(self._machine.clear(), None)
