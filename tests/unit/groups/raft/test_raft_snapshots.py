"""Compaction, snapshots and ranges that come from elsewhere (thesis chapter 5)."""

import pytest

from mosaik_actors.errors import RemoteError
from mosaik_actors.groups.raft.log import RaftLog
from mosaik_actors.groups.raft.progress import ProgressState
from mosaik_actors.groups.raft.ready import (
    ConfigurationCommitted,
    ProposalOutcome,
    ProposalVerdict,
    Ready,
    Reason,
    SnapshotNeeded,
)
from mosaik_actors.groups.wire.raft import Append, Appended, SnapshotOffer
from mosaik_actors.groups.wire.records import Entry, EntryKind, HardState, SnapshotMetadata

from ..cores import Cores, add_learner, log_of, peer, voters_of


def busy(count: int = 3, proposals: int = 9) -> Cores:
    """Return replicas, the first leading, with some committed entries."""
    cores = Cores(count)
    cores.elect(0)
    for number in range(proposals):
        cores.rafts[0].propose(b"%d" % number)
    cores.settle()
    cores.beat(0)
    return cores


def next_ready(cores: Cores, number: int) -> Ready:
    ready = cores.rafts[number].next_ready()
    assert ready is not None
    cores.rafts[number].persisted(ready)
    return ready


def test_compaction_cuts_the_log_and_says_so() -> None:
    cores = busy()
    raft = cores.rafts[0]
    metadata = raft.metadata_at(8)
    assert metadata == SnapshotMetadata(8, 1, voters_of(0, 1, 2))
    raft.compact(metadata, keep_count=3)
    ready = next_ready(cores, 0)
    assert (ready.metadata, ready.compact_to, ready.truncate_from) == (metadata, 5, None)
    assert (raft.first_index, raft.log.last_index, raft.metadata) == (6, 10, metadata)
    raft.compact(metadata)
    assert raft.next_ready() is None


def test_follower_a_little_behind_needs_no_snapshot() -> None:
    cores = busy()
    cores.isolate(2)
    cores.rafts[0].propose(b"x")
    cores.settle()
    cores.rafts[0].compact(cores.rafts[0].metadata_at(11), keep_count=2)
    cores.heal()
    cores.beat(0)
    cores.beat(0)
    assert cores.rafts[2].log.last_index == 11
    assert not cores.events_of(2, SnapshotNeeded)


def test_follower_far_behind_is_offered_a_snapshot_once() -> None:
    cores = busy()
    cores.isolate(2)
    for _ in range(5):
        cores.rafts[0].propose(b"x")
        cores.settle()
    metadata = cores.rafts[0].metadata_at(15)
    cores.rafts[0].compact(metadata)
    cores.heal()
    for _ in range(4):
        cores.beat(0)
    assert cores.events_of(2, SnapshotNeeded) == [SnapshotNeeded(metadata, peer(0))]
    assert cores.rafts[0].progress[peer(2)].state is ProgressState.SNAPSHOT
    # The caller fetches it somewhere, and replication goes on behind it.
    assert cores.rafts[2].install(metadata)
    cores.settle()
    assert cores.rafts[0].progress[peer(2)].state is ProgressState.REPLICATE
    cores.rafts[0].propose(b"y")
    cores.settle()
    assert cores.rafts[2].log.last_index == 16
    assert cores.applied[2][-1].index == 16


def test_install_hands_out_metadata_cut_and_entries_in_one_batch() -> None:
    cores = Cores(3, logs=[[], log_of(1, 1, 1), []], states=[HardState(5)] * 3)
    metadata = SnapshotMetadata(7, 4, voters_of(0, 1, 2))
    after = [Entry(8, 4, EntryKind.NOOP), Entry(9, 5, EntryKind.NOOP)]
    assert cores.rafts[1].install(metadata, after)
    ready = next_ready(cores, 1)
    assert (ready.metadata, ready.truncate_from, ready.compact_to) == (metadata, 1, 7)
    assert ready.entries == tuple(after)
    assert ready.committed == tuple(after)
    assert ready.hard_state == HardState(5, None, 9)
    assert ConfigurationCommitted(7, metadata.configuration) in ready.events
    assert cores.rafts[1].commit_index == 9


