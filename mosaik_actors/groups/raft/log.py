"""The log in memory: entries after a snapshot.

Kept by every replica from `SnapshotMetadata.index` + 1 on; what lies before is in
the snapshot (Raft thesis, chapter 5). The term at its end is known, so that
the entry after it can be checked for consistency (3.5). It knows nothing of
terms being current, of commitment or of disks: the callers do.

Invariants:
    * Indexes have no gap; terms never go down along the log (3.5).
    * `size_bytes` is what the entries take, counted as `cost_of` does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from ..wire.records import Entry, EntryKind

ENTRY_OVERHEAD_BYTES = 24


def cost_of(entry: Entry) -> int:
    """Return how many bytes an entry counts for in every limit on bytes."""
    return len(entry.data) + ENTRY_OVERHEAD_BYTES


class RaftLog:
    """A log after a snapshot that ends at an index with a term; 0 for one from the beginning.

    A long one takes its time, so that a caller may want to make it in a thread. `configured` are
    those of its first `entries` that have a configuration.
    """

    __slots__ = (
        "_entries", "configured", "last_index", "size_bytes", "snapshot_index", "snapshot_term",
    )  # fmt: skip

    def __init__(
        self, snapshot_index: int = 0, snapshot_term: int = 0, entries: Iterable[Entry] = ()
    ) -> None:
        self.snapshot_index = snapshot_index
        self.snapshot_term = snapshot_term
        self.last_index = snapshot_index  # of the last entry, or of the snapshot without one
        self.size_bytes = 0
        self._entries: list[Entry] = []
        for entry in entries:
            self.append(entry)
        self.configured = [e for e in self._entries if e.kind is EntryKind.CONFIGURATION]

    @property
    def last_term(self) -> int:
        """The term of the last entry, or of the snapshot."""
        return self._entries[-1].term if self._entries else self.snapshot_term

    def term_at(self, index: int) -> int | None:
        """Return the term at an index; None before the end of the snapshot and after the end."""
        offset = index - self.snapshot_index - 1
        if 0 <= offset < len(self._entries):
            return self._entries[offset].term
        return self.snapshot_term if offset == -1 else None

    def entry_at(self, index: int) -> Entry:
        """Return the entry at an index after the snapshot, up to the last."""
        assert self.snapshot_index < index <= self.last_index, f"no entry {index} in {self}"
        return self._entries[index - self.snapshot_index - 1]

    def slice(
        self, first_index: int, *, last_index: int, count_max: int, bytes_max: int
    ) -> tuple[Entry, ...]:
        """Return entries from `first_index` to `last_index`, as many as the limits allow.

        The first one comes whatever its size, so that a large entry is not stuck for ever.
        """
        assert first_index > self.snapshot_index, f"slice from {first_index} of {self}"
        start = first_index - self.snapshot_index - 1
        stop = min(last_index - self.snapshot_index, len(self._entries), start + count_max)
        chosen = self._entries[start:stop]
        room = bytes_max
        for count, entry in enumerate(chosen):
            room -= len(entry.data) + ENTRY_OVERHEAD_BYTES
            if room < 0 and count:
                return tuple(chosen[:count])
        return tuple(chosen)

    def tail(self, first_index: int) -> tuple[Entry, ...]:
        """Return all entries from `first_index` on."""
        return tuple(self._entries[first_index - self.snapshot_index - 1 :])

    def append(self, entry: Entry) -> None:
        """Append the next entry."""
        entries = self._entries
        last_term = entries[-1].term if entries else self.snapshot_term
        assert entry.index == self.last_index + 1, f"entry {entry.index} after {self.last_index}"
        assert entry.term >= last_term, f"term {entry.term} after {last_term}"
        entries.append(entry)
        self.last_index = entry.index
        self.size_bytes += len(entry.data) + ENTRY_OVERHEAD_BYTES

    def truncate(self, from_index: int) -> None:
        """Remove the entries from `from_index` on."""
        assert from_index > self.snapshot_index, f"truncate from {from_index} of {self}"
        start = from_index - self.snapshot_index - 1
        self.size_bytes -= sum(map(cost_of, self._entries[start:]))
        del self._entries[start:]
        self.last_index = self.snapshot_index + len(self._entries)

    def compact(self, index: int) -> None:
        """Move the snapshot's end to `index`, which is in the log, and forget what lies before."""
        term = self.term_at(index)
        assert term is not None, f"compact to {index} of {self}"
        count = index - self.snapshot_index
        self.size_bytes -= sum(map(cost_of, self._entries[:count]))
        del self._entries[:count]
        self.snapshot_index, self.snapshot_term = index, term

    def reset(self, index: int, term: int) -> None:
        """Forget everything and begin after another snapshot."""
        self._entries, self.size_bytes = [], 0
        self.snapshot_index, self.snapshot_term = index, term
        self.last_index = index

    def first_new(self, entries: Sequence[Entry]) -> int:
        """Return how many of `entries` the log holds already, before the first it does not.

        An entry is the same when its index and term are (Log Matching, 3.5).
        """
        for count, entry in enumerate(entries):
            if self.term_at(entry.index) != entry.term:
                return count
        return len(entries)

    def last_with_term_at_most(self, term: int, index_max: int) -> int:
        """Return the last index up to `index_max` whose term is `term` or lower.

        Where two logs differ, they can only agree at or before that place. 0
        when there is none from the snapshot on.
        """
        stop = min(index_max, self.last_index) - self.snapshot_index
        if stop > 0:
            found = bisect_right(self._entries, term, 0, stop, key=lambda entry: entry.term)
            if found:
                return self.snapshot_index + found
        return self.snapshot_index if self.snapshot_term <= term and stop >= 0 else 0

    def __repr__(self) -> str:
        return f"RaftLog({self.snapshot_index} < {self.last_index})"
