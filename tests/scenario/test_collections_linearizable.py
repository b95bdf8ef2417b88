"""Map and Cell under faults: what clients saw is what one copy would have told them.

Every call is recorded: writes, compare-and-exchange with its outcome, and reads
that come after `refresh`. The checker then looks for one order of all calls that
explains every answer. Nodes have durable logs and one history: where two
histories may begin, each is linearizable and the merge is published.
"""

import asyncio
from random import Random
from typing import Any

import pytest

from mosaik_actors import Cell, CollectionOffline, ConsensusConfig, Map, NetworkDown
from mosaik_actors.testing.cluster import Cluster, NodeDown, SimNode
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.faults import FaultPlan
from mosaik_actors.testing.history import Operation
from mosaik_actors.testing.linearizability import check_linearizable
from mosaik_actors.testing.models import MapModel, Register
from mosaik_actors.testing.scenario import Scenario
from mosaik_actors.testing.simlog import SimLog

from .groups_workload import SETTINGS

NODES = 3
SEEDS = 3
WEATHER = NetworkConditions(latency=0.01, jitter=0.01, loss=0.01)
FAULTS = FaultPlan(duration=12, interval=2.0, length=2.0, down_max=2)
ONE_HISTORY = ConsensusConfig(initial_voters=3)
KEYS = "abc"


class Unknown(Exception):  # it is no error: the client does not know
    """The call was answered, but whether it took effect is not known."""


class DidNotHappen(Exception):  # it is no error either
    """The call certainly had no effect."""


async def exchanged(writing: Any) -> bool:
    """Return whether a compare-and-exchange took effect."""
    version = await written(writing)
    if version.took_effect is None:
        raise Unknown
    return bool(version.took_effect)


async def written(writing: Any) -> Any:
    """Await a write; `DidNotHappen` when that is certain."""
    try:
        return await writing
    except CollectionOffline as error:
        raise (Unknown if error.may_take_effect else DidNotHappen) from error


async def act_on_cell(cell: Cell[int], client: Any, rng: Random) -> None:
    """Make one call on a cell and record it."""
    new, expected = rng.randrange(4), rng.choice((None, 0, 1, 2, 3))
    match rng.randrange(4):
        case 0:
            with client.calling(Register.write(new)):
                await written(cell.write(new))
        case 1:
            operation = Register.compare_and_set(expected, new)
            with client.calling(operation) as call:
                call.result = await exchanged(cell.compare_exchange(expected, new))
        case _:
            with client.calling(Register.read()) as call:
                await written(cell.refresh())
                call.result = cell.read()


async def act_on_map(values: Map[str, int], client: Any, rng: Random) -> None:
    """Make one call on a map and record it."""
    key, new = rng.choice(KEYS), rng.randrange(4)
    expected, or_none = rng.choice((None, 0, 1, 2, 3)), rng.choice((None, 0, 1, 2, 3))
    match rng.randrange(5):
        case 0:
            with client.calling(MapModel.insert(key, new)):
                await written(values.insert(key, new))
        case 1:
            with client.calling(MapModel.remove(key)):
                await written(values.remove(key))
        case 2:
            operation = MapModel.compare_and_set(key, expected, or_none)
            with client.calling(operation) as call:
                if expected is or_none is None:
                    # It changes nothing either way, so nobody is told which it was.
                    await written(values.compare_exchange(key, None, None))
                    raise Unknown
                call.result = await exchanged(values.compare_exchange(key, expected, or_none))
        case _:
            with client.calling(Operation("get", (key,))) as call:
                await written(values.refresh())
                call.result = values.get(key)


KINDS: dict[str, tuple[Any, Any, Any]] = {
    "cell": (Cell[int], act_on_cell, Register()),
    "map": (Map[str, int], act_on_map, MapModel()),
}


async def work(cluster: Cluster, node: SimNode, kind: Any, act: Any) -> None:
    """Open the collection and use it for as long as the node lives, with two clients."""
    handle = kind.writer(
        node.net,
        "shared",
        consensus=ONE_HISTORY,
        storage=SimLog(node.disk, "shared"),
        write_timeout=1.5,
    )

    async def use(number: int) -> None:
        name = f"n{node.index} run {node.run_count} {number}"
        client = cluster.history.client(name, lambda: cluster.now, fails=(DidNotHappen,))
        rng = Random(f"{cluster.seed} {name}")  # a test's
        while True:
            await asyncio.sleep(rng.expovariate(10))
            try:
                await act(handle, client, rng)
            except (Unknown, DidNotHappen):
                continue
            except NetworkDown:
                return

    await asyncio.gather(use(0), use(1))


async def play(cluster: Cluster, name: str) -> None:
    """Use the collection through the faults, then check what everybody saw."""
    kind, act, model = KINDS[name]
    tasks: dict[tuple[int, int], asyncio.Task[Any]] = {}
    end = cluster.now + FAULTS.duration + 3
    is_calm = False
    while cluster.now < end:
        if not is_calm and cluster.now >= FAULTS.duration:
            await cluster.calm()
            is_calm = True
        for node in cluster.nodes:
            key = (node.index, node.run_count)
            if node.is_running and key not in tasks:
                try:
                    tasks[key] = node.spawn(work(cluster, node, kind, act))
                except NodeDown:
                    continue
        await cluster.sleep(0.05)
    for task in tasks.values():
        task.cancel()
    await asyncio.wait(tasks.values())
    verdict = check_linearizable(cluster.history, model)
    assert verdict.ok, verdict.reason
    answered = [call for call in cluster.history.calls if call.outcome.name == "OK"]
    assert len(answered) > 100, "faults were all there was"


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", KINDS)
def test_calls_have_one_order(name: str, seed: int) -> None:
    async def body(cluster: Cluster) -> None:
        await play(cluster, name)

    body.__name__ = f"test_{name}"
    settings = {**SETTINGS, "network": WEATHER, "faults": FAULTS}
    Scenario(body, NODES, range(SEEDS), settings).check(seed)
