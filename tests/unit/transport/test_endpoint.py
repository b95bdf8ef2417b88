"""What only the QUIC endpoint does: sockets, restarts, silence, paths."""

import asyncio
import socket
from random import Random
from typing import cast

import pytest

from mosaik_actors.clock import LoopClock
from mosaik_actors.errors import ConfigError, TransportError
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport import sockets
from mosaik_actors.transport.address import PeerAddr, SocketAddr
from mosaik_actors.transport.close import SHUTDOWN, CloseCode
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import (
    Endpoint,
    FramesReceived,
    Link,
    LinkEvent,
    LinkRefused,
    PeerConnected,
    PeerDisconnected,
)
from mosaik_actors.transport.sockets import UdpPort
from tests.waiting import until

from .endpoints import Inbox, Server, endpoint_maker, quic_connections

QUICK = TransportConfig(idle_timeout=0.6, keep_alive_interval=0.15)


async def start(name: str, *bind: tuple[str, int], run: int = 1) -> QuicEndpoint:
    return await QuicEndpoint.start(
        "net",
        SecretKey.from_seed(name),
        bind=bind or [("127.0.0.1", 0)],
        clock=LoopClock(asyncio.get_running_loop()),
        rng=Random(f"{name} {run}"),
        config=TransportConfig(carriers=("quic",)),
    )


async def test_busy_port_is_named() -> None:
    first = await start("first")
    host, port = first.addr.direct[0]
    with pytest.raises(TransportError, match=f"UDP port {port} is in use"):
        await start("second", (host, port))
    await first.close(SHUTDOWN)


@pytest.mark.parametrize(
    ("bind", "text"),
    [
        ([], "bind is empty"),
        ([("localhost.invalid", 0)], "names are not looked up: give an IP address"),
        ([("192.0.2.1", 0)], "cannot listen at 192.0.2.1:0"),
        ([("127.0.0.1", 0), ("127.0.0.1", 0)], "one socket per address family"),
    ],
)
async def test_wrong_bind_is_explained_and_leaves_no_socket(
    bind: list[tuple[str, int]], text: str
) -> None:
    clock = LoopClock(asyncio.get_running_loop())
    with pytest.raises(TransportError, match=text):
        await QuicEndpoint.start(
            "n", SecretKey.from_seed("k"), bind=bind, clock=clock, rng=Random(1)
        )


async def test_both_families_are_served_and_dialled() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    both = await start("both", ("127.0.0.1", 0), ("::1", 0))
    server = Server(both, "p")
    six = await start("six", ("::1", 0))
    four = await start("four")
    for number, peer in enumerate((six, four)):
        link = await peer.open_link(both.addr, "p")
        link.write(b"hello")
        assert await (await server.inbox(number)).until_frames(1) == [b"hello"]
    for endpoint in (six, four, both):
        await endpoint.close(SHUTDOWN)


async def test_dead_address_does_not_hold_up_a_good_one() -> None:
    a, b = await start("a"), await start("b")
    Server(b, "p")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        dead = ("127.0.0.1", silent.getsockname()[1])
        link = await a.open_link(PeerAddr(b.peer_id, (dead, *b.addr.direct)), "p", timeout=3)
        assert link.is_open
        await until(lambda: a.connection_count == 1)
    await a.close(SHUTDOWN)
    await b.close(SHUTDOWN)


async def test_dial_that_nobody_answers_says_where_it_tried() -> None:
    async with endpoint_maker("quic") as make:
        a = await make("a", config=TransportConfig(dial_timeout=0.3))
        nobody = PeerAddr(SecretKey.from_seed("nobody").peer_id, (("127.0.0.1", 9),))
        with pytest.raises(LinkRefused, match=r"did not answer at 127\.0\.0\.1:9"):
            await a.open_link(nobody, "p")


async def test_silent_peer_is_given_up_after_the_idle_timeout() -> None:
    async with endpoint_maker("quic") as make:
        a = await make("a", config=QUICK)
        b = cast(QuicEndpoint, await make("b", config=QUICK))
        Server(b, "p")
        inbox = Inbox(await a.open_link(b.addr, "p"))
        b.crash()
        closed = await inbox.until_closed()
        assert closed.reason.code == CloseCode.UNEXPECTED_CLOSE
        assert a.connected_peers() == []


async def test_idle_connection_with_a_link_is_kept_alive_and_one_without_ends() -> None:
    async with endpoint_maker("quic") as make:
        a, b = await make("a", config=QUICK), await make("b", config=QUICK)
        server = Server(b, "p")
        link = await a.open_link(b.addr, "p")
        inbox = await server.inbox()
        quick = cast(QuicEndpoint, a)
        sent = quick.counters.datagrams_sent
        # Several idle timeouts' worth of keep-alives go by.
        await until(lambda: quick.counters.datagrams_sent >= sent + 10)
        link.write(b"still here")
        assert await inbox.until_frames(1) == [b"still here"]
        link.close()
        await until(lambda: not a.connected_peers() and not b.connected_peers())


