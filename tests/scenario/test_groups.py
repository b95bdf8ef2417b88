"""Groups that form, take members in and lose them: one script for each."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from mosaik_actors.errors import ConfigError, GroupOffline, QueryOffline
from mosaik_actors.groups.config import ConsensusConfig, GroupsConfig
from mosaik_actors.groups.machine.machine import Consistency, LeadershipPreference
from mosaik_actors.groups.member.events import MembersChanged
from mosaik_actors.handles.groups import Group
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario

from .groups_machines import Get, Journal, Put
from .groups_workload import (
    BOOTSTRAP_OF_3,
    KEY,
    SETTINGS,
    all_equal,
    all_online,
    collect,
    form,
    is_voter,
    join,
    join_durably,
    journal_of,
    leader_of,
    voters_of,
    write,
)

SEEDS = range(3)


@scenario(nodes=2, seeds=[0], **SETTINGS)
async def test_a_member_says_how_many_are_missing_for_a_history_to_begin(cluster: Cluster) -> None:
    first, _ = (join(node, consensus=BOOTSTRAP_OF_3) for node in cluster.nodes)
    missing = "no history yet: 2 of the 3 members that begin one are here (initial_voters)"
    await cluster.until(lambda: first.why_offline == missing)
    with pytest.raises(GroupOffline, match="2 of the 3 members"):
        await first.execute(Put("a", 1))


@scenario(nodes=1, seeds=[0], **SETTINGS)
async def test_a_path_is_no_storage(cluster: Cluster) -> None:
    for path in ("data/group.log", Path("data/group.log")):
        with pytest.raises(
            ConfigError, match=r"expected SqliteLog\('data/group.log'\) or InMemory"
        ):
            join(cluster.nodes[0], storage=path)


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_lone_node_is_a_group(cluster: Cluster) -> None:
    # It looks for others for `bootstrap_delay`, then begins by itself.
    group = join(cluster.nodes[0])
    assert group.why_offline == "starting"
    await group.when().online()
    assert cluster.now <= 1.5
    assert group.is_leader
    # And does everything that a group does.
    assert await write(group, "a", range(3)) == 3
    answer = await group.query(Get(), Consistency.STRONG)
    assert (answer.result, answer.at_position) == (2, 3)
    assert group.committed == group.log_position == 3


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_three_nodes_form_one_group(cluster: Cluster) -> None:
    groups = [join(node) for node in cluster.nodes]
    await all_online(groups)
    assert cluster.now <= 2.5
    # One history, one leader, three voters.
    await cluster.until(lambda: all(len(voters_of(group)) == 3 for group in groups))
    assert len({group.history for group in groups}) == 1
    assert [group.is_leader for group in groups].count(True) == 1
    # Commands of any member are applied by all of them, at the same positions.
    for number, group in enumerate(groups):
        assert await group.execute(Put("a", number)) == number + 1
    await all_equal(cluster, groups)
    assert journal_of(groups[0]) == [("a", 0), ("a", 1), ("a", 2)]
    # Everybody knows everybody, and the bonds between the others.
    for group in groups:
        assert len(group.members) == 3
        assert all(member.is_bonded for member in group.members)
    await cluster.until(lambda: all(len(group.bonds) == 3 for group in groups))


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_joiner_is_taken_in_and_promoted(cluster: Cluster) -> None:
    first = join(cluster.nodes[0])
    await first.when().online()
    await write(first, "a", range(50))
    # Two more: they catch up, then vote, both at once, for two would bear no more than one.
    others = [join(node) for node in cluster.nodes[1:]]
    await all_online(others)
    assert [len(journal_of(group)) for group in others] == [50, 50]
    assert {group.history for group in others} == {first.history}
    await cluster.until(lambda: len(voters_of(first)) == 3)
    # The state went to them without replacing the leader.
    assert first.is_leader


@scenario(nodes=3, seeds=range(10), **SETTINGS)
async def test_killed_leader_is_replaced_in_time(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    await write(groups[0], "a", range(5))
    leader = leader_of(groups)
    left = [group for index, group in enumerate(groups) if index != leader]
    await cluster.crash(leader)
    killed = cluster.now
    await left[0].execute(Put("b", 0), timeout=10)
    assert cluster.now - killed <= 1.5 * left[0].config.election_timeout
    # Nothing acknowledged is lost.
    await all_equal(cluster, left)
    assert journal_of(left[0]) == [*(("a", number) for number in range(5)), ("b", 0)]
    metrics = left[0].metrics
    assert metrics is not None
    assert metrics.elections >= 2
    # What is told is how long the leader was silent, not how long it was looked for.
    silent_s = metrics.last_election_s
    assert 0.9 * left[0].config.election_timeout < silent_s < cluster.now - killed + 0.3


async def longest_gap_while(cluster: Cluster, index: int, groups: list[Group]) -> float:
    """Stop a node while others write; return the longest time without a commit."""
    group = next(group for number, group in enumerate(groups) if number != index)
    times = [cluster.now]

    async def keep_writing() -> None:
        number = 0
        while True:
            await group.execute(Put("gap", number := number + 1), timeout=10)
            times.append(cluster.now)
            await asyncio.sleep(0.005)

    writing = asyncio.ensure_future(keep_writing())
    await cluster.sleep(0.5)
    await cluster.stop(index)
    await cluster.sleep(0.5)
    writing.cancel()
    assert len(times) > 50
    return max(later - earlier for earlier, later in pairwise(times))


@scenario(nodes=3, seeds=range(5), **SETTINGS)
async def test_leader_that_stops_leaves_no_gap(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    assert await longest_gap_while(cluster, leader_of(groups), groups) <= 0.1


@scenario(nodes=3, seeds=range(5), **SETTINGS)
async def test_durable_leader_that_stops_leaves_no_gap_and_comes_back(cluster: Cluster) -> None:
    groups = await form(cluster, 3, is_durable=True)
    leader = leader_of(groups)
    assert await longest_gap_while(cluster, leader, groups) <= 0.1
    # It comes back with its log, so it has stayed a voter.
    left = [group for index, group in enumerate(groups) if index != leader]
    assert all(is_voter(group, cluster.nodes[leader]) for group in left)
    await cluster.start(leader)
    groups[leader] = join_durably(cluster.nodes[leader])
    await all_equal(cluster, groups)
    await cluster.until(lambda: all(len(voters_of(group)) == 3 for group in groups))


@scenario(nodes=3, seeds=range(5), **SETTINGS)
async def test_durable_members_that_stop_one_by_one_stay_voters(cluster: Cluster) -> None:
    """Any two of the three can go on; nobody has to wait for the one that stopped last."""
    groups = await form(cluster, 3, is_durable=True)
    await write(groups[0], "a", range(5))
    await cluster.stop(0)
    await cluster.stop(1)
    await cluster.stop(2)
    await cluster.start(0, 1)
    first, second = (join_durably(cluster.nodes[index]) for index in (0, 1))
    await all_online([first, second])
    await write(second, "b", range(5))
    assert len(voters_of(first)) == 3


@scenario(nodes=3, seeds=range(5), **SETTINGS)
async def test_follower_that_stops_leaves_no_gap(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    follower = (leader_of(groups) + 1) % 3
    assert await longest_gap_while(cluster, follower, groups) <= 0.1
    # It was removed before it went: it counts for no quorum any more.
    left = [group for index, group in enumerate(groups) if index != follower]
    assert not is_voter(left[0], cluster.nodes[follower])


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_all_leave_one_after_the_other(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    for number, group in enumerate(groups):
        await group.execute(Put("a", number))
        began = cluster.now
        await group.leave()
        assert cluster.now - began < 1.0
    # Whoever comes next begins anew.
    group = join(cluster.nodes[0])
    await group.when().online()
    assert journal_of(group) == []


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_all_leave_at_once(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    began = cluster.now
    async with asyncio.timeout(10):
        await asyncio.gather(*(group.leave() for group in groups))
    assert cluster.now - began <= 3.0


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_minority_goes_offline_with_the_commands(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    leader = leader_of(groups)
    others = [index for index in range(3) if index != leader]
    await write(groups[leader], "a", range(3))
    cluster.partition([leader], others)
    # What the old leader takes now reaches its own log only: it may take effect or not.
    early = Put("early", 0)
    with pytest.raises(GroupOffline) as caught:
        await groups[leader].execute(early)
    assert caught.value.value == early
    assert caught.value.may_take_effect
    # Later it knows that it leads nobody, and keeps what comes: that never takes effect.
    await groups[leader].when().offline()
    late = [Put("late", 0), Put("late", 1)]
    with pytest.raises(GroupOffline) as caught:
        await groups[leader].execute_many(late)
    assert caught.value.value == late
    assert not caught.value.may_take_effect
    assert "majority" in caught.value.reason
    with pytest.raises(QueryOffline):
        await groups[leader].query(Get(), Consistency.STRONG)
    # A weak query still shows what was.
    assert (await groups[leader].query(Get(), Consistency.WEAK)).result == 2
    # The majority goes on.
    await groups[others[0]].when().online()
    await write(groups[others[0]], "b", range(3), timeout=10)
    # Healed, everybody has what was acknowledged, once; of the rest only what might be there.
    cluster.heal()
    await all_equal(cluster, groups)
    journal = journal_of(groups[0])
    assert [one for one in journal if one[0] in "ab"] == [
        (client, number) for client in "ab" for number in range(3)
    ]
    assert journal.count(("early", 0)) <= 1
    assert all(client != "late" for client, _ in journal)


@scenario(nodes=5, seeds=SEEDS, **SETTINGS)
async def test_healed_partition_loses_nothing(cluster: Cluster) -> None:
    groups = await form(cluster, 5)
    done: list[tuple[str, int]] = []

    async def keep_writing(index: int) -> None:
        for number in range(1000):
            try:
                await groups[index].execute(Put(f"c{index}", number), timeout=1)
                done.append((f"c{index}", number))
            except GroupOffline:
                pass
            await asyncio.sleep(0.05)

    writing = [asyncio.ensure_future(keep_writing(index)) for index in range(5)]
    # Twice, with the leader in the minority the first time.
    for minority in ([leader_of(groups), (leader_of(groups) + 1) % 5], [0, 1]):
        await cluster.sleep(0.5)
        cluster.partition(minority)
        await cluster.sleep(4)
        cluster.heal()
        await all_online(groups)
    await cluster.sleep(1)
    for task in writing:
        task.cancel()
    await all_equal(cluster, groups)
    journal = journal_of(groups[0])
    assert len(set(journal)) == len(journal)
    assert set(done) <= set(journal)
    assert len(done) > 300


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_observer_follows_and_never_votes(cluster: Cluster) -> None:
    observer = join(cluster.nodes[0], Journal(LeadershipPreference.OBSERVER))
    # Alone it begins nothing.
    await cluster.sleep(5)
    assert not observer.is_online
    others = [join(node) for node in cluster.nodes[1:]]
    await all_online([observer, *others])
    # It gives commands and gets all of them, and counts for no quorum.
    await write(observer, "a", range(5))
    await all_equal(cluster, [observer, *others])
    await cluster.sleep(10)
    assert not is_voter(others[0], cluster.nodes[0])
    role = {member.peer_id: member.role for member in others[0].members}
    assert role[cluster.nodes[0].peer_id] == "observer"
    # Nor does it take over when all others are gone.
    await cluster.crash(1, 2)
    await observer.when().offline()
    await cluster.sleep(20)
    assert not observer.is_leader


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_observer_that_is_joined_with_another_machine_votes_from_then_on(
    cluster: Cluster,
) -> None:
    others = [join(node) for node in cluster.nodes[1:]]
    observer = join(cluster.nodes[0], Journal(LeadershipPreference.OBSERVER))
    await all_online([observer, *others])
    await write(others[0], "a", range(3))
    await cluster.sleep(3)
    assert len(voters_of(observer)) == 1
    same = join(cluster.nodes[0])
    assert same is observer
    await cluster.until(lambda: len(voters_of(observer)) == 3)
    assert cluster.nodes[0].peer_id in voters_of(observer)
    await cluster.crash(1)  # which three voters survive
    await write(observer, "b", range(3))
    # Once more changes nothing, nor does an observer's machine.
    join(cluster.nodes[0], Journal(LeadershipPreference.OBSERVER))
    await cluster.sleep(1)
    assert cluster.nodes[0].peer_id in voters_of(observer)


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_observers_that_change_their_minds_begin_a_history(cluster: Cluster) -> None:
    groups = [
        join(node, Journal(LeadershipPreference.OBSERVER), consensus=BOOTSTRAP_OF_3)
        for node in cluster.nodes
    ]
    await cluster.sleep(10)
    assert not any(group.is_online for group in groups)
    for node in cluster.nodes:
        join(node, consensus=BOOTSTRAP_OF_3)
    await all_online(groups)
    assert len(voters_of(groups[0])) == 3
    await write(groups[0], "a", range(3))


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_reluctant_leader_hands_over(cluster: Cluster) -> None:
    reluctant = join(cluster.nodes[0], Journal(LeadershipPreference.reluctant()))
    await reluctant.when().online()
    assert reluctant.is_leader
    # As soon as another one votes, that one leads.
    others = [join(node) for node in cluster.nodes[1:]]
    await all_online(others)
    await cluster.until(lambda: any(group.is_leader for group in others), timeout=10)
    # And it stays so, also after a crash of the new leader: the other one is preferred.
    await write(reluctant, "a", range(3))
    leader = 1 + leader_of(others)
    await cluster.crash(leader)
    left = others[2 - leader]
    await write(left, "b", range(3), timeout=10)
    await cluster.until(lambda: left.is_leader, timeout=20)


@scenario(nodes=4, seeds=SEEDS, **SETTINGS)
async def test_dead_voter_is_replaced_by_a_learner(cluster: Cluster) -> None:
    groups = await form(cluster, 4)
    spare = next(
        index for index in range(4) if not is_voter(groups[leader_of(groups)], cluster.nodes[index])
    )
    leader = leader_of(groups)
    dead = next(index for index in range(4) if index not in (spare, leader))
    await cluster.crash(dead)
    await cluster.until(
        lambda: (
            is_voter(groups[leader], cluster.nodes[spare])
            and not is_voter(groups[leader], cluster.nodes[dead])
            and len(voters_of(groups[leader])) == 3
        ),
        timeout=20,
    )
    await write(groups[leader], "a", range(3))


@scenario(nodes=5, seeds=SEEDS, **SETTINGS)
async def test_dead_voter_of_five_is_removed(cluster: Cluster) -> None:
    groups = await form(cluster, 5)
    leader = leader_of(groups)
    dead = (leader + 1) % 5
    await cluster.crash(dead)
    # Four are left, which bear no more failures than three: one more stops voting.
    await cluster.until(lambda: len(voters_of(groups[leader])) == 3, timeout=20)
    assert not is_voter(groups[leader], cluster.nodes[dead])
    # Two more may die now, one after the other, and the group goes on.
    for client in "ab":
        alive = [groups[index] for index in cluster.running]
        await cluster.until(
            lambda: all(len(voters_of(group)) == 3 for group in alive),  # noqa: B023
            timeout=20,
        )
        await cluster.sleep(0.5)  # what they see may not be committed yet
        victim = next(
            node
            for node in cluster.nodes
            if node.is_running and node.index != leader and is_voter(groups[leader], node)
        )
        await cluster.crash(victim.index)
        await write(groups[leader], client, range(3), timeout=10)
        # The fourth takes the place of the first victim; the second one has no substitute,
        # and stays, for two voters would bear no failure at all.
        is_replaced = client == "a"
        await cluster.until(lambda: is_voter(groups[leader], victim) != is_replaced)  # noqa: B023
    await cluster.sleep(10)
    assert len(voters_of(groups[leader])) == 3


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_voter_without_its_memory_is_taken_in_anew(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    await write(groups[0], "a", range(10))
    lost = (leader_of(groups) + 1) % 3
    others = [group for index, group in enumerate(groups) if index != lost]
    changes: list[object] = []
    watching = asyncio.ensure_future(collect(others[0], changes))
    # The same key, but nothing in memory: it may have voted, and does not know.
    await cluster.restart(lost)
    again = join(cluster.nodes[lost])
    await again.when().online()

    def counts() -> list[int]:
        return [len(event.voters) for event in changes if isinstance(event, MembersChanged)]

    # It was a voter, then not one, then one again.
    await cluster.until(lambda: 2 in counts() and counts()[-1] == 3, timeout=20)
    watching.cancel()
    await all_equal(cluster, [again, *others])
    assert len(journal_of(again)) == 10


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_one_who_left_may_come_back(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    await write(groups[1], "a", range(3))
    for _ in range(3):
        await groups[1].leave()
        assert "left" in str(groups[1].why_offline)
        await groups[0].execute(Put("b", 0))
        groups[1] = join(cluster.nodes[1])
        await groups[1].when().online()
    await cluster.until(lambda: len(voters_of(groups[0])) == 3, timeout=20)
    await all_equal(cluster, groups)
    assert len(journal_of(groups[1])) == 6


@scenario(nodes=5, seeds=SEEDS, **SETTINGS)
async def test_initial_voters_never_begin_two_histories(cluster: Cluster) -> None:
    # Three and two: only one side can gather three prepare votes.
    cluster.partition([0, 1, 2], [3, 4])
    groups = [join(node, consensus=BOOTSTRAP_OF_3) for node in cluster.nodes]
    await all_online(groups[:3])
    await write(groups[0], "a", range(3))
    await cluster.sleep(10)
    assert not groups[3].is_online
    assert not groups[4].is_online
    # Healed, the two join what there is.
    cluster.heal()
    await all_online(groups)
    assert len({group.history for group in groups}) == 1
    await all_equal(cluster, groups)


@scenario(nodes=5, seeds=range(5), **SETTINGS)
async def test_initial_voters_wait_for_a_majority(cluster: Cluster) -> None:
    # No side has three: nobody begins.
    cluster.partition([0, 1], [2, 3], [4])
    groups = [join(node, consensus=BOOTSTRAP_OF_3) for node in cluster.nodes]
    await cluster.sleep(10)
    assert not any(group.is_online for group in groups)
    cluster.heal()
    await all_online(groups)
    assert len({group.history for group in groups}) == 1


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_new_group_by_force_when_the_majority_is_gone(cluster: Cluster) -> None:
    groups = await form(cluster, 3)
    await write(groups[0], "a", range(10))
    await all_equal(cluster, groups)
    left = (leader_of(groups) + 1) % 3
    group = groups[left]
    gone = [index for index in range(3) if index != left]
    with pytest.raises(ValueError, match="online"):
        await group.force_new_group()
    await cluster.crash(*gone)
    await group.when().offline()
    before = group.history
    await group.force_new_group()
    await group.when().online()
    # Another history, from the same state.
    assert group.history != before
    assert journal_of(group) == [("a", number) for number in range(10)]
    await write(group, "b", range(3))
    # Others join it as they would any.
    await cluster.start(*gone)
    others = [join(cluster.nodes[index]) for index in gone]
    await all_online(others)
    await all_equal(cluster, [group, *others])
    assert len(journal_of(others[0])) == 13
    await cluster.until(lambda: len(voters_of(group)) == 3, timeout=20)


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_two_groups_on_one_node_have_nothing_to_do_with_each_other(cluster: Cluster) -> None:
    one = [join(node) for node in cluster.nodes]
    two = [node.net.groups.join("another key", Journal()) for node in cluster.nodes]
    await all_online([*one, *two])
    assert one[0].id != two[0].id
    await write(one[0], "a", range(3))
    await write(two[1], "b", range(4))
    await all_equal(cluster, one)
    await all_equal(cluster, two)
    assert {client for client, _ in journal_of(one[2])} == {"a"}
    assert {client for client, _ in journal_of(two[2])} == {"b"}
    # One ends, the other goes on.
    await one[0].leave()
    await write(two[0], "c", range(2))
    # Joining twice gives the same handle.
    assert join(cluster.nodes[1]) is one[1]
    assert [len(node.net.groups) for node in cluster.nodes] == [1, 2, 2]


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_other_keys_and_settings_never_meet(cluster: Cluster) -> None:
    class Other(Journal):
        signature = "another machine"

    groups = [
        cluster.net(0).groups.join(KEY, Journal()),
        cluster.net(1).groups.join("a wrong key", Journal()),
        cluster.net(2).groups.join(KEY, Journal(), consensus=ConsensusConfig(max_voters=3)),
        cluster.net(0).groups.join(KEY, Other()),
    ]
    await all_online(groups)
    await cluster.sleep(5)
    assert len({group.id for group in groups}) == 4
    assert all(len(group.members) == 1 for group in groups)


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_own_settings_need_not_agree(cluster: Cluster) -> None:
    groups = [
        join(node, settings=GroupsConfig(replace_after=5 + node.index)) for node in cluster.nodes
    ]
    await all_online(groups)
    assert len({group.history for group in groups}) == 1
