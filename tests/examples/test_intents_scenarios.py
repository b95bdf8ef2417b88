"""The auction of intents as a whole, on virtual time: what faults cannot take from it."""

import asyncio
from typing import Any

from intents.auction import Auction
from intents.auctioneer import Auctioneer
from intents.audit import Audit
from intents.commands import Digest
from intents.messages import Settlement
from intents.service import STNEAR, USDC, WETH, WRAP, AuctionConfig, IntentAuction, demo
from intents.traders import Solver, Users

from mosaik_actors import TransportConfig
from mosaik_actors.testing import Cluster, scenario

SETTINGS: dict[str, Any] = {
    "nodes": 7,
    "transport": TransportConfig(idle_timeout=3.0, keep_alive_interval=0.8),
    "traces_messages": False,
}
COUNT = 12


async def start(
    cluster: Cluster, config: AuctionConfig, kind: type[Auctioneer] = Auctioneer
) -> list[Auctioneer]:
    """Start three auctioneers, two solvers and the users; the seventh node is left."""
    made: list[Auctioneer] = []

    class Watched(kind):  # type: ignore[misc, valid-type]
        def __init__(self, config: AuctionConfig) -> None:
            super().__init__(config)
            made.append(self)

    for index in range(3):
        await cluster.net(index).actors.spawn(Watched, args=(config,))
    for index, (name, third) in enumerate((("north", STNEAR), ("south", WETH)), start=3):
        arguments = (name, [USDC, WRAP, third], 5, config)
        await cluster.net(index).actors.spawn(Solver, args=arguments)
    # The users send nothing again: what is through was heard the first time.
    await cluster.net(5).actors.spawn(Users, args=(config, COUNT, 4.0, 3600.0))
    return made


async def read_all(cluster: Cluster, config: AuctionConfig, count: int) -> list[Settlement]:
    """Read settlements at the node that comes late, check each, until so many are through."""
    auction = IntentAuction.bind(cluster.net(6), config)
    settlements = await auction.settlements.online_reader()
    updated = settlements.when().updated()
    audit, seen = Audit(config), 0
    while audit.finished_count < count:
        for one in settlements[seen:]:
            seen += 1
            assert audit.receive(one), "published twice"
        if audit.finished_count < count:
            async with asyncio.timeout(30):
                await updated
    return list(settlements)


@scenario(seeds=range(1), **SETTINGS)
async def test_a_late_relayer_gets_every_settlement_of_sealed_quotes(cluster: Cluster) -> None:
    config = demo(is_sealed=True)
    auctioneers = await start(cluster, config)
    # The seventh node has nothing to do with the auction until two rounds are over.
    await cluster.until(lambda: max(round_of(one) for one in auctioneers) > 2)
    settlements = await read_all(cluster, config, COUNT)
    assert settlements[0].round == 1
    fills = [fill for one in settlements for fill in one.fills]
    assert len(fills) == COUNT - 1  # one was greedy, and nobody filled it
    assert max(fill.quote_count for fill in fills) == 2


@scenario(seeds=range(1), **SETTINGS)
async def test_a_leader_killed_in_mid_round_takes_nothing_with_it(cluster: Cluster) -> None:
    auctioneers = await start(cluster, demo())
    # It is killed in the first window: some intents are in the log, some are on their way.
    await cluster.until(lambda: any(pending_of(one) >= 4 for one in auctioneers))
    (leader,) = (index for index, one in enumerate(auctioneers) if one.group.is_leader)
    window_end_ms = machine_of(auctioneers[leader]).head.window_end_ms
    await cluster.crash(leader)
    # The others clear that very round, of the window that was committed; all is settled once.
    settlements = await check_the_rest(cluster, auctioneers, leader)
    assert (settlements[0].round, settlements[0].window_end_ms) == (1, window_end_ms)


@scenario(seeds=range(1), **SETTINGS)
async def test_a_leader_killed_before_it_publishes_leaves_that_to_the_next(
    cluster: Cluster,
) -> None:
    dead: list[int] = []

    class Doomed(Auctioneer):
        async def _publish(self) -> None:
            if not dead and machine_of(self).unpublished:
                dead.append(next(n.index for n in cluster.nodes if n.net is self.net))
                await asyncio.get_running_loop().create_future()
            await super()._publish()

    auctioneers = await start(cluster, demo(window_s=1.5), kind=Doomed)
    await cluster.until(lambda: bool(dead))
    assert machine_of(auctioneers[dead[0]]).unpublished
    await cluster.crash(dead[0])
    settlements = await check_the_rest(cluster, auctioneers, dead[0])
    assert settlements[0].round == 1


async def check_the_rest(
    cluster: Cluster, auctioneers: list[Auctioneer], killed: int
) -> list[Settlement]:
    """Wait for all settlements, each checked; the two that are left have the same state then."""
    left = [one for index, one in enumerate(auctioneers) if index != killed]
    settlements = await read_all(cluster, left[0].config, COUNT)
    await cluster.until(lambda: not any(machine_of(one).unpublished for one in left))
    digests = {(await one.group.query(Digest())).result for one in left}  # strong, on a follower
    assert len(digests) == 1
    # What another one had signed got to no log.
    assert [one.forged for one in left] == [1, 1]
    # What two of them submitted, because neither knew of the other, counted once.
    again = {"duplicate", "no better than the solver's other quote"}
    assert set(machine_of(left[0]).head.refused) <= again
    return settlements


def machine_of(one: Auctioneer) -> Auction:
    machine = one.group.machine
    assert isinstance(machine, Auction)
    return machine


def round_of(one: Auctioneer) -> int:
    return machine_of(one).head.round


def pending_of(one: Auctioneer) -> int:
    return len(machine_of(one).pending)
