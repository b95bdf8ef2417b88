"""What the machines of all collections share: how they are named and how they apply.

A machine makes its commands (`MapMachine.insert` returns the record to execute)
and applies them, on every member alike. A command that cannot do anything, such as
the removal of what is not there, does nothing: it is applied, counts as a
command and raises nothing. So does one whose key or value of no type (``Any``) could
not be decoded, which only a program other than ours could have sent: that depends on
nothing but its bytes, so it is alike on every member. Commands read all they carry
before they change anything. What depends on the user's types, as the items of an
`Extend` do, ends the replica when it could not be decoded, as in any group; a leader
takes in none of those from other members (`check_readable`).

`Command` depends on the element types, so it belongs to the machine and not, as in
`StateMachine`, to its class: read it from the instance.

Changes are published once a batch, to whoever listens, and cost nothing otherwise.
Each carries its *version*: the position of its command, what `Group.execute` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import or_
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from ..errors import DecodeError
from ..groups.machine.machine import ApplyContext, StateMachine
from ..groups.machine.state_sync import StateSync
from ..groups.sync.settings import SnapshotSync
from ..ids import UniqueId
from .elements import Element
from .snapshots import Columns, ColumnsIterator, Rows, write_parts

T = TypeVar("T")

EXTEND_ITEMS_MAX: Final = 2000
"""The most items that one `Extend` gets here; its bytes are limited like a part's."""

PART_ITEMS_MAX: Final = 10_000
"""The most items in a part of a snapshot, whatever is asked for: one is made in a few ms."""

Handler = Callable[[Any, Any, int, list[Any] | None], None]
"""Applies one record: (machine, command, its version, where changes go if wanted)."""


class Absent(Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return self.name


ABSENT: Final = Absent.ABSENT
"""Stands for no value, where None may be one."""


class Extend(msgspec.Struct, frozen=True, array_like=True, tag="extend"):
    """Take in several items, in order: `Rows` as bytes."""

    rows: bytes


class Clear(msgspec.Struct, frozen=True, array_like=True, tag="clear"):
    """Remove everything."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """Everything was removed, and there was something."""

    version: int


@dataclass(frozen=True, slots=True)
class ContentsReplaced:
    """A snapshot took the place of what was there: read everything anew.

    It has no version of its own: the group knows which position it shows.
    """


def filled(kind: Any, *types: Any) -> Any:
    """Return a generic type of records with its fields' types filled in."""
    return kind[types]


def maybe(element: Element[Any], value: Any) -> tuple[Any, ...]:
    """Return a value that may be `ABSENT` as a command carries it: none or one.

    None is as good as `ABSENT` where it is no value.

    Raises:
        EncodeError: It is not of the element's type.
    """
    if value is ABSENT or (value is None and not element.takes_none):
        return ()
    return (element.prepare(value),)


def is_same(now: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Return whether there is the expected value: both none, or equal ones.

    What cannot be compared is not equal: values may be of types whose ``==``
    raises, such as signalling NaNs, and applying a command must not fail.
    """
    try:
        return len(now) == len(expected) and bool(
            all(one == other for one, other in zip(now, expected, strict=True))
        )
    except Exception:
        return False


class CollectionMachine(StateMachine):
    """The base of the machines of collections.

    A subclass lists in `handlers` what applies each type of record, and has the
    two halves of a snapshot.

    Attributes:
        kind: What sort of collection it is.
        store_id: Which collection it is.
        contents: What its views look at; to be read only.
        view: How they look.
        on_change: Called with the changes of a batch, in order; not when there are none.
        shared: What the handles on this node share; theirs alone (`api.replica`).

    Args:
        kind: What sort of collection, such as ``Map``.
        elements: Its element types.
        command_types: The records it takes, their fields filled in.
        store_id: Which collection it is.
        sync: How members that join get the state.
        settings: What else members must agree on, such as ``capacity=10``.

    Raises:
        TypeError: A type is none that msgspec can describe.
    """

    Query: ClassVar[Any] = None
    Result: ClassVar[Any] = None
    handlers: ClassVar[dict[type, Handler]]
    contents: Any
    view: Any
    shared: Any = None

    def __init__(
        self,
        kind: str,
        elements: Sequence[Element[Any]],
        command_types: Sequence[Any],
        *,
        store_id: UniqueId | str,
        sync: StateSync | None,
        settings: str = "",
    ) -> None:
        self.kind = kind
        self.store_id = UniqueId(store_id)
        self.on_change: Callable[[list[Any]], None] | None = None
        self.state_sync = sync or SnapshotSync()
        # All members must cut the same parts, so their size is part of the group's id.
        how = self.state_sync if isinstance(self.state_sync, SnapshotSync) else SnapshotSync()
        self.part_items = min(how.fetch_batch_size, PART_ITEMS_MAX)
        types = ", ".join(element.signature for element in elements)
        self.signature = (
            f"mosaik_actors.{kind}[{types}] store={self.store_id} parts={self.part_items}"
            + (f" {settings}" if settings else "")
        )
        # A class variable at `StateMachine`; here each instance has its own.
        self.__dict__["Command"] = reduce(or_, command_types)
        self.rows = Rows(*elements)

    def apply(self, command: Any, ctx: ApplyContext) -> None:
        """Apply one command."""
        self.apply_batch((command,), ctx)

    def apply_batch(self, commands: Sequence[Any], ctx: ApplyContext) -> None:
        """Apply several commands in order, then publish what they changed."""
        handlers = self.handlers
        on_change = self.on_change
        changes: list[Any] | None = None if on_change is None else []
        for version, command in enumerate(commands, ctx.index):
            try:
                handlers[type(command)](self, command, version, changes)
            except DecodeError:
                if type(command) is Extend:
                    raise
        if on_change is not None and changes:
            on_change(changes)

    def check_readable(self, commands: Sequence[Any]) -> None:
        """Raise `DecodeError` if what commands carry as bytes could not be decoded."""
        for command in commands:
            if type(command) is Extend:
                self.rows.unpack(command.rows)

    def reset(self) -> None:
        """Go back to the beginning, with nothing in it; published as `ContentsReplaced`.

        In place: what reads the replica is handed out and goes on reading it.
        """
        steps = self.restore(write_parts(self.rows, ColumnsIterator(([],)), 0, self.part_items))
        for _ in steps or ():
            pass

    @property
    def element_count(self) -> int:
        """How many elements it has."""
        return len(self.view)

    def query(self, query: None) -> None:
        """Return None. Reads are local; a strong query waits until they are up to date."""

    # Helpers.

    def _extends(self, columns: Columns) -> list[Extend]:
        """Return the commands that take in these items, each not too large.

        Raises:
            EncodeError: An item is not of its type, or too large.
        """
        return [Extend(data) for data in self._checked(columns)]

    def _checked(self, columns: Columns) -> Iterator[bytes]:
        start = 0
        while start < len(columns[0]):
            data, stop = self.rows.pack(columns, EXTEND_ITEMS_MAX, start)
            self.rows.require_arrival([column[start:stop] for column in columns], data)
            yield data
            start = stop

    def _replaced(self) -> None:
        """Publish that the state is another one now."""
        if self.on_change is not None:
            self.on_change([ContentsReplaced()])
