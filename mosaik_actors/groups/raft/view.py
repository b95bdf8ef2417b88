"""What a replica believes, for those who do not drive it: to be read only."""

from __future__ import annotations

from ...ids import PeerId
from ..wire.records import Entry, HardState, SnapshotMetadata, Voters
from .leader import Leader
from .outbox import RaftOutbox
from .progress import FollowerProgress
from .quiescence import Liveness
from .replica import Replica


class RaftView:
    """One replica, as others see it."""

    def __init__(self, replica: Replica, outbox: RaftOutbox) -> None:
        self._replica = replica
        self._outbox = outbox

    @property
    def me(self) -> PeerId:
        """This replica's id."""
        return self._replica.me

    @property
    def term(self) -> int:
        """The current term."""
        return self._replica.term

    @property
    def leader(self) -> PeerId | None:
        """Who leads the current term, None when unknown."""
        return self._replica.leader

    @property
    def role(self) -> str:
        """``follower``, ``pre-candidate``, ``candidate`` or ``leader``."""
        return self._replica.role.name

    @property
    def is_leader(self) -> bool:
        """Whether this replica leads."""
        return self._replica.is_leader

    @property
    def commit_index(self) -> int:
        """Everything up to here is committed."""
        return self._replica.commit_index

    @property
    def applied_index(self) -> int:
        """Everything up to here is applied, as the caller said."""
        return self._outbox.applied_index

    @property
    def last_index(self) -> int:
        """The last entry of the log."""
        return self._replica.log.last_index

    @property
    def first_index(self) -> int:
        """The first index that is not compacted away."""
        return self._replica.log.snapshot_index + 1

    @property
    def log_bytes(self) -> int:
        """What the log takes in memory, roughly."""
        return self._replica.log.size_bytes

    @property
    def is_log_full(self) -> bool:
        """Whether a leader would take no more proposals before its log is compacted."""
        return self._replica.log.size_bytes >= self._replica.settings.log_bytes

    @property
    def metadata(self) -> SnapshotMetadata:
        """The snapshot this replica has."""
        return self._replica.metadata

    @property
    def configuration(self) -> Voters:
        """The configuration in force: the latest in the log."""
        return self._replica.configurations.latest

    @property
    def deciding(self) -> tuple[tuple[PeerId, ...], ...]:
        """The sets of voters that must each agree to anything."""
        return tuple(tuple(voters) for voters in self._replica.deciding)

    @property
    def is_configuration_pending(self) -> bool:
        """Whether the configuration in force is not known to be committed."""
        return self._replica.configurations.is_pending(self._replica.commit_index)

    @property
    def has_lost_entries(self) -> bool:
        """Whether the log here lacks entries that this replica had acknowledged.

        Then it takes no part any more: it neither votes nor acknowledges, for it may have
        forgotten a vote as well. Have it removed from the configuration, and begin anew.
        """
        return self._replica.has_lost_entries

    @property
    def is_non_voting(self) -> bool:
        """Whether this replica takes no part in elections yet: see `join_index`."""
        return self._replica.is_non_voting

    @property
    def configuration_index(self) -> int:
        """Where in the log the configuration in force is."""
        return self._replica.configurations.latest_index

    @property
    def final_configuration(self) -> tuple[int, Voters]:
        """The configuration to rely on, and where in the log it is.

        The latest that is known to be committed; on a leader, known to another voter as well,
        so that it stands even if the leader crashes now.
        """
        role, replica = self._replica.role, self._replica
        index = role.known_index if isinstance(role, Leader) else replica.commit_index
        return replica.configurations.final(index)

    def silent_s(self, peer: PeerId) -> float | None:
        """Return for how many seconds a leader has not heard of a follower; None where unknown."""
        progress, replica = self.progress.get(peer), self._replica
        if progress is None:
            return None
        heard_s = progress.heard_s
        if progress.liveness is not None:
            heard_s = max(heard_s, replica.inside(progress.liveness.last_heard_at))
        return replica.now - heard_s

    def has_sent_all(self, peer: PeerId) -> bool:
        """Whether this replica leads, means to go on, and has sent a follower the whole log."""
        role = self._replica.role
        if not isinstance(role, Leader) or role.transfer_to is not None:
            return False
        progress = role.progress.get(peer)
        return progress is not None and progress.next_index > self._replica.log.last_index

    @property
    def is_quiesced(self) -> bool:
        """Whether this replica leads, and no follower needs a heartbeat (`quiescence`)."""
        role = self._replica.role
        return isinstance(role, Leader) and role.is_quiesced

    @property
    def liveness(self) -> Liveness | None:
        """What a quiesced follower takes for the life of its leader; else None."""
        return self._replica.quiescence.liveness

    def tail(self, first_index: int) -> tuple[Entry, ...]:
        """Return the log from `first_index` on, committed or not; to be read only."""
        return self._replica.log.tail(first_index)

    @property
    def hard_state(self) -> HardState:
        """The term and vote, saved or about to be."""
        return self._replica.hard_state

    @property
    def progress(self) -> dict[PeerId, FollowerProgress]:
        """What a leader knows of each follower; empty on others. To be read only."""
        role = self._replica.role
        return role.progress if isinstance(role, Leader) else {}

    def term_at(self, index: int) -> int | None:
        """Return the term of an entry; None where the log has none."""
        return self._replica.log.term_at(index)

    def entries(self, first_index: int, *, count_max: int, bytes_max: int) -> tuple[Entry, ...]:
        """Return *committed* entries from `first_index` on, for peers that fetch a range.

        Empty when that is compacted away or not committed here. The first one
        comes whatever its size.
        """
        replica = self._replica
        if not replica.log.snapshot_index < first_index <= replica.commit_index:
            return ()
        return replica.log.slice(
            first_index,
            last_index=replica.commit_index,
            count_max=count_max,
            bytes_max=bytes_max,
        )
