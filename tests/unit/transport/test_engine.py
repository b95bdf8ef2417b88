"""Two engines without a socket, and the aioquic internals that they rely on."""

from random import Random

from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.engine_events import (
    ConnectionEnded,
    EngineEvent,
    HandshakeDone,
    StreamAborted,
    StreamData,
)
from mosaik_actors.transport.engine_face import UNPROVEN_BYTES_MAX, QuicEngine
from mosaik_actors.transport.proven_peer import ProvenPeer
from mosaik_actors.transport.quic.engine import Engine, EngineFactory

A, B = SecretKey.from_seed("a"), SecretKey.from_seed("b")
ADDR_A, ADDR_B = ("127.0.0.1", 1), ("127.0.0.1", 2)


def aioquic_engine(engine: QuicEngine) -> Engine:
    """Return an engine as what it is unless the factory is told otherwise."""
    assert isinstance(engine, Engine)
    return engine


class Pair:
    """A client and a server engine joined by a path of our own."""

    def __init__(self, idle_timeout: float = 10.0) -> None:
        self.now = 0.0
        self.factory_a = EngineFactory(A, 11, idle_timeout, Random(1))
        self.factory_b = EngineFactory(B, 22, idle_timeout, Random(2))
        self.a = aioquic_engine(self.factory_a.dial(ADDR_B, now=0.0))
        self.b: Engine | None = None
        self.loses = False
        self.events_a: list[EngineEvent] = []
        self.events_b: list[EngineEvent] = []

    def run(self, seconds: float = 1.0) -> None:
        """Exchange datagrams and play timers for so long."""
        end = self.now + seconds
        while True:
            if self._exchange():
                continue
            timers = [e.get_timer() for e in (self.a, self.b) if e is not None]
            due = min((timer for timer in timers if timer is not None), default=None)
            if due is None or due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            for engine in (self.a, self.b):
                timer = engine.get_timer() if engine else None
                if engine and timer is not None and timer <= self.now:
                    engine.handle_timer(now=self.now)

    def admit(self) -> None:
        """Let both sides send as much as is usual, as after their proofs."""
        for engine in (self.a, self.b):
            assert engine is not None
            engine.set_held_bytes(0)
            engine.ping(now=0.0)
        self.run()

    def _exchange(self) -> bool:
        moved = False
        for data, _ in self.a.datagrams_to_send(now=self.now):
            moved = True
            if self.b is None:
                head = self.factory_b.read_head(data)
                assert head is not None
                assert head.opens_connection
                self.b = aioquic_engine(self.factory_b.accept(head, ADDR_A, now=self.now))
            if not self.loses:
                self.b.receive_datagram(data, ADDR_A, now=self.now)
        if self.b is not None:
            for data, _ in self.b.datagrams_to_send(now=self.now):
                moved = True
                if not self.loses:
                    self.a.receive_datagram(data, ADDR_B, now=self.now)
        self._drain()
        return moved

    def _drain(self) -> None:
        for engine, events in ((self.a, self.events_a), (self.b, self.events_b)):
            while engine is not None and engine.events:
                events.append(engine.events.popleft())


def identified() -> tuple[Pair, Engine]:
    """Return a pair after its handshake."""
    pair = Pair()
    pair.run()
    assert pair.b is not None
    return pair, pair.b


def ready() -> tuple[Pair, Engine]:
    """Return a pair whose sides let each other send as much as is usual."""
    pair, b = identified()
    pair.admit()
    return pair, b


def data_of(events: list[EngineEvent], stream_id: int) -> bytes:
    return b"".join(
        event.data
        for event in events
        if isinstance(event, StreamData) and event.stream_id == stream_id
    )


def test_both_sides_prove_key_and_instance() -> None:
    """Pins ``tls._request_client_certificate`` and ``tls._peer_certificate``."""
    pair, _ = ready()
    [at_a] = [event for event in pair.events_a if isinstance(event, HandshakeDone)]
    [at_b] = [event for event in pair.events_b if isinstance(event, HandshakeDone)]
    assert (at_a.peer, at_b.peer) == (ProvenPeer(B.peer_id, 22), ProvenPeer(A.peer_id, 11))
    # Pins ``_cryptos[...].send.secret`` too: both ends know one binding, of this connection only.
    assert at_a.binding == at_b.binding
    again, _ = ready()
    [other] = [event for event in again.events_a if isinstance(event, HandshakeDone)]
    assert other.binding != at_a.binding


def test_unproven_peer_may_send_little() -> None:
    """Pins ``max_data``: what is beyond it waits until `set_held_bytes` lets it come."""
    pair, b = identified()
    stream_id = pair.a.open_stream()
    pair.a.write(stream_id, bytes(100_000))
    pair.run()
    assert len(data_of(pair.events_b, stream_id)) == UNPROVEN_BYTES_MAX
    b.set_held_bytes(0)
    b.ping(now=0.0)
    pair.run()
    assert len(data_of(pair.events_b, stream_id)) == 100_000


def test_unacked_bytes_follow_what_the_peer_has() -> None:
    """Pins ``_streams[...].sender._buffer``."""
    pair, b = ready()
    stream_id = pair.a.open_stream()
    pair.a.write(stream_id, bytes(5000))
    assert pair.a.unacked_bytes(stream_id) == 5000
    pair.run()
    assert pair.a.unacked_bytes(stream_id) == 0
    assert data_of(pair.events_b, stream_id) == bytes(5000)
    assert b.unacked_bytes(stream_id) == 0
    assert b.unacked_bytes(999) == 0


