"""Several histories meet: which one goes on, and who is notified of it."""

from __future__ import annotations

import pytest

from mosaik_actors.groups.member.events import HistoryMerged
from tests.scenario.groups_machines import Journal, Put

from ..member_world import Node, World


def journal(node: Node) -> list[tuple[str, int]]:
    assert isinstance(node.machine, Journal)
    return node.machine.journal


def history_of(node: Node) -> bytes:
    return node.member.history.id if node.member.history is not None else b""


def apart(count: int, seed: int) -> World:
    """Return members that each have begun a history alone."""
    world = World(count, Journal, seed=seed)
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


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_every_member_is_notified_once_of_every_history_that_ends(count: int, seed: int) -> None:
    """Whatever way its commands came, directly or with those of another one that ended too."""
    world = apart(count, seed)
    for node in world.nodes:
        for number in range((7 * seed + 3 * node.number) % 11):
            world.execute(node.number, Put(f"c{node.number}", number))
    before = [list(journal(node)) for node in world.nodes]
    owners = {history_of(node): node.number for node in world.nodes}
    winner = meet(world)
    world.run(5)
    losers = sorted(owner for history, owner in owners.items() if history != winner)
    for node in world.nodes:
        told = [event for event in node.told if isinstance(event, HistoryMerged)]
        assert sorted(owners[event.loser] for event in told) == losers
        came, expected = [], []
        for event in told:
            owner = owners[event.loser]
            names = [(command.client, command.number) for command in event.commands]
            if event.is_loser or owner == node.number:
                assert set(before[owner]) <= set(names)
            else:
                came += names
                expected += before[owner]
                # In order; one that ended while it took in another has of that what it took.
                assert [name for name in names if name in before[owner]] in ([], before[owner])
        assert sorted(came) == sorted(expected)
        assert sum(event.is_loser for event in told) >= (owners[winner] != node.number)


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
