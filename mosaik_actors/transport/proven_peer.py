"""Who is at the other end of a connection, whatever proved it."""

from __future__ import annotations

from dataclasses import dataclass

from ..ids import PeerId


@dataclass(frozen=True, slots=True)
class ProvenPeer:
    """Who is at the other end of a connection.

    Attributes:
        peer_id: Its public key.
        instance: Which of its runs this is.
    """

    peer_id: PeerId
    instance: int
