"""What goes to addresses where no peer has answered yet, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from random import Random

import pytest

from mosaik_actors.clock import LoopClock
from mosaik_actors.ids import SecretKey
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import SHUTDOWN, CloseCode
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import Link, LinkRefused

from .endpoints import quic_connections

BRIEF = TransportConfig(dial_timeout=0.5)


@pytest.fixture
def sink() -> Iterator[socket.socket]:
    """Yield the socket of a third party."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def drain(sink: socket.socket) -> list[int]:
    """Return the sizes of what the third party got."""
    sizes = []
    while True:
        try:
            sizes.append(len(sink.recv(65_536)))
        except BlockingIOError:
            return sizes


def accept(link: Link) -> None:
    """Take a link, and hear nothing of it."""
    link.accept()


async def start(
    stack: AsyncExitStack, name: str, config: TransportConfig, host: str = "127.0.0.1"
) -> QuicEndpoint:
    clock = LoopClock(asyncio.get_running_loop())
    key = SecretKey.from_seed(name)
    endpoint = await QuicEndpoint.start(
        "net", key, bind=[(host, 0)], clock=clock, rng=Random(name), config=config
    )
    stack.push_async_callback(endpoint.close, SHUTDOWN)
    return endpoint


async def test_many_keys_at_a_third_party_cost_it_a_few_small_datagrams(
    sink: socket.socket,
) -> None:
    async with AsyncExitStack() as stack:
        endpoint = await start(stack, "dialler", BRIEF)
        port = sink.getsockname()[1]
        addrs = [
            PeerAddr(SecretKey.from_seed(f"s{n}").peer_id, (("127.0.0.1", port),) * 8)
            for n in range(64)
        ]
        dials = [endpoint.open_link(addr, "chat") for addr in addrs]
        refusals = await asyncio.gather(*dials, return_exceptions=True)
        assert all(isinstance(one, LinkRefused) for one in refusals)
        codes = [one.reason.code for one in refusals if isinstance(one, LinkRefused)]
        # One was dialled and did not answer. Of the others nothing is known: nobody may
        # say that they do not answer.
        assert codes.count(CloseCode.UNEXPECTED_CLOSE) == 1
        assert codes.count(CloseCode.TOO_MANY_LINKS) == 63
        sizes = drain(sink)
        assert set(sizes) == {1200}
        assert len(sizes) <= 3

        # What the user names is dialled for as long as a dial may take.
        endpoint.vouch([PeerAddr(addrs[0].peer_id, (("127.0.0.1", port),))])
        with pytest.raises(LinkRefused, match="did not answer"):
            await endpoint.open_link(addrs[0], "chat")
        assert drain(sink)


async def test_many_honest_nodes_behind_one_address_are_dialled_at_once() -> None:
    config = TransportConfig(carriers=("quic",), stranger_dials_max=2, stranger_host_dials_max=1)
    async with AsyncExitStack() as stack:
        dialler = await start(stack, "dialler", config)
        others = [await start(stack, f"n{n}", config) for n in range(20)]
        for other in others:
            other.serve("chat", accept)
        links = await asyncio.gather(*(dialler.open_link(one.addr, "chat") for one in others))
        assert [link.peer_id for link in links] == [one.peer_id for one in others]
        # With the path known, datagrams are as large as it bears.
        assert {one.quic.datagram_bytes for one in quic_connections(dialler)} == {16_384}


async def test_a_node_that_others_pose_as_is_not_dialled_for_each_of_them() -> None:
    async with AsyncExitStack() as stack:
        dialler, honest = [await start(stack, name, BRIEF) for name in ("dialler", "honest")]
        honest.serve("chat", accept)
        for n in range(5):
            posing = PeerAddr(SecretKey.from_seed(f"s{n}").peer_id, honest.addr.direct)
            with pytest.raises(LinkRefused) as refused:
                await dialler.open_link(posing, "chat")
            first, later = CloseCode.UNKNOWN_PEER, CloseCode.TOO_MANY_LINKS
            assert refused.value.reason.code == (later if n else first)
        assert honest.counters.connections_opened <= 1
        # Itself is.
        link = await dialler.open_link(honest.addr, "chat")
        assert link.peer_id == honest.peer_id


async def test_who_may_know_the_loopback_interface_of_this_machine() -> None:
    async with AsyncExitStack() as stack:
        near = await start(stack, "near", BRIEF)
        wide = await start(stack, "wide", BRIEF, "0.0.0.0")
        stranger = SecretKey.from_seed("stranger").peer_id
        # Who hears nothing else than this machine can hear of it from nobody else.
        assert near.may_be_local(stranger)
        wide.serve("chat", accept)
        await near.open_link(wide.local_addr, "chat")
        if not all(host.startswith("127.") for host, _ in wide.addr.direct):
            assert not wide.may_be_local(stranger)
        assert wide.may_be_local(near.peer_id)
