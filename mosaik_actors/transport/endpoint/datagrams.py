"""Which connection a datagram is for, and what becomes of one that is for none.

One pass through the event loop costs one read of all that the sockets hold, and lets
each connection that got something react once.

What anybody can send costs the same however many connections there are, and nothing
stays of it: a connection begins only with a datagram that can be decrypted, within the
`HandshakeBudget` and the `Slots`, which say which connection ends for a newcomer when
there is no room.

Bad input never raises: it is counted in `TransportCounters`, and costs at most the
connection it came on.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ...clock import Clock
from ...peer_log import PeerLog
from ..address import SocketAddr
from ..config import DATAGRAM_BYTES_MIN, TransportConfig
from ..connection.connection import Connection, ConnectionState
from ..connection.owner import ConnectionOwner
from ..counters import TransportCounters
from ..engine_face import QuicEngine
from ..quic.connection import QuicConnection
from ..quic.path_mtu import answer_probe
from ..sockets import DatagramPort
from .dialer import NOT_NEEDED
from .handshake_budget import HandshakeBudget
from .lost import decode_hint, encode_hint
from .outbound import Outbound
from .slots import Slots

if TYPE_CHECKING:
    from ..paths.driver import DirectPaths
    from ..quic.engine import DatagramHead, EngineFactory

logger = logging.getLogger(__name__)

READS_PER_TURN: Final = 64
ALONE_MIN: Final = 8  # datagrams in a row without company: the next one comes alone as well
HINT_INTERVAL_S: Final = 0.02
FILES_SHARE: Final = 4  # unfinished handshakes hold one of so many files at most


def _within_files(config: TransportConfig) -> TransportConfig:
    """Return settings with no more handshakes than strangers may hold files."""
    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    has_files = config.carries("tcp") or config.carries("unix")
    if not has_files or files_max == resource.RLIM_INFINITY:
        return config
    count = max(1, min(config.handshakes_max, files_max // FILES_SHARE))
    return replace(config, handshakes_max=count)


class Demultiplexer:
    """Feeds datagrams to connections, and begins those that peers open.

    Args:
        owner: Whose connections they are.
        factory: Returns what makes connections, and reads the heads of datagrams.
        outbound: What answers leave by.
        config: The transport's settings.
        counters: What is counted.
        clock: Where `now` comes from.
        log: What peers make the endpoint say.
        on_lost: Called with a connection that its peer may have lost.
        after_read: Called after each batch of datagrams.

    Attributes:
        connections: Those that stand or are being made.
        slots: Which of them may end for others.
        is_closing: Whether nothing begins any more.
        direct: What leads past relays, where there are any.
        reflect: Answers who asks where it is seen, where this is a relay.
    """

    def __init__(
        self,
        owner: ConnectionOwner[Connection],
        factory: Callable[[], EngineFactory],
        outbound: Outbound,
        config: TransportConfig,
        counters: TransportCounters,
        clock: Clock,
        log: PeerLog,
        *,
        on_lost: Callable[[Connection, SocketAddr], None],
        after_read: Callable[[], None],
    ) -> None:
        self.connections: dict[Connection, None] = {}
        self.slots: Slots[Connection] = Slots(_within_files(config))
        self.is_closing = False
        self.direct: DirectPaths | None = None
        self.reflect: Callable[[bytes, SocketAddr, float], bytes | None] | None = None
        self._owner = owner
        self._factory = factory
        self._outbound = outbound
        self._config = config
        self._counters = counters
        self._clock = clock
        self._log = log
        self._on_lost = on_lost
        self._after_read = after_read
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._budget = HandshakeBudget(config)
        self._charged: dict[Connection, str] = {}  # the host of each that has a place there
        self._by_cid: dict[bytes, QuicConnection] = {}
        # By where their datagrams go, with which of them is listed where.
        self._by_remote: dict[SocketAddr, dict[QuicConnection, None]] = {}
        self._remotes: dict[QuicConnection, SocketAddr] = {}
        self._next_hint_at = 0.0
        self._alone_count = 0
        self._is_released = False

    def add(
        self, engine: QuicEngine, port: DatagramPort, remote: SocketAddr, *, is_initiator: bool
    ) -> QuicConnection:
        """Return the connection of an engine, its datagrams from `remote` being its own."""
        send = partial(self._outbound.send_many, port)
        connection = QuicConnection(
            self._owner, engine, self._config, send, port.family, is_initiator=is_initiator
        )
        connection.begun_at = self._clock.monotonic()
        self.connections[connection] = None
        self._by_cid[engine.host_cid] = connection
        self._list(connection, remote)
        return connection

    def forget(self, connection: Connection) -> None:
        """Drop a connection that ended."""
        for cid in connection.cids:
            self._by_cid.pop(cid, None)
        self.connections.pop(connection, None)
        self.slots.forget(connection)
        self._charged.pop(connection, None)
        if isinstance(connection, QuicConnection):
            self._unlist(connection)

    def admit(self, remote: SocketAddr | None) -> bool:
        """Return whether a newcomer whose address is real may begin a handshake.

        One that may ends another connection where that is needed. None stands for a process of
        this user on this machine, which needs no place among strangers.
        """
        now = self._clock.monotonic()
        is_full = self.slots.is_full(len(self.connections), remote)
        if self.is_closing or (is_full and not self.slots.has_evictable(remote)):
            self._refuse_newcomer(now)
            return False
        if remote is not None and not self._take_place(remote, now):
            return False
        if is_full:
            self._evict(remote, now)
        return True

    def receive_handshake(self, connection: Connection, remote: SocketAddr | None) -> None:
        """Take in that a newcomer that was admitted has begun."""
        if remote is not None:
            self._charged[connection] = remote[0]
        self.slots.receive_handshake(connection, remote)

    def receive_ready(self, connection: Connection) -> None:
        """Take in that a connection's peer is of the network."""
        self.slots.receive_ready(connection)
        if host := self._charged.pop(connection, None):
            self._budget.give_back(host, now=self._clock.monotonic())

    def set_cid(self, connection: Connection, cid: bytes, is_live: bool) -> None:
        """Route datagrams for `cid` to a connection, or not any more."""
        if is_live and isinstance(connection, QuicConnection):
            self._by_cid[cid] = connection
        else:
            self._by_cid.pop(cid, None)

    def follow(self, connection: Connection) -> None:
        """Look where the datagrams of a connection go by now."""
        if not isinstance(connection, QuicConnection):
            return
        remote = connection.remote
        is_elsewhere = remote is not None and remote != self._remotes.get(connection)
        if remote is not None and is_elsewhere and connection in self.connections:
            self._unlist(connection)
            self._list(connection, remote)

    def release(self) -> None:
        """Read nothing from now on."""
        self._is_released = True

    # Datagrams in.

    def read(self, port: DatagramPort) -> None:
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
        touched: dict[QuicConnection, None] = {}
        counters = self._counters
        count = 0
        # Some ports hand over at once what came from one place.
        read_batch: Any = getattr(port, "read_batch", None) if count_max > 1 else None
        while count < count_max:
            try:
                batch = read_batch() if read_batch is not None else None
                datagram = port.read() if read_batch is None else None
            except OSError as exc:
                text, about = "reading a UDP socket failed: %s", exc.errno
                self._log.warning(logger, None, text, exc, now=now, about=about)
                break
            if datagram is not None:
                data, remote = datagram
                count += 1
                counters.datagrams_received += 1
                counters.bytes_received += len(data)
                connection = self._receive(data, remote, port, now)
                if connection is not None:
                    touched[connection] = None
            elif batch is not None:
                count += len(batch[0])
                self._receive_batch(batch[0], batch[1], port, now, touched)
            else:
                break
        for connection in touched:
            connection.process()
        for connection in touched:  # after all: who waited for any of this goes before the flush
            if connection.state is not ConnectionState.CLOSED:
                self._outbound.mark_dirty(connection)
        self._after_read()
        return count

    def _receive_batch(
        self,
        datagrams: list[bytes],
        remote: SocketAddr,
        port: DatagramPort,
        now: float,
        touched: dict[QuicConnection, None],
    ) -> None:
        """Feed datagrams to their connections: at once where they are all for the same one."""
        self._counters.datagrams_received += len(datagrams)
        self._counters.bytes_received += sum(map(len, datagrams))
        cid = datagrams[0][1:9]
        connection = self._by_cid.get(cid)
        # Where only a short header has an id: what looks like one and is none, the engine drops.
        if connection is not None and [data[1:9] for data in datagrams].count(cid) == len(
            datagrams
        ):
            there = self._known_addr(connection, remote, port)
            if there is None:
                self._counters.datagrams_refused += len(datagrams)
            else:
                connection.receive_datagrams(datagrams, there, now=now)
                touched[connection] = None
            return
        for data in datagrams:
            if (found := self._receive(data, remote, port, now)) is not None:
                touched[found] = None

    def _receive(
        self, data: bytes, remote: SocketAddr, port: DatagramPort, now: float
    ) -> QuicConnection | None:
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
        there = self._known_addr(connection, remote, port)
        if there is None:
            self._counters.datagrams_refused += 1
            return None
        connection.receive_datagram(data, there, now=now)
        return connection

    def _known_addr(
        self, connection: QuicConnection, remote: SocketAddr, port: DatagramPort
    ) -> SocketAddr | None:
        """Return what a connection knows its peer by, None where nothing may come from.

        That is another address where a datagram came past the relay. Else nobody moves a
        connection to where its own datagrams could not follow.
        """
        if connection.family == port.family:
            return remote
        if self.direct is None or connection.state is not ConnectionState.READY:
            return None
        is_from_peer = self.direct.comes_from(connection.peer_id, remote)
        return connection.remote if is_from_peer else None

    def receive_move(self, remote: SocketAddr, datagram_bytes: int) -> None:
        """Take in that datagrams to an address go another way, which carries so many bytes."""
        for connection in self._by_remote.get(remote, ()):
            connection.quic.set_datagram_bytes(datagram_bytes)
            self._outbound.ping_for_a_while(connection)

    def _route(
        self, data: bytes, remote: SocketAddr, port: DatagramPort, now: float
    ) -> QuicConnection | None:
        """Return the connection of a datagram with a long header, or open one for it."""
        head = self._factory().read_head(data)
        if head is None:
            self._counters.datagrams_refused += 1
            return None
        if connection := self._by_cid.get(head.cid):
            return connection
        if not head.is_known_version:
            self._counters.datagrams_refused += 1
            if len(data) >= DATAGRAM_BYTES_MIN:
                self._outbound.send(port, self._factory().version_packet(head), remote)
            return None
        if not head.opens_connection or self.is_closing:
            self._counters.datagrams_refused += 1
            self._hint_at_loss(data, remote, port, now)
            return None
        return self._begin(head, data, remote, port, now)

    def _begin(
        self, head: DatagramHead, data: bytes, remote: SocketAddr, port: DatagramPort, now: float
    ) -> QuicConnection | None:
        """Return a new connection for a peer that opens one, None where it cannot have one now."""
        is_full = self.slots.is_full(len(self.connections), remote)
        if is_full and not self.slots.has_evictable(remote):
            self._refuse_newcomer(now)
            return None
        checked = self._factory().check_token(head, remote, now=now) if head.token else head
        if checked is None or not self._factory().can_decrypt(head, data):
            self._counters.datagrams_refused += 1
            return None
        is_real = checked is not head
        if not is_real and (
            is_full
            or self.slots.half_open_count > self._config.half_open_max
            or self._budget.is_strained(remote[0], now=now)
        ):
            packet = self._factory().retry_packet(head, remote, now=now)
            self._outbound.send(port, packet, remote)
            return None
        is_charged = not (is_real and self.slots.is_known(remote))
        if is_charged and not self._take_place(remote, now):
            return None
        if is_full:
            self._evict(remote, now)
        engine = self._factory().accept(checked, remote, now=now)
        connection = self.add(engine, port, remote, is_initiator=False)
        if is_charged:
            self._charged[connection] = remote[0]
        connection.cids[head.cid] = None
        self._by_cid[head.cid] = connection
        self.slots.receive_handshake(connection, remote)
        return connection

    def _refuse_newcomer(self, now: float) -> None:
        self._counters.connections_refused += 1
        text = "refusing connections: %d stand"
        self._log.warning(logger, None, text, len(self.connections), now=now)

    def _take_place(self, remote: SocketAddr, now: float) -> bool:
        """Take a place for a handshake; return whether there was one."""
        if self._budget.take(remote[0], now=now):
            return True
        self._counters.handshakes_deferred += 1
        text = "too many handshakes come to nothing: newcomers have to wait"
        self._log.warning(logger, None, text, now=now)
        return False

    def _evict(self, remote: SocketAddr | None, now: float) -> None:
        """Make room for a newcomer whose address is real."""
        victim = self.slots.evictable(remote)
        if victim.state is ConnectionState.READY:
            self._counters.connections_evicted += 1
            text = "connections without links end for newcomers: %d stand"
            self._log.warning(logger, None, text, len(self.connections), now=now)
        else:
            self._counters.handshakes_evicted += 1
            text = "unfinished handshakes are given up for newcomers: there are %d"
            self._log.warning(logger, None, text, self.slots.half_open_count, now=now)
        victim.close(NOT_NEEDED)

    def _receive_other(
        self, data: bytes, remote: SocketAddr, port: DatagramPort, now: float
    ) -> None:
        """Answer a path probe of a connected peer, or take in the answer to ours."""
        if self.direct is not None:
            if self.direct.receive_datagram(data, remote, port, now):
                return
        elif self.reflect is not None and (seen := self.reflect(data, remote, now)) is not None:
            self._outbound.send(port, seen, remote)
            return
        answer = answer_probe(data)
        lost_cid = decode_hint(data)
        there = self._by_remote.get(remote, ())
        if lost_cid is not None:
            if self.direct is not None and not there:
                remote = self.direct.relayed_addr_of(remote) or remote
            for connection in self._by_remote.get(remote, ()):
                if connection.quic.peer_cid == lost_cid:
                    self._on_lost(connection, remote)
                    return
        elif answer is not None:
            # Only to peers, so that nobody is made to answer in somebody else's name.
            if there:
                self._outbound.send(port, answer, remote)
                return
        elif any(self._outbound.receive_path_answer(one, data, now=now) for one in there):
            return
        self._counters.datagrams_refused += 1

    def _hint_at_loss(
        self, data: bytes, remote: SocketAddr, port: DatagramPort, now: float
    ) -> None:
        """Tell a peer of before, seldom enough, that its connection means nothing here."""
        hint = encode_hint(data)
        if hint is not None and not self.is_closing and now >= self._next_hint_at:
            self._next_hint_at = now + HINT_INTERVAL_S
            self._outbound.flush()  # a goodbye of this turn is there before
            self._outbound.send(port, hint, remote)

    def _list(self, connection: QuicConnection, remote: SocketAddr) -> None:
        self._remotes[connection] = remote
        self._by_remote.setdefault(remote, {})[connection] = None

    def _unlist(self, connection: QuicConnection) -> None:
        remote = self._remotes.pop(connection, None)
        if remote is None:
            return
        there = self._by_remote[remote]
        del there[connection]
        if not there:
            del self._by_remote[remote]
