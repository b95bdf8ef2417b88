"""Admission while a group works: a secret is changed, and a member is banned in an election."""

import asyncio
from contextlib import suppress

import pytest

from mosaik_actors import CollectionOffline, Map, NotAdmitted, collection
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario

from .groups_workload import (
    SETTINGS,
    all_equal,
    all_online,
    form,
    journal_of,
    leader_of,
    write,
)

OLD, NEW = "the secret of last year", "the secret of this year"
Counts = collection(Map[str, int], "counts")


@scenario(nodes=3, seeds=range(1), secret=OLD, **SETTINGS)
async def test_secret_is_changed_without_a_pause(cluster: Cluster) -> None:
    writers = {node: await Counts.online_writer(node.net) for node in cluster.nodes}
    acknowledged: list[str] = []

    async def write() -> None:
        number = 0
        while True:
            for writer in list(writers.values()):
                number += 1
                with suppress(CollectionOffline):
                    await writer.insert(str(number), number)
                    acknowledged.append(str(number))
                await asyncio.sleep(0.1)

    writing = asyncio.get_running_loop().create_task(write())
    # Each node in turn: first all accept both, then all but the last the new one alone.
    for secret, nodes in (([NEW, OLD], cluster.nodes), ([NEW], cluster.nodes[:2])):
        for node in nodes:
            del writers[node]
            await node.stop()
            node.secret = secret
            await node.start()
            writers[node] = await Counts.online_writer(node.net)
            count = len(acknowledged)
            await cluster.until(lambda count=count: len(acknowledged) > count + 10)  # type: ignore[misc]
    writing.cancel()
    await asyncio.wait([writing])
    for writer in writers.values():
        await cluster.until(lambda writer=writer: set(acknowledged) <= set(writer))  # type: ignore[misc]

    # Who comes with the old one alone is not let in.
    last = cluster.nodes[2]
    await last.stop()
    last.secret = OLD
    await last.start()
    await cluster.sleep(30)
    assert not last.net.discovery.catalog()
    assert all(last.peer_id not in node.net.discovery.catalog() for node in cluster.nodes[:2])


@scenario(nodes=5, seeds=range(2), **SETTINGS)
async def test_ban_during_an_election(cluster: Cluster) -> None:
    groups = await form(cluster, 5)
    await write(groups[0], "a", range(10))

    # The leader crashes. Before there is another, three of the four that are left ban the last.
    leader = leader_of(groups)
    banned, *staying = (number for number in range(5) if number != leader)
    nodes, lasting = [cluster.nodes[n] for n in staying], [groups[n] for n in staying]
    out = cluster.nodes[banned]
    await cluster.nodes[leader].crash()
    for node in nodes:
        node.net.ban(out.peer_id, why="it is not ours any more")
    assert not any(group.is_leader for group in lasting)

    # Within a second nothing is open between them; it is told why, and the three say so.
    await cluster.sleep(1)
    for node in nodes:
        assert out.peer_id not in node.net.node.endpoint.connected_peers()
        with pytest.raises(NotAdmitted, match="banned: it is not ours any more") as caught:
            await out.net.discovery.dial(node.net.addr)
        assert caught.value.gate == "deny"
        assert node.net.standings()[out.peer_id].gate == "deny"

    # Three of five elect a leader, and go on without it.
    await all_online(lasting)
    await write(lasting[0], "b", range(10))
    await cluster.until(lambda: not groups[banned].is_online)

    # Who is allowed again is one of them again, with nothing lost.
    for node in nodes:
        node.net.allow(out.peer_id)
        await out.net.discovery.dial(node.net.addr)
    await all_equal(cluster, [groups[banned], *lasting])
    assert len(journal_of(groups[banned])) == 20
