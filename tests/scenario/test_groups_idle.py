"""Groups with nothing to do: they say next to nothing, and are as quick as ever when it counts."""

from collections.abc import Sequence

from mosaik_actors import GroupKey
from mosaik_actors.groups.config import ConsensusConfig
from mosaik_actors.groups.machine.machine import Consistency
from mosaik_actors.handles.groups import Group
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario
from mosaik_actors.testing.simlog import SimLog

from .groups_machines import Get, Journal, Put
from .groups_workload import SETTINGS, all_online, voters_of

COUNT = 20
CONSENSUS = ConsensusConfig()
# A lost heartbeat's interval, the longest timeout, and one election after a split vote.
FAILOVER_S = CONSENSUS.election_timeout + CONSENSUS.election_timeout_jitter + 1.0

Members = list[list[Group]]  # by group, then by node


def join(cluster: Cluster, number: int, node: int) -> Group:
    """Join one of the groups on a node that runs, with a log."""
    sim_node = cluster.nodes[node]
    log = SimLog(sim_node.disk, f"group {number}")
    return sim_node.net.groups.join(GroupKey(f"idle {number}"), Journal(), storage=log)


def raft_of(group: Group) -> object:
    """Return the core of a member, to look whether it is quiesced."""
    member = group._state.member
    assert member is not None
    assert member.history is not None
    return member.history.raft


def is_quiesced(members: Sequence[Group]) -> bool:
    """Return whether the leader needs no heartbeats, and the others none of it."""
    return sum(raft_of(group).is_quiesced for group in members) == 1 and all(  # type: ignore[attr-defined]
        group.is_leader or raft_of(group).role.liveness is not None  # type: ignore[attr-defined]
        for group in members
    )


async def form(cluster: Cluster, count: int) -> Members:
    """Begin groups of which all three nodes are voters, and wait until all are quiesced."""
    members = [[join(cluster, number, node) for node in range(3)] for number in range(count)]
    await all_online([group for groups in members for group in groups])
    await cluster.until(
        lambda: all(len(voters_of(group)) == 3 for groups in members for group in groups)
    )
    await cluster.until(lambda: all(map(is_quiesced, members)), what="quiet")
    return members


def leaders(members: Members, nodes: Sequence[int]) -> list[int | None]:
    """Return which of these nodes leads each group."""
    return [next((node for node in nodes if groups[node].is_leader), None) for groups in members]


def busiest(members: Members) -> int:
    """Return the node that leads most groups."""
    led = leaders(members, range(3))
    return max(range(3), key=led.count)


async def lead_without(cluster: Cluster, members: Members, lost: int) -> float:
    """Wait until others lead all groups that a node led, and return how long that took."""
    began, others = cluster.now, [node for node in range(3) if node != lost]
    await cluster.until(lambda: None not in leaders(members, others), what="leaders of all")
    return cluster.now - began


@scenario(nodes=3, seeds=(0,), **SETTINGS)
async def test_leaders_of_quiesced_groups_that_die_are_replaced_in_time(cluster: Cluster) -> None:
    members = await form(cluster, COUNT)
    # They stay quiet, in the same terms, for as long as nothing happens.
    terms = [[raft_of(group).term for group in groups] for groups in members]  # type: ignore[attr-defined]
    await cluster.sleep(12)
    assert terms == [[raft_of(group).term for group in groups] for groups in members]  # type: ignore[attr-defined]
    # One node dies without a word: all of its groups have a new leader in the time it took before.
    lost = busiest(members)
    led = leaders(members, range(3)).count(lost)
    assert led >= COUNT / 3
    await cluster.crash(lost)
    assert await lead_without(cluster, members, lost) <= FAILOVER_S
    # It comes back at once, with what it had, and takes part again.
    await cluster.restart(lost)
    for number, groups in enumerate(members):
        groups[lost] = join(cluster, number, lost)
        await groups[lost - 1].execute(Put("a", number))
    await all_online([group for groups in members for group in groups])
    await cluster.until(lambda: all(map(is_quiesced, members)), what="quiet again")
    for groups in members:
        answer = await groups[lost].query(Get(), Consistency.STRONG)
        assert answer.at_position == 1


