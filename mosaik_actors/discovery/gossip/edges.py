"""What the overlay wants done with links to neighbours, and its answers to who offers one."""

from __future__ import annotations

from enum import Enum
from typing import Literal

import msgspec

from ...ids import PeerId
from ...transport.address import PeerAddr
from ..wire import MembershipFrame

Purpose = Literal["join", "neighbour"]


class DialNeighbour(msgspec.Struct, frozen=True):
    """Open a neighbour link; report `receive_link_up` or `receive_dial_failed`.

    When the peer answers that this node is its guest, sync over the link and
    report `receive_guest_done` instead.
    """

    addr: PeerAddr
    purpose: Purpose
    urgent: bool


class DropNeighbour(msgspec.Struct, frozen=True):
    """Close the link to a neighbour. It is no neighbour any more."""

    peer_id: PeerId


class SendFrame(msgspec.Struct, frozen=True):
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
