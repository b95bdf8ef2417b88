"""What grows with the number: of nodes, real or simulated, of idle groups, of a log's commands.

Each figure is the processor's time of one process that holds all of it, so that a
machine at work changes it little. A command each, for one figure alone, of its default size
or of others::

    python -m benchmarks.scale up 10
    python -m benchmarks.scale start 80
    python -m benchmarks.scale idle 100
    python -m benchmarks.scale members 3 9 15
    python -m benchmarks.scale commits 9
    python -m benchmarks.scale open 1000000
    python -m benchmarks.scale simulate 2000

The longest gap of the loop when a log is opened has Python's collections of garbage in it. It is
that of a plain program, which does nothing about them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from mosaik_actors import (
    ConsensusConfig,
    Group,
    GroupKey,
    Network,
    SecretKey,
    SqliteLog,
    StateMachine,
)
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import simulate

from .report import Row
from .simulation import measure_convergence

SIMULATED_BARS = {2000: (120.0, 1500.0)}  # seconds of CPU, MB
START_BARS_S = {80: 8.0, 300: 40.0}
FEW = 6
LIMIT_S = 300.0
IDLE_S = 10.0
MEMBERS = (3, 9, 15)
COMMITTING = (1, 3, 9)
IDLE_SENT_BAR = 12.0  # messages/s of each member, however many there are
IDLE_BAR = 0.1  # % of a core for each group: 10 % for a hundred
GAP_BAR_S = 0.02
UP_BAR_S = 0.28
IDLE_BAR_MB = 45.0
FED = 1000
COMMANDS, IN_FLIGHT = 20_000, 256

_NODE = """
import asyncio, time
from dataclasses import dataclass
from mosaik_actors import Network

@dataclass
class Reading:
    value: int

async def main():
    async with Network("up benchmark") as net:
        net.streams.produce(Reading)
        print(time.monotonic())
        await asyncio.sleep(0.5)
        with open("/proc/self/statm") as pages:
            print(pages.read().split()[1])

asyncio.run(main())
"""


class Add(msgspec.Struct, frozen=True):
    """A command."""

    amount: int


class Sum(StateMachine[Add, None, int, None]):
    """A machine that costs next to nothing."""

    Command = Add

    def __init__(self) -> None:
        self.total = 0

    def apply_batch(self, commands: Any, _context: Any) -> None:
        """Add up."""
        self.total += sum([command.amount for command in commands])


def run(quick: bool) -> list[Row]:
    """Measure; `quick` a small one each, as a sign that it runs."""
    return [
        *measure_up(1 if quick else 10),
        *measure_start(FEW if quick else 80),
        *measure_simulation(FEW if quick else 400),
        measure_idle(1 if quick else 20, 0.2 if quick else IDLE_S),
        *measure_members(MEMBERS[:1] if quick else MEMBERS),
        *measure_commits(COMMITTING[:1] if quick else COMMITTING, 200 if quick else COMMANDS),
        measure_open(2_000 if quick else 1_000_000),
    ]


def measure_up(rounds: int = 10) -> list[Row]:
    """Start a node with streams in a process of its own, and let it be idle."""
    with tempfile.TemporaryDirectory() as place:
        _up(place)  # compiles the modules, as an installation does
        shown = [_up(place) for _ in range(rounds)]
    up_s, idle_bytes = (statistics.median(column) for column in zip(*shown, strict=True))
    name = "exec to up, a node with streams (the bar is a maximum)"
    return [
        Row(name, up_s * 1000, "ms", bar=UP_BAR_S * 1000, ok=up_s <= UP_BAR_S),
        Row(
            "resident memory of that node, idle (the bar is a maximum)",
            idle_bytes / 1e6,
            "MB",
            bar=IDLE_BAR_MB,
            ok=idle_bytes <= IDLE_BAR_MB * 1e6,
        ),
    ]


def _up(place: str) -> tuple[float, float]:
    """Return after how many seconds a node is up, and how many bytes it then has."""
    environment = os.environ | {"MOSAIK_RUNTIME_DIR": place, "PYTHONPYCACHEPREFIX": place}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", _NODE], env=environment, capture_output=True, text=True, check=True
    )
    up_at, pages = run.stdout.split()
    return float(up_at) - began, float(pages) * os.sysconf("SC_PAGE_SIZE")


def measure_start(count: int) -> list[Row]:
    """Start nodes of one network on this machine at once, until each knows all."""
    cpu_s, took_s = asyncio.run(_start(count))
    bar_s = START_BARS_S.get(count)
    name = f"{count} nodes that start on one host until all know all"
    return [
        Row(
            name,
            cpu_s * 1000,
            "CPU ms",
            bar=None if bar_s is None else bar_s * 1000,
            ok=None if bar_s is None else cpu_s <= bar_s,
        ),
        Row(f"{name}, by the clock", took_s * 1000, "ms"),
    ]


async def _start(count: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as place:
        os.environ["MOSAIK_RUNTIME_DIR"] = place
        began, began_at = time.process_time(), time.monotonic()
        nets = [Network("scale benchmark") for _ in range(count)]
        await asyncio.gather(*(net.__aenter__() for net in nets))
        async with asyncio.timeout(LIMIT_S):
            # Many catalogs, and no event of all.
            while any(len(net.discovery.catalog()) < count - 1 for net in nets):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        took = time.process_time() - began, time.monotonic() - began_at
        await asyncio.gather(*(net.close() for net in nets))
        return took


def measure_simulation(count: int) -> list[Row]:
    """Simulate nodes that start at once until each knows all, in a process of their own."""
    code = f"from benchmarks.scale import simulate_here; simulate_here({count})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [Row(**row) for row in json.loads(run.stdout)]


def simulate_here(count: int) -> None:
    """Print the rows of `measure_simulation` as JSON; the memory is this process's highest."""
    logging.disable(logging.CRITICAL)
    bar_s, bar_mb = SIMULATED_BARS.get(count, (None, None))
    rows = measure_convergence(count, bar_s=bar_s)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    is_ok = None if bar_mb is None else peak_mb <= bar_mb
    name = f"{count} nodes until all know all, memory"
    rows.append(Row(name, peak_mb, "MB", bar=bar_mb, ok=is_ok))
    print(json.dumps([asdict(row) for row in rows]))


