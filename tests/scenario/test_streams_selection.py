"""Choosing items and producers through faults: criteria, preferences, rates, churn.

The rules of `test_streams` hold here as well: order, nothing twice, nothing
that was not sent. On top, a consumer with criteria never sees an item it did
not ask for, and one that prefers k producers never has more.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from mosaik_actors import Rate, TransportConfig, nearest, where, with_tags
from mosaik_actors.streams.criteria.criteria import CriteriaError
from mosaik_actors.testing.cluster import Cluster, SimNode
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.faults import FaultPlan
from mosaik_actors.testing.scenario import scenario

from .test_streams import NODES, SETTINGS, Observations, Reading, Seen, play, produce


async def consume_thirds(node: SimNode, all_seen: Observations) -> None:
    """Take what one of three criteria lets through, and judge that as well."""
    seen = all_seen.seen.setdefault((node.index, node.run_count), Seen())
    wanted = {
        2: where(lambda r: r.number.in_(range(0, 600, 3)) | (r.number >= 600)),
        3: where(lambda r: r.producer == 0) | where(lambda r: r.number > 5),
        4: where(lambda r: r.run > 0),
    }[node.index]
    holds: dict[int, Any] = {
        2: lambda r: r.number % 3 == 0 or r.number >= 600,
        3: lambda r: r.producer == 0 or r.number > 5,
        4: lambda r: r.run > 0,
    }
    consumer = node.net.streams.consumer(Reading, stream_id="readings", criteria=wanted)
    async for reading in consumer:
        assert holds[node.index](reading), f"n{node.index} did not ask for {reading}"
        seen.take(reading)


def filtering(all_seen: Observations, node: SimNode) -> Any:
    """Return what a node runs: the first two produce, the others filter."""
    return produce(node, all_seen) if node.index < 2 else consume_thirds(node, all_seen)


@scenario(nodes=NODES, seeds=range(6), faults=FaultPlan(duration=45), **SETTINGS)
async def test_nobody_gets_what_it_did_not_ask_for(cluster: Cluster) -> None:
    all_seen = await play(cluster, 47, filtering)
    assert sum(seen.count for seen in all_seen.seen.values()) > 100


async def consume_best(node: SimNode, all_seen: Observations) -> None:
    """Take readings from one producer at a time."""
    seen = all_seen.seen.setdefault((node.index, node.run_count), Seen())
    prefer = with_tags("first", patience=1)
    consumer = node.net.streams.consumer(Reading, stream_id="readings", prefer=prefer)
    async for reading in consumer:
        assert len(consumer.producers()) <= 1
        seen.take(reading)


def choosing(all_seen: Observations, node: SimNode) -> Any:
    """Return what a node runs: the first two produce, the others prefer the first."""
    return produce(node, all_seen) if node.index < 2 else consume_best(node, all_seen)


def tags(index: int) -> list[str]:
    """Return a node's tags: the first one is marked."""
    return ["first"] if index == 0 else []


@scenario(nodes=NODES, seeds=range(6), faults=FaultPlan(duration=45), tags=tags, **SETTINGS)
async def test_the_preferred_producer_is_moved_to_in_the_end(cluster: Cluster) -> None:
    all_seen = Observations()
    tasks: dict[tuple[int, int], asyncio.Task[Any]] = {}

    def keep_running() -> None:
        for node in cluster.nodes:
            key = (node.index, node.run_count)
            if node.is_running and key not in tasks:
                tasks[key] = node.spawn(choosing(all_seen, node))
        for (index, run), task in tasks.items():
            is_present = cluster.nodes[index].is_running and run == cluster.nodes[index].run_count
            if is_present and task.done() and not task.cancelled():
                task.result()

    while cluster.now < 47:
        keep_running()
        all_seen.check()
        await cluster.sleep(0.25)
    await cluster.calm()
    keep_running()

    def all_take_from_the_first() -> bool:
        keep_running()
        run = cluster.nodes[0].run_count
        return (
            all(
                (0, run) in all_seen.seen[(node.index, node.run_count)].last
                for node in cluster.nodes[2:]
                if (node.index, node.run_count) in all_seen.seen
            )
            and len(all_seen.seen) >= NODES - 2
        )

    await cluster.until(all_take_from_the_first, timeout=120, what="the first one at all consumers")
    all_seen.check()


