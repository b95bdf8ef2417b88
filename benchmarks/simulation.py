"""How fast simulated time runs.

Three questions: how long 120 simulated seconds of five nodes take with faults
and streams between them, in both fidelities; how much faster than real time an
idle network of fifty runs; how long two hundred nodes take to know each other,
in simulated time, and what that costs each of them.

Times are those of the processor: a simulation is one thread that never waits, so
on a core of its own real time is the same, and on a shared one the figures still
tell how fast the simulation is. The bars of the first are upper ones. The runs
of five nodes trace their deliveries, as scenarios do; the larger ones do not.
"""

from __future__ import annotations

import asyncio
import logging
import time

import msgspec

from mosaik_actors import MosaikError
from mosaik_actors.testing import Cluster, FaultPlan, NetworkConditions, SimNode, simulate
from mosaik_actors.testing.network import Fidelity
from mosaik_actors.testing.scenario import Scenario

from .report import Row

BARS_S: dict[Fidelity, float] = {"link": 1.0, "quic": 20.0}
IDLE_SPEED_BAR = 100.0
NODES = 5
SEEDS = (1, 2, 3)
ROUNDS = 3

_ITEMS_PER_S = 10
_PATHS = NetworkConditions(latency=0.01, jitter=0.005, loss=0.01)


class Reading(msgspec.Struct, frozen=True):
    """What the busy nodes send each other."""

    node: int
    number: int


def run(quick: bool) -> list[Row]:
    """Time the three; quick ones are short and small."""
    logging.disable(logging.CRITICAL)
    try:
        return [
            *(_time_faults(fidelity, 5.0 if quick else 120.0) for fidelity in BARS_S),
            _time_idle(5 if quick else 50, 5.0 if quick else 60.0),
            *measure_convergence(10 if quick else 200),
        ]
    finally:
        logging.disable(logging.NOTSET)


def _time_faults(fidelity: Fidelity, seconds: float) -> Row:
    """Time five nodes that stream to each other through faults, the slowest of three seeds."""
    plan = FaultPlan(duration=seconds * 0.8)
    settings = {"fidelity": fidelity, "program": _program, "network": _PATHS, "faults": plan}

    async def play(cluster: Cluster) -> None:
        await cluster.sleep(seconds * 0.9)
        await cluster.calm()
        await cluster.sleep(seconds * 0.1)

    made = Scenario(play, NODES, SEEDS, settings)
    slowest_s = 0.0
    for seed in SEEDS:
        started = time.process_time()
        report = made.run(seed)
        if report.error is not None:
            raise report.error
        slowest_s = max(slowest_s, time.process_time() - started)
    bar_s = BARS_S[fidelity]
    return Row(
        f"{seconds:g} simulated s of {NODES} nodes with faults, {fidelity}, slowest of 3",
        slowest_s * 1e3,
        "CPU ms",
        bar=bar_s * 1e3,
        ok=slowest_s < bar_s,
    )


async def _program(node: SimNode) -> None:
    node.spawn(_send(node)) if node.index < 2 else node.spawn(_receive(node))


async def _send(node: SimNode) -> None:
    producer = node.net.streams.producer(Reading, stream_id="readings")
    number = 0
    while True:
        try:
            await producer.send(Reading(node.index, number))
        except MosaikError:
            await producer.when().online()
        number += 1
        await asyncio.sleep(1 / _ITEMS_PER_S)


async def _receive(node: SimNode) -> None:
    async for _ in node.net.streams.consumer(Reading, stream_id="readings"):
        pass


def _time_idle(nodes: int, seconds: float) -> Row:
    """Measure how fast time goes by in a network that has met and has nothing to do."""

    async def main() -> float:
        async with Cluster(nodes, seed=1, network=_PATHS, traces_messages=False) as cluster:
            await _until_all_know_all(cluster)
            await cluster.sleep(30)
            spans_s = []
            for _ in range(ROUNDS):
                started = time.process_time()
                await cluster.sleep(seconds)
                spans_s.append(time.process_time() - started)
            return seconds / min(spans_s)

    speed = simulate(main())
    return Row(
        f"idle network of {nodes}, simulated per CPU second, best of {ROUNDS}",
        speed,
        "x",
        bar=IDLE_SPEED_BAR,
        ok=speed >= IDLE_SPEED_BAR,
    )


def measure_convergence(nodes: int, *, bar_s: float | None = None) -> list[Row]:
    """Start nodes that know one other, and wait until each knows all.

    How the network ends is not measured.
    """

    async def main() -> tuple[float, float, float]:
        cluster = Cluster(nodes, seed=1, network=_PATHS, traces_messages=False, bootstrap="first")
        async with cluster:
            await _until_all_know_all(cluster)
            cpu_s = time.process_time() - started
            sent = [traffic.bytes_sent for traffic in cluster.network.traffic.values()]
            found = cluster.now, sum(sent) / nodes, cpu_s
            await cluster.crash(*cluster.running)
            return found

    started = time.process_time()
    converged_s, bytes_each, cpu_s = simulate(main())
    name = f"{nodes} nodes until all know all"
    return [
        Row(f"{name}, simulated", converged_s * 1e3, "ms"),
        Row(f"{name}, sent by each", bytes_each / 1e3, "kB"),
        Row(
            f"{name}, to simulate",
            cpu_s * 1e3,
            "CPU ms",
            bar=None if bar_s is None else bar_s * 1e3,
            ok=None if bar_s is None else cpu_s <= bar_s,
        ),
    ]


async def _until_all_know_all(cluster: Cluster) -> None:
    count = len(cluster.nodes) - 1

    def is_whole() -> bool:
        return all(
            len(node.net.discovery.catalog()) - (node.peer_id in node.net.discovery.catalog())
            >= count
            for node in cluster.nodes
        )

    deadline = cluster.now + 600
    while not is_whole():
        if cluster.now > deadline:
            raise AssertionError(f"{len(cluster.nodes)} nodes did not all meet within 600 s")
        await cluster.sleep(0.1)
