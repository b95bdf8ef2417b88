"""Raft: one replica of a group's log.

A pure state machine after Ongaro's thesis (2014): it opens no socket, reads no clock and
writes no disk. The caller passes messages and ``now``, and does what each `Ready` says, in its
order. Which chapter is where, the room's docstring says.

Where this differs from the thesis:
    * While a change of the configuration is not known to be committed, both
      the old and the new voters must agree, to anything (`quorum`). So the
      commit index is saved with every committed configuration.
    * A leader changes the configuration, and answers strong reads, only after
      it has committed an entry of its term (correction of 2015 to 4.1; 6.4).
    * A snapshot does not travel through the core: the leader offers it, the
      follower's caller fetches it, from whom it likes, and calls `install`.

A follower that comes back with a shorter log than its leader counts has lost what it
promised. The leader never takes back what it counted; the follower learns of it with the
next heartbeat, and takes no part any more (`has_lost_entries`).

Safety never depends on time: not on clocks that agree, nor on clocks that go
at all. Time decides only when replicas try.

Invariants, beside those of the thesis (figure 3.2):
    * Nothing is sent, and no own vote or entry counted, before it is saved.
    * Nothing is reported as committed that a later leader could drop.
    * Every queue is bounded by `RaftConfig`, or by the log, which is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import RemoteError
from ...ids import PeerId
from ..wire.raft import Appended, Message, check_entries, check_metadata
from ..wire.records import Entry, EntryKind, SnapshotMetadata, Voters
from .candidate import Candidate
from .follower import Follower
from .leader import Leader
from .progress import FollowerProgress
from .ready import ConfigurationCommitted, ReadState, Ready, Reason
from .replica import FOLLOWER, Replica, Roles


class Raft(Replica):
    """One replica, for who drives it; `Replica` says what it is made of."""

    roles = Roles(Follower, Candidate, Leader)

    # The verbs.

    def receive_message(self, sender: PeerId, message: Message, *, now: float) -> None:
        """Take in a message that `decode_message` returned; the link proves who sent it.

        Messages may be lost, come twice, late or in another order. Afterwards drain `next_ready`
        and re-read `get_timer`. Raises `RemoteError`: the sender breaks a rule of Raft. Nothing has
        changed but the term, perhaps; close the link.
        """
        self.observe(now)
        self.receive(sender, message)

    def get_timer(self) -> float:
        """Return when to call `handle_timer`, on the caller's clock."""
        return self.role.timer_s - self._clock_offset_s

    def handle_timer(self, *, now: float) -> None:
        """Do what is due: heartbeats, elections, stepping down. Too early does no harm."""
        self.observe(now)
        self.role.handle_timer()

    def recheck_quiescence(self, *, now: float) -> None:
        """Take in that `liveness_of` may return something else than before."""
        self.observe(now)
        self.role.recheck_quiescence()

    def campaign(self, *, now: float) -> None:
        """Stand for election without waiting for a timeout, if that may be.

        For who disturbs nobody: the first leader of a new group, and a voter that is alone.
        """
        self.observe(now)
        if self.role.name == FOLLOWER and self.may_stand:
            self.become_pre_candidate()

    def propose(
        self,
        data: bytes,
        token: Any = None,
        kind: EntryKind = EntryKind.COMMANDS,
        *,
        is_awaited: bool = False,
    ) -> bool:
        """Propose commands or a system entry; return whether it is in the leader's log.

        A `ProposalOutcome` with the token follows in a `Ready`, in any case that can be known:
        committed; not taken, at once or when a later leader committed something else in its place;
        or unknown, when its place came in a snapshot. A leader that is cut off learns nothing, so
        the caller has a time limit of its own, after which the command may still take effect.

        The `data` is never looked at here; `kind` is COMMANDS or SYSTEM. When another replica waits
        (`is_awaited`) all hear at once that it is committed, not after `RaftConfig.commit_delay`.
        """
        role, self.has_input = self.role, True
        if isinstance(role, Leader):
            return role.propose(data, token, kind, is_awaited)
        return self.proposals.refuse(token, Reason.NOT_LEADER)

    def read(self, request_id: Any) -> None:
        """Ask for a strong read; a `ReadState` with `request_id` follows.

        It fails, with no index, when there is no leader, when too many wait, or when the
        leader changes before it has answered. When messages are lost there may be
        no answer at all: the caller has a time limit, and asks again.
        """
        self.has_input = True
        self.role.read(request_id)

    def change_configuration(self, target: Voters, token: Any = None) -> bool:
        """Propose a configuration; return whether it is in the leader's log, and in force.

        One voter may differ from the present one, any number of learners. The `ProposalOutcome`
        says why when it may not be.
        """
        role, self.has_input = self.role, True
        if isinstance(role, Leader):
            return role.change_configuration(target, token)
        return self.proposals.refuse(token, Reason.NOT_LEADER)

    def transfer_leadership(self, to: PeerId) -> bool:
        """Hand leadership to a voter; return whether that begins (Raft thesis 3.10).

        Meanwhile proposals are not taken; if it fails, again after an election timeout.
        """
        self.has_input = True
        return isinstance(self.role, Leader) and self.role.transfer(to)

    def step_down(self, why: str, *, now: float) -> None:
        """Lead no more, stand no more, believe in no leader: the caller cannot do its pending I/O.

        A leader has the most complete voter that it hears take over, without waiting for
        its own disk: that promises nothing.
        """
        self.observe(now)
        if isinstance(self.role, Leader):
            self.role.resign(why)
        else:
            self.become_follower(self.term, None, why)

    # What comes out.

    def next_ready(self) -> Ready | None:
        """Return the next batch of pending I/O, None when there is nothing to do.

        Call it until it returns None whenever anything was put in.
        """
        if self.has_input:
            self.has_input = False  # before: what the role does itself may be one
            self.role.flush()
        durability, log = self.durability, self.log
        committed = self._take_committed() if self.handed_index < self.commit_index else ()
        reads = self._take_reads() if self.reads else ()
        hard_state = self.hard_state if self.must_save_hard_state else None
        first = durability.next_index
        entries = log.tail(first) if first <= log.last_index else ()
        mail, early_mail, outcomes = self.mail, self.early_mail, self.proposals.outcomes
        to_save = entries or hard_state or self.new_metadata or durability.truncate_from
        if not (to_save or early_mail or mail or committed or outcomes or reads or self.events):
            return None
        self._ready_number = number = self._ready_number + 1
        truncate_from = durability.hand_out(number, log.last_index, hard_state)
        ready = Ready(
            number,
            tuple(early_mail),
            hard_state,
            self.new_metadata,
            truncate_from,
            self.compact_to,
            entries,
            tuple(mail),
            committed,
            tuple(outcomes),
            reads,
            tuple(self.events),
        )
        self.must_save_hard_state = False
        self.new_metadata = self.compact_to = None
        for taken in (early_mail, mail, outcomes, self.events):
            taken.clear()
        return ready

    def _take_committed(self) -> tuple[Entry, ...]:
        settings = self.settings
        room = settings.apply_backlog - (self.handed_index - self.applied_index)
        if room <= 0:
            return ()
        committed = self.log.slice(
            self.handed_index + 1,
            last_index=self.commit_index,
            count_max=min(settings.apply_count, room),
            bytes_max=settings.apply_bytes,
        )
        self.handed_index += len(committed)
        return committed

    def _take_reads(self) -> tuple[ReadState, ...]:
        """Return the reads whose entries are handed out by now, and those that failed."""
        due: list[ReadState] = []
        left: list[ReadState] = []
        for read in self.reads:
            is_due = read.index is None or read.index <= self.handed_index
            (due if is_due else left).append(read)
        self.reads = left
        return tuple(due)

    def persisted(self, ready: Ready) -> None:
        """Note that step 2 of a `Ready` is done, for each in order; then drain `next_ready`."""
        self.durability.persisted(ready.number)
        self.role.handle_saved()

    def applied(self, index: int) -> None:
        """Note that the machine holds everything up to `index`."""
        assert self.applied_index <= index <= self.handed_index, (
            f"applied {index}, after {self.applied_index}, handed out {self.handed_index}"
        )
        self.applied_index = index

    # Snapshots, and what is fetched from peers.

    def metadata_at(self, index: int) -> SnapshotMetadata:
        """Return the metadata of a snapshot of all up to `index`, which is applied."""
        term = self.log.term_at(index)
        assert term is not None, f"no entry {index} in {self.log}"
        assert self.metadata.index <= index <= self.applied_index, f"no snapshot ends at {index}"
        return SnapshotMetadata(index, term, self.configurations.at(index))

    def compact(self, metadata: SnapshotMetadata, *, keep_count: int = 0) -> None:
        """Compact the log: the caller has a snapshot with this metadata, from `metadata_at`.

        Metadata that is not newer is ignored, as is one without voters, which a replica has that
        was not yet told the configuration. `keep_count` entries before the snapshot's end stay, for
        followers that are a little behind.
        """
        if metadata.index <= self.metadata.index or not metadata.configuration.voters:
            return
        assert metadata == self.metadata_at(metadata.index), f"not of this log: {metadata}"
        self.metadata = self.new_metadata = metadata
        self.configurations.compact(metadata.index)
        base_index = metadata.index - keep_count
        if isinstance(self.role, Leader):
            # Only for so long as they wait because this leader lets them: milliseconds.
            base_index = int(min(base_index, self.role.replication.kept_from_index - 1))
        if base_index > self.log.snapshot_index:
            self.log.compact(base_index)
            self.compact_to = base_index

    def install(self, metadata: SnapshotMetadata | None, entries: Sequence[Entry] = ()) -> bool:
        """Take over what was fetched from peers: a snapshot, committed entries, or both.

        The caller has restored the machine from the snapshot, when there is one, and has done the
        pending I/O of every `Ready` before it calls this. Everything must be *committed* where it
        comes from. Return False, and change nothing, when it is not newer than what is here.

        The entries follow the snapshot; without one (`metadata` is None) they are a range that
        begins at most one after the last index here. Raises `RemoteError` when it contradicts what
        is committed here, or is no log; nothing has changed.
        """
        assert not self.is_leader, "a leader installs nothing"
        assert not self.durability.has_outstanding, "installed with pending I/O outstanding"
        before = self.commit_index
        if metadata is not None:
            check_metadata(metadata)
            check_entries(entries, metadata.index, metadata.term)
            if metadata.index > before:
                assert self.applied_index == self.handed_index, "installed while applying"
                self._restart_at(metadata)
        entries = [entry for entry in entries if entry.index > self.log.snapshot_index]
        if entries:
            self._extend(entries)
        if self.commit_index == before:
            return False
        if self.log.last_term > self.term:
            # The term is never behind the log's (thesis 3.3).
            self.become_follower(self.log.last_term, None, "installed entries of a later term")
        if self.leader is not None:
            self.agreed_index = max(self.agreed_index, self.commit_index)
            self.send(self.leader, Appended(self.term, self.commit_index))
        return True

    def _restart_at(self, metadata: SnapshotMetadata) -> None:
        """Begin the log after a snapshot, keeping what agrees with it (Raft thesis 5.1)."""
        log, index = self.log, metadata.index
        agrees = log.term_at(index) == metadata.term
        if agrees:
            if index > log.snapshot_index:
                log.compact(index)
        else:
            # Saved entries that are committed are right, and stay until `compact_to` drops them.
            self.durability.truncated(self.commit_index + 1)
            self.note_rewritten()
            log.reset(index, metadata.term)
        self.durability.skip_to(index + 1)
        self.configurations.restart(index, metadata.configuration, keep=agrees)
        self.proposals.give_up(index)
        self.metadata = self.new_metadata = metadata
        self.compact_to = self.handed_index = self.applied_index = index
        self.commit(index)
        self.events.append(ConfigurationCommitted(index, metadata.configuration))
        self.must_save_hard_state = True

    def _extend(self, entries: Sequence[Entry]) -> None:
        first = entries[0].index
        prev_term = self.log.term_at(first - 1)
        if prev_term is None:
            last = self.log.last_index
            raise RemoteError(f"entries from {first} on, expected {last + 1} or before")
        check_entries(entries, first - 1, prev_term)
        last_index = entries[-1].index
        if last_index > self.commit_index:
            self.merge(entries, self.commit_index)
            self.commit(last_index)

    # What it believes.

    @property
    def first_index(self) -> int:
        """The first index that is not compacted away."""
        return self.log.snapshot_index + 1

    def term_at(self, index: int) -> int | None:
        """Return the term of an entry; None where the log has none."""
        return self.log.term_at(index)

    def entries(self, first_index: int, *, count_max: int, bytes_max: int) -> tuple[Entry, ...]:
        """Return *committed* entries from `first_index` on, for peers that fetch a range.

        None when that is compacted away or not committed here; the first one whatever its size.
        """
        last_index = self.commit_index
        if not self.log.snapshot_index < first_index <= last_index:
            return ()
        return self.log.slice(
            first_index, last_index=last_index, count_max=count_max, bytes_max=bytes_max
        )

    @property
    def configuration(self) -> Voters:
        """The configuration in force: the latest in the log."""
        return self.configurations.latest

    @property
    def final_configuration(self) -> tuple[int, Voters]:
        """The configuration to rely on, and where in the log it is.

        The latest that is known to be committed; on a leader, known to another voter as well,
        so that it stands even if the leader crashes now.
        """
        role = self.role
        known_index = role.known_index if isinstance(role, Leader) else self.commit_index
        return self.configurations.final(known_index)

    @property
    def progress(self) -> dict[PeerId, FollowerProgress]:
        """What a leader knows of each follower; empty on others."""
        return self.role.replication.progress if isinstance(self.role, Leader) else {}

    def silent_s(self, peer: PeerId) -> float | None:
        """Return for how many seconds a leader has not heard of a follower; None where unknown."""
        progress = self.progress.get(peer)
        if progress is None:
            return None
        heard_s = progress.heard_s
        if progress.liveness is not None:
            heard_s = max(heard_s, self.inside(progress.liveness.last_heard_at))
        return self.now - heard_s

    def has_sent_all(self, peer: PeerId) -> bool:
        """Whether this replica leads, means to go on, and has sent a follower the whole log."""
        role = self.role
        if not isinstance(role, Leader) or role.transfer_to is not None:
            return False
        progress = role.progress.get(peer)
        return progress is not None and progress.next_index > self.log.last_index

    @property
    def is_quiesced(self) -> bool:
        """Whether this replica leads, and no follower needs a heartbeat (`quiescence`)."""
        return isinstance(self.role, Leader) and self.role.replication.is_quiesced