async def test_restarted_peer_replaces_its_former_self_at_once() -> None:
    """The same key with another instance: the old links end without waiting for a timeout."""
    async with endpoint_maker("quic") as make:
        b = await make("b")
        server = Server(b, "p")
        events: list[object] = []
        b.on_connection_event(events.append)
        old = cast(QuicEndpoint, await make("a"))
        await old.open_link(b.addr, "p")
        inbox = await server.inbox()
        old.crash()
        clock = LoopClock(asyncio.get_running_loop())
        key = SecretKey.from_seed("a")
        new = await QuicEndpoint.start("net", key, clock=clock, rng=Random("second run"))
        await new.open_link(b.addr, "p")
        closed = await inbox.until_closed()
        assert closed.reason.text == "the peer restarted"
        assert [type(event) for event in events] == [PeerConnected, PeerDisconnected, PeerConnected]
        await new.close(SHUTDOWN)


async def test_peer_that_restarts_at_its_old_port_is_found_again_without_dialling_itself() -> None:
    """Nobody tells the restarted peer of its friends: their own datagrams do."""
    async with endpoint_maker("quic") as make:
        a = cast(QuicEndpoint, await make("a"))
        b = await start("b")
        Server(b, "p")
        link = await a.open_link(b.addr, "p")
        inbox = Inbox(link)
        b.crash()
        again = await start("b", b.addr.direct[0], run=2)
        again_server = Server(again, "p")
        link.write(b"are you there?")
        closed = await asyncio.wait_for(inbox.until_closed(), 3)
        assert closed.reason.text == "the peer restarted"
        await a.open_link(b.addr, "p")
        await again_server.inbox()
        await again.close(SHUTDOWN)


async def test_forged_hint_of_loss_ends_nothing() -> None:
    async with endpoint_maker("quic") as make:
        a = cast(QuicEndpoint, await make("a"))
        b = cast(QuicEndpoint, await make("b"))
        server = Server(b, "p")
        link = await a.open_link(b.addr, "p")
        [connection] = quic_connections(a)
        b._outbound.send(
            next(iter(b._ports.values())),
            b"\x03mosaik-lost" + connection.quic.peer_cid,
            a.addr.direct[0],
        )
        await until(lambda: connection.is_doubted)
        link.write(b"still here")
        assert await (await server.inbox()).until_frames(1) == [b"still here"]
        await until(lambda: a.connection_count >= 1 and not a._dialer.dial_count)
        assert link.is_open


async def test_close_does_not_wait_for_a_peer_that_is_gone() -> None:
    a, b = await start("a"), await start("b")
    Server(b, "p")
    link = await a.open_link(b.addr, "p")
    b.crash()
    link.write(b"never acknowledged")
    started = asyncio.get_running_loop().time()
    await a.close(SHUTDOWN)
    assert asyncio.get_running_loop().time() - started < 1.5


async def test_two_dials_leave_one_connection_that_both_sides_chose() -> None:
    config = TransportConfig(keep_alive_interval=0.1, idle_timeout=5)
    async with endpoint_maker("quic") as make:
        a = cast(QuicEndpoint, await make("a", config=config))
        b = cast(QuicEndpoint, await make("b", config=config))
        Server(a, "p")
        Server(b, "p")
        links = await asyncio.gather(a.open_link(b.addr, "p"), b.open_link(a.addr, "p"))
        assert all(link.is_open for link in links)
        # New links go over the one that both prefer; the other ends with its last link.
        here, there = await a.open_link(b.addr, "p"), await b.open_link(a.addr, "p")
        for link in links:
            link.close()
        await until(lambda: a.connection_count == b.connection_count == 1)
        assert here.is_open
        assert there.is_open


async def test_path_is_searched_for_larger_datagrams() -> None:
    """Loopback, treated as any other path: 1,200 bytes first, then what the search finds."""
    config = TransportConfig(
        quic_engine="aioquic", datagram_bytes_loopback=1200, datagram_bytes_max=8000
    )
    async with endpoint_maker("quic") as make:
        a = cast(QuicEndpoint, await make("a", config=config))
        b = await make("b", config=config)
        server = Server(b, "p")
        link = await a.open_link(b.addr, "p")
        [connection] = quic_connections(a)
        await until(lambda: connection.quic.datagram_bytes == 8000)
        before = a.counters.datagrams_sent
        link.write(bytes(80_000))
        await (await server.inbox()).until_frames(1)
        assert a.counters.datagrams_sent - before < 40


