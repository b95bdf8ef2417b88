"""Handles that nothing refers to any more."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import msgspec

from ...waiting import until
from .nodes import StreamNode, world


class Tick(msgspec.Struct):
    n: int


async def first(node: StreamNode) -> Tick:
    async for tick in node.streams.consume(Tick):
        return tick
    raise AssertionError


async def test_a_consumer_that_a_loop_left_behind_unsubscribes() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.producer(Tick, disconnect_lagging=False)
        got = asyncio.create_task(first(b))
        await producer.when().online()
        await producer.send(Tick(1))
        assert await got == Tick(1)
        del got
        gc.collect()
        await producer.when().unsubscribed()
        # Its actor is gone with it, and the catalog tells it nothing any more.
        assert not list(b.streams._consumers)
        second = b.streams.consume(Tick)
        await producer.when().subscribed()
        await producer.send(Tick(2))
        assert await second.recv() == Tick(2)


async def test_a_consumer_in_a_cycle_unsubscribes_when_it_is_collected_on_another_thread() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.produce(Tick)
        cycle: dict[str, Any] = {"consumer": b.streams.consume(Tick)}
        cycle["self"] = cycle
        await producer.when().online()
        del cycle
        collecting = threading.Thread(target=gc.collect)
        collecting.start()
        collecting.join()
        await producer.when().unsubscribed()


async def test_who_waits_for_a_consumer_keeps_it() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        waiting = asyncio.create_task(online(b))
        receiving = asyncio.create_task(b.streams.consume(Tick).recv())
        await asyncio.sleep(0)
        gc.collect()
        producer = a.streams.produce(Tick)
        await producer.when().online()
        await waiting
        await until(lambda: len(producer.consumers()) == 1)
        await producer.send(Tick(1))
        assert await receiving == Tick(1)
        del receiving
        gc.collect()
        await producer.when().unsubscribed()


async def online(node: StreamNode) -> None:
    await node.streams.consume(Tick).when().online()


async def test_a_wait_that_is_not_awaited_yet_keeps_its_consumer() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.produce(Tick)
        ready = b.streams.consume(Tick).when().subscribed().minimum_of(1)
        gc.collect()
        await ready
        await producer.when().online()
        del ready
        gc.collect()
        await producer.when().unsubscribed()


async def test_a_closed_consumer_and_one_of_a_closed_network_are_forgotten_in_silence() -> None:
    async with world() as nodes:
        b = await nodes.start("b")
        closed = b.streams.consume(Tick)
        await closed.close()
        left = b.streams.consume(Tick)
        nodes.nodes.remove(b)
        await b.close()
        del closed, left
        gc.collect()
        await asyncio.sleep(0)


async def test_a_producer_that_was_forgotten_is_there_for_the_next_handle() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        consumer = b.streams.consume(Tick)
        a.streams.produce(Tick)
        gc.collect()
        await consumer.when().online()
        again = a.streams.produce(Tick)
        await again.send(Tick(1))
        assert await consumer.recv() == Tick(1)
        await again.close()
        await consumer.when().offline()
