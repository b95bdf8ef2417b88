"""Who takes a member in must lead: also one that was paused, and does not know what it missed."""

from mosaik_actors.groups.config import ConsensusConfig, GroupsConfig
from tests.scenario.groups_machines import Journal, Put

from ..member_world import Node, World

CONSENSUS = ConsensusConfig(max_voters=3)
SETTINGS = GroupsConfig(replace_after=2.0)


def voters(node: Node) -> list[int]:
    """Return who votes, as a member sees it."""
    history = node.member.history
    if history is None:
        return []
    return [n.number for n in node.world.nodes if n.peer in history.raft.configuration.voters]


def journals(world: World) -> list[list[tuple[str, int]]]:
    return [node.machine.journal for node in world.nodes if isinstance(node.machine, Journal)]


def test_leader_of_the_past_takes_in_nobody_who_forgot_its_votes() -> None:
    """The steps are numbered as they happen; members are in memory, the machine of one sleeps."""
    world = World(4, Journal, consensus=CONSENSUS, settings=SETTINGS)
    old = world.form(0, 1, 2)
    world.start(3)
    learner = world.nodes[3]
    world.run(2)
    world.execute(old.number, Put("a", 0))
    # 1. The leader is cut off, and its machine put to sleep, its clock as well.
    for other in range(4):
        if other != old.number:
            world.cut(old.number, other)
    world.pause(old.number)
    # 2. Another one leads, and has the learner vote in place of the sleeper.
    left = [node for node in world.nodes[:3] if node is not old]
    wanted = sorted([*(node.number for node in left), 3])
    world.until(lambda: voters(left[0]) == voters(left[1]) == wanted, 60)
    world.run(1)
    # 3. It commits a command with the former learner's help alone, and is cut off.
    new = world.leader()
    assert new in left
    behind = next(node for node in left if node is not new)
    for one in (new, learner):
        world.cut(one.number, behind.number)
    world.execute(new.number, Put("acknowledged", 0))
    world.cut(new.number, learner.number)
    # 4. The former learner crashes, forgets its log and its votes, and comes back.
    world.crash(3)
    world.start(3)
    # 5. The sleeper wakes up beside it. Both believe in the past; it must not take it in.
    del world.cuts[old.number, 3], world.cuts[3, old.number]
    world.resume(old.number)
    world.run(3)
    assert learner.member.history is None
    # 6. With the one that is behind, it would make a majority that lacks the command.
    del world.cuts[3, behind.number], world.cuts[behind.number, 3]
    world.run(6)
    assert not behind.member.is_leader
    # 7. Healed, everybody has it.
    world.heal()
    world.run(60)
    assert journals(world) == [[("a", 0), ("acknowledged", 0)]] * 4
