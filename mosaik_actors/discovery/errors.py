"""What goes wrong between this node and a peer it was told to dial."""

from __future__ import annotations

from ..errors import NotAdmitted, TransportError
from ..transport.address import PeerAddr
from ..transport.close import CloseReason, gate_of


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


class PeerRefused(SyncError, NotAdmitted):
    """The peer is of this network, and does not admit this node; `gate` and `reason` say why."""

    def __init__(self, addr: PeerAddr, reason: CloseReason) -> None:
        super().__init__(addr, reason)
        self.gate = gate_of(reason.code) or ""

    def __str__(self) -> str:
        return f"not admitted by peer {self.addr.peer_id.short}: {self.reason.text}"


class DifferentNetwork(SyncError, NotAdmitted):
    """The peer is there, and is not of this network, or of one with another secret.

    Neither side learns more than that. Trying again does not help.
    """

    gate = "network"

    def __str__(self) -> str:
        return (
            f"not admitted: peer {self.addr.peer_id.short} belongs to another network, or to "
            "one with another secret"
        )
