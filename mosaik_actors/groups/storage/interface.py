"""The storage of a Raft log: what every kind of it promises, and the one in memory.

A node must remember its term, its vote and its log before it answers anybody
(Raft thesis, figure 3.1). It hands them over in a `SaveBatch`: one call, one
transaction. Either all of a batch is kept or nothing of it is, and when `save`
of a durable storage has returned, the batch survives a crash of the machine.

Invariants of every storage:
    * After a crash `load` returns the state after the last batch whose `save` returned, or after a
      complete later one that was under way. Never less, never a part of a batch.
    * What `load` returns is durable already, so it may be acknowledged.
    * Once the disk has failed, nothing is accepted until the storage has been
      closed and opened again. A failed fsync may have thrown away the very
      data it should have written, and the next one then reports success.
    * Damage is never repaired by guessing. What was acknowledged and cannot be
      read any more raises `StorageCorrupt`; the caller must not go on.

`Shape` holds the rules that a batch must keep, for all kinds of storage: the
log has no holes, terms never go down, a vote never changes within its term,
and what is committed or covered by a snapshot is never rewritten. A batch that breaks a rule is a
bug in the caller; it is refused with `BatchError` before anything changes.

A storage is opened for one `LogOwner`. A file of another group or peer is
refused: a node that answers with another's votes breaks the quorum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from ...errors import MosaikError
from ...ids import PeerId, UniqueId
from ..wire.records import Entry, HardState, SnapshotMetadata

INTEGER_MAX: Final = 2**63 - 1

Place = tuple[int, int]
"""An index and the term of the entry there."""

BEGINNING: Final[Place] = (0, 0)


class StorageError(MosaikError):
    """The storage failed. `place` says where, `reason` why; the cause is chained.

    Nothing more is accepted until the storage is closed and opened again. The
    batch that met the failure may or may not be there then.
    """

    def __init__(self, place: str, reason: str, *more: str) -> None:
        super().__init__(place, reason, *more)
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class StorageFull(StorageError):
    """There is no room. Nothing of the batch was written; the same call may be repeated later."""


class StorageInUse(StorageError):
    """Somebody else has the storage open: another process, or another handle of this one."""


class StorageCorrupt(StorageError):
    """Something that was acknowledged cannot be read. `lost` says what.

    The node must not go on under its old identity: it may have voted, or
    acknowledged entries, that it no longer knows of.
    """

    def __init__(self, place: str, reason: str, lost: str) -> None:
        super().__init__(place, reason, lost)
        self.lost = lost

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}; lost: {self.lost}"


class StorageMismatch(StorageError):
    """The storage belongs to another group or peer, or is of another format.

    Attributes:
        what: What differs: "group", "peer" or "format".
        found: What the storage says.
        expected: What it was opened for.
    """

    def __init__(self, place: str, what: str, found: str, expected: str) -> None:
        MosaikError.__init__(self, place, what, found, expected)
        self.place = place
        self.what = what
        self.found = found
        self.expected = expected
        hint = "; give the node the secret_key that it had" if what == "peer" else ""
        self.reason = f"{what} is {found}, expected {expected}{hint}"


class BatchError(MosaikError, ValueError):
    """A batch does not fit what is stored: a bug in the caller. Nothing was written."""


class LogOwner(msgspec.Struct, frozen=True, array_like=True):
    """Whose log it is: a node's, in a group."""

    group_id: UniqueId
    peer_id: PeerId

    def check(self, found: LogOwner, place: str) -> None:
        """Raise `StorageMismatch` when the storage at `place` has another owner."""
        if found.group_id != self.group_id:
            raise StorageMismatch(place, "group", str(found.group_id), str(self.group_id))
        if found.peer_id != self.peer_id:
            raise StorageMismatch(place, "peer", str(found.peer_id), str(self.peer_id))


class SaveBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What one `save` changes. The steps are taken in the order of the fields.

    To take over another's snapshot, give it as `snapshot` and its index as `compact_to`; where the
    log disagrees with it, `truncate_from` as well.
    """

    # Forget the snapshot, the log and the commit index first: the node leaves its history for
    # another one. Term and vote stay.
    reset: bool = False
    hard_state: HardState | None = None  # the new term and vote; None if they stay
    # A snapshot in place of the stored one; None if it stays. It never goes back in the log.
    snapshot: tuple[SnapshotMetadata, bytes] | None = None
    truncate_from: int | None = None  # drop the entries from this index on; None for none
    compact_to: int | None = None  # drop those up to this index, which a snapshot must cover
    entries: Sequence[Entry] = ()  # what to add at the end, without a hole


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a storage holds."""

    hard_state: HardState = HardState()
    snapshot: tuple[SnapshotMetadata, bytes] | None = None
    base: Place = BEGINNING  # just before the first entry; at or before the snapshot's place
    entries: list[Entry] = msgspec.field(default_factory=list)  # from there on, without a hole


