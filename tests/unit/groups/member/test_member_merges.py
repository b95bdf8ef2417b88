"""Several histories meet: which one goes on, and who is notified of it."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from mosaik_actors.groups.member.events import HistoryMerged
from tests.scenario.groups_machines import Journal, Put

from ..member_world import Node, World


def journal(node: Node) -> list[tuple[str, int]]:
    assert isinstance(node.machine, Journal)
    return node.machine.journal


def history_of(node: Node) -> bytes:
    return node.member.history.id if node.member.history is not None else b""


def apart(count: int, seed: int, *, is_durable: bool = False) -> World:
    """Return members that each have begun a history alone."""
    world = World(count, Journal, seed=seed, is_durable=is_durable)
    for one in range(count):
        for other in range(one):
            world.cut(one, other)
    world.start(*range(count))
    world.until(lambda: all(node.member.why_offline is None for node in world.nodes))
    return world


def meet(world: World) -> bytes:
    """Let all meet; return the history that goes on."""
    world.heal()
    world.until(
        lambda: (
            all(node.member.why_offline is None for node in world.nodes)
            and len({history_of(node) for node in world.nodes}) == 1
            and len({tuple(journal(node)) for node in world.nodes}) == 1
        ),
        60,
    )
    return history_of(world.nodes[0])


@pytest.mark.parametrize("seed", range(4))
def test_history_with_more_commands_goes_on_not_the_longer_log(seed: int) -> None:
    world = apart(2, seed)
    world.execute(0, *(Put("many", number) for number in range(20)))  # in one entry
    for number in range(10):
        world.execute(1, Put("few", number))
    logs = [node.member.history for node in world.nodes]
    assert logs[0] is not None
    assert logs[1] is not None
    assert logs[0].raft.log.last_index < logs[1].raft.log.last_index
    assert meet(world) == logs[0].id
    assert [client for client, _ in journal(world.nodes[1])] == ["many"] * 20 + ["few"] * 10


@pytest.mark.parametrize("seed", range(4))
def test_of_two_with_as_many_commands_the_smaller_id_goes_on(seed: int) -> None:
    world = apart(2, seed)
    for number in range(6):
        world.execute(0, Put("a", number))
    world.execute(1, *(Put("b", number) for number in range(6)))
    histories = [history_of(node) for node in world.nodes]
    assert meet(world) == min(histories)


def write_apart(world: World) -> tuple[list[list[tuple[str, int]]], dict[bytes, int]]:
    """Return what each member wrote in its history, and which history is whose."""
    for node in world.nodes:
        for number in range((7 * world.seed + 3 * node.number) % 11):
            world.execute(node.number, Put(f"c{node.number}", number))
    before = [list(journal(node)) for node in world.nodes]
    return before, {history_of(node): node.number for node in world.nodes}


def check_notices(
    node: Node, before: list[list[tuple[str, int]]], owners: dict[bytes, int]
) -> list[int]:
    """Check which commands the notices name; return whose histories they say have ended."""
    notified = []
    for event in node.told:
        if isinstance(event, HistoryMerged):
            owner = owners[event.loser]
            names = [(command.client, command.number) for command in event.commands]
            if event.is_loser:
                # All that it held, what the history had taken in as well: nothing else comes
                # first, and a member that has just restarted or come over may lack the end.
                assert names[: len(before[owner])] == before[owner][: len(names)]
            else:
                assert names == before[owner]
            notified.append(owner)
    return notified


# In the last ones a history ends while it takes in another one.
SEEDS = [*product(range(4), (2, 3, 4, 5)), (2, 5), (19, 4), (36, 5), (39, 3)]


@pytest.mark.parametrize(("seed", "count"), SEEDS)
def test_every_member_is_notified_once_of_every_history_that_ends(seed: int, count: int) -> None:
    """Whatever way its commands came, directly or with those of another one that ended too."""
    world = apart(count, seed)
    before, owners = write_apart(world)
    winner = meet(world)
    world.run(5)
    losers = sorted(owner for history, owner in owners.items() if history != winner)
    for node in world.nodes:
        assert sorted(check_notices(node, before, owners)) == losers
        for event in node.told:
            if isinstance(event, HistoryMerged) and owners[event.loser] == node.number:
                assert len(event.commands) >= len(before[node.number])
        told = [event for event in node.told if isinstance(event, HistoryMerged)]
        assert sum(event.is_loser for event in told) >= (owners[winner] != node.number)


@pytest.mark.parametrize("seed", [*range(12), 31, 62, 82, 90])
def test_notices_are_right_whoever_crashes_while_histories_merge(seed: int) -> None:
    """A member that restarts derives them from its log, and does not repeat what that names."""
    world = apart(4, seed, is_durable=True)
    before, owners = write_apart(world)
    rng = Random(seed)
    world.heal()
    stayed = rng.randrange(4)
    lives: list[list[int]] = []

    def restart(node: Node) -> None:
        lives.append(check_notices(node, before, owners))
        node.told.clear()
        world.crash(node.number)
        world.start(node.number)

    for _ in range(8):
        world.run(rng.choice((0.01, 0.1, 1.0)) * rng.random())
        restart(world.nodes[rng.choice([number for number in range(4) if number != stayed])])
    winner = meet(world)
    world.run(5)
    losers = sorted(owner for history, owner in owners.items() if history != winner)
    assert sorted(check_notices(world.nodes[stayed], before, owners)) == losers
    # All that is past: nobody is notified of it again.
    for node in world.nodes:
        restart(node)
        meet(world)
    assert not [told for node in world.nodes for told in check_notices(node, before, owners)]
    for notified in lives:
        assert len(set(notified)) == len(notified)
        assert set(notified) <= set(losers)


def test_newcomer_is_not_notified_of_what_was_merged_before_it_came() -> None:
    world = apart(2, 0)
    for node in world.nodes:
        world.execute(node.number, Put(f"c{node.number}", 0))
    meet(world)
    world.nodes.append(Node(world, 2))
    world.start(2)
    meet(world)
    world.run(2)
    assert not [told for told in world.nodes[2].told if isinstance(told, HistoryMerged)]