@scenario(nodes=4, seeds=range(3), transport=TransportConfig(idle_timeout=3.0))
async def test_the_nearest_producers_are_kept_and_replaced(cluster: Cluster) -> None:
    # Node 0 consumes; 1, 2 and 3 produce at 10, 40 and 160 ms.
    for index, latency in ((1, 0.01), (2, 0.04), (3, 0.16)):
        way = NetworkConditions(latency=latency)
        here, there = cluster.nodes[0].peer_id, cluster.nodes[index].peer_id
        cluster.network.set_conditions(way, here, there)
        cluster.network.set_conditions(way, there, here)
    producers = {index: cluster.net(index).streams.produce(Reading) for index in (1, 2, 3)}
    consumer = cluster.net(0).streams.consumer(Reading, prefer=nearest(2, patience=2))
    ids = {cluster.nodes[index].peer_id: index for index in (1, 2, 3)}

    def chosen() -> list[int]:
        return sorted(ids[channel.producer_id] for channel in consumer.producers())

    # Whoever was found first, in the end it is the two nearest.
    await cluster.until(lambda: chosen() == [1, 2], timeout=90, what="the two nearest")
    # One of them crashes: the far one will do.
    await cluster.crash(2)
    await cluster.until(lambda: chosen() == [1, 3], timeout=30, what="the far one")
    # Its producer is back: the far one is let go of, and what it sends is not seen any more.
    await cluster.start(2)
    producers[2] = cluster.net(2).streams.produce(Reading)
    await cluster.until(lambda: chosen() == [1, 2], timeout=90, what="the two nearest again")
    await producers[3].when().offline()
    await producers[1].send(Reading(1, 1, 1))
    await producers[2].send(Reading(2, 2, 2))
    got = [await consumer.recv(), await consumer.recv()]
    assert sorted(reading.producer for reading in got) == [1, 2]


@scenario(nodes=3, seeds=range(3), **SETTINGS)
async def test_rates_hold_exactly_on_virtual_time(cluster: Cluster) -> None:
    producer = cluster.net(0).streams.producer(
        Reading, consumer_rate=Rate(items=100), total_rate=Rate(items=150)
    )
    consumers = [cluster.net(index).streams.consume(Reading) for index in (1, 2)]
    await producer.when().subscribed().minimum_of(2)
    started = cluster.now
    sending = asyncio.create_task(producer.send_many(Reading(0, 1, n) for n in range(10_000)))
    counts = [0, 0]

    async def take(index: int) -> None:
        async for reading in consumers[index]:
            assert reading.number == counts[index]
            counts[index] += 1

    taking = [asyncio.create_task(take(index)) for index in (0, 1)]
    await cluster.sleep(20)
    # The total of 150 is the narrower one, and it is shared fairly: 75 each.
    elapsed_s = cluster.now - started
    for count in counts:
        assert count == pytest.approx(75 * elapsed_s, rel=0.05)
    # Alone, a consumer gets its own 100 and no more; nobody was called too slow.
    await consumers[1].close()
    before = counts[0]
    await cluster.sleep(20)
    assert counts[0] - before == pytest.approx(2000, rel=0.05)
    for task in (sending, *taking):
        task.cancel()
    await asyncio.wait([sending, *taking])


@scenario(nodes=3, seeds=range(3), **SETTINGS)
async def test_criteria_that_one_producer_cannot_judge_stop_only_that_one(
    cluster: Cluster,
) -> None:
    newer = msgspec.defstruct(
        "Reading", [("producer", int), ("run", int), ("number", int), ("unit", str, "")]
    )
    old = cluster.net(0).streams.produce(Reading, stream_id="mixed")
    new = cluster.net(1).streams.produce(newer, stream_id="mixed")
    consumer = cluster.net(2).streams.consumer(
        newer, stream_id="mixed", criteria=where(lambda r: r.unit == "m")
    )
    await new.when().online()
    await new.send(newer(1, 1, 1, "ft"))
    await new.send(newer(1, 1, 2, "m"))
    assert await consumer.recv() == newer(1, 1, 2, "m")
    old_id = cluster.nodes[0].peer_id
    await cluster.until(lambda: old_id in consumer.refusals(), what="a refusal")
    assert isinstance(consumer.refusals()[old_id], CriteriaError)
    assert not old.is_online
