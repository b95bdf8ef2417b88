"""Services that share a network: they coexist, and configurations that differ never meet."""

import logging
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import msgspec
import pytest
from thespian.actors import ActorAddress

from mosaik_actors import (
    Cell,
    ConfigError,
    Deployment,
    DeploymentConfig,
    EncodeError,
    Expiration,
    InvalidTicket,
    Map,
    MosaikActor,
    Network,
    NotResolved,
    Once,
    PriorityQueue,
    Set,
    Ticket,
    Vec,
    actor,
    collection,
    deployment_directory,
    migrate,
    public,
    stream,
    unique_id,
)
from mosaik_actors.deployment.directory import make_listing
from mosaik_actors.deployment.migration import following
from mosaik_actors.discovery.entry import encode_entry
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario


class Order(msgspec.Struct, frozen=True):
    number: int


class Keeper(MosaikActor):
    def receiveMsg_Order(self, message: Order, sender: ActorAddress) -> None:
        self.send(sender, message.number + 1)


class Pass:
    class_id = unique_id("test.pass")
    signature = unique_id("test.pass v1")

    def validate(self, data: bytes, peer: object) -> Expiration:
        if data != b"let me in":
            raise InvalidTicket("no pass")
        return Expiration.NEVER


class ShopConfig(DeploymentConfig):
    window_s: float = 3.0


class Shop(Deployment[ShopConfig]):
    service = "test.shop"
    orders = public(stream(Order))
    stock = public(collection(Map[str, int], "stock"))
    keeper = public(actor(Keeper, messages=[Order]))


class Bank(Deployment[DeploymentConfig]):
    service = "test.bank"
    orders = public(stream(Order))


@contextmanager
def warnings() -> Iterator[list[str]]:
    """Collect the near misses that are logged."""
    told: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    handler = Collect(logging.WARNING)
    logger = logging.getLogger("mosaik_actors.deployment")
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)


def bytes_to(cluster: Cluster, index: int, since: float) -> int:
    """Return how many bytes reached a node since a moment."""
    found = 0
    for line in cluster.trace.lines("message"):
        match = re.search(rf"> n{index}  .*?(\d+) bytes", line.text)
        if match is not None and line.at >= since:
            found += int(match[1])
    return found


def streams_of(net: Network) -> int:
    return len({stream for peer in net.discovery.catalog().values() for stream in peer.streams})


@scenario(nodes=7, seeds=range(1))
async def test_two_services_of_three_instances_share_a_network(cluster: Cluster) -> None:
    nets = [cluster.net(index) for index in range(7)]
    configs = [DeploymentConfig(name=f"{index}") for index in range(3)]
    shop_configs = [ShopConfig(name=f"{index}") for index in range(3)]
    shops = [Shop.bind(net, one) for net, one in zip(nets, shop_configs, strict=False)]
    banks = [Bank.bind(net, one) for net, one in zip(nets[3:], configs, strict=False)]
    shop_producers = [shop.orders.producer() for shop in shops]
    bank_producers = [bank.orders.producer() for bank in banks]

    # An agent of one instance gets that one's items only.
    agent = Shop.bind(nets[6], shop_configs[1])
    consumer = await agent.orders.online_consumer()
    await shop_producers[1].when().online()
    await shop_producers[1].send(Order(1))
    assert (await consumer.recv()) == Order(1)
    await cluster.until(lambda: streams_of(nets[6]) == 6)

    # What the agent pays for the others is their catalog entries: no connection, no item.
    assert [len(producer.consumers()) for producer in bank_producers] == [0, 0, 0]
    assert [len(producer.consumers()) for producer in shop_producers] == [0, 1, 0]
    others = [nets[6].discovery.catalog()[net.peer_id] for net in (nets[0], *nets[2:6])]
    entry_bytes = [len(encode_entry(one.entry)) for one in others]
    assert max(entry_bytes) < 1024

    # While two others exchange items, nothing of it reaches the agent, and it sends them nothing.
    neighbour = await Shop.bind(nets[2], shop_configs[0]).orders.online_consumer()
    await cluster.sleep(5)  # what a new producer says of itself has come round
    began = cluster.now
    await shop_producers[0].send_many([Order(number) for number in range(2000)])
    received = [await neighbour.recv() for _ in range(2000)]
    assert received[-1] == Order(1999)
    carried = {node: bytes_to(cluster, node, began) for node in (2, 6)}
    assert carried[2] > 10_000
    assert carried[6] < 100, carried
    await consumer.close()


