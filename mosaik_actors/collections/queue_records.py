"""The commands of a priority queue, and the changes that come of them.

A command's types are filled in when the machine is made. A change names the key
as the queue has it, with the priority and the value, and the *version*: the
position of its command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import msgspec

from .commands import Cleared, ContentsReplaced
from .ranking import Inclusive

P = TypeVar("P")
K = TypeVar("K")
V = TypeVar("V")

# Commands.


class QueueInsert(msgspec.Struct, Generic[P, K, V], frozen=True, array_like=True, tag="insert"):
    """Put a key in, or give it another priority and value."""

    priority: P
    key: K
    value: V


class QueueUpdatePriority(
    msgspec.Struct, Generic[P, K], frozen=True, array_like=True, tag="priority"
):
    """Give a key that is there another priority."""

    key: K
    priority: P


class QueueUpdateValue(msgspec.Struct, Generic[K, V], frozen=True, array_like=True, tag="value"):
    """Give a key that is there another value."""

    key: K
    value: V


class QueueCompareExchangeValue(
    msgspec.Struct, Generic[K, V], frozen=True, array_like=True, tag="exchange"
):
    """Give a key whose value equals `expected` the new one; remove it if there is none."""

    key: K
    expected: V
    new: Annotated[tuple[V, ...], msgspec.Meta(max_length=1)]


class QueueRemove(msgspec.Struct, Generic[K], frozen=True, array_like=True, tag="remove"):
    """Remove a key."""

    key: K


class QueueRemoveRange(msgspec.Struct, Generic[P], frozen=True, array_like=True, tag="range"):
    """Remove the keys with a priority from `low` to `high`; None is no limit."""

    low: P | None
    high: P | None
    inclusive: Inclusive


# Changes.


@dataclass(frozen=True, slots=True)
class QueueInserted(Generic[P, K, V]):
    """A key was put in, or got another priority or value.

    Attributes:
        key: The key.
        priority: Its priority now.
        value: Its value now.
        old: The priority and value it had; None when it was not there.
        version: The command's position.
    """

    key: K
    priority: P
    value: V
    old: tuple[P, V] | None
    version: int


@dataclass(frozen=True, slots=True)
class QueueRemoved(Generic[P, K, V]):
    """A key was removed, with this priority and value."""

    key: K
    priority: P
    value: V
    version: int


@dataclass(frozen=True, slots=True)
class QueueEvicted(Generic[P, K, V]):
    """A key had to go because another one was put into a full queue."""

    key: K
    priority: P
    value: V
    version: int


PriorityQueueChange = (
    QueueInserted[P, K, V]
    | QueueRemoved[P, K, V]
    | QueueEvicted[P, K, V]
    | Cleared
    | ContentsReplaced
)
