"""One connection over a byte stream (a Unix socket, TLS over TCP), without its socket.

It has the face of `quic.engine.Engine`, so that everything above, connections, links, proofs
and limits, is the same on every carrier. Bytes and time go in, bytes and events come out.
Streams of this engine share the byte stream in *parts*, each with a head of nine bytes:
what it is (1), the stream (4), the length of what follows (4), big-endian.

    DATA, DATA_END    bytes of a stream; the last ones
    ABORT             a stream is given up by this side, both ways: the code (8)
    PING, PONG        a number (8), and the same number back
    CLOSE             the connection ends: the code (8) and a text
    HELLO, PROOF      who is there (`local.identity`), before anything else; TLS says that itself

A stream that has much to send takes turns with the others: nobody waits behind more than
`PART_BYTES_MAX` of each. What a socket does not take stays here, by stream (`is_blocked`),
but for the few bytes that it holds itself. The byte stream is reliable, so what its socket
has taken counts as acknowledged.

One file, because what is sent and what is taken in change the same streams. ``now`` is monotonic
time in seconds.

Invariants:
    * Nothing is held of what comes in but a part's head, and a short part that is no data.
    * Before `set_held_bytes` is called with 0, no more than `UNPROVEN_BYTES_MAX` come in;
      later, no more than `HELD_BYTES_MAX` may wait for the rest above.
    * The peer has no more than `streams_max` streams at a time.
    * Who is there is known by `handshake_timeout`, however slowly bytes come.
    * Both timeouts are longer while this process is late itself (`late`).
    * A peer that takes no answers has no more than `PONGS_MAX` of them waiting.
    * Whatever comes in gives events, at last one `ConnectionEnded`; nothing raises.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from ...errors import RemoteError
from ..address import SocketAddr
from ..close import CloseCode, CloseReason
from ..config import TransportConfig
from ..engine_events import ConnectionEnded, EngineEvent, HandshakeDone, StreamAborted, StreamData
from ..engine_face import UNPROVEN_BYTES_MAX
from ..frames import clip_text
from ..late import Deadline
from .pings import Pings
from .stream import EngineStream

HEAD_BYTES: Final = 9
PART_BYTES_MAX: Final = 128 * 1024
BURST_BYTES_MAX: Final = 512 * 1024
SHORT_BYTES_MAX: Final = 1024
JOINED_BYTES_MAX: Final = 16 * 1024  # below this it is cheaper to join pieces than to keep them
COPIED_BYTES_MAX: Final = 4 * 1024  # and below this to copy a piece than to look at it
HELD_BYTES_MAX: Final = 8 * 1024 * 1024
PONGS_MAX: Final = 64  # eight times what a peer may wait for

DATA: Final = 0
DATA_END: Final = 1
ABORT: Final = 2
PING: Final = 3
PONG: Final = 4
CLOSE: Final = 5
HELLO: Final = 6
PROOF: Final = 7

_HEAD: Final = struct.Struct(">BII")
_NUMBER: Final = struct.Struct(">Q")
_NUMBER_MAX: Final = 2**62

Identify = Callable[[int, bytes], list[tuple[int, bytes]] | HandshakeDone | None]
"""Takes a `HELLO` or `PROOF`; returns what to answer, who is there, or nothing.

