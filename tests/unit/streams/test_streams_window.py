"""What a consumer holds stays within its one window, with whole nodes."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from mosaik_actors.errors import Empty, Full, ProducerOffline
from mosaik_actors.handles.channels import ChannelInfo
from mosaik_actors.handles.consumer import Consumer
from mosaik_actors.handles.producer import Producer
from mosaik_actors.streams.config import Backoff
from mosaik_actors.streams.consuming.session import ReceiverSession
from mosaik_actors.transport.close import CloseCode

from ...waiting import until
from .nodes import take, world

WINDOW = 128


class Tick(msgspec.Struct):
    n: int


def drain(consumer: Consumer[Tick]) -> list[Tick]:
    """Return everything that waits."""
    found = []
    try:
        while True:
            found.append(consumer.try_recv())
    except Empty:
        return found


def fill(producer: Producer[Tick], count: int = 40) -> None:
    for n in range(count):
        try:
            producer.try_send(Tick(n))
        except (Full, ProducerOffline):
            return


async def test_a_consumer_that_never_takes_stays_out_until_its_application_takes() -> None:
    settings: dict[str, Any] = {"window_items": WINDOW, "lag_grace": 0.02}
    async with world(**settings) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.producer(Tick, buffer_size=64)
        consumer = b.streams.consume(Tick)

        def is_kept_out() -> bool:
            fill(producer)
            refusal = consumer.refusals().get(a.peer_id)
            return refusal is not None and "wait to be taken" in str(refusal)

        await until(is_kept_out)
        for _ in range(20):  # it asks for nothing any more, however often it is time to
            assert not producer.consumers()
            await asyncio.sleep(0.01)
        taken = drain(consumer)
        assert WINDOW // 2 < len(taken) <= WINDOW
        # With room again, it is back, and gets what is sent from then on.
        await producer.when().online()
        await producer.send(Tick(-1))
        assert await consumer.recv() == Tick(-1)
        assert consumer.refusals() == {}


async def test_all_producers_of_a_consumer_share_its_window() -> None:
    settings: dict[str, Any] = {"window_items": WINDOW, "drain_timeout": 0.05}
    settings["lag_grace"] = 10.0
    async with world(**settings) as nodes:
        b = await nodes.start("b")
        consumer = b.streams.consume(Tick)
        producers = []
        for name in ("p0", "p1", "p2", "p3"):
            node = await nodes.start(name)
            producers.append(node.streams.produce(Tick))
            await producers[-1].when().online()

        def is_full() -> bool:
            for producer in producers:
                fill(producer)
            return all(len(p._outbox.entries) == p._outbox.room for p in producers)

        await until(is_full)
        waiting = sum(session.waiting.items for session in consumer_sessions(consumer))
        assert WINDOW // 2 < waiting <= WINDOW
        # Nobody is left out, and what was sent so far is what waits.
        assert len(consumer.producers()) == 4
        sent = [channel.stats.datums for p in producers for channel in p.consumers()]
        assert sum(sent) == waiting
        assert min(sent) > 0
        await take(consumer, 1000)


def consumer_sessions(consumer: Consumer[Tick]) -> list[ReceiverSession]:
    inbox = consumer._inbox
    chunks = [chunk for chunk in (inbox._chunk, *inbox._chunks) if chunk is not None]
    return list({id(chunk.session): chunk.session for chunk in chunks}.values())


async def test_the_back_off_of_a_slow_consumer_grows() -> None:
    backoff = Backoff(initial=0.01, max=60.0, factor=10.0, jitter=0.0)
    async with world(window_items=WINDOW, lag_grace=0.02, backoff=backoff) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.producer(Tick, buffer_size=64)
        consumer = b.streams.consume(Tick)
        for _ in range(3):
            drain(consumer)  # else there is no room to come back
            await producer.when().online()
            (channel,) = producer.consumers()

            def is_over(channel: ChannelInfo = channel) -> bool:
                fill(producer)
                return not channel.is_connected

            await until(is_over)
            assert channel.reason is not None
            assert channel.reason.code == CloseCode.STREAM_TOO_SLOW
        drain(consumer)  # there is room, but it waits for its turn, 1 s now
        await asyncio.sleep(0.2)
        assert not producer.consumers()
