"""What can be read of a priority queue: by key, from either end, and in order.

Reads are local and synchronous. There is no telling from which end to iterate,
so `iter_asc` and `iter_desc` say it, and ``in`` asks for a key. Among equal
priorities the oldest comes first either way (see `ranking`).

As with a dict, an iteration that is under way when the queue changes raises
RuntimeError: take a list first where you await in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, overload

from .ranking import Entry, Ranking

P = TypeVar("P")
K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class PriorityQueueView(Generic[P, K, V]):
    """Reads a `PriorityQueue`'s replica, as it is at each moment.

    Items are given as (priority, key, value).

    Args:
        ranking: The replica's entries.
    """

    __slots__ = ("_ranking",)

    def __init__(self, ranking: Ranking[P, K, V]) -> None:
        self._ranking = ranking

    def __len__(self) -> int:
        return len(self._ranking.entries)

    def __contains__(self, key: object) -> bool:
        return key in self._ranking.entries

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.iter_desc())!r})"

    def contains_key(self, key: K) -> bool:
        """Return whether a key is there."""
        return key in self._ranking.entries

    @overload
    def get(self, key: K) -> V | None: ...

    @overload
    def get(self, key: K, default: D) -> V | D: ...

    def get(self, key: K, default: Any = None) -> Any:
        """Return the value of a key, or `default` when it is not there."""
        entry = self._ranking.entries.get(key)
        return default if entry is None else entry[3]

    @overload
    def get_priority(self, key: K) -> P | None: ...

    @overload
    def get_priority(self, key: K, default: D) -> P | D: ...

    def get_priority(self, key: K, default: Any = None) -> Any:
        """Return the priority of a key, or `default` when it is not there."""
        entry = self._ranking.entries.get(key)
        return default if entry is None else entry[0]

    def get_min(self) -> tuple[P, K, V] | None:
        """Return the oldest item of the lowest priority; None when the queue is empty."""
        entry = self._ranking.least()
        return None if entry is None else _item(entry)

    def get_max(self) -> tuple[P, K, V] | None:
        """Return the oldest item of the highest priority; None when the queue is empty."""
        entry = self._ranking.greatest()
        return None if entry is None else _item(entry)

    def min_priority(self) -> P | None:
        """Return the lowest priority; None when the queue is empty."""
        order = self._ranking.order
        return order[0][0] if order else None

    def max_priority(self) -> P | None:
        """Return the highest priority; None when the queue is empty."""
        order = self._ranking.order
        return order[len(order) - 1][0] if order else None

    def iter_asc(self) -> Iterator[tuple[P, K, V]]:
        """Iterate from the lowest priority to the highest; among equals the oldest first.

        Raises:
            RuntimeError: The queue changed meanwhile.
        """
        return self._items(self._ranking.ascending())

    def iter_desc(self) -> Iterator[tuple[P, K, V]]:
        """Iterate from the highest priority to the lowest; among equals the oldest first.

        Raises:
            RuntimeError: The queue changed meanwhile.
        """
        return self._items(self._ranking.descending())

    def _items(self, entries: Iterator[Entry[P, K, V]]) -> Iterator[tuple[P, K, V]]:
        order = self._ranking.order
        changes = order.changes
        for priority, _, key, value in entries:
            if order.changes != changes:
                raise RuntimeError("PriorityQueue changed during iteration")
            yield priority, key, value


def _item(entry: Entry[P, K, V]) -> tuple[P, K, V]:
    return entry[0], entry[2], entry[3]
