"""How a member that joins, or fell far behind, gets the state: the choices.

All members of a group make the same choice: its signature is part of the
group's id.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..config import as_seconds, require_above, require_between


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSync:
    """The base of the two ways; a way of one's own derives from one of them.

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
        """What goes into the group's id."""
        return type(self).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReplaySync(StateSync):
    """Fetch the log and apply it; for machines whose log is short or is the point.

    Attributes:
        batch_size: Commands in one request, roughly.
        fetch_timeout: See `StateSync`.
    """

    batch_size: int = 2000
    fetch_timeout: float = 25.0

    def __post_init__(self) -> None:
        # Named in full: `super()` does not work in a dataclass with slots.
        StateSync.__post_init__(self)
        require_between("batch_size", self.batch_size, 1, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSync(StateSync):
    """Fetch the state as of one position, from several peers at once.

    Attributes:
        fetch_batch_size: Items in one part of a snapshot, roughly.
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
