"""Strangers who connect to a port and say nothing, on a machine with few files to spare."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from typing import cast

from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint import QuicEndpoint
from tests.waiting import until

from .endpoints import Inbox, Server, endpoint_maker

FILES_MAX, STRANGERS = 400, 160


async def connect(addr: tuple[str, int]) -> socket.socket:
    """Return a socket that is connected, over which nothing is said."""
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, addr)
    return sock


async def test_silent_strangers_hold_few_files_and_disturb_nobody() -> None:
    """Or the node could open neither a connection nor a log."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, limits[1]))
    silent: list[socket.socket] = []
    try:
        async with endpoint_maker("tcp") as make:
            victim = cast(QuicEndpoint, await make("victim"))
            server = Server(victim, "p")
            friend = await make("friend")
            honest = Inbox(await friend.open_link(victim.addr, "p"))
            silent += [await connect(victim.addr.direct[0]) for _ in range(STRANGERS)]
            evicted = STRANGERS - FILES_MAX // 4
            await until(lambda: victim.counters.handshakes_evicted >= evicted)
            assert len(victim._connections._ports) <= FILES_MAX // 4 + 1
            os.close(os.dup(0))
            honest.link.write(b"still here")
            await (await server.inbox()).until_frames(1)
            assert not honest.closed
    finally:
        for sock in silent:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_silent_stranger_holds_no_file_after_its_time() -> None:
    """There is nobody to read what would be said last."""
    config = TransportConfig(dial_timeout=0.2)
    async with endpoint_maker("tcp") as make:
        victim = cast(QuicEndpoint, await make("victim", config=config))
        sock = await connect(victim.addr.direct[0])
        await until(lambda: victim.connection_count == 1)
        [port] = victim._connections._ports
        await until(lambda: victim.connection_count == 0)
        assert port not in victim._connections._ports
        sock.close()
