"""All voters of a group in memory are gone, and observers or learners go on with its state."""

from __future__ import annotations

import pytest

from mosaik_actors.groups.config import ConsensusConfig, GroupsConfig
from mosaik_actors.groups.machine.machine import StateMachine
from mosaik_actors.groups.member.events import GroupTakenOver, HistoryMerged
from tests.scenario.groups_machines import Journal, Put, SavedJournal

from ..member_world import Node, World

QUICK = GroupsConfig(replace_after=1.0)
CUTS = GroupsConfig(replace_after=1.0, compact_entries=20, keep_entries=5)


def journal(node: Node) -> list[tuple[str, int]]:
    assert isinstance(node.machine, Journal)
    return node.machine.journal


def history_of(node: Node) -> bytes:
    return node.member.history.id if node.member.history is not None else b""


def is_online(node: Node) -> bool:
    return node.member.why_offline is None


def put(
    world: World, number: int, client: str, count: int, start: int = 0
) -> list[tuple[str, int]]:
    """Execute commands one after the other; return them."""
    done = [(client, start + n) for n in range(count)]
    for who, n in done:
        world.execute(number, Put(who, n))
    return done


def make(
    count: int,
    machine: type[StateMachine] = SavedJournal,
    settings: GroupsConfig = QUICK,
    seed: int = 0,
) -> World:
    return World(count, machine, settings=settings, seed=seed)


def with_observers(world: World, *observers: int) -> list[tuple[str, int]]:
    """Have member 0 write a little while the observers look; return what it wrote."""
    world.start(0)
    world.until(lambda: is_online(world.nodes[0]))
    world.start(*observers, is_observer=True)
    world.until(lambda: all(is_online(world.nodes[n]) for n in observers))
    done = put(world, 0, "first", 10)
    world.until(lambda: all(journal(world.nodes[n]) == done for n in observers))
    return done


def until_equal(world: World, *numbers: int, limit_s: float = 60) -> list[tuple[str, int]]:
    """Wait until these members are online in one history with one state; return that."""
    nodes = [world.nodes[number] for number in numbers]
    world.until(
        lambda: (
            all(map(is_online, nodes))
            and len({history_of(node) for node in nodes}) == 1
            and len({tuple(journal(node)) for node in nodes}) == 1
        ),
        limit_s,
    )
    found = journal(nodes[0])
    assert len(set(found)) == len(found), "something was applied twice"
    return found


def taken_over(node: Node) -> list[GroupTakenOver]:
    return [told for told in node.told if isinstance(told, GroupTakenOver)]


def voters(world: World, number: int) -> list[bytes]:
    history = world.nodes[number].member.history
    assert history is not None
    return [bytes(peer) for peer in history.raft.configuration.voters]


@pytest.mark.parametrize("machine", [Journal, SavedJournal])
@pytest.mark.parametrize("newcomer", [0, 3])
def test_new_writer_goes_on_where_observers_are(machine: type[Journal], newcomer: int) -> None:
    """Also one that comes back under the key of the voter that is gone."""
    world = make(4, machine)
    done = with_observers(world, 1, 2)
    before = history_of(world.nodes[1])
    world.crash(0)
    gone_s = world.now
    world.start(newcomer)
    world.until(lambda: is_online(world.nodes[newcomer]))
    assert world.now - gone_s >= QUICK.replace_after
    assert world.execute(newcomer, Put("second", 0)).positions == [11]
    assert until_equal(world, newcomer, 1, 2) == [*done, ("second", 0)]
    for number in (1, 2, newcomer):
        (event,) = taken_over(world.nodes[number])
        assert (event.previous, event.position) == (before, 10)
        assert event.history == history_of(world.nodes[number])
    # Observers do not vote for longer than it takes.
    world.until(lambda: voters(world, 1) == [bytes(world.nodes[newcomer].peer)])
    assert world.nodes[newcomer].member.is_leader


@pytest.mark.parametrize("initial_voters", [1, 3])
def test_only_what_needs_help_is_said_to_need_it(initial_voters: int) -> None:
    """Who waits for a takeover that comes is not notified that none will."""
    consensus = ConsensusConfig(initial_voters=initial_voters)
    world = World(4, SavedJournal, settings=QUICK, consensus=consensus)
    world.start(0, 1, 2)
    world.until(lambda: world.voters_seen((0, 1, 2)) == [3, 3, 3])
    world.start(3, is_observer=True)
    world.until(lambda: is_online(world.nodes[3]))
    observer = world.nodes[3]
    whys = set()
    world.crash(0, 1, 2)
    world.start(0, 1, 2)
    for _ in range(100):
        world.run(0.1)
        whys.add(observer.member.why_offline)
    texts = [text for text in observer.logged if "cannot go on" in text]
    if initial_voters == 1:
        assert any("no leader: 0101010101, which led, has lost" in str(why) for why in whys)
        assert is_online(observer)
        assert not texts
        assert "force_new_group" not in str(whys)
    else:
        assert len(texts) == 1
        assert "force_new_group" in str(observer.member.why_offline)


