"""Whatever way a link or a stream ends, what it held is freed while the connection stays."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest
from aioquic.quic.stream import QuicStream

from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.connection import ended
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.frames import OpenFrame, encode_control, encode_word
from mosaik_actors.transport.interface import Link
from mosaik_actors.transport.quic.connection import QuicConnection
from mosaik_actors.transport.quic.engine import Engine
from tests.waiting import until

from .endpoints import Server, endpoint_maker, quic_connections
from .hostile_scene import CARRIED
from .raw import RawPeer, open_bytes, raw_client

HALF_FRAME = encode_word(1 << 20) + bytes(600_000)


class Taker:
    """Takes links and answers them as told; keeps no link alive."""

    def __init__(self, endpoint: QuicEndpoint, answer: Callable[[Link], Any]) -> None:
        self.links: list[weakref.ref[Link]] = []
        self._answer = answer
        endpoint.serve("p", self._take)

    def _take(self, link: Link) -> None:
        self.links.append(weakref.ref(link))
        link.attach(lambda _event: None)
        self._answer(link)


def connection_of(endpoint: QuicEndpoint) -> QuicConnection:
    return quic_connections(endpoint)[0]


def streams_of(connection: QuicConnection) -> dict[int, QuicStream]:
    engine = connection.quic
    assert isinstance(engine, Engine)
    return engine._quic._streams


def holds_nothing(connection: QuicConnection) -> bool:
    held = (
        connection._links,
        connection._unopened,
        connection._draining,
        connection._congested,
        connection._dirty,
        connection._touched,
        streams_of(connection),
    )
    return not any(held) and connection.peer_link_count == connection.own_link_count == 0


async def until_freed(connection: QuicConnection, taker: Taker | None = None) -> None:
    await until(lambda: holds_nothing(connection))
    assert connection._unopened.held_bytes == 0
    gc.collect()
    assert taker is None or [link() for link in taker.links if link() is not None] == []


async def until_taken_in(connection: QuicConnection, stream_id: int, size: int) -> None:
    streams = streams_of(connection)

    def has_come() -> bool:
        stream = streams.get(stream_id)
        return stream is None or stream.receiver.starting_offset() == size

    await until(has_come)


def reset(peer: RawPeer, stream_id: int) -> None:
    peer._quic.reset_stream(stream_id, 7)


def stop_and_reset(peer: RawPeer, stream_id: int) -> None:
    peer._quic.stop_stream(stream_id, 7)
    peer._quic.reset_stream(stream_id, 7)


def stop_then_finish(peer: RawPeer, stream_id: int) -> None:
    peer._quic.stop_stream(stream_id, 7)
    peer.send(b"", stream_id=stream_id, is_end=True)


def finish(peer: RawPeer, stream_id: int) -> None:
    peer.send(b"", stream_id=stream_id, is_end=True)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(open_bytes() + HALF_FRAME, id="inside a frame"),
        pytest.param(open_bytes(), id="just opened"),
        pytest.param(open_bytes()[:20], id="inside the open frame"),
        pytest.param(open_bytes("nobody"), id="refused"),
    ],
)
async def test_what_a_peer_ends_is_freed(sent: bytes) -> None:
    async with endpoint_maker("quic") as make:
        victim = cast(QuicEndpoint, await make("victim"))
        taker = Taker(victim, lambda link: link.accept())
        async with raw_client(victim.addr.direct[0]) as mallory:
            await mallory.wait_connected()
            for end in (reset, stop_and_reset, stop_then_finish, finish):
                stream_id = mallory.send(sent)
                await until(lambda: victim.connection_count)
                connection = connection_of(victim)
                await until_taken_in(connection, stream_id, len(sent))
                end(mallory, stream_id)
                mallory.transmit()
                await until_freed(connection, taker)


async def test_what_waits_for_a_peer_that_reads_no_more_is_freed() -> None:
    """The peer stops the stream and says nothing else: only its number is kept."""
    async with endpoint_maker("quic") as make:
        victim = cast(QuicEndpoint, await make("victim"))

        def answer(link: Link) -> None:
            link.accept()
            link.write(bytes(8_000_000))  # more than the peer's window

        taker = Taker(victim, answer)
        async with raw_client(victim.addr.direct[0]) as mallory:
            await mallory.wait_connected()
            stream_id = mallory.send(open_bytes())
            await until(lambda: taker.links)
            connection = connection_of(victim)
            await until(lambda: connection.engine.unacked_bytes(stream_id))
            sender = streams_of(connection)[stream_id].sender
            mallory._quic.stop_stream(stream_id, 7)
            mallory.transmit()
            await until(lambda: not connection._links)
            assert len(sender._buffer) == 0
            assert connection.engine.unacked_bytes(stream_id) == 0
            gc.collect()
            assert taker.links[0]() is None


async def test_what_a_peer_never_takes_after_the_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ended, "LINGER_S", 0.05)
    async with endpoint_maker("quic") as make:
        victim = cast(QuicEndpoint, await make("victim"))

        def answer(link: Link) -> None:
            link.accept()
            link.write(bytes(8_000_000))
            link.close()

        Taker(victim, answer)
        async with raw_client(victim.addr.direct[0]) as mallory:
            await mallory.wait_connected()
            mallory._quic._write_stream_limits = lambda *_args, **_kwargs: None  # type: ignore[method-assign]
            stream_id = mallory.send(open_bytes())
            await until(lambda: victim.connection_count)
            connection = connection_of(victim)
            await until(lambda: connection.engine.unacked_bytes(stream_id))
            sender = streams_of(connection)[stream_id].sender

            def gave_up() -> bool:
                connection.drop_lingering(now=victim._clock.monotonic())
                return not sender._buffer

            await until(gave_up)
            assert not connection._links


async def test_links_that_end_here_are_freed_at_both_ends() -> None:
    async with endpoint_maker("quic") as make:
        a, b = [cast(QuicEndpoint, await make(name)) for name in "ab"]
        refusing = CloseReason(1234, "no")
        taker = Taker(b, lambda link: None)  # never answers

        # Closed by the opener after it was accepted.
        taker._answer = lambda link: link.accept()
        link = await a.open_link(b.addr, "p")
        here, there = connection_of(a), connection_of(b)
        link.write(bytes(100_000))
        link.close()
        await until_freed(here)
        await until_freed(there, taker)

        # Closed by the acceptor, before and after it was accepted.
        def refuse(link: Link) -> None:
            link.close(refusing)

        def end_soon(link: Link) -> None:
            link.accept()
            link.write(bytes(100_000))
            link.close(refusing)

        for answer in (refuse, end_soon):
            taker._answer = answer
            with suppress(OSError):
                await a.open_link(b.addr, "p")
            await until_freed(here)
            await until_freed(there, taker)

        # Cancelled while it was being opened, and refused as nobody serves the protocol.
        taker._answer = lambda link: None
        opening = asyncio.create_task(a.open_link(b.addr, "p"))
        await until(lambda: there.peer_link_count)
        opening.cancel()
        await asyncio.wait([opening])
        with pytest.raises(OSError, match="nothing serves"):
            await a.open_link(b.addr, "nobody")
        await until_freed(here)
        await until_freed(there, taker)


async def test_peer_completes_open_frames_before_it_sends_more() -> None:
    async with endpoint_maker("quic") as make:
        victim = cast(QuicEndpoint, await make("victim"))
        server = Server(victim, "p")
        whole = encode_control(OpenFrame("p", bytes(65_000)))
        async with raw_client(victim.addr.direct[0]) as mallory:
            await mallory.wait_connected()
            mallory.send(open_bytes())
            await server.inbox()
            connection = connection_of(victim)
            begun = [mallory.send(whole[:-1]) for _ in range(70)]  # more than may be unopened
            await until(lambda: connection._unopened.held_bytes > 1024 * 1024)
            for stream_id in begun:
                mallory.send(whole[-1:], stream_id=stream_id)
            await server.inbox(70)
            assert connection._unopened.held_bytes == 0


async def test_links_of_a_connection_that_is_lost_are_freed() -> None:
    """Also while somebody still holds the link: it holds nothing itself."""
    async with endpoint_maker("quic") as make:
        a, b = [cast(QuicEndpoint, await make(name)) for name in "ab"]
        server = Server(b, "p")
        link = await a.open_link(b.addr, "p")
        there = await server.inbox()
        here = connection_of(a)
        link.write(bytes(3_000_000))
        b.crash()
        a.disconnect(b.peer_id, CloseReason(1234, "gone"))
        assert not link.is_open
        assert not there.link.is_open
        assert holds_nothing(here)
        assert link.unsent_bytes == 0


@pytest.mark.parametrize("kind", CARRIED)
async def test_connection_that_is_replaced_ends_after_what_its_links_wrote(kind: str) -> None:
    """A link that ended here may still be on its way when another connection is used."""
    frames = [bytes([number]) * 100_000 for number in range(100)]
    async with endpoint_maker(kind) as make:
        dialler = cast(QuicEndpoint, await make("dialler"))
        acceptor = await make("acceptor")
        server = Server(acceptor, "p")
        link = await dialler.open_link(acceptor.addr, "p")
        there = await server.inbox()
        [connection] = dialler._connections
        for frame in frames:
            link.write(frame)
        link.close(CloseReason(CloseCode.GRACEFUL_SHUTDOWN, "that was all"))
        connection.flush(now=asyncio.get_running_loop().time())
        connection.is_retiring = True
        dialler._connections._tick_handle.cancel()
        dialler._connections._tick()
        await there.until_closed()
        assert there.frames == frames
        assert there.closed[0].reason.text == "that was all"
        # Then it is not needed any more.
        await until(lambda: not connection.has_unsent)
        dialler._connections._tick_handle.cancel()
        dialler._connections._tick()
        assert connection.is_over
