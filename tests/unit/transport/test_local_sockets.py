"""Unix sockets between processes of one user: found, lost, left behind."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar, copy_context
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from mosaik_actors.clock import LoopClock
from mosaik_actors.errors import ConfigError
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.byte_streams.connection import StreamConnection
from mosaik_actors.transport.byte_streams.engine import StreamEngine
from mosaik_actors.transport.byte_streams.port import StreamPort
from mosaik_actors.transport.close import SHUTDOWN, CloseCode
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import LinkRefused
from mosaik_actors.transport.local.sockets import socket_name
from tests.waiting import until

from .endpoints import Inbox, Server

QUIC_ONLY = TransportConfig(carriers=("quic",))
_WHO: ContextVar[str] = ContextVar("who", default="the port")
UNIX_ONLY = TransportConfig(carriers=("unix",))


class FixedClock:
    """It is what it is set to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    wall = monotonic


class Machine:
    """Nodes of one user on one machine."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self._stack = stack
        self.folder = folder

    async def node(
        self, name: str, config: TransportConfig | None = None, network: str = "net"
    ) -> QuicEndpoint:
        """Return an endpoint that listens in the folder."""
        endpoint = await QuicEndpoint.start(
            network,
            SecretKey.from_seed(name),
            clock=LoopClock(asyncio.get_running_loop()),
            rng=Random(name),
            config=config,
        )
        endpoint.listen_local(self.folder)
        self._stack.push_async_callback(endpoint.close, SHUTDOWN)
        return endpoint

    def socket_of(self, endpoint: QuicEndpoint) -> Path:
        """Return where an endpoint listens."""
        return self.folder / socket_name(endpoint.peer_id)


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """Return an empty machine; the name of its folder is too long for a socket's address."""
    folder = tmp_path / ("a" * 100)
    folder.mkdir(mode=0o700)
    async with AsyncExitStack() as stack:
        yield Machine(stack, folder)


async def test_peers_on_one_machine_use_a_socket_and_leave_none_behind(machine: Machine) -> None:
    a, b = await machine.node("a"), await machine.node("b")
    server = Server(b, "p")
    link = await a.open_link(b.addr, "p")
    assert (a.carrier(b.peer_id), b.carrier(a.peer_id)) == ("unix", "unix")
    assert a.may_be_local(b.peer_id)
    await until(lambda: link.rtt is not None)
    link.write(b"x" * 3_000_000)
    await (await server.inbox()).until_frames(1)
    await until(lambda: link.unsent_bytes == 0)
    assert a.counters.datagrams_sent == 0
    for endpoint in (a, b):
        await endpoint.close(SHUTDOWN)
    assert list(machine.folder.iterdir()) == []


async def test_peer_is_reached_by_its_id_alone(machine: Machine) -> None:
    a, b = await machine.node("a"), await machine.node("b")
    Server(b, "p")
    assert (await a.open_link(PeerAddr(b.peer_id), "p")).is_open


@pytest.mark.parametrize("only", ["a", "b"])
async def test_one_that_has_no_sockets_is_reached_by_datagrams(machine: Machine, only: str) -> None:
    a = await machine.node("a", QUIC_ONLY if only == "a" else None)
    b = await machine.node("b", QUIC_ONLY if only == "b" else None)
    Server(b, "p")
    assert (await a.open_link(b.addr, "p")).is_open
    assert a.carrier(b.peer_id) == "quic"


async def test_no_datagram_leaves_where_only_sockets_may_carry(machine: Machine) -> None:
    a, b = await machine.node("a", UNIX_ONLY), await machine.node("b", QUIC_ONLY)
    with pytest.raises(LinkRefused):
        await a.open_link(b.addr, "p")
    assert a.counters.datagrams_sent == 0


