"""A connection whose bytes a connected socket carries, in order and whole."""

from __future__ import annotations

from collections.abc import Callable

from ...clock import Clock
from ..address import SocketAddr
from ..close import CloseReason
from ..config import TransportConfig
from ..connection.connection import Connection, ConnectionState
from ..connection.owner import ConnectionOwner
from .engine import StreamEngine
from .port import StreamPort

REPLACED_PROBES = 2

MakePort = Callable[[Callable[[float], None], Callable[[], None]], StreamPort]


class StreamConnection(Connection):
    """One connection over a byte stream.

    Args:
        owner: The endpoint.
        carrier: What carries it, such as ``unix``.
        engine: The connection without its socket.
        config: The transport's settings.
        make_port: Returns what moves the engine's bytes. It calls the first of what it is
            given, with the time, whenever the engine has taken in something, the second
            whenever a socket that was full has room again.
        clock: Where `now` comes from.
        on_reacted: Called, while its owner closes, when the connection has reacted to what its
            socket brought, or took.
        is_initiator: Whether this side dialled.
    """

    is_timer_early = True

    def __init__(
        self,
        owner: ConnectionOwner[Connection],
        carrier: str,
        engine: StreamEngine,
        config: TransportConfig,
        make_port: MakePort,
        clock: Clock,
        on_reacted: Callable[[], None],
        *,
        is_initiator: bool,
    ) -> None:
        super().__init__(owner, engine, config, is_initiator=is_initiator)
        self.carrier = carrier
        self._stream_engine = engine
        self._clock = clock
        self._on_reacted = on_reacted
        self._is_reading = False
        self._after_read: list[Callable[[], None]] = []
        self.begun_at = self.last_heard_at = clock.monotonic()
        self.port = make_port(self._on_data, self._on_room)

    @property
    def reachable_at(self) -> SocketAddr | None:
        """Where the peer can be dialled: the port that it dialled from takes no connections."""
        return self.remote if self.is_initiator else None

    def keep_alive(self, *, now: float) -> bool:
        """Ping the peer if links need the connection and nothing was heard.

        Nothing acknowledges what is sent here, so that it does not count as a sign of life.
        One that the peer has replaced may lead nowhere any more: it is pinged each time.
        """
        silent_s = now - self.last_heard_at
        if self._links and (self.is_retiring or silent_s >= self.config.keep_alive_interval):
            self.engine.ping(now=now)
            return True
        return False

    def is_dead(self, *, now: float) -> bool:
        """Return whether the peer has another connection, and does not answer on this one."""
        is_silent = now - self.last_heard_at >= self.config.keep_alive_interval
        return self.is_retiring and is_silent and self.engine.probe_count >= REPLACED_PROBES

    def end(self, reason: CloseReason) -> None:
        """Note that the connection is over; what was said last is still sent."""
        was_over = self.is_over
        is_unknown = self.state is ConnectionState.HANDSHAKE
        super().end(reason)
        if is_unknown and not self._stream_engine.has_failed:
            self.port.close()  # there is nothing to be said, and strangers are to hold no files
        elif not was_over:
            self.port.finish()

    def send_now(self, stream_id: int, data: bytes) -> bool:
        """Send bytes of a stream now unless others leave with this turn of the loop anyway."""
        if self._dirty or self._is_collecting or self._before_flush:
            return False
        part = self._stream_engine.send_alone(stream_id, data)
        if part is None:
            return False
        self.port.send(part)
        return True

    def after_read(self, call: Callable[[], None]) -> bool:
        """Call this when all that was read is taken in; return whether something is being read."""
        if self._is_reading:
            self._after_read.append(call)
        return self._is_reading

    def _transmit(self, *, now: float) -> bool:
        return self.port.flush()

    def _on_data(self, now: float) -> None:
        self.last_heard_at = now
        self._is_reading = True
        self.process()
        self._is_reading = False
        if self.owner.is_closing:
            self._on_reacted()
        engine = self._stream_engine
        if (not self._after_read or engine.control or engine.ready) and not self.is_over:
            # What no link wrote leaves, and what the actors answer that are next in this turn.
            self.owner.mark_dirty(self)
        calls, self._after_read = self._after_read, []
        for call in calls:
            call()

    def _on_room(self) -> None:
        # Not a sign of life: the kernel took what was sent, the peer need not have.
        self.process()
        if self.owner.is_closing:
            self._on_reacted()