@scenario(nodes=2, seeds=range(1))
async def test_configurations_that_differ_never_meet_and_a_warning_names_the_field(
    cluster: Cluster,
) -> None:
    with warnings() as told:
        here = Shop.bind(cluster.net(0), ShopConfig(name="acme"))
        there = Shop.bind(cluster.net(1), ShopConfig(name="acme", window_s=4))
        producer, consumer = here.orders.producer(), there.orders.consumer()
        assert here.fingerprint() != there.fingerprint()
        # Both are notified, and once each, however often they are bound.
        await cluster.until(lambda: len(told) >= 2)
        Shop.bind(cluster.net(0), ShopConfig(name="acme"))
        await cluster.sleep(120)
        assert len(told) == 2
        assert all("it differs in: window_s. The two never meet" in one for one in told)
        assert not producer.consumers()
        assert not consumer.is_online


@scenario(nodes=2, seeds=range(1))
async def test_an_old_and_a_new_version_run_side_by_side_and_state_moves(cluster: Cluster) -> None:
    with warnings() as told:
        net = cluster.net(0)
        old = Shop.bind(net, ShopConfig(name="acme"))
        new = Shop.bind(net, ShopConfig(name="acme", version=2))
        before = await old.stock.online_writer()
        after = await new.stock.online_writer()
        await before.extend({"apple": 1, "pear": 2})
        assert await migrate(before, after) == 2
        assert await migrate(before, after, convert=lambda pair: (pair[0], pair[1] * 10)) == 2
        assert dict(after) == {"apple": 10, "pear": 20}
        assert dict(before) == {"apple": 1, "pear": 2}
        # An actor of one version is not found through the other one.
        await old.keeper.spawn()
        found = await Shop.bind(cluster.net(1), ShopConfig(name="acme")).keeper.resolve()
        assert await found.ask(Order(1), timeout=5) == 2
        with pytest.raises(TimeoutError):
            await new.keeper.resolve(timeout=5)
        assert told == []  # another version is no mistake


