"""The network gate actor: notifies the gate of the network when verdicts change.

Receives: `StartNetworkGate` first; `TicketsJudged` from the tickets actor.
Sends: `WatchTickets` to the tickets actor.
Owns: nothing.
Failure: none of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from thespian.actors import ActorAddress

from ..ids import PeerId
from ..runtime import TypeDispatcher
from ..tickets.messages import RequiredTickets, TicketsJudged, WatchTickets


class StartNetworkGate(msgspec.Struct, frozen=True):
    """Call `judged` with the peers whose verdicts are different."""

    tickets: RequiredTickets
    judged: Callable[[tuple[PeerId, ...]], None]


class NetworkGateActor(TypeDispatcher):
    """Watches the tickets for the gate."""

    def receiveMsg_StartNetworkGate(self, message: StartNetworkGate, _sender: ActorAddress) -> None:
        """Watch from now on."""
        self._judged = message.judged
        self.send(message.tickets.actor, WatchTickets(self.myAddress))

    def receiveMsg_TicketsJudged(self, message: TicketsJudged, _sender: ActorAddress) -> None:
        """Pass it on."""
        self._judged(message.peers)
