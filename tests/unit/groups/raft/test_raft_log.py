"""The log in memory, against a list."""

from random import Random

import pytest

from mosaik_actors.groups.raft.log import RaftLog, cost_of
from mosaik_actors.groups.wire.records import Entry, EntryKind

from ..cores import log_of

ALL = {"last_index": 1 << 40, "count_max": 1 << 20, "bytes_max": 1 << 40}


def test_empty_log_ends_at_its_metadata() -> None:
    log = RaftLog(7, 3)
    assert (log.last_index, log.last_term, log.tail(8)) == (7, 3, ())
    assert [log.term_at(index) for index in (6, 7, 8)] == [None, 3, None]


def test_terms_are_known_from_the_metadata_to_the_end() -> None:
    log = RaftLog(0, 0, log_of(1, 2, 2))
    assert [log.term_at(index) for index in range(-1, 5)] == [None, 0, 1, 2, 2, None]


@pytest.mark.parametrize("bad", [Entry(5, 2, EntryKind.NOOP), Entry(4, 1, EntryKind.NOOP)])
def test_gaps_and_falling_terms_are_bugs(bad: Entry) -> None:
    log = RaftLog(0, 0, log_of(1, 2, 2))
    with pytest.raises(AssertionError):
        log.append(bad)


def test_slice_is_cut_by_last_index_count_and_bytes() -> None:
    log = RaftLog(0, 0, log_of(1, 1, 1, 1))
    one = cost_of(log.entry_at(1))
    assert [e.index for e in log.slice(2, **ALL)] == [2, 3, 4]
    assert [e.index for e in log.slice(2, **{**ALL, "last_index": 3})] == [2, 3]
    assert [e.index for e in log.slice(1, **{**ALL, "count_max": 2})] == [1, 2]
    assert [e.index for e in log.slice(1, **{**ALL, "bytes_max": 2 * one})] == [1, 2]
    assert [e.index for e in log.slice(1, **{**ALL, "bytes_max": 1})] == [1]
    assert log.slice(5, **ALL) == ()


def test_first_new_finds_the_first_entry_that_differs() -> None:
    log = RaftLog(0, 0, log_of(1, 1, 2))
    assert log.first_new(log_of(1, 1, 2)) == 3
    assert log.first_new(log_of(1, 1, 3, 3)) == 2
    assert log.first_new(log_of(1, 1, 2, 2)) == 3


def test_log_behaves_like_a_list() -> None:
    rng = Random(5)
    for _ in range(200):
        log, model = RaftLog(), [(0, 0, 0)]
        base = 0
        for _ in range(40):
            last = model[-1]
            match rng.randrange(4):
                case 0 | 1:
                    term = max(1, last[1]) + rng.randrange(2)
                    entry = Entry(last[0] + 1, term, EntryKind.NOOP, bytes(rng.randrange(9)))
                    log.append(entry)
                    model.append((entry.index, term, cost_of(entry)))
                case 2 if len(model) > 1:
                    at = rng.randrange(1, len(model))
                    log.truncate(model[at][0])
                    del model[at:]
                case 3:
                    at = rng.randrange(len(model))
                    log.compact(model[at][0])
                    base = model[at][0]
                    del model[:at]
            assert (log.last_index, log.last_term) == model[-1][:2]
            assert log.snapshot_index == base
            assert log.size_bytes == sum(size for _, _, size in model[1:])
            term, index = rng.randrange(8), rng.randrange(1, 50)
            fitting = [i for i, t, _ in model if t <= term and i <= index]
            assert log.last_with_term_at_most(term, index) == (fitting[-1] if fitting else 0)
