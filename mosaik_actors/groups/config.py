"""The settings of groups: those that all members share, and those of one node.

`ConsensusConfig` is part of the group's id: members with another one never
meet. `GroupsConfig` may differ between nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from ..config import as_seconds, require_above, require_between
from ..errors import ConfigError
from ..wire_encoding import encode
from .raft.config import RaftConfig
from .wire.records import VOTER_COUNT_MAX

_COMMIT_DELAY_S: Final = 0.002
_LAGGED_DELAY_S: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusConfig:
    """How the members of a group keep time and choose their voters. Part of the group's id.

    Durations are seconds or a `timedelta`; they are kept as seconds.

    Attributes:
        heartbeat_interval: Seconds between two heartbeats of a leader to its followers. While a
            group has nothing to do, the nodes of its leader and of each follower send each other
            one in this time instead, for all their groups.
        heartbeat_jitter: Up to this much is added to a bond's heartbeat interval.
        max_missed_heartbeats: A bond that is silent for so many intervals is closed.
        election_timeout: A member that hears of no leader for so long stands for election; up to
            `election_timeout_jitter` is added, drawn anew each time.
        election_timeout_jitter: See `election_timeout`.
        bootstrap_delay: Seconds that a member without a history looks for one before it begins one.
        forward_timeout: Seconds that a command waits to be committed, by default, before its caller
            is notified that the group is offline.
        query_timeout: The same for a strong query.
        max_voters: How many members vote at most; odd.
        initial_voters: How many members must prepare for a new history before it begins; odd. With
            1 a lone member begins at once, and two histories that begin apart merge when they meet.
            With more there is one history only.
    """

    heartbeat_interval: float = 0.2
    heartbeat_jitter: float = 0.05
    max_missed_heartbeats: int = 10
    election_timeout: float = 1.0
    election_timeout_jitter: float = 0.5
    bootstrap_delay: float = 1.0
    forward_timeout: float = 2.0
    query_timeout: float = 2.0
    max_voters: int = 5
    initial_voters: int = 1

    def __post_init__(self) -> None:
        as_seconds(self, *[field.name for field in fields(self) if field.type == "float"])
        require_above("heartbeat_interval", self.heartbeat_interval)
        require_between("heartbeat_jitter", self.heartbeat_jitter, 0, self.heartbeat_interval)
        require_between("max_missed_heartbeats", self.max_missed_heartbeats, 2, 1000)
        require_between("bootstrap_delay", self.bootstrap_delay, 0, 3600)
        require_above("forward_timeout", self.forward_timeout)
        require_above("query_timeout", self.query_timeout)
        require_between("max_voters", self.max_voters, 1, VOTER_COUNT_MAX - 1)
        require_between("initial_voters", self.initial_voters, 1, self.max_voters)
        for name in ("max_voters", "initial_voters"):
            if getattr(self, name) % 2 == 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected an odd number")
        self.raft()

    @property
    def signature(self) -> bytes:
        """What goes into the group's id: every setting."""
        return encode([[field.name, getattr(self, field.name)] for field in fields(self)])

    @property
    def bond_timeout_s(self) -> float:
        """After how many seconds of silence a bond is closed."""
        return self.max_missed_heartbeats * self.heartbeat_interval

    def raft(self, factor: float = 1.0) -> RaftConfig:
        """Return the settings of the Raft core; `factor` stretches this member's patience.

        Raises:
            ConfigError: The intervals do not fit together.
        """
        return RaftConfig(
            heartbeat_interval=self.heartbeat_interval,
            election_timeout=self.election_timeout,
            election_timeout_jitter=self.election_timeout_jitter,
            election_factor=factor,
            commit_delay=min(_COMMIT_DELAY_S, self.heartbeat_interval),
            lagged_delay=min(_LAGGED_DELAY_S, self.heartbeat_interval),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsConfig:
    """The settings of one node's groups. Each node may have its own.

    Durations are seconds or a `timedelta`; they are kept as seconds.

    Attributes:
        replace_after: A voter that the leader has not heard of for so many
            seconds is replaced by a learner or, from five voters upward, removed.
        forget_after: A learner that is gone for so many seconds is forgotten.
        leave_timeout: Seconds that leaving waits for the others to take over.
        compact_entries: The log is compacted when it has so many entries more than
            the last snapshot.
        compact_bytes: The same in bytes.
        keep_entries: Entries that are kept before a compaction, for members that are a
            little behind.
        pending_commands: Commands of this node that may wait to be committed;
            beyond, `execute` waits for room.
        pending_bytes: The same in bytes.
        events_backlog: Events kept for a reader that is slow to take them.
    """

    replace_after: float = 5.0
    forget_after: float = 60.0
    leave_timeout: float = 2.0
    compact_entries: int = 100_000
    compact_bytes: int = 64 * 1024 * 1024
    keep_entries: int = 10_000
    pending_commands: int = 65_536
    pending_bytes: int = 64 * 1024 * 1024
    events_backlog: int = 1024

    def __post_init__(self) -> None:
        as_seconds(self, "replace_after", "forget_after", "leave_timeout")
        for field in fields(self):
            if field.name != "keep_entries":
                require_above(field.name, getattr(self, field.name))
        require_between("keep_entries", self.keep_entries, 0, 1 << 32)
