"""A replicated map in three writer processes on loopback, and what it costs locally.

    * inserts per second, many in flight, and everything at once with `extend`;
    * a local read beside a dict's;
    * a reader that comes late, while writes go on;
    * taking a snapshot: how long the loop stands still, part by part;
    * the memory of a replica beside that of the plain container.

PySyncObj's `ReplDict` is measured in the same run when it is installed
(`collections_rivals`).
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from mosaik_actors.collections.commands import CollectionMachine
from mosaik_actors.collections.map import MapMachine
from mosaik_actors.collections.priority_queue import PriorityQueueMachine
from mosaik_actors.collections.set import SetMachine
from mosaik_actors.collections.vec import VecMachine
from mosaik_actors.groups.machine.machine import ApplyContext
from mosaik_actors.ids import UniqueId

from . import collections_rivals, groups
from .collections_nodes import pairs
from .report import Row

VOTERS_WITHIN_S = 30.0
KEYS = 100_000
MANY_KEYS = 1_000_000
EXTEND_PIECE = 100_000


class Node(groups.Node):
    """A process with one node."""

    def __init__(self, network: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.collections_nodes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask("start", network=network)


class Cluster:
    """Some nodes that share a map."""

    def __init__(self) -> None:
        self.network = f"benchmark {time.time_ns()}"
        self.nodes: list[Node] = []

    def add(self) -> Node:
        """Start another node, which opens nothing yet, and let it meet the others."""
        node = Node(self.network)
        self.nodes.append(node)
        node.ask("peers", count=len(self.nodes) - 1)
        return node

    def leader(self) -> tuple[Node, list[Node]]:
        """Return the leader, and the others that write."""
        leads = [node.ask("state")["is_leader"] for node in self.nodes]
        leader = self.nodes[leads.index(True)]
        return leader, [node for node in self.nodes if node is not leader]


@contextmanager
def _cluster(count: int) -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        for _ in range(count):
            cluster.add()
        for node in cluster.nodes:
            node.tell("open", is_writer=True)
        for node in cluster.nodes:
            node.answer()
        deadline = time.monotonic() + VOTERS_WITHIN_S
        while cluster.nodes[0].ask("state")["voters"] < count:
            assert time.monotonic() < deadline, f"not {count} voters"
        yield cluster
    finally:
        for node in cluster.nodes:
            node.kill()


def _inserting(cluster: Cluster, keys: int) -> list[Row]:
    leader, others = cluster.leader()
    leader.ask("load", count=max(100, keys // 10), in_flight=256)  # to warm up
    rates = [leader.ask("load", count=keys, in_flight=256)["per_s"] for _ in range(2)]
    follower = others[0].ask("load", count=keys // 2, in_flight=256)["per_s"]
    share = keys // 3
    for number, node in enumerate(cluster.nodes):
        node.tell("load", count=share, in_flight=85, start=number * share)
    together = sum(node.answer()["per_s"] for node in cluster.nodes)
    return [
        _at_least("map: inserts, 256 in flight, at the leader", max(rates), 20_000, "inserts/s"),
        Row("map: inserts, 256 in flight, at a follower", follower, "inserts/s"),
        Row("map: inserts, 256 in flight, a third at each", together, "inserts/s"),
    ]


def _extending(cluster: Cluster, keys: int) -> list[Row]:
    leader, _ = cluster.leader()
    taken_s = min(leader.ask("extend", start=0, stop=keys)["s"] for _ in range(3))
    return [_at_most(f"map: extend of {keys:,}", taken_s * 1e3, "ms", 1000)]


def _reading(cluster: Cluster, count: int) -> list[Row]:
    found = cluster.nodes[0].ask("gets", count=count)
    return [
        Row(
            "map: local get",
            found["ns"],
            "ns",
            baseline=found["dict_ns"],
            baseline_name="ns of a dict",
            bar=3,
            ok=found["ns"] < 1000 and found["ns"] <= 3 * found["dict_ns"],
        )
    ]


def _arriving(cluster: Cluster, keys: int, bar_s: float) -> list[Row]:
    """Let a reader come late, while writes go on; note how long the leader's loop stood still."""
    leader, others = cluster.leader()
    length = leader.ask("state")["length"]
    for start in range(0, keys, EXTEND_PIECE):
        leader.ask("extend", start=start, stop=min(start + EXTEND_PIECE, keys))
    others[0].ask("steady", per_s=200)
    reader = cluster.add()
    leader.tell("gaps", seconds=bar_s)
    taken_s = reader.ask("arrive", length=max(keys, length))["s"]
    gap_ms = leader.answer()["ms"]
    others[0].ask("end_steady")
    return [
        _at_most(f"map: a late reader has {keys:,} after", taken_s * 1e3, "ms", bar_s * 1e3),
        Row("map: meanwhile the leader's loop was late by", gap_ms, "ms"),
    ]


