"""The pending I/O of a replica with a disk that takes its time, and without one."""

from collections.abc import Sequence
from random import Random

import pytest

from mosaik_actors.groups.raft.config import RaftConfig
from mosaik_actors.groups.raft.log import RaftLog
from mosaik_actors.groups.raft.pending_io import APPLIED_COMMANDS, COMMANDS_PER_ENTRY, PendingIo
from mosaik_actors.groups.raft.raft import Raft
from mosaik_actors.groups.raft.ready import Ready
from mosaik_actors.groups.wire.records import Entry, EntryKind, SnapshotMetadata, Voters
from mosaik_actors.ids import PeerId, SecretKey

ME = SecretKey.from_seed("me").peer_id


class Replica:
    """A lone voter, and what its pending I/O did."""

    def __init__(self, *, is_durable: bool, entries: Sequence[Entry] = ()) -> None:
        self.raft = Raft(
            ME,
            RaftConfig(),
            Random(1),
            now=0.0,
            metadata=SnapshotMetadata(0, 0, Voters((ME,))),
            log=RaftLog(entries=entries),
        )
        self.applied: list[bytes] = []
        self.sent: list[PeerId] = []
        self.pending_io = PendingIo(
            self.raft,
            is_durable=is_durable,
            send=lambda messages: self.sent.extend(peer for peer, _ in messages),
            finish=self.finish,
            snapshot_of=lambda metadata: b"snapshot %d" % metadata.index,
        )

    def finish(self, ready: Ready) -> int:
        before = len(self.applied)
        self.applied += [e.data for e in ready.committed if e.kind is EntryKind.COMMANDS]
        if ready.committed:
            self.raft.applied(ready.committed[-1].index)
        return len(self.applied) - before

    def save_all(self) -> int:
        """Save until nothing waits; return in how many batches."""
        count = 0
        while self.pending_io.next_save() is not None:
            count += 1
            self.pending_io.saved()
        return count


def test_in_memory_nothing_waits() -> None:
    replica = Replica(is_durable=False)
    replica.raft.campaign(now=0.0)
    replica.pending_io.run()
    assert replica.raft.propose(b"a")
    replica.pending_io.run()
    assert replica.applied == [b"a"]
    assert replica.pending_io.next_save() is None


def test_nothing_is_applied_before_it_is_saved() -> None:
    replica = Replica(is_durable=True)
    replica.raft.campaign(now=0.0)
    replica.pending_io.run()
    replica.save_all()
    assert replica.raft.is_leader
    replica.raft.propose(b"a")
    replica.pending_io.run()
    batch = replica.pending_io.next_save()
    assert batch is not None
    assert [entry.data for entry in batch.entries] == [b"a"]
    assert replica.applied == []
    replica.pending_io.saved()
    assert replica.applied == [b"a"]


def test_what_piles_up_during_a_save_is_saved_together() -> None:
    replica = Replica(is_durable=True)
    replica.raft.campaign(now=0.0)
    replica.pending_io.run()
    replica.save_all()
    names = [b"%d" % number for number in range(10)]
    for name in names:
        replica.raft.propose(name)
        replica.pending_io.run()
    first = replica.pending_io.next_save()
    assert first is not None
    assert replica.pending_io.next_save() is None, "one save at a time"
    replica.pending_io.saved()
    second = replica.save_all()
    assert len(first.entries) == 10 or second == 1
    assert replica.applied == names


def test_a_snapshot_is_saved_with_its_metadata() -> None:
    replica = Replica(is_durable=True)
    replica.raft.campaign(now=0.0)
    replica.pending_io.run()
    replica.save_all()
    replica.raft.propose(b"a")
    replica.pending_io.run()
    replica.save_all()
    metadata = replica.raft.metadata_at(replica.raft.applied_index)
    replica.raft.compact(metadata)
    replica.pending_io.run()
    batch = replica.pending_io.next_save()
    assert batch is not None
    assert batch.snapshot == (metadata, b"snapshot %d" % metadata.index)
    assert batch.compact_to == metadata.index


def test_a_log_that_is_full_says_so() -> None:
    metadata = SnapshotMetadata(0, 0, Voters((ME,)))
    raft = Raft(ME, RaftConfig(log_bytes=1000), Random(1), now=0.0, metadata=metadata)
    raft.campaign(now=0.0)
    while (ready := raft.next_ready()) is not None:
        raft.persisted(ready)
    assert raft.log.size_bytes < raft.settings.log_bytes
    assert raft.propose(bytes(800))
    assert not raft.propose(bytes(800))
    assert raft.propose(bytes(1000 - raft.log.size_bytes))
    assert raft.log.size_bytes >= raft.settings.log_bytes


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_long_log_is_applied_in_parts_and_in_order(is_durable: bool) -> None:
    """Whoever opens a log of a million commands would stop its node for seconds."""
    data = bytes(8)
    names = [b"%d " % number + data for number in range(5 * APPLIED_COMMANDS)]
    entries = [Entry(n, 1, EntryKind.COMMANDS, name) for n, name in enumerate(names, 1)]
    replica = Replica(is_durable=is_durable, entries=entries)
    pending_io = replica.pending_io
    replica.raft.campaign(now=0.0)
    steps, before = 0, 0
    pending_io.run()
    while len(replica.applied) < len(names):
        # A `Ready` has 32 KiB of entries at most, and one that is begun is carried through.
        assert len(replica.applied) - before <= 2 * APPLIED_COMMANDS
        before, steps = len(replica.applied), steps + 1
        if pending_io.has_more:
            assert pending_io.next_save() is None, "what is saved is finished first"
            pending_io.run()
        else:
            assert pending_io.next_save() is not None
            pending_io.saved()
    assert steps >= 3
    assert replica.applied == names
    replica.save_all()
    pending_io.run()
    assert pending_io.is_idle
    assert not pending_io.has_more


def test_entries_that_apply_nothing_are_applied_in_parts_as_well() -> None:
    """A log of what was refused or repeated would stop its node as long as any."""
    entries = [Entry(n, 1, EntryKind.SYSTEM, bytes(8)) for n in range(1, 3 * APPLIED_COMMANDS)]
    replica = Replica(is_durable=False, entries=entries)
    raft, pending_io = replica.raft, replica.pending_io
    raft.campaign(now=0.0)
    steps, before = 0, 0
    pending_io.run()
    while pending_io.has_more:
        applied = raft.applied_index - before
        # A `Ready` that is begun is carried through.
        assert applied <= APPLIED_COMMANDS / COMMANDS_PER_ENTRY + 32 * 1024 / (8 + 24)
        before, steps = raft.applied_index, steps + 1
        pending_io.run()
    assert steps >= 3
    assert raft.applied_index == raft.log.last_index
