"""Scenarios for the tests of ``mosaik-actors chaos``: sound, with a bug, and long."""

import asyncio
import os
from pathlib import Path

from mosaik_actors.testing import Cluster, FaultPlan, SimNode, scenario

FAULTS = FaultPlan(duration=20, interval=0.7, length=2.0, kinds=("crash", "skew", "pause"))


async def remember_the_time(node: SimNode) -> None:
    """Keep the time on disk, and believe that it never goes back: the bug.

    It shows when the clock is set back while the node is down: a crash and a
    skew that overlap, in this order or that, and nothing else.
    """
    file = node.disk.open("time")
    if file.size:
        assert node.clock.wall() >= float(file.read()), "time went back"
    while True:
        file.truncate(0)
        file.append(repr(node.clock.wall()).encode())
        file.sync()
        await asyncio.sleep(0.1)


@scenario(nodes=2, faults=FAULTS, program=remember_the_time)
async def time_goes_on(cluster: Cluster) -> None:
    await cluster.sleep(20)
    await cluster.calm()
    await cluster.sleep(1)


@scenario(nodes=2, faults=FAULTS)
async def nodes_meet_again(cluster: Cluster) -> None:
    await cluster.sleep(20)
    await cluster.calm()
    await cluster.until(
        lambda: all(len(cluster.net(n).node.endpoint.connected_peers()) == 1 for n in (0, 1))
    )


@scenario(nodes=2, limit=1e12)
async def goes_on_and_on(cluster: Cluster) -> None:
    started = Path(os.environ["STARTED_DIR"]) / str(os.getpid())
    started.touch()
    await cluster.sleep(1e11)
