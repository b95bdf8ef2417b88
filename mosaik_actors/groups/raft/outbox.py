"""What a replica hands out as a `Ready`, and how far its caller has come with that."""

from __future__ import annotations

from ..wire.records import Entry, SnapshotMetadata
from .ready import ReadState, Ready
from .replica import Replica


class RaftOutbox:
    """Makes one `Ready` after the other of what has piled up.

    Args:
        applied_index: What the machine holds.

    Attributes:
        handed_index: The last committed entry that was handed out.
        applied_index: The last one that the caller has applied.
        new_metadata: That of a snapshot the disk does not have yet.
        compact_to: Up to here the disk is to forget entries; None for none.
    """

    def __init__(self, replica: Replica, applied_index: int) -> None:
        self.handed_index = self.applied_index = applied_index
        self.new_metadata: SnapshotMetadata | None = None
        self.compact_to: int | None = None
        self._replica = replica
        self._ready_number = 0
        self._reads: list[ReadState] = []

    def note_applied(self, index: int) -> None:
        """Note that the machine holds everything up to `index`."""
        assert self.applied_index <= index <= self.handed_index, (
            f"applied {index}, after {self.applied_index}, handed out {self.handed_index}"
        )
        self.applied_index = index

    def collect(self) -> Ready | None:
        """Return everything that has piled up as one `Ready`."""
        replica = self._replica
        durability = replica.durability
        log = replica.log
        committed = self._take_committed()
        reads = self._take_reads()
        hard_state = replica.hard_state if replica.must_save_hard_state else None
        first = durability.next_index
        entries = log.tail(first) if first <= log.last_index else ()
        if not (
            entries
            or replica.early_mail
            or replica.mail
            or committed
            or replica.proposals.outcomes
            or replica.events
            or reads
            or hard_state is not None
            or self.new_metadata is not None
            or durability.truncate_from is not None
        ):
            return None
        self._ready_number = number = self._ready_number + 1
        truncate_from = durability.hand_out(number, log.last_index, hard_state)
        ready = Ready(
            number,
            tuple(replica.early_mail),
            hard_state,
            self.new_metadata,
            truncate_from,
            self.compact_to,
            entries,
            tuple(replica.mail),
            committed,
            tuple(replica.proposals.outcomes),
            reads,
            tuple(replica.events),
        )
        replica.must_save_hard_state = False
        self.new_metadata = self.compact_to = None
        for taken in (replica.early_mail, replica.mail, replica.proposals.outcomes, replica.events):
            taken.clear()
        return ready

    def _take_committed(self) -> tuple[Entry, ...]:
        replica = self._replica
        settings = replica.settings
        room = settings.apply_backlog - (self.handed_index - self.applied_index)
        if self.handed_index >= replica.commit_index or room <= 0:
            return ()
        committed = replica.log.slice(
            self.handed_index + 1,
            last_index=replica.commit_index,
            count_max=min(settings.apply_count, room),
            bytes_max=settings.apply_bytes,
        )
        self.handed_index += len(committed)
        return committed

    def _take_reads(self) -> tuple[ReadState, ...]:
        """Return the reads whose entries are handed out by now, and those that failed."""
        replica = self._replica
        if replica.reads:
            self._reads += replica.reads
            replica.reads.clear()
        if not self._reads:
            return ()
        due: list[ReadState] = []
        left: list[ReadState] = []
        for read in self._reads:
            is_due = read.index is None or read.index <= self.handed_index
            (due if is_due else left).append(read)
        self._reads = left
        return tuple(due)
