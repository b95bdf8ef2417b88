"""What a producer's handle accepted and its actor has not yet published.

The first item of a burst may leave without waiting here (`send_lone`): while the stream is
calm, and one subscriber has room. Otherwise the handle appends encoded items to `entries`; the
first one calls `wake`. While the stream is calm the actor then publishes that item at once
(`publish_now`); otherwise `wake` asks the actor for a flush, and until the actor
comes around to it, the rest of the loop turn's items pile up. The actor takes
as many as the subscribers have room for. Bounded in items and in bytes: at
`items_max` items, or `bytes_max` bytes, senders wait; one item of any size may be in it.

Items are counted, not entries: an `EncodedBatch` counts as many, and is cut where a limit
falls inside it, so that what is accepted and taken is the same items whether they
were encoded together or one by one. `send` knows nothing of that: `room` says
how many *entries* there may be, so each encoded batch lowers it by its other items.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ...waiters import MakeFuture, Waiters
from .encoded import EncodedBatch, EncodedItem, item_count_of
from .item_filter import SortedItem

CALM_IN_A_ROW = 16  # each at least a CALM_S after the one before, or an answer

Entry = EncodedItem | EncodedBatch | SortedItem


class Outbox:
    """The buffer between `send` and the producer actor.

    Attributes:
        entries: The items, encoded. Append only single ones, while it is shorter than
            `room`, and `byte_count` stays within `bytes_max`.
        byte_count: The bytes of all entries. Whoever appends adds to it.
        bytes_max: How many there may be.
        room: How long `entries` may get now, by entries of one item: 0 while offline or closed.
        calm_left: How many bursts more may leave at once; with none left the next sender gives
            the loop a turn first. What leaves at once fills nothing up, so nothing else would
            make a sender wait.
        senders: Who waits for room or for the producer to be online.
        send_lone: Set by the actor: sends an item that need not wait for company past
            `entries`, which are empty, and returns whether it did.
        publish_now: Set by the actor: publishes what is there, if the stream is
            calm, and returns whether it did.
        is_closed: No item is accepted any more.
    """

    __slots__ = (
        "_extra_items",
        "_items_max",
        "byte_count",
        "bytes_max",
        "calm_left",
        "entries",
        "is_closed",
        "publish_now",
        "room",
        "send_lone",
        "senders",
        "wake",
    )  # fmt: skip

    def __init__(
        self,
        *,
        items_max: int,
        bytes_max: int,
        wake: Callable[[], None],
        make_future: MakeFuture,
    ) -> None:
        self.entries: list[Entry] = []
        self.room = 0
        self.senders = Waiters(make_future)
        self.is_closed = False
        self.calm_left = CALM_IN_A_ROW
        self.wake = wake
        self.send_lone: Callable[[Entry], bool] = _not_alone
        self.publish_now: Callable[[], bool] = _not_now
        self._items_max = items_max
        self._extra_items = 0  # beyond one per entry
        self.bytes_max = bytes_max
        self.byte_count = 0

    @property
    def is_ready(self) -> bool:
        """Whether items are accepted at all: online and not closed."""
        return self.room > 0

    @property
    def item_count(self) -> int:
        """How many items there are."""
        return len(self.entries) + self._extra_items

    def set_online(self, online: bool) -> None:
        """Accept items from now on, or no more."""
        self.room = self._items_max - self._extra_items if online and not self.is_closed else 0
        self.wake_senders()

    def close(self) -> None:
        """Accept no more items; those who wait find out. What is in `entries` stays."""
        self.is_closed = True
        self.room = 0
        self.senders.wake_all()

    def has_room(self, byte_count: int) -> bool:
        """Return whether an entry of this size would be accepted now."""
        if len(self.entries) >= self.room:
            return False
        return self.byte_count + byte_count <= self.bytes_max or not self.entries

    def append(self, entry: Entry) -> None:
        """Accept an entry; call only when it `has_room`."""
        if not self.entries and self.send_lone(entry):
            self.note_published()
        else:
            self.put(entry)

    def put(self, entry: Entry) -> None:
        """Accept an entry that `send_lone` does not send; call only when it `has_room`."""
        self.byte_count += len(entry)
        self.entries.append(entry)
        if len(self.entries) == 1:
            self.wake()

    def extend(self, entries: list[EncodedItem | EncodedBatch], start: int = 0) -> int:
        """Accept items from `entries[start]` on while there is room; return how many entries.

        An encoded batch that fits in part is cut in two in `entries`, and the first one accepted.
        """
        item_room = self._items_max - self.item_count if self.room else 0
        byte_room = self.bytes_max - self.byte_count
        was_empty = not self.entries
        if item_room <= 0 or (byte_room <= 0 and not was_empty):
            return 0
        end, item_count, byte_count = _fit(
            entries, start, item_room, byte_room, at_least_one=was_empty
        )
        if end == start:
            return 0
        item_count += self.item_count
        self.entries += entries[start:end]
        self.byte_count += byte_count
        self._recount(item_count)
        if was_empty:
            self.wake()
        return end - start

    def take(self, item_room: int, byte_room: int) -> list[Entry]:
        """Return the next entries that fit, in order; at least one item if there is any room.

        Call `wake_senders` when what was taken is on its way.
        """
        entries = self.entries
        if not entries or item_room <= 0 or byte_room <= 0:
            return []
        if len(entries) + self._extra_items <= item_room and self.byte_count <= byte_room:
            self.entries = []
            self.byte_count = 0
            if self._extra_items:
                self._recount(0)
            return entries
        rest_items = self.item_count
        fit = _fit if self._extra_items else _fit_single
        end, item_count, byte_count = fit(entries, 0, item_room, byte_room, at_least_one=True)
        taken, self.entries = entries[:end], entries[end:]
        self.byte_count -= byte_count
        self._recount(rest_items - item_count)
        return taken

    def take_all(self) -> list[Entry]:
        """Return all entries there are, however many."""
        return self.take(sys.maxsize, sys.maxsize)

    def note_published(self) -> None:
        """Take in that a burst left at once."""
        self.calm_left -= self.calm_left > 0

    def wake_senders(self) -> None:
        """Let those who wait for room go on, as far as there is some."""
        self.senders.wake(self.room - len(self.entries))

    def _recount(self, item_count: int) -> None:
        """Take in that `entries` hold so many items now."""
        extra_items = item_count - len(self.entries)
        if self.room:
            self.room -= extra_items - self._extra_items
        self._extra_items = extra_items


def _not_alone(_entry: Entry) -> bool:
    return False


def _not_now() -> bool:
    return False


def _fit(
    entries: list[Any], start: int, item_room: int, byte_room: int, *, at_least_one: bool
) -> tuple[int, int, int]:
    """Return where the entries that fit end, and how many items and bytes those have.

    An encoded batch that the end falls into is cut in two there, in `entries`.
    """
    end, item_count, byte_count = start, 0, 0
    while end < len(entries):
        entry = entries[end]
        items, size = item_count_of(entry), len(entry)
        if item_count + items > item_room or byte_count + size > byte_room:
            is_first = at_least_one and end == start
            if isinstance(entry, EncodedBatch):
                head, tail = entry.cut(item_room - item_count, byte_room - byte_count)
                if head is None and is_first:
                    head, tail = entry.cut(1, sys.maxsize)
                if head is not None:
                    entries[end : end + 1] = [head] if tail is None else [head, tail]
                    return end + 1, item_count + head.item_count, byte_count + len(head)
            elif is_first:
                return end + 1, 1, size
            break
        end += 1
        item_count += items
        byte_count += size
    return end, item_count, byte_count


def _fit_single(
    entries: list[Entry], start: int, item_room: int, byte_room: int, *, at_least_one: bool
) -> tuple[int, int, int]:
    """Do the same where no entry is a batch, faster."""
    fitting = entries[start : start + item_room]
    byte_count = sum(map(len, fitting))
    if byte_count > byte_room:
        byte_count, count = 0, 0
        for entry in fitting:
            if byte_count + len(entry) > byte_room and (count or not at_least_one):
                break
            count += 1
            byte_count += len(entry)
        return start + count, count, byte_count
    return start + len(fitting), len(fitting), byte_count
