"""Who hears of changes: backlogs that drop nothing silently, and outcomes of commands."""

import gc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.collections.commands import Cleared, ContentsReplaced
from mosaik_actors.collections.feed import Backlog, ChangeFeed, Outcomes
from mosaik_actors.collections.map import EntryInserted, EntryRemoved, MapMachine

from .replicas import apply, restore


def taken(backlog: Backlog) -> list[Any]:
    return [backlog.take() for _ in range(len(backlog))]


def has_listener(machine: MapMachine[str, int]) -> bool:
    return machine.on_change is not None


def machine_of_ints() -> MapMachine[str, int]:
    return MapMachine(str, int, store_id="counts")


def test_a_machine_without_listeners_makes_no_changes() -> None:
    machine = machine_of_ints()
    feed = ChangeFeed(machine)
    assert not has_listener(machine)
    backlog = feed.listen(10)
    assert has_listener(machine)
    del backlog
    gc.collect()
    assert not has_listener(machine)
    feed.begin()
    assert has_listener(machine)
    feed.end()
    assert not has_listener(machine)


def test_each_reader_has_all_changes_since_it_began() -> None:
    machine = machine_of_ints()
    feed = ChangeFeed(machine)
    first = feed.listen(10)
    apply(machine, machine.insert("a", 1), position=1)
    second = feed.listen(10)
    apply(machine, machine.remove("a"), position=2)
    assert taken(first) == [EntryInserted("a", 1, 1), EntryRemoved("a", 1, 2)]
    assert taken(second) == [EntryRemoved("a", 1, 2)]


def test_too_many_changes_become_one_that_says_read_anew() -> None:
    backlog = Backlog(3)
    backlog.put([Cleared(1), Cleared(2)])
    backlog.put([Cleared(3)])
    backlog.put([Cleared(4)])
    backlog.put([Cleared(5)])
    assert taken(backlog) == [ContentsReplaced(), Cleared(5)]


@given(st.lists(st.integers(0, 4), max_size=30), st.integers(1, 6))
def test_a_reader_that_follows_a_backlog_ends_with_the_state(sizes: list[int], limit: int) -> None:
    """What is dropped is announced, so that replaying the rest leads to the same place."""
    backlog = Backlog(limit)
    state, version, read = 0, 0, 0
    for size in sizes:
        changes = []
        for _ in range(size):
            version += 1
            state += version
            changes.append(Cleared(version))
        backlog.put(changes)
        assert len(backlog) <= limit
    seen_to = 0
    for change in taken(backlog):
        if isinstance(change, ContentsReplaced):
            read, seen_to = state, version
        elif change.version > seen_to:
            read += change.version
    assert read == state


def test_an_outcome_is_what_the_command_changed() -> None:
    machine = machine_of_ints()
    feed = ChangeFeed(machine)
    begun = feed.begin()
    apply(machine, machine.compare_exchange("a", None, 1), position=1)
    apply(machine, machine.compare_exchange("a", None, 2), position=2)
    assert feed.outcomes.find(begun, 1) == (EntryInserted("a", 1, 1),)
    assert feed.outcomes.find(begun, 2) == ()


def test_after_a_snapshot_the_outcome_is_unknown() -> None:
    """The command may be in the snapshot: then nobody here has seen what it did."""
    machine, other = machine_of_ints(), machine_of_ints()
    feed = ChangeFeed(machine)
    begun = feed.begin()
    apply(other, other.insert("a", 1), position=1)
    restore(machine, list(other.snapshot()))
    assert feed.outcomes.find(begun, 1) is None
    # Of what begins afterwards it is known again.
    later = feed.begin()
    apply(machine, machine.remove("a"), position=2)
    assert feed.outcomes.find(later, 2) == (EntryRemoved("a", 1, 2),)


def test_outcomes_are_forgotten_when_nobody_waits() -> None:
    outcomes = Outcomes()
    outcomes.begin()
    outcomes.put([Cleared(1)])
    outcomes.end()
    assert not outcomes.is_wanted
    assert not outcomes._current
    again = outcomes.begin()
    outcomes.put([Cleared(2)])
    assert outcomes.find(again, 2) == (Cleared(2),)


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 5))
def test_an_outcome_is_never_wrong_however_little_is_remembered(
    sizes: list[int], kept: int
) -> None:
    outcomes = Outcomes(kept)
    begun = outcomes.begin()
    made: dict[int, tuple[Any, ...]] = {}
    for version, size in enumerate(sizes, 1):
        made[version] = tuple([Cleared(version)] * size)
        outcomes.put(list(made[version]))
        assert outcomes.find(begun, version) == made[version], "the latest is always known"
        for earlier, changes in made.items():
            assert outcomes.find(begun, earlier) in (changes, None)


def test_what_is_remembered_is_bounded() -> None:
    outcomes = Outcomes(kept=100)
    outcomes.begin()
    for version in range(1, 10_000):
        outcomes.put([Cleared(version)])
    assert len(outcomes._current) + len(outcomes._former) <= 202
