"""Discovery: how fast a network comes together, what it costs to keep it, how it heals.

Simulated, in ``link`` fidelity, with paths of 20 ms and up to 10 ms more. Nodes
start one after the other within 10 simulated seconds and know one address, that
of the first. Then, in this order, on the same network:

    * a tag changes, and the clock runs until 99 % of the nodes show it;
    * nothing happens for a while: what that costs in bytes per second and node,
      and how fast virtual time runs;
    * 30 % of the nodes crash at once: until the links of the rest join all of
      it, and until the rest shows exactly itself.

Bytes are those of the frames, without QUIC's and IP's. The figure on real QUIC
is of as many processes of this machine, which share its cores, from when the
last of them says that it begins until all know all.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable

from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.scenario import simulate

from .report import Row

START_S = 10.0
SMALL, MIDDLE, LARGE, TINY = 50, 200, 1000, 30
IDLE_S = 171.0  # in a network of a thousand each announces itself once in this time
IDLE_PARTS = 3  # the fastest of three parts counts: other programs run here too
CRASHED_SHARE = 0.3
POLL_S = 0.25
PROCESSES, FEW_PROCESSES = 20, 4

CONVERGE_BAR_S = 15.0
TAG_BAR_S = 2.0
TRAFFIC_BAR = 2.0
HEAL_BAR_S = 10.0
SPEED_BAR = 100.0
PURGE_LATE_BAR_S = 5.0
QUIC_BAR_S = 5.0

PROCESS = """
import asyncio, sys, time
from mosaik_actors.network import Network

async def main():
    count = int(sys.argv[1])
    print("begin", time.monotonic(), flush=True)
    async with Network("discovery benchmark") as net:
        async for catalog in net.discovery.watch():
            if len(catalog) == count - 1:
                print("end", time.monotonic(), flush=True)
                break
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


def run(quick: bool) -> list[Row]:
    """Measure networks of several sizes; `quick` one small one, as a sign that it runs."""
    sizes = (TINY,) if quick else (SMALL, MIDDLE, LARGE)
    rows: list[Row] = []
    traffic = {}
    for size in sizes:
        found, traffic[size] = simulate(_measure(size))
        rows += found
    if LARGE in traffic:
        ratio = traffic[LARGE] / traffic[SMALL]
        rows.append(
            Row(
                f"steady traffic per node, {LARGE} nodes",
                traffic[LARGE],
                "B/s",
                baseline=traffic[SMALL],
                baseline_name=f"B/s with {SMALL}",
                bar=TRAFFIC_BAR,
                ok=ratio <= TRAFFIC_BAR,
            )
        )
    count = FEW_PROCESSES if quick else PROCESSES
    took_s = asyncio.run(_measure_processes(count))
    rows.append(_row(f"{count} processes on QUIC know each other", took_s, QUIC_BAR_S))
    return rows


def _row(name: str, took_s: float, bar_s: float) -> Row:
    return Row(name, took_s * 1000, "ms", bar=bar_s * 1000, ok=took_s <= bar_s)


async def _measure(size: int) -> tuple[list[Row], float]:
    """Return the figures of one size, and its steady traffic in bytes per second and node."""
    network = NetworkConditions(latency=0.02, jitter=0.01)
    cluster = Cluster(
        size, seed=1, bootstrap="first", starts=False, traces_messages=False, network=network
    )
    if size == LARGE:
        gc.set_threshold(500_000, 50, 100)  # millions of objects that stay: looking costs most
    async with cluster:
        for index in range(size):
            await cluster.start(index)
            await cluster.sleep(START_S / size)
        rows = [
            _row(f"{size} nodes know each other after the last start", took_s, CONVERGE_BAR_S)
            for took_s in [await _time(cluster, lambda: _knows_all(cluster))]
        ]
        await cluster.sleep(30)
        rows.append(await _measure_tag(cluster))
        traffic, speed = await _measure_idle(cluster)
        is_judged = size == SMALL
        rows.append(
            Row(
                f"virtual seconds per second, {size} idle nodes",
                speed,
                "x",
                bar=SPEED_BAR if is_judged else None,
                ok=speed >= SPEED_BAR if is_judged else None,
            )
        )
        if size != LARGE:
            rows.append(Row(f"steady traffic per node, {size} nodes", traffic, "B/s"))
        rows += await _measure_crash(cluster)
        # The end is not measured: no farewell of everybody to everybody.
        await cluster.crash(*cluster.running)
    return rows, traffic


