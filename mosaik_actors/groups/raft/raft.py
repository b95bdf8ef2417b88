"""Raft: one replica of a group's log.

A pure state machine after Ongaro's thesis (2014): it opens no socket, reads no
clock and writes no disk. The caller passes messages and ``now``, and does what
each `Ready` says, in its order. Chapter 3 is the algorithm; from chapter 4 come
membership changes one at a time, learners, and the leader that leaves; from
chapter 5 compaction; from chapter 6 strong reads, exactly-once commands
(`sessions`) and the leader that steps down when it hears no quorum; from 9.6
the pre-vote; from 10.2 batching, pipelining and writing to the disk in parallel.

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
from random import Random
from typing import Any

from ...errors import RemoteError
from ...ids import PeerId
from ..wire.raft import (
    Appended,
    Message,
    check_entries,
    check_metadata,
)
from ..wire.records import Entry, EntryKind, HardState, SnapshotMetadata, Voters
from .config import RaftConfig
from .follower import Follower
from .leader import Leader
from .progress import FollowerProgress
from .ready import ConfigurationCommitted, ReadState, Ready, Reason
from .replica import Replica


class Raft:
    """One replica.

    Args:
        me: This replica's id.
        settings: Its settings.
        rng: Draws election timeouts.
        now: Monotonic time in seconds; all later ``now`` are on the same clock.
        hard_state: What was saved, or a new one.
        metadata: That of the snapshot it has; for a new group, index 0 with the first
            configuration; for one that is to join, index 0 with none.
        entries: The saved log. It continues after `base`.
        base: Index and term of the place before `entries`, at or before the end of the
            snapshot. None: that end.
        applied_index: What the machine holds: the snapshot's index for one that
            was restored from it. None: the snapshot's.
        join_index: It takes no part in elections before all up to here is committed.

    Raises:
        DecodeError: A configuration in the log cannot be read.
    """

    def __init__(
        self,
        me: PeerId,
        settings: RaftConfig,
        rng: Random,
        *,
        now: float,
        hard_state: HardState | None = None,
        metadata: SnapshotMetadata | None = None,
        entries: Sequence[Entry] = (),
        base: tuple[int, int] | None = None,
        applied_index: int | None = None,
        join_index: int = 0,
    ) -> None:
        metadata = metadata or SnapshotMetadata()
        applied_index = metadata.index if applied_index is None else applied_index
        self._state = Replica(
            me,
            settings,
            rng,
            now=now,
            hard_state=hard_state or HardState(),
            metadata=metadata,
            base=base or (metadata.index, metadata.term),
            entries=entries,
            applied_index=applied_index,
            join_index=join_index,
        )
        self._ready_number = 0
        self._handed_index = applied_index
        self._applied_index = applied_index
        self._reads: list[ReadState] = []
        self._new_metadata: SnapshotMetadata | None = None
        self._compact_to: int | None = None

    # What it believes, for tools and tests.

    @property
    def me(self) -> PeerId:
        """This replica's id."""
        return self._state.me

    @property
    def term(self) -> int:
        """The current term."""
        return self._state.term

    @property
    def leader(self) -> PeerId | None:
        """Who leads the current term, None when unknown."""
        return self._state.leader

    @property
    def role(self) -> str:
        """``follower``, ``pre-candidate``, ``candidate`` or ``leader``."""
        return self._state.role.name

    @property
    def is_leader(self) -> bool:
        """Whether this replica leads."""
        return isinstance(self._state.role, Leader)

    @property
    def commit_index(self) -> int:
        """Everything up to here is committed."""
        return self._state.commit_index

    @property
    def applied_index(self) -> int:
        """Everything up to here is applied, as the caller said."""
        return self._applied_index

    @property
    def last_index(self) -> int:
        """The last entry of the log."""
        return self._state.log.last_index

    @property
    def first_index(self) -> int:
        """The first index that is not compacted away."""
        return self._state.log.snapshot_index + 1

    @property
    def log_bytes(self) -> int:
        """What the log takes in memory, roughly."""
        return self._state.log.size_bytes

    @property
    def is_log_full(self) -> bool:
        """Whether a leader would take no more proposals before its log is cut."""
        return self._state.log.size_bytes >= self._state.settings.log_bytes

    @property
    def metadata(self) -> SnapshotMetadata:
        """The snapshot this replica has."""
        return self._state.metadata

    @property
    def configuration(self) -> Voters:
        """The configuration in force: the latest in the log."""
        return self._state.configurations.latest

    @property
    def deciding(self) -> tuple[tuple[PeerId, ...], ...]:
        """The sets of voters that must each agree to anything."""
        return tuple(tuple(voters) for voters in self._state.deciding)

    @property
    def is_configuration_pending(self) -> bool:
        """Whether the configuration in force is not known to be committed."""
        return self._state.configurations.is_pending(self._state.commit_index)

    @property
    def has_lost_entries(self) -> bool:
        """Whether the log here lacks entries that this replica had acknowledged.

        Then it takes no part any more: it neither votes nor acknowledges, for it may have
        forgotten a vote as well. Have it removed from the configuration, and begin anew.
        """
        return self._state.has_lost_entries

    @property
    def is_non_voting(self) -> bool:
        """Whether this replica takes no part in elections yet: see `join_index`."""
        return self._state.is_non_voting

    @property
    def configuration_index(self) -> int:
        """Where in the log the configuration in force is."""
        return self._state.configurations.latest_index

    @property
    def final_configuration(self) -> tuple[int, Voters]:
        """The configuration to rely on, and where in the log it is.

        The latest that is known to be committed; on a leader, known to another voter as well,
        so that it stands even if the leader crashes now.
        """
        role, state = self._state.role, self._state
        index = role.known_index if isinstance(role, Leader) else state.commit_index
        return state.configurations.final(index)

    def silent_s(self, peer: PeerId) -> float | None:
        """Return for how many seconds a leader has not heard of a follower; None where unknown."""
        progress = self.progress.get(peer)
        return None if progress is None else self._state.now - progress.heard_s

    def tail(self, first_index: int) -> tuple[Entry, ...]:
        """Return the log from `first_index` on, committed or not; to be read only."""
        return self._state.log.tail(first_index)

    @property
    def hard_state(self) -> HardState:
        """The term and vote, saved or about to be."""
        return self._state.hard_state

    @property
    def progress(self) -> dict[PeerId, FollowerProgress]:
        """What a leader knows of each follower; empty on others. To be read only."""
        role = self._state.role
        return role.progress if isinstance(role, Leader) else {}

    def term_at(self, index: int) -> int | None:
        """Return the term of an entry; None where the log has none."""
        return self._state.log.term_at(index)

    def entries(self, first_index: int, *, count_max: int, bytes_max: int) -> tuple[Entry, ...]:
        """Return *committed* entries from `first_index` on, for peers that fetch a range.

        Empty when that is compacted away or not committed here. The first one
        comes whatever its size.
        """
        state = self._state
        if not state.log.snapshot_index < first_index <= state.commit_index:
            return ()
        return state.log.slice(
            first_index,
            last_index=state.commit_index,
            count_max=count_max,
            bytes_max=bytes_max,
        )

    # The verbs.

    def receive_message(self, sender: PeerId, message: Message, *, now: float) -> None:
        """Take in a message, as `wire.decode_message` returned it.

        Messages may be lost, come twice, late or in another order. Afterwards
        drain `next_ready` and re-read `get_timer`.

        Args:
            sender: Who sent it, as proven by the link.
            message: The message.
            now: Monotonic time in seconds.

        Raises:
            RemoteError: The sender breaks a rule of Raft. Nothing has changed
                but the term, perhaps; close the link.
        """
        self._state.observe(now)
        self._state.receive(sender, message)

    def get_timer(self) -> float:
        """Return when to call `handle_timer`, on the caller's clock."""
        return self._state.outside(self._state.role.timer_s)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due: heartbeats, elections, stepping down. Too early does no harm."""
        self._state.observe(now)
        self._state.role.handle_timer()

    def campaign(self, *, now: float) -> None:
        """Stand for election without waiting for a timeout, if that may be.

        For the first leader of a new group, and for a voter that is alone:
        nobody can be disturbed. The pre-vote is asked all the same.
        """
        self._state.observe(now)
        if isinstance(self._state.role, Follower) and self._state.may_stand:
            self._state.become_pre_candidate()

    def propose(
        self,
        data: bytes,
        token: Any = None,
        kind: EntryKind = EntryKind.COMMANDS,
        *,
        is_awaited: bool = False,
    ) -> bool:
        """Propose commands or a system entry; return whether it is in the leader's log.

        An `Outcome` with the token follows in a `Ready`, in any case that can be
        known: committed; not taken, at once or when a later leader committed
        something else in its place; or unknown, when its place came in a
        snapshot. A leader that is cut off learns nothing, so the caller has a
        time limit of its own, after which the command may still take effect.

        Args:
            data: The entry's content. It is never looked at here.
            token: What the outcome is told with.
            kind: COMMANDS or SYSTEM.
            is_awaited: Whether another replica waits for it: then all are told
                at once that it is committed, not after `RaftConfig.commit_delay`.
        """
        role = self._state.role
        if isinstance(role, Leader):
            return role.propose(data, token, kind, is_awaited)
        self._state.refuse(token, Reason.NOT_LEADER)
        return False

    def read(self, request_id: Any) -> None:
        """Ask for a strong read; a `ReadState` with `request_id` follows.

        It fails, with no index, when there is no leader, when too many wait, or
        when the leader changes meanwhile. When messages are lost there may be
        no answer at all: the caller has a time limit, and asks again.
        """
        self._state.role.read(request_id)

    def change_configuration(self, target: Voters, token: Any = None) -> bool:
        """Propose a configuration; return whether it is in the leader's log, and in force.

        One voter may differ from the present one, any number of learners. The
        `Outcome` says why when it may not be: see `Reason`. Make `target` with
        the functions of `configuration`.
        """
        role = self._state.role
        if isinstance(role, Leader):
            return role.change_configuration(target, token)
        self._state.refuse(token, Reason.NOT_LEADER)
        return False

    def transfer_leadership(self, to: PeerId) -> bool:
        """Hand leadership to a voter; return whether that begins (Raft thesis 3.10).

        Meanwhile proposals are not taken. Either `SteppedDown` follows, or
        `TransferEnded` after an election timeout.
        """
        role = self._state.role
        return isinstance(role, Leader) and role.transfer(to)

    def step_down(self, why: str, *, now: float) -> None:
        """Lead no more, stand no more, believe in no leader: the caller cannot do its pending I/O.

        A leader has the most complete voter that it hears take over, without waiting for
        its own disk: that promises nothing.
        """
        self._state.observe(now)
        role = self._state.role
        if isinstance(role, Leader):
            role.resign(why)
        else:
            self._state.become_follower(self._state.term, None, why)

    def next_ready(self) -> Ready | None:
        """Return the next batch of pending I/O, None when there is nothing to do.

        Call it until it returns None whenever anything was put in.
        """
        state = self._state
        state.role.flush()
        return self._collect()

    def persisted(self, ready: Ready) -> None:
        """Note that step 2 of a `Ready` is done, for each of them, in order.

        Afterwards drain `next_ready`: more may be committed.
        """
        self._state.durability.persisted(ready.number)
        self._state.role.handle_saved()

    def applied(self, index: int) -> None:
        """Note that the machine holds everything up to `index`."""
        assert self._applied_index <= index <= self._handed_index, (
            f"applied {index}, after {self._applied_index}, handed out {self._handed_index}"
        )
        self._applied_index = index

    def metadata_at(self, index: int) -> SnapshotMetadata:
        """Return the metadata of a snapshot that holds everything up to `index`.

        Args:
            index: From the present snapshot to `applied_index`.
        """
        state = self._state
        term = state.log.term_at(index)
        assert term is not None, f"no entry {index} in {state.log}"
        assert state.metadata.index <= index <= self._applied_index, (
            f"no snapshot can end at {index}"
        )
        return SnapshotMetadata(index, term, state.configurations.at(index))

    def compact(self, metadata: SnapshotMetadata, *, keep_count: int = 0) -> None:
        """Compact the log: the caller has a snapshot with this metadata, from `metadata_at`.

        Metadata that is not newer is ignored, as is one without voters, which a
        replica has that was not yet told the configuration.

        Args:
            metadata: The snapshot's.
            keep_count: Entries before the snapshot's end to keep, for followers that are
                a little behind.
        """
        state = self._state
        if metadata.index <= state.metadata.index or not metadata.configuration.voters:
            return
        assert metadata == self.metadata_at(metadata.index), f"not of this log: {metadata}"
        state.metadata = self._new_metadata = metadata
        state.configurations.compact(metadata.index)
        base_index = metadata.index - keep_count
        if isinstance(state.role, Leader):
            # Only for so long as they wait because this leader lets them: milliseconds.
            base_index = int(min(base_index, state.role.kept_from_index - 1))
        if base_index > state.log.snapshot_index:
            state.log.compact(base_index)
            self._compact_to = base_index

    def install(self, metadata: SnapshotMetadata | None, entries: Sequence[Entry] = ()) -> bool:
        """Take over what was fetched from peers: a snapshot, committed entries, or both.

        The caller has restored the machine from the snapshot, when there is
        one, and has done the pending I/O of every `Ready` before it calls this.
        Everything must be *committed* where it comes from. Return False, and
        change nothing, when it is not newer than what is here.

        Args:
            metadata: The snapshot's; None when only entries were fetched.
            entries: What follows the snapshot; without one, a range that begins at
                most one after the last index here.

        Raises:
            RemoteError: It contradicts what is committed here, or is no log.
                Nothing has changed.
        """
        state = self._state
        assert not self.is_leader, "a leader installs nothing"
        assert not state.durability.has_outstanding, "installed with pending I/O outstanding"
        before = state.commit_index
        if metadata is not None:
            check_metadata(metadata)
            check_entries(entries, metadata.index, metadata.term)
            if metadata.index > state.commit_index:
                assert self._applied_index == self._handed_index, "installed while applying"
                self._restart_at(metadata)
        entries = [entry for entry in entries if entry.index > state.log.snapshot_index]
        if entries:
            self._extend(entries)
        if state.commit_index == before:
            return False
        if state.log.last_term > state.term:
            # The term is never behind the log's (thesis 3.3).
            state.become_follower(state.log.last_term, None, "installed entries of a later term")
        if state.leader is not None:
            state.agreed_index = max(state.agreed_index, state.commit_index)
            state.send(state.leader, Appended(state.term, state.commit_index))
        return True

    # Helpers.

    def _restart_at(self, metadata: SnapshotMetadata) -> None:
        """Begin the log after a snapshot, keeping what agrees with it (Raft thesis 5.1)."""
        state = self._state
        log = state.log
        if log.term_at(metadata.index) == metadata.term:
            if metadata.index > log.snapshot_index:
                log.compact(metadata.index)
            state.durability.skip_to(metadata.index + 1)
            state.configurations.restart(metadata.index, metadata.configuration, keep=True)
        else:
            # Saved entries that are committed stay until `compact_to` drops them.
            state.durability.restarted(state.commit_index + 1, metadata.index)
            state.note_rewritten()
            log.reset(metadata.index, metadata.term)
            state.configurations.restart(metadata.index, metadata.configuration, keep=False)
        state.give_up_proposals(metadata.index)
        state.metadata = self._new_metadata = metadata
        self._compact_to = metadata.index
        self._handed_index = self._applied_index = metadata.index
        state.commit(metadata.index)
        state.events.append(ConfigurationCommitted(metadata.index, metadata.configuration))
        state.must_save_hard_state = True

    def _extend(self, entries: Sequence[Entry]) -> None:
        state = self._state
        first = entries[0].index
        prev_term = state.log.term_at(first - 1)
        if prev_term is None:
            last = state.log.last_index
            raise RemoteError(f"entries from {first} on, expected {last + 1} or before")
        check_entries(entries, first - 1, prev_term)
        last_index = entries[-1].index
        if last_index <= state.commit_index:
            return
        state.merge(entries, state.commit_index)
        state.commit(last_index)

    def _collect(self) -> Ready | None:
        """Return everything that has piled up as one `Ready`."""
        state = self._state
        durability = state.durability
        log = state.log
        committed = self._take_committed()
        reads = self._take_reads()
        hard_state = state.hard_state if state.must_save_hard_state else None
        first = durability.next_index
        entries = log.tail(first) if first <= log.last_index else ()
        if not (
            entries
            or state.early_mail
            or state.mail
            or committed
            or state.outcomes
            or state.events
            or reads
            or hard_state is not None
            or self._new_metadata is not None
            or durability.truncate_from is not None
        ):
            return None
        self._ready_number = number = self._ready_number + 1
        truncate_from = durability.hand_out(number, log.last_index, hard_state)
        ready = Ready(
            number,
            tuple(state.early_mail),
            hard_state,
            self._new_metadata,
            truncate_from,
            self._compact_to,
            entries,
            tuple(state.mail),
            committed,
            tuple(state.outcomes),
            reads,
            tuple(state.events),
        )
        state.must_save_hard_state = False
        self._new_metadata = self._compact_to = None
        for taken in (state.early_mail, state.mail, state.outcomes, state.events):
            taken.clear()
        return ready

    def _take_committed(self) -> tuple[Entry, ...]:
        state = self._state
        settings = state.settings
        room = settings.apply_backlog - (self._handed_index - self._applied_index)
        if self._handed_index >= state.commit_index or room <= 0:
            return ()
        committed = state.log.slice(
            self._handed_index + 1,
            last_index=state.commit_index,
            count_max=min(settings.apply_count, room),
            bytes_max=settings.apply_bytes,
        )
        self._handed_index += len(committed)
        return committed

    def _take_reads(self) -> tuple[ReadState, ...]:
        """Return the reads whose entries are handed out by now, and those that failed."""
        state = self._state
        if state.reads:
            self._reads += state.reads
            state.reads.clear()
        if not self._reads:
            return ()
        due: list[ReadState] = []
        left: list[ReadState] = []
        for read in self._reads:
            is_due = read.index is None or read.index <= self._handed_index
            (due if is_due else left).append(read)
        self._reads = left
        return tuple(due)
