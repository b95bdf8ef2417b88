"""Only streams with something to write are asked for each packet, and none of them is forgotten.

One test for each way in which a silent stream comes to have something to write.
Pins in aioquic ``_streams_queue``, ``_streams.values()``, both of
``_get_or_create_stream``, the methods that write frames of streams, and
``_packet.delivery_handlers`` of its builder.
"""

from collections.abc import Callable
from typing import Any

import pytest

from mosaik_actors.transport.engine_events import StreamAborted, StreamData
from mosaik_actors.transport.quic.bounded import WINDOW_BYTES_MIN
from mosaik_actors.transport.quic.engine import Engine
from tests.unit.transport.test_engine import ADDR_A, Pair, data_of

SILENT_COUNT = 40


class BusyPair(Pair):
    """A client with many open streams on which nothing happens any more."""

    def __init__(self) -> None:
        super().__init__()
        self.run()
        self.admit()
        assert self.b is not None
        self.server = self.b
        self.streams = [self.a.open_stream() for _ in range(SILENT_COUNT)]
        for stream_id in self.streams:
            self.a.write(stream_id, b"hello")
        self.run()
        for engine in (self.a, self.server):
            engine.set_first_datagram_bytes(16_384)
            assert len(engine._quic._streams) == SILENT_COUNT
            assert queued(engine) == []

    def aborts(self) -> list[StreamAborted]:
        return [event for event in self.events_b if isinstance(event, StreamAborted)]


def queued(engine: Engine) -> list[int | None]:
    """Return the streams that the next packet is offered, in their order."""
    engine._quic._renew_queue()
    assert list(engine._quic._streams.values()) == engine._quic._streams_queue
    return [stream.stream_id for stream in engine._quic._streams_queue]


def lose_first(engine: Engine, writer: str) -> Callable[[], bool]:
    """Lose the datagrams with the first frame that this method writes; return whether it has."""
    quic, send = engine._quic, engine.datagrams_to_send
    write = getattr(quic, writer)
    state = {"written": False, "lost": False}

    def note_write(*args: Any, **kwargs: Any) -> Any:
        try:
            return write(*args, **kwargs)
        finally:  # the last frame of all ends the packet with an exception
            state["written"] = True

    def send_or_lose(*, now: float) -> list[tuple[bytes, Any]]:
        datagrams = send(now=now)
        if not state["written"] or state["lost"]:
            return datagrams
        state["lost"] = True
        return []

    setattr(quic, writer, note_write)
    engine.datagrams_to_send = send_or_lose  # type: ignore[method-assign]
    return lambda: state["lost"]


def ends(events: list[Any]) -> list[int]:
    return [event.stream_id for event in events if isinstance(event, StreamData) and event.is_end]


def test_silent_streams_are_not_asked_for_a_packet() -> None:
    pair = BusyPair()
    asked: list[int | None] = []
    quic = pair.a._quic
    write_limits = quic._write_stream_limits

    def note(builder: Any, space: Any, stream: Any) -> None:
        asked.append(stream.stream_id)
        write_limits(builder, space, stream)

    quic._write_stream_limits = note  # type: ignore[method-assign]
    pair.a.write(pair.streams[7], b"again")
    assert queued(pair.a) == [pair.streams[7]]
    pair.run()
    assert data_of(pair.events_b, pair.streams[7]) == b"helloagain"
    assert set(asked) == {pair.streams[7]}
    assert queued(pair.a) == []


@pytest.mark.parametrize("is_end", [False, True])
def test_lost_data_and_a_lost_end_are_sent_again(is_end: bool) -> None:
    pair = BusyPair()
    was_lost = lose_first(pair.a, "_write_stream_frame")
    stream_id = pair.streams[3]
    pair.a.write(stream_id, b"" if is_end else b"again", is_end=is_end)
    pair.run(3.0)
    assert was_lost()
    assert data_of(pair.events_b, stream_id) == (b"hello" if is_end else b"helloagain")
    assert ends(pair.events_b) == ([stream_id] if is_end else [])
    assert queued(pair.a) == []


@pytest.mark.parametrize("is_reset", [True, False])
@pytest.mark.parametrize("is_lost", [True, False])
def test_a_reset_and_a_stop_are_sent_and_if_lost_sent_again(is_reset: bool, is_lost: bool) -> None:
    pair = BusyPair()
    writer = "_write_reset_stream_frame" if is_reset else "_write_stop_sending_frame"
    was_lost = lose_first(pair.a, writer) if is_lost else lambda: False
    stream_id = pair.streams[3]
    if is_reset:
        pair.a._quic.reset_stream(stream_id, 5)
    else:
        pair.a._quic.stop_stream(stream_id, 5)
    assert queued(pair.a) == [stream_id]
    pair.run(3.0)
    assert was_lost() is is_lost
    assert pair.aborts() == [StreamAborted(stream_id, 5, is_reset=is_reset)]
    assert queued(pair.a) == []


