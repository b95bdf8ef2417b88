"""The hot paths that `guard` watches, each as some 15 ms of CPU, and the baseline of each.

Everything runs in this process on one event loop: pairs of nodes that talk over a Unix socket,
over TLS and over QUIC in datagrams of a real network, a group and a map of one member, an
actor, a catalog. What is counted is the CPU time of the
process, both sides and the kernel's part included, so that a busy machine changes little.

What a baseline is made of is in `guard_baselines`, in about the shares of its path here.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar
from unittest.mock import patch

from mosaik_actors import (
    AsyncActorSystem,
    Consumer,
    Map,
    Network,
    NetworkId,
    PeerAddr,
    Producer,
    SecretKey,
    TransportConfig,
)
from mosaik_actors.codec import codec_for
from mosaik_actors.discovery.catalog.catalog import Catalog
from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.entry import EntryVersion, PeerEntry, SignedPeerEntry

from . import guard_baselines as bare
from .group_nodes import Add
from .group_nodes import Counter as CounterMachine
from .guard_baselines import IN_FLIGHT, TRADES
from .runtime import Count, Counter, Item
from .streams import Trade

T = TypeVar("T")
Work = Callable[[], Awaitable[None]]

BATCH_ITEMS: Final = 500
SEND_ITEMS: Final = 128  # few enough to stay in any processor's caches
ROUND_TRIPS: Final = 300
LARGE_ITEMS: Final = 10
CATALOG_PEERS: Final = 500
CATALOG_COPIES: Final = 24
_NOW: Final = 1_000_000.0


@dataclass(frozen=True, slots=True)
class HotPath:
    """Work of ours, and what it is compared with."""

    work: Work
    baseline: Work


@asynccontextmanager
async def hot_paths() -> AsyncIterator[Mapping[str, HotPath]]:
    """Give the hot paths by name; what they need lives while inside."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(patch.dict(os.environ, {"MOSAIK_RUNTIME_DIR": folder}))
        here, there = await _pair(stack, "guard", TransportConfig())
        over_tls = await _pair(stack, "guard: TLS", TransportConfig(carriers=("tcp",)))
        small = TransportConfig(
            carriers=("quic",), datagram_bytes_loopback=1452, datagram_bytes_max=1452
        )
        over_quic = await _pair(stack, "guard: QUIC", small)
        works = {
            "codec: batches to bytes and back": _codec,
            "catalog: entries merged": _catalog(),
            "actor: tell": await _actor(stack),
            "stream: send, async for": await _stream(here, there, is_batched=False),
            "stream: send_many, recv_many": await _stream(here, there, is_batched=True),
            "stream: round trips": await _round_trips(here, there),
            "stream: send_many over TLS": await _stream(*over_tls, is_batched=True),
            "stream: 64 KiB over QUIC": await _large_items(*over_quic),
            "group: commands in flight": await _group(here),
            "group: execute_many": await _group_batches(there),
            "map: inserts in flight": await _map(here),
        }
        sockets = bare.Sockets()
        await sockets.open()
        stack.callback(sockets.close)
        baselines = _baselines(sockets)
        yield {name: HotPath(work, baselines[name]) for name, work in works.items()}


def _baselines(sockets: bare.Sockets) -> dict[str, Work]:
    entries = bare.Entries(CATALOG_PEERS)

    async def codec() -> None:
        bare.records(80)

    async def catalog() -> None:
        entries.merge(40)

    async def tell() -> None:
        await bare.messages(60, 500)

    async def lone() -> None:
        await bare.lone_items(40)
        await sockets.pieces(40, 50_000)

    async def batches() -> None:
        bare.records(200, SEND_ITEMS)
        await sockets.pieces(160, 12_500)
        await bare.calls_in_flight(500)

    async def round_trips() -> None:
        await sockets.round_trips(400)
        entries.merge(8)

    async def batches_sealed() -> None:
        bare.records(200, SEND_ITEMS)
        await sockets.pieces(80, 25_000, is_sealed=True)
        await bare.calls_in_flight(500)

    async def datagrams() -> None:
        await sockets.datagrams(30)
        await bare.messages(40, 500)

    async def calls() -> None:
        await bare.calls_in_flight(2_000)
        await bare.messages(10, 500)

    async def applied() -> None:
        bare.applied(80, 500)

    return {
        "codec: batches to bytes and back": codec,
        "catalog: entries merged": catalog,
        "actor: tell": tell,
        "stream: send, async for": lone,
        "stream: send_many, recv_many": batches,
        "stream: round trips": round_trips,
        "stream: send_many over TLS": batches_sealed,
        "stream: 64 KiB over QUIC": datagrams,
        "group: commands in flight": calls,
        "group: execute_many": applied,
        "map: inserts in flight": calls,
    }


