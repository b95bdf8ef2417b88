"""A user's typed program with streams, collections and discovery: see `typed_groups`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

import msgspec

from mosaik_actors import (
    Cell,
    Consumer,
    Deployment,
    DeploymentConfig,
    Map,
    MapReader,
    Network,
    NotAdmitted,
    Offline,
    Once,
    PeerId,
    PeerInfo,
    PriorityQueue,
    Producer,
    SecretKey,
    Set,
    Vec,
    Version,
    collection,
    public,
    run,
    stream,
)


class Price(msgspec.Struct, frozen=True):
    """What something costs."""

    symbol: str
    cents: int


Prices = stream(Price, "prices")
Stock = collection(Map[str, int], "stock")


class ShopConfig(DeploymentConfig):
    """What the parties agree on."""

    slots: int = 64


class Shop(Deployment[ShopConfig]):
    """A service."""

    service = "shop"
    prices = public(stream(Price))
    stock = public(collection(Map[str, int], "stock"))
    seen = public(collection.reader_only(Map[str, int], "seen"))


async def deployments(net: Network) -> None:
    """Binding gives handles of the declared types."""
    shop = Shop.bind(net, ShopConfig(name="acme", slots=8))
    assert_type(shop, Shop)
    assert_type(shop.config, ShopConfig)
    assert_type(shop.prices.producer(), Producer[Price])
    assert_type(await shop.prices.online_consumer(), Consumer[Price])
    assert_type(await shop.stock.online_writer(), Map[str, int])
    assert_type(shop.stock.reader(write_timeout=3), MapReader[str, int])
    shop.seen.writer()  # type: ignore[attr-defined]
    Shop.bind(net, ShopConfig(name="acme", slots="8"))  # type: ignore[arg-type]
    ShopConfig(slots=8)  # type: ignore[call-arg]
    shop.config.slots = 9  # type: ignore[misc]


def is_near(peer: PeerInfo) -> bool:
    """Whether a peer answers within 50 ms."""
    return peer.rtt_below(0.05) and "eu" in peer.tags


async def use_streams(net: Network) -> None:
    """Send and receive: what is right, then what is wrong."""
    producer = net.streams.producer(Price, require=is_near, online_when=lambda c: c.minimum_of(2))
    assert_type(producer, Producer[Price])
    await producer.when().online()
    await producer.send(Price("ETH", 5))
    await producer.send_many([Price("ETH", 6)])
    consumer = net.streams.consume(Price)
    assert_type(consumer, Consumer[Price])
    assert_type(await consumer.recv(), Price)
    assert_type(await consumer.recv_many(10), list[Price])
    async for price in consumer:
        assert_type(price, Price)
        break
    assert_type(Prices.consumer(net), Consumer[Price])
    assert_type(await Prices.online_producer(net), Producer[Price])
    await asyncio.wait_for(consumer.when().subscribed().minimum_of(1), 5)
    try:
        producer.try_send(Price("ETH", 7))
    except Offline as exc:
        assert_type(exc.value, Any)

    await producer.send("ETH")  # type: ignore[arg-type]
    await producer.send_many([5])  # type: ignore[list-item]
    text: str = await consumer.recv()  # type: ignore[assignment]
    net.streams.producer(Price, max_consumers="two")  # type: ignore[arg-type]
    assert text


async def use_collections(net: Network) -> None:
    """Write and read collections: what is right, then what is wrong."""
    stock = Map[str, int].writer(net, "stock")
    assert_type(stock, Map[str, int])
    await stock.when().online()
    version = await stock.insert("bolts", 5)
    assert_type(version, Version)
    assert_type(stock["bolts"], int)
    await stock.extend({"nuts": 3})
    await stock.when().reaches(version)
    reader = Map[str, int].reader(net, "stock")
    assert_type(reader, MapReader[str, int])
    assert_type(Stock.writer(net), Map[str, int])
    shelf: Mapping[str, int] = reader
    names = Vec[str].writer(net, "names")
    await names.push_back("a")
    listed: Sequence[str] = names
    seen = Set[int].writer(net, "seen")
    assert_type((await seen.insert(5)).took_effect, bool | None)
    cell = Cell[float].writer(net, "rate")
    assert_type(cell.read(), float | None)
    once = Once[bytes].writer(net, "first")
    assert_type(await once.value(), bytes)
    queue = PriorityQueue[int, str, float].writer(net, "queue", capacity=5)
    await queue.insert(1, "job", 0.5)
    async for change in stock.changes():
        str(change)

    await stock.insert(5, 5)  # type: ignore[arg-type]
    await stock.insert("bolts", "many")  # type: ignore[arg-type]
    stock["bolts"] = 5  # type: ignore[index]
    await reader.insert("bolts", 5)  # type: ignore[attr-defined]
    await names.push_back(5)  # type: ignore[arg-type]
    await cell.write("a rate")  # type: ignore[arg-type]
    await queue.insert("first", "job", 0.5)  # type: ignore[arg-type]
    assert [*shelf, *listed]


async def main() -> None:
    """Start a node and look around."""
    key = SecretKey.load_or_create(Path("node.key"))
    try:
        async with Network("shop", secret_key=key, tags=["eu"], secret="a secret") as net:
            assert_type(net.peer_id, PeerId)
            for peer_id, peer in net.discovery.catalog().items():
                assert_type(peer_id, PeerId)
                assert_type(peer, PeerInfo)
            net.discovery.add_tags("till")
            await asyncio.wait_for(use_streams(net), timedelta(minutes=1).total_seconds())
            await use_collections(net)
    except NotAdmitted as exc:
        assert_type(exc.gate, str)


if __name__ == "__main__":
    raise SystemExit(run(main))
