"""A dict whose order can be held on to while it goes on changing.

`Map` and `Set` keep their items in one. Reads go to ``data``, a plain dict, at a
plain dict's price and with its meaning. Beside it the keys are kept in chunks, in
the order in which they came, and a snapshot is an iterator that walks the chunks:

    * *Taking* one copies the list of chunks and the one that still grows:
      microseconds for a million keys. A dict itself could not be walked while it
      grows, and copying a million keys takes longer than a loop may wait.
    * *Changing* a value, or removing a key, first leaves the old value with each
      iterator that looks on. Full chunks never change.
    * *Dropping* an iterator, half read or not, needs no call.

A removed key stays in its chunk and is counted as *stale*: the first so many
occurrences of a key are to be passed over. When one in eight is stale the chunks
are made anew, which costs what the dict itself pays when it grows.

Invariants:
    * The chunks, less the stale occurrences, hold the keys of ``data`` in its order.
    * A chunk other than the last is never changed.

Memory: 8 bytes a key beside the dict. While an iterator is held, also the old values
of the keys that are changed meanwhile, and what it holds of an old state after
`clear` or `take_over`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from .snapshots import ActiveIterators, Columns

K = TypeVar("K")
V = TypeVar("V")

CHUNK_MAX: Final = 1024
STALE_FREE: Final = 1024
STALE_SHARE: Final = 8


class InsertionOrder(Generic[K, V]):
    """A dict that can be looked at as of a moment; see above.

    Attributes:
        data: The items. To be read only; another dict after `clear` and `take_over`.

    Args:
        has_values: Whether iterators show values, too, or keys only.
    """

    __slots__ = (
        "_active_iterators",
        "_chunks",
        "_has_values",
        "_last",
        "_stale",
        "_stale_count",
        "data",
    )

    def __init__(self, *, has_values: bool = True) -> None:
        self._has_values = has_values
        self.data: dict[K, V] = {}
        self._last: list[K] = []
        self._chunks: list[list[K]] = [self._last]
        self._stale: dict[K, int] = {}
        self._stale_count = 0
        self._active_iterators: ActiveIterators[InsertionIterator[K, V]] = ActiveIterators()

    def put(self, key: K, value: V) -> None:
        """Set the value of a key; a new key goes to the end."""
        data = self.data
        if self._active_iterators.refs:
            self._preserve(key)
        if key not in data:
            if len(self._last) >= CHUNK_MAX:
                self._add_chunk([])
            self._last.append(key)
        data[key] = value

    def put_many(self, keys: Sequence[K], values: Sequence[V]) -> int:
        """Set the values of several keys in order, at once; return how many keys are new."""
        data = self.data
        if self._active_iterators.refs:
            for key in keys:
                self._preserve(key)
        before = len(data)
        data.update(zip(keys, values, strict=True))
        fresh = list(islice(reversed(data), len(data) - before))  # what came to the end
        fresh.reverse()
        room = CHUNK_MAX - len(self._last)
        self._last += fresh[:room]
        for start in range(room, len(fresh), CHUNK_MAX):
            self._add_chunk(fresh[start : start + CHUNK_MAX])
        return len(fresh)

    def remove(self, key: K) -> V:
        """Remove a key, which must be there, and return its value."""
        if self._active_iterators.refs:
            self._preserve(key)
        value = self.data.pop(key)
        self._stale[key] = self._stale.get(key, 0) + 1
        self._stale_count += 1
        if self._stale_count > len(self.data) // STALE_SHARE + STALE_FREE:
            self._renew()
        return value

    def clear(self) -> None:
        """Remove everything. Whoever walks the old dict, or looks on, keeps it as it is."""
        self.take_over(InsertionOrder())

    def take_over(self, other: InsertionOrder[K, V]) -> None:
        """Replace everything by what is in another one, which is not used afterwards."""
        self.data, self._chunks, self._last = other.data, other._chunks, other._last
        self._stale, self._stale_count = other._stale, other._stale_count
        # The iterators of before look at what nobody changes any more.
        self._active_iterators = ActiveIterators()

    def look(self) -> InsertionIterator[K, V]:
        """Return an iterator at the beginning of what is here at this moment."""
        chunks = [*self._chunks[:-1], self._last.copy()]
        iterator = InsertionIterator(
            iter(chunks), self._stale.copy(), self.data, has_values=self._has_values
        )
        if self._has_values:  # keys are in the chunks; only values can be lost
            self._active_iterators.add(iterator)
        return iterator

    # Helpers.

    def _add_chunk(self, chunk: list[K]) -> None:
        self._last = chunk
        self._chunks.append(chunk)

    def _preserve(self, key: K) -> None:
        """Leave the value of a key with those who look on, before it changes."""
        data = self.data
        if key in data:
            for iterator in self._active_iterators:
                iterator.saved.setdefault(key, data[key])

    def _renew(self) -> None:
        """Make the chunks anew, without what is stale."""
        keys = list(self.data)
        starts = range(0, len(keys), CHUNK_MAX)
        self._chunks = [keys[start : start + CHUNK_MAX] for start in starts] or [[]]
        self._last = self._chunks[-1]
        self._stale = {}
        self._stale_count = 0


class InsertionIterator(Generic[K, V]):
    """Reads through the items that were there when it was made, in order.

    Attributes:
        saved: The old values of what was changed since.
    """

    __slots__ = ("__weakref__", "_chunks", "_data", "_has_values", "_pending", "_stale", "saved")

    def __init__(
        self,
        chunks: Iterator[list[K]],
        stale: dict[K, int],
        data: dict[K, V],
        *,
        has_values: bool,
    ) -> None:
        self._chunks = chunks
        self._stale = stale
        self._data = data
        self._has_values = has_values
        self._pending: list[K] = []
        self.saved: dict[K, V] = {}

    def take(self, count: int, /) -> Columns:
        """Return the next keys, and their values if there are any, as columns."""
        keys = self._pending
        while len(keys) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            keys += self._fresh_of(chunk) if self._stale else chunk
        self._pending = keys[count:]
        keys = keys[:count]
        return (keys, self._values_of(keys)) if self._has_values else (keys,)

    # Helpers.

    def _fresh_of(self, chunk: list[K]) -> list[K]:
        """Return the keys of a chunk that were there, passing over stale occurrences."""
        stale = self._stale
        fresh = []
        for key in chunk:
            count = stale.get(key)
            if count is None:
                fresh.append(key)
            elif count == 1:
                del stale[key]
            else:
                stale[key] = count - 1
        return fresh

    def _values_of(self, keys: list[K]) -> list[Any]:
        saved, data = self.saved, self._data
        if not saved:
            return list(map(data.__getitem__, keys))
        return [saved.pop(key) if key in saved else data[key] for key in keys]
