"""`Vec` and `VecReader`: a list that all nodes share.

An index counts in the list as it is when the write is applied, which others may
have changed since it was read here; out of range then, the write does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex, TypeAlias, TypeVar, Unpack

from ...collections.commands import Cleared
from ...collections.config import CollectionConfig, CollectionSettings
from ...collections.vec import (
    ItemInserted,
    ItemRemoved,
    ItemsSwapped,
    Truncated,
    VecMachine,
    VecView,
)
from ...collections.version import Version
from ...groups.member.events import StateReplaced
from ...ids import StoreId
from .handle import CollectionHandle, WriterHandle
from .replica import HasGroups

T = TypeVar("T")

VecChange: TypeAlias = (
    ItemInserted[T] | ItemRemoved[T] | ItemsSwapped | Truncated | Cleared | StateReplaced
)
"""What `changes` gives of a list."""


class VecReader(CollectionHandle[VecMachine[T], VecChange[T]], VecView[T]):
    """Reads a list: a `collections.abc.Sequence`. Made by `Vec.reader`."""

    kind: ClassVar[str] = "Vec"
    machine_class: ClassVar[Any] = VecMachine

    if not TYPE_CHECKING:  # type checkers say so themselves

        def __setitem__(self, index: Any, value: Any) -> None:
            text = "write `await v.remove(i)` and `await v.insert(i, value)` for `v[i] = value`"
            raise TypeError(f"{text}, on a writer")

        def __delitem__(self, index: Any) -> None:
            raise TypeError("write `await v.remove(i)` for `del v[i]`, on a writer")


class Vec(VecReader[T], WriterHandle[VecMachine[T], VecChange[T]]):
    """Reads and writes a list. Made by ``Vec[T].writer(net, store_id)``.

    What a write removed, or where it put what, is in the `changes` of its version.
    """

    @classmethod
    def reader(
        cls,
        net: HasGroups,
        store_id: StoreId | str,
        *,
        config: CollectionConfig | None = None,
        **settings: Unpack[CollectionSettings],
    ) -> VecReader[T]:
        """Return a reader of a list: it follows, and never votes. See `writer`."""
        opened: VecReader[T] = cls._open_reader(VecReader, net, store_id, config, settings)
        return opened

    async def push_back(self, value: T) -> Version:
        """Add an item at the end."""
        return await self._write(self._machine.push_back(value), value)

    async def push_front(self, value: T) -> Version:
        """Add an item at the front."""
        return await self._write(self._machine.push_front(value), value)

    async def insert(self, index: SupportsIndex, value: T) -> Version:
        """Put an item before the one at `index`, or at the end if that is the length."""
        command = self._machine.insert(index, value)
        return await self._write_and_see(command, (index, value))

    async def extend(self, values: Iterable[T]) -> Version:
        """Add several items at the end, in order.

        They are committed some thousand at a time; others' writes may come
        between. Without items nothing is committed.
        """
        return await self._extend(list(values), self._machine.extend)

    async def pop_back(self) -> Version:
        """Remove the last item, if there is one; it is in the version's `changes`."""
        return await self._write_and_see(self._machine.pop_back(), None)

    async def pop_front(self) -> Version:
        """Remove the first item, if there is one; it is in the version's `changes`."""
        return await self._write_and_see(self._machine.pop_front(), None)

    async def remove(self, index: SupportsIndex) -> Version:
        """Remove the item at `index`, if there is one; it is in the version's `changes`."""
        return await self._write_and_see(self._machine.remove(index), index)

    async def swap(self, one: SupportsIndex, other: SupportsIndex) -> Version:
        """Exchange the items at two indexes, if there are both."""
        return await self._write_and_see(self._machine.swap(one, other), (one, other))

    async def truncate(self, length: SupportsIndex) -> Version:
        """Leave the first `length` items only. Raises `ValueError` for a negative length."""
        return await self._write_and_see(self._machine.truncate(length), length)

    async def clear(self) -> Version:
        """Remove everything."""
        return await self._write(self._machine.clear(), None)
