"""Who is at the other end of a connection, whatever proved it."""

from __future__ import annotations

import msgspec

from ..ids import PeerId


class ProvenPeer(msgspec.Struct, frozen=True):
    """Who is at the other end of a connection.

    Attributes:
        peer_id: Its public key.
        instance: Which of its runs this is.
    """

    peer_id: PeerId
    instance: int
