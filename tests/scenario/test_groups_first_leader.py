"""The first leader crashes while the members that come after it are being made voters."""

from mosaik_actors.handles.groups import Group
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario

from .groups_machines import Put
from .groups_workload import SETTINGS, all_equal, all_online, join, join_durably, voters_of, write


async def begin(cluster: Cluster, *, is_durable: bool) -> list[Group]:
    """Have the first member begin, and the others join at random times soon after."""
    joining = join_durably if is_durable else join
    rng = cluster.randomness.branch("joining")
    groups = [joining(cluster.nodes[0])]
    await groups[0].when().online()
    for node in cluster.nodes[1:]:
        await cluster.sleep(rng.choice([0.0, rng.uniform(0.0, 0.5)]))
        groups.append(joining(node))
    return groups


@scenario(nodes=3, seeds=range(10), **SETTINGS)
async def test_group_outlives_its_first_leader_as_soon_as_all_are_online(cluster: Cluster) -> None:
    groups = await begin(cluster, is_durable=cluster.seed % 2 == 1)
    await all_online(groups)
    for group in groups[1:]:
        assert any(member.is_voter for member in group.members)
    await cluster.crash(0)
    await write(groups[1], "a", range(3), timeout=10)
    await all_equal(cluster, groups[1:])


@scenario(nodes=3, seeds=range(8), **SETTINGS)
async def test_group_outlives_its_first_leader_as_soon_as_that_shows_three_voters(
    cluster: Cluster,
) -> None:
    groups = await begin(cluster, is_durable=False)
    first = groups[0]

    was_changing = False
    while len(voters_of(first)) < 3:
        # What is in the log only is shown as that, and is not counted among the voters.
        changing = [member for member in first.members if member.is_changing]
        was_changing = was_changing or any(not member.is_voter for member in changing)
        await cluster.sleep(0.001)
    assert was_changing
    await cluster.crash(0)
    await write(groups[1], "a", range(3), timeout=10)
    await all_equal(cluster, groups[1:])


@scenario(nodes=5, seeds=range(4), **SETTINGS)
async def test_five_members_that_are_all_online_bear_two_crashes(cluster: Cluster) -> None:
    groups = await begin(cluster, is_durable=False)
    await all_online(groups)
    await cluster.crash(0, 1)
    await write(groups[2], "a", range(3), timeout=10)
    await all_equal(cluster, groups[2:])


@scenario(nodes=4, seeds=range(4), **SETTINGS)
async def test_member_that_is_not_to_vote_is_online_all_the_same(cluster: Cluster) -> None:
    groups = await begin(cluster, is_durable=False)
    await all_online(groups)
    assert await groups[3].execute(Put("a", 0)) == 1
    for group in groups:
        assert len(voters_of(group)) == 3