class LogStorage(Protocol):
    """The storage of one node's log in one group.

    The order of calls is `open`, `load`, then `save` as often as needed, then
    `close`; after that it may be opened again. Calls may come from different
    threads, but not two at a time, except that `close` waits for the others.
    """

    @property
    def is_durable(self) -> bool:
        """Whether a batch survives a crash once its `save` has returned."""

    def open(self, owner: LogOwner) -> None:
        """Make the storage ready, a new and empty one if there is none.

        Raises:
            StorageInUse: Somebody else has it open.
            StorageMismatch: It belongs to another group or peer.
            StorageCorrupt: It is damaged; it is left as it is.
            StorageFull: There is no room to open it; try again later.
            StorageError: It cannot be opened.
        """

    def load(self) -> Stored:
        """Return what is stored, all of it durable. May be repeated.

        Raises:
            StorageCorrupt: It is damaged; it is left as it is.
            StorageError: It cannot be read.
        """

    def save(self, batch: SaveBatch) -> None:
        """Keep a batch, all of it or nothing. Blocks until it is durable.

        Raises:
            BatchError: It does not fit what is stored. Nothing was written.
            StorageFull: There is no room. Nothing was written; try again later.
            StorageError: The disk failed. Whether the batch is kept shows
                after `close`, `open` and `load`.
        """

    def close(self) -> None:
        """Let go of the storage. May be repeated; raises nothing."""


class Shape(msgspec.Struct, frozen=True):
    """What a batch must fit: the outline of what is stored, without the data."""

    hard_state: HardState = HardState()
    metadata: SnapshotMetadata | None = None  # the snapshot's place, None without a snapshot
    base: Place = BEGINNING  # the place just before the first entry
    last: Place = BEGINNING  # the place of the last entry; `base` when there is none

    def after(self, batch: SaveBatch, term_at: Callable[[int], int]) -> Shape:
        """Return the outline after a batch, or raise `BatchError` when it does not fit.

        `term_at` returns the term of a stored entry. It is asked for indexes after `base` and up to
        `last` only.
        """
        before = self
        if batch.reset:
            before = Shape(HardState(self.hard_state.term, self.hard_state.vote))
        hard_state = before._hard_state_after(batch.hard_state)
        metadata = before._metadata_after(batch.snapshot)
        last = before._last_after_truncation(batch.truncate_from, term_at)
        base, last = before._after_compaction(batch.compact_to, metadata, last, term_at)
        last = _last_after_entries(batch.entries, last)
        if last[1] > hard_state.term or (metadata is not None and metadata.term > hard_state.term):
            raise BatchError(f"an entry of term {last[1]} in term {hard_state.term}")
        if hard_state.commit_index > last[0]:
            raise BatchError(f"committed to {hard_state.commit_index}, the log ends at {last[0]}")
        if not base[0] <= (metadata.index if metadata else 0) <= last[0]:
            raise BatchError(
                f"a hole in the log: it has {base[0] + 1} to {last[0]}, "
                f"the snapshot ends at {metadata.index if metadata else 0}"
            )
        return Shape(hard_state, metadata, base, last)

    def _hard_state_after(self, new: HardState | None) -> HardState:
        old = self.hard_state
        if new is None:
            return old
        if not old.term <= new.term <= INTEGER_MAX:
            raise BatchError(f"term goes from {old.term} to {new.term}")
        if new.term == old.term and old.vote not in (None, new.vote):
            raise BatchError(f"vote of term {new.term} changes from {old.vote} to {new.vote}")
        if new.commit_index < old.commit_index:
            raise BatchError(f"commit index goes from {old.commit_index} to {new.commit_index}")
        return new

    def _metadata_after(
        self, snapshot: tuple[SnapshotMetadata, bytes] | None
    ) -> SnapshotMetadata | None:
        if snapshot is None:
            return self.metadata
        new = snapshot[0]
        if not (self.metadata.index if self.metadata else 0) <= new.index <= INTEGER_MAX:
            raise BatchError(f"a snapshot up to {new.index} in place of {self.metadata}")
        return new

    def _last_after_truncation(self, start: int | None, term_at: Callable[[int], int]) -> Place:
        if start is None or start > self.last[0]:
            return self.last
        settled = max(self.metadata.index if self.metadata else 0, self.hard_state.commit_index)
        if start <= settled:
            raise BatchError(f"truncated from {start}, but settled up to {settled}")
        return self._place(start - 1, term_at)

    def _after_compaction(
        self,
        end: int | None,
        metadata: SnapshotMetadata | None,
        last: Place,
        term_at: Callable[[int], int],
    ) -> tuple[Place, Place]:
        """Return base and last after dropping the entries up to `end`."""
        if end is None or end <= self.base[0]:
            return self.base, last
        if metadata is None or end > metadata.index:
            raise BatchError(f"compacted to {end}, but the snapshot is {metadata}")
        if end > last[0]:
            if end != metadata.index:
                raise BatchError(f"compacted to {end}, but the log ends at {last[0]}")
            return (end, metadata.term), (end, metadata.term)
        base = last if end == last[0] else self._place(end, term_at)
        if end == metadata.index and base[1] != metadata.term:
            raise BatchError(f"entry {end} has term {base[1]}, its snapshot has {metadata.term}")
        return base, last

    def _place(self, index: int, term_at: Callable[[int], int]) -> Place:
        if index == self.base[0]:
            return self.base
        return (index, term_at(index))