async def _measure_tag(cluster: Cluster) -> Row:
    owner = cluster.nodes[len(cluster.nodes) // 2]
    owner.net.discovery.add_tags("changed")

    def is_seen() -> bool:
        seen = 0
        for index in cluster.running:
            info = cluster.net(index).discovery.catalog().get(owner.peer_id)
            seen += info is not None and "changed" in info.tags
        return seen >= 0.99 * (len(cluster.running) - 1)

    took_s = await _time(cluster, is_seen, poll_s=0.01)
    return _row(f"tag change at 99 % of {len(cluster.nodes)} nodes", took_s, TAG_BAR_S)


async def _measure_idle(cluster: Cluster) -> tuple[float, float]:
    """Return bytes per second and node, and virtual seconds per real one."""
    sent_before, took_s = _sent(cluster), []
    for _ in range(IDLE_PARTS):
        began = time.perf_counter()
        await cluster.sleep(IDLE_S / IDLE_PARTS)
        took_s.append(time.perf_counter() - began)
    speed = IDLE_S / IDLE_PARTS / min(took_s)
    return (_sent(cluster) - sent_before) / IDLE_S / len(cluster.nodes), speed


async def _measure_crash(cluster: Cluster) -> list[Row]:
    size = len(cluster.nodes)
    rng = cluster.randomness.branch("victims")
    await cluster.crash(*rng.sample(range(1, size), int(size * CRASHED_SHARE)))
    crashed_at = cluster.now
    healed_s = await _time(cluster, lambda: _is_joined(cluster))
    # Until QUIC's idle timeout some links are dead and nobody knows: look again after it.
    await cluster.sleep(max(0.0, crashed_at + 11 - cluster.now))
    is_whole = _is_joined(cluster)
    await _time(cluster, lambda: _knows_all(cluster), poll_s=1.0)
    late_s = cluster.now - crashed_at - 300
    return [
        Row(
            f"{size} nodes, 30 % crash: the rest is joined",
            healed_s * 1000,
            "ms",
            bar=HEAL_BAR_S * 1000,
            ok=healed_s <= HEAL_BAR_S and is_whole,
        ),
        Row(
            f"{size} nodes, 30 % crash: the last purged, after purge_after",
            late_s * 1000,
            "ms",
            bar=PURGE_LATE_BAR_S * 1000,
            ok=late_s <= PURGE_LATE_BAR_S,
        ),
    ]


async def _time(cluster: Cluster, is_met: Callable[[], bool], *, poll_s: float = POLL_S) -> float:
    """Return how many simulated seconds it takes until a condition holds."""
    began = cluster.now
    while not is_met():
        if cluster.now > began + 900:
            raise TimeoutError("not within 900 simulated seconds")
        await cluster.sleep(poll_s)
    return cluster.now - began


def _knows_all(cluster: Cluster) -> bool:
    running = cluster.running
    return all(len(cluster.net(index).discovery.catalog()) == len(running) - 1 for index in running)


def _is_joined(cluster: Cluster) -> bool:
    """Whether the links that both ends know of join all running nodes."""
    links = {
        cluster.nodes[index].peer_id: set(cluster.net(index).discovery.neighbours)
        for index in cluster.running
    }
    reached = {next(iter(links))}
    frontier = list(reached)
    while frontier:
        here = frontier.pop()
        new = {peer for peer in links[here] & links.keys() if here in links[peer]} - reached
        reached |= new
        frontier.extend(new)
    return len(reached) == len(links)


def _sent(cluster: Cluster) -> int:
    return sum(one.bytes_sent for one in cluster.network.traffic.values())


async def _measure_processes(count: int) -> float:
    """Return the seconds from the last process's beginning until the last knows all."""
    pipe = asyncio.subprocess.PIPE
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "MOSAIK_RUNTIME_DIR": place}
        children = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROCESS, str(count), stdin=pipe, stdout=pipe, env=environment
            )
            for _ in range(count)
        ]
        try:
            async with asyncio.timeout(120):
                begins = [await _read_moment(child) for child in children]
                ends = [await _read_moment(child) for child in children]
        finally:
            for child in children:
                if child.stdin is not None:
                    child.stdin.close()
            await asyncio.gather(*(child.wait() for child in children))
    return max(ends) - max(begins)


async def _read_moment(child: asyncio.subprocess.Process) -> float:
    assert child.stdout is not None
    _, moment = (await child.stdout.readline()).split()
    return float(moment)
