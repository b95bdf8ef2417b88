"""A network's secret is changed, one restart after the other, while commands are committed."""

import asyncio
from contextlib import suppress

from mosaik_actors import CollectionOffline, Map, collection
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario

from .groups_workload import SETTINGS

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
