"""Set: a set that is the same on every node, also in its order.

Reads are those of `collections.abc.Set`, local and synchronous: algebra and
comparison with any other set. What they return, such as ``s & t``, is a plain
`set`. Unlike Python's own set, members are iterated over in the order in which
they were inserted, on every member of the group alike; one that was there already
stays where it is.

It has no hash, for it changes, and is equal to any set of the same members. For
iterations under way when it changes see `map`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from ..errors import DecodeError
from ..groups.machine.state_sync import StateSync
from ..ids import UniqueId
from .commands import Clear, Cleared, CollectionMachine, ContentsReplaced, Extend, Handler, filled
from .elements import Element
from .insertion import InsertionOrder
from .snapshots import read_parts, write_parts

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SetInsert(msgspec.Struct, Generic[T], frozen=True, array_like=True, tag="insert"):
    """Add a member; if it is there, do nothing."""

    member: T


class SetRemove(msgspec.Struct, Generic[T], frozen=True, array_like=True, tag="remove"):
    """Remove a member; without it, do nothing."""

    member: T


@dataclass(frozen=True, slots=True)
class MemberInserted(Generic[T]):
    """A member that was not there is now."""

    member: T
    version: int


@dataclass(frozen=True, slots=True)
class MemberRemoved(Generic[T]):
    """A member is gone."""

    member: T
    version: int


class SetView(Set[T_co]):
    """What can be read of a set.

    Args:
        items: The members, as keys, which somebody else changes.
    """

    def __init__(self, items: InsertionOrder[T_co, None]) -> None:
        self._items = items

    @classmethod
    def _from_iterable(cls, members: Iterable[Any]) -> set[Any]:
        return set(members)

    def __contains__(self, member: object) -> bool:
        return member in self._items.data

    def __iter__(self) -> Iterator[T_co]:
        return iter(self._items.data)

    def __len__(self) -> int:
        return len(self._items.data)

    # As in `Set`; between these types of sets the interpreter does it faster.

    def __le__(self, other: Set[Any]) -> bool:
        known = _known(other)
        return super().__le__(other) if known is None else self._items.data.keys() <= known

    def __lt__(self, other: Set[Any]) -> bool:
        known = _known(other)
        return super().__lt__(other) if known is None else self._items.data.keys() < known

    def __ge__(self, other: Set[Any]) -> bool:
        known = _known(other)
        return super().__ge__(other) if known is None else self._items.data.keys() >= known

    def __gt__(self, other: Set[Any]) -> bool:
        known = _known(other)
        return super().__gt__(other) if known is None else self._items.data.keys() > known

    def __eq__(self, other: object) -> bool:
        known = _known(other)
        return super().__eq__(other) if known is None else self._items.data.keys() == known

    __hash__ = None  # type: ignore[assignment]  # as every Set that changes

    def __repr__(self) -> str:
        members = ", ".join(map(repr, self._items.data))
        return f"{type(self).__name__}({{{members}}})" if members else f"{type(self).__name__}()"

    def is_subset(self, other: Iterable[Any]) -> bool:
        """Return whether all members are in `other`, which may be any iterable."""
        return self <= (other if isinstance(other, Set) else set(other))

    def is_superset(self, other: Iterable[Any]) -> bool:
        """Return whether all of `other`, which may be any iterable, are members."""
        return self >= (other if isinstance(other, Set) else set(other))


def _known(other: object) -> Set[Any] | None:
    """Return a set of a type that the interpreter can compare a dict's keys with."""
    if isinstance(other, SetView):
        return other._items.data.keys()
    return other if isinstance(other, set | frozenset) else None


class SetMachine(CollectionMachine, Generic[T]):
    """The machine of a set.

    Attributes:
        view: What it holds, to be read.

    Args:
        member_type: The type of the members, hashable.
        store_id: Which set it is.
        sync: How members that join get the state; None: `SnapshotSync`.

    Raises:
        ConfigError: Members of this type have no hash.
        TypeError: The type is none that msgspec can describe.
    """

    def __init__(
        self, member_type: Any, *, store_id: UniqueId | str, sync: StateSync | None = None
    ) -> None:
        self._member: Element[T] = Element(member_type, is_key=True)
        wire = self._member.wire
        super().__init__(
            "Set",
            (self._member,),
            (filled(SetInsert, wire), filled(SetRemove, wire), Extend, Clear),
            store_id=store_id,
            sync=sync,
        )
        self._items: InsertionOrder[T, None] = InsertionOrder(has_values=False)
        self.contents = self._items
        self.view: SetView[T] = SetView(self._items)

    # Commands.

    def insert(self, member: T) -> SetInsert[Any]:
        """Return the command that adds a member. Raises `EncodeError`."""
        return SetInsert(self._member.prepare(member))

    def extend(self, members: Iterable[T]) -> list[Extend]:
        """Return the commands that add several members, as many as their sizes demand.

        Raises:
            EncodeError: One is not of the set's type.
        """
        return self._extends((list(members),))

    def remove(self, member: T) -> SetRemove[Any]:
        """Return the command that removes a member, if it is there. Raises `EncodeError`."""
        return SetRemove(self._member.prepare(member))

    def clear(self) -> Clear:
        """Return the command that removes everything."""
        return Clear()

    # Snapshots.

    def snapshot(self) -> Iterator[bytes]:
        """Return the state of this moment in parts, made one at a time."""
        return write_parts(self.rows, self._items.look(), len(self.view), self.part_items)

    def restore(self, parts: Iterable[bytes]) -> Iterator[None]:
        """Replace the state by that of a snapshot; nothing changes until all of it was read.

        Raises:
            DecodeError: The parts are no snapshot of such a set.
        """
        fresh: InsertionOrder[T, None] = InsertionOrder(has_values=False)
        for (members,) in read_parts(self.rows, parts):
            if fresh.put_many(members, [None] * len(members)) != len(members):
                raise DecodeError("a snapshot with a member twice")
            yield
        self._items.take_over(fresh)
        self._replaced()

    # Applying.

    def _apply_insert(
        self, command: SetInsert[Any], version: int, changes: list[Any] | None
    ) -> None:
        self._insert(self._member.receive(command.member), version, changes)

    def _apply_extend(self, command: Extend, version: int, changes: list[Any] | None) -> None:
        (members,) = self.rows.unpack(command.rows)
        if changes is None:
            self._items.put_many(members, [None] * len(members))
            return
        for member in members:
            self._insert(member, version, changes)

    def _apply_remove(
        self, command: SetRemove[Any], version: int, changes: list[Any] | None
    ) -> None:
        member = self._member.receive(command.member)
        if member not in self._items.data:
            return
        self._items.remove(member)
        if changes is not None:
            changes.append(MemberRemoved(member, version))

    def _apply_clear(self, command: Clear, version: int, changes: list[Any] | None) -> None:
        if changes is not None and self._items.data:
            changes.append(Cleared(version))
        self._items.clear()

    handlers: ClassVar[dict[type, Handler]] = {
        SetInsert: _apply_insert,
        SetRemove: _apply_remove,
        Extend: _apply_extend,
        Clear: _apply_clear,
    }

    def _insert(self, member: T, version: int, changes: list[Any] | None) -> None:
        if member in self._items.data:
            return
        self._items.put(member, None)
        if changes is not None:
            changes.append(MemberInserted(member, version))


SetChange = MemberInserted[T] | MemberRemoved[T] | Cleared | ContentsReplaced
"""What `on_change` yields for a set."""
