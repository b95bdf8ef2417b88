"""What a producer's handle accepted and its actor has not yet published.

The handle appends encoded items to `parts`; the first one of a burst calls
`wake`. While the stream is calm the actor then publishes that item at once
(`publish_now`); otherwise `wake` asks the actor for a flush, and until the actor
comes around to it, the rest of the loop turn's items pile up. The actor takes
as many as the subscribers have room for. Bounded in items and in bytes: at
`room` items, or with too many bytes of large items, senders wait.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from .parts import Part
from .sieve import SortedPart
from .waiters import MakeFuture, Waiters

LARGE_PART_BYTES = 16 * 1024

Entry = Part | SortedPart


class Outbox:
    """The buffer between `send` and the producer actor.

    Attributes:
        parts: The items, encoded. Append only while it is shorter than `room`.
        room: How long `parts` may get now: 0 while offline or closed.
        is_turn_due: Whether the next sender gives the loop a turn first.
        senders: Who waits for room or for the producer to be online.
        publish_now: Set by the actor: publishes what is there, if the stream is
            calm, and returns whether it did.
        is_closed: No item is accepted any more.
    """

    __slots__ = (
        "_bytes_max", "_items_max", "_large_bytes", "is_closed", "is_turn_due", "parts",
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
        self._bytes_max = bytes_max
        self._large_bytes = 0

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
        return (
            byte_count < LARGE_PART_BYTES
            or self._large_bytes == 0
            or self._large_bytes + byte_count <= self._bytes_max
        )

    def append(self, part: Entry) -> None:
        """Accept a part; call only when it `has_room`."""
        if len(part) >= LARGE_PART_BYTES:
            self._large_bytes += len(part)
        self.parts.append(part)
        if len(self.parts) == 1:
            self.wake()

    def extend(self, parts: Sequence[Entry]) -> None:
        """Accept several parts, none of them large; call only with room for all."""
        was_empty = not self.parts
        self.parts += parts
        if was_empty and parts:
            self.wake()

    def take(self, item_room: int, byte_room: int) -> list[Entry]:
        """Return the next parts that fit, in order; at least one if there is any room."""
        parts = self.parts
        if not parts or item_room <= 0 or byte_room <= 0:
            return []
        if len(parts) <= item_room:
            taken, rest = parts, []
        else:
            taken, rest = parts[:item_room], parts[item_room:]
        # Without large parts the usual case needs no look at the sizes.
        small = not self._large_bytes and len(taken) * LARGE_PART_BYTES <= byte_room
        if not small and sum(map(len, taken)) > byte_room:
            count = _fitting(taken, byte_room)
            taken, rest = taken[:count], taken[count:] + rest
        self.parts = rest
        if self._large_bytes:
            self._large_bytes = sum(len(part) for part in rest if len(part) >= LARGE_PART_BYTES)
        if self.senders:
            self.senders.wake(self.room - len(rest))
        return taken

    def take_all(self) -> list[Entry]:
        """Return all parts there are, however many."""
        return self.take(max(len(self.parts), 1), sys.maxsize)


def _not_now() -> bool:
    return False


def _fitting(parts: list[Entry], byte_room: int) -> int:
    byte_count = 0
    for count, part in enumerate(parts):
        byte_count += len(part)
        if byte_count > byte_room:
            return max(count, 1)
    return len(parts)
