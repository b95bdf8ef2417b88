"""Keys in the order of their priorities: what a priority queue is made of.

A dictionary finds an entry by its key, a sorted list in chunks by its priority.
An entry is a tuple (priority, number, key, value). Numbers count down, so that
among equal priorities the newest entry sorts lowest and the oldest highest: the
list, read backwards, is the queue in the order in which it is served.

    * *Ties* are told apart by age, as in Python: `ascending` and `descending` are
      what ``sorted(key=priority)`` gives, without and with ``reverse=True``, and
      the least and the greatest are what ``min`` and ``max`` give. All of them
      keep, or take, the oldest first.
    * An entry is as old as its priority: writing a value or an equal priority
      keeps its place, another priority puts it behind all that have it.
    * *Eviction* takes the lowest priority, and of several the newest: whoever
      came first stays. So a full queue always keeps what it would serve first.

Inserting, removing and finding take O(log n). Numbers are local: after a restore
they are given anew, and only their order counts.

Priorities must compare: see `ordering`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter, lt
from typing import Any, Final, Generic, Literal, TypeVar

from .chunks import ChunkedList, Spot

P = TypeVar("P")
K = TypeVar("K")
V = TypeVar("V")

Entry = tuple[P, int, K, V]
Inclusive = Literal["left", "right", "both", "neither"]

BULK_SHARE: Final = 8
"""Sorting anew is quicker than inserting from one new entry for so many old ones (measured)."""

_FIRST: Final[Spot] = (0, 0)
_ABOVE_ALL_NUMBERS: Final = float("inf")
_priority = itemgetter(0)


class Ranking(Generic[P, K, V]):
    """Entries by key and by priority, see above.

    Args:
        capacity: How many it holds at most; None is any number.

    Attributes:
        entries: The entries by key; not to be changed.
        order: The entries, sorted; not to be changed.
        capacity: See above.
    """

    __slots__ = ("_next_number", "capacity", "entries", "order")

    def __init__(self, capacity: int | None = None) -> None:
        self.entries: dict[K, Entry[P, K, V]] = {}
        self.order: ChunkedList[Entry[P, K, V]] = ChunkedList()
        self.capacity = capacity
        self._next_number = -1

    # Reading.

    def least(self) -> Entry[P, K, V] | None:
        """Return the oldest entry of the lowest priority; None when there is none."""
        order = self.order
        if not order:
            return None
        lowest = order.at(_FIRST)[0]
        return order.at(order.before(order.bisect((lowest, _ABOVE_ALL_NUMBERS))))

    def greatest(self) -> Entry[P, K, V] | None:
        """Return the oldest entry of the highest priority; None when there is none."""
        return self.order.at(self.order.before(self.order.end())) if self.order else None

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another key."""
        return self.capacity is not None and len(self.entries) >= self.capacity

    def has_room(self, priority: P, key: K) -> bool:
        """Return whether a key would stay if it were put into a full one with this priority."""
        lowest: Any = self.order.at(_FIRST)[0]
        return key in self.entries or bool(lowest < priority)

    def ascending(self) -> Iterator[Entry[P, K, V]]:
        """Iterate from the lowest priority, oldest first; holds one priority's at a time."""
        groups = (reversed(list(group)) for _, group in groupby(self.order, key=_priority))
        return chain.from_iterable(groups)

    def descending(self) -> Iterator[Entry[P, K, V]]:
        """Iterate from the highest priority, oldest first."""
        return reversed(self.order)

    # Changing.

    def insert(self, priority: P, key: K, value: V) -> Entry[P, K, V] | None:
        """Put a key in, or give it another priority and value; return its former entry.

        A full one must `make_room` before.
        """
        old = self.entries.get(key)
        if old is not None:
            self._put(old, priority, value)
            return old
        number = self._next_number
        self._next_number = number - 1
        entry = (priority, number, key, value)
        order = self.order
        order.insert(order.bisect((priority, number)), entry)
        self.entries[key] = entry
        return None

    def insert_all(self, items: Sequence[tuple[P, K, V]]) -> bool:
        """Put in several, in order, by sorting anew; return whether it was done.

        It is not where one by one is quicker, for few among many, or where there
        might not be room for all, so that it matters who comes when.
        """
        size, count = len(self.entries), len(items)
        has_room = self.capacity is None or size + count <= self.capacity
        if not has_room or count * BULK_SHARE < size:
            return False
        entries = self.entries
        number = self._next_number
        new: list[Entry[P, K, V]] = []
        for priority, key, value in items:
            old = entries.get(key)
            if old is None:
                entry = (priority, number, key, value)
            else:
                kept = old[1] if old[0] == priority else number
                entry = (priority, kept, old[2], value)
            entries[key] = entry
            new.append(entry)
            number -= 1
        self._next_number = number
        everything = chain(self.order.to_list(), new)
        # Each entry is there once, for what came in twice is found under its key only last.
        present = [entry for entry in everything if entries[entry[2]] is entry]
        present.sort()
        self.order.take_over(ChunkedList(present))
        return True

    def update(self, key: K, value: V) -> Entry[P, K, V] | None:
        """Give a key another value; return its former entry, None when it has none."""
        old = self.entries.get(key)
        if old is not None:
            self._put(old, old[0], value)
        return old

    def move(self, key: K, priority: P) -> Entry[P, K, V] | None:
        """Give a key another priority; return its former entry, None when it has none."""
        old = self.entries.get(key)
        if old is not None:
            self._put(old, priority, old[3])
        return old

    def remove(self, key: K) -> Entry[P, K, V] | None:
        """Remove a key; return its former entry, None when it has none."""
        old = self.entries.pop(key, None)
        if old is not None:
            self.order.pop(self.order.bisect(old[:2]))
        return old

    def remove_range(
        self, low: P | None, high: P | None, inclusive: Inclusive
    ) -> list[Entry[P, K, V]]:
        """Remove the priorities from `low` to `high`, None being no limit; return their entries."""
        order = self.order
        start, stop = _FIRST, order.end()
        if low is not None:
            start = order.bisect((low,) if inclusive in ("left", "both") else _after(low))
        if high is not None:
            stop = order.bisect(_after(high) if inclusive in ("right", "both") else (high,))
        removed = order.pop_range(start, stop)
        for entry in removed:
            del self.entries[entry[2]]
        return removed

    def make_room(self, key: K) -> Entry[P, K, V] | None:
        """Remove what must go from a full one before a key is put in, and return it.

        None, and nothing is removed, when the key is there already.
        """
        if key in self.entries:
            return None
        entry = self.order.pop(_FIRST)
        del self.entries[entry[2]]
        return entry

    def take_over(self, other: Ranking[P, K, V]) -> None:
        """Replace everything by what is in another one, which is not used afterwards."""
        self.entries = other.entries
        self.order.take_over(other.order)
        self._next_number = other._next_number

    def clear(self) -> None:
        """Remove everything."""
        self.take_over(Ranking(self.capacity))

    def append_sorted(self, items: Sequence[tuple[P, K, V]]) -> bool:
        """Add to the end of the order; return whether that was possible.

        For a restore into an empty one. False, and then it is of no more use: the
        priorities go down somewhere, a key is there twice, or there is no room.
        """
        number = len(self.entries)
        priorities: list[Any] = [item[0] for item in items]
        if number:
            priorities.insert(0, self.order[number - 1][0])
        if any(map(lt, priorities[1:], priorities)):
            return False
        lot = [(p, at, key, value) for at, (p, key, value) in enumerate(items, number)]
        self.order.extend(lot)
        self.entries.update((entry[2], entry) for entry in lot)
        count = number + len(lot)
        return len(self.entries) == count and (self.capacity is None or count <= self.capacity)

    # Helpers.

    def _put(self, old: Entry[P, K, V], priority: P, value: V) -> None:
        """Replace an entry; the key stays the object that it was, as in a dictionary."""
        order, key = self.order, old[2]
        spot = order.bisect(old[:2])
        if old[0] == priority:
            self.entries[key] = entry = (priority, old[1], key, value)
            order.replace(spot, entry)
            return
        number = self._next_number
        self._next_number = number - 1
        self.entries[key] = entry = (priority, number, key, value)
        order.pop(spot)
        order.insert(order.bisect((priority, number)), entry)


def _after(priority: Any) -> tuple[Any, float]:
    """Return what sorts behind all entries of a priority."""
    return priority, _ABOVE_ALL_NUMBERS
