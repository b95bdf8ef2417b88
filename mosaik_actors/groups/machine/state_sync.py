"""How a member that joins, or fell far behind, gets the state: what all ways have in common.

All members of a group make the same choice: its signature is part of the group's
id. Two ways are built in, `SnapshotSync` and `LogReplaySync`.

A way of one's own derives from `StateSync` and makes the two sides, which are
pure state machines and say to each other whatever they like:

    @dataclass(frozen=True, slots=True, kw_only=True) class ArchiveSync(StateSync):
        archive: str = "archive-1"

        def requester(self, context):
            return ArchiveTask(self, context)       # a SyncTask

        def provider(self, context):
            return ArchiveProvider(self, context)   # a SyncProvider

What `SyncTask` and `SyncProvider` promise is written in `sync_roles`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...config import as_seconds, require_above
from .sync_roles import SyncContext, SyncProvider, SyncTask


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSync:
    """The base of all ways to sync; a way of one's own derives from it or from a built-in one.

    Attributes:
        fetch_timeout: Seconds until a request to one peer counts as lost and goes to another.
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