def test_writes_after_the_end_or_a_reset_are_dropped() -> None:
    """Pins ``sender._buffer_fin`` and ``sender._reset_error_code``."""
    pair, b = ready()
    stream_id = pair.a.open_stream()
    pair.a.write(stream_id, b"all", is_end=True)
    pair.a.write(stream_id, b"more")
    pair.run()
    assert data_of(pair.events_b, stream_id) == b"all"
    b.write(stream_id, b"", is_end=True)
    pair.run()
    pair.a.write(stream_id, b"gone with the stream")
    b._quic.reset_stream(pair.a.open_stream() + 1, 5)  # one of B's own, unknown to A so far
    pair.run()
    assert any(isinstance(event, StreamAborted) for event in pair.events_a)


def test_round_trip_time_and_probe_count_are_measured() -> None:
    """Pins ``_loss._rtt_smoothed``, ``_loss._rtt_initialized`` and ``_loss._pto_count``."""
    pair, _ = ready()
    assert pair.a.rtt is not None
    assert pair.a.rtt < 0.1
    assert pair.a.probe_count == 0
    pair.loses = True
    pair.a.write(pair.a.open_stream(), b"lost")
    pair.run(2.0)
    assert pair.a.probe_count >= 3


def test_datagram_size_can_grow_and_shrink() -> None:
    """Pins ``_max_datagram_size`` on the connection, the pacer and the congestion control."""
    pair, _ = ready()
    stream_id = pair.a.open_stream()
    for size in (8000, 1200):
        pair.a.set_datagram_bytes(size)
        assert pair.a.datagram_bytes == size
        pair.a.write(stream_id, bytes(50_000))
        sizes = [len(data) for data, _ in pair.a.datagrams_to_send(now=pair.now)]
        assert max(sizes) <= size
        assert max(sizes) > size - 100
        pair.run()
    quic = pair.a._quic
    assert quic._loss._cc._max_datagram_size == 1200  # type: ignore[attr-defined]
    assert quic._loss._pacer._max_datagram_size == 1200


def test_close_carries_code_and_text() -> None:
    pair, _ = ready()
    pair.a.close(CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "so long"))
    pair.run()
    assert ConnectionEnded(CloseReason(204, "so long", remote=True)) in pair.events_b


def test_silence_ends_the_connection_and_a_ping_keeps_it() -> None:
    pair, _ = ready()
    for _ in range(5):
        pair.a.ping(now=0.0)
        pair.run(8.0)
    assert not [event for event in pair.events_b if isinstance(event, ConnectionEnded)]
    pair.run(25.0)
    for events in (pair.events_a, pair.events_b):
        [ended] = [event for event in events if isinstance(event, ConnectionEnded)]
        assert ended.reason == CloseReason(103, "idle timeout", remote=True)


def test_heads_tell_what_a_datagram_is() -> None:
    factory = EngineFactory(A, 1, 10.0, Random(1))
    [(first, _)] = factory.dial(ADDR_B, now=0.0).datagrams_to_send(now=0.0)
    head = factory.read_head(first)
    assert head is not None
    assert head.opens_connection
    assert head.is_known_version
    short = factory.read_head(first[:1100])
    assert short is None or not short.opens_connection
    assert factory.read_head(b"") is None
    strange = factory.read_head(first[:1] + b"\x1a\x2a\x3a\x4a" + first[5:])
    assert strange is not None
    assert not strange.is_known_version


def test_answer_carries_the_acknowledgement_of_what_it_answers() -> None:
    """One datagram each way for a request and its answer (RFC 9000 section 13.2.1).

    Pins ``_spaces`` and ``ack_at``.
    """
    pair, b = ready()
    stream_id = pair.a.open_stream()
    pair.a.write(stream_id, b"request")
    [(request, _)] = pair.a.datagrams_to_send(now=pair.now)
    b.receive_datagram(request, ADDR_A, now=pair.now)
    assert b.datagrams_to_send(now=pair.now) == []  # an acknowledgement alone waits a little
    b.write(stream_id, b"answer")
    [(answer, _)] = b.datagrams_to_send(now=pair.now)
    pair.a.receive_datagram(answer, ADDR_B, now=pair.now)
    assert pair.a.unacked_bytes(stream_id) == 0
    pair._drain()
    assert data_of(pair.events_a, stream_id) == b"answer"


def test_stream_that_is_given_up_before_the_peer_lets_it_be_open() -> None:
    """Pins ``is_blocked``: a frame that named it would end the connection."""
    pair, b = ready()
    streams = [pair.a.open_stream() for _ in range(140)]
    for stream_id in streams:
        pair.a.write(stream_id, b"x" * 10)
    pair.run()
    assert pair.a.blocked_stream_count > 0
    pair.a.abort_stream(streams[-2], 5)
    assert pair.a.unacked_bytes(streams[-2]) == 0
    pair.run()
    for stream_id in streams[:100]:
        pair.a.write(stream_id, b"", is_end=True)
        b.write(stream_id, b"", is_end=True)
    pair.run()
    assert pair.a.blocked_stream_count == 0
    assert data_of(pair.events_b, streams[-1]) == b"x" * 10
    assert data_of(pair.events_b, streams[-2]) == b""
    assert not any(isinstance(event, ConnectionEnded) for event in pair.events_b)
