"""The rules that batches keep, and the storage in memory."""

import pickle
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.errors import MosaikError
from mosaik_actors.groups.storage.interface import (
    INTEGER_MAX,
    BatchError,
    InMemory,
    LogState,
    LogStorage,
    SaveBatch,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageInUse,
    StorageMismatch,
    Stored,
)
from mosaik_actors.groups.wire.records import Entry, EntryKind, HardState, SnapshotMetadata

from ..storage_batches import OWNER, PEERS, draw_batch, entries, snapshot_at, started


def state_of(*batches: SaveBatch) -> LogState:
    state = LogState()
    for batch in batches:
        state.apply(batch)
    return state


def indexes(state: LogState) -> list[int]:
    return [entry.index for entry in state.stored.entries]


def refused(state: LogState, batch: SaveBatch) -> str:
    """Return why a batch is refused, having seen that nothing changed."""
    before = state.stored
    with pytest.raises(BatchError) as caught:
        state.apply(batch)
    assert state.stored == before
    return str(caught.value)


def test_new_log_is_empty() -> None:
    assert LogState().stored == Stored()
    assert Stored().hard_state == HardState(0, None)


def test_entries_follow_without_a_hole() -> None:
    state = state_of(started(3), SaveBatch(entries=entries(4, 2)))
    assert indexes(state) == [1, 2, 3, 4, 5]
    assert refused(state, SaveBatch(entries=entries(7, 1))) == "entry 7 where 6 was expected"
    assert refused(state, SaveBatch(entries=entries(5, 1))) == "entry 5 where 6 was expected"


def test_terms_never_go_down() -> None:
    """Raft thesis, figure 3.2: terms of a log grow with the index."""
    state = state_of(started(3, term=4))
    assert "the one before has 4" in refused(state, SaveBatch(entries=entries(4, 1, term=3)))
    assert refused(state, SaveBatch(hard_state=HardState(3))) == "term goes from 4 to 3"


def test_an_entry_is_not_of_a_later_term_than_the_node() -> None:
    state = state_of(started(3, term=4))
    assert "term 5 in term 4" in refused(state, SaveBatch(entries=entries(4, 1, term=5)))
    assert "in term 4" in refused(state, SaveBatch(snapshot=snapshot_at(9, 5), compact_to=9))
    state.apply(SaveBatch(hard_state=HardState(5), entries=entries(4, 1, term=5)))


def test_a_vote_never_changes_within_its_term() -> None:
    """Raft thesis, section 3.4: at most one vote in a given term."""
    state = state_of(SaveBatch(hard_state=HardState(2)))
    state.apply(SaveBatch(hard_state=HardState(2, PEERS[1])))
    state.apply(SaveBatch(hard_state=HardState(2, PEERS[1])))
    assert "vote of term 2" in refused(state, SaveBatch(hard_state=HardState(2, PEERS[2])))
    assert "vote of term 2" in refused(state, SaveBatch(hard_state=HardState(2)))
    state.apply(SaveBatch(hard_state=HardState(3, PEERS[2])))


def test_truncation_comes_before_new_entries() -> None:
    new = entries(3, 2, term=2, data=b"other")
    state = state_of(started(4))
    state.apply(SaveBatch(hard_state=HardState(2), truncate_from=3, entries=new))
    assert state.stored.entries == [*entries(1, 2), *new]
    assert state.shape.last == (4, 2)


def test_truncation_beyond_the_end_changes_nothing() -> None:
    state = state_of(started(4), SaveBatch(truncate_from=5))
    assert indexes(state) == [1, 2, 3, 4]


def test_what_a_snapshot_covers_is_not_truncated() -> None:
    state = state_of(started(6), SaveBatch(snapshot=snapshot_at(4)))
    assert "settled up to 4" in refused(state, SaveBatch(truncate_from=4))
    state.apply(SaveBatch(truncate_from=5))
    assert indexes(state) == [1, 2, 3, 4]