def test_every_restart_of_the_only_writer_goes_on() -> None:
    world = make(3)
    done = with_observers(world, 1, 2)
    for life in range(6):
        world.crash(0)
        world.start(0)
        world.until(lambda: is_online(world.nodes[0]))
        done += put(world, 0, f"life {life}", 3)
        assert until_equal(world, 0, 1, 2) == done


def test_learner_that_may_vote_goes_on_by_itself() -> None:
    world = make(2)
    world.start(0, 1)
    world.until(lambda: all(map(is_online, world.nodes)))
    done = put(world, 0, "a", 5)
    world.until(lambda: journal(world.nodes[1]) == done)
    voter = next(n for n in (0, 1) if voters(world, 0) == [bytes(world.nodes[n].peer)])
    left = 1 - voter
    world.crash(voter)
    world.until(lambda: is_online(world.nodes[left]))
    assert world.execute(left, Put("b", 0)).positions == [6]
    assert journal(world.nodes[left]) == [*done, ("b", 0)]


def test_one_with_the_longest_prefix_goes_on() -> None:
    world = make(4)
    done = with_observers(world, 1, 2)
    # The lower one misses the last commands.
    world.cut(0, 1)
    world.cut(1, 2)
    done += put(world, 0, "late", 3)
    world.until(lambda: len(journal(world.nodes[2])) == 13)
    world.crash(0)
    world.heal()
    world.start(3)
    world.until(lambda: is_online(world.nodes[3]))
    assert until_equal(world, 1, 2, 3) == done
    assert not [
        told for node in world.nodes for told in node.told if isinstance(told, HistoryMerged)
    ]


@pytest.mark.parametrize("settings", [QUICK, CUTS])
def test_observer_that_was_not_seen_and_has_more(settings: GroupsConfig) -> None:
    """What it has and the others have not comes in by a merge, once."""
    world = make(4, SavedJournal, settings)
    done = with_observers(world, 1, 2)
    world.cut(0, 1)
    world.cut(1, 2)
    more = put(world, 0, "late", 3)
    world.until(lambda: len(journal(world.nodes[2])) == 13)
    world.crash(0)
    world.cut(2, 3)
    world.start(3)
    world.until(lambda: is_online(world.nodes[3]))
    assert journal(world.nodes[3]) == done
    new = put(world, 3, "second", 2)
    world.heal()
    assert sorted(until_equal(world, 1, 2, 3)) == sorted([*done, *more, *new])


@pytest.mark.parametrize("count", [0, 5, 30])
@pytest.mark.parametrize("late", [0, 7])
def test_old_voter_that_turns_up_is_merged(count: int, late: int) -> None:
    """Nothing that either acknowledged is lost, and what both have is there once."""
    world = make(4)
    done = with_observers(world, 1, 2)
    for number in (1, 2, 3):
        world.cut(0, number)
    late_ones = put(world, 0, "late", late)
    world.start(3)
    world.until(lambda: is_online(world.nodes[3]))
    new = put(world, 3, "second", count)
    world.heal()
    found = until_equal(world, 0, 1, 2, 3)
    assert found[:10] == done
    assert sorted(found) == sorted([*done, *late_ones, *new])
    assert [n for who, n in found if who == "late"] == list(range(late))
    assert [n for who, n in found if who == "second"] == list(range(count))
    put(world, 0, "after", 1)
    put(world, 3, "after", 1, 1)
    assert until_equal(world, 0, 1, 2, 3)[-2:] == [("after", 0), ("after", 1)]


def test_two_sides_go_on_apart_and_are_merged() -> None:
    world = make(5)
    done = with_observers(world, 1, 2)
    for one in (1, 3):
        for other in (2, 4):
            world.cut(one, other)
    world.crash(0)
    world.start(3, 4)
    world.until(lambda: is_online(world.nodes[3]) and is_online(world.nodes[4]))
    left, right = put(world, 3, "left", 4), put(world, 4, "right", 5)
    assert history_of(world.nodes[1]) != history_of(world.nodes[2])
    world.heal()
    found = until_equal(world, 1, 2, 3, 4)
    assert found[:10] == done
    assert sorted(found) == sorted([*done, *left, *right])
    # And then the voter that was thought dead... is started anew, with nothing.
    world.start(0)
    assert until_equal(world, 0, 1, 2, 3, 4) == found


