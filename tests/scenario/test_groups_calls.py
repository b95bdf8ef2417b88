"""What a group's calls promise: order, once, in time, and honest errors."""

import asyncio
from typing import Any, cast

import pytest

from mosaik_actors.errors import (
    ConfigError,
    GroupOffline,
    GroupTerminated,
    NoCommands,
    QueryOffline,
)
from mosaik_actors.groups.machine.machine import Consistency
from mosaik_actors.groups.member.events import LeaderElected
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.scenario import scenario

from .groups_machines import Get, Put
from .groups_workload import (
    SETTINGS,
    all_equal,
    all_online,
    collect,
    form,
    join,
    join_durably,
    journal_of,
    leader_of,
)

SEEDS = range(3)


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_consecutive_calls_take_effect_in_their_order(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    follower = groups[(leader_of(groups) + 1) % 3]
    # None is awaited before the next is made; of several kinds, and of many at once.
    calls = [follower.execute(Put("a", number)) for number in range(20)]
    calls.append(follower.execute(Put("a", 20)))
    positions = asyncio.gather(*calls)
    many = asyncio.ensure_future(follower.execute_many([Put("a", 21), Put("a", 22)]))
    await asyncio.sleep(0)  # the call before has been made when the next one is
    feeding = asyncio.ensure_future(follower.feed_many([Put("a", 23), Put("a", 24)]))
    await asyncio.sleep(0)
    assert await follower.execute(Put("a", 25)) == 26
    assert await positions == list(range(1, 22))
    assert await many == range(22, 24)
    await feeding
    assert journal_of(follower) == [("a", number) for number in range(26)]


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_order_holds_when_the_leader_dies_under_the_calls(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    leader = leader_of(groups)
    left = [group for index, group in enumerate(groups) if index != leader]
    calls = [
        asyncio.ensure_future(group.execute(Put(f"c{who}", number), timeout=10))
        for number in range(200)
        for who, group in enumerate(left)
    ]
    await cluster.sleep(0.002)
    await cluster.crash(leader)
    positions = await asyncio.gather(*calls)
    await all_equal(cluster, left)
    # Each has the result of its one run, though many had to be sent again.
    digests = left[0].machine.digests  # type: ignore[attr-defined]
    assert all(position.result == digests[position] for position in positions)
    # All that was acknowledged is there once, and each client's in its order.
    journal = journal_of(left[0])
    assert len(journal) == 400
    for who in range(2):
        assert [number for client, number in journal if client == f"c{who}"] == list(range(200))


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_feeding_does_not_wait_and_keeps_the_order(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    follower = groups[(leader_of(groups) + 1) % 3]
    began = cluster.now
    for number in range(50):
        await follower.feed(Put("fed", number))
    assert cluster.now - began < 0.05
    await follower.when().committed().reaches(50)
    assert journal_of(follower) == [("fed", number) for number in range(50)]
    # Offline, nothing is taken, and that is certain.
    cluster.partition(*range(3))
    await follower.when().offline()
    with pytest.raises(GroupOffline) as caught:
        await follower.feed(Put("fed", 50), timeout=0.5)
    assert not caught.value.may_take_effect
    cluster.heal()
    await all_equal(cluster, groups)
    assert len(journal_of(follower)) == 50


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_no_commands_are_an_error(cluster: Cluster) -> None:
    (group,) = await form(cluster, 1)
    with pytest.raises(NoCommands):
        await group.execute_many([])
    with pytest.raises(NoCommands):
        await group.feed_many(iter(()))


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_calls_end_within_their_time(cluster: Cluster) -> None:
    group = join(cluster.nodes[0])
    # Before there is any history.
    began = cluster.now
    with pytest.raises(GroupOffline) as caught:
        await group.execute(Put("a", 0), timeout=0.3)
    assert cluster.now - began == pytest.approx(0.3, abs=0.02)
    assert not caught.value.may_take_effect
    with pytest.raises(QueryOffline):
        await group.query(Get(), timeout=0.3)
    assert cluster.now - began == pytest.approx(0.6, abs=0.04)
    # A call that has time enough waits for it.
    assert await group.execute(Put("a", 1), timeout=5) == 1
    # The default is `forward_timeout`.
    others = [join(node) for node in cluster.nodes[1:]]
    await all_online([group, *others])
    await cluster.until(lambda: sum(member.is_voter for member in group.members) == 3)
    cluster.partition(0)
    await cluster.sleep(4)
    began = cluster.now
    with pytest.raises(GroupOffline):
        await group.execute(Put("a", 2))
    assert cluster.now - began == pytest.approx(2.0, abs=0.02)
    began = cluster.now
    with pytest.raises(QueryOffline):
        await group.query(Get())
    assert cluster.now - began == pytest.approx(2.0, abs=0.02)


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_cancelled_command_that_never_left_never_takes_effect(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    cluster.partition(*range(3))
    for group in groups:
        await group.when().offline()
    waiting = asyncio.ensure_future(groups[0].execute(Put("cancelled", 0), timeout=60))
    later = asyncio.ensure_future(groups[0].execute(Put("kept", 0), timeout=60))
    await cluster.sleep(1)
    waiting.cancel()
    cluster.heal()
    await later
    await all_equal(cluster, groups)
    assert journal_of(groups[0]) == [("kept", 0)]


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_cancelled_commands_do_not_disturb_others(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    follower = groups[(leader_of(groups) + 1) % 3]
    calls = [asyncio.ensure_future(follower.execute(Put("a", number))) for number in range(30)]
    await asyncio.sleep(0)
    for call in calls[::3]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await follower.execute(Put("a", 30))
    journal = journal_of(follower)
    # Those that were not cancelled are all there; all are in order and none is there twice.
    numbers = [number for _, number in journal]
    assert numbers == sorted(set(numbers))
    assert {number for number in range(31) if number % 3 or number == 30} <= set(numbers)
    metrics = follower.metrics
    assert metrics is not None
    assert metrics.pending_commands == 0


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_lone_voter_that_commits_at_once_lets_others_have_their_turn(
    cluster: Cluster,
) -> None:
    (group,) = await form(cluster, 1)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.ensure_future(others())
    for number in range(100):
        await group.execute(Put("a", number))
    other.cancel()
    assert turns >= 100


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_handle_of_a_crashed_node_does_nothing_any_more(cluster: Cluster) -> None:
    (group,) = await form(cluster, 1, is_durable=True)
    await group.execute(Put("before", 1))
    await cluster.sleep(1)  # a moment without commands: one alone is taken at once
    await cluster.crash(0)
    with pytest.raises(GroupTerminated):
        await group.execute(Put("ghost", 2))
    await cluster.start(0)
    again = join_durably(cluster.nodes[0])
    await again.when().online()
    assert journal_of(again) == [("before", 1)]


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_node_that_stands_still_takes_no_command(cluster: Cluster) -> None:
    (group,) = await form(cluster, 1)
    await cluster.sleep(1)
    cluster.pause(0)
    call = asyncio.ensure_future(group.execute(Put("a", 1), timeout=10))
    await cluster.sleep(1)
    assert not call.done()
    cluster.resume(0)
    assert await call == 1


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_command_that_is_taken_at_once_is_saved_by_its_node(cluster: Cluster) -> None:
    (group,) = await form(cluster, 1, is_durable=True)
    await cluster.sleep(1)
    cluster.nodes[0].slow_disk(1.0)
    began_s = cluster.now
    await group.execute(Put("a", 1), timeout=10)
    assert cluster.now - began_s >= 1.0


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_calls_of_one_turn_share_an_entry_but_for_the_first(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    group = groups[leader_of(groups)]
    await group.execute(Put("alone", 0))
    before = group.metrics
    await asyncio.gather(*(group.execute(Put("a", number)) for number in range(100)))
    after = group.metrics
    assert before is not None
    assert after is not None
    assert after.last_index - before.last_index <= 3
    numbers = [number for name, number in journal_of(group) if name == "a"]
    assert numbers == list(range(100))


@scenario(nodes=3, seeds=SEEDS, network=NetworkConditions(latency=0.02), **SETTINGS)
async def test_strong_queries_see_what_was_acknowledged_anywhere(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    leader = leader_of(groups)
    follower = groups[(leader + 1) % 3]
    for number in range(10):
        position = await groups[leader].execute(Put("a", number, value=number))
        # The follower has not heard yet that this is committed.
        weak = await follower.query(Get(), Consistency.WEAK)
        assert weak.at_position < position
        strong = await follower.query(Get(), Consistency.STRONG)
        assert (strong.result, strong.at_position) == (number, position)
    # Many at once are answered together.
    began = cluster.now
    answers = await asyncio.gather(*(group.query(Get()) for group in groups for _ in range(50)))
    assert {answer.result for answer in answers} == {9}
    assert cluster.now - began < 0.2


@scenario(nodes=1, seeds=range(1), **SETTINGS)
async def test_a_query_with_an_unknown_consistency_is_refused(cluster: Cluster) -> None:
    [group] = await form(cluster, 1)
    for unknown in ("weak", None, True):
        with pytest.raises(ConfigError, match=r"expected Consistency\.WEAK or Consistency"):
            await group.query(Get(), cast(Any, unknown))


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_old_leader_gives_no_stale_answer(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    leader = leader_of(groups)
    await groups[leader].execute(Put("a", 0, value=0))
    others = [index for index in range(3) if index != leader]
    # It does not know yet that it leads nobody: a strong query must find that out.
    cluster.partition([leader], others)
    asked = asyncio.ensure_future(groups[leader].query(Get(), Consistency.STRONG, timeout=5))
    await groups[others[0]].execute(Put("b", 0, value=1), timeout=10)
    assert not asked.done() or isinstance(asked.exception(), QueryOffline)
    with pytest.raises(QueryOffline):
        await asked


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_what_waits_is_told_when_the_member_ends(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    cluster.partition(*range(3))
    await groups[0].when().offline()
    executing = asyncio.ensure_future(groups[0].execute(Put("a", 0), timeout=60))
    asking = asyncio.ensure_future(groups[0].query(Get(), timeout=60))
    waiting = asyncio.ensure_future(_wait(groups[0].when().online()))
    await cluster.sleep(0.1)
    await cluster.stop(0)
    for call in (executing, asking):
        with pytest.raises((GroupTerminated, GroupOffline, QueryOffline)):
            await call
    with pytest.raises(GroupTerminated):
        await waiting
    # And all that comes later.
    with pytest.raises(GroupTerminated):
        await groups[0].execute(Put("a", 1))
    with pytest.raises(GroupTerminated):
        await groups[0].query(Get(), Consistency.WEAK)


async def _wait(condition: object) -> None:
    await condition  # type: ignore[misc]


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_conditions_come_true_as_leaders_change(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    leader = leader_of(groups)
    watcher = groups[(leader + 1) % 3]
    events: list[object] = []
    watching = asyncio.ensure_future(collect(watcher, events))
    await asyncio.sleep(0)
    await watcher.when().is_follower()
    await watcher.when().leader_is(cluster.nodes[leader].peer_id)
    changed = watcher.when().leader_changed()
    advanced = watcher.when().committed().advanced()
    await cluster.crash(leader)
    new = await changed
    assert new in {node.peer_id for node in cluster.nodes} - {cluster.nodes[leader].peer_id}
    await watcher.when().leader_elected()
    await watcher.execute(Put("a", 0), timeout=5)
    assert await advanced == 1
    await watcher.when().log().reaches(1)
    watching.cancel()
    # First that there is none, then who it is and how long there was none.
    elected = [event for event in events if isinstance(event, LeaderElected)]
    assert elected[0].leader is None
    assert elected[-1].leader == new
    assert 0 < elected[-1].elapsed_s < 2
