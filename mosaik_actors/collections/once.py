"""Once: one value that is written once, the same on every node.

Of several writers the first one in the group's order wins; what others write
later does nothing. So whatever is read stays true: a name that was given, a
decision that was made.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from ..groups.machine.state_sync import StateSync
from ..ids import UniqueId
from .cell import SlotMachine, ValueSlot, ValueWritten, Write
from .commands import ContentsReplaced, Handler

T = TypeVar("T")


OnceChange = ValueWritten[T] | ContentsReplaced
"""What `on_change` yields for a value that is written once."""


class OnceView(Generic[T]):
    """What can be read of a value that is written once.

    Args:
        slot: Where the value is, which somebody else fills.
    """

    def __init__(self, slot: ValueSlot[T]) -> None:
        self._slot = slot

    def read(self) -> T | None:
        """Return the value, None when it was not written yet."""
        values = self._slot.values
        return values[0] if values else None

    def is_some(self) -> bool:
        """Return whether it was written."""
        return bool(self._slot.values)

    def is_none(self) -> bool:
        """Return whether it was not written yet."""
        return not self._slot.values

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._slot.values))})"


class OnceMachine(SlotMachine[T]):
    """The machine of a value that is written once.

    It tells the write as `ValueWritten`, whose `old` is `ABSENT`.

    Attributes:
        view: What it holds, to be read.

    Args:
        value_type: The type of the value.
        store_id: Which one it is.
        sync: How members that join get the state; None: `SnapshotSync`.

    Raises:
        TypeError: The type is none that msgspec can describe.
    """

    def __init__(
        self, value_type: Any, *, store_id: UniqueId | str, sync: StateSync | None = None
    ) -> None:
        super().__init__("Once", value_type, (Write,), store_id=store_id, sync=sync)
        self.view: OnceView[T] = OnceView(self._slot)

    def _apply_write(self, command: Write[Any], version: int, changes: list[Any] | None) -> None:
        value = self._value.receive(command.value)
        if not self._slot.values:
            self._put((value,), version, changes)

    handlers: ClassVar[dict[type, Handler]] = {Write: _apply_write}
