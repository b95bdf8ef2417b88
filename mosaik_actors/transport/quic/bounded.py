"""An aioquic connection that holds a bounded amount for its peer, and does no needless work.

aioquic is asked for datagrams after everything that happens, mostly in vain, and
each time goes through all that it could send. `BoundedConnection.is_idle` answers
that for what a connection mostly is: established, with nothing to say.

It also asks every stream for every packet. Here it finds only the streams that
have something to write: an open stream that is silent costs nothing. A stream
leaves the queue when it has nothing to write, and is looked at again after
anything that could change that:

    * it is written to, ended, reset or stopped here;
    * a frame came that names it (RFC 9000 sections 19.4, 19.5, 19.8 and 19.10);
    * a frame of it was acknowledged or lost, whichever kind it was.

A stream that only flow control holds back stays in the queue, so that a raised
limit finds it there. The order is aioquic's: who was served goes to the end.

The parts of aioquic that this stands on are pinned by tests
(`tests/unit/transport/test_engine.py`, `tests/unit/transport/test_bounded.py`): flow control
(``_write_connection_limits``, ``_write_stream_limits``), the client's certificate
(``_request_client_certificate``), what it walks for each packet (``_streams_queue`` and
the ``values`` of ``_streams``), and whatever can make it send.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import repeat
from typing import Any

from aioquic.quic.connection import Limit, QuicConnection
from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilderStop
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch

from ..config import UNDELIVERED_BYTES_MIN
from .certificates import refuse_unreadable

WINDOW_BYTES_MIN = UNDELIVERED_BYTES_MIN
UNPROVEN_STREAMS_MAX = 128


class StreamAllowance(Limit):
    """How many streams a peer may open: some, one more for each that ended, two for each link.

    So a peer that only opens streams gets no further than `UNPROVEN_STREAMS_MAX`,
    and one whose links are taken may soon open many at once (RFC 9000 section 4.6).

    Attributes:
        link_count: How many of the streams that the peer has open are links.
    """

    def __init__(self) -> None:
        self.link_count = 0
        self._ended_count = 0
        self._granted = UNPROVEN_STREAMS_MAX
        super().__init__(
            frame_type=QuicFrameType.MAX_STREAMS_BIDI,
            name="max_streams_bidi",
            value=UNPROVEN_STREAMS_MAX,
        )

    @property
    def value(self) -> int:
        """The number of streams that the peer may have opened in all."""
        allowed = UNPROVEN_STREAMS_MAX + self._ended_count + 2 * self.link_count
        self._granted = max(self._granted, allowed)  # what was granted stays so
        return self._granted

    @value.setter
    def value(self, value: int) -> None:
        # aioquic adds one for each stream that has ended, and changes nothing else.
        self._ended_count += value - self._granted if value > self._granted else 0


class StreamTable(dict[int, QuicStream]):
    """All streams by id; who walks its `values` finds only those in the queue.

    aioquic walks them for each packet, to raise their limits, and for nothing else.
    """

    queue: Collection[QuicStream] = ()

    def values(self) -> Any:
        """Return the streams that may have something to write."""
        return self.queue


class BoundedConnection(QuicConnection):
    """An aioquic connection that proves both sides, and holds a bounded amount for the peer.

    aioquic doubles its flow-control limits with the highest *offset* it sees, and
    makes room for all bytes before that offset: a peer that sends one byte far
    ahead, again and again, could make it hold any amount. Here limits follow what
    was *delivered*: a window beyond it that grows only with bytes that came, from
    `WINDOW_BYTES_MIN` to `window_bytes_max` (RFC 9000 section 4.1).

    Args:
        window_bytes_max: How many bytes that came are held at most, all streams together,
            while they wait for earlier ones or for those who take them.
        settings: Those of aioquic.
    """

    # With many streams, looking at each again would cost more than the packets do, so what
    # cannot have changed is not looked at.
    _inbound_count = 0  # datagrams and timers so far: only they move a limit
    _full_packet: Any = None
    _calm_inbound_count = -1
    _now = 0.0

    def __init__(self, *, window_bytes_max: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._window_max = window_bytes_max
        self.stream_allowance = StreamAllowance()
        self._local_max_streams_bidi = self.stream_allowance
        self.held_bytes = 0
        self._streams: StreamTable = StreamTable()
        self._touched: dict[int, None] = {}  # what may have come to have something to write
        self._gapped: dict[int, QuicStream] = {}  # what holds bytes that wait for earlier ones
        self._is_ended_there = False  # whether the peer has ended the connection

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls._request_client_certificate = True
        refuse_unreadable(self.tls)

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        """Take in a datagram."""
        self._inbound_count += 1
        super().receive_datagram(data, addr, now)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._inbound_count += 1
        super().handle_timer(now)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        """Return what leaves now, and where it goes."""
        self._now = now
        self._renew_queue()
        return super().datagrams_to_send(now)

    def _close_begin(self, is_initiator: bool, now: float) -> None:
        # The peer has ended it, and nothing is sent any more (RFC 9000 section 10.2.2): what
        # still might come is no reason to let anybody open streams until that time has passed.
        super()._close_begin(is_initiator, now)
        self._is_ended_there = not is_initiator
        if self._is_ended_there and self._close_event is not None:
            self._events.append(self._close_event)

    def _close_end(self) -> None:
        super()._close_end()
        if self._is_ended_there:
            self._events.pop()  # it was said before

    def touch(self, stream_id: int) -> None:
        """Look at a stream before the next packet: it may have something to write."""
        self._touched[stream_id] = None

    def stop_stream(self, stream_id: int, error_code: int) -> None:
        """Ask the peer to send no more of a stream."""
        super().stop_stream(stream_id, error_code)
        self.touch(stream_id)

    def drop_unsent(self, stream_id: int) -> None:
        """Free what was written to a stream that was reset; aioquic keeps it to the very end."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.sender._reset_error_code is not None:
            stream.sender._buffer.clear()

    def release(self) -> None:
        """Drop all streams: the connection is over."""
        self._streams.clear()
        self._streams_queue.clear()
        self._streams_blocked_bidi.clear()
        self._gapped.clear()
        self._renew_queue()

    def is_idle(self, now: float) -> bool:
        """Return whether `datagrams_to_send` would certainly return nothing.

        False while anything is unusual: a handshake, a move, an end.
        """
        self._renew_queue()
        space = self._spaces.get(Epoch.ONE_RTT)
        return not (
            not self._handshake_confirmed
            or self._close_pending
            or self._pacing_at is not None
            or space is None
            or (space.ack_at is not None and space.ack_at <= now)
            or self._has_frames()
        )

    def _has_frames(self) -> bool:
        """Return whether there may be anything to send but acknowledgements."""
        path = self._network_paths[0]
        if (
            self._ping_pending
            or self._probe_pending
            or self._datagrams_pending
            or self._handshake_done_pending
            or self._retire_connection_ids
            or self._streams_blocked_pending
            or self._remote_preferred_address is not None
            or not self._crypto_streams[Epoch.ONE_RTT].sender.buffer_is_empty
            or len(self._network_paths) > 1
            or not path.is_validated
            or path.remote_challenges
            or self._local_max_data.value != self._local_max_data.sent
            or _is_due(self._local_max_streams_bidi)
            or _is_due(self._local_max_streams_uni)
        ):
            return True
        # From the end, where those wait that this packet has not come to.
        return self._has_news() or any(map(_has_stream_frames, reversed(self._streams_queue)))

    def _renew_queue(self) -> None:
        """Keep in the queue what has something to write, and add what has come to have it."""
        queued = dict.fromkeys(self._streams_queue)
        for stream_id in self._touched:
            stream = self._streams.get(stream_id)  # None: it has ended
            if stream is not None:
                queued[stream] = None
                if _undelivered_bytes(stream):
                    self._gapped[stream_id] = stream
                else:
                    self._gapped.pop(stream_id, None)
        self._touched.clear()
        self._streams.queue = self._streams_queue = [
            stream for stream in queued if _has_turn(stream, self._window_max)
        ]

    def _watch_delivery(self, builder: Any, stream: QuicStream) -> None:
        """Look at a stream again when the packet being built was lost, or acknowledged."""
        builder._packet.delivery_handlers.append((self._on_stream_delivery, (stream,)))

    def _on_stream_delivery(self, delivery: QuicDeliveryState, stream: QuicStream) -> None:
        assert stream.stream_id is not None, "only the handshake's streams have no id"
        self.touch(stream.stream_id)

    def _on_max_stream_data_delivery(self, delivery: QuicDeliveryState, stream: QuicStream) -> None:
        super()._on_max_stream_data_delivery(delivery, stream)
        self._on_stream_delivery(delivery, stream)

    def _get_or_create_stream(self, frame_type: int, stream_id: int) -> QuicStream:
        stream = super()._get_or_create_stream(frame_type, stream_id)
        self.touch(stream_id)  # the peer's frame is about to change it
        return stream

    def _get_or_create_stream_for_send(self, stream_id: int) -> QuicStream:
        stream = super()._get_or_create_stream_for_send(stream_id)
        self.touch(stream_id)  # it is about to be written to, or reset
        return stream

    def _has_news(self) -> bool:
        """Return whether there may be a window to raise, or a connection id to issue.

        Only the peer can cause that, so it is looked for once after it was heard.
        """
        if self._calm_inbound_count == self._inbound_count:
            return False
        has_news = (
            self._due_window() is not None
            or any(not cid.was_sent for cid in self._host_cids)
            or any(map(_has_stream_limit, self._streams_queue, repeat(self._window_max)))
        )
        if not has_news:
            self._calm_inbound_count = self._inbound_count
        return has_news

    def _due_window(self) -> int | None:
        """Return how far the peer may send from now on, None when that need not change."""
        limit = self._local_max_data
        if 2 * (limit.value - limit.used) > _window_bytes(limit.used, self._window_max):
            return None  # nor would it be if all that came was delivered
        undelivered = sum(map(_undelivered_bytes, self._gapped.values()))
        delivered = limit.used - undelivered - self.held_bytes
        window = _window_bytes(delivered, self._window_max)
        return delivered + window if 2 * (limit.value - delivered) <= window else None

    def _write_connection_limits(self, builder: Any, space: Any) -> None:
        self._renew_queue()  # here each packet begins: those that the last one served may go
        limit = self._local_max_data
        if _is_due(self._local_max_streams_bidi) or _is_due(self._local_max_streams_uni):
            self._local_max_data = _NO_LIMIT
            try:
                super()._write_connection_limits(builder, space)
            finally:
                self._local_max_data = limit
        if self._has_news() and (due := self._due_window()) is not None:
            limit.value = due
        if limit.value != limit.sent:
            buffer = builder.start_frame(
                limit.frame_type,
                capacity=_LIMIT_FRAME_BYTES,
                handler=self._on_connection_limit_delivery,
                handler_args=(limit,),
            )
            buffer.push_uint_var(limit.value)
            limit.sent = limit.value

    def _write_stream_limits(self, builder: Any, space: Any, stream: QuicStream) -> None:
        if self._calm_inbound_count == self._inbound_count:
            return
        if _has_stream_limit(stream, self._window_max):
            self._write_due_stream_limits(builder, space, stream)

    def _write_stream_frame(
        self, builder: Any, space: Any, stream: QuicStream, max_offset: int
    ) -> int:
        packet = builder._packet
        if packet is self._full_packet:
            return 0
        frame_count = len(packet.delivery_handlers)
        used = super()._write_stream_frame(builder, space, stream, max_offset)
        if len(packet.delivery_handlers) > frame_count:
            self._watch_delivery(builder, stream)
        if used and builder.remaining_flight_space < _STREAM_FRAME_BYTES_MIN:
            self._full_packet = packet
        if used and not self._has_frames():
            # The last frame: aioquic need not begin a packet to find that out.
            self._remote_max_data_used += used
            self._loss._pacer.update_after_send(now=self._now)
            raise QuicPacketBuilderStop
        return used

    def _write_reset_stream_frame(self, builder: Any, stream: QuicStream) -> None:
        super()._write_reset_stream_frame(builder, stream)
        self._watch_delivery(builder, stream)

    def _write_stop_sending_frame(self, builder: Any, stream: QuicStream) -> None:
        super()._write_stop_sending_frame(builder, stream)
        self._watch_delivery(builder, stream)

    def _write_due_stream_limits(self, builder: Any, space: Any, stream: QuicStream) -> None:
        receiver = stream.receiver
        if stream.max_stream_data_local and not receiver.is_finished:
            delivered = receiver.starting_offset()
            window = _window_bytes(delivered, self._window_max)
            if 2 * (stream.max_stream_data_local - delivered) <= window:
                stream.max_stream_data_local = delivered + window
        seen, receiver.highest_offset = receiver.highest_offset, 0  # or it would double the limit
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            receiver.highest_offset = seen


