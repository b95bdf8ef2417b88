"""Nodes behind NATs that exchange all through a relay."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from mosaik_actors import Expiration, PeerAddr, RelayConfig, SecretKey, Ticket, unique_id
from mosaik_actors.handles.relaying import show_tickets
from mosaik_actors.testing import NetworkConditions
from mosaik_actors.testing.scenario import simulate
from mosaik_actors.transport.close import CloseCode
from mosaik_actors.transport.interface import Endpoint, LinkRefused
from mosaik_actors.transport.relay.config import RelayLimits
from mosaik_actors.transport.relay.frames import PROTOCOL, encode_frames
from tests.scenario.relayed_world import World, accept_into, raw_peer, until
from tests.unit.transport.endpoints import Inbox, quic_connections

OTHER = Ticket(unique_id("of another class"), b"not for relays")


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
            relay_side.write_many(encode_frames(bytes(a.peer_id), [packet]))
            await asyncio.sleep(1)
            assert b.counters.datagrams_refused == refused_count + 1
            assert connection.carrier == "quic"
            link.write(b"hello")
            await inboxes[0].until(lambda: inboxes[0].frames == [b"hello"])

    simulate(main())


class Until:
    """Accepts a number: until that moment."""

    class_id = unique_id("test.until")
    signature = class_id

    def validate(self, data: bytes, peer: Any) -> Expiration:
        return Expiration.at(float(data))


def test_a_link_goes_on_through_a_relay_that_requires_tickets_while_they_are_renewed() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay(require_ticket=Until())
            a, b = [
                await world.node(name, server.addr, "symmetric", tickets=(Until.class_id,))
                for name in ("a", "b")
            ]
            assert loop.time() < 2  # a node that can show none yet starts all the same
            config = RelayConfig(relays=(server.addr,), tickets=(Until.class_id,))

            def show(endpoint: Endpoint, *ends: float) -> None:
                tickets = [Ticket(Until.class_id, str(end).encode()) for end in ends]
                show_tickets(world.clients[endpoint], config, [*tickets, OTHER])

            # 1. Both show a ticket, and meet at once.
            show(a, 1e9)
            show(b, loop.time() + 60)
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            await until(lambda: server.peer_count == 2, seconds=1)
            link = await a.open_link(b.addr, "chat", timeout=10.0)
            link.write(b"1")
            # 2. One shows a newer ticket in time: nobody notices.
            await asyncio.sleep(50)
            ends_at = loop.time() + 60
            show(b, ends_at)
            await asyncio.sleep(20)
            link.write(b"2")
            await inboxes[0].until(lambda: inboxes[0].frames == [b"1", b"2"])
            assert (server.counters.peers_accepted, server.counters.tickets_expired) == (2, 0)
            # 3. That one expires: its place is gone at that moment.
            await asyncio.sleep(ends_at - loop.time() - 0.1)
            assert server.peer_count == 2
            await asyncio.sleep(0.2)
            assert (server.peer_count, server.counters.tickets_expired) == (1, 1)
            # 4. With the next one it is back within the idle timeout, and so is the link.
            link.write(b"3")
            await asyncio.sleep(5)
            assert server.peer_count == 1
            show(b, 1e9)
            await until(lambda: server.peer_count == 2, seconds=1)
            await inboxes[0].until(lambda: inboxes[0].frames == [b"1", b"2", b"3"])
            assert link.is_open

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
            second.link.write_many(encode_frames(bytes(b.peer_id), [b"sealed"]))
            await other.until(lambda: other.frames == encode_frames(bytes(a.peer_id), [b"sealed"]))
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
