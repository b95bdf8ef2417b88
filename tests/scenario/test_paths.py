"""Nodes behind NATs of every kind that meet at a relay, and go on directly where they can."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest

from mosaik_actors import PeerAddr
from mosaik_actors.testing import NetworkConditions
from mosaik_actors.testing.nat import NatKind
from mosaik_actors.testing.scenario import simulate
from mosaik_actors.transport.close import CloseCode
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import LinkRefused
from mosaik_actors.transport.paths.candidates import PathOffer
from mosaik_actors.transport.paths.driver import PROTOCOL as PATHS
from tests.nat_pairs import PAIRS, WORDS, is_punchable
from tests.scenario.relayed_world import World, accept_into, raw_peer, until
from tests.unit.transport.endpoints import Inbox

DOCS = Path(__file__).parents[2] / "docs" / "networking.md"


def test_the_table_in_the_docs_is_what_the_tests_assert() -> None:
    """Both columns: `tests/namespaces` asserts the same of processes behind NATs."""
    text = DOCS.read_text().partition("| NATs of the two |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split("|") for line in text.splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [
            f"{WORDS[one]} with {WORDS[other]}",
            *2 * ["direct" if is_punchable(one, other) else "relay"],
        ]
        for one, other in PAIRS
    ]


@pytest.mark.parametrize(
    ("kind_a", "kind_b"), [pair[::-1] if number % 2 else pair for number, pair in enumerate(PAIRS)]
)
def test_which_pairs_are_direct_and_which_are_relayed(
    kind_a: NatKind | None, kind_b: NatKind | None
) -> None:
    """Frames that are written while the pair moves to a direct path arrive once, in order."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, kind_a)
            b = await world.node("b", server.addr, kind_b)
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            assert b.addr.relay == str(server.addr)
            assert server.peer_count == 2
            link = await a.open_link(b.addr, "chat", timeout=5.0)
            assert a.carrier(b.peer_id) == ("quic" if kind_b is None else "relay")
            sent = []
            for number in range(60):
                sent.append(bytes([number]) * 500)
                link.write(sent[-1])
                await asyncio.sleep(0.05)
            await inboxes[0].until(lambda: len(inboxes[0].frames) == len(sent))
            assert inboxes[0].frames == sent
            expected = "quic" if is_punchable(kind_a, kind_b) else "relay"
            assert a.carrier(b.peer_id) == b.carrier(a.peer_id) == expected
            # What the relay forwards from now on is nothing, or all of it.
            before = server.counters.bytes_forwarded
            link.write(bytes(20_000))
            await inboxes[0].until(lambda: len(inboxes[0].frames) == len(sent) + 1)
            is_relayed = server.counters.bytes_forwarded - before >= 20_000
            assert is_relayed == (expected == "relay")
            assert len(inboxes) == 1

    simulate(main())


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_direct_path_that_dies_and_comes_back_costs_no_frame(loss: float) -> None:
    """Direct, the relay again, direct again: one link, all the while written to."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            paths = NetworkConditions(latency=0.02, loss=loss)
            world = World(stack, paths)
            server = await world.relay()
            a = await world.node("a", server.addr, "port_restricted")
            b = await world.node("b", server.addr, "restricted")
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            link = await a.open_link(b.addr, "chat", timeout=10.0)
            assert link.carrier == inboxes[0].link.carrier == "relay"
            sent: list[bytes] = []

            async def write() -> None:
                for number in range(400):
                    sent.append(number.to_bytes(2) * 300)
                    link.write(sent[-1])
                    await asyncio.sleep(0.1)

            writing = asyncio.create_task(write())
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic", 3)
            assert link.carrier == inboxes[0].link.carrier == "quic"
            # Direct datagrams vanish in both directions; those to the relay do not.
            for one, other in ((a, b), (b, a)):
                cut = NetworkConditions(latency=0.02, loss=0.999_999)
                world.network.set_conditions(cut, one.peer_id, other.peer_id)
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == "relay", 6)
            assert link.carrier == inboxes[0].link.carrier == "relay"
            got = len(inboxes[0].frames)
            await until(lambda: len(inboxes[0].frames) > got + 10, 10)
            world.network.set_conditions(paths)
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic", 30)
            await writing
            await inboxes[0].until(lambda: len(inboxes[0].frames) == len(sent))
            assert inboxes[0].frames == sent
            assert len(inboxes) == 1
            assert (a.counters.paths_taken, a.counters.paths_lost) == (2, 1)

    simulate(main())


def test_a_node_whose_nat_shows_it_elsewhere_is_direct_again_soon() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, "port_restricted")
            b = await world.node("b", server.addr, "port_restricted")
            inboxes: list[Inbox] = []
            accept_into(b, inboxes)
            link = await a.open_link(b.addr, "chat", timeout=10.0)
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic", 3)
            [(by, seen)] = a.observed
            assert by == server.addr.direct[0]
            nat = world.network._nats[a.addr.direct[0][0]]
            assert nat._inside[seen] == a.addr.direct[0]
            nat._outside.clear()
            link.write(b"hello")
            await until(lambda: inboxes[0].frames == [b"hello"], 6)
            await until(lambda: a.counters.paths_taken == b.counters.paths_taken == 2, 10)
            assert a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic"
            assert link.is_open
            assert a.observed != [(by, seen)]

    simulate(main())


def test_a_peer_that_restarted_is_noticed_past_the_relay() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, "full_cone")
            b = await world.node("b", server.addr, "full_cone")
            accept_into(b, [])
            first = Inbox(await a.open_link(b.addr, "chat", timeout=10.0))
            await until(lambda: a.carrier(b.peer_id) == "quic", 3)
            b.crash()
            world.clients[b].crash()
            world.endpoints.pop()
            again = await world.node("b", server.addr, "full_cone", run=2)
            accept_into(again, [])
            first.link.write(b"anybody?")
            await until(lambda: bool(first.closed), 8)
            await a.open_link(again.addr, "chat", timeout=10.0)
            await until(lambda: a.carrier(b.peer_id) == "quic", 5)

    simulate(main())


def test_an_offer_of_paths_that_is_none_or_uninvited_is_refused() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay()
            nodes = [await world.node(name, server.addr, "symmetric") for name in ("a", "b")]
            small, large = sorted(nodes, key=lambda node: node.peer_id)
            accept_into(large, [])
            await small.open_link(large.addr, "chat", timeout=5.0)
            good = PathOffer(bytes(32), (("192.0.2.1", 1),)).encode()
            # Who has the larger id waits for the other one's offer.
            with pytest.raises(LinkRefused, match="behind a relay"):
                await large.open_link(small.addr, PATHS, good)
            for wrong in (b"", b"nonsense", bytes(60_000), good[:-1]):
                with pytest.raises(LinkRefused) as refused:
                    await small.open_link(large.addr, PATHS, wrong)
                assert refused.value.reason.code == CloseCode.PROTOCOL_VIOLATION
            assert large.counters.violations == 4
            # Each makes a node send probes, so there are not many in a row.
            with pytest.raises(LinkRefused, match="too many offers"):
                await offer_often(small, large.addr, good)
            direct = await world.node("c", server.addr, None)
            accept_into(direct, [])
            one = min(nodes, key=lambda node: node.peer_id)
            await one.open_link(direct.addr, "chat")
            with pytest.raises(LinkRefused, match="behind a relay"):
                await one.open_link(direct.addr, PATHS, good)

    simulate(main())


def test_probes_of_strangers_change_nothing_and_get_no_answer() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay()
            a = await world.node("a", server.addr, "full_cone")
            b = await world.node("b", server.addr, "full_cone")
            accept_into(b, [])
            await a.open_link(b.addr, "chat", timeout=5.0)
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == "quic", 3)
            assert a._direct is not None
            [way] = a._direct.ways.values()
            key_id = next(iter(a._direct._by_key))
            rng = Random(1)
            evil = await raw_peer(world, "z")
            assert isinstance(evil, QuicEndpoint)
            [port] = evil._outbound.ports.values()
            outside = world.network._nats[a.addr.direct[0][0]]
            [at] = [one for one, inside in outside._inside.items() if inside == a.addr.direct[0]]
            refused_count = a.counters.datagrams_refused
            heard_count = evil.counters.datagrams_received
            for _ in range(50):
                head = rng.choice([b"\x04", b"\x05"]) + b"mosaik-path"
                data = head + rng.choice([key_id, rng.randbytes(8)]) + rng.randbytes(44)
                port.send(data, at)
            await asyncio.sleep(1)
            assert a.counters.datagrams_refused == refused_count + 50
            assert evil.counters.datagrams_received == heard_count
            assert [one.remote for one in a._direct.ways.values()] == [way.remote]

    simulate(main())


async def offer_often(node: QuicEndpoint, to: PeerAddr, offer: bytes) -> None:
    for _ in range(20):
        await node.open_link(to, PATHS, offer)
