"""What one node is made of: handed to each of its actors, and the same for all.

The context is immutable and holds no state of its own. Actors find each other
through it, and take time and randomness from nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from thespian.actors import ActorAddress

from .clock import Clock, Randomness
from .ids import NetworkId, PeerId, SecretKey
from .peer_log import PeerLog
from .runtime import AsyncActorSystem
from .transport.interface import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The parts of a node that everything else needs.

    Attributes:
        network_id: The network it belongs to.
        secret_key: Its identity.
        clock: Its clocks.
        randomness: Where its parts draw from.
        system: Its actor system.
        endpoint: Its presence on the network; closed by whoever made it.
        transport: The transport actor, which opens and offers links.
        has_new_key: Whether nobody gave it its identity, which is another one at the next start.
    """

    network_id: NetworkId
    secret_key: SecretKey
    clock: Clock
    randomness: Randomness
    system: AsyncActorSystem
    endpoint: Endpoint
    transport: ActorAddress
    has_new_key: bool = False

    @property
    def peer_id(self) -> PeerId:
        """The public identity."""
        return self.secret_key.peer_id

    @property
    def peer_log(self) -> PeerLog:
        """Where its parts, and its endpoint, log what peers did."""
        return self.endpoint.peer_log
