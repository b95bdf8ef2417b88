"""From one phase of a beginning to the next: what `bootstrap` does once it has decided.

Each transition has what must go with it: the prepare vote that is saved or dropped, what
others are to hear, and when the member looks again.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from typing import Final

from ...ids import PeerId
from ..config import ConsensusConfig
from ..wire.bootstrap import (
    Complete,
    Dead,
    PrepareVote,
    Proposal,
    Seek,
)
from ..wire.configuration import make_voters
from ..wire.status import MemberStanding
from .events import (
    BootstrapPhase,
    Founded,
    HistoryDied,
)
from .outbox import BootstrapOutbox
from .peers import BootstrapPeers
from .promises import Promises
from .proposing import Proposing

STUCK_AFTER_S: Final = 10.0

_PROMISE_AFTER_ATTEMPTS: Final = 8


class BootstrapTransitions:
    """The state of one member's part in the beginning, and how it changes.

    Args:
        rng: Draws histories and incarnations: it must not repeat itself after a
            restart.
        is_observer: It never votes, so it begins nothing and prepares nothing.
        prepare_vote: What was saved last, None for nothing.
        history: The history that it follows, as it was saved. A prepare vote to the
            same one says that its log was empty then.
        is_apart: Tells whether a member is in reach and not bonded: a lone member
            waits then, as that one may have a history, or be about to begin one.
    """

    def __init__(
        self,
        me: PeerId,
        config: ConsensusConfig,
        rng: Random,
        *,
        now: float,
        is_observer: bool = False,
        prepare_vote: PrepareVote | None = None,
        history: bytes = b"",
        is_apart: Callable[[], bool] = lambda: False,
    ) -> None:
        self._me = me
        self._is_apart = is_apart
        self._config = config
        self._rng = rng
        self._is_observer = is_observer
        self._attempt_s = max(config.bootstrap_delay, config.election_timeout)
        self._resend_s = max(config.heartbeat_interval, self._attempt_s / 4)
        self._peers = BootstrapPeers(me, config, rng, now=now)
        self._out = BootstrapOutbox(me, self._peers)
        self._promises = Promises(me, rng, prepare_vote, self._out.save)
        self._proposing = Proposing(
            me, rng, self._attempt_s, self._peers, self._promises, self._out
        )
        self._phase = BootstrapPhase.SEEKING
        self._history = history
        self._ask_from_s = self._promise_at_s = inf
        self._resend_at_s = now
        self._stuck_at_s = now + config.bootstrap_delay + STUCK_AFTER_S
        self._resume(now)

    @property
    def phase(self) -> BootstrapPhase:
        """Where this member stands."""
        return self._phase

    @property
    def prepare_vote(self) -> PrepareVote | None:
        """What this member is prepared for, saved or about to be."""
        return self._promises.prepare_vote

    @property
    def standing(self) -> MemberStanding:
        """What a member without a history says of itself.

        One that has promised, and saved that, says that it seeks: it may be accepted.
        """
        is_free_to_join = self._promises.has_promised and self._promises.is_saved
        is_prepared = self._phase is BootstrapPhase.PREPARED and not is_free_to_join
        return MemberStanding.PREPARED if is_prepared else MemberStanding.SEEKING

    # Transitions.

    def _resume(self, now: float) -> None:
        """Go on where the last life ended."""
        promises = self._promises
        if self._history and promises.is_prepared_for(self._history):
            self._become(BootstrapPhase.BEGUN, now)
        elif self._history:
            promises.drop()
            self._become(BootstrapPhase.MEMBER, now)
        elif promises.prepare_vote is not None:
            self._become(BootstrapPhase.PREPARED, now)
            self._ask_from_s = now
            self._promise_at_s = now + self._attempt_s * _PROMISE_AFTER_ATTEMPTS
            if promises.is_proposer:
                self._begin(now)

    def _become(self, phase: BootstrapPhase, now: float) -> None:
        """Enter a phase."""
        self._phase = phase
        self._resend_at_s = now + self._resend_s
        if phase in (BootstrapPhase.BEGUN, BootstrapPhase.MEMBER):
            self._stuck_at_s = now + STUCK_AFTER_S

    def _give_up(self, now: float) -> None:
        """End the own proposal: without this member's prepare vote it never is complete."""
        self._proposing.end(now=now)
        self._become(BootstrapPhase.SEEKING, now)

    def _prepare(self, proposal: Proposal, now: float) -> None:
        self._ask_from_s = now + self._attempt_s
        self._promise_at_s = now + self._attempt_s * _PROMISE_AFTER_ATTEMPTS
        self._promises.prepare(proposal)
        self._become(BootstrapPhase.PREPARED, now)
        self._seek(self._peers.without_history())

    def _begin(self, now: float) -> None:
        """Begin the history this member is prepared for: all its voters are."""
        proposal = self._promises.proposal
        self._history = proposal.history
        self._out.events.append(
            Founded(
                proposal.history,
                make_voters(proposal.voters),
                is_founder=self._promises.is_proposer,
            )
        )
        self._become(BootstrapPhase.BEGUN, now)
        self._out.tell(proposal, Complete(proposal))

    def _be_free(self, now: float) -> None:
        """End the prepare vote: its history never begins, or never with a majority."""
        proposal = self._promises.proposal
        if self._history:
            self._out.events.append(HistoryDied(self._history))
            self._history = b""
        self._promises.note_dead(proposal.history)
        self._promises.drop()
        self._out.tell(proposal, Dead(proposal.history))
        self._peers.start_anew(now=now)
        self._become(BootstrapPhase.SEEKING, now)
        self._seek(self._peers.without_history())

    # What goes out with them.

    def _seek(self, peers: list[PeerId]) -> None:
        """Announce to peers without a history how to name this member in a proposal."""
        if self._config.initial_voters > 1 and not self._is_observer and not self._history:
            is_free = self._promises.prepare_vote is None and self._promises.is_saved
            for peer in peers:
                self._out.send(peer, Seek(self._promises.incarnation, is_free))

    def _answer(self, peer: PeerId, proposal: Proposal, now: float) -> None:
        """Say what this member knows of a proposal for certain; nothing if it knows nothing."""
        if proposal.history == self._history:
            self._out.send(peer, Complete(proposal))
            return
        if self._proposing.is_for(proposal.history):
            return
        incarnation = self._promises.incarnation
        verdict = self._promises.judge(proposal)
        if verdict is not None:
            self._out.send(peer, verdict)
        if self._promises.incarnation != incarnation:
            if self._proposing.proposal is not None:
                self._give_up(now)
            self._seek(self._peers.without_history())