_NO_LIMIT = Limit(frame_type=QuicFrameType.MAX_DATA, name="max_data", value=0)
_LIMIT_FRAME_BYTES = 9
_STREAM_FRAME_BYTES_MIN = 20  # with less room left, a frame would be all header


def _window_bytes(delivered_bytes: int, window_max: int) -> int:
    return min(window_max, max(WINDOW_BYTES_MIN, delivered_bytes))


def _undelivered_bytes(stream: QuicStream) -> int:
    receiver = stream.receiver
    return 0 if receiver.is_finished else receiver.highest_offset - receiver.starting_offset()


def _is_due(limit: Limit) -> bool:
    """Return whether aioquic would tell the peer that it may open more streams."""
    return limit.value - limit.sent > max(0, limit.sent - limit.used)


def _has_turn(stream: QuicStream, window_max: int) -> bool:
    """Return whether a stream belongs in the queue."""
    return _has_stream_frames(stream) or _has_stream_limit(stream, window_max)


def _has_stream_frames(stream: QuicStream) -> bool:
    """Return whether aioquic would write anything of a stream, or put it away."""
    sender, receiver = stream.sender, stream.receiver
    if not sender.buffer_is_empty:
        if sender._pending_eof or len(sender._pending):
            return True
        sender.buffer_is_empty = True  # aioquic would find that out by trying
    return (
        sender.reset_pending
        or receiver.stop_pending
        or (sender.is_finished and receiver.is_finished)
    )


def _has_stream_limit(stream: QuicStream, window_max: int) -> bool:
    """Return whether the peer may send more on a stream than it was told."""
    limit, receiver = stream.max_stream_data_local, stream.receiver
    if limit != stream.max_stream_data_local_sent:
        return True
    delivered = receiver._buffer_start
    left = 2 * (limit - delivered)
    if left > delivered and left > WINDOW_BYTES_MIN:
        return False  # as mostly, and without a call: this is asked of every stream
    return bool(limit) and not receiver.is_finished and left <= _window_bytes(delivered, window_max)