def test_old_voter_meets_two_histories_that_continue_its_own() -> None:
    world = make(5)
    done = with_observers(world, 1, 2)
    for one in (1, 3):
        for other in (2, 4):
            world.cut(one, other)
    for number in range(1, 5):
        world.cut(0, number)
    late = put(world, 0, "late", 6)
    world.start(3, 4)
    world.until(lambda: is_online(world.nodes[3]) and is_online(world.nodes[4]))
    left, right = put(world, 3, "left", 4), put(world, 4, "right", 5)
    world.heal()
    found = until_equal(world, 0, 1, 2, 3, 4)
    assert found[:10] == done
    assert sorted(found) == sorted([*done, *late, *left, *right])


@pytest.mark.parametrize("count", [2, 30])
def test_writer_that_began_alone_meets_observers(count: int) -> None:
    """It had not seen them. Its history and theirs are merged; the one with more commands wins."""
    world = make(3)
    done = with_observers(world, 1)
    world.cut(1, 2)
    world.crash(0)
    world.start(2)
    new = put(world, 2, "alone", count)
    world.run(2)
    world.heal()
    found = until_equal(world, 1, 2)
    assert found == ([*done, *new] if count < 10 else [*new, *done])


def test_writer_that_began_alone_meets_observers_whose_log_was_cut() -> None:
    world = World(4, SavedJournal, settings=CUTS)
    with_observers(world, 1, 3)
    done = journal(world.nodes[1]) + put(world, 0, "more", 40)
    world.until(lambda: len(journal(world.nodes[1])) == 50)
    world.cut(1, 2)
    world.cut(3, 2)
    world.crash(0)
    world.start(2)
    new = put(world, 2, "alone", 10)
    world.heal()
    assert until_equal(world, 1, 2, 3) == [*done, *new]


@pytest.mark.parametrize("wait_ms", range(0, 1500, 60))
def test_newcomer_may_die_at_any_moment(wait_ms: int) -> None:
    """Whoever comes next goes on, and nothing that was acknowledged to the first is lost."""
    world = make(4)
    done = with_observers(world, 1, 2)
    world.crash(0)
    world.start(3)
    world.run(1.0 + wait_ms / 1000)
    maybe: list[tuple[str, int]] = []
    if is_online(world.nodes[3]):
        done += put(world, 3, "between", 2)
        world.run(0.1)
    world.crash(3)
    world.start(0)
    world.until(lambda: is_online(world.nodes[0]))
    done += put(world, 0, "second", 2)
    assert until_equal(world, 0, 1, 2) == done + maybe
    world.until(lambda: voters(world, 1) == [bytes(world.nodes[0].peer)])


def test_two_writers_that_come_at_once() -> None:
    for seed in range(8):
        world = make(4, seed=seed)
        done = with_observers(world, 1)
        world.crash(0)
        world.start(2, 3)
        until_equal(world, 1, 2, 3)
        done += put(world, 2, "two", 2)
        done += put(world, 3, "three", 2)
        assert until_equal(world, 1, 2, 3) == done


def test_voter_that_comes_back_before_it_is_time() -> None:
    world = make(4)
    done = with_observers(world, 1, 2)
    before = history_of(world.nodes[0])
    for number in (1, 2, 3):
        world.cut(0, number)
    world.start(3)
    world.run(2.5)  # the bonds are silent for two seconds before they end
    world.heal()
    done += put(world, 0, "late", 2)
    assert until_equal(world, 0, 1, 2, 3) == done
    assert {history_of(node) for node in world.nodes} == {before}


def test_durable_voters_are_waited_for() -> None:
    world = World(4, SavedJournal, settings=QUICK, is_durable=True)
    done = with_observers(world, 1, 2)
    before = history_of(world.nodes[0])
    world.crash(0)
    world.start(3)
    world.run(30)
    assert not is_online(world.nodes[3])
    world.start(0)
    assert until_equal(world, 0, 1, 2, 3) == done
    assert {history_of(node) for node in world.nodes} == {before}


def test_full_disk_does_not_make_who_waits_for_voters_spin() -> None:
    """It looks again when the disk takes something: until then there is nothing to be done."""
    world = World(2, SavedJournal, settings=QUICK, is_durable=True)
    with_observers(world, 1)
    world.crash(0)
    world.run(0.5)
    member = world.nodes[1].member
    member.stall(now=world.now)
    world.run(0.1)
    assert member.get_timer() is None
    member.saved(now=world.now)
    due_s = member.get_timer()
    assert due_s is not None
    assert due_s < world.now + QUICK.replace_after


def test_nobody_goes_on_where_more_voters_were_asked_for() -> None:
    world = World(6, SavedJournal, settings=QUICK, consensus=ConsensusConfig(initial_voters=3))
    world.start(0, 1, 2)
    world.start(3, is_observer=True)
    world.until(lambda: is_online(world.nodes[3]))
    world.crash(0, 1, 2)
    world.start(4)
    world.run(20)
    assert not is_online(world.nodes[4])


