"""Members that join late or fell behind: by the log, by snapshots, and from whom."""

import asyncio

from mosaik_actors.groups.config import GroupsConfig
from mosaik_actors.groups.member.events import StateReplaced
from mosaik_actors.groups.sync.settings import LogReplaySync, SnapshotSync
from mosaik_actors.handles.groups import Group
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.scenario import scenario

from .groups_machines import Journal, Put, SavedJournal
from .groups_workload import (
    SETTINGS,
    all_equal,
    all_online,
    collect,
    form,
    join,
    journal_of,
    leader_of,
    voters_of,
    write,
)

SEEDS = range(4)
CUTS_OFTEN = GroupsConfig(compact_entries=40, keep_entries=5)
SLOW = NetworkConditions(latency=0.02, jitter=0.01, loss=0.02)


class SmallSteps(Journal):
    """Replays the log in many small requests."""

    state_sync = LogReplaySync(batch_size=10, fetch_timeout=2.0)


class SmallPieces(SavedJournal):
    """Sends snapshots that are asked for soon again."""

    state_sync = SnapshotSync(
        fetch_batch_size=10, snapshot_ttl=5.0, snapshot_request_timeout=2.0, fetch_timeout=1.0
    )


async def keep_writing(groups: list[Group], client: str) -> None:
    """Write without end, each time at another member."""
    number = 0
    while True:
        await groups[number % len(groups)].execute(Put(client, number), timeout=20)
        number += 1
        await asyncio.sleep(0.01)


@scenario(nodes=4, seeds=SEEDS, network=SLOW, **SETTINGS)
async def test_late_joiner_replays_the_log_while_it_grows(cluster: Cluster) -> None:
    groups = [join(node, SmallSteps()) for node in cluster.nodes[:3]]
    await all_online(groups)
    for start in range(0, 300, 5):
        await groups[0].execute_many(Put("a", number) for number in range(start, start + 5))
    writing = asyncio.ensure_future(keep_writing(groups, "b"))
    began = cluster.now
    late = join(cluster.nodes[3], SmallSteps())
    await late.when().online()
    # Online means abreast: it has all that was there when it came.
    assert len(journal_of(late)) >= 300
    assert cluster.now - began < 5
    await cluster.sleep(1)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await all_equal(cluster, [*groups, late])


@scenario(nodes=4, seeds=SEEDS, network=SLOW, **SETTINGS)
async def test_late_joiner_gets_a_snapshot_when_the_log_was_cut(cluster: Cluster) -> None:
    groups = [join(node, SmallPieces(), settings=CUTS_OFTEN) for node in cluster.nodes[:3]]
    await all_online(groups)
    for number in range(120):
        await groups[number % 3].execute_many([Put("a", 2 * number), Put("a", 2 * number + 1)])
    metrics = groups[0].metrics
    assert metrics is not None
    assert metrics.first_index > 40
    writing = asyncio.ensure_future(keep_writing(groups, "b"))
    late = join(cluster.nodes[3], SmallPieces(), settings=CUTS_OFTEN)
    events: list[object] = []
    watching = asyncio.ensure_future(collect(late, events))
    await late.when().online()
    assert len(journal_of(late)) >= 240
    assert any(isinstance(event, StateReplaced) and event.position >= 240 for event in events)
    await cluster.sleep(1)
    for task in (writing, watching):
        task.cancel()
    await asyncio.gather(writing, watching, return_exceptions=True)
    await all_equal(cluster, [*groups, late])


@scenario(nodes=4, seeds=range(8), network=SLOW, **SETTINGS)
async def test_provider_that_dies_midway_is_replaced(cluster: Cluster) -> None:
    groups = [join(node, SmallPieces(), settings=CUTS_OFTEN) for node in cluster.nodes[:3]]
    await all_online(groups)
    await cluster.until(lambda: len(voters_of(groups[0])) == 3)
    for start in range(0, 3000, 50):
        await groups[0].execute_many(Put("a", number) for number in range(start, start + 50))
    late = join(cluster.nodes[3], SmallPieces(), settings=CUTS_OFTEN)
    # As soon as it has begun to fetch, one of those that serve it dies.
    await cluster.until(lambda: late.why_offline == "catching up with the group")
    await cluster.sleep(0.02 * cluster.seed)
    victim = (leader_of(groups) + 1) % 3
    await cluster.crash(victim)
    left = [group for index, group in enumerate(groups) if index != victim]
    await all_equal(cluster, [*left, late])
    assert len(journal_of(late)) == 3000
    await write(late, "b", range(3), timeout=10)


