"""A durable member that comes back with a shorter log catches up again, by committed changes."""

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.groups.config import ConsensusConfig
from mosaik_actors.groups.machine.machine import StateMachine
from tests.scenario.groups_machines import Journal, Put, SavedJournal

from ..member_world import Node, World

LOST = "lost what it had stored"


def all_have(world: World, *journal: tuple[str, int]) -> bool:
    return all(node.machine.journal == list(journal) for node in world.nodes)  # type: ignore[attr-defined]


def crash_and_lose(world: World, node: Node, size_bytes: int) -> None:
    """Crash a member, and take what it saved last off its disk."""
    world.crash(node.number)
    file = node.disk.open("log")
    file.truncate(size_bytes)
    file.sync()


def size_of(node: Node) -> int:
    return node.disk.open("log").size


@pytest.mark.parametrize("machine", [Journal, SavedJournal])
def test_member_with_a_shorter_log_is_taken_in_anew(machine: type[StateMachine]) -> None:
    world = World(3, machine, is_durable=True)
    leader = world.form(0, 1, 2)
    short = world.nodes[(leader.number + 1) % 3]
    size_bytes = size_of(short)
    world.execute(short.number, Put("a", 0))
    crash_and_lose(world, short, size_bytes)
    world.start(short.number)
    world.until(lambda: any("ends at entry" in line for line in short.logged))
    # The group goes on meanwhile; then it votes again, and has everything.
    world.execute(leader.number, Put("a", 1))
    world.until(lambda: short.member.why_offline is None)
    world.until(lambda: world.voters_seen((0, 1, 2)) == [3, 3, 3])
    world.until(lambda: all_have(world, ("a", 0), ("a", 1)))
    assert any("has lost its memory" in line for line in leader.logged)


def test_short_learner_of_a_single_voter_is_taken_in_anew() -> None:
    world = World(2, Journal, is_durable=True, consensus=ConsensusConfig(max_voters=1))
    leader = world.form(0, 1, voters=1)
    learner = world.nodes[1 - leader.number]
    size_bytes = size_of(learner)
    world.execute(learner.number, Put("a", 0))
    crash_and_lose(world, learner, size_bytes)
    world.start(learner.number)
    world.until(lambda: any("ends at entry" in line for line in learner.logged))
    world.execute(leader.number, Put("a", 1))
    world.until(lambda: all_have(world, ("a", 0), ("a", 1)))
    world.until(lambda: learner.member.why_offline is None)


def test_leader_that_dies_meanwhile_is_waited_for() -> None:
    """With the short one alone the third would be a majority that lacks what was acknowledged."""
    world = World(3, Journal, is_durable=True)
    leader = world.form(0, 1, 2)
    short, third = world.nodes[(leader.number + 1) % 3], world.nodes[(leader.number + 2) % 3]
    world.crash(third.number)
    size_bytes = size_of(short)
    world.execute(leader.number, Put("acknowledged", 0))
    crash_and_lose(world, short, size_bytes)
    world.start(short.number)
    world.until(lambda: any("ends at entry" in line for line in short.logged))
    world.crash(leader.number)
    world.start(third.number)
    world.run(10)
    # It remembers that across a restart of its own.
    world.crash(short.number)
    world.start(short.number)
    world.run(10)
    assert not any(node.member.is_leader for node in (short, third))
    world.start(leader.number)
    world.until(lambda: all_have(world, ("acknowledged", 0)))
    world.until(lambda: world.voters_seen((0, 1, 2)) == [3, 3, 3])
    world.until(lambda: all(node.member.why_offline is None for node in world.nodes))


def test_two_short_of_three_stay_stopped_and_say_so() -> None:
    world = World(3, Journal, is_durable=True)
    leader = world.form(0, 1, 2)
    others = [node for node in world.nodes if node is not leader]
    sizes = [size_of(node) for node in others]
    world.execute(leader.number, Put("acknowledged", 0))
    world.run(0.5)
    for node, size_bytes in zip(others, sizes, strict=True):
        crash_and_lose(world, node, size_bytes)
    world.start(*(node.number for node in others))
    world.run(20)
    assert not any(node.member.is_leader for node in world.nodes)
    assert LOST in str(leader.member.why_offline)
    assert any(LOST in line for line in leader.logged)
    for node in others:
        assert "waiting to be taken in anew" in str(node.member.why_offline)
    # Somebody has to decide; the leader still has everything.
    leader.pump(leader.member.force_new_group)
    world.until(lambda: leader.member.is_leader)
    assert leader.machine.journal == [("acknowledged", 0)]  # type: ignore[attr-defined]


def test_short_member_does_not_follow_another_history_that_offers_itself() -> None:
    world = World(2, Journal, is_durable=True)
    leader = world.form(0, 1, voters=1)
    learner = world.nodes[1 - leader.number]
    size_bytes = size_of(learner)
    world.execute(learner.number, Put("a", 0))
    crash_and_lose(world, learner, size_bytes)
    world.start(learner.number)
    world.until(lambda: learner.member.history.raft.has_lost_entries)  # type: ignore[union-attr]
    world.crash(leader.number)
    world.run(10)
    # Nor does it begin one; by hand it may.
    assert not learner.member.is_leader
    try:
        learner.pump(learner.member.force_new_group)
    except ConfigError as exc:
        raise AssertionError("it has a state to begin from") from exc
    world.until(lambda: learner.member.is_leader)