def test_three_voters_that_are_all_gone() -> None:
    world = make(6)
    world.form(0, 1, 2)
    world.start(3, is_observer=True)
    world.until(lambda: is_online(world.nodes[3]))
    done = put(world, 1, "a", 5)
    world.until(lambda: journal(world.nodes[3]) == done)
    world.crash(0, 1, 2)
    world.start(4, 5)
    done += put(world, 4, "b", 5)
    assert until_equal(world, 3, 4, 5) == done


def test_without_one_that_may_vote_nothing_happens() -> None:
    world = make(3)
    done = with_observers(world, 1, 2)
    world.crash(0)
    world.run(20)
    assert [journal(world.nodes[n]) for n in (1, 2)] == [done, done]
    assert not any(taken_over(node) for node in world.nodes)
    # An observer that takes part from now on is one.
    world.nodes[2].pump(world.nodes[2].member.take_part)
    world.until(lambda: is_online(world.nodes[1]) and is_online(world.nodes[2]))
    assert voters(world, 1) == [bytes(world.nodes[2].peer)]
    assert until_equal(world, 1, 2) == done


def test_survivor_with_half_a_snapshot_lets_go() -> None:
    """It has no state, nor has anybody else: a new writer begins anew, it does not wait."""
    world = make(3)
    with_observers(world, 1)
    survivor = world.nodes[1].member
    assert survivor.history is not None
    sync = survivor.history.sync
    sync._is_broken = True  # as after a snapshot that could not be taken in
    world.crash(0)
    world.start(2)
    world.until(lambda: is_online(world.nodes[2]) and is_online(world.nodes[1]))
    assert until_equal(world, 1, 2) == []


@pytest.mark.parametrize("writes", ["old", "new", "none"])
def test_cut_logs_are_no_hindrance_where_one_side_has_nothing_of_its_own(writes: str) -> None:
    """Two writers of which one is cut off for a while, with a reader: the usual trio."""
    world = World(4, SavedJournal, settings=CUTS)
    world.start(0)
    world.until(lambda: is_online(world.nodes[0]))
    world.start(1)
    world.start(2, 3, is_observer=True)
    world.until(lambda: all(map(is_online, world.nodes)))
    done = put(world, 0, "a", 60)
    world.until(lambda: all(journal(node) == done for node in world.nodes))
    world.run(1)
    for node in world.nodes:
        assert node.member.history is not None
        assert node.member.history.raft.first_index > 1
    for number in (1, 2, 3):
        world.cut(0, number)
    world.until(lambda: bool(taken_over(world.nodes[1])))
    world.until(lambda: all(map(is_online, world.nodes)))
    if writes != "none":
        done += put(world, 0 if writes == "old" else 1, "late", 5)
    world.heal()
    assert until_equal(world, 0, 1, 2, 3) == done
    assert not any("cannot be merged" in text for node in world.nodes for text in node.logged)
    assert sum(len(taken_over(node)) for node in world.nodes) == 3


@pytest.mark.parametrize("wait_ms", [0, 5, 50, 500])
def test_leader_that_restarts_at_once_under_its_key_is_gone(wait_ms: int) -> None:
    """It is bonded again before anybody has missed it: as one that has forgotten."""
    world = make(3)
    done = with_observers(world, 1, 2)
    world.crash(0)
    world.run(wait_ms / 1000)
    world.start(0)
    world.until(lambda: is_online(world.nodes[0]))
    assert until_equal(world, 0, 1, 2) == done


def final_voters(world: World, number: int) -> list[bytes]:
    """Return the voters of the last configuration that a member knows to be committed."""
    history = world.nodes[number].member.history
    assert history is not None
    return [bytes(peer) for peer in history.raft.final_configuration[1].voters]


def test_voter_that_follows_a_continued_history_does_not_elect_itself() -> None:
    """The log that it keeps ends where it was the only voter.

    What it took in as a leader then would stand where the others have other commands.
    """
    world = make(5, Journal)
    done = with_observers(world, 1, 2)
    alone = [bytes(world.nodes[0].peer)]
    world.start(3, 4)
    world.until(lambda: final_voters(world, 0) == alone != voters(world, 0))
    for other in (1, 2, 3, 4):  # half-way to three voters, of which it cannot reach any
        world.cut(0, other)
    world.crash(3, 4)
    world.start(3)
    world.until(lambda: is_online(world.nodes[3]))
    assert history_of(world.nodes[3]) != history_of(world.nodes[0])
    done += put(world, 3, "second", 5)
    world.until(lambda: journal(world.nodes[1]) == done == journal(world.nodes[2]))
    world.heal()
    world.until(lambda: history_of(world.nodes[0]) == history_of(world.nodes[3]))
    assert not world.nodes[0].member.is_leader
    assert until_equal(world, 0, 1, 2, 3) == done
