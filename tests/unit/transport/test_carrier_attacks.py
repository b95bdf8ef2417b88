"""What is done to an endpoint across its carriers, or over each of them in turn."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from mosaik_actors.clock import LoopClock
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.byte_streams.connection import StreamConnection
from mosaik_actors.transport.close import SHUTDOWN, CloseCode
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.connection.connection import Connection
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.frames import AcceptFrame
from mosaik_actors.transport.interface import LinkRefused
from mosaik_actors.transport.local.sockets import socket_name
from tests.waiting import until

from .endpoints import Server
from .hostile_scene import CARRIED, Raw, Scene, scene
from .raw import MALLORY, Ended, RawPeer, Stranger, open_bytes, raw_client
from .raw_streams import RawStreamPeer, raw_stream_client

OVER_STREAMS = ("unix", "tcp")
OVER = ("quic", *OVER_STREAMS)
on_each_carrier = pytest.mark.parametrize("kind", CARRIED)


class Machine:
    """Endpoints that offer all carriers, in one folder."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self._stack = stack
        self.folder = folder

    async def node(self, name: str, *carriers: str, run: str = "") -> QuicEndpoint:
        """Return an endpoint that offers these carriers, all of them by default."""
        config = TransportConfig(carriers=carriers) if carriers else None
        endpoint = await QuicEndpoint.start(
            "net",
            SecretKey.from_seed(name),
            clock=LoopClock(asyncio.get_running_loop()),
            rng=Random(name + run),
            config=config,
        )
        if not carriers or "unix" in carriers:
            endpoint.listen_local(self.folder)
        self._stack.push_async_callback(endpoint.close, SHUTDOWN)
        return endpoint

    def path_of(self, endpoint: QuicEndpoint) -> Path:
        """Return the path of an endpoint's socket."""
        return self.folder / socket_name(endpoint.peer_id)

    def stranger(self, kind: str, victim: QuicEndpoint) -> AbstractAsyncContextManager[Raw]:
        """Return a raw peer that proves who it is and nothing else."""
        if kind == "quic":
            return raw_client(victim.addr.direct[0], kind=Stranger)
        where = victim.addr.direct[0] if kind == "tcp" else self.path_of(victim)
        return raw_stream_client(where, is_proving=False)


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    # Not in `tmp_path`, whose name may be longer than what a Unix socket's has room for.
    with TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            yield Machine(stack, Path(folder))


# Proofs.


@pytest.mark.parametrize("used_on", OVER)
@pytest.mark.parametrize("made_for", OVER)
async def test_proof_is_worth_nothing_on_another_connection(
    machine: Machine, made_for: str, used_on: str
) -> None:
    """Keys, network and role are the same: only the connection is another one."""
    victim = await machine.node("victim")
    async with AsyncExitStack() as stack:
        pair = []
        for kind in (made_for, used_on):
            pair.append(await stack.enter_async_context(machine.stranger(kind, victim)))
            await pair[-1].wait_connected()
        first, second = pair
        proof = first.admission().begin()
        second.send(proof, is_end=True)
        assert (await second.end()).error_code == CloseCode.DIFFERENT_NETWORK
        assert second.proof == b""
        assert victim.connected_peers() == []
        # Where it was made for it counts still.
        first.send(proof, is_end=True)
        await until(lambda: victim.connected_peers() == [MALLORY.peer_id])


@pytest.mark.parametrize("kind", OVER_STREAMS)
async def test_bytes_of_an_honest_dialler_prove_nobody_the_second_time(
    machine: Machine, kind: str
) -> None:
    """All that it said, HELLO and PROOF or the handshake of TLS, from the first byte on."""
    victim = await machine.node("victim")
    where: Any = victim.addr.direct[0] if kind == "tcp" else machine.path_of(victim)
    async with raw_stream_client(where) as honest:
        said = recorded(honest)
        await until(lambda: victim.connected_peers() == [MALLORY.peer_id])
    await until(lambda: victim.connection_count == 0)
    if kind == "tcp":
        reader, writer = await asyncio.open_connection(*where)
    else:
        reader, writer = await asyncio.open_unix_connection(where)
    writer.write(b"".join(said))
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            await reader.read()  # until it is hung up on
    writer.close()
    await until(lambda: victim.connection_count == 0)
    assert victim.counters.connections_opened == 1
    assert victim.counters.handshakes_failed == 1


def recorded(honest: RawStreamPeer) -> list[bytes]:
    """Return a list that what is sent from now on is appended to."""
    said: list[bytes] = []
    send = honest.send_plainly

    def record(data: bytes) -> None:
        said.append(data)
        send(data)

    honest.send_plainly = record  # type: ignore[method-assign]
    return said


