"""A connection that says it is idle has nothing to send, and one at rest says so.

Pins what `BoundedConnection.is_idle` looks at in aioquic. aioquic itself is the
oracle: whenever the connection says that it is idle, it is asked all the same.
"""

from random import Random
from typing import Any

import pytest
from aioquic.quic.connection import QuicConnection
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.config import UNDELIVERED_BYTES_MAX, UNDELIVERED_BYTES_MIN
from mosaik_actors.transport.engine_events import ConnectionEnded, HandshakeDone, StreamData
from mosaik_actors.transport.quic.bounded import BoundedConnection, _has_turn
from mosaik_actors.transport.quic.engine import Engine, EngineFactory

from .test_engine import aioquic_engine

ADDRS = (("127.0.0.1", 1), ("127.0.0.1", 2))
KEYS = [SecretKey.from_seed("a"), SecretKey.from_seed("b")]


class LossyPair:
    """Two engines and a path that loses, delays and reorders; every claim is checked."""

    def __init__(self, seed: int, loss: float, held_max: int = UNDELIVERED_BYTES_MAX) -> None:
        self.rng = Random(seed)
        self.loss = loss
        self.now = 0.0
        factories = [
            EngineFactory(key, n, 10.0, Random(n), held_max) for n, key in enumerate(KEYS, 1)
        ]
        self.engines: list[Engine | None] = [
            aioquic_engine(factories[0].dial(ADDRS[1], now=0.0)),
            None,
        ]
        self._server = factories[1]
        self._on_way: list[tuple[float, int, bytes]] = []
        self.received: list[dict[int, bytearray]] = [{}, {}]
        self.ended = [False, False]
        self.idle_count = self.asked_count = 0

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            for side in (0, 1):
                self._send(side)
                self._drain(side)
            times = [at for at, _, _ in self._on_way]
            times += [t for e in self.engines if e is not None and (t := e.get_timer()) is not None]
            due = min(times, default=end + 1)
            if due > end:
                self.now = end
                return
            self.now = max(self.now + 1e-6, due)
            for side, engine in enumerate(self.engines):
                timer = None if engine is None else engine.get_timer()
                if engine is not None and timer is not None and timer <= self.now:
                    engine.handle_timer(now=self.now)
                self._deliver(1 - side)

    def _send(self, side: int) -> None:
        engine = self.engines[side]
        if engine is None:
            return
        quic = engine._quic
        self.asked_count += 1
        if not engine._has_written and quic.is_idle(self.now):
            self.idle_count += 1
            assert quic._pacing_at is None  # or a timer would stand in the past
            assert self._ask_with_every_stream(quic) == []
            quic._pacing_at = None  # where the pacer held back nothing: it was asked here alone
        quic._renew_queue()
        for stream in dict.values(quic._streams):
            assert stream in quic._streams_queue or not _has_turn(stream, quic._window_max)
        for data, _ in engine.datagrams_to_send(now=self.now):
            if self.rng.random() >= self.loss:
                delay_s = self.rng.choice((0.001, 0.002, 0.02))
                self._on_way.append((self.now + delay_s, 1 - side, data))

    def _ask_with_every_stream(self, quic: BoundedConnection) -> list[tuple[bytes, Any]]:
        """Return what aioquic would send if no stream was ever taken from its queue."""
        queue = quic._streams_queue
        quic._streams.queue = quic._streams_queue = list(dict.values(quic._streams))
        quic._renew_queue = lambda: None  # type: ignore[method-assign]
        try:
            return QuicConnection.datagrams_to_send(quic, self.now)
        finally:
            del quic._renew_queue
            quic._streams.queue = quic._streams_queue = queue

    def _deliver(self, to: int) -> None:
        due = [one for one in self._on_way if one[1] == to and one[0] <= self.now]
        for one in sorted(due, key=lambda each: each[0]):
            self._on_way.remove(one)
            if self.engines[to] is None:
                head = self._server.read_head(one[2])
                if head is None or not head.opens_connection:
                    continue
                self.engines[to] = aioquic_engine(self._server.accept(head, ADDRS[0], now=self.now))
            engine = self.engines[to]
            assert engine is not None
            engine.receive_datagram(one[2], ADDRS[1 - to], now=self.now)

    def _drain(self, side: int) -> None:
        engine = self.engines[side]
        while engine is not None and engine.events:
            event = engine.events.popleft()
            if isinstance(event, StreamData):
                self.received[side].setdefault(event.stream_id, bytearray()).extend(event.data)
            elif isinstance(event, HandshakeDone):
                engine.set_held_bytes(0)
            elif isinstance(event, ConnectionEnded):
                self.ended[side] = True


ACTIONS = st.tuples(
    st.sampled_from(
        ["write", "write", "write", "end", "reset", "stop", "ping", "open", "wait", "new id"]
    ),
    st.integers(0, 1),
    st.integers(0, 30),
    st.sampled_from([0, 0, 10, 1000, 60_000]),
)