def test_what_is_committed_is_not_truncated() -> None:
    state = state_of(started(6), SaveBatch(hard_state=HardState(1, None, 4)))
    assert "settled up to 4" in refused(state, SaveBatch(truncate_from=4))
    assert "commit index goes" in refused(state, SaveBatch(hard_state=HardState(1, None, 3)))
    beyond = SaveBatch(hard_state=HardState(1, None, 7))
    assert refused(state, beyond) == "committed to 7, the log ends at 6"
    state.apply(SaveBatch(truncate_from=5))
    assert indexes(state) == [1, 2, 3, 4]


def test_compaction_needs_a_snapshot() -> None:
    state = state_of(started(6))
    assert "the snapshot is None" in refused(state, SaveBatch(compact_to=1))
    state.apply(SaveBatch(snapshot=snapshot_at(4)))
    assert "compacted to 5" in refused(state, SaveBatch(compact_to=5))


def test_compaction_may_keep_entries_that_the_snapshot_covers() -> None:
    """So that a follower that lags a little needs no snapshot."""
    state = state_of(started(6), SaveBatch(snapshot=snapshot_at(5), compact_to=2))
    assert indexes(state) == [3, 4, 5, 6]
    assert state.stored.base == (2, 1)
    assert state.stored.snapshot == snapshot_at(5)


def test_compaction_of_the_whole_log_keeps_its_end() -> None:
    state = state_of(started(6), SaveBatch(snapshot=snapshot_at(6), compact_to=6))
    assert (state.shape.base, state.shape.last) == ((6, 1), (6, 1))
    state.apply(SaveBatch(entries=entries(7, 1)))
    assert indexes(state) == [7]


def test_snapshot_of_another_replaces_the_log() -> None:
    state = state_of(started(6, term=3))
    batch = SaveBatch(snapshot=snapshot_at(20, 2), compact_to=20, entries=entries(21, 1, 3))
    state.apply(batch)
    assert indexes(state) == [21]
    assert state.stored.base == (20, 2)


def test_snapshot_of_another_that_disagrees_with_the_log_needs_truncation() -> None:
    """Raft thesis, section 5.1: a conflicting log is discarded."""
    state = state_of(started(6), SaveBatch(hard_state=HardState(2)))
    install = SaveBatch(snapshot=snapshot_at(4, 2), compact_to=4)
    assert "entry 4 has term 1, its snapshot has 2" in refused(state, install)
    state.apply(SaveBatch(snapshot=snapshot_at(4, 2), truncate_from=1, compact_to=4))
    assert indexes(state) == []
    assert state.shape.last == (4, 2)


def test_a_snapshot_leaves_no_hole_behind_the_log() -> None:
    state = state_of(started(6))
    assert "a hole" in refused(state, SaveBatch(snapshot=snapshot_at(8)))
    assert "the log ends at 6" in refused(state, SaveBatch(snapshot=snapshot_at(9), compact_to=8))


def test_a_new_log_may_begin_with_the_group_s_first_configuration() -> None:
    first = (SnapshotMetadata(0, 0, snapshot_at(1)[0].configuration), b"header")
    state = state_of(SaveBatch(snapshot=first))
    assert state.stored.snapshot == first
    state.apply(SaveBatch(snapshot=(first[0], b"another header")))
    assert state.stored.snapshot == (first[0], b"another header")


def test_a_snapshot_never_goes_back() -> None:
    state = state_of(started(6), SaveBatch(snapshot=snapshot_at(5)))
    assert "in place of" in refused(state, SaveBatch(snapshot=snapshot_at(4)))
    state.apply(SaveBatch(snapshot=snapshot_at(5, data=b"same place")))


def test_reset_forgets_the_log_but_not_the_vote() -> None:
    """A node that leaves its history for a longer one must not vote twice."""
    voted = HardState(7, PEERS[2])
    state = state_of(started(6), SaveBatch(snapshot=snapshot_at(5), compact_to=5))
    state.apply(SaveBatch(hard_state=HardState(7, PEERS[2], 6)))
    install = SaveBatch(
        reset=True, snapshot=snapshot_at(3, 2), compact_to=3, entries=entries(4, 2, 2)
    )
    state.apply(install)
    assert state.stored == Stored(
        hard_state=voted, snapshot=snapshot_at(3, 2), base=(3, 2), entries=entries(4, 2, 2)
    )
    assert "term goes" in refused(state, SaveBatch(reset=True, hard_state=HardState(6)))


