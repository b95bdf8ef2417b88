"""Streams over real QUIC, within one process and between processes."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mosaik_actors.network import Network
from mosaik_actors.streams.consuming.preference import best
from mosaik_actors.streams.criteria.criteria import CriteriaError, where
from mosaik_actors.transport.close import CloseCode, CloseReason
from tests.waiting import until

from .streams_worker import NETWORK, STREAM, Reading, config

TIMEOUT_S = 20.0


@asynccontextmanager
async def nodes(count: int, **settings: Any) -> AsyncIterator[list[Network]]:
    """Start nodes that know the first one."""
    made: list[Network] = []
    try:
        async with asyncio.timeout(TIMEOUT_S):
            for _ in range(count):
                bootstrap = [made[0].addr] if made else []
                made.append(
                    await Network.start(
                        NETWORK, bootstrap=bootstrap, rendezvous=False, streams=config(**settings)
                    )
                )
            yield made
    finally:
        for net in reversed(made):
            await net.close()


def readings(count: int) -> list[Reading]:
    return [Reading("a", n) for n in range(count)]


async def take(consumer: Any, count: int) -> list[Any]:
    items: list[Any] = []
    while len(items) < count:
        items += await consumer.recv_many(count - len(items))
    return items


async def send_all(producer: Any, items: list[Any]) -> None:
    for item in items:
        await producer.send(item)


async def test_many_items_cross_a_real_connection_in_order() -> None:
    async with nodes(2) as (a, b):
        producer, consumer = (
            a.streams.produce(Reading, stream_id=STREAM),
            b.streams.consume(Reading, stream_id=STREAM),
        )
        sending = asyncio.create_task(send_all(producer, readings(20_000)))
        assert await take(consumer, 20_000) == readings(20_000)
        await sending


async def test_large_items_cross_a_real_connection() -> None:
    async with nodes(2) as (a, b):
        producer, consumer = (
            a.streams.produce(Reading, stream_id=STREAM),
            b.streams.consume(Reading, stream_id=STREAM),
        )
        large = [
            Reading("a", n, bytes([n]) * size) for n, size in enumerate((10, 100_000, 5 << 20))
        ]
        sending = asyncio.create_task(send_all(producer, large))
        assert await take(consumer, 3) == large
        await sending


async def test_three_consumers_and_two_producers() -> None:
    async with nodes(5) as (a, b, *others):
        producers = [
            a.streams.produce(Reading, stream_id=STREAM),
            b.streams.produce(Reading, stream_id=STREAM),
        ]
        consumers = [net.streams.consume(Reading, stream_id=STREAM) for net in others]
        for producer in producers:
            await producer.when().subscribed().minimum_of(3)
        sends = [
            asyncio.create_task(send_all(producer, [Reading(name, n) for n in range(500)]))
            for name, producer in zip("ab", producers, strict=True)
        ]
        for got in await asyncio.gather(*(take(consumer, 1000) for consumer in consumers)):
            for name in "ab":
                assert [r.n for r in got if r.source == name] == list(range(500))
        await asyncio.gather(*sends)


async def test_a_stalled_consumer_is_disconnected_over_a_real_connection() -> None:
    async with nodes(3, buffer_size=100, lag_grace=0.1) as (a, b, c):
        producer = a.streams.produce(Reading, stream_id=STREAM)
        _stalled, healthy = (
            b.streams.consume(Reading, stream_id=STREAM),
            c.streams.consume(Reading, stream_id=STREAM),
        )
        await producer.when().subscribed().minimum_of(2)
        (channel,) = (one for one in producer.consumers() if one.consumer_id == b.peer_id)
        sending = asyncio.create_task(send_all(producer, readings(2000)))
        assert await take(healthy, 2000) == readings(2000)
        await sending
        await channel.disconnected()
        assert isinstance(channel.reason, CloseReason)
        assert channel.reason.code == CloseCode.STREAM_TOO_SLOW


async def test_a_lost_connection_is_made_again() -> None:
    async with nodes(2) as (a, b):
        producer, consumer = (
            a.streams.produce(Reading, stream_id=STREAM),
            b.streams.consume(Reading, stream_id=STREAM),
        )
        await consumer.when().online()
        (channel,) = consumer.producers()
        b.node.endpoint.disconnect(a.peer_id, CloseReason(CloseCode.UNEXPECTED_CLOSE, "test"))
        await channel.disconnected()
        # The items the producer sends before it notices are lost; those after arrive.
        sending = asyncio.create_task(send_forever(producer))
        await consumer.recv()
        sending.cancel()
        await asyncio.wait([sending])


async def send_forever(producer: Any) -> None:
    n = 0
    while True:
        await producer.send(Reading("a", n))
        n += 1
        await asyncio.sleep(0)


async def test_leaving_the_network_delivers_what_was_accepted() -> None:
    async with nodes(2) as (a, b):
        producer, consumer = (
            a.streams.produce(Reading, stream_id=STREAM),
            b.streams.consume(Reading, stream_id=STREAM),
        )
        await producer.when().online()
        await producer.send_many(readings(1000))
        closing = asyncio.create_task(a.close())
        assert await take(consumer, 1000) == readings(1000)
        await closing


async def worker(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.streams_worker", *arguments, stdout=PIPE
    )


async def said(process: Process) -> dict[str, Any]:
    """Return the next thing a worker says."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "the worker ended without saying anything"
    facts: dict[str, Any] = json.loads(line)
    return facts


