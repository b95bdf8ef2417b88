"""What the actor of the DHT receives, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thespian.actors import ActorAddress

from ..ids import PeerId
from .config import DhtConfig

if TYPE_CHECKING:
    from ..node import Node


@dataclass(frozen=True, slots=True)
class StartDht:
    """Look for peers in the DHT, and let them find this node.

    Attributes:
        node: The node.
        gossip: Who is notified of peers that were found.
        config: The settings.
        known_peers: Returns which other peers are known to be there.
    """

    node: Node
    gossip: ActorAddress
    config: DhtConfig
    known_peers: Callable[[], Set[PeerId]]


@dataclass(frozen=True, slots=True)
class LeaveDht:
    """Give the socket back; answered with `DhtLeft`."""


@dataclass(frozen=True, slots=True)
class DhtLeft:
    """That is done."""