def test_indexes_and_terms_fit_64_bits() -> None:
    state = LogState()
    assert "term goes" in refused(state, SaveBatch(hard_state=HardState(INTEGER_MAX + 1)))
    state.apply(SaveBatch(hard_state=HardState(INTEGER_MAX)))
    far = SaveBatch(snapshot=snapshot_at(INTEGER_MAX, INTEGER_MAX), compact_to=INTEGER_MAX)
    state.apply(far)
    beyond = SaveBatch(entries=entries(INTEGER_MAX + 1, 1, INTEGER_MAX))
    assert "is beyond" in refused(state, beyond)


@given(st.integers(0, 2**32))
def test_random_batches_keep_the_invariants(seed: int) -> None:
    rng, state = Random(seed), LogState()
    for _ in range(20):
        state.apply(draw_batch(state, rng))
        stored, shape = state.stored, state.shape
        assert indexes(state) == list(range(shape.base[0] + 1, shape.last[0] + 1))
        assert shape.base[0] <= (shape.metadata.index if shape.metadata else 0) <= shape.last[0]
        terms = [stored.base[1], *(entry.term for entry in stored.entries)]
        assert terms == sorted(terms)
        assert LogState(stored).shape == shape


def test_drawn_batches_cover_every_step() -> None:
    """So that the property tests cannot pass by drawing nothing."""
    rng, seen = Random(1), dict.fromkeys(("reset", "installed", "truncated", "compacted"), 0)
    for _ in range(50):
        state = LogState()
        for _ in range(20):
            batch = draw_batch(state, rng)
            last = state.shape.last[0]
            seen["reset"] += batch.reset
            seen["installed"] += batch.snapshot is not None and batch.snapshot[0].index > last
            seen["truncated"] += batch.truncate_from is not None
            seen["compacted"] += bool(batch.compact_to)
            state.apply(batch)
    assert min(seen.values()) > 10


def test_memory_holds_until_it_is_closed() -> None:
    storage: LogStorage = InMemory()
    assert not storage.is_durable
    storage.open(OWNER)
    storage.save(started(3))
    assert storage.load().entries == entries(1, 3)
    storage.close()
    storage.close()
    storage.open(OWNER)
    assert storage.load() == Stored()


def test_memory_gives_out_values_not_its_own_lists() -> None:
    storage = InMemory()
    storage.open(OWNER)
    mine = entries(1, 3)
    storage.save(SaveBatch(hard_state=HardState(1), entries=mine))
    mine.append(Entry(9, 9, EntryKind.NOOP))
    storage.load().entries.clear()
    assert storage.load().entries == entries(1, 3)


def test_memory_refuses_calls_out_of_order() -> None:
    storage = InMemory()
    with pytest.raises(StorageError, match="not open"):
        storage.load()
    storage.open(OWNER)
    with pytest.raises(StorageInUse, match="one group, one storage"):
        storage.open(OWNER)
    storage.close()
    with pytest.raises(StorageError, match="not open"):
        storage.save(started(1))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (StorageError("a.log", "input/output error"), "a.log: input/output error"),
        (StorageFull("a.log", "no space left"), "a.log: no space left"),
        (StorageCorrupt("a.log", "it is empty", "everything"), "a.log: it is empty; lost: everyth"),
        (
            StorageMismatch("a.log", "peer", "aa", "bb"),
            "a.log: peer is aa, expected bb; give the node the secret_key that it had",
        ),
    ],
)
def test_errors_keep_their_values_and_survive_pickling(error: StorageError, text: str) -> None:
    """Actors send them."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert isinstance(error, MosaikError)
    assert str(copy).startswith(text)
    assert vars(copy) == vars(error)