def _last_after_entries(entries: Sequence[Entry], last: Place) -> Place:
    index, term = last
    for entry in entries:
        index += 1
        if entry.index != index:
            raise BatchError(f"entry {entry.index} where {index} was expected")
        if entry.term < term:
            raise BatchError(f"entry {index} has term {entry.term}, the one before has {term}")
        term = entry.term
    if index > INTEGER_MAX:
        raise BatchError(f"entry {index} is beyond {INTEGER_MAX}")
    return index, term


class LogState:
    """A stored log as plain values: the model that every storage follows."""

    def __init__(self, stored: Stored | None = None) -> None:
        stored = stored or Stored()
        self._snapshot = stored.snapshot
        self._entries = list(stored.entries)
        metadata = stored.snapshot[0] if stored.snapshot else None
        last = _last_after_entries(self._entries, stored.base)
        self.shape = Shape(stored.hard_state, metadata, stored.base, last)

    @property
    def stored(self) -> Stored:
        """What is held now, as a value of its own."""
        return Stored(
            hard_state=self.shape.hard_state,
            snapshot=self._snapshot,
            base=self.shape.base,
            entries=list(self._entries),
        )

    def check(self, batch: SaveBatch) -> Shape:
        """Return the outline after a batch, without taking it in. Raises `BatchError`."""
        return self.shape.after(batch, lambda index: self._entries[self._offset(index)].term)

    def apply(self, batch: SaveBatch) -> None:
        """Take in a batch. Raises `BatchError`, and then nothing has changed."""
        shape = self.check(batch)
        if batch.reset:
            self._snapshot = None
            self._entries.clear()
        if batch.snapshot is not None:
            self._snapshot = batch.snapshot
        if batch.truncate_from is not None:
            del self._entries[self._offset(batch.truncate_from) :]
        del self._entries[: self._offset(shape.base[0] + 1)]
        self._entries += batch.entries
        self.shape = shape

    def _offset(self, index: int) -> int:
        return bisect_left(self._entries, index, key=lambda entry: entry.index)


class InMemory:
    """A log that lives as long as its node. What it holds ends with `close`.

    A node that comes back after a crash has forgotten its votes, so it must
    come back as a new member, never as the voter that it was.
    """

    is_durable: Final = False

    def __init__(self) -> None:
        self._state: LogState | None = None

    def open(self, owner: LogOwner) -> None:
        """Begin with an empty log. Raises `StorageInUse` when it is open already."""
        if self._state is not None:
            raise StorageInUse("memory", "it is open already; one group, one storage")
        self._state = LogState()

    def load(self) -> Stored:
        """Return what is held. Raises `StorageError` when it is not open."""
        return self._opened().stored

    def save(self, batch: SaveBatch) -> None:
        """Hold a batch. Raises `BatchError`, or `StorageError` when it is not open."""
        self._opened().apply(batch)

    def close(self) -> None:
        """Forget everything. May be repeated."""
        self._state = None

    def _opened(self) -> LogState:
        if self._state is None:
            raise StorageError("memory", "it is not open; call open first")
        return self._state