def test_install_keeps_a_log_that_agrees() -> None:
    cores = Cores(3, logs=[[], log_of(1, 1, 2, 2), []], states=[HardState(5)] * 3)
    assert cores.rafts[1].install(SnapshotMetadata(2, 1, voters_of(0, 1, 2)))
    ready = next_ready(cores, 1)
    assert (ready.truncate_from, ready.compact_to, ready.entries) == (None, 2, ())
    assert cores.rafts[1].log.last_index == 4
    assert cores.rafts[1].commit_index == 2


def test_install_drops_a_log_that_contradicts_the_snapshot() -> None:
    """5.1: the whole log goes, not only what the snapshot covers."""
    cores = Cores(3, logs=[[], log_of(1, 1, 2, 2), []], states=[HardState(5)] * 3)
    assert cores.rafts[1].install(SnapshotMetadata(3, 5, voters_of(0, 1, 2)))
    ready = next_ready(cores, 1)
    assert (ready.truncate_from, ready.compact_to) == (1, 3)
    assert cores.rafts[1].log.last_index == 3
    assert cores.rafts[1].term_at(3) == 5


def test_install_raises_the_term_to_that_of_the_log() -> None:
    cores = Cores(3)
    assert cores.rafts[1].install(SnapshotMetadata(7, 4, voters_of(0, 1, 2)))
    ready = next_ready(cores, 1)
    assert ready.hard_state == HardState(4, None, 7)
    assert cores.rafts[1].term == 4


def test_install_leaves_committed_entries_to_the_compaction() -> None:
    """A storage refuses to truncate what is committed, rightly."""
    cores = Cores(3, logs=[[], log_of(1, 1, 2, 2), []], states=[HardState(5, None, 2)] * 3)
    assert cores.rafts[1].install(SnapshotMetadata(4, 3, voters_of(0, 1, 2)))
    ready = next_ready(cores, 1)
    assert (ready.truncate_from, ready.compact_to) == (3, 4)


def test_install_of_what_is_here_changes_nothing() -> None:
    cores = busy()
    assert not cores.rafts[1].install(SnapshotMetadata(3, 1, voters_of(0, 1, 2)))
    assert not cores.rafts[1].install(None, cores.log(0)[2:5])
    assert cores.rafts[1].next_ready() is None


def test_fetched_range_extends_the_log_and_tells_the_leader() -> None:
    cores = busy()
    cores.isolate(2)
    for _ in range(5):
        cores.rafts[0].propose(b"x")
        cores.settle()
    cores.heal()
    fetched = cores.rafts[1].entries(8, count_max=100, bytes_max=1 << 20)
    assert [entry.index for entry in fetched][:1] == [8]
    assert cores.rafts[2].install(None, fetched)
    cores.settle()
    assert cores.rafts[0].progress[peer(2)].match_index == fetched[-1].index
    assert cores.sent_of(2, Appended)[-1] == Appended(1, fetched[-1].index)


def test_fetched_range_replaces_what_was_never_committed() -> None:
    cores = Cores(3, logs=[[], log_of(1, 2, 2), []], states=[HardState(5)] * 3)
    assert cores.rafts[1].install(None, [Entry(2, 4, EntryKind.NOOP)])
    assert cores.terms(1) == [1, 4]


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(12, 1, EntryKind.NOOP)],
        [Entry(11, 1, EntryKind.NOOP), Entry(13, 1, EntryKind.NOOP)],
        [Entry(11, 2, EntryKind.NOOP), Entry(12, 1, EntryKind.NOOP)],
        [Entry(10, 9, EntryKind.NOOP), Entry(11, 9, EntryKind.NOOP)],
        [Entry(11, 1, EntryKind.CONFIGURATION, b"?")],
    ],
    ids=["gap before", "gap inside", "falling terms", "against the committed", "no configuration"],
)
def test_bad_range_is_refused_and_changes_nothing(entries: list[Entry]) -> None:
    cores = busy()
    before = cores.log(1)
    with pytest.raises(RemoteError):
        cores.rafts[1].install(None, entries)
    assert cores.log(1) == before
    assert cores.rafts[1].next_ready() is None