@pytest.mark.parametrize("carriers", [("unix", "tcp"), ("tcp", "unix"), ("quic", "unix")])
async def test_one_key_on_two_carriers_is_one_peer(
    machine: Machine, carriers: tuple[str, str]
) -> None:
    """The second holder of a key replaces the first, whatever carries either, and once."""
    victim = await machine.node("victim")
    Server(victim, "p")
    first = await machine.node("the key", carriers[0])
    await first.open_link(victim.addr, "p")
    assert victim.carrier(first.peer_id) == carriers[0]
    second = await machine.node("the key", carriers[1], run="another")
    link = await second.open_link(victim.addr, "p")
    await until(lambda: not first.connected_peers())
    for _ in range(3):
        with pytest.raises(LinkRefused) as caught:
            await first.open_link(victim.addr, "p")
        assert caught.value.reason.code == CloseCode.KEY_IN_USE
    assert link.is_open
    assert victim.connected_peers() == [first.peer_id]
    assert victim.carrier(first.peer_id) == carriers[1]


# The folder of sockets.


async def test_socket_that_is_a_link_to_another_peers_is_not_believed(machine: Machine) -> None:
    """Who listens there is not who was dialled; that one is reached by its address."""
    alice, bob, carol = [await machine.node(name) for name in ("alice", "bob", "carol")]
    Server(bob, "p")
    machine.path_of(bob).unlink()
    machine.path_of(bob).symlink_to(machine.path_of(carol))
    link = await alice.open_link(bob.addr, "p")
    assert link.is_open
    assert alice.carrier(bob.peer_id) != "unix"
    assert carol.counters.links_accepted == 0


async def test_nothing_but_the_socket_itself_is_removed(machine: Machine) -> None:
    """Neither what a link in the folder leads to, nor what is no socket at all."""
    alice, bob = await machine.node("alice"), await machine.node("bob")
    Server(bob, "p")
    target = machine.folder / "somebody's.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(target))  # and nobody listens
    machine.path_of(bob).unlink()
    machine.path_of(bob).symlink_to(target)
    assert (await alice.open_link(bob.addr, "p")).is_open  # by its address
    assert target.is_socket()
    # One's own name may be taken by a link, or by a folder with something in it.
    bob.listen_local(machine.folder)
    assert machine.path_of(bob).is_socket()
    assert not machine.path_of(bob).is_symlink()
    assert target.is_socket()
    machine.path_of(bob).unlink()
    machine.path_of(bob).mkdir()
    kept = machine.path_of(bob) / "kept"
    kept.write_text("mine")
    bob.listen_local(machine.folder)
    assert kept.read_text() == "mine"
    machine.path_of(alice).unlink()


# What one connection cannot bear.


def connection_of(victim: QuicEndpoint) -> Connection:
    """Return the connection of Mallory."""
    [it] = [one for one in victim._connections if one.peer_id == MALLORY.peer_id]
    return it


