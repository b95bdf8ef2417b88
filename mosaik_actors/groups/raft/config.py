"""The settings of one replica's Raft core.

All are local: replicas with different settings still understand each other, as long as the limits
on sizes allow what the others send. Only the durations come from a user, by way of
`ConsensusConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ...config import require_above, require_between
from ...errors import ConfigError
from ..wire.raft import APPEND_BYTES_MAX, APPEND_ENTRIES_MAX, ENTRY_BYTES_MAX

_QUIESCED_FACTOR: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """How a replica keeps time, in seconds, and how much it holds and sends."""

    heartbeat_interval: float = 0.2  # time between two heartbeats of a leader
    # A follower that hears nothing for this long may ask for votes, and grants none before; a
    # leader that does not hear a quorum for this long steps down.
    election_timeout: float = 1.0
    # Up to this much is added to the timeout, drawn anew each time, so that replicas rarely stand
    # for election together.
    election_timeout_jitter: float = 0.5
    # This replica waits so many times longer before it stands. It grants votes, and steps down,
    # like everybody else.
    election_factor: float = 1.0
    # What is committed is published with the next entries; a leader waits for them so long. 0: it
    # is published at once.
    commit_delay: float = 0.0
    # Followers whose answer no quorum needs are sent new entries at most once in so long. 0: at
    # once.
    lagged_delay: float = 0.0
    append_entries: int = 512  # entries in one message at most
    append_bytes: int = 512 * 1024  # bytes of entries in one message; one entry always fits
    window_count: int = 64  # messages with entries on their way to one follower
    window_bytes: int = 8 * 1024 * 1024  # bytes on their way to one follower, by the same rule
    entry_bytes: int = 4 * 1024 * 1024  # the largest entry that may be proposed
    uncommitted_count: int = 65_536  # proposals a leader holds that are not committed
    uncommitted_bytes: int = 64 * 1024 * 1024  # the same in bytes: beyond, proposals are not taken
    # A leader whose log takes more, because nobody compacts it, takes no proposals.
    log_bytes: int = 512 * 1024 * 1024
    apply_count: int = 4096  # committed entries in one `Ready` at most
    apply_bytes: int = 32 * 1024  # the same bound in bytes; one entry always fits
    # Entries handed out and not yet applied; beyond, none are handed out.
    apply_backlog: int = 65_536
    reads_count: int = 65_536  # strong reads that wait, at a leader and at a reader
    # How many entries behind the commit index a learner may be when it is made a voter.
    promotion_lag: int = 4096

    @property
    def quiesced_interval(self) -> float:
        """Seconds between the heartbeats of a leader that has nothing to do (`quiescence`)."""
        return max(_QUIESCED_FACTOR * self.election_timeout, self.heartbeat_interval)

    def __post_init__(self) -> None:
        require_above("heartbeat_interval", self.heartbeat_interval)
        if self.election_timeout < 2 * self.heartbeat_interval:
            raise ConfigError(
                f"election_timeout is {self.election_timeout}, expected at least twice "
                f"heartbeat_interval, {self.heartbeat_interval}"
            )
        require_above("election_timeout_jitter", self.election_timeout_jitter)
        for name in ("commit_delay", "lagged_delay"):
            require_between(name, getattr(self, name), 0, self.heartbeat_interval)
        require_between("election_factor", self.election_factor, 1, 1000)
        require_between("append_entries", self.append_entries, 1, APPEND_ENTRIES_MAX)
        require_between("append_bytes", self.append_bytes, 1, APPEND_BYTES_MAX)
        require_between("entry_bytes", self.entry_bytes, 1, ENTRY_BYTES_MAX)
