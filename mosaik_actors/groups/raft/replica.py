"""The state with its roles: transitions, and what happens before a role is asked.

Every message first meets the comparison of terms (Raft thesis 3.3); requests
for votes are answered here, for all roles answer them alike. Everything else is
the role's.
"""

from __future__ import annotations

from random import Random
from typing import Any

from ...errors import RemoteError
from ...ids import PeerId
from ..wire.raft import (
    Append,
    Appended,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    Message,
    ReadReply,
    ReadRequest,
    SnapshotOffer,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from .candidate import Candidate
from .config import RaftConfig
from .follower import Follower
from .leader import Leader
from .ready import BecameLeader, EntriesLost, SteppedDown
from .state import NEVER, RaftState

_FROM_LEADERS = (Append, Heartbeat, SnapshotOffer)
_NUMBER_BITS = 62


class Replica(RaftState):
    """One replica: its state, and the role it has at the moment."""

    def __init__(self, me: PeerId, settings: RaftConfig, rng: Random, **saved: Any) -> None:
        super().__init__(me, settings, rng, **saved)
        self._role: Follower | Candidate | Leader = self._new_follower()

    @property
    def role(self) -> Follower | Candidate | Leader:
        """What this replica is at the moment."""
        return self._role

    # Transitions.

    def become_follower(self, term: int, leader: PeerId | None, why: str) -> None:
        """Follow; in a new term the vote is free again (Raft thesis 3.3)."""
        before = self._role
        before.leave()
        if isinstance(before, Leader):
            self.events.append(SteppedDown(self.term, why))
            self.leader_heard_s = NEVER
        if term > self.term:
            self.set_term(term, None)
            self.leader_heard_s = NEVER
        self.set_leader(leader)
        self.postpone_election()
        self._role = self._new_follower()

    def lose_entries(self, leader: PeerId, counted_index: int) -> None:
        """Take no part any more; to be remembered, for the leader may be gone before long."""
        self.become_follower(self.term, None, "entries are lost")
        self.has_lost_entries = self.must_save_hard_state = True
        self.events.append(EntriesLost(self.log.last_index, counted_index, leader))

    def become_pre_candidate(self) -> None:
        """Ask before standing (9.6)."""
        self._leave_for("pre-candidate", Follower, Candidate)
        self.set_leader(None)
        self.postpone_election()
        self._role = Candidate(self, is_pre_vote=True)
        self._role.handle_saved()

    def become_candidate(self, *, is_transfer: bool) -> None:
        """Enter the next term, vote for oneself, ask for votes (3.4)."""
        self._leave_for("candidate", Follower, Candidate)
        self.set_term(self.term + 1, self.me)
        self.set_leader(None)
        self.postpone_election()
        self._role = Candidate(self, is_pre_vote=False, is_transfer=is_transfer)

    def become_leader(self) -> None:
        """Lead; the first entry of the term follows at once."""
        self._leave_for("leader", Candidate)
        self.set_leader(self.me)
        self._role = leader = Leader(self)
        self.events.append(BecameLeader(self.term, leader.first_index))

    def _leave_for(self, name: str, *allowed: type) -> None:
        assert isinstance(self._role, allowed), f"{self._role.name} cannot become {name}"
        self._role.leave()

    def _new_follower(self) -> Follower:
        return Follower(self, self.rng.getrandbits(_NUMBER_BITS))

    # Messages.

    def receive(self, sender: PeerId, message: Message) -> None:
        """Compare terms (3.3), then let the role decide."""
        if self.has_lost_entries:
            return
        if isinstance(message, VoteRequest):
            if not self.is_non_voting:
                self._receive_vote_request(sender, message)
            return
        if isinstance(message, VoteReply):
            self._learn_commit(message)
        if message.term > self.term:
            if not (isinstance(message, VoteReply) and message.is_pre_vote and message.is_granted):
                leader = sender if isinstance(message, _FROM_LEADERS) else None
                self.become_follower(message.term, leader, f"term {message.term} has begun")
        elif message.term < self.term:
            if isinstance(message, _FROM_LEADERS):
                # A leader of the past must learn that it is one.
                self.send(sender, AppendRejected(self.term, 0, 0, 0))
            return
        self._dispatch(sender, message)

    def _dispatch(self, sender: PeerId, message: Message) -> None:
        role = self._role
        if isinstance(message, _FROM_LEADERS) and not isinstance(role, Follower):
            if isinstance(role, Leader):
                raise RemoteError(f"a second leader in term {self.term}")
            self.become_follower(self.term, sender, "another one leads")
            role = self._role
        if isinstance(role, Follower):
            if isinstance(message, Append):
                role.receive_append(sender, message)
            elif isinstance(message, Heartbeat):
                role.receive_heartbeat(sender, message)
            elif isinstance(message, SnapshotOffer):
                role.receive_snapshot_offer(sender, message)
            elif isinstance(message, TimeoutNow):
                role.receive_timeout_now(sender, message)
            elif isinstance(message, ReadReply):
                role.receive_read_reply(sender, message)
        elif isinstance(role, Candidate):
            if isinstance(message, VoteReply):
                role.receive_vote_reply(sender, message)
        elif isinstance(message, Appended):
            role.receive_appended(sender, message)
        elif isinstance(message, AppendRejected):
            role.receive_append_rejected(sender, message)
        elif isinstance(message, HeartbeatReply):
            role.receive_heartbeat_reply(sender, message)
        elif isinstance(message, ReadRequest):
            role.receive_read_request(sender, message)

    def _receive_vote_request(self, sender: PeerId, message: VoteRequest) -> None:
        """Vote, once in a term, for a log that is as complete (3.4, 3.6.1).

        Who hears a leader helps nobody to depose it, unless the leader itself
        asked for that (4.2.3).
        """
        has_leader = isinstance(self._role, Leader) or self.hears_leader
        is_join_accepted = message.is_transfer or not has_leader
        is_pre_vote = message.is_pre_vote
        is_granted = is_join_accepted and self.is_up_to_date(message.last_index, message.last_term)
        if is_pre_vote:
            is_granted = is_granted and message.term > self.term
            self._answer_vote(sender, message, is_granted=is_granted)
            return
        if message.term > self.term:
            if not is_join_accepted:
                return
            self.become_follower(message.term, None, f"an election in term {message.term}")
        is_granted = (
            message.term == self.term
            and self.vote in (None, sender)
            and self.is_up_to_date(message.last_index, message.last_term)
        )
        if is_granted:
            self.set_term(self.term, sender)
            self.postpone_election()
        self._answer_vote(sender, message, is_granted=is_granted)

    def _answer_vote(self, sender: PeerId, message: VoteRequest, *, is_granted: bool) -> None:
        term = message.term if is_granted else self.term
        commit_term = self.log.term_at(self.commit_index) or 0
        self.send(
            sender,
            VoteReply(term, is_granted, message.is_pre_vote, self.commit_index, commit_term),
        )

    def _learn_commit(self, message: VoteReply) -> None:
        """Learn what is committed from a voter that knows more, if the logs agree there."""
        index = message.commit_index
        if index > self.commit_index and self.log.term_at(index) == message.commit_term:
            self.commit(index)
