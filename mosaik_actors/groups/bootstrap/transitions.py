"""From one phase of a beginning to the next: what `bootstrap` does once it has decided.

Each transition has what must go with it: the prepare vote that is saved or dropped, what others are
to hear, and when the member looks again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from random import Random
from typing import Final

from ...ids import PeerId
from ..config import ConsensusConfig
from ..wire.bootstrap import Complete, Dead, Message, PrepareVote, Proposal, Propose, Seek
from ..wire.configuration import make_voters
from ..wire.status import MemberStanding
from ..wire.types import HISTORY_BYTES
from .events import BootstrapPhase, Event, Founded, HistoryDied, SavePrepareVote, SendBootstrap
from .peers import BootstrapPeers
from .promises import Promises

STUCK_AFTER_S: Final = 10.0

_PROMISE_AFTER_ATTEMPTS: Final = 8


class BootstrapTransitions:
    """The state of one member's part in the beginning, and how it changes.

    Args:
        rng: Draws histories and incarnations: it must not repeat itself after a restart.
        is_observer: It never votes, so it begins nothing and prepares nothing.
        prepare_vote: What was saved last, None for nothing.
        history: The history that it follows, as it was saved. A prepare vote to the same one says
            that its log was empty then.
        is_apart: Tells whether a member is in reach and not bonded: a lone member waits then, as
            that one may have a history, or be about to begin one.

    Attributes:
        phase: Where this member stands.
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
        self.phase = BootstrapPhase.SEEKING
        self._me = me
        self._is_apart = is_apart
        self._config = config
        self._rng = rng
        self._is_observer = is_observer
        self._attempt_s = max(config.bootstrap_delay, config.election_timeout)
        self._resend_s = max(config.heartbeat_interval, self._attempt_s / 4)
        self._peers = BootstrapPeers(me, config, rng, now=now)
        self._events: deque[Event] = deque()
        self._promises = Promises(
            me, rng, prepare_vote, lambda changed: self._events.append(SavePrepareVote(changed))
        )
        self._proposal: Proposal | None = None  # the own one, while it is not complete
        self._have_prepared: dict[PeerId, None] = {}
        self._history = history
        self._give_up_at_s = self._ask_from_s = self._promise_at_s = inf
        self._resend_at_s = now
        self._stuck_at_s = now + config.bootstrap_delay + STUCK_AFTER_S
        self._resume(now)

    @property
    def standing(self) -> MemberStanding:
        """What a member without a history says of itself.

        One that has promised, and saved that, says that it seeks: it may be accepted.
        """
        is_free_to_join = self._promises.has_promised and self._promises.is_saved
        is_prepared = self.phase is BootstrapPhase.PREPARED and not is_free_to_join
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
        self.phase = phase
        self._resend_at_s = now + self._resend_s
        if phase in (BootstrapPhase.BEGUN, BootstrapPhase.MEMBER):
            self._stuck_at_s = now + STUCK_AFTER_S

    def _propose(self, now: float) -> None:
        """Propose a history to those that are free."""
        voters = self._peers.choose_voters()
        incarnations = [
            self._promises.incarnation if peer == self._me else self._peers.incarnation_of(peer)
            for peer in voters
        ]
        history = self._rng.randbytes(HISTORY_BYTES)
        self._proposal = Proposal(history, self._me, tuple(voters), tuple(incarnations))
        self._have_prepared = {}
        self._give_up_at_s = now + self._attempt_s * (1 + self._peers.failure_count / 2)
        self._tell(self._proposal, Propose(self._proposal))
        self._become(BootstrapPhase.PROPOSING, now)

    def _give_up(self, now: float) -> None:
        """End the own proposal, if there is one: without this member it never is complete."""
        proposal, self._proposal = self._proposal, None
        if proposal is not None:
            self._promises.note_dead(proposal.history)
            self._tell(proposal, Dead(proposal.history))
            self._peers.failed(now=now)
            self._become(BootstrapPhase.SEEKING, now)

    def _prepare(self, proposal: Proposal, now: float) -> None:
        self._ask_from_s = now + self._attempt_s
        self._promise_at_s = now + self._attempt_s * _PROMISE_AFTER_ATTEMPTS
        self._promises.prepare(proposal)
        self._become(BootstrapPhase.PREPARED, now)
        self._seek()

    def _begin(self, now: float) -> None:
        """Begin the history this member is prepared for: all its voters are."""
        proposal = self._promises.proposal
        self._history = proposal.history
        voters, is_founder = make_voters(proposal.voters), self._promises.is_proposer
        self._events.append(Founded(proposal.history, voters, is_founder))
        self._become(BootstrapPhase.BEGUN, now)
        self._tell(proposal, Complete(proposal))

    def _be_free(self, now: float) -> None:
        """End the prepare vote: its history never begins, or never with a majority."""
        proposal = self._promises.proposal
        if self._history:
            self._events.append(HistoryDied(self._history))
            self._history = b""
        self._promises.note_dead(proposal.history)
        self._promises.drop()
        self._tell(proposal, Dead(proposal.history))
        self._peers.start_anew(now=now)
        self._become(BootstrapPhase.SEEKING, now)
        self._seek()

    # The own proposal.

    def _is_proposing(self, history: bytes) -> bool:
        return self._proposal is not None and self._proposal.history == history

    def _missing(self) -> list[PeerId]:
        """Return whom the own proposal needs, and who has not prepared for it."""
        others = [] if self._proposal is None else self._proposal.others(self._me)
        return [peer for peer in others if peer not in self._have_prepared]

    # What goes out.

    def _send(self, peer: PeerId, message: Message) -> None:
        self._events.append(SendBootstrap(peer, message))

    def _tell(
        self,
        proposal: Proposal,
        message: Message,
        is_wanted: Callable[[PeerId], bool] = lambda _: True,
    ) -> None:
        """Send to the other voters of a proposal that are bonded."""
        for peer in proposal.others(self._me):
            if peer in self._peers.statuses and is_wanted(peer):
                self._send(peer, message)

    def _seek(self, peers: list[PeerId] | None = None) -> None:
        """Announce to peers, or all without a history, how to name this member in a proposal."""
        if self._config.initial_voters > 1 and not self._is_observer and not self._history:
            is_free = self._promises.prepare_vote is None and self._promises.is_saved
            for peer in self._peers.without_history() if peers is None else peers:
                self._send(peer, Seek(self._promises.incarnation, is_free))

    def _answer(self, peer: PeerId, proposal: Proposal, now: float) -> None:
        """Say what this member knows of a proposal for certain; nothing if it knows nothing."""
        if proposal.history == self._history:
            self._send(peer, Complete(proposal))
            return
        if self._is_proposing(proposal.history):
            return
        incarnation = self._promises.incarnation
        verdict = self._promises.judge(proposal)
        if verdict is not None:
            self._send(peer, verdict)
        if self._promises.incarnation != incarnation:
            self._give_up(now)
            self._seek()
