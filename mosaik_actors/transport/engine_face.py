"""What a connection needs of the engine under it, whatever carries the bytes.

`quic.engine.Engine` speaks QUIC over datagrams, `byte_streams.engine.StreamEngine` shares one
reliable byte stream. Both are driven alike: after bytes or time were put in, or something
was written, drain `events`, send what is to be sent, and re-read `get_timer`.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Protocol

from .address import SocketAddr
from .close import CloseReason
from .engine_events import EngineEvent

ALPN: Final = "mosaik/2"
UNPROVEN_BYTES_MAX: Final = 16 * 1024  # what a peer may send before it has proven the network


class ConnectionEngine(Protocol):
    """One connection without its sockets. ``now`` is monotonic time in seconds."""

    @property
    def remote(self) -> SocketAddr | None:
        """Where the peer is; None where that is no address."""

    @property
    def rtt(self) -> float | None:
        """The smoothed round-trip time in seconds, None while unmeasured."""

    @property
    def probe_count(self) -> int:
        """How many probes in a row went unanswered."""

    @property
    def blocked_stream_count(self) -> int:
        """How many streams wait until the peer lets more be opened."""

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, None for never."""

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""

    @property
    def events(self) -> deque[EngineEvent]:
        """What happened and nobody has taken out yet, the oldest first.

        Read it again after each one: there may be more. Empty when there are none left.
        """

    def open_stream(self) -> int:
        """Return the id of a new bidirectional stream."""

    def write(self, stream_id: int, data: bytes, *, is_end: bool = False) -> None:
        """Append to a stream. Dropped when either side gave it up."""

    def write_many(self, stream_id: int, pieces: list[bytes], *, is_end: bool = False) -> None:
        """Append several pieces to a stream at once."""

    def unacked_bytes(self, stream_id: int) -> int:
        """Return how much of what was written to a stream has not got anywhere yet."""

    def may_receive(self, stream_id: int) -> bool:
        """Return whether more of a stream may come."""

    def abort_stream(self, stream_id: int, code: int) -> None:
        """Send no more and hear no more of a stream, and drop what was not sent."""

    def set_link_count(self, count: int) -> None:
        """Take in how many of the streams that the peer opened are links."""

    def set_held_bytes(self, count: int) -> None:
        """Take in how many bytes wait above for the rest."""

    def release(self) -> None:
        """Drop all streams and what they hold: the connection is over."""

    def ping(self, *, now: float) -> None:
        """Make the peer answer."""

    def close(self, reason: CloseReason) -> None:
        """End the connection; the peer learns it with what is sent next."""


class QuicEngine(ConnectionEngine, Protocol):
    """What only QUIC has: datagrams, and the ids that they carry."""

    @property
    def host_cid(self) -> bytes:
        """The first connection id that datagrams for this connection carry."""

    @property
    def peer_cid(self) -> bytes:
        """The connection id that datagrams to the peer carry at present."""

    @property
    def datagram_bytes(self) -> int:
        """The largest datagram sent, as far as it is decided here."""

    def set_datagram_bytes(self, datagram_bytes: int) -> None:
        """Send datagrams of up to so many bytes from now on."""

    def set_first_datagram_bytes(self, datagram_bytes: int) -> None:
        """As `set_datagram_bytes`, right after the handshake."""

    def receive_datagram(self, data: bytes, remote: SocketAddr, *, now: float) -> None:
        """Take in a datagram that was routed here."""

    def receive_datagrams(self, datagrams: list[bytes], remote: SocketAddr, *, now: float) -> None:
        """Take in several at once, in order."""

    def datagrams_to_send(self, *, now: float) -> list[tuple[bytes, Any]]:
        """Return the datagrams that may leave now, each with where it goes."""
