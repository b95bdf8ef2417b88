"""Producers and consumers of whole nodes, on the memory network."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from mosaik_actors.codec import EncodeError
from mosaik_actors.discovery.entry import EntryTooLarge, StreamInfo
from mosaik_actors.discovery.info import PeerInfo
from mosaik_actors.discovery.messages import WithdrawStream
from mosaik_actors.errors import AlreadyExists, Closed, ConfigError, Empty, Full, ProducerOffline
from mosaik_actors.handles.consumer import Consumer
from mosaik_actors.handles.producer import Producer
from mosaik_actors.ids import StreamId
from mosaik_actors.schema import SchemaMismatch, describe
from mosaik_actors.streams import wire
from mosaik_actors.streams.producing.encoding import ITEM_BYTES_MAX, TooLargeError
from mosaik_actors.streams.shared import ChannelState
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.interface import FramesReceived, LinkClosed, LinkRefused
from tests.waiting import until

from .nodes import send_all, take, world


class Tick(msgspec.Struct, frozen=True):
    n: int
    text: str = ""


def ticks(count: int, start: int = 0) -> list[Tick]:
    return [Tick(n) for n in range(start, start + count)]


# One to one.


async def test_items_arrive_in_order_and_once() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        sending = asyncio.create_task(send_all(producer, ticks(5000)))
        assert await take(consumer, 5000) == ticks(5000)
        await sending
        with pytest.raises(Empty):
            consumer.try_recv()


async def test_both_sides_see_the_channel_and_count_what_goes_through() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b", "taker")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        await consumer.when().online()
        assert producer.is_online
        assert consumer.is_online
        await producer.send_many(ticks(100))
        await take(consumer, 100)
        (there,), (here,) = producer.consumers(), consumer.producers()
        for channel in (there, here):
            assert channel.stream_id == producer.stream_id == consumer.stream_id
            assert (channel.producer_id, channel.consumer_id) == (a.peer_id, b.peer_id)
            assert channel.state is ChannelState.CONNECTED
            assert channel.is_connected
            assert channel.stats.datums == 100
            assert channel.stats.bytes > 200
            assert channel.stats.uptime >= 0
        assert there.peer.peer_id == b.peer_id
        assert "taker" in there.peer.tags
        assert here.peer.peer_id == a.peer_id
        assert producer.consumers() == [there]
        await consumer.close()
        await there.disconnected()
        assert there.state is ChannelState.CLOSED
        assert isinstance(there.reason, CloseReason)
        assert there.reason.code == CloseCode.CANCELLED
        assert producer.consumers() == []
        await producer.when().offline()
        assert producer.consumers() == []
        await there.disconnected()  # at once


async def test_delivery_starts_at_the_subscription() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        lost: list[Tick] = []
        producer = a.streams.producer(
            Tick, online_when=lambda c: c.minimum_of(0), undelivered=lost.append
        )
        assert producer.is_online  # before its actor ran
        await producer.when().online()
        await producer.send(Tick(-1))
        await producer.send(Tick(-2))
        await until(lambda: len(lost) == 2)
        consumer = b.streams.consume(Tick)
        await producer.when().subscribed()
        await producer.send(Tick(1))
        assert await consumer.recv() == Tick(1)
        assert lost == [Tick(-1), Tick(-2)]


async def test_items_are_what_they_were_when_they_were_sent() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(dict[str, int]), b.streams.consume(dict[str, int])
        await producer.when().online()
        item = {"n": 1}
        await producer.send(item)
        item["n"] = 2
        await producer.send(item)
        assert await take(consumer, 2) == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("type_", "items"),
    [
        (int, [0, -5, 2**63, 2**200]),
        (Tick | None, [None, Tick(1), None]),
        (bytes, [b"", bytes(3_000_000), b"x"]),
        (object, [None, (1, 2), {"a": {3}}]),
        (list[str], [[], ["a"] * 1000]),
    ],
)
async def test_items_of_all_kinds_and_sizes_pass(type_: Any, items: list[Any]) -> None:
    async with world(buffer_bytes=1_000_000, window_bytes=500_000) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.produce(type_, stream_id="things")
        consumer = b.streams.consume(type_, stream_id="things")
        sending = asyncio.create_task(send_all(producer, items * 5))
        assert await take(consumer, len(items) * 5) == items * 5
        await sending


async def test_an_item_above_the_frame_limit_is_refused_before_anything_is_sent() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(bytes), b.streams.consume(bytes)
        await producer.when().online()
        huge = bytes(ITEM_BYTES_MAX + 1)
        with pytest.raises(TooLargeError):
            await producer.send(huge)
        with pytest.raises(TooLargeError):
            producer.try_send(huge)
        with pytest.raises(TooLargeError):
            await producer.send_many([b"small", huge])
        await producer.send(b"next")
        assert await consumer.recv() == b"next"


async def test_the_frame_limit_of_the_transport_counts() -> None:
    async with world() as nodes:
        nodes.frame_bytes_max = 256 * 1024
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(bytes), b.streams.consume(bytes)
        await producer.when().online()
        huge = bytes(300_000)
        for refused in (producer.send(huge), producer.send_many([b"", huge])):
            with pytest.raises(TooLargeError):
                await refused
        with pytest.raises(TooLargeError):
            producer.try_send(huge)
        small = [bytes(100_000)] * 50
        await producer.send_many(small)
        assert await take(consumer, 50) == small


async def test_an_item_of_another_type_is_refused_where_it_is_sent() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer: Producer[Any] = a.streams.produce(Tick)
        consumer = b.streams.consume(Tick)
        await producer.when().online()
        for refused in (5, {"n": 1}, Tick("no integer")):  # type: ignore[arg-type]
            if not isinstance(refused, Tick):
                with pytest.raises(EncodeError):
                    await producer.send(refused)
                with pytest.raises(EncodeError):
                    await producer.send_many([Tick(1), refused])
        await producer.send(Tick(2))
        assert await consumer.recv() == Tick(2)


async def test_an_item_with_a_field_of_another_type_is_left_out_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        wrong = Tick("no integer")  # type: ignore[arg-type]
        await producer.send_many([Tick(0), wrong, Tick(1), wrong, wrong])
        await producer.send(wrong)  # a frame of its own, with nothing else in it
        await producer.send(Tick(2))
        assert await take(consumer, 3) == ticks(3)
        (channel,) = consumer.producers()
        assert channel.is_connected
        assert (channel.stats.datums, channel.stats.rejected) == (7, 4)
        assert caplog.text.count("not of the stream's type") == 1


async def test_items_left_out_count_as_taken() -> None:
    async with world(buffer_size=8) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        wrong = Tick("no integer")  # type: ignore[arg-type]
        await producer.send_many([wrong] * 200)  # nobody takes these, and nothing waits for that
        await producer.send(Tick(5))
        assert await consumer.recv() == Tick(5)
        assert consumer.producers()[0].stats.rejected == 200


async def test_a_producer_that_validates_refuses_such_items_where_they_are_sent() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.producer(Tick, validate=True)
        consumer = b.streams.consume(Tick)
        await producer.when().online()
        wrong = Tick("no integer")  # type: ignore[arg-type]
        with pytest.raises(EncodeError, match="int"):
            await producer.send(wrong)
        with pytest.raises(EncodeError, match="int"):
            producer.try_send(wrong)
        with pytest.raises(EncodeError, match="int"):
            await producer.send_many([Tick(1), wrong])
        await producer.send(Tick(2))
        assert await consumer.recv() == Tick(2)


class Loud(Tick, frozen=True):
    volume: int = 11


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    n: int


class StrictMore(Strict):
    more: int = 0


class Tagged(msgspec.Struct, tag=True):
    n: int


class TaggedMore(Tagged):
    more: int = 0


async def test_a_subclass_that_adds_fields_arrives_as_the_streams_type() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        await producer.send(Loud(1))
        producer.try_send(Loud(2, volume=3))
        await producer.send_many([Tick(3), Loud(4)])
        assert await take(consumer, 4) == ticks(4, start=1)
        for type_, item in ((Strict, StrictMore(1)), (Tagged, TaggedMore(1))):
            other: Producer[Any] = a.streams.produce(type_)
            with pytest.raises(EncodeError, match=r"forbids|tag"):
                other.try_send(item)


@pytest.mark.parametrize(
    ("old", "new"),
    [("producer", "consumer"), ("consumer", "producer")],
)
async def test_a_record_that_gained_an_optional_field_is_read_both_ways(old: str, new: str) -> None:
    newer = msgspec.defstruct("Tick", [("n", int), ("text", str, ""), ("more", int | None, None)])
    types: dict[str, Any] = {old: Tick, new: newer}
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer: Producer[Any] = a.streams.produce(types["producer"], stream_id="ticks")
        consumer: Consumer[Any] = b.streams.consume(types["consumer"], stream_id="ticks")
        await producer.when().online()
        await producer.send(types["producer"](1, "x"))
        assert await consumer.recv() == types["consumer"](1, "x")


# One to many, many to one.


async def test_every_consumer_gets_every_item() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        others = [await nodes.start(name) for name in "bcd"]
        producer = a.streams.produce(Tick)
        consumers = [node.streams.consume(Tick) for node in others]
        consumers.append(others[0].streams.consume(Tick))  # two on one node
        await until(lambda: len(producer.consumers()) == 4)
        sending = asyncio.create_task(send_all(producer, ticks(3000)))
        for got in await asyncio.gather(*(take(consumer, 3000) for consumer in consumers)):
            assert got == ticks(3000)
        await sending


async def test_one_consumer_gets_the_items_of_all_producers_each_in_order() -> None:
    async with world() as nodes:
        b = await nodes.start("b")
        consumer = b.streams.consume(Tick)
        names = ["p1", "p2", "p3"]
        producers = [(await nodes.start(name)).streams.produce(Tick) for name in names]
        await consumer.when().subscribed().minimum_of(3)
        sends = [
            asyncio.create_task(send_all(producer, [Tick(n, name) for n in range(1000)]))
            for name, producer in zip(names, producers, strict=True)
        ]
        got = await take(consumer, 3000)
        await asyncio.gather(*sends)
        for name in names:
            assert [tick.n for tick in got if tick.text == name] == list(range(1000))


async def test_a_consumer_does_not_subscribe_to_its_own_node() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, own = a.streams.produce(Tick), a.streams.consume(Tick)
        other = b.streams.consume(Tick)
        await producer.when().online()
        await producer.send(Tick(1))
        assert await other.recv() == Tick(1)
        assert own.producers() == []


# Back-pressure.


async def test_a_consumer_that_takes_nothing_makes_the_sender_wait() -> None:
    async with world(buffer_size=10) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.producer(Tick, disconnect_lagging=False)
        consumer = b.streams.consume(Tick)
        await producer.when().online()
        sent = 0

        async def send() -> None:
            nonlocal sent
            for tick in ticks(200):
                await producer.send(tick)
                sent += 1

        sending = asyncio.create_task(send())
        await until(lambda: consumer._inbox.items and len(producer._outbox.entries) == 10)
        await asyncio.sleep(0.05)  # it would have gone on by now
        assert sent == 20  # ten on their way to the application, ten in the buffer
        with pytest.raises(Full) as full:
            producer.try_send(Tick(-1))
        assert full.value.value == Tick(-1)
        assert await take(consumer, 200) == ticks(200)
        await sending


async def test_a_stalled_consumer_is_disconnected_and_the_others_lose_nothing() -> None:
    async with world(buffer_size=50, lag_grace=0.1) as nodes:
        a, b, c = await nodes.start("a"), await nodes.start("b"), await nodes.start("c")
        producer = a.streams.produce(Tick)
        stalled, healthy = b.streams.consume(Tick), c.streams.consume(Tick)
        await producer.when().subscribed().minimum_of(2)
        (channel,) = (one for one in producer.consumers() if one.consumer_id == b.peer_id)
        sending = asyncio.create_task(send_all(producer, ticks(1000)))
        assert await take(healthy, 1000) == ticks(1000)
        await sending
        await channel.disconnected()
        assert isinstance(channel.reason, CloseReason)
        assert channel.reason.code == CloseCode.STREAM_TOO_SLOW
        got = [stalled.try_recv() for _ in range(50)]
        assert got == ticks(50)  # what reached it is still there


async def test_without_grace_a_stalled_consumer_goes_at_once() -> None:
    async with world(buffer_size=10, lag_grace=0) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, _stalled = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        (channel,) = producer.consumers()
        for tick in ticks(50):
            with suppress(Full, ProducerOffline):
                producer.try_send(tick)
            await asyncio.sleep(0)
        await channel.disconnected()
        assert isinstance(channel.reason, CloseReason)
        assert channel.reason.code == CloseCode.STREAM_TOO_SLOW


async def test_a_consumer_that_was_too_slow_comes_back_with_a_gap() -> None:
    async with world(buffer_size=10, lag_grace=0.02) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        sending = asyncio.create_task(send_all(producer, ticks(100)))
        await producer.when().online()
        await producer.consumers()[0].disconnected()
        got = [tick.n for tick in await take(consumer, 20)]
        assert got == sorted(set(got))
        assert got[:10] == list(range(10))
        sending.cancel()
        await asyncio.wait([sending])


async def test_a_receiver_that_never_waits_lets_the_loop_run() -> None:
    async with world(buffer_size=20_000, window_items=20_000) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        await producer.send_many(ticks(20_000))
        await until(lambda: consumer.producers()[0].stats.datums == 20_000)
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count_turns())
        await take(consumer, 20_000)
        counting.cancel()
        assert turns >= 10


# Outcomes and cancellation.


async def test_outcomes_carry_what_was_not_accepted() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        producer = a.streams.produce(Tick)
        with pytest.raises(ProducerOffline) as offline:
            producer.try_send(Tick(1))
        assert offline.value.value == Tick(1)
        waiting = asyncio.create_task(producer.send(Tick(2)))
        waiting_many = asyncio.create_task(producer.send_many(ticks(3)))
        await asyncio.sleep(0)
        await producer.close()
        with pytest.raises(Closed) as closed:
            await waiting
        assert closed.value.value == Tick(2)
        with pytest.raises(Closed) as closed:
            await waiting_many
        assert closed.value.value == ticks(3)
        with pytest.raises(Closed) as closed:
            producer.try_send(Tick(3))
        assert closed.value.value == Tick(3)
        with pytest.raises(Closed):
            await producer.when().online()


async def test_send_waits_until_the_producer_is_online() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        producer = a.streams.produce(Tick)
        waiting = asyncio.create_task(producer.send(Tick(1)))
        await asyncio.sleep(0)
        assert not waiting.done()
        b = await nodes.start("b")
        assert await b.streams.consume(Tick).recv() == Tick(1)
        await waiting


async def test_a_cancelled_send_is_not_sent() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        producer = a.streams.produce(Tick)
        waiting = asyncio.create_task(producer.send(Tick(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        b = await nodes.start("b")
        consumer = b.streams.consume(Tick)
        await producer.send(Tick(2))
        assert await consumer.recv() == Tick(2)


async def test_a_cancelled_recv_loses_no_item() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        sending = asyncio.create_task(send_all(producer, ticks(300)))
        got: list[Tick] = []
        while len(got) < 300:
            receiving = asyncio.create_task(consumer.recv())
            await asyncio.sleep(0)
            if len(got) % 3 == 0:
                receiving.cancel()
            await asyncio.wait([receiving])
            if not receiving.cancelled():
                got.append(receiving.result())
            else:
                got += await consumer.recv_many(5)
        assert got == ticks(300)
        await sending


async def test_several_receivers_share_the_items() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        receivers = [asyncio.create_task(consumer.recv()) for _ in range(5)]
        await producer.when().online()
        await producer.send_many(ticks(5))
        got = await asyncio.gather(*receivers)
        assert sorted(tick.n for tick in got) == list(range(5))


async def test_recv_many_takes_what_is_there_up_to_its_limit() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        await producer.send_many(ticks(10))
        first = await consumer.recv_many(4)
        assert first == ticks(4)
        assert await consumer.recv_many() == ticks(6, start=4)
        with pytest.raises(ConfigError):
            await consumer.recv_many(0)


# Coming and going.


async def test_a_lost_link_is_opened_again() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        await producer.send(Tick(1))
        assert await consumer.recv() == Tick(1)
        (channel,) = consumer.producers()
        again = consumer.when().subscribed()
        await again
        b.endpoint.disconnect(a.peer_id, CloseReason(CloseCode.UNEXPECTED_CLOSE, "test"))
        await channel.disconnected()
        await again  # the next time it comes true
        await producer.send(Tick(2))
        assert await consumer.recv() == Tick(2)


async def test_what_was_sent_into_a_short_cut_arrives_when_it_is_mended() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await consumer.when().online()
        nodes.network.cut(a.peer_id, b.peer_id)
        await producer.send_many(ticks(100))
        nodes.network.mend(a.peer_id, b.peer_id)
        assert await take(consumer, 100) == ticks(100)


async def test_a_long_cut_ends_the_subscription_until_it_is_mended() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        await producer.send(Tick(1))
        assert await consumer.recv() == Tick(1)
        nodes.network.cut(a.peer_id, b.peer_id)
        await producer.send(Tick(2))  # lost: nobody gets it after the subscription it was sent on
        await producer.when().offline()
        await consumer.when().offline()
        nodes.network.mend(a.peer_id, b.peer_id)
        await producer.send(Tick(3))
        assert await consumer.recv() == Tick(3)


async def test_a_producer_that_restarts_with_its_key_is_picked_up() -> None:
    async with world() as nodes:
        b = await nodes.start("b")
        consumer = b.streams.consume(Tick)
        first = await nodes.start("p")
        producer = first.streams.produce(Tick)
        await producer.send(Tick(1))
        assert await consumer.recv() == Tick(1)
        await nodes.crash(first)
        second = await nodes.start("p")
        producer = second.streams.produce(Tick)
        await producer.send(Tick(2))
        assert await consumer.recv() == Tick(2)


async def test_closing_a_producer_delivers_what_it_accepted() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        await producer.send_many(ticks(500))
        closing = asyncio.create_task(producer.close())
        assert await take(consumer, 500) == ticks(500)
        await closing
        await consumer.when().offline()
        assert a.streams.produce(Tick).is_online is False  # a new one, with nobody yet


async def test_closing_does_not_wait_for_ever_for_a_consumer_that_takes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world(buffer_size=10, drain_timeout=0.05) as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        returned: list[Tick] = []
        producer = a.streams.producer(Tick, disconnect_lagging=False, undelivered=returned.append)
        _consumer = b.streams.consume(Tick)
        await producer.when().online()
        await send_all(producer, ticks(20))
        await producer.close()
        assert returned == ticks(10, start=10)
    assert "closed with 10 items not sent" in caplog.text


async def test_a_producer_made_right_after_closing_is_found() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        old, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await old.when().online()
        closing = asyncio.create_task(old.close())
        await asyncio.sleep(0)
        new = a.streams.produce(Tick)
        await closing
        await new.send(Tick(5))
        assert await consumer.recv() == Tick(5)


async def test_a_closed_consumer_still_hands_out_what_it_received() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.when().online()
        await producer.send_many(ticks(3))
        assert await consumer.recv() == Tick(0)
        waiting = asyncio.create_task(take(consumer, 100))
        await consumer.close()
        assert await waiting == ticks(2, start=1)  # the iteration ends
        with pytest.raises(Closed):
            await consumer.recv()
        with pytest.raises(Closed):
            consumer.try_recv()
        with pytest.raises(Closed):
            await consumer.recv_many()
        await consumer.close()


async def test_handles_end_with_their_node() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        producer, consumer = a.streams.produce(Tick), a.streams.consume(Tick)
        sending = asyncio.create_task(producer.send(Tick(1)))
        receiving = asyncio.create_task(consumer.recv())
        await asyncio.sleep(0)
        await a.streams.close()
        for waiting in (sending, receiving):
            with pytest.raises(Closed):
                await waiting
        with pytest.raises(Closed):
            a.streams.produce(Tick)
        with pytest.raises(Closed):
            a.streams.consume(Tick)
        await a.streams.close()


# What is not a type.


class Socket:
    """What cannot be sent."""


class Held(msgspec.Struct):
    number: int
    socket: Socket


@pytest.mark.parametrize("wrong", [Held, list[Held]])
async def test_what_cannot_be_sent_is_refused_before_anything_is(wrong: Any) -> None:
    async with world() as nodes:
        streams = (await nodes.start("a")).streams
        for method in (streams.produce, streams.producer, streams.consume, streams.consumer):
            with pytest.raises(TypeError, match=r"Held\.socket: Socket is not a type that can be"):
                method(wrong)


@pytest.mark.parametrize("wrong", ["A", b"A", 5, Tick(1), [int], (int, str)])
async def test_what_is_no_type_is_refused_with_what_is_expected(wrong: Any) -> None:
    async with world() as nodes:
        streams = (await nodes.start("a")).streams
        for method in (streams.produce, streams.producer, streams.consume, streams.consumer):
            with pytest.raises(
                TypeError, match=r"expected their type: a msgspec\.Struct"
            ) as caught:
                method(wrong)
            assert repr(wrong) in str(caught.value)
            assert ("stream_id='A'" in str(caught.value)) == (wrong == "A")


# Shared producers.


async def test_a_stream_has_one_producer_per_node_which_handles_share() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        one, two = a.streams.produce(Tick), a.streams.produce(Tick)
        with pytest.raises(AlreadyExists) as caught:
            a.streams.producer(Tick, max_consumers=1)
        three = caught.value.existing
        assert isinstance(three, Producer)
        consumer = b.streams.consume(Tick)
        for n, handle in enumerate((one, two, three)):
            await handle.send(Tick(n))
        assert await take(consumer, 3) == ticks(3)
        del caught
        await one.close()
        with pytest.raises(Closed):
            one.try_send(Tick(9))
        two.try_send(Tick(3))  # the producer goes on for the others
        assert await consumer.recv() == Tick(3)
        await two.close()
        del three, handle  # a handle that nobody has any more does not count
        gc.collect()
        await a.streams.produce(Tick).close()
        await consumer.when().offline()


async def test_a_stream_cannot_be_shared_by_producers_of_different_types() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        a.streams.produce(int, stream_id="x")
        with pytest.raises(SchemaMismatch, match="this type has str, the producer in use has int"):
            a.streams.produce(str, stream_id="x")


# Who may subscribe, and to whom.


async def test_requirements_are_checked_again_when_the_catalog_changes() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b", "member")
        producer = a.streams.producer(Tick, require=lambda peer: "member" in peer.tags)
        consumer = b.streams.consume(Tick)
        await producer.when().online()
        (channel,) = producer.consumers()
        b.discovery.remove_tags("member")
        await channel.disconnected()
        await until(lambda: a.peer_id in consumer.refusals())
        refused = consumer.refusals()[a.peer_id]
        assert isinstance(refused, LinkRefused)
        assert refused.reason.code == CloseCode.STREAM_NOT_ALLOWED
        b.discovery.add_tags("member")
        await producer.when().online()
        await consumer.when().online()
        assert consumer.refusals() == {}


async def test_a_consumer_chooses_its_producers() -> None:
    async with world() as nodes:
        b = await nodes.start("b")
        consumer = b.streams.consumer(Tick, require=lambda peer: "good" in peer.tags)
        good, bad = await nodes.start("good", "good"), await nodes.start("bad")
        good_producer, bad_producer = good.streams.produce(Tick), bad.streams.produce(Tick)
        await consumer.when().online()
        assert [channel.producer_id for channel in consumer.producers()] == [good.peer_id]
        assert not bad_producer.is_online
        bad.discovery.add_tags("good")
        await bad_producer.when().online()
        good.discovery.remove_tags("good")
        await good_producer.when().offline()


async def test_a_producer_takes_no_more_consumers_than_it_may() -> None:
    async with world() as nodes:
        a, b, c = await nodes.start("a"), await nodes.start("b"), await nodes.start("c")
        producer = a.streams.producer(Tick, max_consumers=1)
        first = b.streams.consume(Tick)
        await producer.when().online()
        second = c.streams.consume(Tick)
        await until(lambda: a.peer_id in second.refusals())
        refused = second.refusals()[a.peer_id]
        assert isinstance(refused, LinkRefused)
        assert refused.reason.code == CloseCode.STREAM_NO_CAPACITY
        await first.close()
        await second.when().online()  # it kept trying
        with pytest.raises(ConfigError):
            a.streams.producer(int, max_consumers=0)


async def test_an_unknown_peer_is_synced_with_and_then_accepted() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b", bootstrap=False)
        _producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await until(lambda: a.discovery.me.entry.streams)
        b.discovery.feed(a.discovery.me)  # b knows a, a has never heard of b
        assert b.peer_id not in a.discovery.catalog()
        await consumer.when().online()
        assert b.peer_id in a.discovery.catalog()


async def test_versions_of_a_record_that_do_not_fit_refuse_with_the_field() -> None:
    newer = msgspec.defstruct("Tick", [("n", float), ("text", str, "")])
    async with world() as nodes:
        a, b, c = await nodes.start("a"), await nodes.start("b"), await nodes.start("c")
        producer = a.streams.produce(Tick, stream_id="ticks")
        consumer: Consumer[Any] = b.streams.consume(newer, stream_id="ticks")
        fitting = c.streams.consume(Tick, stream_id="ticks")
        await until(lambda: isinstance(consumer.refusals().get(a.peer_id), SchemaMismatch))
        refused = consumer.refusals()[a.peer_id]
        assert "Tick.n: the producer has int, the consumer expects float" in str(refused)
        assert isinstance(refused, SchemaMismatch)
        assert refused.field == "Tick.n"
        await producer.send(Tick(1))
        assert await fitting.recv() == Tick(1)


async def test_a_near_miss_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        _producer = a.streams.produce(Tick, stream_id="feeds.Tick")
        _consumer = b.streams.consume(Tick)
        await until(lambda: "give both the same stream_id" in caplog.text)


async def test_when_counts_peers_with_tags_and_predicates() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        producer = a.streams.producer(
            Tick, online_when=lambda c: c.minimum_of(2).with_tags("validator")
        )
        enough = producer.when().subscribed().minimum_of(2).with_tags("validator")
        named = producer.when().subscribed().with_predicate(lambda p: "special" in p.tags)
        assert producer.why_offline == "no consumer has subscribed"
        consumers = []
        for name, tags in (("x", ["validator"]), ("y", []), ("z", ["validator", "special"])):
            assert not enough.is_met
            assert not producer.is_online
            node = await nodes.start(name, *tags)
            consumers.append(node.streams.consume(Tick))
            await producer.when().subscribed().minimum_of(len(consumers))
        await enough
        await named
        await producer.when().online()
        await consumers[0].close()
        await enough.unmet()
        await producer.when().offline()
        assert "does not hold for the peers that have subscribed, 2 so far" in str(
            producer.why_offline
        )
        assert named.is_met
        # A tag that changes while connected counts too.
        nodes.nodes[2].discovery.add_tags("validator")
        await enough
        for consumer in consumers:
            await consumer.close()
        await producer.when().unsubscribed()


# A hostile or broken other side.


async def raw_subscription(node: Any, to: Any, header: bytes) -> Any:
    await until(lambda: node.peer_id in to.discovery.catalog())
    return await node.endpoint.open_link(to.endpoint.addr, wire.PROTOCOL, header)


def header_for(name: str, **changes: Any) -> bytes:
    return wire.encode(
        wire.Subscribe(
            **{
                "stream": bytes(StreamId(name)),
                "name": name,
                "schema": describe(Tick),
                "window_items": 100,
                "window_bytes": 100_000,
                **changes,
            }
        )
    )


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"", CloseCode.PROTOCOL_VIOLATION),
        (b"\xff" * 100, CloseCode.PROTOCOL_VIOLATION),
        (header_for("ticks", version=9), CloseCode.PROTOCOL_VIOLATION),
        (header_for("other"), CloseCode.STREAM_NOT_FOUND),
        (header_for("ticks", schema=describe(int)), CloseCode.STREAM_SCHEMA_MISMATCH),
    ],
)
async def test_a_bad_header_is_refused_and_disturbs_nobody(header: bytes, code: int) -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.produce(Tick, stream_id="ticks")
        consumer = b.streams.consume(Tick, stream_id="ticks")
        await producer.when().online()
        with pytest.raises(LinkRefused) as caught:
            await raw_subscription(b, a, header)
        assert caught.value.reason.code == code
        await producer.send(Tick(1))
        assert await consumer.recv() == Tick(1)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"junk",
        wire.ack_frame(10**6),
        wire.data_frame(0, 1, b""),
        wire.window_frame(wire.Window(15, 1000)),
        wire.window_frame(wire.Window(100, 0)),
    ],
)
async def test_a_subscriber_that_breaks_the_rules_is_closed_alone(frame: bytes) -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.produce(Tick, stream_id="ticks")
        consumer = b.streams.consume(Tick, stream_id="ticks")
        link = await raw_subscription(b, a, header_for("ticks"))
        events: asyncio.Queue[Any] = asyncio.Queue()
        link.attach(events.put_nowait)
        await until(lambda: len(producer.consumers()) == 2)
        link.write(frame)
        event = await events.get()
        assert isinstance(event, LinkClosed)
        assert event.reason.code == CloseCode.PROTOCOL_VIOLATION
        assert len(producer.consumers()) == 1
        await producer.send(Tick(1))
        assert await consumer.recv() == Tick(1)


BATCH = b"\x00\x91\x81\xa1n\x01"  # one Tick(1)


@pytest.mark.parametrize(
    "frames",
    [
        [b"junk"],
        [wire.data_frame(7, 1, BATCH)],  # not the next one
        [wire.data_frame(5, 1, BATCH), wire.data_frame(5, 1, BATCH)],  # a duplicate
        [wire.data_frame(5, 1, b"\x00\xa1n")],  # no list of items
        [wire.data_frame(5, 2, BATCH)],  # fewer items than announced
        [wire.data_frame(5, 3, BATCH), wire.data_frame(8, 90, BATCH)],
        [wire.ack_frame(1)],
        [wire.window_frame(wire.Window(4, 1000))],
    ],
)
async def test_a_producer_that_breaks_the_rules_is_closed_and_tried_again(
    frames: list[bytes],
) -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        _producer = a.streams.produce(Tick, stream_id="ticks")
        await until(lambda: wire.PROTOCOL in a.endpoint._acceptors)
        # From here on, a accepts subscriptions by hand, and breaks a rule.
        links: asyncio.Queue[Any] = asyncio.Queue()
        events: asyncio.Queue[Any] = asyncio.Queue()
        a.endpoint.serve(wire.PROTOCOL, links.put_nowait)
        consumer = b.streams.consume(Tick, stream_id="ticks")
        answer = wire.encode(
            wire.Accepted(first_sequence=5, window_items=4, window_bytes=1000, start=1)
        )
        link = await links.get()
        link.attach(events.put_nowait)
        link.accept(answer)
        for frame in frames:
            link.write(frame)
        while isinstance(event := await events.get(), FramesReceived):
            pass
        assert isinstance(event, LinkClosed)
        assert event.reason.code == CloseCode.PROTOCOL_VIOLATION
        assert a.peer_id in consumer.refusals()
        second = await links.get()  # it comes back
        second.accept(answer)
        second.write(wire.data_frame(5, 1, BATCH))
        await until(lambda: not consumer._inbox.is_empty)
        assert (await consumer.recv_many())[-1] == Tick(1)


async def test_an_answer_that_is_none_is_a_violation() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.produce(Tick, stream_id="ticks")
        await until(lambda: wire.PROTOCOL in a.endpoint._acceptors)
        closed: asyncio.Queue[Any] = asyncio.Queue()

        def accept(link: Any) -> None:
            link.attach(closed.put_nowait)
            link.accept(b"nonsense")

        a.endpoint.serve(wire.PROTOCOL, accept)
        consumer = b.streams.consume(Tick, stream_id="ticks")
        event = await closed.get()
        assert event.reason.code == CloseCode.PROTOCOL_VIOLATION
        assert consumer.producers() == []
        assert producer.consumers() == []


async def test_a_predicate_that_raises_lets_nobody_in_and_breaks_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(peer: PeerInfo) -> bool:
        raise RuntimeError(peer)

    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        _guarded = a.streams.producer(Tick, require=broken)
        open_one = a.streams.produce(int)
        refused, taken = b.streams.consume(Tick), b.streams.consume(int)
        # It may be unknown there at first, which is another reason.
        await until(lambda: "requirements" in str(refused.refusals().get(a.peer_id)))
        await open_one.send(1)
        assert await taken.recv() == 1
    assert "a require predicate failed" in caplog.text


async def test_streams_are_quiet_by_default(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
        await producer.send(Tick(1))
        await consumer.recv()
    assert [record for record in caplog.records if record.name.startswith("mosaik")] == []


async def test_closed_streams_leave_no_actor_behind() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        before = len(a.node.system.mailboxes())
        for _ in range(3):
            producer, consumer = a.streams.produce(Tick), a.streams.consume(Tick)
            await producer.close()
            await consumer.close()
        await until(lambda: len(a.node.system.mailboxes()) == before)
        assert not a.streams._sources
        assert not a.streams._closing_sources
        assert not a.streams._consumers
        gc.collect()


# Streams that the node's entry has no room for.


async def test_stream_that_does_not_fit_is_offline_says_so_and_comes_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        local, number = a.discovery._catalog.local, 0
        for size in (200, 1):
            with suppress(EntryTooLarge):
                while local.put_stream(StreamInfo(StreamId(f"s{number}"), "x" * size), now=0.0):
                    number += 1
        # Also where the condition holds with nobody there: nobody could see it.
        hidden = [
            a.streams.producer(Tick, stream_id=name, online_when=lambda c: c.minimum_of(0))
            for name in ("one", "two")
        ]
        await until(lambda: all("not advertised" in str(p.why_offline) for p in hidden))
        assert "bytes, at most" in str(hidden[0].why_offline)
        with pytest.raises(ProducerOffline):
            hidden[0].try_send(Tick(1))
        # Logged once, whatever the number.
        assert sum("is not advertised" in text for text in caplog.messages) == 1
        # As soon as there is room they are advertised, and are as any other.
        consumer = b.streams.consume(Tick, stream_id="two")
        for spare in range(4):
            a.node.system.tell(a.discovery.catalog_actor, WithdrawStream(StreamId(f"s{spare}")))
        for producer in hidden:
            await producer.when().online()
            assert producer.why_offline is None
        await consumer.when().online()
        await hidden[1].close()
        assert hidden[1].why_offline == "closed"