def test_a_stream_that_the_peer_stops_is_reset() -> None:
    """RFC 9000 section 3.5."""
    pair = BusyPair()
    stream_id = pair.streams[3]
    pair.server._quic.stop_stream(stream_id, 5)
    pair.run(3.0)
    assert pair.aborts() == [StreamAborted(stream_id, 5, is_reset=True)]


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_raised_stream_limit_reaches_the_peer(is_lost: bool) -> None:
    pair = BusyPair()
    was_lost = lose_first(pair.server, "_write_due_stream_limits") if is_lost else lambda: False
    stream_id = pair.streams[3]
    # A little more than half of the window: nothing more comes that could show the stream again.
    pair.a.write(stream_id, bytes(WINDOW_BYTES_MIN // 2 + 1000))
    pair.run(5.0)
    assert was_lost() is is_lost
    raised_to = pair.server._quic._streams[stream_id].max_stream_data_local
    assert raised_to > WINDOW_BYTES_MIN
    assert pair.a._quic._streams[stream_id].max_stream_data_remote == raised_to
    assert queued(pair.server) == []


@pytest.mark.parametrize("limit", ["stream", "connection", "streams"])
def test_what_flow_control_holds_back_goes_on_when_the_limit_is_raised(limit: str) -> None:
    pair = BusyPair()
    quic, stream_id = pair.a._quic, pair.streams[3]
    stream = quic._streams[stream_id]
    if limit == "stream":
        stream.max_stream_data_remote = stream.sender.highest_offset
    elif limit == "connection":
        quic._remote_max_data = quic._remote_max_data_used
    else:
        while pair.a.blocked_stream_count == 0:
            stream_id = pair.a.open_stream()
        stream = quic._streams[stream_id]
    pair.a.write(stream_id, b"held back")
    held = pair.a.datagrams_to_send(now=pair.now)
    assert held == [] or limit == "streams"  # that it wants to open more is said
    assert queued(pair.a) == [stream_id]

    server = pair.server._quic
    if limit == "stream":
        server._streams[stream_id].max_stream_data_local_sent = 0  # as if the frame was lost
        pair.server._quic.touch(stream_id)
        pair.server._quic._inbound_count += 1
    elif limit == "connection":
        server._local_max_data.value += 1
    else:
        pair.server.set_link_count(2 * SILENT_COUNT)
    pair.server.ping(now=0.0)
    pair.run(3.0)
    assert data_of(pair.events_b, stream_id).endswith(b"held back")
    assert queued(pair.a) == []


@pytest.mark.parametrize("ends_last", ["here", "there"])
def test_a_stream_that_has_ended_is_put_away(ends_last: str) -> None:
    pair = BusyPair()
    stream_id = pair.streams[3]
    first, last = (pair.server, pair.a) if ends_last == "here" else (pair.a, pair.server)
    first.write(stream_id, b"", is_end=True)
    pair.run(1.0)
    assert stream_id in pair.a._quic._streams
    last.write(stream_id, b"", is_end=True)
    pair.run(1.0)
    for engine in (pair.a, pair.server):
        assert stream_id not in engine._quic._streams
        assert queued(engine) == []
        engine._quic.touch(stream_id)  # a late acknowledgement: nothing comes of it
        assert queued(engine) == []


def test_bytes_that_wait_for_earlier_ones_hold_the_window_until_these_come() -> None:
    """RFC 9000 section 4.1: the connection's window follows what was delivered."""
    pair = BusyPair()
    stream_id = pair.streams[3]
    pair.a.write(stream_id, bytes(10_000))
    [(early, _)] = pair.a.datagrams_to_send(now=pair.now)
    pair.a.write(stream_id, bytes(10_000))
    [(late, _)] = pair.a.datagrams_to_send(now=pair.now)
    pair.server.receive_datagram(late, ADDR_A, now=pair.now)
    assert queued(pair.server) == []
    assert list(pair.server._quic._gapped) == [stream_id]
    pair.server.receive_datagram(early, ADDR_A, now=pair.now)
    assert queued(pair.server) == []
    assert list(pair.server._quic._gapped) == []


def test_busy_streams_take_turns_and_a_small_one_is_not_kept_waiting() -> None:
    pair = BusyPair()
    busy = pair.streams[:3]
    for stream_id in busy:
        pair.a.write(stream_id, bytes(200_000))
    served: list[int | None] = []
    quic = pair.a._quic
    write_frame = quic._write_stream_frame

    def note(builder: Any, space: Any, stream: Any, max_offset: int) -> int:
        used = write_frame(builder, space, stream, max_offset)
        if used:
            served.append(stream.stream_id)
        return used

    quic._write_stream_frame = note  # type: ignore[method-assign]
    pair.a.datagrams_to_send(now=pair.now)
    pair.a.write(pair.streams[9], b"small")
    pair.run(1.0)
    assert set(served[:3]) == set(busy)
    counts = [served.count(stream_id) for stream_id in busy]
    assert max(counts) - min(counts) <= 2
    assert served.index(pair.streams[9]) < len(served) / 2


def test_a_connection_that_is_over_keeps_no_stream() -> None:
    pair = BusyPair()
    pair.a.write(pair.streams[3], b"too late")
    pair.a.release()
    pair.a._quic.touch(pair.streams[3])
    assert queued(pair.a) == []
    assert pair.a._quic._gapped == {}
