"""What people and machines do to groups that nobody planned for."""

import pytest

from mosaik_actors.errors import GroupTerminated
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
    system = cluster.nodes[0].net._node.system
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
