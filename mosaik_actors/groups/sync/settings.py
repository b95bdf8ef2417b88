"""The two built-in ways to get the state: `SnapshotSync` and `LogReplaySync`.

Both fetch from all members at once, the leader last: one the log, the other the state as of one
place in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...config import as_seconds, require_above, require_between
from ..machine.state_sync import StateSync
from ..machine.sync_roles import SyncContext, SyncProvider, SyncTask
from .log_replay import LogReplayTask
from .provider import LogProvider, SnapshotProvider
from .snapshot_sync import SnapshotTask


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReplaySync(StateSync):
    """Fetch the log and apply it; for machines whose log is short or is the point.

    Attributes:
        batch_size: Entries of the log in one request, at most; an entry carries one command or
            many.
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
        return LogReplayTask(context, batch_size=self.batch_size, fetch_timeout=self.fetch_timeout)

    def provider(self, context: SyncContext) -> SyncProvider:
        """Return a `LogProvider`."""
        return LogProvider(context)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSync(StateSync):
    """Fetch the state as of one position, from several peers at once.

    Attributes:
        fetch_batch_size: Items in one part of a snapshot, roughly; and entries of the log in one
            request. When a member lacks no more than so many entries, it gets those instead of a
            snapshot.
        snapshot_ttl: Seconds that a peer keeps a snapshot after the last request for it.
        snapshot_request_timeout: Seconds until asking for a snapshot is tried again, by who asks
            and by the leader that was asked.
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
        return SnapshotTask(
            context,
            fetch_batch_size=self.fetch_batch_size,
            snapshot_request_timeout=self.snapshot_request_timeout,
            fetch_timeout=self.fetch_timeout,
        )

    def provider(self, context: SyncContext) -> SyncProvider:
        """Return a `SnapshotProvider`."""
        return SnapshotProvider(
            context,
            snapshot_ttl=self.snapshot_ttl,
            snapshot_request_timeout=self.snapshot_request_timeout,
        )
