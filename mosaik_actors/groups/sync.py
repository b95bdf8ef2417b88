"""How a member that joins, or fell far behind, gets the state: the choices.

All members of a group make the same choice: its signature is part of the
group's id. The two built-in ways fetch from all members at once, the leader
last: `LogReplaySync` the log, `SnapshotSync` the state as of one place in it.

A way of one's own derives from `StateSync` and makes the two sides, which are
pure state machines and say to each other whatever they like:

    @dataclass(frozen=True, slots=True, kw_only=True)
    class ArchiveSync(StateSync):
        archive: str = "archive-1"

        def requester(self, context):
            return ArchiveTask(self, context)       # a SyncTask

        def provider(self, context):
            return ArchiveProvider(self, context)   # a SyncProvider

What `SyncTask` and `SyncProvider` promise is written in `sync_roles`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import as_seconds, require_above, require_between

if TYPE_CHECKING:
    from .sync_roles import SyncContext, SyncProvider, SyncTask

# The two sides are imported where they are made: they need the limits of
# `machine`, which needs the settings here.


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSync:
    """The base of all ways to sync; a way of one's own derives from it or from a built-in one.

    Attributes:
        fetch_timeout: Seconds until a request to one peer counts as lost and
            goes to another.
    """

    fetch_timeout: float = 5.0

    def __post_init__(self) -> None:
        as_seconds(self, "fetch_timeout")
        require_above("fetch_timeout", self.fetch_timeout)

    @property
    def signature(self) -> str:
        """What goes into the group's id. A way of one's own names its version here."""
        return type(self).__name__

    def requester(self, context: SyncContext) -> SyncTask:
        """Return the side that catches up, for a member that has to."""
        raise NotImplementedError(f"{type(self).__name__} has no requester")

    def provider(self, context: SyncContext) -> SyncProvider:
        """Return the side that serves; every member has one as long as it is in the group."""
        raise NotImplementedError(f"{type(self).__name__} has no provider")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReplaySync(StateSync):
    """Fetch the log and apply it; for machines whose log is short or is the point.

    Attributes:
        batch_size: Entries of the log in one request, at most; an entry carries
            one command or many.
        fetch_timeout: See `StateSync`.
    """

    batch_size: int = 2000
    fetch_timeout: float = 25.0

    def __post_init__(self) -> None:
        # Named in full: `super()` does not work in a dataclass with slots.
        StateSync.__post_init__(self)
        require_between("batch_size", self.batch_size, 1, 1_000_000)

    def requester(self, context: SyncContext) -> SyncTask:
        """Return a `LogReplayTask`."""
        from .log_replay import LogReplayTask

        return LogReplayTask(context, batch_size=self.batch_size, fetch_timeout=self.fetch_timeout)

    def provider(self, context: SyncContext) -> SyncProvider:
        """Return a `LogProvider`."""
        from .provider import LogProvider

        return LogProvider(context)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSync(StateSync):
    """Fetch the state as of one position, from several peers at once.

    Attributes:
        fetch_batch_size: Items in one part of a snapshot, roughly; and entries
            of the log in one request. When a member lacks no more than so many
            entries, it gets those instead of a snapshot.
        snapshot_ttl: Seconds that a peer keeps a snapshot after the last request for it.
        snapshot_request_timeout: Seconds until asking for a snapshot is tried again.
        fetch_timeout: See `StateSync`.
    """

    fetch_batch_size: int = 2000
    snapshot_ttl: float = 10.0
    snapshot_request_timeout: float = 15.0

    def __post_init__(self) -> None:
        StateSync.__post_init__(self)
        as_seconds(self, "snapshot_ttl", "snapshot_request_timeout")
        require_above("snapshot_ttl", self.snapshot_ttl)
        require_above("snapshot_request_timeout", self.snapshot_request_timeout)
        require_between("fetch_batch_size", self.fetch_batch_size, 1, 1_000_000)

    def requester(self, context: SyncContext) -> SyncTask:
        """Return a `SnapshotTask`."""
        from .snapshot_sync import SnapshotTask

        return SnapshotTask(
            context,
            fetch_batch_size=self.fetch_batch_size,
            snapshot_request_timeout=self.snapshot_request_timeout,
            fetch_timeout=self.fetch_timeout,
        )

    def provider(self, context: SyncContext) -> SyncProvider:
        """Return a `SnapshotProvider`."""
        from .provider import SnapshotProvider

        return SnapshotProvider(
            context,
            snapshot_ttl=self.snapshot_ttl,
            snapshot_request_timeout=self.snapshot_request_timeout,
        )
