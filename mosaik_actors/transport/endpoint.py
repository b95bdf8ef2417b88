"""The QUIC endpoint: sockets, connections, and the way between them.

One UDP socket per address family dials and accepts, so that a peer that was
dialled from a port can be reached at it. All links between two peers share one
connection:

    * Two simultaneous dials leave two connections. Both sides prefer the one
      that the smaller `PeerId` dialled; the other takes no new links and ends
      with its last one.
    * A connection that proves another *instance* of the same key means that
      the peer restarted: the older connections end at once.

When there is no room for a newcomer, `slots` says which connection ends for it.

Bad input from outside never raises: it is counted in `TransportCounters`,
logged once per kind, and costs at most the connection it came on.

One pass through the event loop costs one read of all that the sockets hold,
one hand-over per link, and one flush per connection.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from random import Random
from typing import Any, Self

from ..clock import Clock
from ..errors import RemoteError, TransportError
from ..ids import NetworkId, PeerId, SecretKey
from .address import PeerAddr, SocketAddr, format_socket_addr, is_loopback
from .admission import NetworkKeys
from .close import CloseCode, CloseReason
from .config import DATAGRAM_BYTES_MIN, TransportConfig
from .connection import DEAD_PROBES, Connection, ConnectionState, QuicLink
from .counters import TransportCounters
from .dial_budget import DialBudget
from .dialer import NOT_NEEDED, Dialer
from .engine import Engine, EngineFactory
from .frames import OpenFrame, encode_control
from .identity import ProvenPeer
from .interface import ConnectionEvent, Link, LinkRefused, PeerConnected, PeerDisconnected
from .link_limit import why_too_many
from .lost import decode_hint, encode_hint
from .path_mtu import BASE, TOKEN_BYTES, PathMtu, PathProber, answer_probe
from .slots import Slots
from .sockets import DatagramPort, bind_udp, family_of

logger = logging.getLogger(__name__)

READS_PER_TURN = 64
ALONE_MIN = 8  # datagrams in a row without company: the next one comes alone as well
DRAIN_TIMEOUT_S = 2.0
TIMER_STEP_S = 1e-6
HINT_INTERVAL_S = 0.02
CONNECTIONS_PER_PEER_MAX = 4
LOG_KINDS_MAX = 1000
BLACK_HOLE_PROBES = 3

_NOT_NEEDED_THERE = CloseReason(NOT_NEEDED.code, NOT_NEEDED.text, remote=True)
CLOSING = CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "this endpoint is closing")
UNPROVEN = CloseReason(CloseCode.DIFFERENT_NETWORK, "no proof of the network in time")
GIVEN_UP = CloseReason(CloseCode.UNEXPECTED_CLOSE, "the peer connected anew", remote=True)
RESTARTED = CloseReason(CloseCode.UNEXPECTED_CLOSE, "the peer restarted", remote=True)


class QuicEndpoint:
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
    ) -> None:
        self.keys = NetworkKeys(network_id, secrets)
        self.config = config
        self.counters = TransportCounters()
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._rng = rng
        self._peer_id = secret_key.peer_id
        self._factory = EngineFactory(secret_key, rng.getrandbits(63) + 1, config.idle_timeout, rng)
        self._ports = {port.family: port for port in ports}
        direct = [addr for port in ports for addr in port.addrs]
        self._addr = PeerAddr(self._peer_id, tuple(direct))
        self._by_cid: dict[bytes, Connection] = {}
        self._by_peer: dict[PeerId, list[Connection]] = {}
        self._connections: dict[Connection, None] = {}
        self._slots: Slots[Connection] = Slots(config)
        # With when it goes off, which not every loop's handles tell.
        self._timers: dict[Connection, tuple[float, asyncio.TimerHandle]] = {}
        self._paths: dict[Connection, PathProber] = {}
        self._budget = DialBudget(config)
        self._dialer = Dialer(
            self._peer_id, self._can_dial, self._start_dial, config, self._budget, clock
        )
        self._dirty: dict[Connection, None] = {}
        self._is_flush_scheduled = False
        self._acceptors: dict[str, Callable[[Link], None]] = {}
        self._essential: set[str] = set()
        self._listeners: list[Callable[[ConnectionEvent], None]] = []
        self._logged: set[str] = set()
        self._is_closing = False
        self._closed: asyncio.Future[None] | None = None
        self._next_hint_at = 0.0
        self._alone_count = 0
        self._is_released = False
        self._drained: asyncio.Future[None] | None = None
        for port in ports:
            port.start(self._read)
        # What was set off by a call from outside is the endpoint's own all the same.
        self._context = copy_context()
        self._tick_handle = self._loop.call_later(self._tick_interval, self._tick)

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
            bind: At most one (numeric host, port) per address family; port 0
                takes any free one.
            clock: Where `now` comes from.
            rng: Where connection ids and the instance are drawn from.
            config: The settings, the defaults when None.
            secrets: The network's secrets, of which connections prove one; without
                any they prove that they know its id.

        Raises:
            TransportError: An address cannot be bound; says which port and why.
        """
        config = config or TransportConfig()
        loop = asyncio.get_running_loop()
        ports: list[DatagramPort] = []
        try:
            for addr in bind:
                if any(port.family == family_of(addr[0]) for port in ports):
                    raise TransportError(
                        f"cannot also bind {format_socket_addr(addr)}: "
                        "one socket per address family, and this family has one"
                    )
                ports.append(bind_udp(addr, config.socket_buffer_bytes, loop))
            if not ports:
                raise TransportError("bind is empty, expected one address or more")
            return cls(NetworkId(network_id), secret_key, ports, clock, rng, config, secrets)
        except BaseException:
            for port in ports:
                port.close()
            raise

    @property
    def network_id(self) -> NetworkId:
        """The network whose links are accepted here."""
        return self.keys.network_id

    @property
    def peer_id(self) -> PeerId:
        """The identity that every connection proves."""
        return self._peer_id

    @property
    def addr(self) -> PeerAddr:
        """Where others can reach this endpoint."""
        return self._addr

    @property
    def local_addr(self) -> PeerAddr:
        """Where others on this machine can reach this endpoint."""
        local = [addr for port in self._ports.values() for addr in port.local_addrs]
        return PeerAddr(self._peer_id, tuple(local))

    @property
    def connection_count(self) -> int:
        """Connections that stand or are being made."""
        return len(self._connections)

    @property
    def frame_bytes_max(self) -> int:
        """The largest frame that is sent or taken in, in bytes."""
        return self.config.frame_bytes_max

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
            LinkRefused: The peer refused, did not answer within `timeout`
                seconds, could not be reached, or is not who `to` says; or the
                connection has all the links it may have.
            ValueError: `header` is larger than a header may be.
        """
        opening = OpenFrame(protocol, header)
        encode_control(opening)
        try:
            async with asyncio.timeout(timeout):
                try:
                    return await self._open_on(await self._connect(to), opening, is_essential)
                except LinkRefused as refused:
                    if refused.reason not in (NOT_NEEDED, _NOT_NEEDED_THERE):
                        raise
                    # The connection was given up for another one meanwhile.
                    return await self._open_on(await self._connect(to), opening, is_essential)
        except TimeoutError:
            text = f"peer {to.peer_id.short} did not answer within {timeout:g} s"
            raise LinkRefused(CloseReason(CloseCode.UNEXPECTED_CLOSE, text)) from None

    def serve(
        self, protocol: str, acceptor: Callable[[Link], None], *, is_essential: bool = False
    ) -> None:
        """Hand every incoming link of `protocol` to `acceptor`, which attaches and accepts it."""
        self._acceptors[protocol] = acceptor
        if is_essential:
            self._essential.add(protocol)

    def unserve(self, protocol: str) -> None:
        """Refuse links of `protocol` from now on."""
        self._acceptors.pop(protocol, None)

    def on_connection_event(self, listener: Callable[[ConnectionEvent], None]) -> None:
        """Call `listener` when peers connect and disconnect."""
        self._listeners.append(listener)

    def rtt(self, peer_id: PeerId) -> float | None:
        """Return the smoothed round-trip time to a connected peer in seconds, else None."""
        connection = self._usable(peer_id)
        return connection.engine.rtt if connection else None

    def is_answering(self, peer_id: PeerId) -> bool:
        """Return whether a peer is connected, and nothing says that it has stopped answering."""
        connection = self._usable(peer_id)
        return connection is not None and connection.engine.probe_count < DEAD_PROBES

    def heard_at(self, peer_id: PeerId) -> float | None:
        """Return when a connected peer was heard last, in monotonic seconds, else None."""
        mates = self._by_peer.get(peer_id, ())
        return max((mate.last_heard_at for mate in mates), default=None)

    def may_be_local(self, peer_id: PeerId) -> bool:
        """Return whether a peer may be on this machine, and so know its loopback interface."""
        connection = self._usable(peer_id)
        remote = None if connection is None else connection.remote
        if remote is not None and is_loopback(remote[0]):
            return True
        return all(is_loopback(host) for port in self._ports.values() for host, _ in port.addrs)

    def vouch(self, addrs: Iterable[SocketAddr]) -> None:
        """Dial these addresses as if they had proven that a node is there."""
        self._budget.vouch(addrs)

    def connected_peers(self) -> list[PeerId]:
        """Return the peers with a usable connection, in the order they connected."""
        return list(self._by_peer)

    def disconnect(self, peer_id: PeerId, reason: CloseReason) -> None:
        """End all connections to a peer with `reason`, after what their links wrote."""
        for connection in list(self._by_peer.get(peer_id, ())):
            for link in connection.links:
                link.disconnect(reason)
            connection.flush(now=self._clock.monotonic())
            connection.close(reason)

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
        try:
            await self._dialer.close()
            for connection in list(self._connections):
                for link in connection.links:
                    link.close(reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_TIMEOUT_S):
                    await self._drain()
        finally:
            self._close_now(reason)
            self._closed.set_result(None)

    def crash(self) -> None:
        """Vanish without a word, as a killed process does; for tests and simulations.

        The links here end at once; the peers notice after their idle timeout.
        """
        self._is_closing = True
        self._release()
        for connection in list(self._connections):
            connection.end(CloseReason(CloseCode.UNEXPECTED_CLOSE, "crashed"))
        self._closed = self._closed or self._loop.create_future()
        if not self._closed.done():
            self._closed.set_result(None)

    # What connections ask of their owner.

    def on_identified(self, connection: Connection) -> None:
        """Let nobody but the peer that was dialled have a proof."""
        peer = connection.peer
        assert peer is not None, "a peer is identified by its handshake"
        if (remote := connection.remote) is not None:
            self._budget.receive_proof(remote, peer.peer_id)
        if reason := self._objection(connection, peer):
            self._log_once(f"identity {peer.peer_id}", "refused a connection: %s", reason.text)
            connection.close(reason)

    def on_refused(self, connection: Connection, error: RemoteError) -> None:
        """Count and log a peer that is not of our network."""
        if error.close_code == CloseCode.PROTOCOL_VIOLATION:
            self.counters.violations += 1
            why = error.text
        else:
            why = "it does not know this network, or has another secret"
        peer = connection.peer_id
        kind = f"refused {peer} {error.close_code}"
        self._log_once(kind, "refused a connection with peer %s: %s", peer.short, why)

    def on_ready(self, connection: Connection) -> None:
        """Take in a connection whose two sides have proven that they are of our network."""
        self._slots.receive_ready(connection)
        peer = connection.peer
        assert peer is not None, "a connection is ready only with a proven peer"
        remote = connection.remote
        for mate in list(self._by_peer.get(peer.peer_id, ())):
            if mate.peer is not None and mate.peer.instance != peer.instance:
                mate.close(RESTARTED)
            elif not connection.is_initiator and self._is_settled(mate):
                mate.close(GIVEN_UP)  # the peer dialled anew, so it has lost this one
        connection.ready_at = self._clock.monotonic()
        mates = self._by_peer.setdefault(peer.peer_id, [])
        mates.append(connection)
        self._settle(mates)
        retiring = [mate for mate in mates if mate.is_retiring]
        for mate in retiring[: max(0, len(mates) - CONNECTIONS_PER_PEER_MAX)]:
            mate.close(NOT_NEEDED)
        self.counters.connections_opened += 1
        self._start_path_search(connection)
        if len(mates) == 1:
            addr = PeerAddr(peer.peer_id, (remote,) if remote else ())
            self._notify(PeerConnected(peer.peer_id, addr))
        if connection.handshake_done is not None and not connection.handshake_done.done():
            connection.handshake_done.set_result(connection)

    def on_ended(self, connection: Connection, reason: CloseReason) -> None:
        """Forget a connection."""
        for cid in connection.cids:
            self._by_cid.pop(cid, None)
        self._connections.pop(connection, None)
        self._slots.forget(connection)
        self._paths.pop(connection, None)
        if armed := self._timers.pop(connection, None):
            armed[1].cancel()
        mates = [] if connection.peer is None else self._by_peer.get(connection.peer_id, [])
        if connection not in mates:
            self.counters.handshakes_failed += 1
            return
        mates.remove(connection)
        if mates:
            self._settle(mates)
        else:
            del self._by_peer[connection.peer_id]
            self._notify(PeerDisconnected(connection.peer_id, reason))

    def on_cid(self, connection: Connection, cid: bytes, is_live: bool) -> None:
        """Route datagrams for `cid` to a connection, or not any more."""
        if is_live:
            self._by_cid[cid] = connection
        else:
            self._by_cid.pop(cid, None)

    def on_link(self, link: QuicLink, opening: OpenFrame) -> None:
        """Answer a link that a peer opened: hand it to its protocol's acceptor, or say no."""
        acceptor = self._acceptors.get(opening.protocol)
        if self._is_closing:
            link.close(CLOSING)
        elif acceptor is None:
            text = f"nothing serves {opening.protocol[:64]!r} here"
            self._refuse(link, CloseReason(CloseCode.INVALID_PROTOCOL, text))
        elif reason := why_too_many(
            link.connection.peer_link_count - 1,
            self.config.links_max,
            is_essential=opening.protocol in self._essential,
        ):
            self._refuse(link, reason)
        else:
            self.counters.links_accepted += 1
            acceptor(link)

    def on_violation(self, connection: Connection, error: RemoteError) -> None:
        """Count a broken rule."""
        self.counters.violations += 1
        peer = connection.peer_id.short
        self._log_once(f"violation {peer}", "peer %s broke a rule: %s", peer, error)

    def on_used(self, connection: Connection) -> None:
        """Let a connection be."""
        self._slots.receive_used(connection)

    def on_unused(self, connection: Connection) -> None:
        """Let a connection end for a newcomer, if need be."""
        self._slots.receive_unused(connection)

    def mark_dirty(self, connection: Connection) -> None:
        """Flush a connection with this loop turn."""
        self._dirty[connection] = None
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            self._loop.call_soon(self._flush, context=self._context)

    # Datagrams in.

    def _read(self, port: DatagramPort) -> None:
        """Take in what a port holds. Where datagrams come one by one, look for more later."""
        if self._alone_count < ALONE_MIN:
            count = self._take_in(port, READS_PER_TURN)
            self._alone_count = self._alone_count + 1 if count == 1 else 0
        else:
            self._take_in(port, 1)
            # Behind the flush, and so behind the answer: not to delay it is a good part
            # of a round trip.
            self._loop.call_soon(self._read_rest, port, context=self._context)

    def _read_rest(self, port: DatagramPort) -> None:
        """Look whether more came with the datagram that was taken in before."""
        if not self._is_released and self._take_in(port, READS_PER_TURN):
            self._alone_count = 0

    def _take_in(self, port: DatagramPort, count_max: int) -> int:
        """Take in datagrams, then let each connection react once; return how many there were."""
        now = self._clock.monotonic()
        touched: dict[Connection, None] = {}
        counters = self.counters
        count = 0
        while count < count_max:
            try:
                datagram = port.read()
            except OSError as exc:
                self._log_once(f"read {exc.errno}", "reading a UDP socket failed: %s", exc)
                break
            if datagram is None:
                break
            data, remote = datagram
            count += 1
            counters.datagrams_received += 1
            counters.bytes_received += len(data)
            connection = self._receive(data, remote, port, now)
            if connection is not None:
                touched[connection] = None
        for connection in touched:
            self._process(connection)
        for connection in touched:  # after all: who waited for any of this goes before the flush
            if connection.state is not ConnectionState.CLOSED:
                self.mark_dirty(connection)
        if self._is_closing:
            self._check_drained()
        return count

    def _process(self, connection: Connection) -> None:
        """Let a connection react; whatever goes wrong in that is its own end only."""
        try:
            connection.process()
        except Exception:
            logger.exception("a connection failed and is closed; the others go on")
            connection.close(CloseReason(CloseCode.UNEXPECTED_CLOSE, "an internal error"))

    def _receive(
        self, data: bytes, remote: SocketAddr, port: DatagramPort, now: float
    ) -> Connection | None:
        """Feed a datagram to its connection and return that, None when it has none."""
        if data and not data[0] & 0x40:
            self._receive_other(data, remote, port, now)
            return None
        # A short header, the common case: its connection id follows the first byte.
        connection = self._by_cid.get(data[1:9]) if data and not data[0] & 0x80 else None
        if connection is None:
            connection = self._route(data, remote, port, now)
            if connection is None:
                return None
        connection.receive_datagram(data, remote, now=now)
        return connection

    def _route(
        self, data: bytes, remote: SocketAddr, port: DatagramPort, now: float
    ) -> Connection | None:
        """Return the connection of a datagram with a long header, or open one for it."""
        head = self._factory.read_head(data)
        if head is None:
            self.counters.datagrams_refused += 1
            return None
        if connection := self._by_cid.get(head.cid):
            return connection
        if not head.is_known_version:
            self.counters.datagrams_refused += 1
            if len(data) >= DATAGRAM_BYTES_MIN:
                self._send(port, self._factory.version_packet(head), remote)
            return None
        if not head.opens_connection or self._is_closing:
            self.counters.datagrams_refused += 1
            self._hint_at_loss(data, remote, port, now)
            return None
        is_full = self._slots.is_full(len(self._connections), remote)
        if is_full and not self._slots.has_evictable(remote):
            self.counters.connections_refused += 1
            self._log_once("connections", "refusing connections: %d stand", len(self._connections))
            return None
        checked = head
        if head.token:
            verified = self._factory.check_token(head, remote, now=now)
            if verified is None:
                self.counters.datagrams_refused += 1
                return None
            checked = verified
        elif is_full or self._slots.half_open_count > self.config.half_open_max:
            self._send(port, self._factory.retry_packet(head, remote, now=now), remote)
            return None
        if is_full:
            self._evict(remote)
        engine = self._factory.accept(checked)
        connection = self._add(engine, port, is_initiator=False)
        connection.cids[head.cid] = None
        self._by_cid[head.cid] = connection
        self._slots.receive_handshake(connection, remote)
        return connection

    def _evict(self, remote: SocketAddr) -> None:
        """Make room for a newcomer whose address is real."""
        victim = self._slots.evictable(remote)
        if victim.state is ConnectionState.READY:
            self.counters.connections_evicted += 1
            text = "connections without links end for newcomers: %d stand"
            self._log_once("evicted connections", text, len(self._connections))
        else:
            self.counters.handshakes_evicted += 1
            text = "unfinished handshakes are given up for newcomers: there are %d"
            self._log_once("evicted handshakes", text, self._slots.half_open_count)
        victim.close(NOT_NEEDED)

    def _receive_other(
        self, data: bytes, remote: SocketAddr, port: DatagramPort, now: float
    ) -> None:
        """Answer a path probe of a connected peer, or take in the answer to ours."""
        answer = answer_probe(data)
        lost_cid = decode_hint(data)
        if lost_cid is not None:
            for connection in self._connections:
                if connection.remote == remote and connection.engine.peer_cid == lost_cid:
                    self._dial_anew(connection, remote)
                    return
        elif answer is not None:
            # Only to peers, so that nobody is made to answer in somebody else's name.
            if any(connection.remote == remote for connection in self._connections):
                self._send(port, answer, remote)
                return
        else:
            for connection, path in self._paths.items():
                if connection.remote == remote and path.receive_datagram(data, now=now):
                    connection.engine.set_datagram_bytes(path.mtu.current_bytes)
                    self._arm(connection)
                    return
        self.counters.datagrams_refused += 1

    def _hint_at_loss(
        self, data: bytes, remote: SocketAddr, port: DatagramPort, now: float
    ) -> None:
        """Tell a former friend, seldom enough, that its connection means nothing here."""
        hint = encode_hint(data)
        if hint is not None and not self._is_closing and now >= self._next_hint_at:
            self._next_hint_at = now + HINT_INTERVAL_S
            self._send(port, hint, remote)

    def _dial_anew(self, connection: Connection, remote: SocketAddr) -> None:
        """Find out whether a peer restarted, by dialling it beside a connection that looks lost."""
        if connection.state is ConnectionState.READY and not connection.is_doubted:
            connection.is_doubted = True
            self._dialer.start(PeerAddr(connection.peer_id, (remote,)))

    # Datagrams out.

    def _flush(self) -> None:
        self._is_flush_scheduled = False
        dirty, self._dirty = self._dirty, {}
        if self._is_released:
            return
        now = self._clock.monotonic()
        for connection in dirty:
            connection.flush(now=now)
            if connection.state is not ConnectionState.CLOSED:
                self._arm(connection)

    def _send(self, port: DatagramPort, data: bytes, remote: Any) -> None:
        """Send one datagram. What the kernel does not take is lost, as on any network."""
        try:
            port.send(data, remote)
        except OSError as exc:
            self.counters.datagrams_unsent += 1
            if exc.errno == errno.EMSGSIZE and len(data) > BASE:
                self._shrink(remote)
            elif exc.errno not in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS):
                self._log_once(f"send {exc.errno}", "sending to %s failed: %s", remote, exc)
            return
        self.counters.datagrams_sent += 1
        self.counters.bytes_sent += len(data)

    def _shrink(self, remote: Any) -> None:
        for connection, path in self._paths.items():
            if connection.remote == (remote[0], remote[1]):
                path.mtu.receive_black_hole(now=self._clock.monotonic())
                connection.engine.set_datagram_bytes(path.mtu.current_bytes)

    # Timers.

    def _arm(self, connection: Connection) -> None:
        """Wake up when a connection's timer is due; an earlier wake-up is kept as it is."""
        due = connection.engine.get_timer()
        if (path := self._paths.get(connection)) and (probe_at := path.mtu.get_timer()) is not None:
            due = probe_at if due is None else min(due, probe_at)
        if due is None:
            return
        # A timer that is due at this very moment was just handled: time has to go on
        # for the engine to see it as past, by rounding if by nothing else.
        due = max(due, self._clock.monotonic() + TIMER_STEP_S)
        armed = self._timers.get(connection)
        if armed is not None:
            if armed[0] <= due:
                return
            armed[1].cancel()
        timer = self._loop.call_at(due, self._on_timer, connection, context=self._context)
        self._timers[connection] = (due, timer)

    def _on_timer(self, connection: Connection) -> None:
        self._timers.pop(connection, None)
        now = self._clock.monotonic()
        due = connection.engine.get_timer()
        if path := self._paths.get(connection):
            self._search_path(connection, path, now)
        if due is not None and due <= now:
            connection.handle_timer(now=now)
            self._process(connection)
        if connection.state is not ConnectionState.CLOSED:
            connection.flush(now=now)
            self._arm(connection)
        if self._is_closing:
            self._check_drained()

    @property
    def _tick_interval(self) -> float:
        return self.config.keep_alive_interval / 2

    def _tick(self) -> None:
        """Keep connections alive, and end those that are not needed any more."""
        self._tick_handle = self._loop.call_later(self._tick_interval, self._tick)
        now = self._clock.monotonic()
        for connection in list(self._connections):
            if self._is_idle(connection, now):
                connection.close(NOT_NEEDED)
            elif self._is_unproven_for_long(connection, now):
                connection.close(UNPROVEN)
            elif connection.state is ConnectionState.READY and connection.keep_alive(now=now):
                self.mark_dirty(connection)
            connection.drop_lingering(now=now)

    def _is_unproven_for_long(self, connection: Connection, now: float) -> bool:
        """Return whether a peer said who it is, and in the time of a dial no more."""
        is_unproven = connection.state is ConnectionState.PROVING
        return is_unproven and now - connection.identified_at > self.config.dial_timeout

    def _is_idle(self, connection: Connection, now: float) -> bool:
        """Return whether a connection has been without links for so long that it may end."""
        if connection.state is not ConnectionState.READY or connection.link_count:
            return False
        if connection.is_retiring and connection.is_initiator:
            return True  # both sides use another one
        # A peer's pings alone do not hold a connection.
        idle_since = max(connection.ready_at, connection.linkless_since)
        return now - idle_since > 2 * self.config.idle_timeout

    # Connections.

    def _add(self, engine: Engine, port: DatagramPort, *, is_initiator: bool) -> Connection:
        connection = Connection(
            self, engine, self.config, partial(self._send, port), is_initiator=is_initiator
        )
        self._connections[connection] = None
        self._by_cid[engine.host_cid] = connection
        return connection

    def _usable(self, peer_id: PeerId) -> Connection | None:
        """Return the connection to use for new links to a peer."""
        for connection in self._by_peer.get(peer_id, ()):
            if not connection.is_retiring:
                return connection
        return None

    def _settle(self, mates: list[Connection]) -> None:
        """Choose one connection of several to the same peer, the same one on both sides.

        Of several that the same side dialled the newest is chosen: nobody dials
        a peer again while the former connection still works.
        """
        is_smaller = self._peer_id < mates[0].peer_id
        preferred = [mate for mate in mates if mate.is_initiator == is_smaller]
        chosen = (preferred or mates)[-1]
        for mate in mates:
            mate.is_retiring = mate is not chosen

    def _objection(self, connection: Connection, peer: ProvenPeer) -> CloseReason | None:
        """Return why a proven peer is not the one wanted, None when it is."""
        if peer.peer_id == self._peer_id:
            return CloseReason(CloseCode.UNKNOWN_PEER, "that is this peer itself")
        expected = connection.expected_id
        if expected is not None and peer.peer_id != expected:
            text = f"peer {peer.peer_id.short} answered where {expected.short} was dialled"
            return CloseReason(CloseCode.UNKNOWN_PEER, text)
        return None

    def _is_settled(self, connection: Connection) -> bool:
        """Return whether a connection is too old to be one of two simultaneous dials."""
        age_s = self._clock.monotonic() - connection.ready_at
        return age_s > self.config.dial_timeout

    async def _connect(self, to: PeerAddr) -> Connection:
        """Return a usable connection to a peer, dialling it if there is none."""
        if self._is_closing:
            raise LinkRefused(CLOSING)
        return self._usable(to.peer_id) or await self._dialer.dial(to)

    async def _open_on(
        self, connection: Connection, opening: OpenFrame, is_essential: bool
    ) -> Link:
        if connection.state is not ConnectionState.READY:
            raise LinkRefused(NOT_NEEDED)  # it ended between its dial and now
        if reason := why_too_many(
            connection.own_link_count, self.config.links_max, is_essential=is_essential
        ):
            self.counters.links_refused += 1
            raise LinkRefused(reason)
        opened: asyncio.Future[Link] = self._loop.create_future()
        link = connection.open_link(opening, opened)
        try:
            accepted = await opened
        except asyncio.CancelledError:
            link.close(CloseReason(CloseCode.CANCELLED))
            raise
        except LinkRefused:
            self.counters.links_refused += 1
            raise
        self.counters.links_opened += 1
        return accepted

    def _refuse(self, link: QuicLink, reason: CloseReason) -> None:
        self.counters.links_refused += 1
        self._log_once(
            f"refused {link.peer_id} {reason.code}",
            "refused a link of peer %s: %s",
            link.peer_id.short,
            reason.text or reason.name,
        )
        link.close(reason)

    def _can_dial(self, addr: SocketAddr) -> bool:
        port = self._ports.get(family_of(addr[0]))
        if port is None:
            return False
        return is_loopback(addr[0]) or not all(is_loopback(host) for host, _ in port.addrs)

    def _start_dial(
        self, peer_id: PeerId, addr: SocketAddr, datagrams_max: int | None
    ) -> Connection:
        port = self._ports[family_of(addr[0])]
        now = self._clock.monotonic()
        engine = self._factory.dial(addr, now=now)
        connection = self._add(engine, port, is_initiator=True)
        connection.expected_id = peer_id
        connection.unheard_max = datagrams_max
        connection.handshake_done = self._loop.create_future()
        self.mark_dirty(connection)
        return connection

    # The path to a peer.

    def _start_path_search(self, connection: Connection) -> None:
        remote = connection.remote
        limit = self.config.datagram_bytes_max
        if remote is None:
            return
        if is_loopback(remote[0]) and self.config.datagram_bytes_loopback > BASE:
            # No handshake is larger than `BASE`: nobody may have been there.
            connection.engine.set_first_datagram_bytes(self.config.datagram_bytes_loopback)
            return
        if limit <= BASE:
            return
        if family_of(remote[0]) == socket.AF_INET6:
            limit = max(BASE, limit - 20)  # an IPv6 header is 20 bytes longer
        mtu = PathMtu(limit, now=self._clock.monotonic())
        self._paths[connection] = PathProber(mtu, self._rng.randbytes(TOKEN_BYTES))

    def _search_path(self, connection: Connection, path: PathProber, now: float) -> None:
        if connection.engine.probe_count >= BLACK_HOLE_PROBES:
            path.mtu.receive_black_hole(now=now)
            connection.engine.set_datagram_bytes(path.mtu.current_bytes)
        probe = path.mtu.handle_timer(now=now)
        if probe is not None and connection.remote is not None:
            port = self._ports[family_of(connection.remote[0])]
            self._send(port, path.encode_probe(probe), connection.remote)

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

    def _close_now(self, reason: CloseReason) -> None:
        for connection in list(self._connections):
            connection.close(reason)
        self._flush()
        self._release()

    def _release(self) -> None:
        """Give the sockets and timers back; nothing is sent or heard from now on."""
        self._tick_handle.cancel()
        for _, timer in self._timers.values():
            timer.cancel()
        self._dirty.clear()
        self._is_released = True
        for port in self._ports.values():
            port.close()

    def _notify(self, event: ConnectionEvent) -> None:
        for listener in self._listeners:
            listener(event)

    def _log_once(self, kind: str, text: str, *values: object) -> None:
        if kind not in self._logged and len(self._logged) < LOG_KINDS_MAX:
            self._logged.add(kind)
            logger.warning(text, *values)
