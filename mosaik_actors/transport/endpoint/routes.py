"""How the connections of one endpoint are begun: over each carrier, and over a better one later.

A peer on this machine is reached by its Unix socket. All others are at addresses, where TCP
and QUIC take turns (`attempt`).

A connection that stands is replaced once a better carrier can be had: where a Unix socket of
the peer has appeared, or a QUIC connection turns out to be short. New links go over the
better one, those that are open end where they are. That is tried when a link is opened,
and no more than once in `IMPROVE_RETRY_S` with one peer; the link waits for
`IMPROVE_WAIT_S` at most.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import AbstractEventLoop
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from ...errors import TransportError
from ...ids import PeerId, SecretKey
from ..address import PeerAddr, SocketAddr, format_socket_addr, is_loopback, is_relayed
from ..close import gate_of
from ..config import TransportConfig
from ..connection.connection import Connection
from ..interface import LinkRefused
from ..local.sockets import LocalSockets
from ..quic.choice import choose_port
from ..sockets import DatagramPort, UdpPort, bind_udp, explain_in_use, family_of
from ..tls.sockets import TlsSockets, listen_beside
from .attempt import NEAR_S, CarrierRace
from .connections import Connections, Parts

if TYPE_CHECKING:
    from ..quic.engine import EngineFactory
from .dialer import NOT_NEEDED

IMPROVE_RETRY_S: Final = 30.0
IMPROVE_WAIT_S: Final = 0.1
BINDS_MAX: Final = 16


class Routes:
    """The ways of one endpoint to others.

    Args:
        secret_key: The identity that is proven.
        parts: What is shared with the endpoint.
        ports: What datagrams leave by, one for each address family.
        listeners: Sockets that take TCP connections; None where TCP may not carry.
        factory: Returns what makes QUIC connections.
        connections: What takes in the connections.
        rng: Where random numbers are drawn from.

    Attributes:
        local: The Unix sockets.
    """

    def __init__(
        self,
        secret_key: SecretKey,
        parts: Parts,
        ports: dict[int, DatagramPort],
        listeners: Sequence[socket.socket] | None,
        factory: Callable[[], EngineFactory],
        connections: Connections,
        rng: Random,
    ) -> None:
        self.local = LocalSockets(
            secret_key,
            parts.instance,
            parts.config,
            parts.clock,
            rng,
            connections.adopt,
            parts.log,
        )
        self._tls: TlsSockets | None = None
        if listeners is not None:
            self._tls = TlsSockets(
                secret_key,
                parts.instance,
                listeners,
                parts.config,
                parts.clock,
                parts.log,
                admit=connections.datagrams.admit,
                adopt=connections.adopt_tls,
            )
        self._has_quic = parts.config.carries("quic")
        self._has_local = parts.config.carries("unix")
        self._has_listener = bool(listeners)
        self._ports = ports
        self._factory = factory
        self._connections = connections
        self._clock = parts.clock
        self._connections_max = parts.config.connections_max
        self._improvements: OrderedDict[PeerId, tuple[float, asyncio.Task[None]]] = OrderedDict()

    @property
    def listening(self) -> tuple[str, ...]:
        """What peers can reach this endpoint over, at its addresses."""
        offered = {"tcp": self._has_listener, "quic": self._has_quic}
        return tuple(carrier for carrier, is_there in offered.items() if is_there)

    @property
    def listening_here(self) -> tuple[str, ...]:
        """What peers of this user on this machine can reach this endpoint over."""
        return ("unix", *self.listening) if self.local.is_listening else self.listening

    @property
    def dials(self) -> tuple[str, ...]:
        """What this endpoint can reach peers over, relays aside."""
        offered = {
            "unix": self._has_local,
            "tcp": self._tls is not None,
            "quic": self._has_quic,
        }
        return tuple(carrier for carrier, is_there in offered.items() if is_there)

    def is_reached(self, peer_id: PeerId) -> bool:
        """Return whether a peer is connected, or seems to be by its socket on this machine."""
        usable = self._connections.peers.usable(peer_id)
        return usable is not None or self.local.has_socket_of(peer_id)

    def close(self) -> None:
        """Let nobody in any more."""
        self.local.close()
        if self._tls is not None:
            self._tls.close()

    def load(self) -> None:
        """Load now what else is loaded with the first connection."""
        if self._has_quic:
            self._factory()
        if self._tls is not None:
            self._tls.load()

    async def stop(self) -> None:
        """Give up what is being improved."""
        tasks = [task for _, task in self._improvements.values() if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def can_dial(self, addr: SocketAddr) -> bool:
        """Return whether there is a socket that can reach an address."""
        port = self._ports.get(family_of(addr[0]))
        if port is None or not (self._has_quic or self._tls is not None):
            return False
        return is_loopback(addr[0]) or not all(is_loopback(host) for host, _ in port.addrs)

    def start_attempt(
        self, to: PeerAddr, addr: SocketAddr, datagrams_max: int | None
    ) -> CarrierRace:
        """Begin to dial a peer at an address, over what may be there."""
        peer_id = to.peer_id
        begin_quic = partial(self._begin_quic, peer_id, addr, datagrams_max)
        begin_tls = partial(self._begin_tls, peer_id, addr)
        if is_relayed(addr[0]):
            return CarrierRace(begin_quic, None, begin_tls)
        has_tls = self._tls is not None and (_may_listen(to, "tcp") or not self._has_quic)
        has_quic = self._has_quic and (_may_listen(to, "quic") or not has_tls)
        return CarrierRace(
            begin_quic if has_quic else None,
            partial(self._tls.connect, addr) if self._tls is not None and has_tls else None,
            begin_tls,
        )

    async def dial_local(self, peer_id: PeerId) -> Connection | None:
        """Return a connection to a peer on this machine, None where it listens to none."""
        found = await self.local.connect(peer_id)
        if found is None:
            return None
        connection = self._connections.add_local(*found, is_initiator=True)
        connection.expected_id = peer_id
        done = connection.handshake_done
        assert done is not None, "a dial is awaited"
        try:
            return await done
        except LinkRefused as refused:
            if gate_of(refused.reason.code) is not None:
                raise  # it is there, and says no
            return None
        finally:
            if done.cancelled():
                connection.close(NOT_NEEDED)

    async def improve(self, to: PeerAddr, connection: Connection) -> bool:
        """Try to have a better carrier to a peer; return whether that was tried now."""
        known = self._improvements.get(to.peer_id)
        now = self._clock.monotonic()
        if known is not None and known[1].done() and now < known[0] + IMPROVE_RETRY_S:
            return False
        if known is None or known[1].done():
            is_near = connection.carrier != "unix" and self.local.has_socket_of(to.peer_id)
            addr = self._better_address(to, connection)
            if not is_near and addr is None:
                return False
            task = asyncio.get_running_loop().create_task(
                self._improve(to.peer_id, None if is_near else addr),
                name=f"improve {to.peer_id.short}",
            )
            self._improvements.pop(to.peer_id, None)
            self._improvements[to.peer_id] = known = (now, task)
            if len(self._improvements) > self._connections_max:
                self._improvements.popitem(last=False)[1][1].cancel()
        await asyncio.wait([known[1]], timeout=IMPROVE_WAIT_S)
        return True

    async def _improve(self, peer_id: PeerId, addr: SocketAddr | None) -> None:
        with suppress(LinkRefused):
            if addr is None:
                await self.dial_local(peer_id)
                return
            assert self._tls is not None, "there is no better address without TCP"
            race = CarrierRace(
                None, partial(self._tls.connect, addr), partial(self._begin_tls, peer_id, addr)
            )
            winner: Connection | None = None
            try:
                winner = await race.answered
            finally:
                race.end(winner)

    def _better_address(self, to: PeerAddr, connection: Connection) -> SocketAddr | None:
        """Return where the peer of a QUIC connection may take TCP; None where it is far."""
        rtt = connection.engine.rtt
        if connection.carrier != "quic" or self._tls is None or not _may_listen(to, "tcp"):
            return None
        return connection.remote if rtt is not None and rtt < NEAR_S else None

    def _begin_quic(
        self, peer_id: PeerId, addr: SocketAddr, datagrams_max: int | None
    ) -> Connection:
        port = self._ports[family_of(addr[0])]
        engine = self._factory().dial(addr, now=self._clock.monotonic())
        connection = self._connections.datagrams.add(engine, port, addr, is_initiator=True)
        connection.expected_id = peer_id
        connection.unheard_max = datagrams_max
        connection.handshake_done = asyncio.get_running_loop().create_future()
        self._connections.mark_dirty(connection)
        return connection

    def _begin_tls(self, peer_id: PeerId, addr: SocketAddr, sock: socket.socket) -> Connection:
        assert self._tls is not None, "TCP may carry"
        engine, make_port = self._tls.begin(sock, addr, is_initiator=True)
        connection = self._connections.add_tls(engine, make_port, is_initiator=True)
        connection.expected_id = peer_id
        return connection


def bind_all(
    addrs: Iterable[SocketAddr],
    config: TransportConfig,
    loop: AbstractEventLoop,
    ports: list[DatagramPort],
    listeners: list[socket.socket] | None,
) -> None:
    """Bind sockets at each address; they are added to `ports`, and those for TCP to `listeners`.

    Raises:
        TransportError: An address cannot be bound. Those bound before are the caller's to close.
    """
    for addr in addrs:
        if any(port.family == family_of(addr[0]) for port in ports):
            raise TransportError(
                f"cannot also bind {format_socket_addr(addr)}: "
                "one socket per address family, and this family has one"
            )
        port, listener = _bind_both(addr, config, loop, has_tcp=listeners is not None)
        ports.append(port)
        if listeners is not None and listener is not None:
            listeners.append(listener)
    if not ports:
        raise TransportError("bind is empty, expected one address or more")


def _bind_both(
    addr: SocketAddr, config: TransportConfig, loop: AbstractEventLoop, *, has_tcp: bool
) -> tuple[UdpPort, socket.socket | None]:
    """Return sockets for datagrams and, where `has_tcp`, for TCP at one address.

    Where any port may be taken, one is taken that both have; where a port is given that TCP
    cannot have, there is none for TCP, and with neither that nor QUIC it cannot be bound.

    Raises:
        TransportError: The address cannot be bound; says which and why.
    """
    host, wanted = addr
    for number in range(BINDS_MAX):
        port = bind_udp(addr, config.socket_buffer_bytes, loop, choose_port(config))
        if not has_tcp:
            return port, None
        listener = listen_beside(host, port.addrs[0][1])
        is_last = wanted != 0 or number == BINDS_MAX - 1
        if listener is not None or (is_last and config.carries("quic")):
            return port, listener
        port.close()
        if is_last:
            raise TransportError(explain_in_use("TCP", (host, port.addrs[0][1])))
    raise AssertionError("not reached")


def _may_listen(to: PeerAddr, carrier: str) -> bool:
    return not to.carriers or carrier in to.carriers
