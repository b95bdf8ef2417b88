"""What a connection asks of its endpoint, and notifies it of."""

from __future__ import annotations

from typing import Protocol, TypeVar

from ...errors import RemoteError
from ...ids import PeerId
from ..address import SocketAddr
from ..admission import NetworkKeys
from ..close import CloseReason
from ..frames import OpenFrame
from .stream_link import StreamLink

ConnectionT = TypeVar("ConnectionT", contravariant=True)


class ConnectionOwner(Protocol[ConnectionT]):
    """What a connection asks of its endpoint."""

    keys: NetworkKeys
    is_closing: bool  # whether nothing begins any more

    @property
    def peer_id(self) -> PeerId:
        """Who this side is."""

    def is_past_relay(self, remote: SocketAddr) -> bool:
        """Return whether datagrams to an address behind a relay go directly by now."""

    def on_identified(self, connection: ConnectionT) -> None:
        """Both sides have proven who they are; close what is not wanted for that."""

    def objection(self, connection: ConnectionT) -> CloseReason | None:
        """Return why a peer that is of our network may not be connected, None when it may."""

    def on_refused(self, connection: ConnectionT, error: RemoteError) -> None:
        """The peer did not prove that it is of our network; the connection ends for it."""

    def on_ready(self, connection: ConnectionT) -> None:
        """Both sides have proven that they belong to the same network."""

    def on_ended(self, connection: ConnectionT, reason: CloseReason) -> None:
        """The connection is over."""

    def on_cid(self, connection: ConnectionT, cid: bytes, is_live: bool) -> None:
        """A connection id came into use or went out of it."""

    def on_link(self, link: StreamLink, opening: OpenFrame) -> None:
        """The peer opened a link; accept or close it."""

    def on_violation(self, connection: ConnectionT, error: RemoteError) -> None:
        """The peer broke a rule; the link was closed for it."""

    def on_overflow(self, connection: ConnectionT, reason: CloseReason) -> None:
        """A link was closed because the peer left too much incomplete."""

    def on_used(self, connection: ConnectionT) -> None:
        """A connection got its first accepted link."""

    def on_unused(self, connection: ConnectionT) -> None:
        """The last accepted link of a connection ended."""

    def mark_dirty(self, connection: ConnectionT) -> None:
        """Call `flush` with this loop turn."""