def fail(*_: object, **__: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("kind", OVER_STREAMS)
async def test_reading_that_fails_costs_its_own_connection_only(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(kind=kind) as attacked, attacked.intruder() as mallory:
        await until(lambda: len(attacked.victim.connected_peers()) == 2)
        connection = connection_of(attacked.victim)
        assert isinstance(connection, StreamConnection)
        monkeypatch.setattr(connection.engine, "_begin_part", fail)
        monkeypatch.setattr(connection.engine, "_take_piece", fail)
        mallory.make_answer()
        assert await mallory.end() == Ended(CloseCode.UNEXPECTED_CLOSE, "an internal error")
        assert attacked.victim.connected_peers() == [attacked.friend.peer_id]
        assert "a connection failed and is closed" in caplog.text
        await attacked.check_undisturbed()


@on_each_carrier
@pytest.mark.parametrize("broken", ["handle_timer", "get_timer"])
async def test_timer_that_fails_costs_its_own_connection_only(
    kind: str, broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the guard it would have no timer any more, and stay for ever."""
    async with scene(kind=kind) as attacked, attacked.intruder() as mallory:
        await until(lambda: len(attacked.victim.connected_peers()) == 2)
        outbound = attacked.victim._outbound
        connection = connection_of(attacked.victim)
        monkeypatch.setattr(connection.engine, "get_timer", lambda: 0.0)
        monkeypatch.setattr(connection.engine, broken, fail)
        outbound._on_timer(connection)  # as the loop calls it
        assert await mallory.end() == Ended(CloseCode.UNEXPECTED_CLOSE, "an internal error")
        await until(lambda: attacked.victim.connected_peers() == [attacked.friend.peer_id])
        assert connection not in outbound._timers
        assert "a connection failed and is closed" in caplog.text
        await attacked.check_undisturbed()


@pytest.mark.parametrize("kind", OVER_STREAMS)
async def test_raw_peer_whose_connection_is_over_writes_to_nobody(kind: str) -> None:
    async with scene(kind=kind) as attacked, attacked.intruder() as mallory:
        await until(lambda: len(attacked.victim.connected_peers()) == 2)
        assert not isinstance(mallory, RawPeer)
        link = mallory.send(open_bytes())
        mallory.engine.release()
        assert mallory.send(b"more", stream_id=link) == link
        assert mallory.send(b"new") > link


# Peers that do not read.


@on_each_carrier
async def test_who_asks_and_never_reads_makes_nothing_grow(kind: str) -> None:
    """Each link is refused, each ping is answered: the answers must not pile up for ever."""
    async with scene(kind=kind) as attacked, attacked.intruder() as mallory:
        await until(lambda: len(attacked.victim.connected_peers()) == 2)
        connection = connection_of(attacked.victim)
        stop_reading(mallory)
        for _ in range(400):
            for _ in range(10):
                mallory.send(open_bytes("nobody's"))
                mallory.make_answer()
            await asyncio.sleep(0)
            if connection.is_over:
                break
        await attacked.check_undisturbed()
        assert waiting_bytes(connection) < 4 * 1024 * 1024


def stop_reading(mallory: Raw) -> None:
    """Take in nothing any more."""
    if isinstance(mallory, RawPeer):
        mallory.datagram_received = lambda *_: None  # type: ignore[method-assign]
    else:
        mallory._writer.transport.pause_reading()  # type: ignore[attr-defined]


def waiting_bytes(connection: Connection) -> int:
    """Return how much waits to be sent, as far as it is the connection's."""
    total = sum(link.unsent_bytes for link in connection._links.values())
    if isinstance(connection, StreamConnection):
        engine = connection._stream_engine
        total += sum(map(len, engine.control)) + engine.untaken_bytes
        total += sum(stream.waiting for stream in engine._streams.values())
    return total


# Handshakes that break off.


@pytest.mark.parametrize("kind", OVER_STREAMS)
async def test_handshake_may_break_off_anywhere(kind: str) -> None:
    """After each so many bytes, by an end or by a reset; nothing is left, nobody notices."""
    async with scene(kind=kind) as attacked:
        for number, count in enumerate([0, 1, 8, 9, 10, 60, 100, 150, 200, 300, 600, 1000, 1500]):
            async with broken_off(attacked, count, resets=bool(number % 2)):
                pass
        await until(lambda: attacked.victim.connection_count == 1)
        assert attacked.victim.connected_peers() == [attacked.friend.peer_id]
        assert attacked.victim.counters.links_accepted == 1


@on_each_carrier
async def test_storm_of_connections_disturbs_no_honest_peer(kind: str) -> None:
    async with scene(kind=kind) as attacked:
        for number in range(5):
            async with AsyncExitStack() as stack:
                for count in range(6):
                    is_proving = bool(count % 2)
                    await stack.enter_async_context(attacked.intruder(is_proving=is_proving))
                if number % 2:  # or they are gone before anybody has looked at them
                    await until(lambda: attacked.victim.connection_count > 1)
            await attacked.check_undisturbed()
        await until(lambda: attacked.victim.connected_peers() == [attacked.friend.peer_id], 60)
        # And who comes after it is served.
        async with attacked.intruder() as late:
            await until(lambda: len(attacked.victim.connected_peers()) == 2)
            good = late.send(open_bytes())
            await until(lambda: late.frames.get(good) == [AcceptFrame(b"")])


@asynccontextmanager
async def broken_off(attacked: Scene, count: int, *, resets: bool) -> AsyncIterator[None]:
    """Connect, say the first bytes of a handshake, and break off."""
    async with attacked.intruder() as mallory:
        assert not isinstance(mallory, RawPeer)
        write, left = mallory.send_plainly, count

        def cut(data: bytes) -> None:
            nonlocal left
            write(data[:left])
            left -= len(data[:left])

        mallory.send_plainly = cut  # type: ignore[method-assign]
        if resets and attacked.kind == "tcp":
            linger = struct.pack("ii", 1, 0)
            sock = mallory._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await asyncio.sleep(0)  # it begins
        yield


# Time.


@on_each_carrier
async def test_clock_that_jumps_ends_no_connection_for_good(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a suspend: what is late may end, and whoever comes then is served."""
    async with scene(kind=kind) as attacked:
        loop = asyncio.get_running_loop()
        real, jump_s = loop.time, 10_000.0
        monkeypatch.setattr(loop, "time", lambda: real() + jump_s)
        link = await attacked.friend.open_link(attacked.victim.addr, "p", timeout=5)
        link.write(b"after it")
        there = await attacked.server.inbox(1)
        assert await there.until_frames(1) == [b"after it"]
        await attacked.connect(2)