@pytest.mark.parametrize("is_stale", [True, False])
async def test_socket_that_is_gone_or_left_by_the_dead_does_no_harm(
    machine: Machine, is_stale: bool
) -> None:
    a, b = await machine.node("a"), await machine.node("b")
    Server(b, "p")
    path = machine.socket_of(b)
    path.unlink()
    if is_stale:
        folder = os.open(machine.folder, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
            dead.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
        assert path.exists()
    assert (await a.open_link(b.addr, "p")).is_open
    assert a.carrier(b.peer_id) == "tcp"
    assert not path.exists()


async def test_socket_file_that_is_deleted_ends_no_connection(machine: Machine) -> None:
    a, b = await machine.node("a"), await machine.node("b")
    server = Server(b, "p")
    link = await a.open_link(b.addr, "p")
    machine.socket_of(b).unlink()
    link.write(b"still here")
    await (await server.inbox()).until_frames(1)


async def test_successor_keeps_its_socket_when_the_one_before_it_closes(machine: Machine) -> None:
    first = await machine.node("a")
    second = await machine.node("a")
    await first.close(SHUTDOWN)
    assert machine.socket_of(second).exists()


async def test_process_that_dies_is_missed_at_once(machine: Machine) -> None:
    a, b = await machine.node("a"), await machine.node("b")
    server = Server(b, "p")
    link = Inbox(await a.open_link(b.addr, "p"))
    await server.inbox()
    b.crash()
    await link.until_closed()
    assert a.connected_peers() == []


async def test_another_network_in_the_same_folder_is_refused(machine: Machine) -> None:
    a, b = await machine.node("a"), await machine.node("b", network="another")
    with pytest.raises(LinkRefused) as caught:
        await a.open_link(PeerAddr(b.peer_id), "p")
    assert caught.value.reason.code in (CloseCode.DIFFERENT_NETWORK, CloseCode.UNEXPECTED_CLOSE)


async def test_process_of_another_user_is_hung_up_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await machine.node("a"), await machine.node("b")
    Server(b, "p")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert (await a.open_link(b.addr, "p")).is_open
    assert a.carrier(b.peer_id) == "tcp"


async def test_stranger_that_says_nothing_is_hung_up_on_in_time(machine: Machine) -> None:
    b = await machine.node("b", TransportConfig(idle_timeout=0.3, keep_alive_interval=0.1))
    folder = os.open(machine.folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.connect(f"/proc/self/fd/{folder}/{machine.socket_of(b).name}")
        os.close(folder)
        await until(lambda: b.connection_count == 1)
        stranger.setblocking(False)
        await until(lambda: b.connection_count == 0)


@pytest.mark.parametrize(
    "carriers", ["unix", "tcp", (), ("udp",), ("unix", "carrier pigeon"), 5, None, [["tcp"]]]
)
def test_unknown_carriers_are_refused(carriers: Any) -> None:
    with pytest.raises(ConfigError, match="carriers"):
        TransportConfig(carriers=carriers)


def test_carriers_are_kept_as_they_were_given() -> None:
    given: Any = ["unix", "tcp"]
    config = TransportConfig(carriers=given)
    given.append("relay")
    assert config.carriers == ("unix", "tcp")


async def test_room_in_a_socket_is_no_sign_of_life() -> None:
    """The kernel takes what is sent, also for a peer that has stopped."""
    ours, theirs = socket.socketpair()
    for one in (ours, theirs):
        one.setblocking(False)
    clock = FixedClock()
    reacted: list[bool] = []
    engine = StreamEngine(
        is_initiator=True, idle_timeout=10, handshake_timeout=10, streams_max=8, now=0.0
    )
    owner: Any = SimpleNamespace(is_closing=True, mark_dirty=lambda _connection: None)
    connection = StreamConnection(
        owner,
        "unix",
        engine,
        UNIX_ONLY,
        lambda on_data, on_room: StreamPort(
            ours, engine, on_data, on_room, lambda _port: None, clock
        ),
        clock,
        lambda: reacted.append(True),
        is_initiator=True,
    )
    try:
        engine.set_held_bytes(0)
        engine.write(engine.open_stream(), b"x" * 8_000_000)
        connection.port.flush()
        clock.now = 5.0
        # What takes the bytes is the other end of the socket; nobody has answered.
        blocked_count = 0
        while engine.is_blocked:
            blocked_count += 1
            with suppress(BlockingIOError):
                theirs.recv(1 << 20)
            await asyncio.sleep(0)
        assert blocked_count > 0
        assert reacted
        assert connection.last_heard_at == 0.0
        # A byte that comes is one.
        theirs.send(b"\0")
        await until(lambda: connection.last_heard_at == 5.0)
    finally:
        connection.port.close()
        theirs.close()


async def test_what_waits_for_a_socket_is_the_port_s_own_whoever_wrote() -> None:
    """A lone item is written in the context of who sends it, which must not stay with the port."""
    ours, theirs = socket.socketpair()
    for one in (ours, theirs):
        one.setblocking(False)
    engine = StreamEngine(
        is_initiator=True, idle_timeout=10, handshake_timeout=10, streams_max=8, now=0.0
    )
    seen: list[str] = []
    port = StreamPort(
        ours,
        engine,
        lambda _now: None,
        lambda: seen.append(_WHO.get()),
        lambda _port: None,
        FixedClock(),
    )
    try:
        engine.set_held_bytes(0)
        stream_id = engine.open_stream()
        port.flush()

        def send() -> None:
            _WHO.set("who sends")
            part = engine.send_alone(stream_id, bytes(100_000))
            while part is not None:  # until the socket is full
                port.send(part)
                part = engine.send_alone(stream_id, bytes(100_000))

        copy_context().run(send)
        assert engine.untaken_bytes > 0
        while engine.is_blocked:
            with suppress(BlockingIOError):
                theirs.recv(1 << 20)
            await asyncio.sleep(0)
        assert seen == ["the port"]
    finally:
        port.close()
        theirs.close()


async def test_half_open_sockets_keep_nobody_out(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of this user that connects and says nothing, over and over."""
    config = TransportConfig(handshakes_max=8, connections_max=64, known_reserve=0)
    b = await machine.node("b", config)
    server = Server(b, "p")
    friend = await machine.node("friend")
    honest = Inbox(await friend.open_link(b.addr, "p"))
    loop = asyncio.get_running_loop()
    silent = []
    monkeypatch.chdir(machine.folder)  # the whole name is too long
    for _ in range(100):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        await loop.sock_connect(sock, machine.socket_of(b).name)
        silent.append(sock)
        await asyncio.sleep(0)
    await until(lambda: b.counters.handshakes_evicted >= 100 - config.handshakes_max)
    assert b.connection_count <= config.handshakes_max + 1
    a = await machine.node("a")
    assert (await a.open_link(b.addr, "p")).is_open
    assert a.carrier(b.peer_id) == "unix"
    honest.link.write(b"still here")
    await (await server.inbox()).until_frames(1)
    for sock in silent:
        sock.close()


async def test_socket_that_was_deleted_is_made_anew(machine: Machine) -> None:
    a, b = await machine.node("a", UNIX_ONLY), await machine.node("b", UNIX_ONLY)
    Server(b, "p")
    machine.socket_of(b).unlink()
    with pytest.raises(LinkRefused):
        await a.open_link(b.addr, "p")
    b.listen_local(machine.folder)
    assert (await a.open_link(b.addr, "p")).is_open
    before = machine.socket_of(b).lstat().st_ino
    b.listen_local(machine.folder)
    assert machine.socket_of(b).lstat().st_ino == before
    await b.close(SHUTDOWN)
    assert not machine.socket_of(b).exists()


async def test_a_process_without_a_file_left_goes_on_with_datagrams(machine: Machine) -> None:
    a, b = await machine.node("a"), await machine.node("b")
    Server(b, "p")
    held = []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
        with suppress(OSError):
            while True:
                held.append(os.dup(0))
        link = await a.open_link(b.addr, "p")
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert a.carrier(b.peer_id) == "quic"
    assert link.is_open
