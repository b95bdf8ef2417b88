"""Streams declared once."""

from __future__ import annotations

from typing import Any

import pytest

import mosaik_actors
from mosaik_actors.errors import AlreadyExists, ConfigError
from mosaik_actors.handles.stream_declarations import stream
from mosaik_actors.streams.criteria.criteria import where

from .nodes import world
from .test_streams import Tick

TICKS = stream(
    Tick,
    "declared.ticks",
    producer={"max_consumers": 1},
    consumer={"online_when": lambda c: c.minimum_of(1)},
)


async def test_both_sides_of_a_declared_stream_meet() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        made = TICKS.producer(a)
        consumer = await TICKS.online_consumer(b)
        producer = await TICKS.online_producer(a)  # another handle of the same one
        assert producer._source is made._source
        assert producer._source.spec.max_consumers == 1
        assert producer.name == consumer.name == "declared.ticks"
        await producer.send(Tick(1))
        assert await consumer.recv() == Tick(1)
        assert TICKS.consumer(b) is not consumer


async def test_a_producer_that_was_made_in_another_way_is_not_shared() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        _other = a.streams.produce(Tick, stream_id="declared.ticks")
        with pytest.raises(AlreadyExists):
            TICKS.producer(a)


async def test_one_side_only() -> None:
    out = stream.producer_only(Tick, "declared.one", max_consumers=3)
    into = stream.consumer_only(Tick, "declared.one")
    assert not hasattr(out, "consumer")
    assert not hasattr(into, "producer")
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        producer, consumer = out.producer(a), await into.online_consumer(b)
        await producer.send(Tick(5))
        assert await consumer.recv() == Tick(5)


async def test_the_type_names_the_stream_where_nothing_else_does() -> None:
    async with world() as nodes:
        a = await nodes.start("a")
        assert stream(Tick).producer(a).stream_id == a.streams.produce(Tick).stream_id


async def test_a_consumer_chooses_what_the_declaration_leaves_open() -> None:
    async with world() as nodes:
        a, b = await nodes.start("a"), await nodes.start("b")
        criteria = where(lambda tick: tick.n > 3)
        consumer = TICKS.consumer(b, criteria=criteria)
        producer = await TICKS.online_producer(a)
        await producer.send_many([Tick(1), Tick(5)])
        assert await consumer.recv() == Tick(5)
        with pytest.raises(ConfigError, match="online_when is given, but the declaration sets"):
            TICKS.consumer(b, online_when=lambda c: c.minimum_of(2))
        with pytest.raises(ConfigError, match="require_ticket is for the declaration"):
            TICKS.consumer(b, require_ticket=())  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "make",
    [
        lambda: stream(Tick, producer={"max_consumer": 1}),
        lambda: stream(Tick, consumer={"undelivered": print}),
        lambda: stream.producer_only(Tick, criteria=None),
        lambda: stream.consumer_only(Tick, buffer_size=5),
    ],
)
def test_unknown_settings_are_refused_where_they_are_written(make: Any) -> None:
    with pytest.raises(ConfigError, match="has no setting"):
        make()


def test_names_are_importable_from_the_package() -> None:
    for name in ("stream", "where", "nearest", "with_tags", "best", "Record", "Rate", "Criteria"):
        assert name in mosaik_actors.__all__
        assert getattr(mosaik_actors, name) is not None