@scenario(nodes=3, seeds=(0,), **SETTINGS)
async def test_quiesced_leader_that_is_cut_off_is_replaced_and_steps_down(
    cluster: Cluster,
) -> None:
    members = await form(cluster, 3)
    await cluster.sleep(7)
    lost = busiest(members)
    cluster.partition(lost)
    assert await lead_without(cluster, members, lost) <= FAILOVER_S
    assert lost not in leaders(members, [lost])
    cluster.heal()
    await cluster.until(lambda: all(map(is_quiesced, members)), what="quiet again")


@scenario(nodes=3, seeds=(0,), **SETTINGS)
async def test_one_way_cut_of_a_quiesced_group_is_noticed(cluster: Cluster) -> None:
    members = await form(cluster, 2)
    lost = busiest(members)
    others = [node for node in range(3) if node != lost]
    # It hears the others, but they hear nothing of it.
    for node in others:
        cluster.cut(lost, node)
    assert await lead_without(cluster, members, lost) <= FAILOVER_S
    cluster.heal()
    await cluster.until(lambda: all(map(is_quiesced, members)), what="quiet again")


@scenario(nodes=3, seeds=(0,), **SETTINGS)
async def test_leader_that_restarts_quickly_is_not_taken_for_the_one_before(
    cluster: Cluster,
) -> None:
    members = await form(cluster, 3)
    await cluster.sleep(7)
    lost = busiest(members)
    led = [number for number, node in enumerate(leaders(members, range(3))) if node == lost]
    began = cluster.now
    await cluster.crash(lost)
    await cluster.start(lost)
    for number, groups in enumerate(members):
        groups[lost] = join(cluster, number, lost)
    # Nobody takes the life of its new run for that of the leader it was.
    everywhere = range(3)
    await cluster.until(lambda: None not in leaders(members, everywhere))
    assert cluster.now - began <= FAILOVER_S
    for number in led:
        assert await members[number][lost].execute(Put("a", 1)) == 1
    await cluster.until(lambda: all(map(is_quiesced, members)), what="quiet again")


@scenario(nodes=3, seeds=(0,), **SETTINGS)
async def test_paused_leader_of_a_quiesced_group_is_replaced(cluster: Cluster) -> None:
    members = await form(cluster, 2)
    await cluster.sleep(3)
    lost = busiest(members)
    cluster.pause(lost)
    assert await lead_without(cluster, members, lost) <= FAILOVER_S
    cluster.resume(lost)
    # It learns that it leads no more before it answers anything.
    answer = await members[0][lost].query(Get(), Consistency.STRONG)
    assert answer.at_position == 0
    await cluster.until(lambda: all(map(is_quiesced, members)), what="quiet again")


@scenario(nodes=3, seeds=(0,), **SETTINGS)
async def test_leader_that_leaves_a_quiesced_group_is_replaced(cluster: Cluster) -> None:
    """Its node lives on, and with it the heartbeats that all its groups share."""
    members = await form(cluster, 2)
    await cluster.sleep(3)
    [first, *_] = members
    leader = next(node for node in range(3) if first[node].is_leader)
    await first[leader].leave()
    others = [first[node] for node in range(3) if node != leader]
    await cluster.until(lambda: any(group.is_leader for group in others))
    await others[0].execute(Put("a", 1))
    # The other group has not noticed.
    assert is_quiesced(members[1])


async def form_one(cluster: Cluster) -> list[Group]:
    """Begin one group of all nodes, and wait until it is quiesced and its followers rest."""
    members = [join(cluster, 0, node) for node in cluster.running]
    await all_online(members)
    voters_count = min(len(members), CONSENSUS.max_voters)
    await cluster.until(lambda: all(len(voters_of(group)) == voters_count for group in members))
    await cluster.until(lambda: is_quiesced(members), what="quiet")
    await cluster.until(lambda: all_rest(members), what="followers at rest")
    return members


