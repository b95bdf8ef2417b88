"""The candidate, and the pre-candidate that asks first.

A pre-vote (Raft thesis 9.6) asks whether an election could be won, in a term
that nobody enters for it. So a replica that was cut off, or whose log is
behind, does not disturb a working leader when it comes back. Only when a
majority says yes does it enter the next term and stand.

A candidate's own vote counts when it is saved, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...ids import PeerId
from ..wire.raft import VoteReply, VoteRequest
from .quorum import Tally, tally
from .ready import ReadState, Reason

if TYPE_CHECKING:
    from .state import RaftState


class Candidate:
    """The role of a replica that wants to lead.

    Args:
        state: What the roles share.
        is_pre_vote: Whether it only asks.
        is_transfer: Whether the last leader asked it to stand.
    """

    def __init__(self, state: RaftState, *, is_pre_vote: bool, is_transfer: bool = False) -> None:
        self._state = state
        self._is_pre_vote = is_pre_vote
        self._votes: dict[PeerId, bool] = {}
        self.name = "pre-candidate" if is_pre_vote else "candidate"
        self._ask(is_transfer)

    def receive_vote_reply(self, sender: PeerId, message: VoteReply) -> None:
        """Count a vote; only voters count, each once."""
        state = self._state
        if message.is_pre_vote is not self._is_pre_vote:
            return
        if message.is_granted and message.term != state.term + self._is_pre_vote:
            return
        self._votes.setdefault(sender, message.is_granted)
        if not (message.is_granted or self._is_pre_vote):
            # Somebody stands as well: whatever comes of it, do not wait a whole
            # timeout for the next attempt. The losers draw times apart (3.4).
            self._state.hasten_election()
        self._conclude()

    def handle_saved(self) -> None:
        """Count the own vote when it is saved; a pre-vote needs no saving."""
        state = self._state
        if self._is_pre_vote:
            self._votes[state.me] = True
        else:
            saved = state.durability.saved
            if (saved.term, saved.vote) != (state.term, state.me):
                return
            self._votes[state.me] = True
        self._conclude()

    def propose(self, token: Any) -> None:
        """Refuse: only the leader takes proposals."""
        self._state.refuse(token, Reason.NOT_LEADER)

    def read(self, request_id: Any) -> None:
        """Fail: there is no leader to ask."""
        self._state.reads.append(ReadState(request_id, None))

    @property
    def timer_s(self) -> float:
        """When to call `handle_timer`."""
        return self._state.election_at_s

    def handle_timer(self) -> None:
        """The votes were split or lost: begin again, with the question."""
        state = self._state
        if state.now < state.election_at_s:
            return
        if state.may_stand:
            state.become_pre_candidate()
        else:
            state.become_follower(state.term, None, "not a voter any more")

    def flush(self) -> None:
        """There is nothing to send that was not sent when the role began."""

    def leave(self) -> None:
        """End the role; it holds nothing."""

    def _ask(self, is_transfer: bool) -> None:
        state = self._state
        request = VoteRequest(
            state.term + self._is_pre_vote,
            state.log.last_index,
            state.log.last_term,
            self._is_pre_vote,
            is_transfer,
        )
        asked = {peer for voters in state.deciding for peer in voters} - {state.me}
        for peer in sorted(asked):
            state.send(peer, request)

    def _conclude(self) -> None:
        state = self._state
        if not state.may_stand:
            state.become_follower(state.term, None, "not a voter any more")
            return
        match tally(state.deciding, self._votes):
            case Tally.WON if self._is_pre_vote:
                state.become_candidate(is_transfer=False)
            case Tally.WON:
                state.become_leader()
            case Tally.LOST:
                state.become_follower(state.term, None, "lost the election")
            case Tally.OPEN:
                pass
