"""What the actor of the DHT receives, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import TYPE_CHECKING

import msgspec
from thespian.actors import ActorAddress

from ..ids import PeerId
from .config import DhtConfig

if TYPE_CHECKING:
    from ..node import Node


class StartDht(msgspec.Struct, frozen=True):
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


class LeaveDht(msgspec.Struct, frozen=True):
    """Give the socket back; answered with `DhtLeft`."""


class DhtLeft(msgspec.Struct, frozen=True):
    """That is done."""
