"""State sync: what the two sides are, and what they see of the group.

A member that has to catch up runs a `SyncTask`; every member runs a
`SyncProvider` that serves the tasks of others. What a task sends to a peer goes
to that peer's provider, and what a provider sends goes to that peer's task: the
caller marks which of the two a frame is for, so each way of syncing is free to
use whatever bytes it likes.

Both are pure state machines, driven as all cores are: put something in, drain
`next_event` until it returns None, then re-read `get_timer`. All ``now`` are
seconds of one monotonic clock.

Everything that is served is *committed*. So two honest answers about one index
never differ (Raft thesis 3.6.1, State Machine Safety), and a range may be put
together from any number of peers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from ...ids import PeerId
from ..wire.records import Entry, SnapshotMetadata


@dataclass(frozen=True, slots=True)
class Holder:
    """What a bonded peer says it can serve.

    Attributes:
        first_index: The first entry it still has.
        commit_index: The last entry that it knows to be committed.
        is_catching_up: It is fetching state itself; it is not asked.
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
    """What a side of a sync is given.

    Attributes:
        me: This member.
        log: Its log.
        rng: Draws the numbers of requests.
        is_leader: Says whether this member leads just now.
        next_index: For a task: the first index that is missing here, one after
            what is committed here.
    """

    me: PeerId
    log: LogReader
    rng: Random
    now: float
    is_leader: Callable[[], bool]
    next_index: int = 1


@dataclass(frozen=True, slots=True)
class RequestedSnapshot:
    """A snapshot that this member takes because the log said so.

    Attributes:
        metadata: Where it stands: at the entry of the system entry.
        request_id: The system entry's.
        parts: Its parts, which may be made lazily while the state moves on. At
            most `PARTS_COUNT_MAX` of at most `PART_BYTES_MAX` (`machine`).
    """

    metadata: SnapshotMetadata
    request_id: bytes
    parts: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class SendSync:
    """Send bytes to the other side of the sync at a peer; they may be lost."""

    peer: PeerId
    data: bytes


@dataclass(frozen=True, slots=True)
class InstallEntries:
    """Call `Raft.install(None, entries)`, then the task's `installed`, whatever came of it.

    The entries are committed and follow without a gap what was installed
    before. There is no second one before `installed` was called.
    """

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class InstallSnapshot:
    """Restore the machine from `parts`, then call `Raft.install` and the task's `installed`."""

    metadata: SnapshotMetadata
    parts: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class StateSyncFinished:
    """Everything that was worth fetching is installed; replication does the rest."""


@dataclass(frozen=True, slots=True)
class StateSyncFailed:
    """Everything was tried for long. The caller may begin anew with another task."""

    reason: str


@dataclass(frozen=True, slots=True)
class SyncMismatch:
    """What members sent did not fit together; it is fetched anew. For the log."""

    what: str


TaskEvent = (
    SendSync | InstallEntries | InstallSnapshot | SyncMismatch | StateSyncFinished | StateSyncFailed
)


@dataclass(frozen=True, slots=True)
class SnapshotWanted:
    """This member leads and shall propose `TakeSnapshot(request_id)`. It may be lost."""

    request_id: bytes


@dataclass(frozen=True, slots=True)
class SnapshotFailed:
    """The snapshot could not be made here; others may have made theirs. For the log."""

    request_id: bytes
    reason: str


ProviderEvent = SendSync | SnapshotWanted | SnapshotFailed


class SyncTask(Protocol):
    """The side that catches up. It does nothing more after it has finished or failed."""

    def update_holders(
        self, holders: Mapping[PeerId, Holder], leader: PeerId | None, *, now: float
    ) -> None:
        """Take in who can serve, and who leads. Call it first of all, and when either changes.

        A peer that is no longer in `holders` is gone, and with it what it was asked.
        """

    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in what a peer's provider sent.

        Raises:
            RemoteError: It is not a message at all. The task has turned to others.
        """

    def installed(self, index: int, *, now: float) -> None:
        """Take in that this member has everything up to `index`, by whatever way.

        Called once after each `InstallEntries` and `InstallSnapshot`, as its
        answer: an index before its end says that it was refused, and it is
        fetched again from others. At other times it may be called when
        replication was faster.
        """

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due; None for never."""

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. Too early does no harm."""

    def next_event(self) -> TaskEvent | None:
        """Return what to do next; None for nothing."""


class SyncProvider(Protocol):
    """The side that serves."""

    def receive_message(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in what a peer's task sent.

        Raises:
            RemoteError: It is not a message at all.
        """

    def snapshot_made(self, snapshot: RequestedSnapshot, *, now: float) -> None:
        """Take over a snapshot that a `TakeSnapshot` in the log asked for, on the leader or not."""

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, possibly at once; None for never."""

    def handle_timer(self, *, now: float) -> None:
        """Do what is due, in bounded portions. Too early does no harm."""

    def next_event(self) -> ProviderEvent | None:
        """Return what to do next; None for nothing."""
