"""State sync: what the two sides are, and what they see of the group.

A member that has to catch up runs a `SyncTask`; every member runs a `SyncProvider` that serves the
tasks of others. What a task sends to a peer goes to that peer's provider, and what a provider sends
goes to that peer's task: the caller marks which of the two a frame is for, so each way of syncing
is free to use whatever bytes it likes.

Both are pure state machines, driven as all cores are: put something in, drain `next_event` until it
returns None, then re-read `get_timer`. All ``now`` are seconds of one monotonic clock.

Everything that is served is *committed*. So two honest answers about one index never differ (Raft
thesis 3.6.1, State Machine Safety), and a range may be put together from any number of peers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import msgspec

from ...ids import PeerId
from ..wire.records import Entry, SnapshotMetadata


class Holder(msgspec.Struct, frozen=True):
    """What a bonded peer says it can serve: from `first_index` to `commit_index`.

    One that is fetching state itself (`is_catching_up`) is not asked.
    """

    first_index: int
    commit_index: int
    is_catching_up: bool = False


class LogReader(Protocol):
    """This member's log, as `Raft` offers it; it is only read."""

    @property
    def first_index(self) -> int:
        """The first index that is not compacted away."""

    @property
    def commit_index(self) -> int:
        """Everything up to here is committed."""

    def term_at(self, index: int) -> int | None:
        """Return the term at an index, also at the one before the first; None where unknown."""

    def entries(self, first_index: int, *, count_max: int, bytes_max: int) -> tuple[Entry, ...]:
        """Return committed entries from `first_index` on; the first whatever its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncContext:
    """What a side of a sync is given."""

    me: PeerId
    log: LogReader
    rng: Random  # draws the numbers of requests
    now: float
    is_leader: Callable[[], bool]  # says whether this member leads just now
    # For a task: the first index that is missing here, one after what is committed here.
    next_index: int = 1


class RequestedSnapshot(msgspec.Struct, frozen=True):
    """A snapshot that this member takes because the log said so, at the entry that did.

    Its parts may be made lazily while the state moves on: at most `PARTS_COUNT_MAX` of at most
    `PART_BYTES_MAX`.
    """

    metadata: SnapshotMetadata
    request_id: bytes
    parts: Iterator[bytes]


class SendSync(msgspec.Struct, frozen=True):
    """Send bytes to the other side of the sync at a peer; they may be lost."""

    peer: PeerId
    data: bytes


class InstallEntries(msgspec.Struct, frozen=True):
    """Call `Raft.install(None, entries)`, then the task's `installed`, whatever came of it.

    The entries are committed and follow without a gap what was installed
    before. There is no second one before `installed` was called.
    """

    entries: tuple[Entry, ...]


class InstallSnapshot(msgspec.Struct, frozen=True):
    """Restore the machine from `parts`, then call `Raft.install` and the task's `installed`."""

    metadata: SnapshotMetadata
    parts: Sequence[bytes]


class StateSyncFinished(msgspec.Struct, frozen=True):
    """Everything that was worth fetching is installed; replication does the rest."""


class StateSyncFailed(msgspec.Struct, frozen=True):
    """Everything was tried for long. The caller may begin anew with another task."""

    reason: str


class SyncMismatch(msgspec.Struct, frozen=True):
    """What members sent did not fit together; it is fetched anew. For the log."""

    what: str


TaskEvent = (
    SendSync | InstallEntries | InstallSnapshot | SyncMismatch | StateSyncFinished | StateSyncFailed
)


class SnapshotWanted(msgspec.Struct, frozen=True):
    """This member leads and shall propose `TakeSnapshot(request_id)`. It may be lost."""

    request_id: bytes


class SnapshotFailed(msgspec.Struct, frozen=True):
    """The snapshot could not be made here; others may have made theirs. For the log."""

    request_id: bytes
    reason: str


ProviderEvent = SendSync | SnapshotWanted | SnapshotFailed


class SyncSide(Protocol):
    """What both sides are driven by."""

    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in what the other side at a peer sent.

        Raises `RemoteError`: it is not a message at all. A task has turned to others.
        """

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, possibly at once; None for never."""

    def handle_timer(self, *, now: float) -> None:
        """Do what is due, in bounded portions. Too early does no harm."""


class SyncTask(SyncSide, Protocol):
    """The side that catches up. It does nothing more after it has finished or failed."""

    def update_holders(
        self, holders: Mapping[PeerId, Holder], leader: PeerId | None, *, now: float
    ) -> None:
        """Take in who can serve, and who leads. Call it first of all, and when either changes.

        A peer that is no longer in `holders` is gone, and with it what it was asked.
        """

    def installed(self, index: int, *, now: float) -> None:
        """Take in that this member has everything up to `index`, by whatever way.

        Called once after each `InstallEntries` and `InstallSnapshot`, as its answer: an index
        before its end says that it was refused, and it is fetched again from others. At other times
        it may be called when replication was faster.
        """

    def next_event(self) -> TaskEvent | None:
        """Return what to do next; None for nothing."""


class SyncProvider(SyncSide, Protocol):
    """The side that serves."""

    def snapshot_made(self, snapshot: RequestedSnapshot, *, now: float) -> None:
        """Take over a snapshot that a `TakeSnapshot` in the log asked for, on the leader or not."""

    def next_event(self) -> ProviderEvent | None:
        """Return what to do next; None for nothing."""
