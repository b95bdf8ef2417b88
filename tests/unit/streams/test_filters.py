"""Criteria between whole nodes: what a consumer asked for is what leaves its producer."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from mosaik_actors.codec import EncodeError
from mosaik_actors.errors import Closed, Full, ProducerOffline, RemoteError
from mosaik_actors.handles.producer import SharedProducer
from mosaik_actors.ids import SecretKey
from mosaik_actors.schema import describe
from mosaik_actors.streams.criteria.criteria import CriteriaError, Record, where
from mosaik_actors.streams.producing.item_filter import (
    FILTER_GROUPS_MAX,
    FilterGroup,
    ItemFilter,
    SortedItem,
)
from mosaik_actors.transport.close import CloseCode
from mosaik_actors.transport.interface import LinkRefused
from tests.waiting import until

from .nodes import send_all, take, world
from .test_streams import header_for, raw_subscription


class Reading(Record, frozen=True):
    n: int
    kind: str = "even"


def readings(count: int) -> list[Reading]:
    return [Reading(n, "odd" if n % 2 else "even") for n in range(count)]


PEER = SecretKey.from_seed("a peer").peer_id
ODD = where(Reading.kind == "odd")


async def test_each_consumer_gets_what_it_asked_for_in_order() -> None:
    async with world() as nodes:
        a, b, c = [await nodes.start(name) for name in "abc"]
        producer = a.streams.produce(Reading)
        wanted: dict[Any, Any] = {
            b.streams.consumer(Reading, criteria=ODD): lambda r: r.kind == "odd",
            c.streams.consumer(Reading, criteria=ODD): lambda r: r.kind == "odd",
            b.streams.consumer(Reading, criteria=where(Reading.n > 2990)): lambda r: r.n > 2990,
            c.streams.consume(Reading): lambda r: True,
        }
        await until(lambda: len(producer.consumers()) == 4)
        sending = asyncio.create_task(send_all(producer, readings(3000)))
        expected = [[r for r in readings(3000) if judge(r)] for judge in wanted.values()]
        takes = [take(one, len(e)) for one, e in zip(wanted, expected, strict=True)]
        assert await asyncio.gather(*takes) == expected
        await sending
        # Consumers with the same criteria are judged for together.
        assert len(producer._source.item_filter._filter_groups) == 2


async def test_all_ways_of_sending_judge_the_same() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.produce(Reading)
        consumer = b.streams.consumer(Reading, criteria=ODD)
        await producer.when().online()
        await producer.send_many(readings(6))
        for reading in readings(6):
            producer.try_send(reading)
        await send_all(producer, readings(6))
        assert [r.n for r in await take(consumer, 9)] == [1, 3, 5] * 3
        (channel,) = producer.consumers()
        assert channel.stats.datums == 9


async def test_items_nobody_wants_are_judged_once_and_never_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as nodes:
        a, b, c = [await nodes.start(name) for name in "abc"]
        producer = a.streams.produce(Reading)
        consumers = [node.streams.consumer(Reading, criteria=ODD) for node in (b, c)]
        await producer.when().subscribed().minimum_of(2)
        encoder = producer._source.spec.encoder
        (filter_group,) = producer._source.item_filter._filter_groups.values()
        encoded: list[Reading] = []
        judged: list[Reading] = []
        encode, judge = encoder.encode, filter_group.judge

        def noted(into: list[Reading], function: Any) -> Any:
            def call(item: Reading) -> Any:
                into.append(item)
                return function(item)

            return call

        monkeypatch.setattr(encoder, "encode", noted(encoded, encode))
        filter_group.judge = noted(judged, judge)
        await send_all(producer, readings(100))
        for consumer in consumers:
            assert await take(consumer, 50) == [r for r in readings(100) if r.kind == "odd"]
        assert encoded == [r for r in readings(100) if r.kind == "odd"]
        assert judged == readings(100)


async def test_sending_what_nobody_wants_lets_the_loop_run() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.produce(Reading)
        consumer = b.streams.consumer(Reading, criteria=ODD)
        await producer.when().online()
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count_turns())
        await send_all(producer, [Reading(0)] * 5000)
        counting.cancel()
        assert turns >= 10
        assert consumer.producers()[0].stats.datums == 0


async def test_a_send_that_waits_for_a_consumer_is_judged_when_it_comes() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.produce(Reading)
        waiting = asyncio.create_task(producer.send_many(readings(6)))
        alone = asyncio.create_task(producer.send(Reading(7, "odd")))
        await asyncio.sleep(0)
        consumer = b.streams.consumer(Reading, criteria=ODD)
        assert [r.n for r in await take(consumer, 4)] == [1, 3, 5, 7]
        await waiting
        await alone


async def test_a_consumer_that_joins_during_send_many_gets_the_rest_it_wants() -> None:
    async with world(buffer_size=10) as nodes:
        a, b, c = [await nodes.start(name) for name in "abc"]
        producer = a.streams.producer(Reading, disconnect_lagging=False)
        odd = b.streams.consumer(Reading, criteria=ODD)
        await producer.when().online()
        sending = asyncio.create_task(producer.send_many(readings(1000)))
        await take(odd, 100)
        even = c.streams.consumer(Reading, criteria=where(Reading.kind == "even"))
        await producer.when().subscribed().minimum_of(2)
        got: list[int] = []

        async def take_even() -> None:
            while not got or got[-1] != 998:
                got.append((await even.recv()).n)

        rest, _ = await asyncio.gather(take(odd, 400), take_even())
        assert rest[-1].n == 999
        assert got == list(range(got[0], 1000, 2))
        await sending


async def test_outcomes_are_the_same_with_criteria() -> None:
    async with world(buffer_size=4) as nodes:
        a, b, c = [await nodes.start(name) for name in "abc"]
        producer: Any = a.streams.producer(
            Reading, disconnect_lagging=False, online_when=lambda c: c.minimum_of(2)
        )
        consumer = b.streams.consumer(Reading, criteria=ODD)
        await producer.when().subscribed()
        with pytest.raises(ProducerOffline):
            producer.try_send(Reading(1, "odd"))
        second = c.streams.consumer(Reading, criteria=ODD)
        await producer.when().online()
        with pytest.raises(EncodeError):
            await producer.send("no reading")
        with pytest.raises(EncodeError):
            producer.try_send("no reading")
        with pytest.raises(EncodeError):
            await producer.send_many([Reading(1), "no reading"])
        full = False
        while not full:
            try:
                producer.try_send(Reading(1, "odd"))
            except Full:
                full = True
        producer.try_send(Reading(0))  # nobody wants it, so there is always room
        waiting = asyncio.create_task(producer.send_many([Reading(n, "odd") for n in range(50)]))
        await asyncio.sleep(0)
        closing = asyncio.create_task(producer.close())
        with pytest.raises(Closed) as closed:
            await waiting
        assert isinstance(closed.value.value, list)
        await take(consumer, 4)
        await take(second, 4)
        await closing


async def test_without_filters_the_short_way_is_taken_again() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        one, two = a.streams.produce(Reading), a.streams.produce(Reading)
        plain = b.streams.consume(Reading)
        await one.when().online()
        filtered = b.streams.consumer(Reading, criteria=ODD)
        await until(lambda: len(one.consumers()) == 2)
        assert {one._record_class, two._record_class} == {SharedProducer}
        await one.send(Reading(0))
        await one.send(Reading(1, "odd"))
        assert (await filtered.recv()).n == 1
        await filtered.close()
        await until(lambda: one._record_class is Reading)
        assert two._record_class is Reading
        await two.send(Reading(2))
        assert [r.n for r in await take(plain, 3)] == [0, 1, 2]


async def test_criteria_that_do_not_fit_are_refused_here() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        with pytest.raises(CriteriaError, match="no field 'sort' in Reading; it has n, kind"):
            a.streams.consumer(Reading, criteria=where(Reading).sort == "odd")
        with pytest.raises(TypeError, match="comparison gave False"):
            a.streams.consumer(Reading, criteria=False)  # type: ignore[arg-type]


async def test_criteria_that_do_not_fit_are_refused_there_and_the_consumer_sees_it() -> None:
    newer = msgspec.defstruct("Reading", [("n", int), ("kind", str, ""), ("sort", str, "")])
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        _producer = a.streams.produce(Reading, stream_id="readings")
        consumer = b.streams.consumer(
            newer, stream_id="readings", criteria=where(newer).sort == "odd"
        )
        await until(lambda: isinstance(consumer.refusals().get(a.peer_id), CriteriaError))
        assert "no field 'sort' in Reading" in str(consumer.refusals()[a.peer_id])
        assert not consumer.is_online


@pytest.mark.parametrize(
    ("criteria", "code"),
    [
        (b"\xff", CloseCode.PROTOCOL_VIOLATION),
        (msgspec.msgpack.encode(["exec", [], "import os"]), CloseCode.PROTOCOL_VIOLATION),
        (msgspec.msgpack.encode(["==", ["__class__"], "x"]), CloseCode.STREAM_INVALID_CRITERIA),
        (bytes(9000), CloseCode.PROTOCOL_VIOLATION),
    ],
)
async def test_hostile_criteria_are_refused(criteria: bytes, code: int) -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer = a.streams.produce(Reading, stream_id="readings")
        consumer = b.streams.consume(Reading, stream_id="readings")
        await producer.when().online()
        header = header_for("readings", schema=describe(Reading), criteria=criteria)
        with pytest.raises(LinkRefused) as caught:
            await raw_subscription(b, a, header)
        assert caught.value.reason.code == code
        await producer.send(Reading(1))
        assert await consumer.recv() == Reading(1)


def test_a_producer_judges_for_a_limited_number_of_different_criteria() -> None:
    item_filter = ItemFilter(Reading, lambda: None, lambda: None, float)
    for n in range(FILTER_GROUPS_MAX):
        item_filter.join(
            item_filter.open_filter_group(msgspec.msgpack.encode(["==", ["n"], n])), PEER
        )
    with pytest.raises(RemoteError) as caught:
        item_filter.open_filter_group(msgspec.msgpack.encode(["==", ["n"], -1]))
    assert caught.value.close_code == CloseCode.STREAM_NO_CAPACITY
    assert item_filter.open_filter_group(msgspec.msgpack.encode(["==", ["n"], 5])) is not None


def test_a_filter_splits_what_was_sorted_and_what_was_not() -> None:
    changes: list[int] = []
    item_filter = ItemFilter(Reading, lambda: changes.append(1), lambda: None, float)
    assert item_filter.split([b"a", b"b"]) == [(None, [b"a", b"b"])]
    filter_group = item_filter.open_filter_group(msgspec.msgpack.encode(["==", ["n"], 1]))
    assert isinstance(filter_group, FilterGroup)
    item_filter.join(filter_group, PEER)
    assert item_filter.filter_groups_of(Reading(1)) == (filter_group,)
    assert item_filter.filter_groups_of(Reading(2)) is None
    item_filter.join(None, PEER)
    assert item_filter.filter_groups_of(Reading(2)) == ()
    mixed: list[Any] = [b"old", SortedItem(b"one", (filter_group,)), SortedItem(b"two", ())]
    assert item_filter.split(mixed) == [(None, [b"old", b"one", b"two"]), (filter_group, [b"one"])]
    item_filter.leave(filter_group, PEER)
    assert changes == [1, 1]
    assert item_filter.filter_groups_of(Reading(2)) == ()
