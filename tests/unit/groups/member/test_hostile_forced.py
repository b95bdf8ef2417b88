"""A new history begun by hand: nothing that anybody was told is lost by it."""

from mosaik_actors.groups.config import GroupsConfig
from mosaik_actors.groups.member.events import GroupForced
from tests.scenario.groups_machines import Put, SavedJournal

from ..member_world import Node, World

CUTS = GroupsConfig(compact_entries=20, keep_entries=5)
KEEPS = GroupsConfig(compact_entries=20, keep_entries=5000)


def journal(node: Node) -> list[tuple[str, int]]:
    assert isinstance(node.machine, SavedJournal)
    return node.machine.journal


def history_of(node: Node) -> bytes:
    assert node.member.history is not None
    return node.member.history.id


def force_beside_a_majority(settings: GroupsConfig) -> tuple[World, Node, list[Node]]:
    """Have a survivor force a new group though the others know of more; return all."""
    world = World(3, SavedJournal, is_durable=True, settings=settings)
    leader = world.form(0, 1, 2)
    for number in range(40):
        world.execute(leader.number, Put("a", number))
    survivor = world.nodes[(leader.number + 1) % 3]
    others = [node for node in world.nodes if node is not survivor]
    # The majority goes on without the survivor, and dies.
    for other in others:
        world.cut(survivor.number, other.number)
    for number in range(5):
        world.execute(leader.number, Put("extra", number))
    world.crash(*(other.number for other in others))
    world.heal()
    world.run(5)
    survivor.pump(survivor.member.force_new_group)
    world.run(2)
    # What it says of itself holds after a restart, too.
    forced = history_of(survivor)
    world.crash(survivor.number)
    world.start(survivor.number)
    world.run(3)
    assert history_of(survivor) == forced == survivor.member.host.ledger.history
    return world, survivor, others


def test_old_majority_that_comes_back_is_merged() -> None:
    world, survivor, others = force_beside_a_majority(KEEPS)
    world.start(*(other.number for other in others))
    world.until(lambda: len(journal(survivor)) >= 45, 60)
    world.run(10)
    wanted = [*(("a", n) for n in range(40)), *(("extra", n) for n in range(5))]
    assert [journal(node) for node in world.nodes] == [wanted] * 3


def test_old_majority_whose_log_was_cut_keeps_what_it_knows() -> None:
    """Its history is in the past of the forced one, but not whole: it does not merge."""
    world, survivor, others = force_beside_a_majority(CUTS)
    world.start(*(other.number for other in others))
    world.run(40)
    assert all(len(journal(other)) == 45 for other in others)
    assert history_of(survivor) not in [history_of(other) for other in others]
    assert any("cannot be merged" in text for text in survivor.logged)


def test_nobody_welcomes_a_member_that_is_just_saving_its_new_history() -> None:
    world = World(3, SavedJournal, is_durable=True)
    leader = world.form(0, 1, 2)
    world.execute(leader.number, *(Put("a", number) for number in range(10)))
    forcing = world.nodes[(leader.number + 1) % 3]
    before = history_of(forcing)
    # Its disk takes its time. The others see a member without a history, and offer theirs.
    forcing.holds_saves = True
    forcing.pump(forcing.member.force_new_group)
    world.run(3)
    assert forcing.member.history is None
    forcing.save_held()
    assert [told for told in forcing.told if isinstance(told, GroupForced)]
    # It begins its own, and then that meets the other one.
    world.until(lambda: forcing.member.history is not None)
    assert history_of(forcing) != before
    world.run(30)
    assert [journal(node) for node in world.nodes] == [[("a", n) for n in range(10)]] * 3