async def test_items_cross_processes_in_order() -> None:
    async with nodes(1) as (a,):
        producer = a.streams.produce(Reading, stream_id=STREAM)
        process = await worker("consume", str(a.addr), "30000")
        try:
            await said(process)
            await send_all(producer, readings(30_000))
            assert await said(process) == {"count": 30_000, "in_order": True}
            assert await process.wait() == 0
        finally:
            await ended(process)


async def test_criteria_are_judged_here_for_a_consumer_in_another_process() -> None:
    async with nodes(1) as (a,):
        producer = a.streams.produce(Reading, stream_id=STREAM)
        process = await worker("consume_from", str(a.addr), "500", "29500")
        try:
            await said(process)
            await producer.when().online()
            (channel,) = producer.consumers()
            await send_all(producer, readings(30_000))
            assert await said(process) == {"count": 500, "in_order": True}
            assert channel.stats.datums == 500
            assert await process.wait() == 0
        finally:
            await ended(process)


async def test_a_better_producer_in_another_process_takes_over() -> None:
    async with nodes(2) as (a, b):
        near = b.streams.produce(Reading, stream_id=STREAM)
        consumer = a.streams.consumer(
            Reading,
            stream_id=STREAM,
            prefer=best(1, key=lambda peer: float(peer.peer_id == b.peer_id), patience=0.1),
        )
        await near.when().online()
        await near.send_many(readings(100))
        process = await worker("produce", str(a.addr), "3000", "better")
        try:
            await said(process)
            assert await take(consumer, 100) == readings(100)
            # All of the better one's items, which begin with its subscription.
            assert await take(consumer, 3000) == [Reading("better", n) for n in range(3000)]
            # It has left: the other one will do.
            await near.when().online()
            await near.send(Reading("a", 100))
            assert await consumer.recv() == Reading("a", 100)
        finally:
            await ended(process)


async def test_a_producer_process_that_is_killed_and_restarted_is_picked_up() -> None:
    async with nodes(1) as (b,):
        consumer = b.streams.consume(Reading, stream_id=STREAM)
        first = await worker("produce", str(b.addr), "1000000000", "its key")
        try:
            peer = (await said(first))["peer"]
            assert (await consumer.recv()).source == "its key"
            first.kill()
            await first.wait()
            second = await worker("produce", str(b.addr), "1000", "its key")
            try:
                assert (await said(second))["peer"] == peer
                # The rest of the first life, then all of the second, to the last item.
                while (await consumer.recv()).n != 0:
                    pass
                assert [r.n for r in await take(consumer, 999)] == list(range(1, 1000))
                assert await second.wait() == 0
            finally:
                await ended(second)
        finally:
            await ended(first)


async def ended(process: Process) -> None:
    """Make sure a worker is gone, and its pipe closed."""
    if process.returncode is None:
        process.kill()
        await process.wait()
    if process.stdout is not None:
        await process.stdout.read()


async def test_costly_criteria_end_and_the_stream_goes_on() -> None:
    async with nodes(3, criteria_share=0.0, criteria_grace=0.01) as (a, b, c):
        producer = a.streams.produce(Reading, stream_id=STREAM)
        wanted = where(lambda r: r.n == -1)
        for n in range(200):
            wanted = wanted | where(lambda r, n=n: r.n == -2 - n)  # type: ignore[misc]
        greedy = b.streams.consumer(Reading, stream_id=STREAM, criteria=wanted)
        honest = c.streams.consume(Reading, stream_id=STREAM)
        await producer.when().subscribed().minimum_of(2)
        sent = 0
        while len(producer.consumers()) == 2:
            await producer.send(Reading("a", sent))
            assert await honest.recv() == Reading("a", sent)
            sent += 1
        await until(lambda: isinstance(greedy.refusals().get(a.peer_id), CriteriaError))
        await producer.send(Reading("a", sent))
        assert await honest.recv() == Reading("a", sent)
