"""Every collection against plain Python, through crashes, partitions and bad weather.

Several nodes write at random while faults happen. A spy on every replica notes
which command it applied at which version. In the end:

    * All replicas applied the same commands at the same versions.
    * What was acknowledged is among them, at the version that was returned, and
      a write said rightly whether it took effect.
    * What certainly failed is not. Nothing was applied that was not written.
    * Every replica shows what the plain Python type does that got the same
      operations in that order; its own order too.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from mosaik_actors import (
    CollectionOffline,
    ConsensusConfig,
    GroupsConfig,
    NetworkDown,
    SnapshotSync,
    Version,
)
from mosaik_actors.testing.cluster import Cluster, NodeDown, SimNode
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.faults import FaultPlan
from mosaik_actors.testing.scenario import Scenario
from mosaik_actors.testing.simlog import SimLog

from .collections_models import KINDS, Args, Kind, as_command, played
from .groups_workload import SETTINGS

WRITERS = 3
NODES = 4
SEEDS = 2
WEATHER = NetworkConditions(latency=0.005, jitter=0.003, loss=0.01)
FAULTS = FaultPlan(duration=15, interval=2.5, length=2.5, down_max=2)
# Small, so that logs are cut and snapshots are taken and fetched all the time.
CUTS_OFTEN = GroupsConfig(compact_entries=40, keep_entries=5, forget_after=1000)
SYNC = SnapshotSync(fetch_batch_size=5)
ONE_HISTORY = ConsensusConfig(initial_voters=3)

Operation = tuple[str, Args]


@dataclass
class Ledger:
    """What happened, at all nodes together."""

    kind: Kind
    applied: dict[int, Any] = field(default_factory=dict)
    operations: dict[Any, Operation] = field(default_factory=dict)
    done: dict[int, tuple[Any, bool | None]] = field(default_factory=dict)
    acknowledged: int = 0
    unknown: int = 0

    def spy_on(self, machine: Any) -> None:
        """Note all that a replica applies, and require that others applied the same."""
        apply_batch = machine.apply_batch

        def noting(commands: Any, ctx: Any) -> None:
            for version, command in enumerate(commands, ctx.index):
                known = self.applied.setdefault(version, command)
                assert known == command, f"version {version} is {command} here, {known} elsewhere"
            apply_batch(commands, ctx)

        machine.apply_batch = noting

    def check(self, shown: Any) -> None:
        """Compare what happened, and what a replica shows in the end, with plain Python."""
        versions = sorted(self.applied)
        assert versions == list(range(1, len(versions) + 1)), "there is a gap"
        assert len(versions) <= self.acknowledged + self.unknown, "something was applied twice"
        operations = [self.operations[self.applied[version]] for version in versions]
        expected, changed = played(self.kind, operations)
        assert shown == expected
        for version, (command, took_effect) in self.done.items():
            assert self.applied[version] == command
            assert took_effect in (None, changed[version - 1]), f"{command} at {version}"


def opened(node: SimNode, kind: Kind, *, is_writer: bool) -> Any:
    """Return a handle with its log on the node's disk."""
    make = kind.collection.writer if is_writer else kind.collection.reader
    return make(
        node.net,
        "store",
        sync=SYNC,
        consensus=ONE_HISTORY,
        groups=CUTS_OFTEN,
        storage=SimLog(node.disk, "store"),
        write_timeout=4.0,
        **kind.options,
    )


async def write(handle: Any, ledger: Ledger, rng: Random) -> None:
    """Write something at random, and note what became of it."""
    name, args = ledger.kind.draw(rng)
    command = as_command(handle._machine, name, args)
    ledger.operations[command] = (name, args)
    try:
        version: Version = await getattr(handle, name)(*args)
    except CollectionOffline as error:
        ledger.unknown += error.may_take_effect
        return
    except (NetworkDown, asyncio.CancelledError):
        ledger.unknown += 1
        raise
    assert version not in ledger.done, "two writes at one version"
    ledger.acknowledged += 1
    ledger.done[version] = (command, version.took_effect)
    assert handle.version >= version or handle.why_offline, "it reads what it wrote"


async def work(node: SimNode, ledger: Ledger, handles: dict[int, Any], rng: Random) -> None:
    """Open the collection and write for as long as the node lives."""
    is_writer = node.index < WRITERS
    handle = handles[node.index] = opened(node, ledger.kind, is_writer=is_writer)
    ledger.spy_on(handle._machine)
    while True:
        await asyncio.sleep(rng.expovariate(30))
        if is_writer:
            await write(handle, ledger, rng)


async def play(cluster: Cluster, kind: Kind) -> None:
    """Let all nodes write through the faults, then compare."""
    ledger = Ledger(kind)
    handles: dict[int, Any] = {}
    tasks: dict[tuple[int, int], asyncio.Task[Any]] = {}

    def keep_working() -> None:
        for node in cluster.nodes:
            key = (node.index, node.run_count)
            if node.is_running and key not in tasks:
                try:
                    rng = Random(f"{cluster.seed} {key}")  # a test's
                    tasks[key] = node.spawn(work(node, ledger, handles, rng))
                except NodeDown:
                    continue

    end = cluster.now + FAULTS.duration
    while cluster.now < end:
        keep_working()
        await cluster.sleep(0.05)
    await cluster.calm()
    keep_working()
    await cluster.sleep(3)
    for task in tasks.values():
        task.cancel()
    await asyncio.wait(tasks.values())

    def are_equal() -> bool:
        alive = list(handles.values())
        return len({int(one.version) for one in alive}) == 1 and all(one.is_online for one in alive)

    await cluster.until(are_equal, what="the same version everywhere")
    for handle in handles.values():
        assert handle.version == len(ledger.applied)
        ledger.check(kind.show(handle))
    assert ledger.acknowledged > 50, "faults were all there was"


def scenario_of(name: str) -> Scenario:
    """Return the scenario of one collection."""

    async def body(cluster: Cluster) -> None:
        await play(cluster, KINDS[name])

    body.__name__ = f"test_{name}"
    settings = {**SETTINGS, "network": WEATHER, "faults": FAULTS}
    return Scenario(body, NODES, range(SEEDS), settings)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", KINDS)
def test_is_plain_python_in_log_order(name: str, seed: int) -> None:
    scenario_of(name).check(seed)