async def test_datagram_too_large_for_the_interface_shrinks_the_path() -> None:
    async with endpoint_maker("quic") as make:
        config = TransportConfig(
            quic_engine="aioquic", datagram_bytes_loopback=1200, datagram_bytes_max=8000
        )
        a = cast(QuicEndpoint, await make("a", config=config))
        b = await make("b")
        server = Server(b, "p")
        link = await a.open_link(b.addr, "p")
        [connection] = quic_connections(a)
        await until(lambda: connection.quic.datagram_bytes == 8000)
        # What the interface would say, had its MTU become smaller.
        connection.quic.set_datagram_bytes(65_500)
        a._outbound.send(next(iter(a._ports.values())), bytes(65_530), connection.remote)
        assert connection.quic.datagram_bytes == 1200
        link.write(bytes(50_000))
        await (await server.inbox()).until_frames(1)


async def test_closed_endpoint_leaves_no_task_and_no_timer() -> None:
    a, b = await start("a"), await start("b")
    Server(b, "p")
    await a.open_link(b.addr, "p")
    dial = asyncio.create_task(
        a.open_link(PeerAddr(SecretKey.from_seed("nobody").peer_id, (("127.0.0.1", 9),)), "p")
    )
    await until(lambda: a._dialer.dial_count)
    await a.close(SHUTDOWN)
    with pytest.raises(LinkRefused, match="closing"):
        await dial
    await b.close(SHUTDOWN)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert [timer for timer in scheduled if not timer.cancelled()] == []


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"keep_alive_interval is 10\.0, expected less than"):
        TransportConfig(keep_alive_interval=10, idle_timeout=10)
    with pytest.raises(ConfigError, match="datagram_bytes_max is 100, expected 1200 to"):
        TransportConfig(datagram_bytes_max=100)


async def lone_echoes(server: Endpoint, client: Endpoint) -> tuple[Link, Inbox]:
    """Open a link on which the server answers, and have 20 frames go there and back alone.

    A frame "crash" has the server crash.
    """

    def echo(link: Link) -> None:
        def answer(event: LinkEvent) -> None:
            if isinstance(event, FramesReceived) and b"crash" in event.frames:
                assert isinstance(server, QuicEndpoint)
                server.crash()
            elif isinstance(event, FramesReceived):
                link.write_many(event.frames)

        link.attach(answer)
        link.accept()

    server.serve("echo/1", echo)
    link = await client.open_link(server.addr, "echo/1")
    inbox = Inbox(link)
    for number in range(20):
        link.write(bytes([number]))
        await inbox.until_frames(number + 1)
    return link, inbox


async def test_where_datagrams_come_alone_the_answer_leaves_before_more_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[tuple[str, str]] = []
    read, send = UdpPort.read, UdpPort.send

    def note_read(port: UdpPort) -> tuple[bytes, SocketAddr] | None:
        found = read(port)
        done.append((str(port.addrs), "nothing" if found is None else "datagram"))
        return found

    def note_send(port: UdpPort, data: bytes, remote: SocketAddr) -> None:
        send(port, data, remote)
        done.append((str(port.addrs), "answer"))

    one_by_one = TransportConfig(quic_engine="aioquic")
    async with endpoint_maker("quic") as make:
        server, client = [await make(name, config=one_by_one) for name in ("server", "client")]

        link, inbox = await lone_echoes(server, client)
        monkeypatch.setattr(UdpPort, "read", note_read)
        monkeypatch.setattr(UdpPort, "send", note_send)
        for number in range(20, 30):
            link.write(bytes([number]))
            await inbox.until_frames(number + 1)
        here = [what for addrs, what in done if addrs == str(list(server.addr.direct))]
        steps = [here[at : at + 2] for at, what in enumerate(here) if what == "datagram"]
        assert steps.count(["datagram", "answer"]) >= 8

        # What comes in bursts again is all taken in.
        many = [number.to_bytes(4, "big") * 500 for number in range(1000)]
        link.write_many(many)
        frames = await inbox.until_frames(1030)
        assert frames[30:] == many


async def test_closed_endpoint_does_not_look_for_more() -> None:
    """An answer to a lone datagram may close the endpoint that was about to look on."""
    async with endpoint_maker("quic") as make:
        server, client = await make("server"), await make("client")
        assert isinstance(server, QuicEndpoint)
        link, _ = await lone_echoes(server, client)
        link.write(b"crash")
        await until(lambda: server._outbound._is_released)
        await asyncio.sleep(0)
        assert not server.peer_log._kinds


async def test_addresses_that_come_and_go_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = await QuicEndpoint.start(
        "net",
        SecretKey.from_seed("moving"),
        bind=[("0.0.0.0", 0)],
        clock=LoopClock(asyncio.get_running_loop()),
        rng=Random("moving"),
    )
    try:
        assert endpoint.may_move
        assert not endpoint.look_where()
        port = endpoint.addr.direct[0][1]
        moved = [("192.0.2.7", port), ("192.0.2.8", port)]
        monkeypatch.setattr(sockets, "advertised_addrs", lambda _sock: moved)
        assert endpoint.look_where()
        assert endpoint.addr.direct == tuple(moved)
        assert endpoint.addr.carriers == ("tcp", "quic")
        moved.reverse()  # in whichever order the system lists them
        assert not endpoint.look_where()
    finally:
        await endpoint.close(SHUTDOWN)
