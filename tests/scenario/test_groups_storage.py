"""Groups with a durable log, and disks that lose, fill up and fail."""

import asyncio
from contextlib import suppress

import pytest

from mosaik_actors.errors import GroupOffline, GroupTerminated
from mosaik_actors.groups.config import GroupsConfig
from mosaik_actors.groups.machine.machine import Consistency
from mosaik_actors.groups.member.events import LeaderElected
from mosaik_actors.handles.groups import Group
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario

from .groups_machines import Get, Journal, Put, SavedJournal
from .groups_workload import (
    BOOTSTRAP_OF_3,
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
_LOOK_S = 0.02
CUTS_OFTEN = GroupsConfig(compact_entries=30, keep_entries=5)


def has_committed(group: Group) -> bool:
    """Return whether anything is committed in the history that a member follows."""
    metrics = group.metrics
    return metrics is not None and metrics.commit_index > 0


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_crashed_node_goes_on_where_it_was(cluster: Cluster) -> None:
    groups = await form(cluster, 3, is_durable=True)
    await write(groups[0], "a", range(20))
    crashed = (leader_of(groups) + 1) % 3
    other = groups[(crashed + 1) % 3]
    # Back in time, it is the voter it was.
    await cluster.crash(crashed)
    await write(other, "b", range(20), timeout=10)
    assert is_voter(other, cluster.nodes[crashed])
    await cluster.start(crashed)
    groups[crashed] = join_durably(cluster.nodes[crashed])
    await all_equal(cluster, groups)
    assert len(journal_of(groups[crashed])) == 40
    assert is_voter(other, cluster.nodes[crashed])


@scenario(nodes=3, seeds=range(6), **SETTINGS)
async def test_nothing_acknowledged_is_lost_when_all_crash_at_once(cluster: Cluster) -> None:
    groups = await form(cluster, 3, is_durable=True)
    done: list[tuple[str, int]] = []

    async def keep_writing(index: int) -> None:
        for number in range(10_000):
            await groups[index].execute(Put(f"c{index}", number))
            done.append((f"c{index}", number))

    writing = [asyncio.ensure_future(keep_writing(index)) for index in range(3)]
    await cluster.sleep(0.3 + cluster.seed * 0.0007)
    await cluster.crash(0, 1, 2)
    for task in writing:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    assert len(done) > 100
    await cluster.start(0, 1, 2)
    groups = [join_durably(node) for node in cluster.nodes]
    await all_equal(cluster, groups)
    journal = list(journal_of(groups[0]))
    assert len(set(journal)) == len(journal)
    assert set(done) <= set(journal)
    for index in range(3):
        numbers = [number for client, number in journal if client == f"c{index}"]
        assert numbers == list(range(len(numbers)))
    # The next acknowledged write comes after all of that.
    assert await groups[0].execute(Put("after", 0)) == len(journal) + 1


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_restarts_from_a_snapshot_lose_nothing_either(cluster: Cluster) -> None:
    options = {"settings": CUTS_OFTEN}
    groups = [join_durably(node, SavedJournal(), **options) for node in cluster.nodes]
    await all_online(groups)
    await cluster.until(lambda: len(voters_of(groups[0])) == 3)
    for number in range(60):
        await groups[number % 3].execute(Put("a", number))
    metrics = groups[0].metrics
    assert metrics is not None
    assert metrics.first_index > 30
    await cluster.crash(0, 1, 2)
    await cluster.start(0, 1, 2)
    groups = [join_durably(node, SavedJournal(), **options) for node in cluster.nodes]
    await all_equal(cluster, groups)
    assert journal_of(groups[1]) == [("a", number) for number in range(60)]
    # One that was away while the log was cut behind it gets a snapshot.
    away = (leader_of(groups) + 1) % 3
    await cluster.crash(away)
    for number in range(60, 120):
        await groups[leader_of(groups)].execute(Put("a", number))
    await cluster.start(away)
    groups[away] = join_durably(cluster.nodes[away], SavedJournal(), **options)
    await all_equal(cluster, groups)
    assert len(journal_of(groups[away])) == 120


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_group_begins_once_whatever_crashes_meanwhile(cluster: Cluster) -> None:
    # Prepare votes are saved before they are given: crashes at any moment do no harm.
    rng = cluster.randomness.branch("crashes")
    histories: set[bytes] = set()
    for _ in range(12):
        groups = [join_durably(node, consensus=BOOTSTRAP_OF_3) for node in cluster.nodes]
        await cluster.sleep(rng.uniform(0.0, 0.05))
        histories.update(group.history for group in groups if has_committed(group))
        await cluster.restart(rng.randrange(3))
        await cluster.sleep(rng.uniform(0.0, 0.05))
        await cluster.restart(0, 1, 2)
    groups = [join_durably(node, consensus=BOOTSTRAP_OF_3) for node in cluster.nodes]
    await all_equal(cluster, groups)
    assert len(histories | {groups[0].history}) == 1


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_node_with_a_full_disk_is_offline_until_there_is_room(cluster: Cluster) -> None:
    groups = await form(cluster, 3, is_durable=True)
    await write(groups[0], "a", range(5))
    full = (leader_of(groups) + 1) % 3
    cluster.nodes[full].disk.fill(0)
    # The others go on; it says why it does not.
    other = groups[leader_of(groups)]
    await write(other, "b", range(5))
    await groups[full].when().offline()
    assert "disk" in str(groups[full].why_offline)
    with pytest.raises(GroupOffline, match="disk"):
        await groups[full].execute(Put("c", 0), timeout=0.5)
    await cluster.sleep(5)
    # What it has can be looked at.
    assert (await groups[full].query(Get(), Consistency.WEAK)).result is not None
    cluster.nodes[full].disk.fill(None)
    await all_equal(cluster, groups)
    assert len([one for one in journal_of(groups[full]) if one[0] in "ab"]) == 10
    assert journal_of(groups[full]).count(("c", 0)) <= 1


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_leader_with_a_full_disk_is_replaced(cluster: Cluster) -> None:
    groups = await form(cluster, 3, is_durable=True)
    leader = leader_of(groups)
    others = [index for index in range(3) if index != leader]
    cluster.nodes[leader].disk.fill(0)
    # What it takes is answered all the same, when its followers have saved it, or in the end.
    await write(groups[others[0]], "a", range(5), timeout=10)
    await cluster.until(lambda: groups[others[0]].leader != cluster.nodes[leader].peer_id)
    cluster.nodes[leader].disk.fill(None)
    await all_equal(cluster, groups)


async def watch_leaders(cluster: Cluster, groups: list[Group], for_s: float) -> dict[bytes, int]:
    """Look all the time; return who claimed to lead while another did so, and how often."""
    together: dict[bytes, int] = {}
    terms: dict[int, bytes] = {}
    until_s = cluster.now + for_s
    while cluster.now < until_s:
        leading = [group for group in groups if group.is_leader]
        for group in leading:
            metrics = group.metrics
            assert metrics is not None
            assert metrics.role == "leader"
            assert group.when().is_leader().is_met
            claimed = bytes(group.leader or b"")
            assert terms.setdefault(metrics.term, claimed) == claimed
            if len(leading) > 1:
                together[claimed] = together.get(claimed, 0) + 1
        await cluster.sleep(_LOOK_S)
    return together


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_leader_that_cannot_write_or_reach_a_majority_claims_to_lead_no_more(
    cluster: Cluster,
) -> None:
    """So what only a leader may do is not done twice."""
    groups = await form(cluster, 3, is_durable=True)
    timeout_s = groups[0].config.election_timeout
    for fault in ("full", "hanging", "cut off"):
        leader = leader_of(groups)
        node, group = cluster.nodes[leader], groups[leader]
        told: list[object] = []
        reading = asyncio.ensure_future(collect(group, told))
        others = [other for other in groups if other is not group]
        await cluster.sleep(0.1)
        match fault:
            case "full":
                node.fill_disk()
            case "hanging":
                node.slow_disk(6.0)
            case _:
                cluster.partition(leader)
        with suppress(GroupOffline):
            await group.feed(Put(fault, 0), timeout=0.2)
        together = await watch_leaders(cluster, groups, 5.0)
        # Another one leads and takes commands; the old one says that it does not.
        assert not group.is_leader
        assert not group.is_online
        assert any(isinstance(e, LeaderElected) and e.leader is None for e in told), fault
        assert sum(other.is_leader for other in others) == 1
        await write(others[0], fault, [1])
        # Both claimed for no longer than it takes to notice.
        assert sum(together.values()) * _LOOK_S < timeout_s
        match fault:
            case "full":
                node.fill_disk(None)
            case "hanging":
                node.slow_disk()
            case _:
                cluster.heal()
        await all_equal(cluster, groups)
        reading.cancel()


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_lone_voter_leads_again_as_soon_as_there_is_room(cluster: Cluster) -> None:
    [group] = await form(cluster, 1, is_durable=True)
    cluster.nodes[0].fill_disk()
    await group.feed(Put("a", 0))
    await group.when().offline()
    assert not group.is_leader
    assert group.leader is None
    cluster.nodes[0].fill_disk(None)
    await group.when().is_leader()
    await cluster.until(lambda: journal_of(group) == [("a", 0)])


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_disks_that_are_full_everywhere_stop_the_group_and_lose_nothing(
    cluster: Cluster,
) -> None:
    groups = await form(cluster, 3, is_durable=True)
    await write(groups[0], "a", range(5))
    for node in cluster.nodes:
        node.disk.fill(0)
    with pytest.raises(GroupOffline) as caught:
        await groups[0].execute(Put("b", 0), timeout=5)
    assert caught.value.value == Put("b", 0)
    for group in groups:
        await group.when().offline()
    # They crash while there is no room, and cannot even start.
    await cluster.crash(0)
    await cluster.start(0)
    groups[0] = join_durably(cluster.nodes[0])
    with pytest.raises(GroupTerminated, match="space"):
        await groups[0].when().online()
    for node in cluster.nodes:
        node.disk.fill(None)
    groups[0] = join_durably(cluster.nodes[0])
    await all_equal(cluster, groups)
    assert journal_of(groups[0])[:5] == [("a", number) for number in range(5)]


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_disk_that_fails_ends_the_member_and_says_why(cluster: Cluster) -> None:
    groups = await form(cluster, 3, is_durable=True)
    failing = (leader_of(groups) + 1) % 3
    cluster.nodes[failing].disk.fail_syncs(1)
    await write(groups[leader_of(groups)], "a", range(5))
    with pytest.raises(GroupTerminated) as caught:
        await groups[failing].execute(Put("b", 0))
    assert "error" in str(caught.value).lower()
    # Nobody knows what the disk has: it joins again, and reads what is there.
    groups[failing] = join_durably(cluster.nodes[failing])
    await all_equal(cluster, groups)
    assert len(journal_of(groups[failing])) == 5


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_durable_member_that_left_may_come_back_with_its_log(cluster: Cluster) -> None:
    groups = await form(cluster, 3, is_durable=True)
    await write(groups[0], "a", range(10))
    await groups[1].leave()
    assert not is_voter(groups[0], cluster.nodes[1])
    await write(groups[0], "b", range(10))
    groups[1] = join_durably(cluster.nodes[1])
    await all_equal(cluster, groups)
    assert len(journal_of(groups[1])) == 20
    await cluster.until(lambda: len(voters_of(groups[0])) == 3, timeout=20)


@scenario(nodes=4, seeds=SEEDS, **SETTINGS)
async def test_durable_and_forgetful_members_may_be_mixed(cluster: Cluster) -> None:
    groups = [
        join_durably(node) if node.index < 2 else join(node, Journal()) for node in cluster.nodes
    ]
    await all_online(groups)
    await write(groups[3], "a", range(10))
    durable = {member.peer_id: member.is_durable for member in groups[0].members}
    assert [durable[node.peer_id] for node in cluster.nodes] == [True, True, False, False]
    await all_equal(cluster, groups)


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_slow_disk_of_one_does_not_slow_the_group(cluster: Cluster) -> None:
    groups = await form(cluster, 3, is_durable=True)
    leader = leader_of(groups)
    slow = (leader + 1) % 3
    cluster.nodes[slow].slow_disk(0.5)
    began = cluster.now
    await write(groups[leader], "a", range(50))
    assert cluster.now - began < 1.0
    # It comes after, in large batches, and is not taken for dead.
    await cluster.sleep(3)
    assert len(journal_of(groups[slow])) == 50
    assert groups[slow].leader == cluster.nodes[leader].peer_id
    # When two of three disks are slow, that is how long a command takes.
    cluster.nodes[(leader + 2) % 3].slow_disk(0.3)
    began = cluster.now
    await write(groups[leader], "b", range(3))
    assert 0.85 < cluster.now - began < 2.0


@scenario(nodes=3, seeds=range(10), **SETTINGS)
async def test_crashes_in_the_midst_of_saving_lose_nothing_acknowledged(cluster: Cluster) -> None:
    groups = await form(cluster, 3, is_durable=True)
    rng = cluster.randomness.branch("moments")
    acknowledged: list[tuple[str, int]] = []

    async def keep_writing(index: int, run: int) -> None:
        for number in range(10_000):
            await groups[index].execute(Put(f"c{index} {run}", number), timeout=30)
            acknowledged.append((f"c{index} {run}", number))

    for run in range(3):
        for node in cluster.nodes:
            node.slow_disk(rng.uniform(0.005, 0.05))
        writing = [asyncio.ensure_future(keep_writing(index, run)) for index in range(3)]
        await cluster.sleep(rng.uniform(0.2, 0.6))
        await cluster.crash(0, 1, 2)
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        await cluster.start(0, 1, 2)
        groups[:] = [join_durably(node) for node in cluster.nodes]
        await all_equal(cluster, groups)
    journal = journal_of(groups[0])
    assert len(set(journal)) == len(journal)
    assert set(acknowledged) <= set(journal)
    assert len(acknowledged) > 20


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_group_whose_nodes_all_stop_goes_on_when_they_start(cluster: Cluster) -> None:
    groups = await form(cluster, 3, is_durable=True)
    await write(groups[0], "a", range(10))
    for _ in range(3):
        # One after the other, as in an upgrade that takes everything down.
        rng = cluster.randomness.branch("order")
        for index in rng.sample(range(3), 3):
            await cluster.stop(index)
        for index in rng.sample(range(3), 3):
            await cluster.start(index)
        groups = [join_durably(node) for node in cluster.nodes]
        await all_equal(cluster, groups)
        assert journal_of(groups[0]) == [("a", number) for number in range(10)]
        await cluster.until(lambda: len(voters_of(groups[0])) == 3)  # noqa: B023
