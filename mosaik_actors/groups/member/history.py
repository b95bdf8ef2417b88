"""A member's part in one history: the log, what is applied, and who may vote.

Made when a history is founded, loaded or joined; dropped when it is given up.
It moves between Raft, the host of the machine, the commands and reads of this
node, state sync, and the policy of membership:

    * Commands leave for the leader once per `pump`, all that piled up as one
      entry or one frame; what comes back is learnt by applying the log here.
    * What the log says is applied here, and only here.
    * What a leader does about the members is in `voter_changes`, cutting the log in
      `compaction`, serving and catching up in `catching_up`, whether the member may be
      relied on in `availability`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any

import msgspec

from ...errors import RemoteError
from ...ids import PeerId
from ..machine.host import Host, HostSnapshot, Replayed, read_entry
from ..machine.ledger import Ledger
from ..machine.sync_roles import RequestedSnapshot
from ..mesh.bond import BondState
from ..raft import ready
from ..raft.log import RaftLog
from ..raft.pending_io import PendingIo
from ..raft.raft import Raft
from ..storage.interface import Stored
from ..wire.commands import decode_command_batches
from ..wire.frames import RAFT, with_history
from ..wire.group_record import StoredGroup, decode_stored
from ..wire.raft import Appended, Message, decode_message, encode_message
from ..wire.records import Entry, EntryKind, HardState, SnapshotMetadata
from ..wire.status import ANCESTOR_COUNT_MAX, MERGED_COUNT_MAX, MemberStanding
from ..wire.system_entries import FinishMerge, SystemEntry, decode_system_entry, encode_system_entry
from .availability import MAJORITY_LOST, Availability
from .catching_up import CatchingUp
from .commanding import CommandProposal, Commands
from .compaction import Compaction
from .context import Context
from .events import LeaderElected, MembersChanged
from .saving import DiskState
from .voter_changes import Joiners, VoterChanges


@dataclass(slots=True)
class News:
    """What the log has brought since it was last asked."""

    applied: list[SystemEntry] = field(default_factory=list)  # here
    failed: list[SystemEntry] = field(default_factory=list)  # proposed here, not known to be in it
    replayed: list[Replayed] = field(default_factory=list)  # commands of other histories


@dataclass(frozen=True, slots=True)
class Begin:
    """Where a history begins for a member."""

    history: bytes  # its id
    raft: Mapping[str, Any]  # what `Raft` is made with, beside the member and its settings
    join_index: int = 0  # the member is non-voting until its log has reached this


class StoredMember(msgspec.Struct, frozen=True):
    """What a storage held of a member, decoded; the machine's state is for `restore`."""

    hard_state: HardState
    metadata: SnapshotMetadata
    group: StoredGroup
    log: RaftLog
    merged: tuple[bytes, ...]  # the histories that the log names as merged

    @classmethod
    def of(cls, stored: Stored) -> StoredMember:
        """Decode it. Call it in a thread: of a long log it takes its time. Raises `DecodeError`."""
        metadata, data = stored.snapshot or (SnapshotMetadata(), b"")
        group = decode_stored(data) if data else StoredGroup()
        log = RaftLog(*stored.base, stored.entries)
        return cls(stored.hard_state, metadata, group, log, tuple(_merged_in(stored.entries)))

    def restore(self, host: Host) -> Iterator[None]:
        """Bring the machine to where it was: as `Host.restore`, and before `GroupMember` is."""
        if self.group.history:
            host.reset(Ledger(self.group.root or self.group.history))
        if self.group.parts:
            yield from host.restore(self.group.parts)


def _merged_in(entries: list[Entry]) -> Iterator[bytes]:
    """Yield the histories that a log names as merged."""
    for entry in entries:
        with suppress(RemoteError):
            finish = read_entry(entry) if entry.kind is EntryKind.SYSTEM else None
            if isinstance(finish, FinishMerge):
                yield from (*finish.merged, finish.history)


