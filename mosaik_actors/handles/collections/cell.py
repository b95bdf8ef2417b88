"""`Cell` and `Once` with their readers: one value that all nodes share."""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias, TypeVar, Unpack

from ...collections.cell import CellMachine, CellView, ValueWritten
from ...collections.commands import Absent, Cleared
from ...collections.config import CollectionConfig, CollectionSettings
from ...collections.once import OnceMachine, OnceView
from ...collections.version import Version
from ...groups.member.events import StateReplaced
from ...ids import StoreId
from .handle import CollectionHandle, WriterHandle
from .replica import HasGroups

T = TypeVar("T")

CellChange: TypeAlias = ValueWritten[T] | Cleared | StateReplaced
"""What `changes` gives of a cell."""

OnceChange: TypeAlias = ValueWritten[T] | StateReplaced
"""What `changes` gives of a value that is written once."""


class CellReader(CollectionHandle[CellMachine[T], CellChange[T]], CellView[T]):
    """Reads a cell: one value, or none. Made by `Cell.reader`."""

    kind: ClassVar[str] = "Cell"
    machine_class: ClassVar[Any] = CellMachine


class Cell(CellReader[T], WriterHandle[CellMachine[T], CellChange[T]]):
    """Reads and writes a cell. Made by ``Cell[T].writer(net, store_id)``."""

    @classmethod
    def reader(
        cls,
        net: HasGroups,
        store_id: StoreId | str,
        *,
        config: CollectionConfig | None = None,
        **settings: Unpack[CollectionSettings],
    ) -> CellReader[T]:
        """Return a reader of a cell: it follows, and never votes. See `writer`."""
        opened: CellReader[T] = cls._open_reader(CellReader, net, store_id, config, settings)
        return opened

    async def write(self, value: T) -> Version:
        """Set the value."""
        return await self._write(self._machine.write(value), value)

    set = write

    async def compare_exchange(
        self, expected: T | Absent | None, new: T | Absent | None
    ) -> Version:
        """Set the value if it is `expected` by then; `took_effect` says whether it was.

        `ABSENT` on either side stands for no value. So does None, unless the
        cell's value can be None.
        """
        command = self._machine.compare_exchange(expected, new)
        return await self._write_and_see(command, (expected, new))

    async def clear(self) -> Version:
        """Remove the value."""
        return await self._write(self._machine.clear(), None)


class OnceReader(CollectionHandle[OnceMachine[T], OnceChange[T]], OnceView[T]):
    """Reads a value that is written once. Made by `Once.reader`."""

    kind: ClassVar[str] = "Once"
    machine_class: ClassVar[Any] = OnceMachine

    async def value(self) -> T:
        """Return the value, once it is written. May be cancelled.

        Raises:
            NetworkDown: This replica ends before.
        """
        slot = self._slot
        await self._wait(self.is_some)
        return slot.values[0]


class Once(OnceReader[T], WriterHandle[OnceMachine[T], OnceChange[T]]):
    """Reads and writes a value that is written once. Made by ``Once[T].writer(net, store_id)``.

    When two groups that began apart meet, the value of the one that goes on stays.
    """

    @classmethod
    def reader(
        cls,
        net: HasGroups,
        store_id: StoreId | str,
        *,
        config: CollectionConfig | None = None,
        **settings: Unpack[CollectionSettings],
    ) -> OnceReader[T]:
        """Return a reader of a value: it follows, and never votes. See `writer`."""
        opened: OnceReader[T] = cls._open_reader(OnceReader, net, store_id, config, settings)
        return opened

    async def write(self, value: T) -> Version:
        """Write the value if there is none; `took_effect` says whether this one was the first."""
        return await self._write_and_see(self._machine.write(value), value)
