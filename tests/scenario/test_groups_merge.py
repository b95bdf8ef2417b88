"""Histories of one group that began apart and meet.

A merge is not linearizable across the two histories: what one has acknowledged
was not seen in the other. What holds is less and exact: every acknowledged
command is applied exactly once in the history that goes on, each client's
commands in their order, and those of the history that goes on keep their
positions.
"""

import asyncio
from collections.abc import Sequence

import pytest

from mosaik_actors.errors import GroupOffline
from mosaik_actors.groups.config import GroupsConfig
from mosaik_actors.groups.member.events import HistoriesConflicted, HistoryMerged
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
    join,
    join_durably,
    journal_of,
    leader_of,
    voters_of,
    write,
)

SEEDS = range(6)
SLOW = NetworkConditions(latency=0.02, jitter=0.01, loss=0.02)


class Writers:
    """One client per member, and what each saw."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.done: list[tuple[str, int]] = []
        self.unknown: list[tuple[str, int]] = []
        self._groups = groups
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, pause_s: float = 0.01) -> None:
        """Let every client write, one command after the other."""
        self._tasks = [
            asyncio.ensure_future(self._write(index, pause_s)) for index in range(len(self._groups))
        ]

    async def stop(self) -> None:
        """Let each finish the command it is at."""
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in results:
            assert isinstance(result, asyncio.CancelledError), repr(result)

    def check(self, journal: list[tuple[str, int]]) -> None:
        """What was acknowledged is there once; nothing is there twice; each client's in order."""
        assert len(set(journal)) == len(journal)
        assert set(self.done) <= set(journal)
        assert set(journal) <= {*self.done, *self.unknown}
        for index in range(len(self._groups)):
            numbers = [number for client, number in journal if client == f"w{index}"]
            assert numbers == sorted(numbers)

    async def _write(self, index: int, pause_s: float) -> None:
        client = f"w{index}"
        for number in range(1_000_000):
            self.unknown.append((client, number))
            try:
                await self._groups[index].execute(Put(client, number), timeout=10)
            except GroupOffline as error:
                if not error.may_take_effect:
                    self.unknown.remove((client, number))
            else:
                self.done.append((client, number))
            await asyncio.sleep(pause_s)


async def merge_sides(
    cluster: Cluster, *sides: Sequence[int], machine: type[Journal] = Journal, count: int = 5
) -> list[Group]:
    """Let sides begin apart and work, heal, and check what must hold of the merge."""
    cluster.partition(*sides)
    groups = [join(node, machine()) for node in cluster.nodes]
    await all_online(groups)
    assert len({group.history for group in groups}) == len(sides)
    events: list[list[object]] = [[] for _ in groups]
    watching = [
        asyncio.ensure_future(collect(group, into))
        for group, into in zip(groups, events, strict=True)
    ]
    # Before: each side has its own commands, acknowledged.
    for index, group in enumerate(groups):
        await write(group, f"before{index}", range(count + index))
    apart = [list(journal_of(group)) for group in groups]
    histories = [group.history for group in groups]
    # During: clients write on, wherever that takes them.
    writers = Writers(groups)
    writers.start()
    await cluster.sleep(0.5)
    cluster.heal()
    await all_equal_soon(cluster, groups)
    await writers.stop()
    await all_equal(cluster, groups)
    # After: there is one group.
    for index, group in enumerate(groups):
        await write(group, f"after{index}", range(3))
    await all_equal(cluster, groups)
    for task in watching:
        task.cancel()
    journal = journal_of(groups[0])
    writers.check([one for one in journal if one[0].startswith("w")])
    for index in range(len(groups)):
        numbers = [number for client, number in journal if client == f"before{index}"]
        assert numbers == list(range(count + index))
    winner = groups[0].history
    for index, history in enumerate(histories):
        # Those of the history that goes on keep their positions.
        if history == winner:
            assert journal[: len(apart[index])] == apart[index]
        check_events(events[index], history, winner, apart[index])
    return groups


