"""The messages of the transport actor.

`FramesReceived`, `LinkDrained` and `LinkClosed` go straight from a link to the
actor that owns it; they are defined beside the link, in `interface`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from thespian.actors import ActorAddress

from ..ids import PeerId
from .address import PeerAddr
from .close import CloseReason
from .interface import Endpoint, Link, LinkRefused


class StartTransport(msgspec.Struct, frozen=True):
    """Bridge this endpoint. The first message of a transport actor."""

    endpoint: Endpoint


class ServeProtocol(msgspec.Struct, frozen=True):
    """Send every incoming link of `protocol` to `owner`, as `LinkOffered`.

    Attributes:
        protocol: The protocol's name.
        owner: Whose links they are.
        asker: Who gets `ProtocolServed` when that is so; None for nobody.
        is_essential: Whether its links may be the last ones of a connection.
    """

    protocol: str
    owner: ActorAddress
    asker: ActorAddress | None = None
    is_essential: bool = False


class ProtocolServed(msgspec.Struct, frozen=True):
    """From now on no link of `protocol` is refused for want of an owner."""

    protocol: str


class OpenLink(msgspec.Struct, frozen=True):
    """Open a link for the sender, who gets `LinkOpened` or `LinkFailed` with the same token.

    Attributes:
        to: The peer and its addresses.
        protocol: The protocol's name.
        header: The protocol's own header.
        token: Anything by which the sender knows its request again.
        timeout_s: Seconds until it fails.
        is_essential: Whether it may be one of the last links of a connection.
    """

    to: PeerAddr
    protocol: str
    header: bytes = b""
    token: Any = None
    timeout_s: float = 10.0
    is_essential: bool = False


class LinkOpened(msgspec.Struct, frozen=True):
    """The link that was asked for is open, and its events come to the asker."""

    link: Link
    token: Any


class LinkFailed(msgspec.Struct, frozen=True):
    """The link that was asked for could not be opened."""

    error: LinkRefused
    to: PeerAddr
    token: Any


class LinkOffered(msgspec.Struct, frozen=True):
    """A peer opened a link to us. Its events come to the receiver of this message.

    Answer with `link.accept(reply)` or `link.close(reason)`.
    """

    link: Link


class WatchConnections(msgspec.Struct, frozen=True):
    """Send `PeerConnected` and `PeerDisconnected` to `watcher` from now on."""

    watcher: ActorAddress


class DisconnectPeer(msgspec.Struct, frozen=True):
    """End all connections to a peer."""

    peer_id: PeerId
    reason: CloseReason