# Locally.


def _filled(machine: CollectionMachine, commands: list[Any]) -> Any:
    zero = UniqueId.zero()
    machine.apply_batch(commands, ApplyContext(1, 1, 1, len(commands), zero, zero))
    return machine


def _snapshots(keys: int) -> list[Row]:
    machine: MapMachine[str, int] = MapMachine(str, int, store_id="benchmark")
    _filled(machine, machine.extend(pairs(0, keys)))
    gc.collect()
    gc.freeze()  # what a collection costs has nothing to do with snapshots
    began = time.perf_counter()
    parts = machine.snapshot()
    call_ms = longest_ms = (time.perf_counter() - began) * 1e3
    count = 0
    while True:
        began = time.perf_counter()
        part = next(parts, None)
        longest_ms = max(longest_ms, (time.perf_counter() - began) * 1e3)
        if part is None:
            break
        count += 1
    gc.unfreeze()
    return [
        _at_most(f"map: taking a snapshot of {keys:,} blocks for", call_ms, "ms", 10),
        _at_most(f"map: the longest of its {count:,} parts takes", longest_ms, "ms", 10),
    ]


def _bytes_of(make: Callable[[], Any]) -> int:
    gc.collect()
    tracemalloc.start()
    held = make()
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del held
    return size


def _memory(keys: int) -> list[Row]:
    """Compare replicas with plain containers of items that were decoded alike."""
    numbers, names = range(keys), [key for key, _ in pairs(0, keys)]
    a_map: MapMachine[str, int] = MapMachine(str, int, store_id="m")
    a_set: SetMachine[str] = SetMachine(str, store_id="s")
    a_vec: VecMachine[int] = VecMachine(int, store_id="v")
    queue: PriorityQueueMachine[int, str, int] = PriorityQueueMachine(int, str, int, store_id="q")
    cases: list[tuple[str, CollectionMachine, list[Any], Callable[[Any], Any]]] = [
        ("map", a_map, a_map.extend(zip(names, numbers, strict=True)), dict),
        ("set", a_set, a_set.extend(names), set),
        ("vec", a_vec, a_vec.extend(numbers), list),
        (
            "queue",
            queue,
            queue.extend((number * 7919 % keys, names[number], number) for number in numbers),
            _plain_queue,
        ),
    ]
    rows = []
    for name, machine, commands, plain in cases:
        ours = _bytes_of(partial(_filled, machine, commands))
        theirs = _bytes_of(partial(_unpacked, plain, machine.rows, commands))
        rows.append(
            Row(
                f"{name}: memory of a replica of {keys:,}",
                ours / 1024,
                "KiB",
                baseline=theirs / 1024,
                baseline_name=f"KiB of a {plain.__name__.strip('_')}",
                bar=2,
                ok=ours <= 2 * theirs,
            )
        )
    return rows


def _unpacked(plain: Callable[[Any], Any], rows: Any, commands: list[Any]) -> Any:
    return plain(_items(rows, commands))


def _items(rows: Any, commands: list[Any]) -> Iterator[Any]:
    for command in commands:
        columns = rows.unpack(command.rows)
        yield from columns[0] if len(columns) == 1 else zip(*columns, strict=True)


def _plain_queue(items: Iterator[Any]) -> Any:
    """Return what a queue is in plain Python: a sorted list, and a dict to find its entries."""
    entries = sorted(items)
    return entries, {entry[1]: entry for entry in entries}


def _at_least(name: str, value: float, bar: float, unit: str) -> Row:
    return Row(name, value, unit, bar=bar, ok=value >= bar)


def _at_most(name: str, value: float, unit: str, bar: float) -> Row:
    return Row(name, value, unit, bar=bar, ok=value <= bar)


def run(quick: bool = False) -> list[Row]:
    """Measure, and return one row per figure; `quick` uses tiny inputs."""
    keys, many = (1000, 5000) if quick else (KEYS, MANY_KEYS)
    with _cluster(3) as cluster:
        rows = _extending(cluster, keys) + _inserting(cluster, keys)
        rows += _reading(cluster, keys) + _arriving(cluster, keys, 0.6)
    if not quick:
        with _cluster(3) as cluster:
            rows += _arriving(cluster, many, 6.0)
    rows += _snapshots(many) + _memory(keys)
    rows += collections_rivals.run(quick=quick)
    return [replace(row, ok=None) for row in rows] if quick else rows
