"""The connections of an endpoint: who may have one, what is on it, and when it ends.

What a connection asks of its owner is answered here. A peer goes through three doors
before its connection is ready: it proves who it is (and is the one that was dialled),
that it belongs to the network, and then the `gate` and `peers` have nothing against it.
Only who is through the second learns what the third one says.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...clock import Clock
from ...errors import RemoteError
from ...ids import PeerId
from ...peer_log import PeerLog
from ..address import PeerAddr, SocketAddr, format_socket_addr, is_relayed
from ..admission import NetworkKeys
from ..byte_streams.connection import MakePort, StreamConnection
from ..byte_streams.engine import StreamEngine
from ..byte_streams.port import StreamPort
from ..close import CloseCode, CloseReason, gate_of
from ..config import TransportConfig
from ..connection.connection import Connection, ConnectionState
from ..connection.stream_link import StreamLink
from ..counters import TransportCounters
from ..dial_budget import DialBudget
from ..frames import OpenFrame
from ..gate import Gate
from ..interface import ConnectionEvent, Link, LinkRefused, PeerConnected, PeerDisconnected
from ..link_limit import why_too_many
from ..proven_peer import ProvenPeer
from ..tls.sockets import MakeTlsPort
from .datagrams import Demultiplexer
from .dialer import NOT_NEEDED
from .outbound import Outbound
from .peers import KEY_IN_USE, PeerTable

if TYPE_CHECKING:
    from ..quic.engine import EngineFactory

logger = logging.getLogger(__name__)

REPLACED = CloseReason(CloseCode.UNEXPECTED_CLOSE, "no answer, and the peer has connected anew")
UNPROVEN = CloseReason(CloseCode.DIFFERENT_NETWORK, "no proof of the network in time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the parts of one endpoint share.

    Attributes:
        peer_id: Who this side is.
        instance: Which run of it this is.
        keys: What connections prove.
        config: The settings.
        counters: What is counted.
        clock: Where `now` comes from.
        log: What peers make it say.
        budget: What may be dialled.
    """

    peer_id: PeerId
    instance: int
    keys: NetworkKeys
    config: TransportConfig
    counters: TransportCounters
    clock: Clock
    log: PeerLog
    budget: DialBudget
    gate: Gate


