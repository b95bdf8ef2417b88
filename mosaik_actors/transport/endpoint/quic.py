"""The QUIC endpoint: what the rest of the library calls, and who owns the connections.

One UDP socket per address family dials and accepts, so that a peer that was
dialled from a port can be reached at it. All links between two peers share one
connection (`peers`). Who may be connected at all the `gate` says.

Bad input from outside never raises: it is counted in `TransportCounters`,
logged within bounds, and costs at most the connection it came on.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, Self

from ...clock import Clock
from ...ids import NetworkId, PeerId, SecretKey
from ..address import (
    PeerAddr,
    SocketAddr,
    is_loopback,
    is_relayed,
)
from ..admission import NetworkKeys
from ..apart import Apart
from ..close import CloseCode, CloseReason
from ..config import TransportConfig
from ..connection.connection import DEAD_PROBES, Connection, ConnectionState
from ..connection.stream_link import StreamLink
from ..dial_budget import DialBudget
from ..endpoint_base import CLOSING, EndpointBase
from ..frames import OpenFrame, encode_control
from ..interface import Link, LinkRefused
from ..quic.choice import factory_on_demand
from ..quic.connection import QuicConnection
from ..sockets import DatagramPort
from .connections import Connections, Parts
from .dialer import NOT_NEEDED, Dialer
from .moves import PROTOCOL as MOVES
from .moves import AddrOf, Moves
from .outbound import Outbound
from .patience import patience
from .routes import Routes, bind_all
from .whereabouts import Whereabouts

if TYPE_CHECKING:  # loaded where they are used: most nodes have neither
    from ..mapping.driver import PortMapping
    from ..paths.driver import DirectPaths
    from ..relay.port import RelayPort

DRAIN_TIMEOUT_S: Final = 2.0
DIRECT_INTERVAL_S: Final = 60.0
LINGER_S: Final = 0.5

_NOT_NEEDED_THERE = CloseReason(NOT_NEEDED.code, NOT_NEEDED.text, remote=True)


class QuicEndpoint(EndpointBase):
    """One node's presence on the network, over QUIC. Made by `start`."""

    def __init__(
        self,
        network_id: NetworkId,
        secret_key: SecretKey,
        ports: list[DatagramPort],
        clock: Clock,
        rng: Random,
        config: TransportConfig,
        secrets: Sequence[bytes] = (),
        listeners: Sequence[socket.socket] | None = None,
    ) -> None:
        keys = NetworkKeys(network_id, secrets)
        super().__init__(secret_key.peer_id, keys, config, clock.monotonic)
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._ports = {port.family: port for port in ports}
        self._whereabouts = Whereabouts(ports)
        direct = [addr for port in ports for addr in port.addrs]
        self._budget = DialBudget(config)
        self._parts = parts = Parts(
            peer_id=self._peer_id,
            instance=rng.getrandbits(63) + 1,
            keys=self.keys,
            config=config,
            counters=self.counters,
            clock=clock,
            log=self.peer_log,
            budget=self._budget,
            gate=self.gate,
        )
        self._factory = factory_on_demand(secret_key, parts.instance, config, rng)
        self._outbound = Outbound(
            self._ports, config, self.counters, clock, rng, parts.log, self._check_drained
        )
        self._connections = Connections(
            parts,
            self._factory,
            self._outbound,
            answer=lambda link, opening: self.on_link(link, opening),
            note_fault=self.note_fault,
            notify=self.notify,
            on_lost=self._dial_anew,
            after_read=self._check_drained,
        )
        self._routes = Routes(
            secret_key, parts, self._ports, listeners, self._factory, self._connections, rng
        )
        if not all(is_loopback(host) for host, _ in direct):
            self._routes.load()  # strangers may come at any moment
        self._addr = PeerAddr(self._peer_id, tuple(direct), carriers=self._routes.listening)
        self.apart = Apart(self._routes.dials, self.peer_log, self._is_reached)
        routes, budget = self._routes, self._budget
        ways = routes.can_dial, routes.start_attempt, routes.dial_local
        self._dialer = Dialer(
            self._peer_id, *ways, self._relayed, config, budget, clock, self.apart
        )
        self._moves = Moves(self._connections, self._outbound, self._dialer.start, clock)
        self.serve(MOVES, self._moves.accept, is_essential=True)
        self._relays: RelayPort | None = None
        self._direct: DirectPaths | None = None
        self._closed: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        if config.carries("quic"):
            for port in ports:
                port.start(self._connections.datagrams.read)

    @classmethod
    async def start(
        cls,
        network_id: NetworkId | str,
        secret_key: SecretKey,
        *,
        bind: Iterable[SocketAddr] = (("127.0.0.1", 0),),
        clock: Clock,
        rng: Random,
        config: TransportConfig | None = None,
        secrets: Sequence[bytes] = (),
    ) -> Self:
        """Bind the sockets and listen.

        Args:
            network_id: The network whose links are accepted.
            secret_key: The identity that every connection proves.
            bind: At most one (numeric host, port) per address family; port 0 takes any free one.
            clock: Where `now` comes from.
            rng: Where connection ids and the instance are drawn from.
            config: The settings, the defaults when None.
            secrets: The network's secrets, of which connections prove one; without
                any they prove that they know its id.

        Raises:
            TransportError: An address cannot be bound; says which port and why.
        """
        config = config or TransportConfig()
        ports: list[DatagramPort] = []
        listeners: list[socket.socket] | None = [] if config.carries("tcp") else None
        try:
            bind_all(bind, config, asyncio.get_running_loop(), ports, listeners)
            network = NetworkId(network_id)
            made = cls(network, secret_key, ports, clock, rng, config, secrets, listeners)
        except BaseException:
            for one in (*ports, *(listeners or ())):
                one.close()
            raise
        made._whereabouts.start_mapping(config, made.addr, clock, rng)
        return made

    @property
    def mapping(self) -> PortMapping | None:
        """How the gateway sends on what comes from outside; None where that is not wanted."""
        return self._whereabouts.mapping

    def listen_local(self, folder: Path) -> None:
        """Let processes of this user reach this one by a Unix socket in their private folder."""
        if self.config.carries("unix") and not self._is_closing:
            self._routes.local.listen(folder)

    def leave_local(self) -> None:
        """Listen in no folder any more, and leave nothing there. Connections stay."""
        self._routes.local.close()

    def use_relays(self, port: RelayPort, home: str, secret: bytes) -> None:
        """Reach, and be reached by, peers through relays, where no direct way answers.

        Args:
            port: What goes through them.
            home: The relay that is advertised.
            secret: What only this node knows, for direct ways past the relays.
        """
        if not self.config.carries("relay"):
            return
        if self.config.carries("quic"):
            from .direct import use_direct

            parts = self._parts, self._connections, self._outbound
            self._direct = use_direct(self, *parts, port, secret)
        self._ports[port.family] = port
        self._addr = replace(self._addr, relay=home)
        self._relays = port
        port.start(self._connections.datagrams.read)

    def reflect(self, answer: Callable[[bytes, SocketAddr, float], bytes | None]) -> None:
        """Send back what `answer` says to datagrams that are no QUIC, as a relay does."""
        self._connections.datagrams.reflect = answer

    @property
    def may_move(self) -> bool:
        """Whether its addresses may change: those of all interfaces do, and mapped ones."""
        return self._whereabouts.may_change

    def look_where(self, addr_of: AddrOf = lambda _peer: None) -> bool:
        """Look where others can reach it by now; return whether `addr` has changed.

        Connections go on from the new addresses, or are made anew (`moves`); so are direct ways
        past relays, and the links to these.
        """
        change = self._whereabouts.look()
        if change is None or self._is_closing:
            return False
        self._addr = replace(self._addr, direct=change.addrs)
        if self._direct is not None:  # first: pings go where it says
            self._direct.mapped = change.mapped
            self._direct.receive_move(change.left)
        if change.has_moved:
            self._moves.receive_move(change.hosts, addr_of)
            if self._relays is not None:
                self._relays.on_move()
        return True

    def receive_peer_move(self, before: PeerAddr, addr: PeerAddr) -> None:
        """Take in that a peer says that it is at other addresses than before."""
        self._moves.receive_peer_move(addr, set(before.direct) - set(addr.direct))

    @property
    def local_addr(self) -> PeerAddr:
        """Where others on this machine can reach this endpoint."""
        local = [addr for port in self._ports.values() for addr in port.local_addrs]
        return replace(self._addr, direct=tuple(local), carriers=self._routes.listening_here)

    @property
    def connection_count(self) -> int:
        """Connections that stand or are being made."""
        return len(self._connections.datagrams.connections)

    async def open_link(
        self,
        to: PeerAddr,
        protocol: str,
        header: bytes = b"",
        *,
        timeout: float = 10.0,
        is_essential: bool = False,
    ) -> Link:
        """Open a link, connecting first where needed, and wait until the peer accepts it.

        May be cancelled: the half-open link is then closed as cancelled.

        Raises:
            LinkRefused: The peer refused, did not answer within `timeout` seconds (see `patience`),
                cannot be reached, or is not who `to` says; or the connection has too many links.
            ValueError: `header` is larger than a header may be.
        """
        opening, connections = OpenFrame(protocol, header), self._connections
        encode_control(opening)
        try:
            async with patience(timeout):
                try:
                    return await connections.open_on(await self._connect(to), opening, is_essential)
                except LinkRefused as refused:
                    if refused.reason not in (NOT_NEEDED, _NOT_NEEDED_THERE):
                        raise
                # The connection was given up for another one meanwhile.
                return await connections.open_on(await self._connect(to), opening, is_essential)
        except TimeoutError:
            text = f"peer {to.peer_id.short} did not answer within {timeout:g} s"
            raise LinkRefused(CloseReason(CloseCode.UNEXPECTED_CLOSE, text)) from None

    def on_link(self, link: StreamLink, opening: OpenFrame) -> None:
        """Answer a link that a peer opened: hand it to its protocol's acceptor, or say no."""
        self.answer(link, opening, peer_link_count=link.connection.peer_link_count - 1)

    def disconnect(self, peer_id: PeerId, reason: CloseReason) -> None:
        """End all connections to a peer with `reason`, after what their links wrote."""
        self._connections.disconnect(peer_id, reason)

    def mark_dirty(self, connection: Connection) -> None:
        """Flush a connection with this loop turn."""
        self._outbound.mark_dirty(connection)

    def rtt(self, peer_id: PeerId) -> float | None:
        """Return the smoothed round-trip time to a connected peer in seconds, else None."""
        connection = self._connections.peers.usable(peer_id)
        return connection.engine.rtt if connection else None

    def carrier(self, peer_id: PeerId) -> str | None:
        """Return what carries the connection to a peer now, of `CARRIERS`; None without one."""
        connection = self._connections.peers.usable(peer_id)
        return None if connection is None else connection.carried_by

    def datagram_bytes(self, peer_id: PeerId) -> int | None:
        """Return the largest datagram on the direct path over UDP to a peer; None without one."""
        connection = self._connections.peers.usable(peer_id)
        if not isinstance(connection, QuicConnection) or connection.carrier != "quic":
            return None
        return connection.quic.datagram_bytes

    @property
    def observed(self) -> list[tuple[SocketAddr, SocketAddr]]:
        """Where relays see this node: the address of each relay, and what it saw."""
        return [] if self._direct is None else self._direct.observed

    def is_answering(self, peer_id: PeerId) -> bool:
        """Return whether a peer is connected, and nothing says that it has stopped answering."""
        connection = self._connections.peers.usable(peer_id)
        return connection is not None and connection.engine.probe_count < DEAD_PROBES

    def heard_at(self, peer_id: PeerId) -> float | None:
        """Return when a connected peer was heard last, in monotonic seconds, else None."""
        mates = self._connections.peers.connections(peer_id)
        return max((mate.last_heard_at for mate in mates), default=None)

    def may_be_local(self, peer_id: PeerId) -> bool:
        """Return whether a peer may be on this machine, and so know its loopback interface."""
        if self._connections.peers.is_local(peer_id):
            return True
        return self._relays is None and all(
            is_loopback(host) for port in self._ports.values() for host, _ in port.addrs
        )

    def vouch(self, addrs: Iterable[PeerAddr]) -> None:
        """Dial these peers, where it is said and through relays, as if they had proven it."""
        for addr in addrs:
            self._budget.vouch(addr.direct)
            if self._relays is not None:
                self._budget.vouch(self._relays.all_addrs_of(addr.peer_id))

    def connected_peers(self) -> list[PeerId]:
        """Return the peers with a usable connection, in the order they connected."""
        return self._connections.peers.connected()

    async def close(self, reason: CloseReason) -> None:
        """Close all links and connections with `reason`, then the sockets.

        What links have written is sent first, for at most `DRAIN_TIMEOUT_S`
        seconds. May be repeated; a cancelled close still closes at once.
        """
        if self._closed is not None:
            await asyncio.shield(self._closed)
            return
        self._closed = self._loop.create_future()
        self._is_closing = True
        self._connections.stop()
        try:
            if self.mapping is not None:
                await self.mapping.close()
            await self._moves.stop()
            await self._dialer.close()
            await self._routes.stop()
            for connection in list(self._connections):
                for link in connection.links:
                    link.close(reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_TIMEOUT_S):
                    await self._drain()
            self._say_goodbye(reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    await self._connections.linger()
        finally:
            self._say_goodbye(reason)
            self._release()
            self._closed.set_result(None)

    def crash(self) -> None:
        """Vanish without a word, as a killed process does; for tests and simulations.

        The links here end at once; the peers notice after their idle timeout.
        """
        self._is_closing = True
        self._moves.cancel()
        if self.mapping is not None:
            self.mapping.crash()
        self._connections.stop()
        self._release()
        for connection in list(self._connections):
            connection.end(CloseReason(CloseCode.UNEXPECTED_CLOSE, "crashed"))
        self._closed = self._closed or self._loop.create_future()
        if not self._closed.done():
            self._closed.set_result(None)

    # Connections.

    def _dial_anew(self, connection: Connection, remote: SocketAddr) -> None:
        """Find out whether a peer restarted, by dialling it beside a connection that looks lost."""
        if connection.state is ConnectionState.READY and not connection.is_doubted:
            connection.is_doubted = True
            direct = () if is_relayed(remote[0]) else (remote,)
            self._dialer.start(PeerAddr(connection.peer_id, direct))

    async def _connect(self, to: PeerAddr) -> Connection:
        """Return a usable connection to a peer, dialling it if there is none."""
        if self._is_closing:
            raise LinkRefused(CLOSING)
        if reason := self.gate.objection(to.peer_id, now=self._clock.monotonic()):
            raise LinkRefused(reason)
        usable = self._connections.peers.usable(to.peer_id)
        if usable is None:
            return await self._dialer.dial(to)
        if usable.carrier == "relay":
            if to.direct and usable.carried_by == "relay":
                self._look_for_direct(usable, to)
        elif await self._routes.improve(to, usable):
            return self._connections.peers.usable(to.peer_id) or usable
        return usable

    def _look_for_direct(self, relayed: Connection, to: PeerAddr) -> None:
        """Dial a relayed peer directly, now and then; later links use what comes of it."""
        now = self._clock.monotonic()
        if now >= relayed.direct_at:
            relayed.direct_at = now + DIRECT_INTERVAL_S
            self._dialer.start(to, is_direct=True)

    def _relayed(self, to: PeerAddr) -> list[SocketAddr]:
        return [] if self._relays is None else self._relays.addrs_of(to)

    def _is_reached(self, to: PeerAddr) -> bool:
        return bool(self._relayed(to)) or self._routes.is_reached(to.peer_id)

    # The end.

    async def _drain(self) -> None:
        """Wait until every peer has acknowledged what was written to it."""
        self._drained = self._loop.create_future()
        self._check_drained()
        await self._drained

    def _check_drained(self) -> None:
        if self._drained is None or self._drained.done():
            return
        if not any(connection.has_unsent for connection in self._connections):
            self._drained.set_result(None)

    def _say_goodbye(self, reason: CloseReason) -> None:
        for connection in list(self._connections):
            connection.close(reason)
        self._outbound.flush()

    def _release(self) -> None:
        """Give the sockets and timers back; nothing is sent or heard from now on."""
        self._routes.close()
        if self._direct is not None:
            self._direct.close()
        self._outbound.release()
        self._connections.release()
        for port in self._ports.values():
            port.close()
