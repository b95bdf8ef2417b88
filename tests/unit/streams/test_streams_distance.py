"""Predicates on round-trip time, and what holds with nobody there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mosaik_actors.streams.consuming.preference import best

from ...waiting import until
from .nodes import StreamNode, World, world


class Tick(msgspec.Struct):
    n: int


def is_near(peer: Any) -> bool:
    return bool(peer.rtt_below(5))


async def start_apart(nodes: World) -> tuple[StreamNode, StreamNode]:
    """Start two nodes that know each other and have no connection."""
    a, b = await nodes.start("a"), await nodes.start("b", bootstrap=False)
    b.discovery.feed(a.discovery.me)
    a.discovery.feed(b.discovery.me)
    return a, b


@pytest.mark.parametrize("side", ["producer", "consumer", "both"])
async def test_a_near_peer_is_admitted_as_soon_as_it_is_measured(side: str) -> None:
    async with world() as nodes:
        a, b = await start_apart(nodes)
        at_producer = is_near if side in ("producer", "both") else None
        at_consumer = is_near if side in ("consumer", "both") else None
        producer = a.streams.producer(Tick, require=at_producer)
        consumer = b.streams.consumer(Tick, require=at_consumer)
        # The catalogs read round-trip times only every 30 s.
        await producer.when().subscribed().with_predicate(is_near)
        await consumer.when().subscribed().with_predicate(is_near)


async def test_a_far_peer_stays_out() -> None:
    async with world() as nodes:
        a, b = await start_apart(nodes)
        nodes.network.latency = 0.01
        producer = a.streams.produce(Tick)
        seen: list[float | None] = []

        def is_nearer(peer: Any) -> bool:
            seen.append(peer.rtt)
            return bool(peer.rtt_below(0.001))

        consumer = b.streams.consumer(Tick, require=is_nearer)
        await until(lambda: 0.02 in seen)
        assert not producer.consumers()
        assert consumer.refusals() == {}


async def test_a_key_of_ones_own_has_the_distance_measured() -> None:
    async with world() as nodes:
        a, b = await start_apart(nodes)
        _producer = a.streams.produce(Tick)
        ranks: list[float | None] = []

        def key(peer: Any) -> float | None:
            ranks.append(peer.rtt)
            return peer.rtt  # type: ignore[no-any-return]

        consumer = b.streams.consumer(Tick, prefer=best(1, key=key))
        await consumer.when().online()
        await until(lambda: any(rank is not None for rank in ranks))


async def test_online_with_nobody_there_holds_from_the_first_moment() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        returned: list[Tick] = []
        producer = a.streams.producer(
            Tick, online_when=lambda c: c.minimum_of(0), undelivered=returned.append
        )
        consumer = a.streams.consumer(Tick, online_when=lambda c: c.minimum_of(0))
        assert producer.is_online
        assert consumer.is_online
        assert producer.when().online().is_met
        producer.try_send(Tick(1))
        await until(lambda: returned == [Tick(1)])
        nobody = a.streams.consumer(Tick, online_when=lambda c: c.minimum_of(1).unmet())
        assert nobody.is_online
        assert not a.streams.consume(Tick).is_online


async def test_refusals_name_no_producer_that_left() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        _producer = b.streams.producer(Tick, require=lambda _peer: False)
        consumer = a.streams.consume(Tick)
        await until(lambda: b.peer_id in consumer.refusals())
        await nodes.crash(b)
        # Its end is noticed while an attempt is under way, and the attempt fails afterwards.
        a.discovery.remove(b.peer_id)
        await until(lambda: not consumer.refusals())
        await until(lambda: not consumer._state.refusals)
