"""Nodes behind NATs that exchange all through a relay."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from mosaik_actors import PeerAddr, SecretKey
from mosaik_actors.testing import NetworkConditions
from mosaik_actors.testing.scenario import simulate
from mosaik_actors.transport.close import CloseCode
from mosaik_actors.transport.interface import Endpoint, LinkRefused
from mosaik_actors.transport.relay.config import RelayLimits
from mosaik_actors.transport.relay.frames import PROTOCOL
from tests.scenario.relayed_world import World, accept_into, raw_peer
from tests.unit.transport.endpoints import Inbox, quic_connections


def test_without_a_relay_two_nodes_behind_nats_do_not_meet() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            a = await world.node("a", None, "symmetric")
            b = await world.node("b", None, "symmetric")
            with pytest.raises(LinkRefused, match="did not answer"):
                await a.open_link(b.addr, "chat", timeout=30.0)

    simulate(main())


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_link_outlives_the_restart_of_its_relay_and_loses_nothing(loss: float) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack, NetworkConditions(latency=0.02, loss=loss))
            server = await world.relay()
            a = await world.node("a", server.addr, "symmetric")
            b = await world.node("b", server.addr, "symmetric")
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            link = await a.open_link(b.addr, "chat", timeout=10.0)
            sent = [bytes([number]) * 2000 for number in range(100)]
            link.write_many(sent[:50])
            await inboxes[0].until(lambda: len(inboxes[0].frames) >= 10)
            await server.close()
            link.write_many(sent[50:])
            await asyncio.sleep(2)
            server = await world.relay(run=2)
            await inboxes[0].until(lambda: len(inboxes[0].frames) == 100)
            assert inboxes[0].frames == sent
            assert len(inboxes) == 1
            assert link.is_open

    simulate(main())


def test_a_pair_goes_on_through_the_relay_that_is_left() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            servers = [await world.relay(number=number) for number in (1, 2)]
            relays = (servers[0].addr, servers[1].addr)
            a = await world.node("a", relays, "symmetric")
            b = await world.node("b", relays, "symmetric")
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            first = Inbox(await a.open_link(b.addr, "chat", timeout=10.0))
            [home] = [one for one in servers if str(one.addr) == b.addr.relay]
            [other] = [one for one in servers if one is not home]
            assert home.counters.datagrams_forwarded > 0
            assert other.counters.datagrams_forwarded == 0
            await home.close()
            await first.until_closed()  # after its idle timeout
            await a.open_link(b.addr, "chat", timeout=10.0)
            assert other.counters.datagrams_forwarded > 0

    simulate(main())


def test_who_is_named_by_the_user_is_dialled_through_the_relay_again_at_once() -> None:
    """A node may come to the relay after the one that begins with it; gossip's peers wait."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, "symmetric")
            late = PeerAddr(SecretKey.from_seed("b").peer_id)
            other = PeerAddr(SecretKey.from_seed("c").peer_id)
            a.vouch([late])
            for to in (late, other):
                with pytest.raises(LinkRefused, match="did not answer at its relay"):
                    await a.open_link(to, "chat", timeout=20.0)
            assert server.counters.dropped_absent > 0
            for name in ("b", "c"):
                accept_into(await world.node(name, server.addr, "symmetric"), [])
            await a.open_link(late, "chat", timeout=5.0)
            with pytest.raises(LinkRefused, match="has never answered there"):
                await a.open_link(other, "chat", timeout=5.0)

    simulate(main())


def test_a_relay_moves_no_direct_connection_to_itself() -> None:
    """What it replays of a direct connection is refused: nothing would come back from there."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, None)
            b = await world.node("b", server.addr, None)
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            link = await a.open_link(b.addr, "chat")
            [connection] = quic_connections(b)
            packet = b"\x40" + next(iter(connection.cids)) + bytes(50)
            relay_side = server._links[bytes(b.peer_id)]
            refused_count = b.counters.datagrams_refused
            relay_side.write(bytes(a.peer_id) + packet)
            await asyncio.sleep(1)
            assert b.counters.datagrams_refused == refused_count + 1
            assert connection.carrier == "quic"
            link.write(b"hello")
            await inboxes[0].until(lambda: inboxes[0].frames == [b"hello"])

    simulate(main())


def test_a_flood_through_a_relay_takes_nothing_from_others() -> None:
    """A peer that sends more than it may is slowed down; the other pair is not."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay(limits=RelayLimits(bytes_per_s=64 * 1024))
            a, b, c = [await world.node(name, server.addr, "symmetric") for name in ("a", "b", "c")]
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            flood = await a.open_link(b.addr, "chat", timeout=5.0)
            quiet = await c.open_link(b.addr, "chat", timeout=5.0)
            flood.write_many([bytes(50_000)] * 40)
            await asyncio.sleep(3)
            assert server.counters.dropped_rate > 0
            quiet.write(b"hello")
            await inboxes[1].until(lambda: inboxes[1].frames == [b"hello"])
            assert len(inboxes[0].frames) < 10  # of 40: some 4 * 64 KiB

    simulate(main())


def test_a_peer_has_one_place_at_a_relay_and_loses_it_with_a_broken_rule() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay(limits=RelayLimits(peers_max=2))
            peers = [await raw_peer(world, name) for name in ("a", "b", "c")]
            a, b, c = peers
            first, second = [Inbox(await a.open_link(server.addr, PROTOCOL)) for _ in range(2)]
            assert (await first.until_closed()).reason.text == "another link of this peer is used"
            other = Inbox(await b.open_link(server.addr, PROTOCOL))
            assert server.peer_count == 2
            with pytest.raises(LinkRefused, match="serves 2 peers"):
                await c.open_link(server.addr, PROTOCOL)
            # The sender is who has proven to be it, whatever is written.
            second.link.write(bytes(b.peer_id) + b"sealed")
            await other.until(lambda: other.frames == [bytes(a.peer_id) + b"sealed"])
            second.link.write(b"too short")
            closed = await second.until_closed()
            assert closed.reason.code == CloseCode.PROTOCOL_VIOLATION
            assert server.counters.violations == 1
            # Its place is free again.
            last = await c.open_link(server.addr, PROTOCOL)
            last.close()
            # Who goes on breaking rules is refused for a time.
            with pytest.raises(LinkRefused, match="broke too many rules"):
                await break_rules(a, server.addr)

    simulate(main())


async def break_rules(peer: Endpoint, relay: PeerAddr) -> None:
    for _ in range(50):
        try:
            inbox = Inbox(await peer.open_link(relay, PROTOCOL))
        except LinkRefused as refused:
            if "serves 2 peers" not in str(refused):
                raise
            await asyncio.sleep(0.1)
            continue
        inbox.link.write(b"")
        await inbox.until_closed()