def check_events(
    events: list[object], history: bytes, winner: bytes, apart: list[tuple[str, int]]
) -> None:
    """Whoever gave a history up was notified, with the commands that went over; others, too."""
    merged = [event for event in events if isinstance(event, HistoryMerged)]
    assert merged
    if history == winner:
        assert all(event.winner == winner and not event.is_loser for event in merged)
        return
    lost = [event for event in merged if event.is_loser and event.loser == history]
    assert len(lost) == 1
    told = [(command.client, command.number) for command in lost[0].commands]
    assert set(apart) <= set(told)


async def all_equal_soon(cluster: Cluster, groups: Sequence[Group]) -> None:
    """Wait until there is one history and all are in it, whatever goes on."""
    await cluster.until(
        lambda: len({group.history for group in groups}) == 1 and all(g.is_online for g in groups),
        timeout=30,
        what="one history",
    )


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_two_lone_nodes_become_one_group(cluster: Cluster) -> None:
    await merge_sides(cluster, [0], [1])


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_three_lone_nodes_become_one_group(cluster: Cluster) -> None:
    groups = await merge_sides(cluster, [0], [1], [2])
    await cluster.until(lambda: len(voters_of(groups[0])) == 3)


@scenario(nodes=4, seeds=SEEDS, network=SLOW, **SETTINGS)
async def test_four_lone_nodes_become_one_group(cluster: Cluster) -> None:
    await merge_sides(cluster, [0], [1], [2], [3])


@scenario(nodes=5, seeds=SEEDS, **SETTINGS)
async def test_two_halves_become_one_group(cluster: Cluster) -> None:
    groups = await merge_sides(cluster, [0, 1], [2, 3, 4])
    await cluster.until(lambda: len(voters_of(groups[0])) == 5)


@scenario(nodes=5, seeds=SEEDS, network=SLOW, **SETTINGS)
async def test_three_parts_become_one_group(cluster: Cluster) -> None:
    await merge_sides(cluster, [0, 1], [2, 3], [4])


@scenario(nodes=4, seeds=SEEDS, **SETTINGS)
async def test_halves_with_snapshots_become_one_group(cluster: Cluster) -> None:
    await merge_sides(cluster, [0, 1], [2, 3], machine=SavedJournal, count=50)


@scenario(nodes=4, seeds=SEEDS, network=SLOW, **SETTINGS)
async def test_merge_survives_another_partition_in_the_middle(cluster: Cluster) -> None:
    cluster.partition([0, 1], [2, 3])
    groups = [join(node) for node in cluster.nodes]
    await all_online(groups)
    writers = Writers(groups)
    writers.start()
    await cluster.sleep(0.5)
    rng = cluster.randomness.branch("moments")
    for sides in (([0, 2], [1, 3]), ([0], [1, 2, 3]), ([0, 1], [2, 3])):
        cluster.heal()
        await cluster.sleep(rng.uniform(0.05, 0.5))
        cluster.partition(*sides)
        await cluster.sleep(rng.uniform(0.1, 3))
    cluster.heal()
    await all_equal_soon(cluster, groups)
    await writers.stop()
    await all_equal(cluster, groups)
    writers.check(journal_of(groups[0]))


