"""A connection whose bytes a connected socket carries, in order and whole."""

from __future__ import annotations

import socket
from collections.abc import Callable

from ...clock import Clock
from ..close import CloseReason
from ..config import TransportConfig
from ..connection import Connection, ConnectionOwner
from .engine import StreamEngine
from .port import StreamPort


class StreamConnection(Connection):
    """One connection over a Unix socket.

    Args:
        owner: The endpoint.
        engine: The connection without its socket.
        config: The transport's settings.
        sock: The socket, connected.
        clock: Where `now` comes from.
        process: Has the connection react, and flushed.
        is_initiator: Whether this side dialled.
    """

    carrier = "unix"

    def __init__(
        self,
        owner: ConnectionOwner,
        engine: StreamEngine,
        config: TransportConfig,
        sock: socket.socket,
        clock: Clock,
        process: Callable[[Connection], None],
        *,
        is_initiator: bool,
    ) -> None:
        super().__init__(owner, engine, config, is_initiator=is_initiator)
        self._clock = clock
        self._process = process
        self.last_heard_at = clock.monotonic()
        self.port = StreamPort(sock, engine, self._on_data, self._react, clock)

    def end(self, reason: CloseReason) -> None:
        """Note that the connection is over; what was said last is still sent."""
        was_over = self.is_over
        super().end(reason)
        if not was_over:
            self.port.finish()

    def _transmit(self, *, now: float) -> bool:
        return self.port.flush()

    def _on_data(self) -> None:
        self.last_heard_at = self._clock.monotonic()
        self._react()

    def _react(self) -> None:
        # Not a sign of life: the kernel took what was sent, the peer need not have.
        self._process(self)
