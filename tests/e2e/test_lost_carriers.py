"""A group whose connections break under load, each in the way of its carrier.

The pairs of three nodes are connected by Unix sockets and by TLS over TCP. Members write all
the time while the sockets' files are deleted, the Unix connections end and the TCP ones are
reset. What is blocked UDP is in `tests.namespaces`.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from mosaik_actors import Group, GroupOffline, Network, TransportConfig
from mosaik_actors.testing import TIME_FACTOR
from mosaik_actors.transport.byte_streams.connection import StreamConnection
from mosaik_actors.transport.endpoint import QuicEndpoint
from tests.waiting import until

from .groups_worker import Append, Entries

ENOUGH = 20
BACK_S = 5.0  # a lost connection is dialled again at once; then an election at most


class Writer:
    """Writes to a group for ever, one after the other."""

    def __init__(self, group: Group, name: str) -> None:
        self.acked: dict[int, int] = {}
        self._group = group
        self._name = name

    async def run(self) -> None:
        number = 0
        while True:
            number += 1
            # One of which nobody knows has another number than the next.
            with suppress(GroupOffline):
                self.acked[number] = await self._group.execute(Append(self._name, number))


def ways(nets: Iterable[Network]) -> list[set[str | None]]:
    """Return what carries the connections of each."""
    endpoints = [net.node.endpoint for net in nets]
    return [{one.carrier(peer) for peer in one.connected_peers()} for one in endpoints]


def voters_of(group: Group) -> int:
    """Return how many members vote."""
    return sum(member.is_voter for member in group.members)


def break_connections(net: Network) -> None:
    """End Unix connections as a process that died, reset those over TCP."""
    endpoint = net.node.endpoint
    assert isinstance(endpoint, QuicEndpoint)
    for one in endpoint._connections:
        assert isinstance(one, StreamConnection)
        if one.carrier == "unix":
            one.port._socket.shutdown(socket.SHUT_RDWR)
        else:  # connect(2) to AF_UNSPEC resets what is connected
            nowhere = bytes(16)
            assert ctypes.CDLL(None).connect(one.port._socket.fileno(), nowhere, 16) == 0


async def test_what_is_acknowledged_survives_the_ways_it_went(runtime_dir: Path) -> None:
    remote = TransportConfig(carriers=("tcp", "quic"))
    async with AsyncExitStack() as stack:
        nets = [
            await stack.enter_async_context(Network("lost carriers", transport=transport))
            for transport in (None, None, remote)
        ]
        groups = [net.groups.join("lost carriers", Entries(), name="entries") for net in nets]
        for group in groups:
            await group.when().online()
        await until(lambda: all(voters_of(group) == 3 for group in groups), timeout=20)
        assert ways(nets) == [{"unix", "tcp"}, {"unix", "tcp"}, {"tcp"}]
        writers = [Writer(group, name) for group, name in zip(groups, "abc", strict=True)]
        writing = [asyncio.create_task(writer.run()) for writer in writers]
        await until(lambda: all(len(writer.acked) >= ENOUGH for writer in writers), timeout=20)

        # 1. All breaks at once, and there is no socket to come back by.
        sockets = list(runtime_dir.rglob("*.sock"))
        assert len(sockets) == 2
        for path in sockets:
            path.unlink()
        for net in nets:
            break_connections(net)
        before = [len(writer.acked) for writer in writers]

        # 2. All go on, over what is left.
        def has_gone_on() -> bool:
            counts = [len(writer.acked) for writer in writers]
            return all(now >= then + ENOUGH for now, then in zip(counts, before, strict=True))

        await until(has_gone_on, timeout=BACK_S * TIME_FACTOR)
        await until(lambda: ways(nets) == [{"tcp"}] * 3, timeout=BACK_S * TIME_FACTOR)

        # 3. What was acknowledged is where it was said to be.
        for task in writing:
            task.cancel()
        await asyncio.wait(writing)
        held = list((await groups[0].query(None)).result)
        for writer, name in zip(writers, "abc", strict=True):
            for number, position in writer.acked.items():
                assert held[position - 1] == Append(name, number)
