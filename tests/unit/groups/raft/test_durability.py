"""What is handed out to be saved, and what is saved."""

import pytest

from mosaik_actors.groups.raft.durability import Durability
from mosaik_actors.groups.wire.records import HardState


def test_entries_are_handed_out_once() -> None:
    durability = Durability(3, HardState())
    assert durability.next_index == 4
    assert durability.hand_out(1, 6, None) is None
    assert durability.next_index == 7
    assert durability.saved_index() == 3
    durability.persisted(1)
    assert durability.saved_index() == 6


def test_removal_of_entries_that_were_not_handed_out_needs_no_removal() -> None:
    durability = Durability(3, HardState())
    durability.truncated(5)
    assert durability.hand_out(1, 6, None) is None


def test_removal_counts_at_once() -> None:
    durability = Durability(6, HardState())
    durability.truncated(5)
    assert durability.saved_index() == 4
    assert durability.hand_out(1, 5, None) == 5
    assert durability.saved_index() == 4
    durability.persisted(1)
    assert durability.saved_index() == 5


def test_entry_that_comes_back_is_saved_only_when_it_is_saved_again() -> None:
    """Batch 1 adds it, 2 replaces it, 3 restores it: with 1 saved it may still be lost."""
    durability = Durability(6, HardState())
    assert durability.hand_out(1, 7, None) is None
    durability.truncated(7)
    assert durability.hand_out(2, 7, None) == 7
    durability.truncated(7)
    assert durability.hand_out(3, 7, None) == 7
    durability.persisted(1)
    assert durability.saved_index() == 6
    durability.persisted(2)
    assert durability.saved_index() == 6
    durability.persisted(3)
    assert durability.saved_index() == 7


def test_several_removals_become_one() -> None:
    durability = Durability(9, HardState())
    durability.truncated(8)
    durability.truncated(5)
    durability.truncated(7)
    assert durability.hand_out(1, 4, None) == 5


def test_term_and_vote_are_saved_with_their_batch() -> None:
    durability = Durability(0, HardState(1))
    durability.hand_out(1, 0, HardState(2))
    durability.hand_out(2, 0, None)
    assert durability.saved == HardState(1)
    durability.persisted(1)
    durability.persisted(2)
    assert durability.saved == HardState(2)
    assert not durability.has_outstanding


def test_batch_that_was_never_handed_out_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Durability(0, HardState()).persisted(1)
