"""What people and machines do to groups that nobody planned for."""

import asyncio

import pytest

from mosaik_actors.errors import GroupOffline, GroupTerminated
from mosaik_actors.groups.config import GroupsConfig
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario

from .groups_machines import Put
from .groups_workload import (
    SETTINGS,
    all_equal,
    all_online,
    form,
    join,
    journal_of,
    leader_of,
    write,
)

SEEDS = range(3)


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_member_that_comes_back_in_the_same_run_is_a_new_client(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    back = (leader_of(groups) + 1) % 3
    await write(groups[back], "a", range(5))
    # It leaves and joins again, in the same process.
    await groups[back].leave()
    groups[back] = join(cluster.nodes[back])
    await all_online(groups)
    # Its commands are new ones, though it counts them from 1 again.
    await write(groups[back], "b", range(3))
    await all_equal(cluster, groups)
    assert journal_of(groups[0])[5:] == [("b", number) for number in range(3)]


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_history_begun_anew_in_the_same_run_is_another_one(cluster: Cluster) -> None:
    histories = []
    for _ in range(3):
        group = join(cluster.nodes[0])
        await group.when().online()
        assert journal_of(group) == []
        await group.execute(Put("a", 0))
        histories.append(group.history)
        await group.leave()
    assert len(dict.fromkeys(histories)) == 3


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_members_that_have_left_leave_nothing_behind(cluster: Cluster) -> None:
    other = join(cluster.nodes[1])
    await other.when().online()
    node = cluster.nodes[0].net.node
    assert node is not None
    system = node.system
    assert not list(cluster.nodes[0].net.groups)
    await cluster.sleep(1)  # what the first use of groups begins stays
    before = system.stats().actors
    for _ in range(10):
        group = join(cluster.nodes[0])
        await group.when().online()
        await group.leave()
    await cluster.sleep(1)
    assert system.stats().actors == before
    # The last of them says that it has ended, whatever it is asked.
    with pytest.raises(GroupTerminated):
        await group.force_new_group()


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_calls_beyond_the_room_for_them_end_in_time(cluster: Cluster) -> None:
    groups = await form(cluster, 3, settings=GroupsConfig(pending_commands=100))
    follower = (leader_of(groups) + 1) % 3
    group = groups[follower]
    # Made in one turn, on time: one after the other they all find room.
    numbers = [[Put(f"c{call}", number) for number in range(60)] for call in range(4)]
    ranges = await asyncio.gather(*(group.execute_many(commands) for commands in numbers))
    assert [found[0] for found in ranges] == [1, 61, 121, 181]
    # Cut off: the first ones left, and are never answered; for the others there is no room.
    cluster.partition([follower])
    began = cluster.now
    calls = (group.execute_many(commands, timeout=1) for commands in numbers)
    async with asyncio.timeout(10):
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert cluster.now - began < 1.1
    assert all(isinstance(outcome, GroupOffline) for outcome in ended)
    assert [getattr(outcome, "may_take_effect", None) for outcome in ended] == [True, *[False] * 3]
