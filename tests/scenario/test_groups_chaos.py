"""Groups under everything that may go wrong at once, drawn from seeds.

While it goes on, `groups_invariants` looks at every member twenty times a
second. Afterwards the faults end, and every member must be online with the same
state: what was acknowledged is in it once, what was refused is not, and the
calls of all clients can be explained by one copy of the data.
"""

import asyncio

from mosaik_actors.groups.config import ConsensusConfig, GroupsConfig
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.conditions import NetworkConditions, lognormal
from mosaik_actors.testing.faults import DISK_KINDS, KINDS, FaultKind, FaultPlan
from mosaik_actors.testing.scenario import scenario

from .groups_chaos import Churn, World
from .groups_machines import journal_for
from .groups_takeover import OBSERVERS, SurvivorWorld, WriterChurn
from .groups_workload import BOOTSTRAP_OF_3, SETTINGS

DURATION_S = 10.0
NET = NetworkConditions(latency=lognormal(0.003), jitter=0.001)
# What members in memory survive: they lose nothing, they only do not hear each other.
HARMLESS: tuple[FaultKind, ...] = ("pause", "partition", "partition", "one_way", "skew", "weather")
# Who leaves is gone before anybody is taken for dead that was heard when it began (`Churn`).
CUTS_OFTEN = GroupsConfig(compact_entries=60, keep_entries=10, replace_after=1.5, leave_timeout=1.0)
QUICK = GroupsConfig(replace_after=1.5)


def plan(*kinds: FaultKind) -> FaultPlan:
    """Return faults that come fast and overlap."""
    return FaultPlan(duration=DURATION_S, interval=0.7, length=1.5, kinds=kinds)


async def play_one_history(cluster: Cluster, *, is_durable: bool, calls_min: int = 20) -> None:
    """Play, and check what must hold of a group that never has two histories.

    With fewer calls than `calls_min` a run would have shown nothing.
    """
    world = World(
        cluster=cluster,
        is_durable=is_durable,
        machine=journal_for(cluster.seed, is_saved=True),
        consensus=BOOTSTRAP_OF_3,
        settings=CUTS_OFTEN,
    )
    await world.play(DURATION_S, Churn(world))
    assert len({group.history for group in world.groups.values()}) == 1
    world.check_once()
    world.check_positions()
    world.check_results()
    assert len(cluster.history) > calls_min
    world.check_linearizable()


@scenario(
    nodes=5, seeds=[*range(24), 43, 262, 319], faults=plan(*HARMLESS), network=NET, **SETTINGS
)
async def test_members_in_memory(cluster: Cluster) -> None:
    await play_one_history(cluster, is_durable=False)


@scenario(
    nodes=5, seeds=[*range(24), 229], faults=plan(*KINDS, *DISK_KINDS), network=NET, **SETTINGS
)
async def test_durable_members(cluster: Cluster) -> None:
    await play_one_history(cluster, is_durable=True)


@scenario(nodes=4, seeds=range(24), faults=plan(*HARMLESS), network=NET, **SETTINGS)
async def test_histories_that_merge_in_memory(cluster: Cluster) -> None:
    world = World(
        cluster=cluster,
        is_durable=False,
        machine=journal_for(cluster.seed, is_saved=False),
        consensus=ConsensusConfig(),
        settings=QUICK,
        observers=0.0,
        has_many_histories=True,
    )
    await play_many_histories(cluster, world)


@scenario(nodes=4, seeds=range(24), faults=plan(*KINDS, *DISK_KINDS), network=NET, **SETTINGS)
async def test_histories_that_merge_durably(cluster: Cluster) -> None:
    world = World(
        cluster=cluster,
        is_durable=True,
        machine=journal_for(cluster.seed, is_saved=False),
        consensus=ConsensusConfig(),
        settings=QUICK,
        observers=0.0,
        has_many_histories=True,
    )
    await play_many_histories(cluster, world)


async def play_many_histories(cluster: Cluster, world: World) -> None:
    """Let parts of the cluster begin apart, meet under faults, and check what must hold."""
    rng = cluster.randomness.branch("parts")
    parts: list[list[int]] = [[] for _ in range(rng.randint(2, 4))]
    for node in cluster.nodes:
        rng.choice(parts).append(node.index)
    cluster.partition(*[part for part in parts if part])
    world.start_programs()
    await cluster.sleep(rng.uniform(0.5, 4))
    cluster.heal()
    await world.play(DURATION_S)
    world.check_once()
    for history in world.witness.longest:
        world.check_linearizable_in(history)


@scenario(nodes=5, seeds=range(20), faults=plan(*HARMLESS), network=NET, **SETTINGS)
async def test_observers_that_are_left(cluster: Cluster) -> None:
    world = SurvivorWorld(
        cluster=cluster,
        is_durable=False,
        machine=journal_for(cluster.seed, is_saved=False),
        consensus=ConsensusConfig(),
        settings=QUICK,
        has_many_histories=True,
    )
    watching = asyncio.ensure_future(world.watch())
    await world.play(2 * DURATION_S, WriterChurn(world))
    watching.cancel()
    result = await asyncio.gather(watching, return_exceptions=True)
    assert isinstance(result[0], asyncio.CancelledError), repr(result[0])
    for index in range(OBSERVERS):
        world.look_at(index)
    world.check_kept()


@scenario(
    nodes=3,
    seeds=range(20),
    fidelity="quic",
    faults=plan(*KINDS, *DISK_KINDS, "weather", "weather"),
    network=NET,
    **SETTINGS,
)
async def test_durable_members_over_real_quic(cluster: Cluster) -> None:
    """Here datagrams are lost, come twice and overtake each other, not only late."""
    # In weather that bad each call takes long.
    await play_one_history(cluster, is_durable=True, calls_min=5)
