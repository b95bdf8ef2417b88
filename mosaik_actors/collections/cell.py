"""Cell: one value that is the same on every node, or none yet.

`compare_exchange` is what makes a cell more than a variable: of several writers
who saw the same value, one gets its own in. A cell also is the half that `once`
adds a rule to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar, overload

import msgspec

from ..errors import DecodeError
from ..groups.machine.state_sync import StateSync
from ..ids import UniqueId
from .commands import (
    ABSENT,
    Absent,
    Clear,
    Cleared,
    CollectionMachine,
    ContentsReplaced,
    Handler,
    filled,
    is_same,
    maybe,
)
from .elements import Element
from .snapshots import ColumnsIterator, read_parts, write_parts

T = TypeVar("T")
D = TypeVar("D")


class Write(msgspec.Struct, Generic[T], frozen=True, array_like=True, tag="write"):
    """Set the value."""

    value: T


class CellCompareExchange(msgspec.Struct, Generic[T], frozen=True, array_like=True, tag="cas"):
    """Set the value if it is now `expected`; empty stands for no value."""

    expected: Annotated[tuple[T, ...], msgspec.Meta(max_length=1)]
    new: Annotated[tuple[T, ...], msgspec.Meta(max_length=1)]


@dataclass(frozen=True, slots=True)
class ValueWritten(Generic[T]):
    """The value is another one, possibly an equal one; `old` is that before, or `ABSENT`."""

    value: T
    old: T | Absent
    version: int


CellChange = ValueWritten[T] | Cleared | ContentsReplaced
"""What `on_change` tells of a cell."""


class ValueSlot(Generic[T]):
    """Room for one value: `values` has none or one. To be read only."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: tuple[T, ...] = ()


class CellView(Generic[T]):
    """What can be read of a cell.

    Args:
        slot: Where the value is, which somebody else changes.
    """

    def __init__(self, slot: ValueSlot[T]) -> None:
        self._slot = slot

    @overload
    def read(self) -> T | None: ...
    @overload
    def read(self, default: T | D) -> T | D: ...
    def read(self, default: Any = None) -> Any:
        """Return the value, or the default when there is none."""
        values = self._slot.values
        return values[0] if values else default

    get = read

    def is_empty(self) -> bool:
        """Return whether there is no value."""
        return not self._slot.values

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._slot.values))})"


class SlotMachine(CollectionMachine, Generic[T]):
    """The base of the machines that hold one value: how it is kept in a snapshot.

    Args:
        kind: What sort of collection.
        value_type: The type of the value.
        generics: The records it takes whose field is a value.
        others: The records it takes besides.
        store_id: Which one it is.
        sync: How members that join get the state; None: `SnapshotSync`.
    """

    def __init__(
        self,
        kind: str,
        value_type: Any,
        generics: Iterable[Any],
        others: Iterable[Any] = (),
        *,
        store_id: UniqueId | str,
        sync: StateSync | None,
    ) -> None:
        self._value: Element[T] = Element(value_type)
        commands = [filled(generic, self._value.wire) for generic in generics]
        super().__init__(kind, (self._value,), (*commands, *others), store_id=store_id, sync=sync)
        self._slot: ValueSlot[T] = ValueSlot()
        self.contents = self._slot

    def write(self, value: T) -> Write[Any]:
        """Return the command that sets the value. Raises `EncodeError`."""
        return Write(self._value.prepare(value))

    def snapshot(self) -> Iterator[bytes]:
        """Return the state of this moment in parts."""
        values = list(self._slot.values)
        return write_parts(self.rows, ColumnsIterator((values,)), len(values), self.part_items)

    def restore(self, parts: Iterable[bytes]) -> Iterator[None]:
        """Replace the state by that of a snapshot; nothing changes until all of it was read.

        Raises:
            DecodeError: The parts are no snapshot of one such value.
        """
        values: tuple[T, ...] = ()
        for (more,) in read_parts(self.rows, parts):
            values += tuple(more)
            if len(values) > 1:
                raise DecodeError("a snapshot of several values, expected one at most")
            yield
        self._slot.values = values
        self._replaced()

    @property
    def element_count(self) -> int:
        """1 with a value, else 0."""
        return len(self._slot.values)

    def _put(self, values: tuple[T, ...], version: int, changes: list[Any] | None) -> None:
        old = self._slot.values
        self._slot.values = values
        if changes is None:
            return
        if values:
            changes.append(ValueWritten(values[0], old[0] if old else ABSENT, version))
        elif old:
            changes.append(Cleared(version))


class CellMachine(SlotMachine[T]):
    """The machine of a cell.

    Attributes:
        view: What it holds, to be read.

    Args:
        value_type: The type of the value.
        store_id: Which cell it is.
        sync: How members that join get the state; None: `SnapshotSync`.

    Raises:
        TypeError: The type is none that msgspec can describe.
    """

    def __init__(
        self, value_type: Any, *, store_id: UniqueId | str, sync: StateSync | None = None
    ) -> None:
        super().__init__(
            "Cell",
            value_type,
            (Write, CellCompareExchange),
            (Clear,),
            store_id=store_id,
            sync=sync,
        )
        self.view: CellView[T] = CellView(self._slot)

    # Commands.

    def compare_exchange(
        self, expected: T | Absent | None, new: T | Absent | None
    ) -> CellCompareExchange[Any]:
        """Return the command that sets the value if it is `expected` by then.

        `ABSENT` on either side stands for no value. So does None, unless the
        cell's value can be None.

        Raises:
            EncodeError: An argument is not of the cell's type.
        """
        return CellCompareExchange(maybe(self._value, expected), maybe(self._value, new))

    def clear(self) -> Clear:
        """Return the command that removes the value."""
        return Clear()

    # Applying.

    def _apply_write(self, command: Write[Any], version: int, changes: list[Any] | None) -> None:
        self._put((self._value.receive(command.value),), version, changes)

    def _apply_compare_exchange(
        self, command: CellCompareExchange[Any], version: int, changes: list[Any] | None
    ) -> None:
        expected = [self._value.receive(value) for value in command.expected]
        new = tuple(self._value.receive(value) for value in command.new)
        if is_same(self._slot.values, expected):
            self._put(new, version, changes)

    def _apply_clear(self, command: Clear, version: int, changes: list[Any] | None) -> None:
        self._put((), version, changes)

    handlers: ClassVar[dict[type, Handler]] = {
        Write: _apply_write,
        CellCompareExchange: _apply_compare_exchange,
        Clear: _apply_clear,
    }
