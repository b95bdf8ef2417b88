"""What goes wrong between this node and a peer it was told to dial."""

from __future__ import annotations

from ..errors import TransportError
from ..transport.address import PeerAddr
from ..transport.close import CloseReason


class SyncError(TransportError):
    """A peer could not be reached, or did not complete a catalog sync.

    Attributes:
        addr: Whom we tried.
        reason: Why it ended, and on which side.
    """

    def __init__(self, addr: PeerAddr, reason: CloseReason) -> None:
        super().__init__(addr, reason)
        self.addr = addr
        self.reason = reason

    def __str__(self) -> str:
        return f"no sync with peer {self.addr.peer_id.short}: {self.reason}"


class DifferentNetwork(SyncError):
    """The peer is there, and belongs to another network. Trying again does not help."""

    def __str__(self) -> str:
        return f"peer {self.addr.peer_id.short} belongs to another network"
