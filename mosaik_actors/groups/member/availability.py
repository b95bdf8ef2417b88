"""Whether a member takes commands, and shows the present, in the history that it follows."""

from __future__ import annotations

from typing import Final

from ...ids import PeerId
from ..merge.takeover import are_forgotten
from ..raft.quorum import majority
from ..raft.raft import Raft
from ..wire.status import MemberStanding
from .catching_up import CatchingUp
from .context import Context
from .saving import DiskState

MAJORITY_LOST: Final = (
    "a majority of the voters has lost what it had stored, and with it perhaps what was "
    "acknowledged; see `force_new_group`"
)
_LOG_FULL: Final = (
    "the log is full: with `snapshot` and `restore` the machine would have it compacted"
)
_CONTINUED: Final = "the voters have lost what they had; who is left goes on without them"


class Availability:
    """What a member waits for before it is online."""

    def __init__(self, context: Context, raft: Raft, history: bytes, sync: CatchingUp) -> None:
        self._context = context
        self._raft = raft
        self._history = history
        self._sync = sync
        self._is_caught_up = False
        # A voter of a committed configuration has its place, also when it comes back.
        is_voter = context.me in raft.final_configuration[1].voters
        self.is_admitted = is_voter and not raft.is_non_voting  # its place is final for now
        self._admitted_index: int | None = None
        self._caught_up_index: int | None = None

    @property
    def is_catching_up(self) -> bool:
        """Whether the state here is not to be relied on yet."""
        return self._raft.is_non_voting or self._sync.is_active

    @property
    def is_closed(self) -> bool:
        """Whether the history has ended: it takes nobody in, and what it shows is of the past."""
        return bool(self._context.host.ledger.closed_into)

    @property
    def why_offline(self) -> str | None:
        """Why commands are not taken at the moment; None when they are."""
        disk = self._context.saving.disk
        if disk is not DiskState.FINE:
            return str(disk.value)
        if self._raft.has_lost_entries:
            return "the log here lacks entries that were acknowledged: waiting to be taken in anew"
        if self.is_closed:
            return "the history is closed: it is being merged into another one"
        if self.is_catching_up:
            return "catching up with the group"
        leader = self._raft.leader
        if leader is None:
            if self._is_continued:
                return f"no leader: {_CONTINUED}"
            if self.majority_is_lost:
                return f"no leader: {MAJORITY_LOST}"
            return "no leader: a majority of the voters is not in reach"
        if leader != self._context.me:
            status = self._context.statuses.get(leader)
            if status is None:
                return f"no bond with the leader, {leader.short}"
            if status.history != self._history:
                return f"no leader: {leader.short}, which led, has lost what it had"
        if not self._is_caught_up:
            return "behind the leader"
        if not self.is_admitted:
            return "being taken in: the change of the voters is not finished"
        if self._raft.log.size_bytes >= self._raft.settings.log_bytes:
            return _LOG_FULL
        return None

    @property
    def _is_continued(self) -> bool:
        """Whether those that are left go on by themselves, without the voters (`takeover`)."""
        context, deciding = self._context, self._raft.deciding
        may_be = context.consensus.initial_voters == 1
        return may_be and are_forgotten(self._history, deciding, context.statuses)

    @property
    def majority_is_lost(self) -> bool:
        """Whether so many voters have lost entries, or all, that nobody can go on."""
        raft = self._raft
        if self.is_closed or self._is_continued:
            return False  # it need not go on, or will
        voter_count = len(raft.configuration.voters)
        if not (voter_count and raft.commit_index):
            return False  # unknown yet, or the first voters may not have begun
        lost_count = int(raft.has_lost_entries)
        for peer in raft.configuration.voters:
            status = self._context.statuses.get(peer)
            lost_count += status is not None and status.standing is MemberStanding.SEEKING
        return voter_count - lost_count < majority(voter_count)

    def admit(self, leader: PeerId, index: int) -> None:
        """Take in that this member's place is final as soon as `index` is known to be committed."""
        if leader == self._raft.leader:
            self._admitted_index = index

    def note_progress(self) -> None:
        """Note when this member has caught up with its leader, and when its place is final."""
        self._is_caught_up = self._is_caught_up or self._has_caught_up()
        raft, index = self._raft, self._admitted_index
        has_place = index is not None and raft.commit_index >= index
        # An observer never is to vote, and a leader is one of the voters.
        is_observer = self._is_caught_up and self._context.is_observer
        self.is_admitted = self.is_admitted or has_place or is_observer or raft.is_leader

    def _has_caught_up(self) -> bool:
        """Return whether all is applied that was committed when this member first met its leader.

        A member that restarts is told the commit index only then; until it has
        applied that much, what it shows is of the past.
        """
        raft = self._raft
        if raft.leader is None or raft.term_at(raft.applied_index) != raft.term:
            return False  # nothing of this term is applied: what was committed before may lack too
        if self._caught_up_index is None:
            status = self._context.statuses.get(raft.leader)
            self._caught_up_index = 0 if status is None else status.commit_index
        return raft.applied_index >= self._caught_up_index
