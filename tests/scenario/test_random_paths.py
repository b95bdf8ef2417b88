"""Pairs behind NATs of all kinds, while they move, and paths lose and swallow datagrams.

One run in `make test`; with ``MOSAIK_ALL_NATS=1`` hundreds: each pair of NATs, twenty seeds.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from random import Random

import pytest

from mosaik_actors import PeerAddr
from mosaik_actors.testing import NetworkConditions
from mosaik_actors.testing.nat import NatKind
from mosaik_actors.testing.scenario import simulate
from mosaik_actors.transport.endpoint import QuicEndpoint
from tests.nat_pairs import PAIRS, is_punchable
from tests.scenario.relayed_world import World, connect, until

HAS_ALL = bool(os.environ.get("MOSAIK_ALL_NATS"))
RUNS = [(pair, seed) for pair in PAIRS for seed in range(20)]
FEW_RUNS = [(("port_restricted", "port_restricted"), 100)]
FAULTS_S = 20.0 if HAS_ALL else 8.0
PAUSE_S = 0.1


class Faults:
    """What happens to a pair, drawn from a seed, until `FAULTS_S` are over.

    Args:
        world: Where they are.
        pair: The two.
        nats: What each is behind.
        rng: What is drawn from.
    """

    def __init__(
        self,
        world: World,
        pair: tuple[QuicEndpoint, QuicEndpoint],
        nats: tuple[NatKind | None, NatKind | None],
        rng: Random,
    ) -> None:
        self._world = world
        self._pair = pair
        self._nats = nats
        self._rng = rng
        self._count = 0
        self._usual = NetworkConditions(
            latency=rng.uniform(0.002, 0.15),
            jitter=rng.uniform(0, 0.02),
            loss=rng.choice((0.0, 0.02, 0.1)),
            duplication=rng.choice((0.0, 0.05)),
            reordering=rng.choice((0.0, 0.05)),
        )

    async def happen(self) -> None:
        """Cut the direct path, heal it, and move, one after the other."""
        network, rng = self._world.network, self._rng
        network.set_conditions(self._usual)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + FAULTS_S
        while loop.time() < until_s:
            await asyncio.sleep(rng.uniform(0.2, 4.0))
            match rng.choice(("move", "cut", "heal")):
                case "move":
                    self._move(rng.randrange(2))
                case "cut":
                    self._cut()
                case "heal":
                    network.set_conditions(self._usual)
        network.set_conditions(NetworkConditions(latency=0.02))

    def _move(self, which: int) -> None:
        node = self._pair[which]
        self._count += 1
        [(was, _)] = node.addr.direct
        self._world.network.move(was, f"10.9.{which}.{self._count}", self._nats[which])
        asyncio.get_running_loop().call_later(self._rng.uniform(0.0, 0.5), node.look_where)

    def _cut(self) -> None:
        """Let datagrams between the two vanish, in one direction or in both."""
        one, other = (node.peer_id for node in self._pair)
        cut = NetworkConditions(latency=0.02, loss=0.999_999)
        for sender, receiver in self._rng.choice(
            (((one, other),), ((other, one),), ((one, other), (other, one)))
        ):
            self._world.network.set_conditions(cut, sender, receiver)


@pytest.mark.parametrize(("nats", "seed"), RUNS if HAS_ALL else FEW_RUNS, ids=str)
def test_whatever_happens_to_paths_every_frame_arrives_once_and_in_order(
    nats: tuple[NatKind | None, NatKind | None], seed: int
) -> None:
    """And in the end the pair is direct, where its NATs allow it."""
    rng = Random(f"{nats} {seed}")

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            server = await world.relay()
            a, b = [
                await world.node(name, server.addr, kind)
                for name, kind in zip(rng.sample("ab", 2), nats, strict=True)
            ]
            here, there = await connect(a, b, PeerAddr(b.peer_id, relay=b.addr.relay))
            faults = asyncio.create_task(Faults(world, (a, b), nats, rng).happen())
            sent: list[bytes] = []
            while not faults.done():
                sent.append(len(sent).to_bytes(4) * rng.randrange(1, 800))
                for one in (here, there):
                    one.link.write(sent[-1])
                await asyncio.sleep(PAUSE_S)
            await faults
            for one in (here, there):
                await one.until(lambda one=one: len(one.frames) == len(sent))  # type: ignore[misc]
                assert one.frames == sent
                assert one.closed == []
            expected = "quic" if is_punchable(*nats) else "relay"
            await until(lambda: a.carrier(b.peer_id) == b.carrier(a.peer_id) == expected, 60)

    simulate(main())
