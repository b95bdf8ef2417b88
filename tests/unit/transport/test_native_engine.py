"""The engine with native packets, against itself and against aioquic's, without a socket."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.address import SocketAddr
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.config import (
    DATAGRAM_BYTES_MIN,
    UNDELIVERED_BYTES_MAX,
    UNDELIVERED_BYTES_MIN,
    TransportConfig,
)
from mosaik_actors.transport.engine_events import (
    ConnectionEnded,
    EngineEvent,
    HandshakeDone,
    StreamAborted,
    StreamData,
)
from mosaik_actors.transport.engine_face import QuicEngine
from mosaik_actors.transport.proven_peer import ProvenPeer
from mosaik_actors.transport.quic.choice import choose_engine
from mosaik_actors.transport.quic.engine import EngineFactory
from mosaik_actors.transport.quic.native import UNPROVEN_DATAGRAM_BYTES_MAX, NativeEngine
from mosaik_actors.transport.quic.native_handshake import STREAMS_MAX
from mosaik_actors.transport.quic.native_outbox import HELD_BYTES_MAX
from mosaik_actors.transport.relay.paths import relayed_addr

KEYS = (SecretKey.from_seed("a"), SecretKey.from_seed("b"))
ADDRS: tuple[SocketAddr, SocketAddr] = (("192.0.2.1", 1), ("192.0.2.2", 2))
WHO = pytest.mark.parametrize(
    "natives", [(True, True), (True, False), (False, True)], ids=["both", "dialler", "acceptor"]
)


def chosen(is_native: bool) -> Callable[[SocketAddr], bool]:
    return lambda _remote: is_native


class Path:
    """Two engines and a path that loses and delays.

    Args:
        natives: Whether the dialler's and the acceptor's engine are native.
        loss: The share of datagrams that are lost.
        retries: Whether the acceptor makes the dialler prove its address first.
        addrs: Where the two are.
        at_once: Whether an engine gets what arrives at one moment in one call.
        window_bytes: How much each may have waiting for the rest.
        seed: Which datagrams are lost and late.
    """

    def __init__(
        self,
        natives: tuple[bool, bool],
        *,
        loss: float = 0.0,
        retries: bool = False,
        addrs: tuple[SocketAddr, SocketAddr] = ADDRS,
        at_once: bool = False,
        window_bytes: int = UNDELIVERED_BYTES_MAX,
        seed: int = 5,
    ) -> None:
        self.addrs = addrs
        self.at_once = at_once
        self.factories = [
            EngineFactory(
                KEYS[side], side + 1, 10.0, Random(side), window_bytes, chosen(natives[side])
            )
            for side in (0, 1)
        ]
        self.now = 0.0
        self.loss = loss
        self.retries = retries
        self.engines: list[QuicEngine | None] = [
            self.factories[0].dial(addrs[1], now=0.0),
            None,
        ]
        self.events: list[list[EngineEvent]] = [[], []]
        self.sizes: set[int] = set()
        self._rng = Random(seed)
        self._order = count()
        self._on_way: list[tuple[float, int, int, bytes]] = []

    @property
    def both(self) -> tuple[QuicEngine, QuicEngine]:
        dialler, acceptor = self.engines
        assert dialler is not None
        assert acceptor is not None
        return dialler, acceptor

    def admit(self) -> None:
        """Connect, and let each side send as much as is usual."""
        self.run(3.0)
        for engine in self.both:
            engine.set_held_bytes(0)
            engine.ping(now=self.now)
        self.run(1.0)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            for side in (0, 1):
                self._collect(side)
            times = [entry[0] for entry in self._on_way]
            times += [t for e in self.engines if e is not None and (t := e.get_timer()) is not None]
            due = min(times, default=end + 1)
            if due > end:
                self.now = end
                return
            self.now = max(self.now + 1e-6, due)
            for engine in self.engines:
                timer = None if engine is None else engine.get_timer()
                if engine is not None and timer is not None and timer <= self.now:
                    engine.handle_timer(now=self.now)
            arrived = sorted(entry for entry in self._on_way if entry[0] <= self.now)
            self._on_way = [entry for entry in self._on_way if entry[0] > self.now]
            for side in (0, 1):
                self._deliver(side, [data for _, _, to, data in arrived if to == side])

    def until(self, holds: Callable[[], object], seconds: float = 60.0) -> None:
        """Run until `holds`, both sides being kept awake."""
        end = self.now + seconds
        while not holds():
            assert self.now < end, f"it did not come true in {seconds:g} s"
            for engine in self.both:
                engine.ping(now=self.now)
            self.run(0.25)

    def data_at(self, side: int, stream_id: int) -> bytes:
        return b"".join(
            event.data
            for event in self.events[side]
            if isinstance(event, StreamData) and event.stream_id == stream_id
        )

    def bytes_at(self, side: int, stream_id: int) -> int:
        return sum(
            len(event.data)
            for event in self.events[side]
            if isinstance(event, StreamData) and event.stream_id == stream_id
        )

    def has_come(self, side: int, stream_id: int, count: int) -> bool:
        return self.bytes_at(side, stream_id) == count

    def of_kind(self, side: int, kind: type) -> list[EngineEvent]:
        return [event for event in self.events[side] if isinstance(event, kind)]

    # Helpers.

    def _collect(self, side: int) -> None:
        engine = self.engines[side]
        if engine is None:
            return
        while engine.events:
            self.events[side].append(engine.events.popleft())
        for data, _ in engine.datagrams_to_send(now=self.now):
            self._send(data, 1 - side)

    def _send(self, data: bytes, to: int) -> None:
        self.sizes.add(len(data))
        if self._rng.random() >= self.loss:
            delay = self._rng.choice((0.001, 0.002, 0.01)) if self.loss else 0.005
            self._on_way.append((self.now + delay, next(self._order), to, data))

    def _deliver(self, to: int, datagrams: list[bytes]) -> None:
        source = self.addrs[1 - to]
        for data in datagrams:
            if self.engines[to] is None:
                self._accept(data)
            engine = self.engines[to]
            if engine is not None and self.at_once:
                engine.receive_datagrams(datagrams, source, now=self.now)
                return
            if engine is not None:
                engine.receive_datagram(data, source, now=self.now)

    def _accept(self, data: bytes) -> None:
        factory = self.factories[1]
        head = factory.read_head(data)
        if head is None or not head.opens_connection:
            return
        if self.retries and not head.token:
            self._send(factory.retry_packet(head, self.addrs[0], now=self.now), 0)
            return
        checked = factory.check_token(head, self.addrs[0], now=self.now) if head.token else head
        assert checked is not None
        self.engines[1] = factory.accept(checked, self.addrs[0], now=self.now)


@WHO
@pytest.mark.parametrize("retries", [False, True])
def test_both_sides_prove_who_they_are(natives: tuple[bool, bool], retries: bool) -> None:
    path = Path(natives, retries=retries)
    path.run(2.0)
    proven = [path.of_kind(side, HandshakeDone) for side in (0, 1)]
    [at_dialler], [at_acceptor] = proven
    assert isinstance(at_dialler, HandshakeDone)
    assert isinstance(at_acceptor, HandshakeDone)
    assert at_dialler.peer == ProvenPeer(KEYS[1].peer_id, 2)
    assert at_acceptor.peer == ProvenPeer(KEYS[0].peer_id, 1)
    assert at_dialler.binding == at_acceptor.binding
    assert path.both[1].remote == ADDRS[0]
    dialler, acceptor = path.both
    assert (dialler.peer_cid, acceptor.peer_cid) == (acceptor.host_cid, dialler.host_cid)


@WHO
@pytest.mark.parametrize(
    ("loss", "at_once"), [(0.0, False), (0.1, False), (0.0, True), (0.1, True)]
)
def test_everything_arrives_in_order_both_ways(
    natives: tuple[bool, bool], loss: float, at_once: bool
) -> None:
    path = Path(natives, loss=loss, at_once=at_once)
    path.admit()
    dialler, acceptor = path.both
    sent: dict[int, bytes] = {}
    for number in range(100):
        stream_id = dialler.open_stream()
        sent[stream_id] = Random(number).randbytes(3000)
        dialler.write_many(stream_id, [sent[stream_id][:7], sent[stream_id][7:]], is_end=True)
    assert dialler.unacked_bytes(stream_id) == 3000
    path.until(lambda: not any(map(acceptor.may_receive, sent)) and len(path.events[1]) > 100)
    for stream_id, data in sent.items():
        assert path.data_at(1, stream_id) == data
        assert not acceptor.may_receive(stream_id)
        acceptor.write(stream_id, data[::-1], is_end=True)
    path.until(lambda: not any(map(dialler.may_receive, sent)))
    path.until(lambda: not any(e.unacked_bytes(one) for e in path.both for one in sent))
    assert all(path.data_at(0, stream_id) == data[::-1] for stream_id, data in sent.items())


def test_windows_move_and_large_datagrams_are_found() -> None:
    path = Path((True, True), window_bytes=UNDELIVERED_BYTES_MIN)
    path.admit()
    dialler, _ = path.both
    stream_id = dialler.open_stream()
    big = Random(1).randbytes(5 * UNDELIVERED_BYTES_MIN // 4)  # beyond the window: it has to move
    dialler.write(stream_id, big)
    path.until(lambda: path.bytes_at(1, stream_id) == len(big))
    assert path.data_at(1, stream_id) == big
    assert max(path.sizes) > 1400
    assert dialler.rtt is not None
    assert 0 < dialler.rtt < 0.1


@WHO
def test_a_connection_through_a_relay_has_datagrams_that_any_path_carries(
    natives: tuple[bool, bool],
) -> None:
    """It may go over to a direct path, and a core cannot make its datagrams smaller again."""
    addrs = (relayed_addr(bytes(KEYS[0].peer_id), 1), relayed_addr(bytes(KEYS[1].peer_id), 1))
    path = Path(natives, addrs=addrs, at_once=True)
    path.admit()
    dialler, acceptor = path.both
    stream_id = dialler.open_stream()
    dialler.write(stream_id, bytes(500_000))
    path.until(lambda: path.bytes_at(1, stream_id) == 500_000)
    assert max(path.sizes) <= DATAGRAM_BYTES_MIN
    assert (dialler.remote, acceptor.remote) == (addrs[1], addrs[0])
    # The dialler comes through another relay, and is answered there.
    path.addrs = (relayed_addr(bytes(KEYS[0].peer_id), 2), addrs[1])
    dialler.write(stream_id, b"more")
    path.until(lambda: acceptor.remote == path.addrs[0])


@WHO
def test_streams_beyond_what_may_be_open_wait_their_turn(natives: tuple[bool, bool]) -> None:
    path = Path(natives)
    path.admit()
    dialler, acceptor = path.both
    streams = [dialler.open_stream() for _ in range(STREAMS_MAX + 20)]
    for stream_id in streams:
        dialler.write(stream_id, b"x")
    gone = streams[-3]
    dialler.abort_stream(gone, 5)
    path.run(3.0)
    assert dialler.blocked_stream_count > 0
    waiting = streams[-1]
    assert dialler.unacked_bytes(waiting) == 1
    for stream_id in streams:
        if acceptor.may_receive(stream_id):
            dialler.write(stream_id, b"", is_end=True)
            acceptor.write(stream_id, b"", is_end=True)
        path.run(0.01)
        acceptor.ping(now=path.now)
    path.until(lambda: dialler.blocked_stream_count == 0)
    path.run(0.5)
    assert path.data_at(1, waiting) == b"x"


@WHO
def test_stream_that_is_given_up_ends_at_both_sides(natives: tuple[bool, bool]) -> None:
    path = Path(natives)
    path.admit()
    dialler, acceptor = path.both
    stream_id = dialler.open_stream()
    dialler.write(stream_id, b"x")
    path.run(0.5)
    acceptor.abort_stream(stream_id, 77)
    path.run(0.5)
    codes = {
        (event.code, event.is_reset)
        for event in path.of_kind(0, StreamAborted)
        if isinstance(event, StreamAborted)
    }
    assert codes == {(77, True), (77, False)}
    dialler.write(stream_id, b"to nobody")
    assert dialler.unacked_bytes(stream_id) == 0
    assert not dialler.may_receive(stream_id)
    assert not acceptor.may_receive(stream_id)


def ended_at_both_sides() -> tuple[Path, NativeEngine, int]:
    """Return a path, the acceptor, and a stream that it has just ended after the dialler."""
    path = Path((True, True))
    path.admit()
    dialler, acceptor = path.both
    stream_id = dialler.open_stream()
    dialler.write(stream_id, b"x", is_end=True)
    path.run(0.5)
    acceptor.write(stream_id, b"y", is_end=True)
    assert isinstance(acceptor, NativeEngine)
    return path, acceptor, stream_id


def test_a_reset_that_comes_after_both_ends_changes_nothing() -> None:
    path, acceptor, stream_id = ended_at_both_sides()
    acceptor._take(("stream_reset", stream_id, 77))
    acceptor.write(stream_id, b"", is_end=True)
    path.run(0.5)
    assert not acceptor.may_receive(stream_id)
    assert not acceptor.unacked_bytes(stream_id)


def test_stream_that_ended_at_both_sides_may_be_given_up() -> None:
    """As a peer makes it be that asks late to hear no more of it (RFC 9000 section 3.5)."""
    path, acceptor, stream_id = ended_at_both_sides()
    path.run(0.5)
    acceptor._take(("stop_sending", stream_id, 77))
    acceptor._heard.add(stream_id)  # and what has come is not taken out yet
    acceptor.abort_stream(stream_id, 77)
    path.run(0.5)
    assert not path.of_kind(0, ConnectionEnded)


@WHO
def test_close_carries_code_and_text(natives: tuple[bool, bool]) -> None:
    path = Path(natives)
    path.admit()
    dialler, _ = path.both
    dialler.close(CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "so long"))
    dialler.close(CloseReason(CloseCode.UNEXPECTED_CLOSE, "again"))
    path.run(5.0)
    for side in (0, 1):
        [ended] = path.of_kind(side, ConnectionEnded)
        assert isinstance(ended, ConnectionEnded)
        assert ended.reason == CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "so long", remote=True)
    # Nothing that is still asked of it raises.
    stream_id = dialler.open_stream()
    dialler.write(stream_id, b"x", is_end=True)
    dialler.abort_stream(stream_id, 1)
    dialler.ping(now=path.now)
    dialler.release()
    dialler.write(stream_id, b"x")
    assert dialler.unacked_bytes(stream_id) == 0


@pytest.mark.parametrize("natives", [(True, True), (True, False), (False, True), (False, False)])
def test_who_hears_of_the_end_knows_it_at_once(natives: tuple[bool, bool]) -> None:
    """RFC 9000 section 10.2.2: it waits for what may still come, and nobody may open streams."""
    path = Path(natives)
    path.admit()
    dialler, acceptor = path.both
    dialler.close(CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "so long"))
    path.events[1].clear()
    for data, _ in dialler.datagrams_to_send(now=path.now):
        acceptor.receive_datagram(data, path.addrs[0], now=path.now)
    said = [acceptor.events.popleft() for _ in range(len(acceptor.events))]
    reason = CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "so long", remote=True)
    assert said == [ConnectionEnded(reason)]
    path.run(5.0)
    assert path.of_kind(1, ConnectionEnded) == []


@WHO
def test_silence_ends_the_connection(natives: tuple[bool, bool]) -> None:
    path = Path(natives)
    path.admit()
    path.loss = 1.0
    dialler, _ = path.both
    dialler.ping(now=path.now)
    path.run(3.0)
    assert dialler.probe_count > 2
    path.run(20.0)
    for side in (0, 1):
        [ended] = path.of_kind(side, ConnectionEnded)
        assert isinstance(ended, ConnectionEnded)
        assert ended.reason == CloseReason(CloseCode.UNEXPECTED_CLOSE, "idle timeout", remote=True)


def test_peer_that_has_proven_nothing_may_send_little() -> None:
    path = Path((True, True))
    path.run(2.0)
    dialler, _ = path.both
    stream_id = dialler.open_stream()
    dialler.write(stream_id, bytes(2 * UNPROVEN_DATAGRAM_BYTES_MAX))
    path.run(5.0)
    [ended] = path.of_kind(0, ConnectionEnded)
    assert isinstance(ended, ConnectionEnded)
    assert ended.reason.code == CloseCode.PROTOCOL_VIOLATION
    assert len(path.data_at(1, stream_id)) <= UNPROVEN_DATAGRAM_BYTES_MAX


def test_noise_and_changed_datagrams_change_nothing() -> None:
    path = Path((True, True))
    path.admit()
    dialler, acceptor = path.both
    stream_id = dialler.open_stream()
    dialler.write(stream_id, b"x" * 100)
    [(data, _)] = dialler.datagrams_to_send(now=path.now)
    rng = Random(1)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        acceptor.receive_datagram(changed, ADDRS[0], now=path.now)
    for size in range(0, 1500, 7):
        acceptor.receive_datagram(rng.randbytes(size), ADDRS[0], now=path.now)
    assert not acceptor.events
    acceptor.receive_datagram(data, ADDRS[0], now=path.now)
    path.run(0.1)
    assert path.data_at(1, stream_id) == b"x" * 100
    assert path.of_kind(1, ConnectionEnded) == []


def test_noise_before_the_handshake_raises_nothing() -> None:
    rng = Random(3)
    for _ in range(50):
        path = Path((True, True))
        dialler = path.engines[0]
        assert dialler is not None
        [(first, _)] = dialler.datagrams_to_send(now=0.0)
        head = path.factories[1].read_head(first)
        assert head is not None
        acceptor = path.factories[1].accept(head, ADDRS[0], now=0.0)
        at = rng.randrange(len(first))
        acceptor.receive_datagram(first[:at] + rng.randbytes(len(first) - at), ADDRS[0], now=0.0)
        acceptor.receive_datagram(first[:at], ADDRS[0], now=0.0)
        acceptor.datagrams_to_send(now=0.0)
        dialler.receive_datagram(rng.randbytes(300), ADDRS[1], now=0.0)
        dialler.receive_datagram(bytes([0xF0]) + rng.randbytes(300), ADDRS[1], now=0.0)
        assert not dialler.events


def test_engine_is_chosen_by_the_settings_and_the_address() -> None:
    near, far = ("127.0.0.1", 1), ("192.0.2.1", 1)
    auto = choose_engine(TransportConfig())
    assert (auto(near), auto(far)) == (False, True)
    small = choose_engine(TransportConfig(datagram_bytes_loopback=1200))
    assert (small(near), small(far)) == (True, True)
    assert not choose_engine(TransportConfig(quic_engine="aioquic"))(far)
    assert choose_engine(TransportConfig(quic_engine="qh3"))(near)
    with pytest.raises(ConfigError, match="quic_engine"):
        TransportConfig(quic_engine="other")


@pytest.mark.parametrize("loss", [0.0, 0.02, 0.1])
def test_streams_may_be_given_up_while_packets_wait_for_room(loss: float) -> None:
    """What the core has planned to send of a stream leaves before the stream is let go of."""
    for seed in range(12):
        rng = Random(seed)
        path = Path((True, True), loss=loss, seed=seed)
        path.admit()
        known: list[int] = []
        for _ in range(200):
            for engine in path.both:
                for _ in range(rng.randrange(6)):
                    known.append(engine.open_stream())
                    engine.write(known[-1], some_bytes(rng), is_end=rng.random() < 0.3)
            for engine in path.both:
                for _ in range(rng.randrange(8) if known else 0):
                    stream_id, choice = rng.choice(known), rng.random()
                    if choice < 0.4:
                        engine.write(stream_id, some_bytes(rng), is_end=rng.random() < 0.3)
                    elif choice < 0.8:
                        engine.abort_stream(stream_id, 7)
            path.run(rng.choice((0.0, 0.001, 0.005, 0.02)))
        for stream_id in known:
            for engine in path.both:
                engine.abort_stream(stream_id, 7)
        dialler, _ = path.both
        last = dialler.open_stream()
        dialler.write(last, b"x" * 10_000, is_end=True)
        path.until(partial(path.has_come, 1, last, 10_000))
        assert not path.of_kind(0, ConnectionEnded) + path.of_kind(1, ConnectionEnded)


def some_bytes(rng: Random) -> bytes:
    return bytes(rng.choice((0, 1, 100, 3000, 20000)))


def test_events_wait_for_room_but_not_for_ever() -> None:
    """While a peer acknowledges nothing they wait, up to so many bytes; then they come."""
    path = Path((True, True))
    path.admit()
    dialler, acceptor = path.both
    bulk = dialler.open_stream()
    dialler.write(bulk, bytes(1_000_000))
    for _ in range(3):  # none of these arrives
        dialler.datagrams_to_send(now=path.now)
        path.now += 0.01
        dialler.handle_timer(now=path.now)
    assert dialler.unacked_bytes(bulk) == 1_000_000
    dialler.write(dialler.open_stream(), b"x", is_end=True)
    acceptor.write(acceptor.open_stream(), bytes(1000))
    ((data, _),) = acceptor.datagrams_to_send(now=path.now)
    came_bytes = 0
    while not dialler.events:  # it comes again and again
        dialler.receive_datagram(data, path.addrs[1], now=path.now)
        came_bytes += len(data)
        assert came_bytes < 2 * HELD_BYTES_MAX
    assert came_bytes >= HELD_BYTES_MAX
    assert isinstance(dialler.events[0], StreamData)
