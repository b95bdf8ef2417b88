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

Replicas with nothing to do send each other next to nothing (`quiescence`).

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
from ..wire.raft import Appended, Message, check_entries, check_metadata
from ..wire.records import Entry, EntryKind, HardState, SnapshotMetadata, Voters
from .candidate import Candidate
from .config import RaftConfig
from .follower import Follower
from .leader import Leader
from .outbox import RaftOutbox
from .quiescence import LivenessOf
from .ready import ConfigurationCommitted, Ready, Reason
from .replica import FOLLOWER, Replica, Roles
from .view import RaftView


class Raft(RaftView):
    """One replica.

    Args:
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
        liveness_of: See `FollowerQuiescence`; call `recheck_quiescence` when it may return
            something else.

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
        liveness_of: LivenessOf = lambda _peer: None,
    ) -> None:
        metadata = metadata or SnapshotMetadata()
        applied_index = metadata.index if applied_index is None else applied_index
        replica = Replica(
            me,
            settings,
            rng,
            Roles(Follower, Candidate, Leader),
            now=now,
            hard_state=hard_state or HardState(),
            metadata=metadata,
            base=base or (metadata.index, metadata.term),
            entries=entries,
            applied_index=applied_index,
            join_index=join_index,
            liveness_of=liveness_of,
        )
        super().__init__(replica, RaftOutbox(replica, applied_index))

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
        self._replica.observe(now)
        self._replica.receive(sender, message)

    def get_timer(self) -> float:
        """Return when to call `handle_timer`, on the caller's clock."""
        return self._replica.outside(self._replica.role.timer_s)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due: heartbeats, elections, stepping down. Too early does no harm."""
        self._replica.observe(now)
        self._replica.role.handle_timer()

    def recheck_quiescence(self, *, now: float) -> None:
        """Take in that `liveness_of` may return something else than before."""
        self._replica.observe(now)
        self._replica.role.recheck_quiescence()

    def campaign(self, *, now: float) -> None:
        """Stand for election without waiting for a timeout, if that may be.

        For the first leader of a new group, and for a voter that is alone:
        nobody can be disturbed. The pre-vote is asked all the same.
        """
        self._replica.observe(now)
        if self._replica.role.name == FOLLOWER and self._replica.may_stand:
            self._replica.become_pre_candidate()

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
            token: What the outcome is reported with.
            kind: COMMANDS or SYSTEM.
            is_awaited: Whether another replica waits for it: then all are told
                at once that it is committed, not after `RaftConfig.commit_delay`.
        """
        role = self._replica.role
        if isinstance(role, Leader):
            return role.propose(data, token, kind, is_awaited)
        self._replica.proposals.refuse(token, Reason.NOT_LEADER)
        return False

    def read(self, request_id: Any) -> None:
        """Ask for a strong read; a `ReadState` with `request_id` follows.

        It fails, with no index, when there is no leader, when too many wait, or
        when the leader changes meanwhile. When messages are lost there may be
        no answer at all: the caller has a time limit, and asks again.
        """
        self._replica.role.read(request_id)

    def change_configuration(self, target: Voters, token: Any = None) -> bool:
        """Propose a configuration; return whether it is in the leader's log, and in force.

        One voter may differ from the present one, any number of learners. The
        `Outcome` says why when it may not be: see `Reason`. Make `target` with
        the functions of `configuration`.
        """
        role = self._replica.role
        if isinstance(role, Leader):
            return role.change_configuration(target, token)
        self._replica.proposals.refuse(token, Reason.NOT_LEADER)
        return False

    def transfer_leadership(self, to: PeerId) -> bool:
        """Hand leadership to a voter; return whether that begins (Raft thesis 3.10).

        Meanwhile proposals are not taken. Either `SteppedDown` follows, or
        `TransferEnded` after an election timeout.
        """
        role = self._replica.role
        return isinstance(role, Leader) and role.transfer(to)

    def step_down(self, why: str, *, now: float) -> None:
        """Lead no more, stand no more, believe in no leader: the caller cannot do its pending I/O.

        A leader has the most complete voter that it hears take over, without waiting for
        its own disk: that promises nothing.
        """
        self._replica.observe(now)
        role = self._replica.role
        if isinstance(role, Leader):
            role.resign(why)
        else:
            self._replica.become_follower(self._replica.term, None, why)

    def next_ready(self) -> Ready | None:
        """Return the next batch of pending I/O, None when there is nothing to do.

        Call it until it returns None whenever anything was put in.
        """
        replica = self._replica
        replica.role.flush()
        return self._outbox.collect()

    def persisted(self, ready: Ready) -> None:
        """Note that step 2 of a `Ready` is done, for each of them, in order.

        Afterwards drain `next_ready`: more may be committed.
        """
        self._replica.durability.persisted(ready.number)
        self._replica.role.handle_saved()

    def applied(self, index: int) -> None:
        """Note that the machine holds everything up to `index`."""
        self._outbox.note_applied(index)

    def metadata_at(self, index: int) -> SnapshotMetadata:
        """Return the metadata of a snapshot that holds everything up to `index`.

        Args:
            index: From the present snapshot to `applied_index`.
        """
        replica = self._replica
        term = replica.log.term_at(index)
        assert term is not None, f"no entry {index} in {replica.log}"
        assert replica.metadata.index <= index <= self._outbox.applied_index, (
            f"no snapshot can end at {index}"
        )
        return SnapshotMetadata(index, term, replica.configurations.at(index))

    def compact(self, metadata: SnapshotMetadata, *, keep_count: int = 0) -> None:
        """Compact the log: the caller has a snapshot with this metadata, from `metadata_at`.

        Metadata that is not newer is ignored, as is one without voters, which a
        replica has that was not yet told the configuration.

        Args:
            metadata: The snapshot's.
            keep_count: Entries before the snapshot's end to keep, for followers that are
                a little behind.
        """
        replica = self._replica
        if metadata.index <= replica.metadata.index or not metadata.configuration.voters:
            return
        assert metadata == self.metadata_at(metadata.index), f"not of this log: {metadata}"
        replica.metadata = self._outbox.new_metadata = metadata
        replica.configurations.compact(metadata.index)
        base_index = metadata.index - keep_count
        if isinstance(replica.role, Leader):
            # Only for so long as they wait because this leader lets them: milliseconds.
            base_index = int(min(base_index, replica.role.kept_from_index - 1))
        if base_index > replica.log.snapshot_index:
            replica.log.compact(base_index)
            self._outbox.compact_to = base_index

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
        replica = self._replica
        assert not self.is_leader, "a leader installs nothing"
        assert not replica.durability.has_outstanding, "installed with pending I/O outstanding"
        before = replica.commit_index
        if metadata is not None:
            check_metadata(metadata)
            check_entries(entries, metadata.index, metadata.term)
            if metadata.index > replica.commit_index:
                assert self._outbox.applied_index == self._outbox.handed_index, (
                    "installed while applying"
                )
                self._restart_at(metadata)
        entries = [entry for entry in entries if entry.index > replica.log.snapshot_index]
        if entries:
            self._extend(entries)
        if replica.commit_index == before:
            return False
        if replica.log.last_term > replica.term:
            # The term is never behind the log's (thesis 3.3).
            replica.become_follower(
                replica.log.last_term, None, "installed entries of a later term"
            )
        if replica.leader is not None:
            replica.agreed_index = max(replica.agreed_index, replica.commit_index)
            replica.send(replica.leader, Appended(replica.term, replica.commit_index))
        return True

    # Helpers.

    def _restart_at(self, metadata: SnapshotMetadata) -> None:
        """Begin the log after a snapshot, keeping what agrees with it (Raft thesis 5.1)."""
        replica = self._replica
        log = replica.log
        if log.term_at(metadata.index) == metadata.term:
            if metadata.index > log.snapshot_index:
                log.compact(metadata.index)
            replica.durability.skip_to(metadata.index + 1)
            replica.configurations.restart(metadata.index, metadata.configuration, keep=True)
        else:
            # Saved entries that are committed stay until `compact_to` drops them.
            replica.durability.restarted(replica.commit_index + 1, metadata.index)
            replica.note_rewritten()
            log.reset(metadata.index, metadata.term)
            replica.configurations.restart(metadata.index, metadata.configuration, keep=False)
        replica.proposals.give_up(metadata.index)
        replica.metadata = self._outbox.new_metadata = metadata
        self._outbox.compact_to = metadata.index
        self._outbox.handed_index = self._outbox.applied_index = metadata.index
        replica.commit(metadata.index)
        replica.events.append(ConfigurationCommitted(metadata.index, metadata.configuration))
        replica.must_save_hard_state = True

    def _extend(self, entries: Sequence[Entry]) -> None:
        replica = self._replica
        first = entries[0].index
        prev_term = replica.log.term_at(first - 1)
        if prev_term is None:
            last = replica.log.last_index
            raise RemoteError(f"entries from {first} on, expected {last + 1} or before")
        check_entries(entries, first - 1, prev_term)
        last_index = entries[-1].index
        if last_index <= replica.commit_index:
            return
        replica.merge(entries, replica.commit_index)
        replica.commit(last_index)