@scenario(nodes=4, seeds=SEEDS, **SETTINGS)
async def test_merge_of_durable_groups_survives_crashes_in_the_middle(cluster: Cluster) -> None:
    cluster.partition([0, 1], [2, 3])
    groups = [join_durably(node) for node in cluster.nodes]
    await all_online(groups)
    for index, group in enumerate(groups):
        await write(group, f"before{index}", range(10))
    rng = cluster.randomness.branch("moments")
    cluster.heal()
    for _ in range(6):
        await cluster.sleep(rng.uniform(0.0, 0.1))
        node = cluster.nodes[rng.randrange(4)]
        await cluster.restart(node.index)
        groups[node.index] = join_durably(node)
    await all_equal(cluster, groups, timeout=60)
    journal = journal_of(groups[0])
    assert len(journal) == 40
    for index in range(4):
        numbers = [number for client, number in journal if client == f"before{index}"]
        assert numbers == list(range(10))


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_positions_are_new_for_the_history_that_is_given_up(cluster: Cluster) -> None:
    cluster.partition([0], [1])
    groups = [join(node) for node in cluster.nodes]
    await all_online(groups)
    assert await write(groups[0], "long", range(10)) == 10
    assert await write(groups[1], "short", range(3)) == 3
    position = groups[1].when().committed().changed()
    cluster.heal()
    await all_equal(cluster, groups)
    # The longer one wins; the other's come after.
    assert journal_of(groups[0])[:10] == [("long", number) for number in range(10)]
    assert journal_of(groups[0])[10:] == [("short", number) for number in range(3)]
    assert await position != 3
    assert await groups[1].execute(Put("short", 3)) == 14


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_histories_that_were_both_cut_stay_apart_and_say_so(cluster: Cluster) -> None:
    cluster.partition([0], [1])
    cuts = GroupsConfig(compact_entries=10, keep_entries=0)
    groups = [join(node, SavedJournal(), settings=cuts) for node in cluster.nodes]
    await all_online(groups)
    for number in range(40):
        for group in groups:
            await group.execute(Put("a", number))
    events: list[list[object]] = [[], []]
    watching = [
        asyncio.ensure_future(collect(group, into))
        for group, into in zip(groups, events, strict=True)
    ]
    await asyncio.sleep(0)
    cluster.heal()
    # Nothing can be replayed in full, and nothing is thrown away.
    await cluster.until(
        lambda: all(
            any(isinstance(event, HistoriesConflicted) for event in told) for told in events
        )
    )
    await cluster.sleep(5)
    assert groups[0].history != groups[1].history
    assert [len(journal_of(group)) for group in groups] == [40, 40]
    for group in groups:
        await group.execute(Put("b", 0))
    for task in watching:
        task.cancel()
    # Until somebody decides: one leaves, and joins the other.
    await groups[1].leave()
    groups[1] = join(cluster.nodes[1], SavedJournal(), settings=cuts)
    await all_equal(cluster, groups)


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_history_that_was_cut_wins_over_one_that_was_not(cluster: Cluster) -> None:
    cluster.partition([0], [1])
    cuts = GroupsConfig(compact_entries=10, keep_entries=0)
    groups = [
        join(cluster.nodes[0], SavedJournal(), settings=cuts),
        join(cluster.nodes[1], SavedJournal()),
    ]
    await all_online(groups)
    await write(groups[0], "cut", range(30))
    await write(groups[1], "whole", range(60))
    cluster.heal()
    await all_equal(cluster, groups)
    # Though it is shorter: the other one can be replayed, this one cannot.
    assert journal_of(groups[0])[:30] == [("cut", number) for number in range(30)]
    assert journal_of(groups[0])[30:] == [("whole", number) for number in range(60)]


@scenario(nodes=5, seeds=SEEDS, **SETTINGS)
async def test_leader_that_dies_during_the_merge_is_replaced(cluster: Cluster) -> None:
    sides = [0, 1, 2], [3, 4]
    cluster.partition(*sides)
    groups = [join(node) for node in cluster.nodes]
    await all_online(groups)
    await cluster.until(lambda: len(voters_of(groups[0])) == 3)
    for index, group in enumerate(groups):
        await write(group, f"before{index}", range(20))
    leader = leader_of(groups[:3])
    cluster.heal()
    await cluster.sleep(0.02 + 0.01 * cluster.seed)
    await cluster.crash(leader)
    left = [group for index, group in enumerate(groups) if index != leader]
    await all_equal(cluster, left)
    # Two of three have gone on with what the dead one had acknowledged.
    journal = journal_of(left[0])
    for index in range(5):
        numbers = [number for client, number in journal if client == f"before{index}"]
        assert numbers == list(range(20))
    with pytest.raises(AssertionError):
        Writers(left).check([("w0", 1), ("w0", 1)])  # the check itself can fail
