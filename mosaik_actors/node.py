"""What one node is made of: handed to each of its actors, and the same for all.

The context is immutable and holds no state of its own. Actors find each other
through it, and take time and randomness from nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from thespian.actors import ActorAddress

from .clock import Clock, Randomness
from .ids import NetworkId, PeerId, SecretKey

if TYPE_CHECKING:
    from .runtime import AsyncActorSystem


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The parts of a node that everything else needs.

    Attributes:
        network_id: The network it belongs to.
        secret_key: Its identity.
        clock: Its clocks.
        randomness: Where its parts draw from.
        system: Its actor system.
        transport: The transport actor, which opens and offers links.
    """

    network_id: NetworkId
    secret_key: SecretKey
    clock: Clock
    randomness: Randomness
    system: AsyncActorSystem
    transport: ActorAddress

    @property
    def peer_id(self) -> PeerId:
        """The public identity."""
        return self.secret_key.peer_id
