"""What the overlay wants done with links to neighbours, and its answers to who offers one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from ...ids import PeerId
from ...transport.address import PeerAddr
from ..wire import MembershipFrame

Purpose = Literal["join", "neighbour"]


@dataclass(frozen=True, slots=True)
class DialNeighbour:
    """Open a neighbour link; report `receive_link_up` or `receive_dial_failed`.

    When the peer answers that this node is its guest, sync over the link and
    report `receive_guest_done` instead.
    """

    addr: PeerAddr
    purpose: Purpose
    urgent: bool


@dataclass(frozen=True, slots=True)
class DropNeighbour:
    """Close the link to a neighbour. It is no neighbour any more."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Write a frame to the link of a neighbour."""

    peer_id: PeerId
    frame: MembershipFrame


OverlayEvent = DialNeighbour | DropNeighbour | SendFrame


class Offer(Enum):
    """What to do with a link that a peer offers."""

    ACCEPT = "accept"
    GUEST = "accept for one sync"
    REFUSE_FULL = "enough neighbours"
    REFUSE_CROSSED = "the links crossed, the other one stays"