def all_rest(members: Sequence[Group]) -> bool:
    """Return whether each two followers rest, and nobody rests with the leader."""
    cores = [(group.is_leader, group._state.member.mesh.bonded) for group in members]  # type: ignore[union-attr]
    leader = next(group.leader for group in members)
    return all(
        len(bonded) == len(members) - 1
        and all(
            bond.is_resting is not (is_leader or peer == leader) for peer, bond in bonded.items()
        )
        for is_leader, bonded in cores
    )


def count_sent(cluster: Cluster) -> int:
    return sum(traffic.messages_sent for traffic in cluster.network.traffic.values())


@scenario(nodes=9, seeds=(0,), **SETTINGS)
async def test_idle_group_says_as_much_as_it_has_members_not_pairs(cluster: Cluster) -> None:
    await cluster.sleep(20)
    before = count_sent(cluster)
    await cluster.sleep(20)
    without = count_sent(cluster) - before
    await form_one(cluster)
    await cluster.sleep(20)
    before = count_sent(cluster)
    await cluster.sleep(20)
    # Five heartbeats a second from and to the leader; with all pairs it would be 360.
    per_s = (count_sent(cluster) - before - without) / 20
    assert 80 <= per_s <= 100


@scenario(nodes=5, seeds=(0, 1), **SETTINGS)
async def test_leader_and_a_follower_that_die_together_leave_a_group_that_works(
    cluster: Cluster,
) -> None:
    """Nobody has heard the follower for long, and nobody waits for it."""
    members = await form_one(cluster)
    await cluster.sleep(30)
    leader = next(node for node in range(5) if members[node].is_leader)
    lost = [leader, (leader + 1) % 5]
    began = cluster.now
    await cluster.crash(*lost)
    others = [members[node] for node in range(5) if node not in lost]
    await cluster.until(lambda: any(group.is_leader for group in others), what="a leader")
    assert cluster.now - began <= FAILOVER_S
    await others[0].execute(Put("a", 1))
    # Who is gone is seen by all, also by those that were not its leader.
    limit_s = 2 * CONSENSUS.bond_timeout_s + FAILOVER_S
    await cluster.until(lambda: all(len(group._state.member.statuses) == 2 for group in others))  # type: ignore[union-attr]
    assert cluster.now - began <= limit_s


@scenario(nodes=5, seeds=(0,), **SETTINGS)
async def test_follower_that_falls_silent_is_missed_by_the_others_at_rest(
    cluster: Cluster,
) -> None:
    members = await form_one(cluster)
    await cluster.sleep(20)
    lost = next(node for node in range(5) if not members[node].is_leader)
    others = [members[node] for node in range(5) if node != lost]
    began = cluster.now
    cluster.partition(lost)
    # The leader misses it, and then those that relied on the leader look for themselves.
    await cluster.until(lambda: all(len(group._state.member.statuses) == 3 for group in others))  # type: ignore[union-attr]
    assert cluster.now - began <= 2 * CONSENSUS.bond_timeout_s + 1.0
    cluster.heal()
    await cluster.until(lambda: all_rest(members), what="rest again")
    answer = await members[lost].query(Get(), Consistency.STRONG)
    assert answer.at_position == 0


@scenario(nodes=5, seeds=(0,), **SETTINGS)
async def test_cut_between_followers_at_rest_is_nothing_to_the_group(cluster: Cluster) -> None:
    members = await form_one(cluster)
    await cluster.sleep(5)
    one, other = [node for node in range(5) if not members[node].is_leader][:2]
    cluster.cut(one, other, one_way=False)
    # Longer than a bond tolerates silence, where it counts; the connection notices a little later.
    await cluster.sleep(2.5)
    assert len(members[one]._state.member.statuses) == 4  # type: ignore[union-attr]
    await members[one].execute(Put("a", 1))
    # It is found when they need each other: without the leader that both hear.
    leader = next(node for node in range(5) if members[node].is_leader)
    began = cluster.now
    await cluster.crash(leader)
    left = [members[node] for node in range(5) if node != leader]
    await cluster.until(lambda: any(group.is_leader for group in left), what="a leader")
    assert cluster.now - began <= 2 * FAILOVER_S
    cluster.heal()
    await all_online(left)
    await members[other].execute(Put("a", 2))
