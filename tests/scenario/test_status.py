"""What nodes show each other of themselves, on virtual time."""

import msgspec
import pytest

from mosaik_actors import Closed, Map, Network
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario
from mosaik_actors.transport.interface import LinkRefused


class Tick(msgspec.Struct, frozen=True):
    number: int


@scenario(nodes=2, seeds=range(1))
async def test_a_peer_sees_streams_groups_and_counts(cluster: Cluster) -> None:
    a, b = cluster.net(0), cluster.net(1)
    producer = a.streams.produce(Tick)
    for _ in range(2):
        # Each consumer takes three items and ends: the counts are those of both.
        consumer = b.streams.consume(Tick)
        await producer.when().online()
        await producer.send_many([Tick(number) for number in range(3)])
        for _ in range(3):
            await consumer.recv()
        await consumer.close()
        await producer.when().offline()
    prices = Map[str, int].writer(a, "prices")
    await prices.when().online()
    await prices.insert("x", 1)
    shown = await b.status_of(a.peer_id)
    [sent] = shown.streams
    assert (sent.role, sent.items, sent.subscriptions, sent.subscriptions_opened) == (
        "producer", 6, 0, 2,
    )  # fmt: skip
    [received] = b.status().streams
    assert (received.role, received.handles, received.items) == ("consumer", 0, 6)
    [group] = shown.groups
    [collection] = shown.collections
    assert group.role == "leader"
    assert (collection.kind, collection.elements, collection.is_online) == ("Map", 1, True)
    assert "prices" not in repr(shown), "the name of a store opens it"
    assert shown.discovery.peers == 1
    # Again at once is too often.
    with pytest.raises(LinkRefused, match="too often"):
        await b.status_of(a.peer_id)
    with pytest.raises(Closed, match="not in the catalog"):
        await b.status_of(b.peer_id)
    assert not a.why_not_ready()


async def test_a_node_may_keep_its_status_to_itself() -> None:
    async with Network("s", share_status=False) as a, Network("s") as b:
        await b.discovery.dial(a.addr)
        with pytest.raises(LinkRefused, match="does not share"):
            await b.status_of(a.peer_id)
        assert a.status().peer_id == str(a.peer_id)
    assert a.why_not_ready() == {"node": "closing"}
    with pytest.raises(Closed):
        Network("s").status()
