"""What one member has promised about beginnings, and what it may say about them.

The part of `bootstrap` that safety rests on. It knows no time and no peers' status.

Invariants:
    * Nothing is said of a prepare vote or promise before it is saved (`is_saved`).
    * A member takes a new incarnation whenever it is free of a prepare vote, however that ended: so
      one that is not prepared in its present incarnation never was, and none is in two of them.
    * What a verdict says stays true.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from ...ids import PeerId
from ..raft.quorum import majority
from ..wire.bootstrap import INCARNATION_BYTES, Complete, Dead, PrepareVote, Promised, Proposal

_DEAD_KEPT_MAX: Final = 64

Verdict = Complete | Promised | Dead


class Promises:
    """The promises of one member.

    Args:
        prepare_vote: What was saved last, None for nothing.
        save: Called with each new prepare vote, None for none; `saved` follows.

    Attributes:
        incarnation: The one to name in a proposal.
        prepare_vote: What this member is prepared for, saved or about to be.
    """

    def __init__(
        self,
        me: PeerId,
        rng: Random,
        prepare_vote: PrepareVote | None,
        save: Callable[[PrepareVote | None], None],
    ) -> None:
        self._me = me
        self._rng = rng
        self._save_later = save
        self._unsaved_count = 0
        self._dead: deque[bytes] = deque(maxlen=_DEAD_KEPT_MAX)
        self._never_begin: dict[PeerId, None] = {}
        self.prepare_vote = prepare_vote
        self.incarnation = rng.randbytes(INCARNATION_BYTES)
        if prepare_vote is not None:
            self.incarnation = prepare_vote.proposal.incarnation_of(me)

    # What is promised.

    @property
    def is_saved(self) -> bool:
        """Whether everything that was promised is saved."""
        return not self._unsaved_count

    @property
    def proposal(self) -> Proposal:
        """What this member is prepared for; only while it is."""
        assert self.prepare_vote is not None, "prepared for nothing"
        return self.prepare_vote.proposal

    @property
    def is_proposer(self) -> bool:
        """Whether it is prepared for its own proposal, and hence that is complete."""
        return self.prepare_vote is not None and self.prepare_vote.proposal.proposer == self._me

    @property
    def has_promised(self) -> bool:
        """Whether it promised never to begin what it is prepared for."""
        return self.prepare_vote is not None and self.prepare_vote.is_promised

    def is_prepared_for(self, history: bytes) -> bool:
        """Return whether it is prepared for this history."""
        return self.prepare_vote is not None and self.prepare_vote.proposal.history == history

    def is_dead(self, history: bytes) -> bool:
        """Return whether a history is known never to begin, or never with a majority."""
        return history in self._dead

    # Changes.

    def prepare(self, proposal: Proposal) -> None:
        """Promise to begin this history as soon as all are prepared, and no other."""
        assert self.prepare_vote is None, "prepared twice"
        assert proposal.incarnation_of(self._me) == self.incarnation, "prepared for another life"
        assert proposal.history not in self._dead, "prepared for a dead proposal"
        self._never_begin = {}
        self._save(PrepareVote(proposal))

    def promise(self) -> None:
        """Promise not to begin the history either."""
        assert not self.is_proposer, "promised against a proposal that is complete"
        self._save(PrepareVote(self.proposal, is_promised=True))

    def drop(self) -> None:
        """Be prepared no more, if it was: the caller has one of the reasons in `bootstrap`."""
        if self.prepare_vote is not None:
            self.forget()
            self._save(None)

    def forget(self) -> None:
        """The same, when the caller saves something else in place of the prepare vote."""
        if self.prepare_vote is not None:
            self.prepare_vote = None
            self._never_begin = {}
            self._renew()

    def saved(self) -> bool:
        """Note that the oldest change is saved; return whether all are."""
        assert self._unsaved_count, "a prepare vote was saved that was not handed out"
        self._unsaved_count -= 1
        return not self._unsaved_count

    def note_dead(self, history: bytes) -> None:
        """Remember, for a while, that a history never begins, or never with a majority."""
        if history not in self._dead:
            self._dead.append(history)

    def note_promise(self, peer: PeerId) -> None:
        """Note that a voter never will begin what this member is prepared for."""
        if peer in self.proposal.voters:
            self._never_begin[peer] = None

    # What follows.

    def has_promise_of(self, peer: PeerId) -> bool:
        """Return whether a voter never will begin what this member is prepared for."""
        return peer in self._never_begin

    def is_hopeless(self) -> bool:
        """Return whether a majority of the voters never will begin the history."""
        own = 1 if self.has_promised and self.is_saved else 0
        return len(self._never_begin) + own >= majority(len(self.proposal.voters))

    def judge(self, proposal: Proposal) -> Verdict | None:
        """Return what this member knows of a proposal for certain; None while it knows nothing.

        It is neither proposing this nor in its history: the caller knows that.
        """
        history = proposal.history
        if history in self._dead:
            return Dead(history)
        if not self.is_saved:
            return None
        if self.is_prepared_for(history):
            if self.is_proposer:
                return Complete(proposal)
            return Promised(history) if self.has_promised else None
        if proposal.incarnation_of(self._me) != self.incarnation:
            # It may have been prepared, or even more, in a life that it has forgotten.
            return Promised(history)
        # It is not prepared for it, and now makes sure that it never will be. That is
        # sure for its own proposals: one is prepared for those of oneself only by oneself.
        self.note_dead(history)
        if self.prepare_vote is None and proposal.proposer != self._me:
            self._renew()
        return Dead(history)

    def _renew(self) -> None:
        """Refuse for good what names the present incarnation."""
        self.incarnation = self._rng.randbytes(INCARNATION_BYTES)

    def _save(self, prepare_vote: PrepareVote | None) -> None:
        self.prepare_vote = prepare_vote
        self._unsaved_count += 1
        self._save_later(prepare_vote)
