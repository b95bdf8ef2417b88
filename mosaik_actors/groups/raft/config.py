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
    """How a replica keeps time, in seconds, and how much it holds and sends.

    Attributes:
        heartbeat_interval: Time between two heartbeats of a leader.
        election_timeout: A follower that hears nothing for this long may ask for votes, and grants
            none before; a leader that does not hear a quorum for this long steps down.
        election_timeout_jitter: Up to this much is added to the timeout, drawn
            anew each time, so that replicas rarely stand for election together.
        election_factor: This replica waits so many times longer before it
            stands. It grants votes, and steps down, like everybody else.
        commit_delay: What is committed is published with the next entries; a leader
            waits for them so long. 0: it is published at once.
        lagged_delay: Followers whose answer no quorum needs are sent new entries at
            most once in so long. 0: at once.
        append_entries: Entries in one message at most.
        append_bytes: Bytes of entries in one message; one entry always fits.
        window_count: Messages with entries on their way to one follower.
        window_bytes: Bytes on their way to one follower, by the same rule.
        entry_bytes: The largest entry that may be proposed.
        uncommitted_count: Proposals a leader holds that are not committed.
        uncommitted_bytes: The same in bytes: beyond, proposals are not taken.
        log_bytes: A leader whose log takes more, because nobody compacts it, takes no proposals.
        apply_count: Committed entries in one `Ready` at most.
        apply_bytes: The same bound in bytes; one entry always fits.
        apply_backlog: Entries handed out and not yet applied; beyond, none are handed out.
        reads_count: Strong reads that wait, at a leader and at a reader.
        promotion_lag: How many entries behind the commit index a learner may be
            when it is made a voter.
    """

    heartbeat_interval: float = 0.2
    election_timeout: float = 1.0
    election_timeout_jitter: float = 0.5
    election_factor: float = 1.0
    commit_delay: float = 0.0
    lagged_delay: float = 0.0
    append_entries: int = 512
    append_bytes: int = 512 * 1024
    window_count: int = 64
    window_bytes: int = 8 * 1024 * 1024
    entry_bytes: int = 4 * 1024 * 1024
    uncommitted_count: int = 65_536
    uncommitted_bytes: int = 64 * 1024 * 1024
    log_bytes: int = 512 * 1024 * 1024
    apply_count: int = 4096
    apply_bytes: int = 32 * 1024
    apply_backlog: int = 65_536
    reads_count: int = 65_536
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