@scenario(nodes=4, seeds=SEEDS, network=SLOW, **SETTINGS)
async def test_leader_that_dies_while_it_serves_is_replaced(cluster: Cluster) -> None:
    groups = [join(node, SmallSteps()) for node in cluster.nodes[:3]]
    await all_online(groups)
    await cluster.until(lambda: len(voters_of(groups[0])) == 3)
    for start in range(0, 400, 4):
        await groups[0].execute_many(Put("a", number) for number in range(start, start + 4))
    late = join(cluster.nodes[3], SmallSteps())
    await cluster.until(lambda: late.why_offline == "catching up with the group")
    leader = leader_of(groups)
    await cluster.crash(leader)
    left = [group for index, group in enumerate(groups) if index != leader]
    await all_equal(cluster, [*left, late])
    assert len(journal_of(late)) == 400


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_member_that_was_cut_off_catches_up_by_snapshot(cluster: Cluster) -> None:
    groups = [join(node, SavedJournal(), settings=CUTS_OFTEN) for node in cluster.nodes]
    await all_online(groups)
    await cluster.until(lambda: len(voters_of(groups[0])) == 3)
    await write(groups[0], "a", range(10))
    away = (leader_of(groups) + 1) % 3
    leader = groups[leader_of(groups)]
    cluster.partition(away)
    # What it had taken itself stays with it, and takes effect when it is back.
    waiting = asyncio.ensure_future(groups[away].execute(Put("away", 0), timeout=60))
    await write(leader, "b", range(150), timeout=10)
    await cluster.sleep(4)
    cluster.heal()
    await waiting
    await all_equal(cluster, groups)
    assert len(journal_of(groups[away])) == 161
    assert journal_of(groups[away]).count(("away", 0)) == 1


@scenario(nodes=5, seeds=SEEDS, network=SLOW, **SETTINGS)
async def test_several_join_at_once_under_load(cluster: Cluster) -> None:
    groups = [join(node, SmallPieces(), settings=CUTS_OFTEN) for node in cluster.nodes[:2]]
    await all_online(groups)
    for number in range(100):
        await groups[number % 2].execute(Put("a", number))
    writing = asyncio.ensure_future(keep_writing(groups[:1], "b"))
    late = [join(node, SmallPieces(), settings=CUTS_OFTEN) for node in cluster.nodes[2:]]
    await all_online(late)
    await cluster.until(lambda: len(voters_of(groups[0])) == 5)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await all_equal(cluster, [*groups, *late])


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_small_group_is_formed_with_snapshots_too(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    assert {journal_of(group) == [] for group in groups} == {True}
    await write(groups[2], "a", range(5))
    await all_equal(cluster, groups)


@scenario(nodes=5, seeds=SEEDS, **SETTINGS)
async def test_voters_that_need_a_snapshot_to_commit_anything_get_one(cluster: Cluster) -> None:
    groups = [join(node, SmallPieces(), settings=CUTS_OFTEN) for node in cluster.nodes]
    await all_online(groups)
    await cluster.until(lambda: all(len(voters_of(group)) == 5 for group in groups))
    leader = leader_of(groups)
    lagging = [(leader + 1) % 5, (leader + 2) % 5]
    forgetful = (leader + 3) % 5
    # Three of five go on, and cut their logs behind the other two.
    cluster.partition(lagging)
    await write(groups[leader], "a", range(150))
    # One of the three is gone with its memory: now nothing is committed without the two, so
    # a place for a snapshot cannot be agreed upon before they have one.
    await cluster.crash(forgetful)
    cluster.heal()
    left = [group for index, group in enumerate(groups) if index != forgetful]
    await all_equal(cluster, left)
    await write(groups[lagging[0]], "b", range(3), timeout=10)
    assert len(journal_of(groups[lagging[0]])) == 153


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_command_that_a_snapshot_overtook_has_its_result_all_the_same(
    cluster: Cluster,
) -> None:
    groups = [join(node, SavedJournal(), settings=CUTS_OFTEN) for node in cluster.nodes]
    await all_online(groups)
    await cluster.until(lambda: all(len(voters_of(group)) == 3 for group in groups))
    leader = leader_of(groups)
    follower = (leader + 1) % 3
    events: list[object] = []
    watching = asyncio.ensure_future(collect(groups[follower], events))
    # It has left for the leader when its member is cut off, and is committed without it.
    call = asyncio.ensure_future(groups[follower].execute(Put("late", 0), timeout=60))
    while ("late", 0) not in journal_of(groups[leader]):  # noqa: ASYNC110
        await asyncio.sleep(0.0002)
    cluster.partition([follower])
    assert not call.done()
    peers = [groups[leader], groups[3 - leader - follower]]
    away = cluster.nodes[follower].peer_id
    await cluster.until(
        lambda: all(not m.is_bonded for group in peers for m in group.members if m.peer_id == away)
    )
    await write(groups[leader], "a", range(200), timeout=10)
    await cluster.until(
        lambda: all(g.metrics is not None and g.metrics.first_index > 20 for g in peers)
    )
    cluster.heal()
    position = await call
    await cluster.until(lambda: any(isinstance(event, StateReplaced) for event in events))
    digests = groups[leader].machine.digests  # type: ignore[attr-defined]
    assert (position.has_result, position.result) == (True, digests[position])
    await all_equal(cluster, groups)
    watching.cancel()
