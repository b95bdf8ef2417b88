"""Streams under careless applications and greedy peers."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from mosaik_actors.actors.consumer import ConsumerActor
from mosaik_actors.actors.producer import CALM_S
from mosaik_actors.errors import Closed, ConfigError, Full
from mosaik_actors.streams.consuming.inlet import Inlet, QueuedLinkEvent
from mosaik_actors.transport.interface import LinkDrained
from tests.waiting import until

from .nodes import send_all, take, world

LIMIT = 100_000


class Tick(msgspec.Struct, frozen=True):
    n: int
    text: str = ""


async def test_sending_again_what_was_not_delivered_leaves_the_loop_alive() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        turns = 0

        def again(item: Tick) -> None:
            nonlocal turns
            turns += 1
            if turns < LIMIT:  # without an end a failure would hang the test
                producer.try_send(item)

        producer = a.streams.producer(
            Tick, online_when=lambda c: c.minimum_of(0), undelivered=again
        )
        await producer.when().online()
        await producer.send(Tick(1))
        for _ in range(20):  # about a thousand each, on a quick machine
            await asyncio.sleep(0)
        assert 1 < turns < LIMIT


class Fragile(msgspec.Struct, frozen=True):
    n: int

    def __post_init__(self) -> None:
        if self.n in BREAKS_AT:
            raise BREAKS_AT[self.n]("not an error that decoders expect")


BREAKS_AT: dict[int, type[Exception]] = {}


@pytest.mark.parametrize(
    "error", [KeyError, AssertionError, ZeroDivisionError, RecursionError, ValueError, Exception]
)
async def test_an_item_whose_own_class_raises_takes_out_only_itself(error: Any) -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.produce(Fragile, stream_id="fragile")
        consumer = b.streams.consume(Fragile, stream_id="fragile")
        await producer.when().online()
        items = [Fragile(n) for n in range(5)]
        try:
            BREAKS_AT[1] = error
            await producer.send_many(items)
            got = await take(consumer, 4)
        finally:
            BREAKS_AT.clear()
        assert got == [item for item in items if item.n != 1]
        (channel,) = consumer.producers()
        assert channel.stats.rejected == 1


async def test_a_queued_event_that_is_handled_twice_counts_once() -> None:
    """The runtime runs a handler that failed once more."""
    queue: list[Any] = []
    inlet = Inlet(queue.append)
    link: Any = object()
    for _ in range(2):
        inlet(LinkDrained(link))
    actor, sender = ConsumerActor(), link
    first, second = queue
    assert isinstance(first, QueuedLinkEvent)
    for _ in range(3):
        actor.receiveMsg_QueuedLinkEvent(first, sender)
        assert not inlet.is_caught_up
    for _ in range(3):
        actor.receiveMsg_QueuedLinkEvent(second, sender)
        assert inlet.is_caught_up


async def test_two_consumers_of_one_node_are_one_peer() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.producer(Tick, online_when=lambda c: c.minimum_of(2), max_consumers=2)
        both = [b.streams.consume(Tick) for _ in range(2)]
        await until(lambda: len(producer.consumers()) == 2)
        assert not producer.is_online
        assert not producer.when().subscribed().minimum_of(2).is_met
        c = await nodes.start("c")
        third = c.streams.consume(Tick)
        await producer.when().online()
        await producer.send(Tick(1))
        assert [await one.recv() for one in (*both, third)] == [Tick(1)] * 3
        await both[0].close()
        await until(lambda: len(producer.consumers()) == 2)
        assert producer.is_online


async def always(*_given: Any) -> bool:
    return True


class AlwaysObject:
    async def __call__(self, _peer: Any) -> bool:
        return True


NOTHING: Any = None


async def test_functions_that_would_always_be_true_are_refused_at_the_call() -> None:
    async with world() as nodes:
        streams: Any = (await nodes.start("a")).streams
        for settings in (
            {"require": always},
            {"require": AlwaysObject()},
            {"undelivered": always},
            {"online_when": always},
            {"online_when": lambda c: c.with_predicate(always)},
        ):
            with pytest.raises(ConfigError, match="is a coroutine function"):
                streams.producer(Tick, **settings)
        for settings in ({"require": always}, {"online_when": always}, {"prefer": always}):
            with pytest.raises(ConfigError, match="is a coroutine function"):
                streams.consumer(Tick, **settings)
        for make in (streams.producer, streams.consumer):
            with pytest.raises(ConfigError, match="online_when returned NoneType"):
                make(Tick, online_when=lambda _: NOTHING)
        producer = streams.producer(Tick, require=lambda peer: True)
        with pytest.raises(ConfigError, match="is a coroutine function"):
            producer.when().subscribed().with_predicate(always)


async def test_a_require_that_returns_a_coroutine_lets_nobody_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        guarded = a.streams.producer(Tick, require=lambda peer: always(peer))  # type: ignore[arg-type,return-value]
        refused = b.streams.consume(Tick)
        # It may be unknown there at first, which is another reason.
        await until(lambda: "requirements" in str(refused.refusals().get(a.peer_id)))
        assert guarded.consumers() == []
    (told,) = [r for r in caplog.records if "has to be awaited" in r.getMessage()]
    assert "<lambda>" in told.getMessage()


async def test_a_consumer_hears_once_that_it_was_too_slow_and_what_helps(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with world(buffer_size=10, lag_grace=0.02) as nodes:
        a, b, c = [await nodes.start(name) for name in "abc"]
        producer = a.streams.produce(Tick)
        _stalled, healthy = b.streams.consume(Tick), c.streams.consume(Tick)
        reading = asyncio.create_task(take(healthy, 1000))
        sent = 0
        for _ in range(2):
            await until(lambda: b.peer_id in {one.consumer_id for one in producer.consumers()})
            (channel,) = (one for one in producer.consumers() if one.consumer_id == b.peer_id)
            while channel.is_connected:
                await producer.send(Tick(sent))
                sent += 1
        reading.cancel()
    told = [r for r in caplog.records if r.name.endswith("actors.consumer")]
    warnings = [r.getMessage() for r in told if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    for remedy in ("lag_grace", "buffer_size", "disconnect_lagging"):
        assert remedy in warnings[0]


async def test_ordinary_refusals_are_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        _producer = a.streams.producer(Tick, require=lambda peer: False)
        consumer = b.streams.consume(Tick)
        # It may be unknown there at first, which is another reason.
        await until(lambda: "requirements" in str(consumer.refusals().get(a.peer_id)))
    told = [r for r in caplog.records if "requirements are not met" in r.getMessage()]
    assert {r.name.rpartition(".")[2] for r in told} == {"producer", "consumer"}
    assert {r.levelno for r in told} == {logging.DEBUG}


async def test_sending_with_pauses_of_computing_gives_the_loop_its_turns() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        producer = a.streams.producer(
            Tick, online_when=lambda c: c.minimum_of(0), undelivered=lambda item: None
        )
        await producer.when().online()
        others = asyncio.Event()
        asyncio.get_running_loop().call_soon(others.set)
        sent = 0
        while not others.is_set() and sent < 200:
            await producer.send(Tick(sent))
            sent += 1
            until_s = time.perf_counter() + 3 * CALM_S
            while time.perf_counter() < until_s:
                pass
        assert sent < 200


async def test_items_encoded_together_are_returned_one_by_one() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        returned: list[Tick] = []
        producer = a.streams.producer(
            Tick, online_when=lambda c: c.minimum_of(0), undelivered=returned.append
        )
        await producer.when().online()
        await producer.send_many([Tick(n) for n in range(300)])
        await until(lambda: len(returned) >= 300)
        assert returned == [Tick(n) for n in range(300)]


async def test_send_many_fills_the_buffer_to_the_item_and_says_what_is_left() -> None:
    """Items are encoded in batches, which end elsewhere than the room does."""
    async with world(buffer_size=150, drain_timeout=0.05) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        returned: list[Tick] = []
        producer = a.streams.producer(Tick, disconnect_lagging=False, undelivered=returned.append)
        consumer = b.streams.consume(Tick)
        await producer.when().online()
        items = [Tick(n) for n in range(1000)]
        sending = asyncio.create_task(producer.send_many(items))
        await until(lambda: producer._outbox.item_count == 150)
        await until(lambda: producer.consumers()[0].stats.datums == 150)
        await producer.close()
        with pytest.raises(Closed) as closed:
            await sending
        assert closed.value.value == items[300:]
        assert returned == items[150:300]
        assert await take(consumer, 150) == items[:150]


async def test_a_cancelled_send_many_has_sent_the_items_up_to_some_point() -> None:
    async with world(buffer_size=150) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.producer(Tick, disconnect_lagging=False)
        consumer = b.streams.consume(Tick)
        await producer.when().online()
        items = [Tick(n) for n in range(1000)]
        sending = asyncio.create_task(producer.send_many(items))
        got = await take(consumer, 200)
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
        last = asyncio.create_task(producer.send(Tick(-1)))
        while got[-1] != Tick(-1):
            got += await consumer.recv_many()
        await last
        assert got[:-1] == items[: len(got) - 1]
        assert len(got) < len(items)


async def test_what_waits_at_a_producer_is_bounded_in_bytes_whatever_the_items() -> None:
    limit = 50_000
    async with world(buffer_bytes=limit) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.producer(Tick, disconnect_lagging=False)
        consumer = b.streams.consume(Tick)
        await producer.when().online()
        items = [Tick(n, "x" * 2000) for n in range(500)]
        box = producer._outbox

        def waiting_bytes() -> int:
            assert box.byte_count == sum(map(len, box.entries))
            return box.byte_count

        sent = 0
        with suppress(Full):
            for item in items:
                producer.try_send(item)
                sent += 1
        assert limit - 2100 < waiting_bytes() <= limit
        many = asyncio.create_task(producer.send_many(items[sent:250]))
        received = 0
        while received < 250:
            received += len(await consumer.recv_many(10))
            assert waiting_bytes() <= limit
        await many
        single = asyncio.create_task(send_all(producer, items[250:]))
        while received < 500:
            received += len(await consumer.recv_many(10))
            assert waiting_bytes() <= limit
        await single