class Elections:
    """When one history had a leader, for people: what is notified, logged and counted."""

    def __init__(self, context: Context, *, now: float) -> None:
        self.count = 0  # leaders that were seen to take over
        self.last_elapsed_s = 0.0  # how long the group was last without one
        self.heard_s = now  # when the leader was last heard of
        self._context = context
        self._lost_at_s: float | None = None

    def note_leader(self, leader: PeerId | None, term: int, *, now: float) -> None:
        """Note that the group has a leader, or has lost it."""
        elapsed_s = 0.0
        if self._lost_at_s is None and self.count:
            self._lost_at_s = self.heard_s
        if leader is not None:
            self.count += 1
            if self._lost_at_s is not None:
                elapsed_s = self.last_elapsed_s = now - self._lost_at_s
            self._lost_at_s = None
            self.heard_s = now
        self._context.notify(LeaderElected(leader, term, elapsed_s))

    def note_stepped_down(self, term: int, why: str, *, now: float) -> None:
        """Note that this member leads no more."""
        self.heard_s = now
        self._context.inform(f"leads no more in term {term}: {why}")


class FollowedHistory:
    """See the module's docstring."""

    def __init__(self, context: Context, begin: Begin, *, now: float) -> None:
        self.id = begin.history
        self.elections = Elections(context, now=now)  # counts for people
        self._told_number = 0
        self._context = context
        self.raft = raft = Raft(
            context.me,
            context.consensus.raft(context.factor),
            context.rng,
            now=now,
            join_index=begin.join_index,
            liveness_of=self._liveness_of,
            **begin.raft,
        )
        self.pending_io = PendingIo(
            raft,
            is_durable=context.is_durable,
            send=self._send_messages,
            finish=self._finish,
            snapshot_of=lambda metadata: self._compaction.take_snapshot(metadata),
        )
        self._now = now
        self._compaction = Compaction(context, raft, self.id, begin.join_index)
        self.commands = Commands(context, raft, self.id)
        self.voter_changes = VoterChanges(context, raft, self.id, now=now)
        self._loaded_index = raft.log.last_index
        self._news = News()
        self._has_told_lost = False
        self.sync = CatchingUp(context, raft, self.id, self._compaction, now=now)
        self.availability = Availability(context, raft, self.id, self.sync)
        if begin.join_index > raft.commit_index:
            self.sync.begin(now=now)
        self.commands.route(now=now)

    # What it is, for the member.

    @property
    def counts_tail(self) -> bool:
        """Whether what is in the log and not known to be committed here may well be.

        A voter may have acknowledged it. What a member had on its disk when it started it
        may have applied in an earlier life: the disk does not say how far that went.
        """
        is_voter = any(self._context.me in voters for voters in self.raft.deciding)
        return is_voter or self.raft.commit_index < self._loaded_index

    @property
    def is_settled_here(self) -> bool:
        """Whether all that is committed is applied and saved."""
        return self.pending_io.is_idle and self.raft.applied_index == self.raft.commit_index

    def status(self) -> dict[str, Any]:
        """Return the fields of this member's status that the history knows."""
        raft, ledger = self.raft, self._context.host.ledger
        is_voter = self._context.me in raft.configuration.voters
        standing = MemberStanding.VOTER if is_voter else MemberStanding.LEARNER
        return {
            "standing": MemberStanding.SEEKING if raft.has_lost_entries else standing,
            "history": self.id,
            "term": raft.term,
            "leader": raft.leader,
            "commit_index": raft.commit_index,
            "first_index": raft.first_index,
            "is_catching_up": self.availability.is_catching_up or raft.has_lost_entries,
            "closed_into": ledger.closed_into,
            "merged": ledger.merged[-MERGED_COUNT_MAX:],
            "position": self._context.host.position,
            "ancestors": ledger.ancestors[-ANCESTOR_COUNT_MAX:],
            "is_admitted": self.availability.is_admitted,
        }

    @property
    def standing_key(self) -> tuple[Any, ...]:
        """Return what differs when others may have to act on something in `status`."""
        raft, ledger = self.raft, self._context.host.ledger
        log = (raft.configurations.latest_index, raft.leader, raft.term, raft.has_lost_entries)
        place = (self.availability.is_catching_up, self.availability.is_admitted)
        return (log, place, ledger.closed_into, len(ledger.merged), len(ledger.ancestors))

    def log_position(self) -> int:
        """Return the position the log's last command will have if all of them are applied."""
        return self._context.host.position + sum(
            batch.command_count
            for entry in self.raft.log.tail(self.raft.applied_index + 1)
            if entry.kind is EntryKind.COMMANDS
            for batch in decode_command_batches(entry.data)
        )

    # What the member passes on.

    def receive_raft(self, peer: PeerId, body: memoryview, *, now: float) -> bool:
        """Take in a message of Raft; return whether a `pump` is needed. Raises `RemoteError`.

        It is not after an acknowledgement that commits nothing: a leader of many followers
        gets more of these than of others.
        """
        message, raft = decode_message(body), self.raft
        if self._context.saving.is_stalled or self.sync.holds_back(message):
            return True
        if peer == raft.leader:
            self.elections.heard_s = now
        if not isinstance(message, Appended):
            raft.receive_message(peer, message, now=now)
            return True
        commit_index, due_s = raft.commit_index, raft.get_timer()
        raft.receive_message(peer, message, now=now)
        if raft.commit_index != commit_index or raft.get_timer() != due_s:
            return True
        return not raft.has_sent_all(peer)

    def propose_system_entry(self, system_entry: SystemEntry) -> None:
        """Put a system entry into the log; it comes back in `take_news`, applied or failed."""
        self.raft.propose(encode_system_entry(system_entry), system_entry, EntryKind.SYSTEM)

    def take_news(self) -> News:
        """Return what has come since the last call."""
        news = self._news
        if news.applied or news.failed or news.replayed:
            self._news = News()
        return news

    def peers_changed(self, *, now: float) -> None:
        """Somebody was bonded or lost, or says something new of itself."""
        self._now = now
        self.recheck_quiescence(now=now)
        self.voter_changes.hurry(now=now)
        self.sync.holders_changed(now=now)
        self.commands.route(now=now)
        if self.availability.majority_is_lost != self._has_told_lost:
            self._has_told_lost = not self._has_told_lost
            if self._has_told_lost:
                self._context.warn(f"the group cannot go on: {MAJORITY_LOST}")

    def campaign_if_alone(self, *, now: float) -> None:
        """Lead at once where no other vote is needed."""
        if self.raft.configuration.voters == (self._context.me,):
            self.raft.campaign(now=now)

    def note_disk(self, before: DiskState, *, now: float) -> None:
        """Take in that the disk does otherwise than before.

        A leader that cannot save commits nothing it could answer for: it steps down, at
        once, and has another one take over. Who waits for that learns it now; what
        Raft says of it comes when the disk has done its work.
        """
        self._now = now
        raft, disk = self.raft, self._context.saving.disk
        if disk is DiskState.FINE:
            if before is DiskState.FULL:
                self.campaign_if_alone(now=now)
        elif raft.is_leader or disk is DiskState.FULL:
            was_leader, leader = raft.is_leader, raft.leader
            raft.step_down(disk.value, now=now)
            self.pending_io.run()
            self._told_number = self.pending_io.last_number
            if was_leader:
                self.elections.note_stepped_down(raft.term, disk.value, now=now)
            if leader is not None:
                self._note_leader(None, raft.term)

    # Time.

    def get_timer(self) -> float:
        """Return when to call `handle_timer`."""
        if self._context.saving.is_stalled:
            return inf
        raft = self.raft
        due_s = min(self.sync.get_timer(), raft.get_timer())
        if raft.is_leader and not self._context.host.ledger.closed_into:
            due_s = min(due_s, self.voter_changes.look_at_s)
        has_work = self._compaction.is_active or self.pending_io.has_more
        return min(due_s, self._now) if has_work else due_s

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        if self._context.saving.is_stalled:
            return
        self._now = now
        self._note_heard()
        self.raft.handle_timer(now=now)
        self.voter_changes.note_quiesced(now=now)
        self.sync.handle_timer(now=now)
        self._compaction.carry_on()

    # Quiescence.

    def recheck_quiescence(self, *, now: float) -> None:
        """Look who of those that have nothing to say lives."""
        self._note_heard()
        self.raft.recheck_quiescence(now=now)
        self.voter_changes.note_quiesced(now=now)

    def _liveness_of(self, peer: PeerId) -> BondState | None:
        """Return what shows that a member lives, if its node sends heartbeats and it agrees here.

        What it says of itself comes over the bond at once when its history or leader changes.
        """
        bond = self._context.mesh.bonded.get(peer)
        if bond is None or not bond.has_heartbeats:
            return None
        said, raft = bond.status, self.raft
        agrees = (said.history, said.leader, said.term) == (self.id, raft.leader, raft.term)
        return bond if agrees else None

    def _note_heard(self) -> None:
        """Note for people when a quiesced leader was heard last."""
        if (liveness := self.raft.role.liveness) is not None:
            self.elections.heard_s = max(self.elections.heard_s, liveness.last_heard_at)

    # The pump.

    def pump(self, *, now: float) -> None:
        """Carry everything on as far as it goes."""
        self._now = now
        if self._context.saving.is_stalled:
            return
        ledger = self._context.host.ledger
        if not ledger.closed_into:
            self.voter_changes.look(now=now)
        self.availability.note_progress()
        self.commands.send(now=now)
        if ledger.closed_into:
            self._context.reads.hold(now=now)
        else:
            self._context.reads.ask(self.raft.read, now=now)
        self.pending_io.run()
        self.sync.pump(self.pending_io, now=now)
        if self._compaction.consider():
            self.pending_io.run()

    # What Raft says.

    def _send_messages(self, messages: tuple[tuple[PeerId, Message], ...]) -> None:
        encoded: Message | None = None
        data = b""
        for peer, message in messages:
            if message is not encoded:
                encoded, data = message, with_history(RAFT, self.id, encode_message(message))
            self._context.send(peer, data)

    def _finish(self, step: ready.Ready) -> int:
        """Steps 4 to 6 of a `Ready`, which is saved; return how many commands were applied."""
        count = 0
        if step.messages:
            self._send_messages(step.messages)
        if step.committed:
            host = self._context.host
            before = host.position
            self._apply(step.committed)
            count = host.position - before
        for outcome in step.outcomes:
            self._take_outcome(outcome)
        for read in step.reads:
            if not isinstance(read.request_id, Joiners):
                self._context.reads.receive_state(read)
            elif read.index is not None:
                self.voter_changes.join_accepted(read.request_id)
        for event in step.events:
            was_told = step.number <= self._told_number
            if not (was_told and isinstance(event, ready.LeaderChanged | ready.SteppedDown)):
                self._take_event(event)
        return count

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        context = self._context
        applied = context.host.apply(
            entries,
            context.client.client_id,
            self.raft.commit_index,
            takes_snapshots=not self.availability.is_catching_up,
        )
        self.raft.applied(entries[-1].index)
        self._compaction.applied_bytes += sum([len(entry.data) for entry in entries])
        if applied.answers:
            context.client.receive_answers(applied.answers, self._now)
        for snapshot in applied.snapshots:
            self._take_snapshot(snapshot)
        if applied.replayed:
            self._news.replayed += applied.replayed
        if applied.bad_count:
            context.warn(f"{applied.bad_count} entries could not be read: {applied.bad_why}")
        if applied.mismatch_why:
            why = applied.mismatch_why
            context.warn(f"what `apply` returned is not of the machine's `Result`: {why}")
        for entry in entries:
            if entry.kind is EntryKind.SYSTEM:
                with suppress(RemoteError):  # void for everybody, and counted by the host
                    self._news.applied.append(decode_system_entry(entry.data))

    def _take_snapshot(self, snapshot: HostSnapshot) -> None:
        if snapshot.parts is None:
            self._context.warn(f"a snapshot could not be made: {snapshot.failure}")
        else:
            metadata = self.raft.metadata_at(snapshot.index)
            made = RequestedSnapshot(metadata, snapshot.request_id, snapshot.parts)
            self.sync.snapshot_made(made, now=self._now)

    def _take_outcome(self, outcome: ready.ProposalOutcome) -> None:
        token = outcome.token
        if outcome.verdict is ready.ProposalVerdict.COMMITTED or token is None:
            return
        if isinstance(token, CommandProposal):
            self.commands.refuse(token.command_batches, now=self._now)
        else:
            self._news.failed.append(token)

    def _take_event(self, event: Any) -> None:
        match event:
            case ready.LeaderChanged(leader, term):
                self._note_leader(leader, term)
            case ready.BecameLeader() | ready.ConfigurationKnown():
                self.voter_changes.hurry(now=self._now)
            case ready.ConfigurationCommitted(_, voters):
                self.voter_changes.hurry(now=self._now)
                self._context.notify(MembersChanged(voters.voters, voters.learners))
            case ready.SnapshotNeeded(metadata):
                self.sync.begin(metadata.index, now=self._now)
            case ready.EntriesLost(last_index, counted_index, counted_by):
                text = (
                    f"the log here ends at entry {last_index}, but the leader, {counted_by.short}, "
                    f"has counted {counted_index} as saved here: waiting to be taken in anew"
                )
                self._context.warn(text)
            case ready.SteppedDown(term, why):
                self.elections.note_stepped_down(term, why, now=self._now)

    def _note_leader(self, leader: PeerId | None, term: int) -> None:
        self.elections.note_leader(leader, term, now=self._now)
        self.commands.route(now=self._now)
