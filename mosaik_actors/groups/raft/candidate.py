"""The candidate, and the pre-candidate that asks first.

A pre-vote (Raft thesis 9.6) asks whether an election could be won, in a term that nobody enters for
it. So a replica that was cut off, or whose log is behind, does not disturb a working leader when it
comes back. Only when a majority says yes does it enter the next term and stand.

A candidate's own vote counts when it is saved, not before.
"""

from __future__ import annotations

from ...ids import PeerId
from ..wire.raft import Message, VoteReply, VoteRequest
from .quorum import is_won
from .replica import CANDIDATE, PRE_CANDIDATE, Replica, Role


class Candidate(Role):
    """The role of a replica that wants to lead; whose leader asked it to, `is_transfer`."""

    def __init__(self, replica: Replica, is_pre_vote: bool, is_transfer: bool) -> None:
        super().__init__(replica)
        self._is_pre_vote = is_pre_vote
        self._votes: dict[PeerId, bool] = {}
        self.name = PRE_CANDIDATE if is_pre_vote else CANDIDATE
        log, term = replica.log, replica.term + is_pre_vote
        request = VoteRequest(term, log.last_index, log.last_term, is_pre_vote, is_transfer)
        asked = {peer for voters in replica.deciding for peer in voters} - {replica.me}
        for peer in sorted(asked):
            replica.send(peer, request)

    def receive(self, sender: PeerId, message: Message) -> None:
        """Count a vote; only voters count, each once."""
        replica = self._replica
        if not isinstance(message, VoteReply) or message.is_pre_vote is not self._is_pre_vote:
            return
        if message.is_granted and message.term != replica.term + self._is_pre_vote:
            return
        self._votes.setdefault(sender, message.is_granted)
        if not (message.is_granted or self._is_pre_vote):
            # Somebody stands as well: whatever comes of it, do not wait a whole
            # timeout for the next attempt. The losers draw times apart (3.4).
            self._replica.hasten_election()
        self._conclude()

    def handle_saved(self) -> None:
        """Count the own vote when it is saved; a pre-vote needs no saving."""
        replica = self._replica
        saved = replica.durability.saved
        if self._is_pre_vote or (saved.term, saved.vote) == (replica.term, replica.me):
            self._votes[replica.me] = True
            self._conclude()

    def handle_timer(self) -> None:
        """The votes were split or lost: begin again, with the question."""
        replica = self._replica
        if replica.now < replica.election_at_s:
            return
        if replica.may_stand:
            replica.become_pre_candidate()
        else:
            replica.become_follower(replica.term, None, "not a voter any more")

    def _conclude(self) -> None:
        replica = self._replica
        if not replica.may_stand:
            replica.become_follower(replica.term, None, "not a voter any more")
            return
        match is_won(replica.deciding, self._votes):
            case True if self._is_pre_vote:
                replica.become_candidate(is_transfer=False)
            case True:
                replica.become_leader()
            case False:
                replica.become_follower(replica.term, None, "lost the election")