def measure_idle(count: int, seconds: float = IDLE_S) -> Row:
    """Let groups of three members on three nodes do nothing."""
    share = asyncio.run(_idle(count, seconds))
    return Row(
        f"an idle group of three, one of {count} on three nodes",
        share * 1e3,
        "thousandths of 1 % of a core",
        bar=IDLE_BAR * 1e3,
        ok=share <= IDLE_BAR,
    )


async def _idle(count: int, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as place:
        os.environ["MOSAIK_RUNTIME_DIR"] = place
        nets = [await Network.start("scale benchmark") for _ in range(3)]
        bare = await _share(seconds)
        keys = [GroupKey(f"idle {number}") for number in range(count)]
        groups = [net.groups.join(key, Sum()) for key in keys for net in nets]
        for group in groups:
            await group.when().online()
        await asyncio.sleep(seconds)  # until all are voters and know each other
        share = await _share(seconds)
        await asyncio.gather(*(net.close() for net in nets))
        return max(0.0, share - bare) / count


def measure_members(counts: Sequence[int]) -> list[Row]:
    """Let one group of so many members do nothing, each on its node, on a simulated network."""
    rows = []
    for count in counts:
        sent, cpu_s = simulate(_idle_members(count))
        name = f"an idle group of {count} members, for each of them"
        bar = IDLE_SENT_BAR
        rows += [
            Row(f"{name}, sent", sent, "messages/s", bar=bar, ok=sent <= bar),
            Row(f"{name}, simulated", cpu_s * 1e6, "CPU us/s"),
        ]
    return rows


async def _idle_members(count: int) -> tuple[float, float]:
    """Return the messages and the CPU of a member in a second, without what its node takes."""
    async with Cluster(count, seed=1, traces_messages=False) as cluster:
        await cluster.sleep(IDLE_S)
        bare_sent, bare_s = await _measure_members(cluster)
        groups = [node.net.groups.join(GroupKey("idle"), Sum()) for node in cluster.nodes]
        for group in groups:
            await group.when().online()
        await cluster.sleep(2 * IDLE_S)
        sent, cpu_s = await _measure_members(cluster)
    return (sent - bare_sent) / count, (cpu_s - bare_s) / count


async def _measure_members(cluster: Cluster) -> tuple[float, float]:
    """Return what all nodes send in a second, in messages, and the CPU that takes."""
    traffic = cluster.network.traffic.values()
    before, began_s = sum(node.messages_sent for node in traffic), time.process_time()
    await cluster.sleep(2 * IDLE_S)
    cpu_s = time.process_time() - began_s
    sent = sum(node.messages_sent for node in traffic) - before
    return sent / (2 * IDLE_S), cpu_s / (2 * IDLE_S)


async def _share(seconds: float) -> float:
    """Return how much of a core this process takes in that time, in %."""
    cpu_s, began = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    return 100 * (time.process_time() - cpu_s) / (time.monotonic() - began)


def measure_commits(counts: Sequence[int], commands: int = COMMANDS) -> list[Row]:
    """Execute commands in groups of so many members, all in this process, many in flight."""
    return [
        Row(
            f"a command of a group of {count}, {IN_FLIGHT} in flight, all members together",
            asyncio.run(_commit(count, commands)) * 1e6,
            "CPU us",
        )
        for count in counts
    ]


async def _commit(count: int, commands: int) -> float:
    """Return the CPU of all members, a command."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["MOSAIK_RUNTIME_DIR"] = place
        nets = [await Network.start("scale benchmark") for _ in range(count)]
        groups = [net.groups.join(GroupKey("commits"), Sum()) for net in nets]
        for group in groups:
            await group.when().online()
        while True:
            leader = next((group for group in groups if group.is_leader), groups[0])
            voters = sum(member.is_voter for member in leader.members)
            if len(leader.members) == count and voters >= min(count, ConsensusConfig().max_voters):
                break
            await asyncio.sleep(0.1)
        await _execute(leader, commands // 10)  # to warm up
        began_s = time.process_time()
        await _execute(leader, commands)
        for group in groups:
            await group.when().committed().reaches(leader.committed)
        took_s = time.process_time() - began_s
        await asyncio.gather(*(net.close() for net in nets))
        return took_s / commands


async def _execute(leader: Group[Any, Any, Any, Any], commands: int) -> None:
    """Execute commands, each awaited by itself."""
    left = commands

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await leader.execute(Add(1))

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


def measure_open(count: int) -> Row:
    """Open a log of commands, and look how long the loop is held in one step."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "log"
        asyncio.run(_work_on(path, count))
        gap_s = asyncio.run(_work_on(path, 0))
    return Row(
        f"longest gap of the loop when a log of {count:,} commands is opened",
        gap_s * 1e3,
        "CPU ms",
        bar=GAP_BAR_S * 1e3,
        ok=gap_s <= GAP_BAR_S,
    )


async def _work_on(path: Path, count: int) -> float:
    """Open a log, feed commands; return the longest gap until it was open, in CPU time."""
    key = SecretKey.from_seed("scale benchmark")
    async with Network("scale benchmark", secret_key=key, rendezvous=False) as net:
        gaps: list[float] = []
        watch = asyncio.ensure_future(_watch_gaps(gaps))
        group = net.groups.join(GroupKey("log"), Sum(), storage=SqliteLog(path))
        await group.when().online()
        await asyncio.sleep(0)
        watch.cancel()
        await _feed(group, count)
        with suppress(asyncio.CancelledError):
            await watch
        return max(gaps)


async def _feed(group: Group[Any, Any, Any, Any], count: int) -> None:
    for _ in range(0, count, FED):
        await group.feed_many([Add(1)] * FED)
    if count:
        await group.execute(Add(0))


async def _watch_gaps(gaps: list[float]) -> None:
    last = time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        gaps.append(now - last)
        last = now


MEASURES: dict[str, tuple[Callable[[int], list[Row]], tuple[int, ...]]] = {
    "up": (measure_up, (10,)),
    "start": (measure_start, (80,)),
    "simulate": (measure_simulation, (400,)),
    "idle": (lambda count: [measure_idle(count)], (20,)),
    "members": (lambda count: measure_members([count]), MEMBERS),
    "commits": (lambda count: measure_commits([count]), COMMITTING),
    "open": (lambda count: [measure_open(count)], (1_000_000,)),
}
"""What measures each figure, and its default sizes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one figure, for each of the sizes that are given."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=MEASURES, help="what to measure")
    parser.add_argument(
        "size", nargs="*", type=_size, help="how many; by default as in `make bench`"
    )
    options = parser.parse_args(arguments)
    measure, sizes = MEASURES[options.name]
    for size in options.size or sizes:
        for row in measure(size):
            bar = "" if row.bar is None else f", bar {row.bar:g}"
            print(f"{row.name}: {row.value:,.1f} {row.unit}{bar}", flush=True)


def _size(text: str) -> int:
    if (size := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{size}, expected 1 or more")
    return size


if __name__ == "__main__":
    main()