class Connections:
    """Owns the connections of an endpoint.

    Args:
        parts: What it shares with the endpoint.
        factory: Returns what makes connections.
        outbound: What they leave by.
        answer: Accepts or closes a link that a peer opened.
        note_fault: Called with a peer that broke a rule, and how.
        notify: Called when a peer connects or disconnects.
        on_lost: Called with a connection that its peer may have lost.
        after_read: Called when connections have reacted to what a socket brought.

    Attributes:
        keys: What connections prove.
        peers: Those that are ready, by peer.
        datagrams: All of them, by what comes for them.
        is_closing: Whether nothing begins any more.
    """

    def __init__(
        self,
        parts: Parts,
        factory: Callable[[], EngineFactory],
        outbound: Outbound,
        *,
        answer: Callable[[StreamLink, OpenFrame], None],
        note_fault: Callable[[PeerId, str], None],
        notify: Callable[[ConnectionEvent], None],
        on_lost: Callable[[Connection, SocketAddr], None],
        after_read: Callable[[], None],
    ) -> None:
        self.keys = parts.keys
        self._gate = parts.gate
        self.peers = PeerTable(parts.peer_id, parts.config.dial_timeout)
        self.datagrams = Demultiplexer(
            self,
            factory,
            outbound,
            parts.config,
            parts.counters,
            parts.clock,
            parts.log,
            on_lost=on_lost,
            after_read=after_read,
        )
        self.is_closing = False
        self._loop = asyncio.get_running_loop()
        self._peer_id = parts.peer_id
        self._instance = parts.instance
        self._config = parts.config
        self._counters = parts.counters
        self._clock = parts.clock
        self._log = parts.log
        self._budget = parts.budget
        self._outbound = outbound
        self._after_read = after_read
        self._answer = answer
        self._note_fault = note_fault
        self._notify = notify
        self._ports: dict[StreamPort, None] = {}
        self._ports_closed = asyncio.Event()
        self._tick_handle = self._loop.call_later(self._tick_interval, self._tick)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self.datagrams.connections))

    @property
    def peer_id(self) -> PeerId:
        """Who this side is."""
        return self._peer_id

    def adopt(self, engine: StreamEngine, sock: socket.socket) -> None:
        """Take in a connection that a peer opened on a Unix socket, if there is room for it."""
        if not self.datagrams.admit(None):
            sock.close()
            return
        connection = self.add_local(engine, sock, is_initiator=False)
        if not connection.is_over:
            self.datagrams.receive_handshake(connection, None)

    def adopt_tls(self, engine: StreamEngine, make_port: MakeTlsPort) -> None:
        """Take in a connection that a peer opened over TCP, who was admitted."""
        connection = self.add_tls(engine, make_port, is_initiator=False)
        if engine.remote is not None and not connection.is_over:
            self.datagrams.receive_handshake(connection, engine.remote)

    def add_local(
        self, engine: StreamEngine, sock: socket.socket, *, is_initiator: bool
    ) -> Connection:
        """Return the connection of an engine on a Unix socket."""

        def make_port(on_data: Callable[[float], None], on_room: Callable[[], None]) -> StreamPort:
            return StreamPort(sock, engine, on_data, on_room, self._forget_port, self._clock)

        return self._add_stream("unix", engine, make_port, is_initiator=is_initiator)

    def add_tls(
        self, engine: StreamEngine, make_port: MakeTlsPort, *, is_initiator: bool
    ) -> Connection:
        """Return the connection of an engine on a TCP socket."""

        def make(on_data: Callable[[float], None], on_room: Callable[[], None]) -> StreamPort:
            return make_port(on_data, on_room, self._forget_port)

        return self._add_stream("tcp", engine, make, is_initiator=is_initiator)

    def _add_stream(
        self, carrier: str, engine: StreamEngine, make_port: MakePort, *, is_initiator: bool
    ) -> Connection:
        connection = StreamConnection(
            self,
            carrier,
            engine,
            self._config,
            make_port,
            self._clock,
            self._after_read,
            is_initiator=is_initiator,
        )
        self._ports[connection.port] = None
        self.datagrams.connections[connection] = None
        self._outbound.arm(connection)
        if is_initiator:
            connection.handshake_done = self._loop.create_future()
        connection.port.start()
        return connection

    def _forget_port(self, port: StreamPort) -> None:
        self._ports.pop(port, None)
        if not self._ports:
            self._ports_closed.set()

    async def linger(self) -> None:
        """Wait until those that byte streams lead to have heard the last of it."""
        self._ports_closed.clear()
        if self._ports:
            await self._ports_closed.wait()

    def stop(self) -> None:
        """Begin nothing any more."""
        self.is_closing = self.datagrams.is_closing = True

    def release(self) -> None:
        """Give the timer back, and read nothing from now on."""
        self._tick_handle.cancel()
        self.datagrams.release()
        for port in list(self._ports):
            port.close()

    def disconnect(self, peer_id: PeerId, reason: CloseReason) -> None:
        """End all connections to a peer with `reason`, after what their links wrote."""
        for connection in self.peers.connections(peer_id):
            for link in connection.links:
                link.disconnect(reason)
            connection.flush(now=self._clock.monotonic())
            connection.close(reason)

    async def open_on(self, connection: Connection, opening: OpenFrame, is_essential: bool) -> Link:
        """Open a link on a connection, and wait until the peer accepts it.

        Raises:
            LinkRefused: The peer refused, the connection ended, or has all the links that
                it may have.
        """
        if connection.state is not ConnectionState.READY:
            raise LinkRefused(NOT_NEEDED)  # it ended between its dial and now
        if reason := why_too_many(
            connection.own_link_count, self._config.links_max, is_essential=is_essential
        ):
            self._counters.links_refused += 1
            raise LinkRefused(reason)
        opened: asyncio.Future[Link] = self._loop.create_future()
        link = connection.open_link(opening, opened)
        try:
            accepted = await opened
        except asyncio.CancelledError:
            link.close(CloseReason(CloseCode.CANCELLED))
            raise
        except LinkRefused:
            self._counters.links_refused += 1
            raise
        self._counters.links_opened += 1
        return accepted

    # What connections ask of their owner.

    def is_past_relay(self, remote: SocketAddr) -> bool:
        """Return whether datagrams to an address behind a relay go directly by now."""
        direct = self.datagrams.direct
        return direct is not None and direct.is_direct(remote)

    def on_identified(self, connection: Connection) -> None:
        """Let nobody but the peer that was dialled have a proof."""
        peer = connection.peer
        assert peer is not None, "a peer is identified by its handshake"
        if (remote := connection.reachable_at) is not None:
            self._budget.receive_proof(remote, peer.peer_id)
        reason = self._mistaken(connection, peer)
        if reason is None and connection.is_initiator:
            reason = self.objection(connection)
        if reason is not None:
            now = self._clock.monotonic()
            text = "refused a connection: %s"
            self._log.warning(logger, peer.peer_id, text, reason.text, now=now)
            connection.close(reason)

    def objection(self, connection: Connection) -> CloseReason | None:
        """Return why a peer of our network may not be connected, None when it may."""
        peer = connection.peer
        assert peer is not None, "a peer is identified by its handshake"
        now = self._clock.monotonic()
        reason = self._gate.objection(peer.peer_id, now=now)
        if reason is None and self.peers.is_copy(peer):
            reason = KEY_IN_USE
            text = (
                "two nodes have the key of peer %s: the one at %s is refused while the other is "
                "connected"
            )
            who, where = peer.peer_id.short, format_socket_addr(connection.remote or ("", 0))
            self._log.error(logger, peer.peer_id, text, who, where, now=now)
        elif reason is not None:
            who = peer.peer_id.short
            text, code = "refused peer %s: %s", reason.code
            self._log.warning(logger, peer.peer_id, text, who, reason.text, now=now, about=code)
        if reason is not None:
            self._counters.peers_refused += 1
        return reason

    def on_refused(self, connection: Connection, error: RemoteError) -> None:
        """Count and log a peer that is not of our network."""
        if error.close_code == CloseCode.PROTOCOL_VIOLATION:
            self._counters.violations += 1
            why = error.text
        else:
            why = "it does not know this network, or has another secret"
        peer = connection.peer_id
        self._log.warning(
            logger,
            peer,
            "refused a connection with peer %s: %s",
            peer.short,
            why,
            now=self._clock.monotonic(),
            about=error.close_code,
        )

    def on_ready(self, connection: Connection) -> None:
        """Take in a connection whose two sides have proven that they are of our network."""
        self.datagrams.receive_ready(connection)
        is_first = self.peers.add(connection, now=self._clock.monotonic())
        self._counters.connections_opened += 1
        self._outbound.start_path_search(connection)
        if is_first:
            remote = connection.reachable_at
            is_direct = remote is not None and not is_relayed(remote[0])
            addr = PeerAddr(connection.peer_id, (remote,) if remote and is_direct else ())
            self._notify(PeerConnected(connection.peer_id, addr))
        if connection.handshake_done is not None and not connection.handshake_done.done():
            connection.handshake_done.set_result(connection)

    def on_ended(self, connection: Connection, reason: CloseReason) -> None:
        """Forget a connection."""
        self.datagrams.forget(connection)
        self._outbound.forget(connection)
        self._note_refusal(connection, reason)
        left = self.peers.remove(connection)
        if left is None:
            self._counters.handshakes_failed += 1
        elif not left:
            self._notify(PeerDisconnected(connection.peer_id, reason))

    def on_cid(self, connection: Connection, cid: bytes, is_live: bool) -> None:
        """Route datagrams for `cid` to a connection, or not any more."""
        self.datagrams.set_cid(connection, cid, is_live)

    def on_link(self, link: StreamLink, opening: OpenFrame) -> None:
        """Let the endpoint answer a link that a peer opened."""
        self._answer(link, opening)

    def on_violation(self, connection: Connection, error: RemoteError) -> None:
        """Count a broken rule against the peer."""
        self._note_fault(connection.peer_id, error.text)

    def on_overflow(self, connection: Connection, reason: CloseReason) -> None:
        """Log that a link was closed for what it held."""
        who, now = connection.peer_id, self._clock.monotonic()
        text = "closed a link of peer %s: %s"
        self._log.warning(logger, who, text, who.short, reason.text, now=now)

    def on_used(self, connection: Connection) -> None:
        """Let a connection be."""
        self.datagrams.slots.receive_used(connection)

    def on_unused(self, connection: Connection) -> None:
        """Let a connection end for a newcomer, if need be."""
        self.datagrams.slots.receive_unused(connection)

    def mark_dirty(self, connection: Connection) -> None:
        """Flush a connection with this loop turn."""
        self._outbound.mark_dirty(connection)

    # Time.

    @property
    def _tick_interval(self) -> float:
        return self._config.keep_alive_interval / 2

    def _tick(self) -> None:
        """Keep connections alive, and end those that are not needed any more."""
        now, due_at = self._clock.monotonic(), self._tick_handle.when()
        self._tick_handle = self._loop.call_later(self._tick_interval, self._tick)
        for connection in list(self.datagrams.connections):
            if self._is_idle(connection, now):
                connection.close(NOT_NEEDED)
            elif self._is_unproven_for_long(connection, due_at, now):
                connection.close(UNPROVEN)
            elif isinstance(connection, StreamConnection) and connection.is_dead(now=now):
                connection.close(REPLACED)
            elif connection.state is ConnectionState.READY and connection.keep_alive(now=now):
                self.mark_dirty(connection)
            connection.drop_lingering(now=now)
            self.datagrams.follow(connection)

    def _is_unproven_for_long(self, connection: Connection, due_at: float, now: float) -> bool:
        """Return whether a peer said who it is, and in the time of a dial no more.

        It gets more time where this look is late: it was due at `due_at`.
        """
        is_unproven = connection.state is ConnectionState.PROVING
        return is_unproven and connection.proven_by.is_over(now=now, late_s=now - due_at)

    def _is_idle(self, connection: Connection, now: float) -> bool:
        """Return whether a connection has been without links for so long that it may end."""
        if connection.state is not ConnectionState.READY or connection.links:
            return False
        if connection.is_retiring and connection.is_initiator:
            # Both sides use another one. What links wrote before they ended is still on its way.
            return not connection.has_unsent
        # A peer's pings alone do not hold a connection.
        idle_since = max(connection.ready_at, connection.linkless_since)
        return now - idle_since > 2 * self._config.idle_timeout

    # Helpers.

    def _mistaken(self, connection: Connection, peer: ProvenPeer) -> CloseReason | None:
        """Return why a proven peer is not the one wanted, None when it is."""
        if peer.peer_id == self._peer_id:
            if peer.instance != self._instance:
                self._warn_of_copy(connection)
            return CloseReason(CloseCode.UNKNOWN_PEER, "that is this peer itself")
        expected = connection.expected_id
        if expected is not None and peer.peer_id != expected:
            text = f"peer {peer.peer_id.short} answered where {expected.short} was dialled"
            return CloseReason(CloseCode.UNKNOWN_PEER, text)
        return None

    def _warn_of_copy(self, connection: Connection) -> None:
        where = format_socket_addr(connection.remote or ("", 0))
        text = "another node has the key of this one, as %s shows; give each node its own key"
        self._log.error(logger, None, text, where, now=self._clock.monotonic())

    def _note_refusal(self, connection: Connection, reason: CloseReason) -> None:
        """Say that a peer does not admit this node, where that is why a connection ended."""
        if not reason.remote or connection.peer is None:
            return
        if reason.code == CloseCode.KEY_IN_USE:
            self._warn_of_copy(connection)
        elif gate_of(reason.code) not in (None, "network"):  # of which discovery says more
            who, now = connection.peer_id, self._clock.monotonic()
            text, code = "peer %s does not admit this node: %s", reason.code
            self._log.warning(logger, who, text, who.short, reason.text, now=now, about=code)
