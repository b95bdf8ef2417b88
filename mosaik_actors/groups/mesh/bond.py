"""A bond, and what the mesh has its caller do and to know."""

from __future__ import annotations

from dataclasses import dataclass

from ...ids import PeerId
from ...transport.address import PeerAddr
from ...transport.close import CloseReason
from ..wire.status import Status
from .peer_heartbeats import NEVER, BondHeartbeats


@dataclass(slots=True, eq=False)
class BondState:
    """A bond of this member: a link whose other end has proven the key of the group."""

    peer: PeerId  # the member at the other end
    link_id: int
    status: Status  # what that member said of itself last
    formed_at: float
    heard_at: float  # when anything came over it last
    heartbeats: BondHeartbeats | None  # of its connection, for all groups

    @property
    def has_heartbeats(self) -> bool:
        """Whether heartbeats of the peer's node have come over the connection."""
        return self.heartbeats is not None and self.heartbeats.connection.heard_at > NEVER

    @property
    def is_resting(self) -> bool:
        """Whether it does without heartbeats, so that silence says nothing (`StandingBonds`)."""
        return self.heartbeats is not None and not self.heartbeats.is_needed

    @property
    def is_watched(self) -> bool:
        """Whether nobody need look how long it is silent before it is woken."""
        return self.heartbeats is not None and self.heartbeats.is_watched

    @property
    def last_heard_at(self) -> float:
        """When the member, or its node over the same connection, was heard last."""
        node_at = NEVER if self.heartbeats is None else self.heartbeats.connection.heard_at
        return max(self.heard_at, node_at)


@dataclass(frozen=True, slots=True)
class DialWanted:
    """Open a link to `addr` with `header`; answer with `receive_opened` or `receive_failed`."""

    peer: PeerId
    addr: PeerAddr
    token: int  # by which the answer names this dial
    header: bytes
    timeout_s: float  # seconds after which an answer is not wanted any more


@dataclass(frozen=True, slots=True)
class AcceptLink:
    """Accept the link that a peer opened, with this reply."""

    link_id: int
    reply: bytes


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close a link after what was written to it. The mesh has forgotten it."""

    link_id: int
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class SendBondFrame:
    """Write a frame to a link."""

    link_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BondFormed:
    """A member is bonded with now: frames of others may go over the link."""

    peer: PeerId
    link_id: int
    status: Status


@dataclass(frozen=True, slots=True)
class BondLost:
    """A bond has ended."""

    peer: PeerId  # who was at the other end
    reason: CloseReason  # why
    was_graceful: bool  # whether it, or this member, has left the group


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """A bonded member says something else of itself than before."""

    peer: PeerId
    status: Status


_ToDo = DialWanted | AcceptLink | CloseLink | SendBondFrame
_ToKnow = BondFormed | BondLost | StatusChanged
MeshEvent = _ToDo | _ToKnow