Raises `RemoteError` for what proves nothing.
"""


class StreamEngine:
    """One connection over a byte stream."""

    def __init__(
        self,
        *,
        is_initiator: bool,  # whether this side dialled
        idle_timeout: float,  # seconds of silence after which the connection ends
        handshake_timeout: float,  # seconds until it must be known who the peer is
        streams_max: int,  # how many streams the peer may have at a time
        now: float,
        remote: SocketAddr | None = None,
    ) -> None:
        self.remote = remote  # where the peer is; None where that is no address
        self.is_blocked = False  # whether the socket takes nothing at present
        self.untaken_bytes = 0  # what it was given and has not taken; lowered by what writes to it
        self._is_initiator = is_initiator
        self._streams_max = streams_max
        self._silence = Deadline(idle_timeout, now=now)
        self._identified_by: Deadline | None = Deadline(handshake_timeout, now=now)
        self._identify: Identify | None = None
        self.events: deque[EngineEvent] = deque()  # what happened, for who takes it out
        self._streams: dict[int, EngineStream] = {}
        self._next_id = 0 if is_initiator else 1
        self._last_theirs = -1
        self._their_count = 0
        self.ready: dict[int, None] = {}  # streams with something to send
        self.control: list[bytes] = []  # what it has to send itself
        self._pong_count = 0
        self._given_bytes = 0
        self.has_failed = False  # whether the peer broke the rules
        self._is_over = False
        self._is_closing = False
        self._received_bytes = 0
        self._unproven_max: int | None = UNPROVEN_BYTES_MAX
        self._pings = Pings()
        # The part that is being taken in: its kind, its stream, and what is still to come.
        self._head = b""
        self._kind = DATA
        self._part_stream = 0
        self._left = 0
        self._short = b""

    # What `quic.engine.Engine` has too.

    @property
    def rtt(self) -> float | None:
        """The smoothed round-trip time in seconds (RFC 6298), None while unmeasured."""
        return self._pings.rtt

    @property
    def probe_count(self) -> int:
        """How many pings are not answered."""
        return len(self._pings)

    @property
    def blocked_stream_count(self) -> int:
        """How many streams wait until the peer lets more be opened: none ever does."""
        return 0

    def begin(self, identify: Identify, parts: list[tuple[int, bytes]]) -> None:
        """Say who is here with these parts, and have what comes back looked at."""
        self._identify = identify
        for kind, data in parts:
            self._put_control(kind, 0, data)

    def receive_identity(self, done: HandshakeDone) -> None:
        """Take in who is there, as what carries the bytes has proven it."""
        if not self._is_over:
            self._identify = self._identified_by = None
            self.events.append(done)
            self.ping(now=self._silence.began_at)  # how far it is, is asked again and again later

    def receive_data(self, data: bytes, now: float) -> None:
        """Take in bytes of the byte stream."""
        if self._is_over:
            return
        self._silence.began_at = now
        at, end = 0, len(data)
        try:
            if self._unproven_max is not None:
                self._count_unproven(end, self._unproven_max)
            while at < end and not self._is_over:
                if count := self._left:
                    if count > end - at:
                        count = end - at
                    piece: bytes | memoryview = data
                    if count < end:
                        view = data if count <= COPIED_BYTES_MAX else memoryview(data)
                        piece = view[at : at + count]
                    self._left -= count
                    at += count
                    if self._kind == DATA:  # of a stream that is there, as mostly
                        stream_id, streams = self._part_stream, self._streams
                        if stream_id in streams and not streams[stream_id].is_ended_there:
                            self.events.append(StreamData(stream_id, piece, False))
                            continue
                    self._take_piece(piece, now)
                    continue
                if self._head or end - at < HEAD_BYTES:
                    missing = HEAD_BYTES - len(self._head)
                    self._head += data[at : at + missing]
                    at += missing
                    if len(self._head) < HEAD_BYTES:
                        return
                    head, self._head = self._head, b""
                    self._begin_part(*_HEAD.unpack(head))
                else:
                    kind, stream_id, length = _HEAD.unpack_from(data, at)
                    at += HEAD_BYTES
                    if kind == DATA and length <= PART_BYTES_MAX and self._identify is None:
                        # As mostly: nothing is to be said against it.
                        self._kind, self._part_stream, self._left = kind, stream_id, length
                    else:
                        self._begin_part(kind, stream_id, length)
                if not self._left:
                    self._take_piece(b"", now)
        except RemoteError as error:
            self.fail(error)

    def fail(self, error: RemoteError) -> None:
        """End the connection with somebody who breaks the rules, and say so."""
        if not self._is_over:
            self.has_failed = True
            self.close(CloseReason(error.close_code, error.text))
            self._end(CloseReason(error.close_code, error.text))

    def receive_end(self) -> None:
        """Take in that the byte stream ended, or broke."""
        self._end(CloseReason(CloseCode.UNEXPECTED_CLOSE, "the connection broke", remote=True))

    def data_to_send(self) -> list[bytes | memoryview]:
        """Return what may be given to the socket now, to be sent in one go; empty for nothing."""
        pieces: list[bytes | memoryview] = []
        total = 0
        if self.control:
            pieces += self.control
            self.control.clear()
            self._pong_count = 0
            total = sum(map(len, pieces))
        while self.ready and total < BURST_BYTES_MAX and not self.is_blocked:
            stream_id = next(iter(self.ready))
            del self.ready[stream_id]
            stream = self._streams[stream_id]
            total += self._take_part(stream_id, stream, pieces)
            stream.sent_at = self._given_bytes + total
        self._given_bytes += total
        self.untaken_bytes += total
        return pieces

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, None for never."""
        if self._is_over:
            return None
        idle_at = self._silence.due_at
        return idle_at if self._identified_by is None else min(idle_at, self._identified_by.due_at)

    def handle_timer(self, *, now: float) -> None:
        """End the connection if nothing was heard, or nobody named, for too long."""
        silence, unknown = self._silence, self._identified_by
        is_over = unknown is not None and unknown.is_over(now=now)
        if unknown is not None:  # who is waited for longer may be silent as long
            silence.extended_to = max(silence.extended_to, unknown.extended_to)
        if is_over or silence.is_over(now=now):
            text = "idle timeout" if unknown is None else "no handshake in time"
            self._end(CloseReason(CloseCode.UNEXPECTED_CLOSE, text, remote=True))

    def open_stream(self) -> int:
        """Return the id of a new stream."""
        stream_id = self._next_id
        self._next_id += 4  # ids as in QUIC (RFC 9000 section 2.1)
        if not self._is_over:
            self._streams[stream_id] = EngineStream()
            self.ready[stream_id] = None  # so that the peer hears of streams in their order
        return stream_id

    def write(self, stream_id: int, data: bytes, *, is_end: bool = False) -> None:
        """Append to a stream. Dropped when either side has given it up."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_finishing:
            return
        if data:
            stream.pieces.append(data)
            stream.waiting += len(data)
        stream.is_finishing = is_end
        if data or is_end:
            self.ready[stream_id] = None

    def write_many(self, stream_id: int, pieces: list[bytes], *, is_end: bool = False) -> None:
        """Append several pieces to a stream at once: the large ones as they are."""
        if len(pieces) > 1 and sum(map(len, pieces)) <= JOINED_BYTES_MAX:
            pieces = [b"".join(pieces)]
        for piece in pieces[:-1]:
            self.write(stream_id, piece)
        self.write(stream_id, pieces[-1] if pieces else b"", is_end=is_end)

    def send_alone(self, stream_id: int, data: bytes) -> bytes | None:
        """Append to a stream; return what to give to the socket now.

        At most `PART_BYTES_MAX`. None, and nothing has happened, where something waits that
        would have to leave before.
        """
        # Blocked with nothing of ours to be taken: what encrypts has an answer to send.
        is_idle = not (self.ready or self.control or self.untaken_bytes or self.is_blocked)
        if not is_idle or stream_id not in self._streams:
            return None
        stream = self._streams[stream_id]
        if stream.is_finishing:
            return None
        count = len(data)
        self.untaken_bytes = HEAD_BYTES + count
        self._given_bytes = stream.sent_at = self._given_bytes + self.untaken_bytes
        return _HEAD.pack(DATA, stream_id, count) + data

    def unacked_bytes(self, stream_id: int) -> int:
        """Return how much of what was written to a stream the socket has not taken."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return 0
        if not self.untaken_bytes:
            return stream.waiting
        taken = self._given_bytes - self.untaken_bytes
        return stream.waiting + min(self.untaken_bytes, max(0, stream.sent_at - taken))

    def may_receive(self, stream_id: int) -> bool:
        """Return whether more of a stream may come."""
        stream = self._streams.get(stream_id)
        return stream is not None and not stream.is_ended_there

    def abort_stream(self, stream_id: int, code: int) -> None:
        """Send no more and hear no more of a stream, and drop what was not sent."""
        if self._drop(stream_id) is not None:
            self._put_control(ABORT, stream_id, _NUMBER.pack(code))

    def set_link_count(self, count: int) -> None:
        """Take in how many links the peer has opened: here all streams count."""

    def set_held_bytes(self, count: int) -> None:
        """Take in how many bytes wait above for the rest; too many are against the rules."""
        self._unproven_max = None
        if count > HELD_BYTES_MAX:
            self.fail(RemoteError(f"{count} bytes that open no link"))

    def release(self) -> None:
        """Drop all streams and what they hold: the connection is over, nothing is written."""
        self._is_over = True
        self._streams.clear()
        self.ready.clear()

    def ping(self, *, now: float) -> None:
        """Make the peer answer, which keeps the connection alive and measures the way."""
        if (number := self._pings.begin(now=now)) is not None:
            self._put_control(PING, 0, _NUMBER.pack(number))

    def close(self, reason: CloseReason) -> None:
        """End the connection; the peer learns it with the next bytes."""
        if not self._is_closing:
            self._is_closing = True
            text = clip_text(reason.text).encode(errors="replace")
            self._put_control(CLOSE, 0, _NUMBER.pack(int(reason.code)) + text)

    # What goes out.

    def _put_control(self, kind: int, stream_id: int, data: bytes) -> None:
        self.control.append(_HEAD.pack(kind, stream_id, len(data)) + data)

    def _take_part(
        self, stream_id: int, stream: EngineStream, pieces: list[bytes | memoryview]
    ) -> int:
        """Move the next part of a stream to what leaves now; return how long it is."""
        count = stream.next_part_bytes(PART_BYTES_MAX)
        is_last = stream.is_finishing and count == stream.waiting
        pieces.append(_HEAD.pack(DATA_END if is_last else DATA, stream_id, count))
        stream.move(count, pieces)
        if is_last:
            stream.is_ended_here = True
            self._forget_ended(stream_id, stream)
        elif stream.waiting or stream.is_finishing:
            self.ready[stream_id] = None
        return HEAD_BYTES + count

    # What comes in.

    def _count_unproven(self, count: int, count_max: int) -> None:
        self._received_bytes += count
        if self._received_bytes > count_max:
            raise RemoteError("more than a proof, before there was one")

    def _begin_part(self, kind: int, stream_id: int, length: int) -> None:
        limit = PART_BYTES_MAX if kind in (DATA, DATA_END) else SHORT_BYTES_MAX
        if length > limit:
            raise RemoteError(f"a part of {length} bytes, at most {limit}")
        if self._identify is not None and kind not in (HELLO, PROOF, CLOSE):
            raise RemoteError("something else than who is there")
        self._kind, self._part_stream, self._left = kind, stream_id, length

    def _take_piece(self, piece: bytes | memoryview, now: float) -> None:
        kind = self._kind
        if kind in (DATA, DATA_END):
            self._take_data(piece, is_end=kind == DATA_END and not self._left)
            return
        self._short += piece
        if self._left:
            return
        short, self._short = self._short, b""
        match kind:
            case 2:
                self._take_abort(_read_number(short))
            case 3:
                self._answer_ping(_read_number(short))
            case 4:
                self._pings.receive_answer(_read_number(short), now=now)
            case 5:
                code = _read_number(short[:8])
                text = clip_text(short[8:].decode(errors="replace"))
                self._end(CloseReason(code, text, remote=True))
            case 6 | 7:
                self._take_identity(kind, short)
            case _:
                raise RemoteError(f"a part of an unknown kind, {kind}")

    def _take_data(self, piece: bytes | memoryview, *, is_end: bool) -> None:
        stream_id = self._part_stream
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._open_theirs(stream_id)
            if stream is None:
                return
        if stream.is_ended_there:
            raise RemoteError("more of a stream that ended")
        if is_end:
            stream.is_ended_there = True
            self._forget_ended(stream_id, stream)
        if piece or is_end:
            self.events.append(StreamData(stream_id, piece, is_end))

    def _open_theirs(self, stream_id: int) -> EngineStream | None:
        """Return the stream that the peer opens, None for one that ended here."""
        first = 1 if self._is_initiator else 0
        if stream_id & 3 != first:
            if stream_id & 3 == 1 - first and stream_id < self._next_id:
                return None  # ours, and given up
            raise RemoteError(f"a stream with the number {stream_id}")
        if stream_id <= self._last_theirs:
            return None  # theirs, and given up
        if self._their_count >= self._streams_max:
            raise RemoteError(f"more than {self._streams_max} streams")
        self._last_theirs = stream_id
        self._their_count += 1
        stream = self._streams[stream_id] = EngineStream()
        return stream

    def _take_abort(self, code: int) -> None:
        if self._drop(self._part_stream) is not None:
            self.events.append(StreamAborted(self._part_stream, code, is_reset=True))

    def _answer_ping(self, number: int) -> None:
        self._pong_count += 1
        if self._pong_count > PONGS_MAX:
            raise RemoteError("pings, and takes no answers")
        self._put_control(PONG, 0, _NUMBER.pack(number))

    def _take_identity(self, kind: int, data: bytes) -> None:
        if self._identify is None:
            raise RemoteError("says twice who it is")
        answer = self._identify(kind, data)
        if isinstance(answer, HandshakeDone):
            self.receive_identity(answer)
        else:
            for one, part in answer or ():
                self._put_control(one, 0, part)

    # Ends.

    def _forget_ended(self, stream_id: int, stream: EngineStream) -> None:
        if stream.is_ended_here and stream.is_ended_there:
            self._drop(stream_id)

    def _drop(self, stream_id: int) -> EngineStream | None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self.ready.pop(stream_id, None)
            if bool(stream_id & 1) == self._is_initiator:
                self._their_count -= 1
        return stream

    def _end(self, reason: CloseReason) -> None:
        if not self._is_over:
            self._is_over = True
            self.events.append(ConnectionEnded(reason))


def make_engine(
    config: TransportConfig, *, is_initiator: bool, now: float, remote: SocketAddr | None = None
) -> StreamEngine:
    """Return the engine of a new connection, with the transport's settings."""
    return StreamEngine(
        is_initiator=is_initiator,
        idle_timeout=config.idle_timeout,
        handshake_timeout=config.dial_timeout,
        streams_max=2 * config.links_max,  # links, and streams that are just ending
        now=now,
        remote=remote,
    )


def _read_number(data: bytes) -> int:
    if len(data) != _NUMBER.size:
        raise RemoteError(f"a number of {len(data)} bytes")
    number: int = _NUMBER.unpack(data)[0]
    if number >= _NUMBER_MAX:
        raise RemoteError("a number that is too large")
    return number
