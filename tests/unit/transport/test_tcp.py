"""TLS over TCP between endpoints, and what outsiders may send to its port."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import pytest

from mosaik_actors.clock import LoopClock
from mosaik_actors.errors import TransportError
from mosaik_actors.ids import PeerId, SecretKey
from mosaik_actors.testing import TIME_FACTOR
from mosaik_actors.transport.address import PeerAddr, SocketAddr
from mosaik_actors.transport.byte_streams.connection import StreamConnection
from mosaik_actors.transport.byte_streams.port import StreamPort
from mosaik_actors.transport.close import SHUTDOWN, CloseCode
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.connection.connection import ConnectionState
from mosaik_actors.transport.endpoint import QuicEndpoint, attempt, routes
from mosaik_actors.transport.interface import LinkRefused
from mosaik_actors.transport.tls.session import TlsSession, make_context
from tests.waiting import until

from .endpoints import Inbox, Server
from .raw import MALLORY

QUIC_ONLY = TransportConfig(carriers=("quic",))
TCP_ONLY = TransportConfig(carriers=("tcp",))

Node = Callable[..., Awaitable[QuicEndpoint]]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """Give ``node(name, config=None, network="net", port=0)``; all it made is closed."""
    async with AsyncExitStack() as stack:

        async def make(
            name: str,
            config: TransportConfig | None = None,
            network: str = "net",
            port: int = 0,
        ) -> QuicEndpoint:
            endpoint = await QuicEndpoint.start(
                network,
                SecretKey.from_seed(name),
                bind=[("127.0.0.1", port)],
                clock=LoopClock(asyncio.get_running_loop()),
                rng=Random(name),
                config=config,
            )
            stack.push_async_callback(endpoint.close, SHUTDOWN)
            return endpoint

        yield make


class RawTls:
    """A stranger with a key, who speaks TLS and then whatever it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._session = TlsSession(make_context(MALLORY, 7), is_initiator=True)

    async def shake_hands(self) -> None:
        """Finish the handshake."""
        done, data = None, b""
        while done is None:
            done = self._session.shake_hands(data)
            self._writer.write(self._session.take_output())
            if done is None:
                data = await self._reader.read(1 << 16)
                assert data, "the victim hung up"

    def send(self, data: bytes) -> None:
        """Send bytes within the session."""
        self._writer.write(self._session.encrypt([data]))

    def send_plainly(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)

    async def until_hung_up(self) -> None:
        """Wait until the victim ends the connection."""
        async with asyncio.timeout(10):
            try:
                while await self._reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass


@asynccontextmanager
async def stranger(addr: SocketAddr) -> AsyncIterator[RawTls]:
    """Connect to a port."""
    reader, writer = await asyncio.open_connection(*addr)
    try:
        yield RawTls(reader, writer)
    finally:
        writer.transport.abort()


async def linked(a: QuicEndpoint, b: QuicEndpoint) -> tuple[Inbox, Inbox]:
    """Return both ends of a new link from a to b, which serves ``p``."""
    server = Server(b, "p")
    here = Inbox(await a.open_link(b.addr, "p"))
    return here, await server.inbox()


# Which carrier is used.


async def test_near_peers_use_tcp_and_say_so(node: Node) -> None:
    a, b = await node("a"), await node("b")
    here, there = await linked(a, b)
    assert (a.carrier(b.peer_id), b.carrier(a.peer_id)) == ("tcp", "tcp")
    assert b.addr.carriers == ("tcp", "quic")
    await until(lambda: here.link.rtt is not None)
    here.link.write(b"x" * 3_000_000)
    there.link.write(b"y" * 3_000_000)
    assert len((await there.until_frames(1))[0]) == len((await here.until_frames(1))[0])
    assert a.counters.datagrams_sent == 0


@pytest.mark.parametrize("only", ["a", "b"])
async def test_peer_without_tcp_is_reached_by_quic(node: Node, only: str) -> None:
    a = await node("a", QUIC_ONLY if only == "a" else None)
    b = await node("b", QUIC_ONLY if only == "b" else None)
    await linked(a, b)
    assert a.carrier(b.peer_id) == "quic"


async def test_port_of_something_else_leaves_quic(node: Node) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    foreign = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = foreign.sockets[0].getsockname()[1]
    try:
        a, b = await node("a"), await node("b", port=port)
        assert b.addr.carriers == ("quic",)
        Server(b, "p")
        # Where it is said by hand, nothing says what b listens with.
        await a.open_link(PeerAddr(b.peer_id, b.addr.direct), "p")
        assert a.carrier(b.peer_id) == "quic"
    finally:
        foreign.close()
        await foreign.wait_closed()


