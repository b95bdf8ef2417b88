"""What a producer's handle accepted and its actor has not yet published.

The handle appends encoded items to `parts`; the first one of a burst calls
`wake`. While the stream is calm the actor then publishes that item at once
(`publish_now`); otherwise `wake` asks the actor for a flush, and until the actor
comes around to it, the rest of the loop turn's items pile up. The actor takes
as many as the subscribers have room for. Bounded in items and in bytes: at
`room` items, or `bytes_max` bytes, senders wait; one item of any size may be in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from .parts import Part
from .sieve import SortedPart
from .waiters import MakeFuture, Waiters

Entry = Part | SortedPart


class Outbox:
    """The buffer between `send` and the producer actor.

    Attributes:
        parts: The items, encoded. Append only while it is shorter than `room`,
            and `byte_count` stays within `bytes_max`.
        byte_count: The bytes of all parts. Whoever appends adds to it.
        bytes_max: How many there may be.
        room: How long `parts` may get now: 0 while offline or closed.
        is_turn_due: Whether the next sender gives the loop a turn first.
        senders: Who waits for room or for the producer to be online.
        publish_now: Set by the actor: publishes what is there, if the stream is
            calm, and returns whether it did.
        is_closed: No item is accepted any more.
    """

    __slots__ = (
        "_items_max", "byte_count", "bytes_max", "is_closed", "is_turn_due", "parts",
        "publish_now", "room", "senders", "wake",
    )  # fmt: skip

    def __init__(
        self,
        *,
        items_max: int,
        bytes_max: int,
        wake: Callable[[], None],
        make_future: MakeFuture,
    ) -> None:
        self.parts: list[Entry] = []
        self.room = 0
        self.senders = Waiters(make_future)
        self.is_closed = False
        self.is_turn_due = False
        self.wake = wake
        self.publish_now: Callable[[], bool] = _not_now
        self._items_max = items_max
        self.bytes_max = bytes_max
        self.byte_count = 0

    @property
    def is_ready(self) -> bool:
        """Whether items are accepted at all: online and not closed."""
        return self.room > 0

    def set_online(self, online: bool) -> None:
        """Accept items from now on, or no more."""
        self.room = self._items_max if online and not self.is_closed else 0
        if self.room:
            self.senders.wake(self.room - len(self.parts))

    def close(self) -> None:
        """Accept no more items; those who wait find out. What is in `parts` stays."""
        self.is_closed = True
        self.room = 0
        self.senders.wake_all()

    def has_room(self, byte_count: int) -> bool:
        """Return whether a part of this size would be accepted now."""
        if len(self.parts) >= self.room:
            return False
        return self.byte_count + byte_count <= self.bytes_max or not self.parts

    def append(self, part: Entry) -> None:
        """Accept a part; call only when it `has_room`."""
        self.byte_count += len(part)
        self.parts.append(part)
        if len(self.parts) == 1:
            self.wake()

    def extend(self, parts: Sequence[Entry]) -> int:
        """Accept as many parts as there is room for; return how many."""
        fitting: Sequence[Entry] = parts[: max(self.room - len(self.parts), 0)]
        byte_room = self.bytes_max - self.byte_count
        if not fitting or (self.parts and byte_room <= 0):
            return 0
        byte_count = sum(map(len, fitting))
        if byte_count > byte_room:
            count = _fitting(fitting, byte_room)
            fitting = fitting[: count if self.parts else max(count, 1)]
            byte_count = sum(map(len, fitting))
            if not fitting:
                return 0
        was_empty = not self.parts
        self.parts += fitting
        self.byte_count += byte_count
        if was_empty:
            self.wake()
        return len(fitting)

    def take(self, item_room: int, byte_room: int) -> list[Entry]:
        """Return the next parts that fit, in order; at least one if there is any room."""
        parts = self.parts
        if not parts or item_room <= 0 or byte_room <= 0:
            return []
        if len(parts) <= item_room:
            taken, rest = parts, []
        else:
            taken, rest = parts[:item_room], parts[item_room:]
        taken_bytes = sum(map(len, taken)) if rest else self.byte_count
        if taken_bytes > byte_room:
            count = max(_fitting(taken, byte_room), 1)
            taken, rest = taken[:count], taken[count:] + rest
            taken_bytes = sum(map(len, taken))
        self.parts = rest
        self.byte_count -= taken_bytes
        if self.senders:
            self.senders.wake(self.room - len(rest))
        return taken

    def take_all(self) -> list[Entry]:
        """Return all parts there are, however many."""
        return self.take(max(len(self.parts), 1), sys.maxsize)


def _not_now() -> bool:
    return False


def _fitting(parts: Sequence[Entry], byte_room: int) -> int:
    """Return how many of the first parts have `byte_room` bytes or less together."""
    byte_count = 0
    for count, part in enumerate(parts):
        byte_count += len(part)
        if byte_count > byte_room:
            return count
    return len(parts)