@given(
    st.integers(0, 1 << 16),
    st.sampled_from([0.0, 0.0, 0.1, 0.3]),
    st.lists(ACTIONS, max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_idle_connection_has_nothing_to_send(
    seed: int, loss: float, actions: list[tuple[str, int, int, int]]
) -> None:
    pair = LossyPair(seed, loss)
    pair.run(3.0)
    streams: list[list[int]] = [[], []]
    for kind, side, which, size in actions:
        engine = pair.engines[side]
        if engine is None:
            continue
        if kind == "open" or not streams[side]:
            streams[side].append(engine.open_stream())
        stream_id = streams[side][which % len(streams[side])]
        quic = engine._quic
        if kind in ("write", "end"):
            engine.write(stream_id, bytes(size), is_end=kind == "end")
        elif kind == "reset" and stream_id in quic._streams:
            quic.reset_stream(stream_id, 5)
        elif kind == "stop" and stream_id in quic._streams:
            quic.stop_stream(stream_id, 5)
        elif kind == "ping":
            engine.ping(now=0.0)
        elif kind == "new id":
            quic.change_connection_id()
        pair.run(0.0005 * which)
    pair.run(5.0)
    for engine in pair.engines:
        if engine is not None:
            engine.close(CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "so long"))
    pair.run(1.0)


@pytest.mark.parametrize(("loss", "big_bytes"), [(0.0, 5_000_000), (0.1, 300_000)])
def test_everything_arrives_and_the_connection_comes_to_rest(loss: float, big_bytes: int) -> None:
    pair = LossyPair(7, loss)
    pair.run(3.0)
    sent = {}
    client = pair.engines[0]
    assert client is not None
    for number in range(300):  # more than may be open at first: the limit has to rise
        stream_id = client.open_stream()
        sent[stream_id] = Random(number).randbytes(3000)
        client.write(stream_id, sent[stream_id], is_end=True)
        server = pair.engines[1]
        assert server is not None
        while stream_id not in server._quic._streams:
            pair.run(0.05)
        server.write(stream_id, b"", is_end=True)
    big = client.open_stream()
    sent[big] = Random(1).randbytes(big_bytes)  # beyond the windows: they have to rise
    client.write(big, sent[big])
    pair.run(60.0)
    assert {stream: bytes(data) for stream, data in pair.received[1].items()} == sent
    assert pair.idle_count > pair.asked_count / 4
    for engine in pair.engines:
        assert engine is not None
        assert engine._quic.is_idle(pair.now)
        assert len(engine._quic._streams) < 50  # those that have ended are gone


def test_what_is_held_for_a_peer_is_a_setting() -> None:
    """However much came before, the peer may be ahead by no more."""
    held_max, count = UNDELIVERED_BYTES_MIN, UNDELIVERED_BYTES_MIN * 3 // 2
    pair = LossyPair(1, 0.0, held_max)
    pair.run(0.5)
    client, server = pair.engines
    assert client is not None
    assert server is not None
    stream_id = client.open_stream()
    client.write(stream_id, bytes(count))
    while len(pair.received[1].get(stream_id, b"")) < count:
        pair.run(0.1)
    limit, stream = server._quic._local_max_data, server._quic._streams[stream_id]
    for ahead in (limit.value - limit.used, stream.max_stream_data_local - count):
        assert held_max / 2 <= ahead <= held_max


def test_one_datagram_is_looked_for_once() -> None:
    """Pins ``_packet`` of aioquic's builder: no second packet is begun to find nothing."""
    pair = LossyPair(1, 0.0)
    pair.run(3.0)
    engine = pair.engines[0]
    assert engine is not None
    looks: list[int] = []
    engine.write(engine.open_stream(), b"a small thing")
    quic = engine._quic
    original = quic._write_connection_limits

    def look(builder: object, space: object) -> None:
        looks.append(1)
        original(builder, space)

    quic._write_connection_limits = look  # type: ignore[method-assign]
    assert len(engine.datagrams_to_send(now=pair.now)) == 1
    assert len(looks) == 1
    assert QuicConnection.datagrams_to_send(quic, pair.now) == []
    assert len(looks) == 2


def test_what_is_sent_counts_for_the_peers_window_and_for_the_pace() -> None:
    """Pins ``_remote_max_data_used`` and the pacer, which the end of a packet keeps up."""
    pair = LossyPair(1, 0.0)
    pair.run(3.0)
    engine = pair.engines[0]
    assert engine is not None
    quic = engine._quic
    stream_id = engine.open_stream()
    for size in (10, 700, 50_000, 3):
        before = quic._remote_max_data_used
        engine.write(stream_id, bytes(size))
        pair.run(1.0)
        assert quic._remote_max_data_used - before == size
    assert quic._loss._pacer.evaluation_time > 3.0