def test_only_committed_entries_are_given_to_peers() -> None:
    cores = busy()
    cores.isolate(0)
    cores.rafts[0].propose(b"not committed")
    cores.settle()
    fetched = cores.rafts[0].entries(1, count_max=100, bytes_max=1 << 20)
    assert fetched[-1].index == cores.rafts[0].commit_index == 10
    assert cores.rafts[0].entries(11, count_max=100, bytes_max=1 << 20) == ()
    cores.rafts[0].compact(cores.rafts[0].metadata_at(5))
    assert cores.rafts[0].entries(5, count_max=100, bytes_max=1 << 20) == ()
    assert len(cores.rafts[0].entries(6, count_max=2, bytes_max=1 << 20)) == 2


def test_proposal_whose_place_came_in_a_snapshot_is_unknown() -> None:
    cores = busy()
    cores.isolate(0)
    cores.rafts[0].propose(b"lost", "token")
    cores.settle()
    while cores.rafts[0].is_leader:
        cores.beat(0)
    assert cores.rafts[0].install(SnapshotMetadata(20, 7, voters_of(0, 1, 2)))
    cores.settle()
    assert cores.outcomes[0][-1] == ProposalOutcome(
        "token", ProposalVerdict.UNKNOWN, 0, Reason.COMPACTED
    )


def test_leader_that_compacted_what_was_in_flight_offers_a_snapshot() -> None:
    cores = busy()
    cores.cut = {(0, 2)}
    for _ in range(3):
        cores.rafts[0].propose(b"x")
        cores.settle()
    cores.rafts[0].compact(cores.rafts[0].metadata_at(13))
    cores.heal()
    cores.beat(0)
    cores.beat(0)
    assert cores.sent_of(0, SnapshotOffer)


def test_append_that_begins_before_the_metadata_is_taken_from_there() -> None:
    cores = busy()
    entries = cores.log(0)
    cores.rafts[1].compact(cores.rafts[1].metadata_at(6))
    cores.pump(1)
    more = Entry(11, 1, EntryKind.NOOP)
    cores.give(0, 1, Append(1, 3, 1, 10, (*entries[3:], more)))
    assert cores.rafts[1].log.last_index == 11
    assert cores.sent_of(1, Appended)[-1] == Appended(1, 11)
    cores.give(0, 1, Append(1, 3, 1, 10, tuple(entries[3:5])))
    assert cores.sent_of(1, Appended)[-1] == Appended(1, 10)


def test_append_that_contradicts_the_metadata_is_a_broken_rule() -> None:
    cores = Cores(3, logs=[[], log_of(2, 2, 2), []], states=[HardState(5, None, 3)] * 3)
    ready = next_ready(cores, 1)
    cores.rafts[1].applied(ready.committed[-1].index)
    cores.rafts[1].compact(cores.rafts[1].metadata_at(2))
    with pytest.raises(RemoteError, match="entry 2"):
        cores.give(0, 1, Append(5, 0, 0, 0, tuple(log_of(1, 1, 1))))


def test_joiner_learns_log_and_configuration_from_a_snapshot() -> None:
    cores = Cores(4, voters=voters_of(0, 1, 2))
    cores.metadata = SnapshotMetadata()
    cores.restart(3, entries=[])
    cores.elect(0)
    cores.rafts[0].compact(cores.rafts[0].metadata_at(1))
    cores.rafts[0].change_configuration(add_learner(cores.rafts[0].configuration, peer(3)), "join")
    cores.settle()
    cores.beat(0)
    (needed,) = cores.events_of(3, SnapshotNeeded)
    assert cores.rafts[3].install(needed.metadata)
    cores.settle()
    cores.beat(0)
    assert cores.rafts[3].configuration == voters_of(0, 1, 2, learners=(3,))
    assert cores.rafts[3].commit_index == 2


def test_restart_continues_from_snapshot_and_log() -> None:
    cores = busy()
    raft = cores.rafts[0]
    raft.compact(raft.metadata_at(6), keep_count=2)
    kept = cores.log(0)
    cores.metadata = raft.metadata
    again = type(raft)(
        peer(0),
        cores.settings,
        raft.rng,
        now=cores.now,
        hard_state=raft.hard_state,
        metadata=raft.metadata,
        log=RaftLog(4, 1, kept),
    )
    assert (again.first_index, again.log.last_index, again.applied_index) == (5, 10, 6)
    ready = again.next_ready()
    assert ready is not None
    assert [entry.index for entry in ready.committed] == [7, 8, 9, 10]
    assert not ready.must_save
