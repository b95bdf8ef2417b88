"""What a member wants done while a history begins: saves, messages, and texts for people."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ...ids import PeerId
from ..wire.bootstrap import Message, PrepareVote, Proposal
from .events import Event, SavePrepareVote, SendBootstrap
from .peers import BootstrapPeers


class BootstrapOutbox:
    """The events of one member, in order."""

    def __init__(self, me: PeerId, peers: BootstrapPeers) -> None:
        self.events: deque[Event] = deque()
        self._me = me
        self._peers = peers

    def save(self, prepare_vote: PrepareVote | None) -> None:
        """Have a prepare vote saved, or that there is none."""
        self.events.append(SavePrepareVote(prepare_vote))

    def send(self, peer: PeerId, message: Message) -> None:
        """Send to one peer."""
        self.events.append(SendBootstrap(peer, message))

    def tell(
        self,
        proposal: Proposal,
        message: Message,
        is_wanted: Callable[[PeerId], bool] = lambda _: True,
    ) -> None:
        """Send to the other voters of a proposal that are bonded."""
        for peer in proposal.others(self._me):
            if peer in self._peers.statuses and is_wanted(peer):
                self.send(peer, message)


def why_blocked(proposal: Proposal, me: PeerId, peers: BootstrapPeers, history: bytes) -> str:
    """Return what keeps one that is prepared for a proposal, and in `history` if it has begun."""
    gone = [peer.short for peer in proposal.others(me) if peer not in peers.statuses]
    what = "has begun without a majority" if history else "neither begins nor dies"
    return (
        f"history {proposal.history.hex()[:8]} {what}; "
        f"of its {len(proposal.voters)} voters not here: {', '.join(gone) or 'none'}"
    )
