"""Nodes whose addresses change: what they have with others goes on within a second."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from mosaik_actors import PeerAddr
from mosaik_actors.testing.nat import NatKind
from mosaik_actors.testing.scenario import simulate
from mosaik_actors.transport.endpoint import QuicEndpoint
from tests.scenario.relayed_world import World, accept_into, connect, until
from tests.unit.transport.endpoints import Inbox

LOOK_S = 0.5  # so long at most until a node looks at its interfaces (`actors.catalog`)
COUNT = 100


def move(world: World, node: QuicEndpoint, to: str, nat: NatKind | None = None) -> float:
    """Give a node another address, and let it notice as late as may be; return when it moved."""
    [(was, _)] = node.addr.direct
    world.network.move(was, to, nat)
    loop = asyncio.get_running_loop()
    loop.call_later(LOOK_S, node.look_where)
    return loop.time()


async def write(links: tuple[Inbox, Inbox]) -> list[bytes]:
    """Write twenty frames a second on both ends of a link; return them."""
    frames = [number.to_bytes(2) * 300 for number in range(COUNT)]
    for frame in frames:
        for one in links:
            one.link.write(frame)
        await asyncio.sleep(0.05)
    return frames


async def longest_pause(inbox: Inbox) -> float:
    """Take in what comes, and return for how long nothing came."""
    loop = asyncio.get_running_loop()
    pause_s, came_at = 0.0, loop.time()

    def has_come(count: int) -> bool:
        return len(inbox.frames) > count

    while len(inbox.frames) < COUNT:
        count = len(inbox.frames)
        await inbox.until(lambda count=count: has_come(count))  # type: ignore[misc]
        pause_s, came_at = max(pause_s, loop.time() - came_at), loop.time()
    return pause_s


@pytest.mark.parametrize("nats", [("port_restricted", "port_restricted"), ("full_cone", None)])
@pytest.mark.parametrize("mover", ["dialler", "dialled"])
def test_a_direct_path_is_left_and_found_again_when_one_side_moves(
    mover: str, nats: tuple[NatKind, NatKind | None]
) -> None:
    """First through the relay, where nothing is lost; then directly again."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay()
            a, b = [
                await world.node(name, server.addr, kind)
                for name, kind in zip("ab", nats if mover == "dialler" else nats[::-1], strict=True)
            ]
            moving = a if mover == "dialler" else b
            # By its id alone, so through the relay at first.
            here, there = await connect(a, b, PeerAddr(b.peer_id, relay=b.addr.relay))
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic", 3)
            pauses = [asyncio.create_task(longest_pause(one)) for one in (here, there)]
            writing = asyncio.create_task(write((here, there)))
            await asyncio.sleep(1.0)
            move(world, moving, "10.9.9.9", nats[0])
            frames = await writing
            assert max(await asyncio.gather(*pauses)) < 1.0
            assert here.frames == there.frames == frames
            assert a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic"
            assert a.counters.paths_taken == b.counters.paths_taken == 2
            assert a.counters.paths_lost == b.counters.paths_lost == 1
            assert here.closed == there.closed == []

    simulate(main())


def test_a_connection_goes_on_from_where_the_one_who_dialled_is_by_now() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            a, b = await world.node("a", None, None), await world.node("b", None, None)
            here, there = await connect(a, b)
            pauses = [asyncio.create_task(longest_pause(one)) for one in (here, there)]
            writing = asyncio.create_task(write((here, there)))
            await asyncio.sleep(1.0)
            move(world, a, "10.9.9.9")
            frames = await writing
            assert max(await asyncio.gather(*pauses)) < 1.0
            assert here.frames == there.frames == frames
            assert a.addr.direct == (("10.9.9.9", 4433),)
            assert a.counters.connections_opened == b.counters.connections_opened == 1

    simulate(main())


def test_who_was_dialled_and_moves_connects_anew_and_says_so() -> None:
    """Nobody who dialled takes anything from another address (RFC 9000 section 9)."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            a, b = await world.node("a", None, None), await world.node("b", None, None)
            accept_into(a, [])
            here, there = await connect(a, b)
            moved_at = move(world, b, "10.9.9.9")
            ended = [(await one.until_closed()).reason.text for one in (there, here)]
            assert "address no longer" in ended[0]
            assert "has moved" in ended[1]
            # Both ways, and without an address: it is connected already.
            await a.open_link(PeerAddr(b.peer_id), "chat")
            await b.open_link(PeerAddr(a.peer_id), "chat")
            assert asyncio.get_running_loop().time() - moved_at < 0.95
            assert a.connection_count == b.connection_count == 1

    simulate(main())


def test_who_is_behind_a_nat_dials_a_peer_that_says_that_it_is_elsewhere() -> None:
    """The peer cannot: a NAT knows only the address that was dialled."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            a = await world.node("a", None, "port_restricted")
            b = await world.node("b", None, None)
            before = b.addr
            here, _ = await connect(a, b)
            # One address less of many changes nothing while the peer answers.
            a.receive_peer_move(before, PeerAddr(b.peer_id, (("192.0.2.1", 1),)))
            await asyncio.sleep(2)
            assert not here.closed
            move(world, b, "10.9.9.9")
            await asyncio.sleep(LOOK_S + 0.1)  # until others have told of it
            a.receive_peer_move(before, b.addr)
            told_at = asyncio.get_running_loop().time()
            assert "elsewhere" in (await here.until_closed()).reason.text
            await a.open_link(b.addr, "chat")
            assert asyncio.get_running_loop().time() - told_at < 0.5

    simulate(main())


@pytest.mark.parametrize("heard_after_s", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("first", ["dialler", "dialled"])
def test_both_move_and_go_on_when_they_have_heard_where_the_other_one_is(
    first: str, heard_after_s: float
) -> None:
    """As in a network that gets other addresses: what is dialled at once is there no more."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            a, b = await world.node("a", None, None), await world.node("b", None, None)
            accept_into(a, [])
            here, there = await connect(a, b)
            before_a, before_b = a.addr, b.addr
            for addr, to in ((before_a, "10.9.9.1"), (before_b, "10.9.9.2")):
                world.network.move(addr.direct[0][0], to, None)
            looks = [(a, before_b), (b, before_a)]
            for node, other in looks if first == "dialler" else reversed(looks):
                node.look_where(lambda _peer, addr=other: addr)  # type: ignore[misc]
                await asyncio.sleep(0.1)
            await asyncio.sleep(heard_after_s)
            heard_at = asyncio.get_running_loop().time()
            a.receive_peer_move(before_b, b.addr)
            b.receive_peer_move(before_a, a.addr)
            for one in (here, there):
                await one.until_closed()
            assert asyncio.get_running_loop().time() - heard_at < 0.5
            await until(lambda: a.connection_count == b.connection_count == 1, 3)
            await a.open_link(PeerAddr(b.peer_id), "chat")
            await b.open_link(PeerAddr(a.peer_id), "chat")

    simulate(main())


def test_an_address_more_ends_nothing() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, "full_cone")
            b = await world.node("b", server.addr, "full_cone")
            accept_into(b, [])
            await a.open_link(b.addr, "chat", timeout=10.0)
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic", 3)
            for node in (a, b):
                assert node._direct is not None
                node._direct.receive_move(set())
                node._moves.receive_move({"10.0.0.1", "10.0.0.2"}, lambda _peer: None)
            await asyncio.sleep(5)
            for node in (a, b):
                assert (node.counters.paths_taken, node.counters.paths_lost) == (1, 0)
                assert node.counters.connections_opened == 1

    simulate(main())
