"""What one member has promised about beginnings, and what it may say about them.

The part of `genesis` that safety rests on. It knows no time and no peers' status.

Invariants:
    * Nothing is said of a pledge or vow before it is saved (`is_saved`).
    * A member takes a new incarnation whenever it is free of a pledge, however
      that ended: so one that is not pledged in its present incarnation never was.
    * What a verdict says stays true.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from ...ids import PeerId
from ..raft.quorum import majority
from ..wire.genesis import INCARNATION_BYTES, Complete, Dead, Pledge, Proposal, Vowed

_DEAD_KEPT_MAX: Final = 64

Verdict = Complete | Vowed | Dead


class Promises:
    """The promises of one member.

    Args:
        me: This member.
        rng: Draws incarnations.
        pledge: What was saved last, None for nothing.
        save: Called with each new pledge, None for none; `saved` follows.

    Attributes:
        incarnation: The one to name in a proposal.
        pledge: What this member is pledged to, saved or about to be.
    """

    def __init__(
        self,
        me: PeerId,
        rng: Random,
        pledge: Pledge | None,
        save: Callable[[Pledge | None], None],
    ) -> None:
        self._me = me
        self._rng = rng
        self._save_later = save
        self._unsaved_count = 0
        self._dead: dict[bytes, None] = {}
        self._never_begin: dict[PeerId, None] = {}
        self.pledge = pledge
        drawn = rng.randbytes(INCARNATION_BYTES)
        self.incarnation = drawn if pledge is None else pledge.proposal.incarnation_of(me)

    # What is promised.

    @property
    def is_saved(self) -> bool:
        """Whether everything that was promised is saved."""
        return not self._unsaved_count

    @property
    def proposal(self) -> Proposal:
        """What this member is pledged to; only while it is."""
        assert self.pledge is not None, "pledged to nothing"
        return self.pledge.proposal

    @property
    def is_proposer(self) -> bool:
        """Whether it is pledged to its own proposal, and hence that is complete."""
        return self.pledge is not None and self.pledge.proposal.proposer == self._me

    @property
    def has_vowed(self) -> bool:
        """Whether it vowed never to begin what it is pledged to."""
        return self.pledge is not None and self.pledge.is_vowed

    def is_pledged_to(self, history: bytes) -> bool:
        """Return whether it is pledged to this history."""
        return self.pledge is not None and self.pledge.proposal.history == history

    def is_dead(self, history: bytes) -> bool:
        """Return whether a history is known never to begin, or never with a majority."""
        return history in self._dead

    # Changes.

    def pledge_to(self, proposal: Proposal) -> None:
        """Promise to begin this history as soon as all are pledged, and no other."""
        assert self.pledge is None, "pledged twice"
        assert proposal.incarnation_of(self._me) == self.incarnation, "pledged for another life"
        assert proposal.history not in self._dead, "pledged to a dead proposal"
        self._never_begin = {}
        self._save(Pledge(proposal))

    def vow(self) -> None:
        """Promise not to begin the history either."""
        assert not self.is_proposer, "vowed against a proposal that is complete"
        self._save(Pledge(self.proposal, is_vowed=True))

    def drop(self) -> None:
        """Be pledged no more, if it was: the caller has one of the reasons in `genesis`."""
        if self.pledge is not None:
            self.forget()
            self._save(None)

    def forget(self) -> None:
        """The same, when the caller saves something else in place of the pledge."""
        if self.pledge is not None:
            self.pledge = None
            self._never_begin = {}
            self.renew()

    def renew(self) -> None:
        """Refuse for good what names the present incarnation."""
        assert self.pledge is None, "pledged in this incarnation"
        self.incarnation = self._rng.randbytes(INCARNATION_BYTES)

    def saved(self) -> bool:
        """Note that the oldest change is saved; return whether all are."""
        assert self._unsaved_count, "a pledge was saved that was not handed out"
        self._unsaved_count -= 1
        return not self._unsaved_count

    def note_dead(self, history: bytes) -> None:
        """Remember, for a while, that a history never begins, or never with a majority."""
        self._dead[history] = None
        if len(self._dead) > _DEAD_KEPT_MAX:
            del self._dead[next(iter(self._dead))]

    def note_vow(self, peer: PeerId) -> None:
        """Note that a voter never will begin what this member is pledged to."""
        if peer in self.proposal.voters:
            self._never_begin[peer] = None

    # What follows.

    def has_vow_of(self, peer: PeerId) -> bool:
        """Return whether a voter never will begin what this member is pledged to."""
        return peer in self._never_begin

    def is_hopeless(self) -> bool:
        """Return whether a majority of the voters never will begin the history."""
        own = 1 if self.has_vowed and self.is_saved else 0
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
        if self.is_pledged_to(history):
            if self.is_proposer:
                return Complete(proposal)
            return Vowed(history) if self.has_vowed else None
        if proposal.incarnation_of(self._me) != self.incarnation:
            # It may have been pledged, or even more, in a life that it has forgotten.
            return Vowed(history)
        # It is not pledged to it, and now makes sure that it never will be. That is
        # sure for its own proposals: one is pledged to those of oneself only by oneself.
        self.note_dead(history)
        if self.pledge is None and proposal.proposer != self._me:
            self.renew()
        return Dead(history)

    def _save(self, pledge: Pledge | None) -> None:
        self.pledge = pledge
        self._unsaved_count += 1
        self._save_later(pledge)