async def write_all(stores: dict[str, Any], numbers: range) -> None:
    """Write to collections of all kinds; take out some of what was written before."""
    for n in numbers:
        await stores["map"].insert(f"k{n}", n)
        await stores["set"].insert(n)
        await stores["queue"].insert(n, f"k{n}", n)
        await stores["vec"].push_back(n)
        await stores["cell"].write(n)
    gone = numbers[0]
    await stores["map"].remove(f"k{gone}")
    await stores["set"].remove(gone)
    await stores["queue"].remove(f"k{gone}")
    await stores["vec"].remove(len(stores["vec"]) // 2)


async def open_all(net: Network, name: str) -> dict[str, Any]:
    """Open collections of all kinds."""
    stores: dict[str, Any] = {
        "map": Map[str, int].writer(net, f"{name} map"),
        "set": Set[int].writer(net, f"{name} set"),
        "queue": PriorityQueue[int, str, int].writer(net, f"{name} queue"),
        "vec": Vec[int].writer(net, f"{name} vec"),
        "cell": Cell[int].writer(net, f"{name} cell"),
        "once": Once[int].writer(net, f"{name} once"),
    }
    for one in stores.values():
        await one.when().online()
    return stores


def contents(stores: dict[str, Any]) -> dict[str, Any]:
    return {
        "map": dict(stores["map"]),
        "set": set(stores["set"]),
        "queue": list(stores["queue"].iter_asc()),
        "vec": list(stores["vec"]),
        "cell": stores["cell"].read(),
        "once": stores["once"].read(),
    }


@scenario(nodes=2, seeds=range(3))
async def test_a_new_version_follows_what_becomes_of_the_old_one(cluster: Cluster) -> None:
    """Of every kind; writes, removals, and what others put into the new one."""
    old = await open_all(cluster.net(0), "old")
    await write_all(old, range(20))
    new = await open_all(cluster.net(1), "new")
    seen = await open_all(cluster.net(1), "old")
    async with AsyncExitStack() as stack:
        moving = [await stack.enter_async_context(following(seen[kind], new[kind])) for kind in old]
        assert contents(new) == contents(old)
        await old["once"].write(7)
        await new["map"].insert("of the new one", 1)
        await write_all(old, range(20, 40))
        await old["vec"].swap(0, 5)
        for one, kind in zip(moving, old, strict=True):
            await seen[kind].when().reaches(old[kind].version)
            await one.caught_up()
        wanted = contents(old)
        wanted["map"]["of the new one"] = 1
        assert contents(new) == wanted
    # Once more, in one go: all but the list may be done so.
    for kind in ("map", "set", "queue", "cell"):
        assert await migrate(seen[kind], new[kind]) > 0
    assert contents(new) == wanted
    # It follows no more.
    await old["map"].insert("late", 1)
    await seen["map"].when().reaches(old["map"].version)
    await cluster.sleep(1)
    assert "late" not in new["map"]


@scenario(nodes=1, seeds=range(1))
async def test_what_cannot_follow_is_refused_at_once(cluster: Cluster) -> None:
    stores = await open_all(cluster.net(0), "some")
    await stores["vec"].push_back(1)
    for old, new, why in (
        (stores["map"], stores["set"], "the same kind"),
        (stores["vec"], stores["vec"], "expected an empty one"),
    ):
        with pytest.raises(ConfigError, match=why):
            async with following(old, new):
                pass
    # A write that fails ends it: whoever waits gets the reason.
    other = Map[str, int].writer(cluster.net(0), "other")
    await other.when().online()
    await stores["map"].insert("a", 1)
    with pytest.raises(EncodeError):
        async with following(stores["map"], other, convert=lambda pair: (pair[0], object())):
            pass


@scenario(nodes=2, seeds=range(1))
async def test_an_actor_hears_only_those_with_tickets(cluster: Cluster) -> None:
    config = ShopConfig(name="acme", acl=[Pass()])
    shop, agent = (Shop.bind(cluster.net(index), config) for index in range(2))
    await shop.keeper.spawn()
    with pytest.raises(NotResolved):
        await agent.keeper.resolve(timeout=5)
    cluster.net(1).discovery.add_ticket(Ticket(Pass.class_id, b"let me in"))
    entry = cluster.net(1).discovery.me
    peers = cluster.net(0).discovery
    await cluster.until(lambda: entry.entry.tickets == peers.catalog()[entry.entry.peer].tickets)
    keeper = await agent.keeper.resolve()
    assert await keeper.ask(Order(1), timeout=5) == 2


@scenario(nodes=1, seeds=range(1))
async def test_private_networks_and_the_directory(cluster: Cluster) -> None:
    net = cluster.net(0)
    one, other = (Shop.bind(net, ShopConfig(name=name)) for name in ("one", "other"))
    secret = "a secret of the operator"
    networks = [shop.private_network(secret) for shop in (one, one, other)]
    ids = [made.id for made in networks]
    assert ids[0] == ids[1]
    assert len({*ids, net.id}) == 3
    with pytest.raises(ConfigError, match="expected 16 or more"):
        one.private_network("short")
    with pytest.raises(ConfigError, match="part of a deployment's identity"):
        one.stock.writer(consensus=None)  # type: ignore[call-arg]
    directory = await deployment_directory.online_writer(net)
    await directory.insert(one.fingerprint(), make_listing(one, "ours"))
    listing = directory[one.fingerprint()]
    assert (listing.name, listing.parts) == ("one", ("orders", "stock", "keeper"))
