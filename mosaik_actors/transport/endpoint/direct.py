"""What an endpoint does for its direct paths (`paths.driver`)."""

from __future__ import annotations

from collections.abc import Callable

from ...ids import PeerId
from ..address import RELAYED_FAMILY, SocketAddr
from ..connection.connection import Connection, ConnectionState
from ..connection.stream_link import StreamLink
from ..endpoint_base import EndpointBase
from ..frames import OpenFrame
from ..interface import Link, LinkRefused
from ..paths.driver import PROTOCOL, DirectPaths
from ..relay.frames import DATAGRAM_BYTES_MAX
from ..relay.port import RelayPort
from ..sockets import DatagramPort
from .connections import Connections, Parts
from .dialer import NOT_NEEDED
from .outbound import Outbound


def use_direct(
    endpoint: EndpointBase,
    parts: Parts,
    connections: Connections,
    outbound: Outbound,
    port: RelayPort,
    secret: bytes,
) -> DirectPaths:
    """Have the connections of an endpoint that go through relays take direct paths.

    Args:
        endpoint: It.
        parts: What its parts share.
        connections: Its connections.
        outbound: What datagrams leave by.
        port: Its port to peers behind relays.
        secret: What only this node knows.
    """
    owner = DirectOwner(connections, outbound, endpoint.note_fault)
    sockets = {family: one for family, one in outbound.ports.items() if one is not port}
    direct = DirectPaths(
        parts.peer_id, owner, sockets, parts.clock, parts.config, parts.counters, secret
    )
    connections.datagrams.direct = direct
    endpoint.serve(PROTOCOL, direct.accept, is_essential=True)
    endpoint.on_connection_event(direct.receive_event)
    port.use_direct(direct)
    return direct


class DirectOwner:
    """The `paths.driver.Owner` that an endpoint's parts make.

    Args:
        connections: Its connections.
        outbound: What datagrams leave by.
        note_fault: Called with a peer that broke a rule, and how.
    """

    def __init__(
        self,
        connections: Connections,
        outbound: Outbound,
        note_fault: Callable[[PeerId, str], None],
    ) -> None:
        self._connections = connections
        self._outbound = outbound
        self.note_fault = note_fault

    def relayed_at(self, peer_id: PeerId) -> list[SocketAddr]:
        """Return the addresses, behind relays, of the connections to a peer."""
        return [one.remote for one in self._relayed(peer_id) if one.remote is not None]

    async def open_relayed(self, peer_id: PeerId, protocol: str, header: bytes) -> Link:
        """Open a link on a connection through a relay. Raises `LinkRefused`."""
        found = self._relayed(peer_id)
        if not found:
            raise LinkRefused(NOT_NEEDED)
        return await self._connections.open_on(
            found[0], OpenFrame(protocol, header), is_essential=True
        )

    def is_relayed(self, link: Link) -> bool:
        """Return whether a link is on a connection that was made through a relay."""
        return isinstance(link, StreamLink) and link.connection.carrier == "relay"

    def receive_move(self, remote: SocketAddr, datagram_bytes: int | None) -> None:
        """Take in that datagrams to an address go another way, and how large they may be.

        None for the relay's.
        """
        self._connections.datagrams.receive_move(remote, datagram_bytes or DATAGRAM_BYTES_MAX)

    def send(self, port: DatagramPort, data: bytes, remote: SocketAddr) -> None:
        """Send one datagram."""
        self._outbound.send(port, data, remote)

    def send_relayed(self, data: bytes, remote: SocketAddr) -> None:
        """Send one datagram to an address behind a relay."""
        self._outbound.send(self._outbound.ports[RELAYED_FAMILY], data, remote)

    def _relayed(self, peer_id: PeerId) -> list[Connection]:
        """Return the connections to a peer through relays, the one that is used first."""
        found = [
            one
            for one in self._connections.peers.connections(peer_id)
            if one.carrier == "relay" and one.state is ConnectionState.READY
        ]
        return sorted(found, key=lambda one: one.is_retiring)
