"""What one round trip takes of the loop and the system: counted, so that no machine matters.

Two nodes share one loop, so each number is for both sides.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mosaik_actors import Consumer, Network, Producer
from mosaik_actors.transport.config import TransportConfig
from tests.waiting import until

TRIPS = 200
CALM = "mosaik_actors.actors.producer.CALM_S"


class Ping(msgspec.Struct, frozen=True):
    number: int


class Pong(msgspec.Struct, frozen=True):
    number: int


@asynccontextmanager
async def two_nodes(
    carrier: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Network, Network]]:
    """Give two nodes that one carrier connects."""
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(folder))
    config = TransportConfig(carriers=(carrier,))
    is_local = carrier == "unix"
    async with (
        Network("trips", rendezvous=is_local, transport=config) as here,
        Network("trips", rendezvous=is_local, transport=config, bootstrap=[here.addr]) as there,
    ):
        yield here, there


@asynccontextmanager
async def echo(
    here: Network, there: Network
) -> AsyncIterator[tuple[Producer[Ping], Consumer[Pong]]]:
    """Give what asks; the other node answers."""
    pings, pongs = there.streams.consumer(Ping), there.streams.producer(Pong)

    async def answer() -> None:
        async for ping in pings:
            await pongs.send(Pong(ping.number))

    answering = asyncio.ensure_future(answer())
    asks, answers = here.streams.producer(Ping), here.streams.consumer(Pong)
    await asks.when().online()
    await answers.when().online()
    try:
        yield asks, answers
    finally:
        answering.cancel()


def count_calls(owner: Any, name: str, counts: Counter[str], patch: pytest.MonkeyPatch) -> None:
    """Have the calls of a method counted."""
    method = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        counts[name] += 1
        return method(*args, **kwargs)

    patch.setattr(owner, name, call)


@pytest.mark.parametrize("carrier", ["unix", "tcp"])
async def test_a_round_trip_takes_one_turn_one_read_and_one_write_at_each_end(
    carrier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()
    monkeypatch.setattr(CALM, 60.0)  # each is an answer, however soon it comes
    async with (
        two_nodes(carrier, tmp_path, monkeypatch) as (here, there),
        echo(here, there) as (asks, answers),
    ):
        await asks.send(Ping(0))
        assert await answers.recv() == Pong(0)
        loop: Any = asyncio.get_running_loop()
        with monkeypatch.context() as patch:
            for name in ("call_soon", "call_at", "create_future", "add_writer"):
                count_calls(loop, name, counts, patch)
            count_calls(loop._selector, "select", counts, patch)
            for name in ("send", "sendmsg", "recv"):
                count_calls(socket.socket, name, counts, patch)
            for number in range(TRIPS):
                await asks.send(Ping(number))
                assert await answers.recv() == Pong(number)
        # What is more is for acknowledgements, and the turn that a sender gives now and then.
        assert counts["send"] + counts["sendmsg"] <= 2.1 * TRIPS
        assert counts["recv"] <= 2.1 * TRIPS
        assert counts["select"] <= 2.3 * TRIPS
        assert counts["call_soon"] <= 0.3 * TRIPS
        assert counts["call_at"] + counts["create_future"] + counts["add_writer"] <= 0.1 * TRIPS


@pytest.mark.parametrize("carrier", ["unix", "tcp"])
async def test_items_in_a_row_share_a_write(
    carrier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()
    monkeypatch.setattr(CALM, 60.0)  # however long a busy machine takes for them
    async with two_nodes(carrier, tmp_path, monkeypatch) as (here, there):
        producer, consumer = here.streams.producer(Ping), there.streams.consumer(Ping)
        await producer.when().online()
        with monkeypatch.context() as patch:
            for name in ("send", "sendmsg"):
                count_calls(socket.socket, name, counts, patch)
            for number in range(100):
                await producer.send(Ping(number))
            got = [await consumer.recv() for _ in range(100)]
        assert got == [Ping(number) for number in range(100)]
        # The first at once, what came in the same turn together, and what acknowledges it.
        assert counts["send"] + counts["sendmsg"] <= 10


@pytest.mark.parametrize("carrier", ["unix", "tcp"])
async def test_a_peer_that_is_gone_is_noticed_by_who_writes_alone(
    carrier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails ends the connection, but not within the call that wrote."""
    async with two_nodes(carrier, tmp_path, monkeypatch) as (here, there):
        producer, consumer = here.streams.producer(Ping), there.streams.consumer(Ping)
        await producer.when().online()
        await producer.send(Ping(1))
        assert await consumer.recv() == Ping(1)

        def fail(*_: Any) -> int:
            raise ConnectionResetError

        (first,) = producer.consumers()
        monkeypatch.setattr(CALM, 0.0)
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "send", fail)
            await producer.send(Ping(2))
            assert producer.consumers() == [first]
        await until(lambda: not first.is_connected)
        await producer.when().online()  # both have connected anew
        await producer.send(Ping(3))
        assert await consumer.recv() == Ping(3)