async def test_network_that_drops_udp_works_within_two_seconds(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer is far, so that QUIC is tried first; b reads no datagrams."""
    monkeypatch.setattr(attempt, "NEAR_S", 0.0)
    a, b = await node("a"), await node("b", TCP_ONLY)
    Server(b, "p")
    begin = asyncio.get_running_loop().time()
    await a.open_link(PeerAddr(b.peer_id, b.addr.direct), "p")
    assert a.carrier(b.peer_id) == "tcp"
    assert a.counters.datagrams_sent > 0
    assert asyncio.get_running_loop().time() - begin >= attempt.RESERVE_S


async def test_connection_over_quic_that_turns_out_near_is_replaced(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await node("a"), await node("b")
    server = Server(b, "p")
    with monkeypatch.context() as patch:
        patch.setattr(attempt, "NEAR_S", 0.0)
        first = Inbox(await a.open_link(b.addr, "p"))
    assert a.carrier(b.peer_id) == "quic"
    await until(lambda: first.link.rtt is not None)
    monkeypatch.setattr(routes, "NEAR_S", 10.0)  # however busy this machine is
    second = Inbox(await a.open_link(b.addr, "p"))
    await until(lambda: a.carrier(b.peer_id) == "tcp")
    # What was open goes on where it is.
    for number, inbox in enumerate((first, second)):
        inbox.link.write(b"still here")
        await (await server.inbox(number)).until_frames(1)
    assert first.closed == []


@pytest.mark.parametrize("carriers", [("tcp",), ("unix", "tcp"), ("tcp", "relay")])
async def test_port_that_tcp_cannot_have_is_refused_where_nothing_else_listens(
    node: Node, carriers: tuple[str, ...]
) -> None:
    """Nobody on another machine could ever reach such a node, and nothing would say why."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TransportError, match=f"TCP port {port} is in use"):
            await node("a", TransportConfig(carriers=carriers), port=port)
        over_udp = await node("b", port=port)
        assert over_udp.addr.carriers == ("quic",)


# What ends a connection.


async def test_reset_costs_the_connection_and_the_next_one_works(node: Node) -> None:
    a, b = await node("a"), await node("b")
    server = Server(b, "p")
    here = Inbox(await a.open_link(b.addr, "p"))
    there = await server.inbox()
    [connection] = [one for one in a._connections if isinstance(one, StreamConnection)]
    sock = connection.port._socket
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.port.close()  # without a word: a reset
    assert (await there.until_closed()).reason.code == CloseCode.UNEXPECTED_CLOSE
    here.link.close(SHUTDOWN)
    connection.end(SHUTDOWN)
    again = Inbox(await a.open_link(b.addr, "p"))
    again.link.write(b"again")
    await (await server.inbox(1)).until_frames(1)


async def test_process_that_dies_is_missed_at_once(node: Node) -> None:
    a, b = await node("a"), await node("b")
    here, _ = await linked(a, b)
    b.crash()
    assert (await here.until_closed()).reason.code == CloseCode.UNEXPECTED_CLOSE
    await until(lambda: a.connected_peers() == [])


async def test_connection_that_was_replaced_and_leads_nowhere_ends_soon(node: Node) -> None:
    """As after a move: the peer has connected anew, and the old way swallows all."""
    config = TransportConfig(carriers=("tcp",), idle_timeout=60, keep_alive_interval=0.2)
    a, b = await node("a", config), await node("b", config)
    server = Server(a, "p")
    first = Inbox(await b.open_link(a.addr, "p"))
    there = await server.inbox()
    [old] = [one for one in b._connections if isinstance(one, StreamConnection)]
    asyncio.get_running_loop().remove_reader(old.port._socket)
    await b._dialer.dial(a.addr)
    assert "connected anew" in (await there.until_closed()).reason.text
    # What is replaced and answers stays for as long as it has links.
    old.end(SHUTDOWN)
    old.port.close()
    assert first.closed
    second = Inbox(await b.open_link(a.addr, "p"))
    await b._dialer.dial(a.addr)
    for number in range(20):
        second.link.write(bytes([number]))
        await (await server.inbox(1)).until_frames(number + 1)
        await asyncio.sleep(0.05)
    assert second.closed == []


async def test_one_way_traffic_keeps_a_connection_alive(node: Node) -> None:
    config = TransportConfig(carriers=("tcp",), idle_timeout=0.5, keep_alive_interval=0.1)
    a, b = await node("a", config), await node("b", config)
    here, there = await linked(a, b)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.5  # three times what silence may take
    while loop.time() < end:
        here.link.write(b"tick")
        count = len(there.frames)
        await there.until_frames(count + 1)
        await asyncio.sleep(0.02)
    assert here.closed == []
    assert there.closed == []


async def test_peer_with_another_id_than_dialled_is_refused_and_named(node: Node) -> None:
    a, b = await node("a", TCP_ONLY), await node("b", TCP_ONLY)
    wanted = SecretKey.from_seed("c").peer_id
    with pytest.raises(LinkRefused, match="answered where"):
        await a.open_link(PeerAddr(wanted, b.addr.direct), "p")
    await until(lambda: b.connection_count == 0)


async def test_another_network_is_refused(node: Node) -> None:
    a, b = await node("a", TCP_ONLY), await node("b", TCP_ONLY, network="another")
    with pytest.raises(LinkRefused) as caught:
        await a.open_link(b.addr, "p")
    assert caught.value.reason.code == CloseCode.DIFFERENT_NETWORK
    assert b.connected_peers() == []


# Strangers. Each test ends with an honest peer who notices nothing.

SHORT = TransportConfig(dial_timeout=0.3)


class Victim:
    """A node under attack, with an honest peer that is linked to it."""

    def __init__(self, endpoint: QuicEndpoint, here: Inbox, there: Inbox) -> None:
        self.endpoint = endpoint
        self.counters = endpoint.counters
        self.addr = endpoint.addr.direct[0]
        self._here = here
        self._there = there

    async def check_undisturbed(self) -> None:
        """Assert that the honest link carries frames, and that nobody else is there."""
        count = len(self._there.frames)
        self._here.link.write(b"still here")
        await self._there.until_frames(count + 1)
        await until(lambda: self.endpoint.connection_count == 1)


async def victim_of(node: Node, config: TransportConfig) -> Victim:
    """Return a node that has a link with an honest peer."""
    victim, honest = await node("victim", config), await node("honest")
    here, there = await linked(honest, victim)
    return Victim(victim, here, there)


GARBAGE = {
    "zeros": bytes(100),
    "http": b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    "noise": Random(1).randbytes(5000),
    "alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "endless": b"\x16\x03\x01\x40\x00\x01\x00\xff\xff" + bytes(80_000),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_hung_up_on(node: Node, data: bytes) -> None:
    victim = await victim_of(node, TransportConfig())
    async with stranger(victim.addr) as mallory:
        mallory.send_plainly(data)
        await mallory.until_hung_up()
    await until(lambda: victim.counters.handshakes_failed == 1)
    await victim.check_undisturbed()


@pytest.mark.parametrize("is_slow", [False, True])
async def test_who_does_not_finish_the_handshake_is_hung_up_on_in_time(
    node: Node, is_slow: bool
) -> None:
    victim = await victim_of(node, SHORT)
    async with stranger(victim.addr) as mallory:

        async def drip() -> None:
            for byte in b"\x16\x03\x01\x40\x00" + bytes(10_000):
                mallory.send_plainly(bytes([byte]))
                await asyncio.sleep(0.01)

        dripping = asyncio.ensure_future(drip()) if is_slow else None
        await mallory.until_hung_up()
        if dripping is not None:
            dripping.cancel()
    await victim.check_undisturbed()


@pytest.mark.parametrize("data", [b"", b"\x01", bytes(9), b"\xff" * 1000, Random(2).randbytes(999)])
async def test_who_has_a_key_and_no_proof_gets_nothing(node: Node, data: bytes) -> None:
    victim = await victim_of(node, SHORT)
    async with stranger(victim.addr) as mallory:
        await mallory.shake_hands()
        if data:
            mallory.send(data)
        await mallory.until_hung_up()
    assert victim.counters.connections_opened == 1
    await victim.check_undisturbed()


async def test_bytes_that_nobody_encrypted_end_the_session(node: Node) -> None:
    victim = await victim_of(node, TransportConfig())
    async with stranger(victim.addr) as mallory:
        await mallory.shake_hands()
        mallory.send_plainly(b"\x17\x03\x03\x00\x20" + bytes(32))
        await mallory.until_hung_up()
    await victim.check_undisturbed()


async def test_strangers_wait_once_they_have_had_their_share(node: Node) -> None:
    config = TransportConfig(host_handshakes_max=4, host_handshakes_per_s=0.001)
    victim = await victim_of(node, config)
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(stranger(victim.addr))
        one_more = await stack.enter_async_context(stranger(victim.addr))
        await one_more.until_hung_up()
        assert victim.counters.handshakes_deferred == 1
        assert victim.endpoint.connection_count == 5
    await victim.check_undisturbed()


async def test_unfinished_handshakes_make_way_for_newcomers(node: Node) -> None:
    config = TransportConfig(handshakes_max=4, known_reserve=0)
    victim = await victim_of(node, config)
    async with AsyncExitStack() as stack:
        for _ in range(12):
            await stack.enter_async_context(stranger(victim.addr))
        await until(lambda: victim.counters.handshakes_evicted == 8)
        assert victim.endpoint.connection_count == 1 + 4
        newcomer = await node("newcomer", TCP_ONLY)
        assert (await newcomer.open_link(victim.endpoint.addr, "p")).is_open
        await newcomer.close(SHUTDOWN)
    await victim.check_undisturbed()


async def test_connections_above_the_limit_are_refused(node: Node) -> None:
    victim = await victim_of(node, TransportConfig(connections_max=1, known_reserve=0))
    async with stranger(victim.addr) as mallory:
        await mallory.until_hung_up()
    assert victim.counters.connections_refused == 1
    await victim.check_undisturbed()


async def test_peer_that_reads_nothing_is_said_to_be_congested(node: Node) -> None:
    """What is written to it waits here, and leaves once it reads again."""
    a, b = await node("a", TCP_ONLY), await node("b", TCP_ONLY)
    here, there = await linked(a, b)
    [theirs] = [one for one in b._connections if isinstance(one, StreamConnection)]
    loop = asyncio.get_running_loop()
    loop.remove_reader(theirs.port._socket)
    count = 0
    while here.link.unsent_bytes < 2 * TCP_ONLY.high_water_bytes:
        here.link.write(bytes(1 << 20))
        count += 1
        await asyncio.sleep(0)
    assert here.drained_count == 0
    loop.add_reader(theirs.port._socket, theirs.port._read)
    await there.until_frames(count)
    await here.until(lambda: here.drained_count > 0)


async def test_connection_from_an_address_that_is_gone_ends(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await node("a", TCP_ONLY), await node("b", TCP_ONLY)
    here, _ = await linked(a, b)
    # A loopback address stays, whatever interfaces there are.
    a._moves.receive_move({"192.0.2.7"}, nowhere)
    with monkeypatch.context() as patch:
        patch.setattr(StreamPort, "local_host", "192.0.2.1")
        a._moves.receive_move({"192.0.2.1"}, nowhere)
        assert here.closed == []
        a._moves.receive_move({"192.0.2.7"}, nowhere)
    assert "address no longer" in (await here.until_closed()).reason.text
    assert (await a.open_link(b.addr, "p")).is_open


@pytest.mark.parametrize("who", ["dialler", "dialled"])
async def test_both_sides_connect_anew_at_once_when_one_has_moved(
    node: Node, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """The one that has not moved could not know before its idle timeout, of 30 seconds."""
    a, b = await node("a", TCP_ONLY), await node("b", TCP_ONLY)
    servers = {a: Server(a, "p"), b: Server(b, "p")}
    here = Inbox(await a.open_link(b.addr, "p"))
    there = await servers[b].inbox()
    mover, other = (a, b) if who == "dialler" else (b, a)
    [old] = [one for one in mover._connections if isinstance(one, StreamConnection)]
    # Nothing leaves from the address that is gone, not even the end of the connection.
    silent = socket.socketpair()
    old_socket, old.port._socket = old.port._socket, silent[0]
    asyncio.get_running_loop().remove_reader(old_socket)
    with monkeypatch.context() as patch:
        patch.setattr(StreamPort, "local_host", "192.0.2.1")
        mover._moves.receive_move({"192.0.2.7"}, {other.peer_id: other.addr}.get)
    began_at = asyncio.get_running_loop().time()
    theirs, ours = (there, here) if who == "dialler" else (here, there)
    assert "address no longer" in (await ours.until_closed()).reason.text
    assert "has moved" in (await theirs.until_closed()).reason.text
    assert asyncio.get_running_loop().time() - began_at < 1.0 * TIME_FACTOR
    assert mover.connected_peers() == [other.peer_id]
    [current] = other._connections.peers.connections(mover.peer_id)
    assert (await other.open_link(PeerAddr(mover.peer_id), "p")).is_open
    assert current.state is ConnectionState.READY
    for one in (old_socket, silent[1]):
        one.close()


def nowhere(_peer: PeerId) -> PeerAddr | None:
    """Nobody has said where any peer is."""
    return None
