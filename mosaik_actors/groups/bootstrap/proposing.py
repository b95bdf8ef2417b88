"""A member's own proposal, while it is not complete: the first phase of `bootstrap`."""

from __future__ import annotations

from math import inf
from random import Random

from ...ids import PeerId
from ..wire.bootstrap import Dead, Proposal, Propose
from ..wire.types import HISTORY_BYTES
from .outbox import BootstrapOutbox
from .peers import BootstrapPeers
from .promises import Promises


class Proposing:
    """What one member proposes.

    Args:
        attempt_s: How long the others are waited for at least.
        out: Takes what is to be sent.

    Attributes:
        proposal: What it proposes, None while it does not, or when that is complete.
        give_up_at_s: When to give it up.
    """

    def __init__(
        self,
        me: PeerId,
        rng: Random,
        attempt_s: float,
        peers: BootstrapPeers,
        promises: Promises,
        out: BootstrapOutbox,
    ) -> None:
        self.proposal: Proposal | None = None
        self.give_up_at_s = inf
        self._me = me
        self._rng = rng
        self._attempt_s = attempt_s
        self._peers = peers
        self._promises = promises
        self._out = out
        self._have_prepared: dict[PeerId, None] = {}

    def is_for(self, history: bytes) -> bool:
        """Return whether this member is proposing this history."""
        return self.proposal is not None and self.proposal.history == history

    def begin(self, *, now: float) -> None:
        """Propose a history to those that are free."""
        voters = self._peers.choose_voters()
        incarnations = [
            self._promises.incarnation if peer == self._me else self._peers.incarnation_of(peer)
            for peer in voters
        ]
        history = self._rng.randbytes(HISTORY_BYTES)
        self.proposal = Proposal(history, self._me, tuple(voters), tuple(incarnations))
        self._have_prepared = {}
        self.give_up_at_s = now + self._attempt_s * (1 + self._peers.failure_count / 2)
        self.tell()

    def tell(self) -> None:
        """Remind those of the proposal that have not prepared for it."""
        assert self.proposal is not None, "nothing is proposed"
        self._out.tell(self.proposal, Propose(self.proposal), self._is_missing)

    def note_prepared(self, peer: PeerId) -> None:
        """Note that one of the others has prepared."""
        self._have_prepared[peer] = None

    def missing(self) -> list[PeerId]:
        """Return the others that have not prepared."""
        assert self.proposal is not None, "nothing is proposed"
        return [peer for peer in self.proposal.others(self._me) if self._is_missing(peer)]

    def must_end(self) -> bool:
        """Return whether one of the voters is gone, or there is a history."""
        if self.proposal is None:
            return False
        is_alone = any(peer not in self._peers.statuses for peer in self.proposal.others(self._me))
        return is_alone or bool(self._peers.living_history())

    def end(self, *, now: float) -> None:
        """Give it up, for good."""
        assert self.proposal is not None, "nothing is proposed"
        proposal, self.proposal = self.proposal, None
        self._promises.note_dead(proposal.history)
        self._out.tell(proposal, Dead(proposal.history))
        self._peers.failed(now=now)

    def _is_missing(self, peer: PeerId) -> bool:
        return peer not in self._have_prepared
