"""Encoded items on their way from the handle to a frame.

An *entry* is an `EncodedItem`, or an `EncodedBatch`: several that were encoded by one
call, their bytes one after the other, as a join of the items would be. An encoded batch
is only a way to hold items. It joins as they do, and is cut between any two of them where
a limit falls inside, so what is accepted, counted and sent is the same with and without.

MessagePack does not say where an item ends before it is read, so a cut has to
walk over the items again (0.06 us each, against 0.07 to encode one). That is why
encoded batches are short: a cut then costs a few microseconds, and each burst has few.

Invariant: the items of an encoded batch, joined, are its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise

import msgpack

from ...wire_limits import split_array


class WholeBatch:
    """One item as a batch of its own, which no other entry can join.

    It is no bytes, so that an attempt to join it fails instead of making nonsense.
    """

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)


class EncodedBatch:
    """Several items, one after the other, as one encoder call wrote them.

    Its length is in bytes, that of its items together. It is no bytes, as
    `WholeBatch` is none, because a join has to count it as many.
    """

    __slots__ = ("data", "item_count")

    def __init__(self, data: bytes, item_count: int) -> None:
        self.data = data
        self.item_count = item_count

    def __len__(self) -> int:
        return len(self.data)

    def items(self) -> list[bytes]:
        """Return the items as entries of their own."""
        head = array_header(self.item_count)
        try:
            return list(map(bytes, split_array(head + self.data)))
        except RecursionError:
            return self._items_deep()

    def cut(
        self, items_max: int, bytes_max: int
    ) -> tuple[EncodedBatch | None, EncodedBatch | None]:
        """Return what fits within both limits, and the rest; None is nothing."""
        if self.item_count <= items_max and len(self.data) <= bytes_max:
            return self, None
        count = byte_count = 0
        for item in self.items()[: max(items_max, 0)]:
            if byte_count + len(item) > bytes_max:
                break
            count += 1
            byte_count += len(item)
        if not count:
            return None, self
        head = EncodedBatch(self.data[:byte_count], count)
        return head, EncodedBatch(self.data[byte_count:], self.item_count - count)

    def _items_deep(self) -> list[bytes]:
        """Return the items where one is nested about as deep as Python's stack lets it be."""
        reader = msgpack.Unpacker(max_buffer_size=len(self.data))  # it uses no stack
        reader.feed(self.data)
        ends = [0]
        for _ in range(self.item_count):
            reader.skip()
            ends.append(reader.tell())
        return [self.data[start:end] for start, end in pairwise(ends)]


EncodedItem = bytes | WholeBatch  # of one item


def item_count_of(entry: object) -> int:
    """Return how many items an entry has: one, but for an `EncodedBatch`."""
    return entry.item_count if isinstance(entry, EncodedBatch) else 1


def single_items(entries: Sequence[EncodedItem | EncodedBatch]) -> list[EncodedItem]:
    """Return the items of entries: encoded batches are taken apart."""
    single: list[EncodedItem] = []
    for entry in entries:
        single += entry.items() if isinstance(entry, EncodedBatch) else (entry,)
    return single


def array_header(count: int) -> bytes:
    """Return the head of a MessagePack array."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return struct.pack(">BH", 0xDC, count)
    return struct.pack(">BI", 0xDD, count)