async def _pair(
    stack: AsyncExitStack, name: str, transport: TransportConfig
) -> tuple[Network, Network]:
    nets = [Network(name, transport=transport) for _ in range(2)]
    here, there = [await stack.enter_async_context(net) for net in nets]
    return here, there


async def _codec() -> None:
    codec = codec_for(Trade)
    for _ in range(150):
        codec.decode_batch(codec.encode_batch(TRADES))


def _catalog() -> Work:
    network, me = NetworkId("guard"), SecretKey.from_seed("me")
    entries = []
    for number in range(CATALOG_PEERS):
        key = SecretKey.from_seed(f"peer {number}")
        version = EntryVersion(int(_NOW * 1000), int(_NOW * 1000))
        direct = (("127.0.0.1", 4433),)
        entry = PeerEntry(peer=key.peer_id, version=version, network=network, direct=direct)
        entries.append(SignedPeerEntry.sign(entry, key).encode())

    async def merge() -> None:
        catalog = Catalog(
            network_id=network,
            secret_key=me,
            addr=PeerAddr(me.peer_id, (("127.0.0.1", 4433),)),
            config=DiscoveryConfig(),
            now=_NOW,
        )
        # Neighbours tell the same entries several times over.
        for copy in range(CATALOG_COPIES):
            for encoded in entries:
                catalog.receive_bytes(encoded, now=_NOW + copy)
            while catalog.next_event() is not None:
                pass
            catalog.take_fresh()

    return merge


async def _actor(stack: AsyncExitStack) -> Work:
    system = await stack.enter_async_context(AsyncActorSystem())
    counter = system.createActor(Counter)

    async def tell() -> None:
        # In batches: what waits all at once is a question of the processor's caches.
        for _ in range(60):
            for _ in range(500):
                system.tell(counter, Item())
            await system.ask(counter, Count())

    return tell


async def _channel(
    here: Network, there: Network, item_type: type[T], stream_id: str
) -> tuple[Producer[T], Consumer[T]]:
    producer = here.streams.producer(item_type, stream_id=stream_id)
    consumer = there.streams.consumer(item_type, stream_id=stream_id)
    await producer.when().online()
    return producer, consumer


async def _stream(here: Network, there: Network, *, is_batched: bool) -> Work:
    producer, consumer = await _channel(here, there, Trade, f"guard {is_batched}")
    items = TRADES[:SEND_ITEMS] if is_batched else TRADES
    batches = 240 if is_batched else 40

    async def take() -> None:
        left = batches * len(items)
        while left:
            if is_batched:
                left -= len(await consumer.recv_many())
            else:
                await consumer.recv()
                left -= 1

    async def exchange() -> None:
        taking = asyncio.create_task(take())
        for _ in range(batches):
            if is_batched:
                await producer.send_many(items)
            else:
                for item in items:
                    await producer.send(item)
        await taking

    return exchange


async def _round_trips(here: Network, there: Network) -> Work:
    questions, asked = await _channel(here, there, Trade, "asked")
    answers, answered = await _channel(there, here, Trade, "answered")

    async def answer() -> None:
        for _ in range(ROUND_TRIPS):
            await answers.send(await asked.recv())

    async def ask() -> None:
        answering = asyncio.create_task(answer())
        for number in range(ROUND_TRIPS):
            await questions.send(TRADES[number])
            await answered.recv()
        await answering

    return ask


async def _large_items(here: Network, there: Network) -> Work:
    producer, consumer = await _channel(here, there, bytes, "large")
    item = bytes(64 * 1024)

    async def take() -> None:
        for _ in range(LARGE_ITEMS):
            await consumer.recv()

    async def exchange() -> None:
        taking = asyncio.create_task(take())
        for _ in range(LARGE_ITEMS):
            await producer.send(item)
        await taking

    return exchange


async def _group(net: Network) -> Work:
    group = net.groups.join("guard: in flight", CounterMachine())
    await group.when().online()

    async def execute() -> None:
        await _in_flight(2_000, lambda _: group.execute(Add(1)))

    return execute


async def _group_batches(net: Network) -> Work:
    group = net.groups.join("guard: batches", CounterMachine())
    await group.when().online()
    commands = [Add(1)] * BATCH_ITEMS

    async def execute() -> None:
        for _ in range(80):
            await group.execute_many(commands)

    return execute


async def _map(net: Network) -> Work:
    prices = Map[str, int].writer(net, "guard")
    await prices.when().online()

    async def insert() -> None:
        await _in_flight(1_750, lambda number: prices.insert(f"key {number}", number))

    return insert


async def _in_flight(count: int, act: Callable[[int], Awaitable[object]]) -> None:
    numbers = iter(range(count))

    async def go() -> None:
        for number in numbers:
            await act(number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.create_task(go())
