"""A list in chunks: frozen at once, changed anywhere without moving everything.

`Vec` and `PriorityQueue` keep their items in one. It is a list of short lists:

    * *Freezing* copies the outer list alone. From then on a chunk is copied before
      it is first changed, so what was frozen stays as it was. Nobody has to
      say that a frozen copy is no longer needed: it goes when it is dropped.
    * *Changing* moves the items of one chunk at most, at both ends as in the middle.
    * *Finding* an index is a bisection over the chunks' starts. Starts are counted
      from a moving origin, so that what happens at either end leaves them as they
      are; a change elsewhere forgets those behind it until they are wanted.

A `Spot` names a place within: the chunk's number and the offset in it. It is good
until the next change.

Invariants:
    * No chunk is empty or longer than `CHUNK_MAX`.
    * A chunk that is not owned is never changed.
    * ``_starts`` is right as far as it goes.

Memory: 8 bytes an item like a list's, and as much again, chunk by chunk, for
what is changed while a frozen copy is held.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, islice
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

CHUNK_MAX: Final = 2048
CHUNK_SMALL: Final = CHUNK_MAX // 8

Spot = tuple[int, int]

_last = itemgetter(-1)


class FrozenItems(Generic[T]):
    """The items of one moment, to be taken once, in order; each chunk is let go after its last.

    Args:
        chunks: The chunks, the first one last. They are taken out of this list.
    """

    __slots__ = ("_chunks", "_offset")

    def __init__(self, chunks: list[list[T]]) -> None:
        self._chunks = chunks
        self._offset = 0

    def take(self, count: int) -> list[T]:
        """Return the next items: `count` of them, fewer only at the end."""
        taken: list[T] = []
        while self._chunks and len(taken) < count:
            chunk = self._chunks[-1]
            piece = chunk[self._offset : self._offset + count - len(taken)]
            taken += piece
            self._offset += len(piece)
            if self._offset == len(chunk):
                self._chunks.pop()
                self._offset = 0
        return taken


class ChunkedList(Generic[T]):
    """A list of anything, see above. Indexes here are from 0 to the length, never negative.

    Attributes:
        changes: Counts the changes, so that an iterator notices them.
    """

    __slots__ = ("_chunks", "_length", "_owned", "_starts", "changes")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._chunks: list[list[T]] = []
        self._owned = bytearray()  # per chunk: 1 when no frozen copy has it
        self._starts: list[int] = []
        self._length = 0
        self.changes = 0
        self.extend(items)

    # Reading.

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> T:
        """Return the item at an index that must be in range."""
        starts = self._starts
        if len(starts) != len(self._chunks):
            self._find_starts()
        place = index + starts[0]
        number = bisect_right(starts, place) - 1
        return self._chunks[number][place - starts[number]]

    def __iter__(self) -> Iterator[T]:
        """Iterate by index as a list does, so that changes meanwhile show."""
        index = 0
        while index < self._length:
            changes = self.changes
            number, offset = self.find(index)
            for item in self._chunks[number][offset:]:
                yield item
                index += 1
                if changes != self.changes:
                    break

    def __reversed__(self) -> Iterator[T]:
        """Iterate backwards by index as a list does: ends when that index is gone."""
        index = self._length - 1
        while 0 <= index < self._length:
            changes = self.changes
            number, offset = self.find(index)
            for item in self._chunks[number][offset::-1]:
                yield item
                index -= 1
                if changes != self.changes:
                    break

    def chunks(self) -> Iterator[list[T]]:
        """Iterate over the chunks, which are not to be changed; nor may the list be meanwhile."""
        return iter(self._chunks)

    def slice(self, start: int, stop: int) -> list[T]:
        """Return the items from `start` up to `stop`, both in range."""
        if start >= stop:
            return []
        number, offset = self.find(start)
        found = self._chunks[number][offset : offset + stop - start]
        while len(found) < stop - start:
            number += 1
            found += self._chunks[number][: stop - start - len(found)]
        return found

    def to_list(self) -> list[T]:
        """Return all items as a list."""
        return list(chain.from_iterable(self._chunks))

    def freeze(self) -> FrozenItems[T]:
        """Return the items of this moment, which later changes leave alone.

        Takes a time that grows with the chunks, not with the items: microseconds
        for a million.
        """
        self._owned = bytearray(len(self._chunks))
        return FrozenItems(self._chunks[::-1])

    # Places.

    def find(self, index: int) -> Spot:
        """Return the place of an index; of the length, the place after the last item."""
        if index == self._length:
            return self.end()
        starts = self._starts
        if len(starts) != len(self._chunks):
            self._find_starts()
        place = index + starts[0]
        number = bisect_right(starts, place) - 1
        return number, place - starts[number]

    def end(self) -> Spot:
        """Return the place after the last item."""
        if not self._chunks:
            return 0, 0
        return len(self._chunks) - 1, len(self._chunks[-1])

    def before(self, spot: Spot) -> Spot:
        """Return the place before another one that is not the first."""
        number, offset = spot
        if offset:
            return number, offset - 1
        return number - 1, len(self._chunks[number - 1]) - 1

    def bisect(self, item: Any) -> Spot:
        """Return the place of the first item not less than `item`, in a list that is sorted."""
        chunks = self._chunks
        number = bisect_left(chunks, item, key=_last)
        if number == len(chunks):
            return self.end()
        return number, bisect_left(chunks[number], item)

    def has(self, spot: Spot) -> bool:
        """Return whether an item is at a place: it is not the end."""
        number, offset = spot
        return number < len(self._chunks) and offset < len(self._chunks[number])

    def at(self, spot: Spot) -> T:
        """Return the item at a place that has one."""
        return self._chunks[spot[0]][spot[1]]

    # Changing.

    def append(self, item: T) -> None:
        """Add an item at the end."""
        self.changes += 1
        self._length += 1
        chunks = self._chunks
        if not chunks or len(chunks[-1]) >= CHUNK_MAX:
            self._add_chunk([item])
        elif self._owned[-1]:
            chunks[-1].append(item)
        else:
            self._own(len(chunks) - 1).append(item)

    def extend(self, items: Iterable[T]) -> None:
        """Add items at the end."""
        self.changes += 1
        rest = iter(items)
        if self._chunks and len(self._chunks[-1]) < CHUNK_MAX:
            last = self._own(len(self._chunks) - 1)
            before = len(last)
            last.extend(islice(rest, CHUNK_MAX - before))
            self._length += len(last) - before
        while chunk := list(islice(rest, CHUNK_MAX)):
            self._add_chunk(chunk)
            self._length += len(chunk)

    def insert(self, spot: Spot, item: T) -> None:
        """Put an item at a place; what is there and behind it moves back."""
        number, offset = spot
        chunks = self._chunks
        if number >= len(chunks) or len(chunks[number]) >= CHUNK_MAX:
            if spot == self.end():
                self.append(item)
                return
            if spot == (0, 0):  # what grows at the front leaves full chunks behind, too
                self._add_chunk_in_front(item)
                return
            number, offset = self._split(number, offset)
        self.changes += 1
        self._length += 1
        chunk = chunks[number] if self._owned[number] else self._own(number)
        chunk.insert(offset, item)
        if len(self._starts) > 1 or not number:
            self._moved(number, 1)

    def replace(self, spot: Spot, item: T) -> None:
        """Put an item in place of another one."""
        self.changes += 1
        self._own(spot[0])[spot[1]] = item

    def pop(self, spot: Spot) -> T:
        """Remove the item at a place and return it."""
        self.changes += 1
        self._length -= 1
        number, offset = spot
        chunk = self._own(number)
        item = chunk.pop(offset)
        self._moved(number, -1)
        if len(chunk) < CHUNK_SMALL:
            self._mend(number)
        return item

    def pop_range(self, start: Spot, stop: Spot) -> list[T]:
        """Remove the items from one place up to another one, and return them."""
        (first, left), (last, right) = start, stop
        if start >= stop:
            return []
        self.changes += 1
        if first == last:
            chunk = self._own(first)
            removed = chunk[left:right]
            del chunk[left:right]
        else:
            head, tail = self._chunks[first], self._chunks[last]
            removed = head[left:]
            removed.extend(chain.from_iterable(self._chunks[first + 1 : last]))
            removed += tail[:right]
            self._chunks[first : last + 1] = [head[:left], tail[right:]]
            self._owned[first : last + 1] = b"\x01\x01"
        self._length -= len(removed)
        del self._starts[first:]
        if first != last:
            self._mend(first + 1)
        self._mend(first)
        return removed

    def clear(self) -> None:
        """Remove everything."""
        self.take_over(ChunkedList())

    def take_over(self, other: ChunkedList[T]) -> None:
        """Replace everything by what is in another list, which is not used afterwards."""
        self.changes += 1
        self._chunks = other._chunks
        self._owned = other._owned
        self._starts = other._starts
        self._length = other._length

    # Helpers.

    def _own(self, number: int) -> list[T]:
        """Return a chunk to be changed: a copy when a frozen list may have it."""
        if not self._owned[number]:
            self._chunks[number] = self._chunks[number].copy()
            self._owned[number] = 1
        return self._chunks[number]

    def _add_chunk(self, chunk: list[T]) -> None:
        self._chunks.append(chunk)
        self._owned.append(1)

    def _add_chunk_in_front(self, item: T) -> None:
        self.changes += 1
        self._length += 1
        self._chunks.insert(0, [item])
        self._owned.insert(0, 1)
        if self._starts:
            self._starts.insert(0, self._starts[0] - 1)

    def _split(self, number: int, offset: int) -> Spot:
        """Make two of a chunk; return what the place in it is called now."""
        chunk = self._chunks[number]
        half = len(chunk) // 2
        self._chunks[number : number + 1] = [chunk[:half], chunk[half:]]
        self._owned[number : number + 1] = b"\x01\x01"
        del self._starts[number + 1 :]
        return (number, offset) if offset < half else (number + 1, offset - half)

    def _mend(self, number: int) -> None:
        """Drop a chunk that is empty; join one that is small to a neighbour, if there is room."""
        if number >= len(self._chunks):
            return
        length = len(self._chunks[number])
        if length >= CHUNK_SMALL:
            return
        if not length:
            self._drop(number)
            return
        for first in (number - 1, number):  # to the one before, or to the next
            lengths = list(map(len, self._chunks[max(first, 0) : first + 2]))
            if len(lengths) == 2 and sum(lengths) <= CHUNK_MAX // 2:
                self._join(first)
                return

    def _join(self, number: int) -> None:
        """Make one of a chunk and the next."""
        self._own(number).extend(self._chunks[number + 1])
        del self._chunks[number + 1], self._owned[number + 1]
        del self._starts[number + 1 :]

    def _drop(self, number: int) -> None:
        """Drop a chunk that has become empty."""
        del self._chunks[number], self._owned[number]
        if number == 0:
            del self._starts[:1]
        else:
            del self._starts[number:]

    def _moved(self, number: int, count: int) -> None:
        """Keep the starts right after a chunk that is `count` items longer."""
        starts = self._starts
        if number == 0 and starts:
            starts[0] -= count
        elif number + 1 < len(starts):
            del starts[number + 1 :]

    def _find_starts(self) -> None:
        """Find the starts of the chunks for which they are not known."""
        starts = self._starts
        if not starts:
            starts.append(0)
        lengths = map(len, islice(self._chunks, len(starts) - 1, len(self._chunks) - 1))
        starts.extend(islice(accumulate(lengths, initial=starts[-1]), 1, None))
