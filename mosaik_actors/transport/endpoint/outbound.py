"""What leaves an endpoint: the flush of each loop turn, the timers, and the paths.

One pass through the event loop costs one flush per connection. The timer of a
connection is armed after each flush; an earlier wake-up is kept as it is.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from random import Random
from typing import Any, Final

from ...clock import Clock
from ...peer_log import PeerLog
from ..address import SocketAddr, is_loopback, is_relayed
from ..config import TransportConfig
from ..connection.connection import Connection, ConnectionState, close_failed
from ..counters import TransportCounters
from ..quic.connection import QuicConnection
from ..quic.path_mtu import BASE, TOKEN_BYTES, PathMtu, PathProber
from ..relay.frames import DATAGRAM_BYTES_MAX as RELAYED_BYTES
from ..sockets import DatagramPort, batch_sender, family_of

logger = logging.getLogger(__name__)

TIMER_STEP_S: Final = 1e-6
PINGS_S: Final = (0.1, 0.1, 0.15, 0.2, 0.25)
BLACK_HOLE_PROBES: Final = 3


class Outbound:
    """Sends what connections have to send, when they have to.

    Args:
        ports: What datagrams leave by, one for each address family.
        config: The transport's settings.
        counters: What is counted.
        clock: Where `now` comes from.
        rng: Where the tokens of path probes are drawn from.
        log: What peers make the endpoint say.
        after_timer: Called after each timer of a connection.
    """

    def __init__(
        self,
        ports: dict[int, DatagramPort],
        config: TransportConfig,
        counters: TransportCounters,
        clock: Clock,
        rng: Random,
        log: PeerLog,
        after_timer: Callable[[], None],
    ) -> None:
        self.ports = ports
        self._config = config
        self._counters = counters
        self._clock = clock
        self._rng = rng
        self._log = log
        self._after_timer = after_timer
        self._loop = asyncio.get_running_loop()
        # What was set off by a call from outside is the endpoint's own all the same.
        self._context = copy_context()
        self._dirty: dict[Connection, None] = {}
        self._is_flush_scheduled = False
        # With when it goes off, which not every loop's handles tell.
        self._timers: dict[Connection, tuple[float, asyncio.TimerHandle]] = {}
        self._paths: dict[QuicConnection, PathProber] = {}
        self._is_released = False

    def mark_dirty(self, connection: Connection) -> None:
        """Flush a connection with this loop turn."""
        self._dirty[connection] = None
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            self._loop.call_soon(self.flush, context=self._context)

    def flush(self) -> None:
        """Send what may leave now."""
        self._is_flush_scheduled = False
        dirty, self._dirty = self._dirty, {}
        if self._is_released:
            return
        now = self._clock.monotonic()
        for connection in dirty:
            try:
                connection.flush(now=now)
                if connection.state is not ConnectionState.CLOSED:
                    self.arm(connection)
            except Exception:  # or those behind it would have to wait
                close_failed(connection)

    def send_many(self, port: DatagramPort, datagrams: list[tuple[bytes, Any]]) -> None:
        """Send datagrams, each with where it goes, at once where the port can."""
        remote = datagrams[0][1]
        batch = [data for data, _ in datagrams]
        is_one_way = len(batch) > 1 and all(there == remote for _, there in datagrams)
        send_batch = batch_sender(port) if is_one_way else None
        if send_batch is None:
            for data, there in datagrams:
                self.send(port, data, there)
            return
        try:
            sent = send_batch(batch, remote)
        except OSError as exc:
            self._note_unsent(exc, max(map(len, batch)), remote, len(batch))
            return
        self._counters.datagrams_unsent += len(batch) - sent
        self._counters.datagrams_sent += sent
        self._counters.bytes_sent += sum(map(len, batch[:sent]))

    def send(self, port: DatagramPort, data: bytes, remote: Any) -> None:
        """Send one datagram. What the kernel does not take is lost, as on any network."""
        try:
            port.send(data, remote)
        except OSError as exc:
            self._note_unsent(exc, len(data), remote, 1)
            return
        self._counters.datagrams_sent += 1
        self._counters.bytes_sent += len(data)

    def _note_unsent(self, exc: OSError, size: int, remote: Any, count: int) -> None:
        self._counters.datagrams_unsent += count
        if exc.errno == errno.EMSGSIZE and size > BASE:
            self._shrink(remote)
        elif exc.errno not in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS):
            now = self._clock.monotonic()
            text = "sending to %s failed: %s"
            self._log.warning(logger, None, text, remote, exc, now=now, about=exc.errno)

    def forget(self, connection: Connection) -> None:
        """Drop the timer and the path of a connection that ended."""
        if isinstance(connection, QuicConnection):
            self._paths.pop(connection, None)
        if armed := self._timers.pop(connection, None):
            armed[1].cancel()

    def release(self) -> None:
        """Send nothing from now on."""
        for _, timer in self._timers.values():
            timer.cancel()
        self._dirty.clear()
        self._is_released = True

    def ping_for_a_while(self, connection: Connection) -> None:
        """Ping the peer until it is heard, and once more: datagrams go another way by now.

        An answer shows what was lost on the former way, long before a timeout does. It may go
        the former way itself, until the peer, too, has changed.
        """
        self._ping(connection, self._clock.monotonic(), PINGS_S)

    def _ping(self, connection: Connection, since: float, pauses_s: tuple[float, ...]) -> None:
        if connection.state is ConnectionState.CLOSED:
            return
        connection.engine.ping(now=self._clock.monotonic())
        self.mark_dirty(connection)
        if pauses_s and connection.last_heard_at <= since:
            again = partial(self._ping, connection, since, pauses_s[1:])
            self._loop.call_later(pauses_s[0], again, context=self._context)

    # Timers.

    def arm(self, connection: Connection) -> None:
        """Wake up when a connection's timer is due; an earlier wake-up is kept as it is."""
        armed = self._timers.get(connection)
        if armed is not None and connection.is_timer_early:
            return
        due = connection.engine.get_timer()
        path = self._paths.get(connection) if isinstance(connection, QuicConnection) else None
        if path is not None and (probe_at := path.mtu.get_timer()) is not None:
            due = probe_at if due is None else min(due, probe_at)
        if due is None:
            return
        # A timer that is due at this very moment was just handled: time has to go on
        # for the engine to see it as past, by rounding if by nothing else.
        due = max(due, self._clock.monotonic() + TIMER_STEP_S)
        if armed is not None:
            if armed[0] <= due:
                return
            armed[1].cancel()
        timer = self._loop.call_at(due, self._on_timer, connection, context=self._context)
        self._timers[connection] = (due, timer)

    def _on_timer(self, connection: Connection) -> None:
        self._timers.pop(connection, None)
        now = self._clock.monotonic()
        try:
            due = connection.engine.get_timer()
            if isinstance(connection, QuicConnection) and (path := self._paths.get(connection)):
                self._search_path(connection, path, now)
            if due is not None and due <= now:
                connection.engine.handle_timer(now=now)
                connection.process()
            if connection.state is not ConnectionState.CLOSED:
                connection.flush(now=now)
                self.arm(connection)
        except Exception:  # or it would have no timer any more
            close_failed(connection)
        self._after_timer()

    # The path to a peer.

    def start_path_search(self, connection: Connection) -> None:
        """Look for larger datagrams, now that both ends are known to be there."""
        remote = connection.remote
        limit = self._config.datagram_bytes_max
        if remote is None or not isinstance(connection, QuicConnection):
            return
        if is_relayed(remote[0]):
            connection.quic.set_first_datagram_bytes(RELAYED_BYTES)
            return
        if is_loopback(remote[0]) and self._config.datagram_bytes_loopback > BASE:
            # No handshake is larger than `BASE`: nobody may have been there.
            connection.quic.set_first_datagram_bytes(self._config.datagram_bytes_loopback)
            return
        if limit <= BASE:
            return
        if family_of(remote[0]) == socket.AF_INET6:
            limit = max(BASE, limit - 20)  # an IPv6 header is 20 bytes longer
        mtu = PathMtu(limit, now=self._clock.monotonic())
        self._paths[connection] = PathProber(mtu, self._rng.randbytes(TOKEN_BYTES))

    def receive_path_answer(self, connection: QuicConnection, data: bytes, *, now: float) -> bool:
        """Take in the answer to a path probe of ours; return whether `data` is one."""
        path = self._paths.get(connection)
        if path is None or not path.receive_datagram(data, now=now):
            return False
        connection.quic.set_datagram_bytes(path.mtu.current_bytes)
        self.arm(connection)
        return True

    def _search_path(self, connection: QuicConnection, path: PathProber, now: float) -> None:
        if connection.engine.probe_count >= BLACK_HOLE_PROBES:
            path.mtu.receive_black_hole(now=now)
            connection.quic.set_datagram_bytes(path.mtu.current_bytes)
        probe = path.mtu.handle_timer(now=now)
        if probe is not None and connection.remote is not None:
            port = self.ports[family_of(connection.remote[0])]
            self.send(port, path.encode_probe(probe), connection.remote)

    def _shrink(self, remote: SocketAddr) -> None:
        for connection, path in self._paths.items():
            if connection.remote == (remote[0], remote[1]):
                path.mtu.receive_black_hole(now=self._clock.monotonic())
                connection.quic.set_datagram_bytes(path.mtu.current_bytes)
