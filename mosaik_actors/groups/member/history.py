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

from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any

from ...errors import RemoteError
from ...ids import PeerId
from ..machine.host import HostSnapshot, Replayed
from ..machine.sync_roles import RequestedSnapshot
from ..mesh.bond import BondState
from ..raft.pending_io import PendingIo
from ..raft.raft import Raft
from ..raft.ready import (
    BecameLeader,
    ConfigurationCommitted,
    ConfigurationKnown,
    EntriesLost,
    LeaderChanged,
    ProposalOutcome,
    ProposalVerdict,
    Ready,
    SnapshotNeeded,
    SteppedDown,
)
from ..storage.interface import SaveBatch
from ..wire.commands import decode_command_batches
from ..wire.frames import RAFT, with_history
from ..wire.raft import Appended, Message, decode_message, encode_message
from ..wire.records import Entry, EntryKind
from ..wire.status import ANCESTOR_COUNT_MAX, MERGED_COUNT_MAX, MemberStanding
from ..wire.system_entries import SystemEntry, decode_system_entry, encode_system_entry
from .availability import MAJORITY_LOST, Availability
from .catching_up import CatchingUp
from .commanding import CommandProposal, Commands
from .compaction import Compaction
from .context import Context
from .continuing import Begin
from .elections import Elections
from .events import Logged, MembersChanged, Notify
from .saving import DiskState
from .voter_changes import Joiners, VoterChanges


@dataclass(slots=True)
class News:
    """What the log has brought since it was last asked.

    Attributes:
        applied: System entries that were applied here.
        failed: Those proposed here that are not in the log, or not known to be.
        replayed: Commands of other histories that were applied here.
    """

    applied: list[SystemEntry] = field(default_factory=list)
    failed: list[SystemEntry] = field(default_factory=list)
    replayed: list[Replayed] = field(default_factory=list)


class FollowedHistory:
    """See the module's docstring.

    Attributes:
        id: The history's id.
        raft: The core, to be read.
        commands: This node's commands, and those that others forward, on their way.
        sync: Both sides of catching up.
        voter_changes: What it does about the members as leader.
        availability: Whether it may be relied on.
        elections: Counts for people.
    """

    def __init__(self, context: Context, begin: Begin, *, now: float) -> None:
        self.id = begin.history
        self.elections = Elections(context, now=now)
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
        self._pending_io = PendingIo(
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
        self._loaded_index = raft.last_index
        self._news = News()
        self._has_told_lost = False
        self.sync = CatchingUp(context, raft, self.id, self._compaction.keep_snapshot, now=now)
        self.availability = Availability(context, raft, self.id, self.sync)
        if begin.join_index > raft.commit_index:
            self.sync.begin(now=now)
        self.commands.route(now=now)

    # What it is, for the member.

    @property
    def is_voter(self) -> bool:
        """Whether this member counts for quorums."""
        return self._context.me in self.raft.configuration.voters

    @property
    def counts_tail(self) -> bool:
        """Whether what is in the log and not known to be committed here may well be.

        A voter may have acknowledged it. What a member had on its disk when it started it
        may have applied in an earlier life: the disk does not say how far that went.
        """
        is_voter = any(self._context.me in voters for voters in self.raft.deciding)
        return is_voter or self.raft.commit_index < self._loaded_index

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for the disk."""
        return self._pending_io.is_idle

    @property
    def is_settled_here(self) -> bool:
        """Whether all that is committed is applied and saved."""
        return self.is_idle and self.raft.applied_index == self.raft.commit_index

    def status(self) -> dict[str, Any]:
        """Return the fields of this member's status that the history knows."""
        raft, ledger = self.raft, self._context.host.ledger
        standing = MemberStanding.VOTER if self.is_voter else MemberStanding.LEARNER
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
        ledger = self._context.host.ledger
        return (
            self.raft.configuration_index,
            self.raft.leader,
            self.raft.term,
            self.availability.is_catching_up,
            self.raft.has_lost_entries,
            self.availability.is_admitted,
            ledger.closed_into,
            len(ledger.merged),
            len(ledger.ancestors),
        )

    def log_position(self) -> int:
        """Return the position the log's last command will have if all of them are applied."""
        raft = self.raft
        waiting = 0
        for entry in raft.log.tail(raft.applied_index + 1):
            if entry.kind is EntryKind.COMMANDS:
                waiting += sum(batch.command_count for batch in decode_command_batches(entry.data))
        return self._context.host.position + waiting

    # What the member passes on.

    def receive_raft(self, peer: PeerId, body: memoryview, *, now: float) -> bool:
        """Take in a message of Raft; return whether a `pump` is needed. Raises `RemoteError`.

        It is not after an acknowledgement that commits nothing: a leader of many followers
        gets more of these than of others.
        """
        message, raft = decode_message(body), self.raft
        if self.availability.is_stalled or self.sync.holds_back(message):
            return True
        if peer == raft.leader:
            self.elections.heard_s = now
        if not isinstance(message, Appended):
            raft.receive_message(peer, message, now=now)
            return True
        before = (raft.commit_index, raft.get_timer())
        raft.receive_message(peer, message, now=now)
        return (raft.commit_index, raft.get_timer()) != before or not raft.has_sent_all(peer)

    def propose_system_entry(self, system_entry: SystemEntry) -> None:
        """Put a system entry into the log; it comes back in `take_news`, applied or failed."""
        self.raft.propose(encode_system_entry(system_entry), system_entry, EntryKind.SYSTEM)

    def take_news(self) -> News | None:
        """Return what has come since the last call, None for nothing."""
        news = self._news
        if not (news.applied or news.failed or news.replayed):
            return None
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
                self._context.emit(Logged(True, f"the group cannot go on: {MAJORITY_LOST}"))

    def campaign_if_alone(self, *, now: float) -> None:
        """Lead at once where no other vote is needed."""
        if self.raft.configuration.voters == (self._context.me,):
            self.raft.campaign(now=now)

    def note_disk(self, disk: DiskState, *, now: float) -> None:
        """Take in how the disk does.

        A leader that cannot save commits nothing it could answer for: it steps down, at
        once, and has another one take over. Who waits for that learns it now; what
        Raft says of it comes when the disk has done its work.
        """
        self._now = now
        was_stalled, self.availability.disk = self.availability.is_stalled, disk
        raft = self.raft
        if disk is DiskState.FINE:
            if was_stalled:
                self.campaign_if_alone(now=now)
        elif raft.is_leader or disk is DiskState.FULL:
            was_leader, leader = raft.is_leader, raft.leader
            raft.step_down(disk.value, now=now)
            self._pending_io.run()
            self._told_number = self._pending_io.last_number
            if was_leader:
                self.elections.note_stepped_down(raft.term, disk.value, now=now)
            if leader is not None:
                self._note_leader(None, raft.term)

    def saved(self) -> None:
        """Note that the batch of the last `next_save` is saved."""
        self._pending_io.saved()

    def next_save(self) -> SaveBatch | None:
        """Return what to save now, None for nothing."""
        return self._pending_io.next_save()

    # Time.

    def get_timer(self) -> float:
        """Return when to call `handle_timer`."""
        if self.availability.is_stalled:
            return inf
        raft = self.raft
        due_s = min(self.sync.get_timer(), raft.get_timer())
        if raft.is_leader and not self.availability.is_closed:
            due_s = min(due_s, self.voter_changes.look_at_s)
        has_work = self._compaction.is_active or self._pending_io.has_more
        return min(due_s, self._now) if has_work else due_s

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        if self.availability.is_stalled:
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
        if self.availability.is_stalled:
            return
        if not self.availability.is_closed:
            self.voter_changes.look(now=now)
        self.availability.note_caught_up()
        self.availability.note_admitted()
        self.commands.send(now=now)
        if self.availability.is_closed:
            self._context.reads.hold(now=now)
        else:
            self._context.reads.ask(self.raft.read, now=now)
        self._pending_io.run()
        self.sync.pump(self._pending_io, now=now)
        if self._compaction.consider():
            self._pending_io.run()

    @property
    def has_more(self) -> bool:
        """Whether another `pump` would find commands to send: answers have made room."""
        return self.commands.has_more(now=self._now)

    # What Raft says.

    def _send_messages(self, messages: tuple[tuple[PeerId, Message], ...]) -> None:
        encoded: Message | None = None
        data = b""
        for peer, message in messages:
            if message is not encoded:
                encoded, data = message, with_history(RAFT, self.id, encode_message(message))
            self._context.send(peer, data)

    def _finish(self, ready: Ready) -> int:
        """Steps 4 to 6 of a `Ready`, which is saved; return how many commands it had."""
        before = self._context.host.position
        if ready.messages:
            self._send_messages(ready.messages)
        if ready.committed:
            self._apply(ready.committed)
        for outcome in ready.outcomes:
            self._take_outcome(outcome)
        for read in ready.reads:
            if not isinstance(read.request_id, Joiners):
                self._context.reads.receive_state(read)
            elif read.index is not None:
                self.voter_changes.join_accepted(read.request_id)
        for event in ready.events:
            was_told = ready.number <= self._told_number
            if not (was_told and isinstance(event, LeaderChanged | SteppedDown)):
                self._take_event(event)
        return self._context.host.position - before

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        context = self._context
        applied = context.host.apply(
            entries,
            context.client.client_id,
            self.raft.commit_index,
            takes_snapshots=not self.availability.is_catching_up,
        )
        self.raft.applied(entries[-1].index)
        self._compaction.note_applied(sum([len(entry.data) for entry in entries]))
        if applied.answers:
            context.client.receive_answers(applied.answers, self._now)
        for snapshot in applied.snapshots:
            self._take_snapshot(snapshot)
        if applied.replayed:
            self._news.replayed += applied.replayed
        if applied.bad_count:
            context.emit(
                Logged(True, f"{applied.bad_count} entries could not be read: {applied.bad_why}")
            )
        if applied.mismatch_why:
            text = f"what `apply` returned is not of the machine's `Result`: {applied.mismatch_why}"
            context.emit(Logged(True, text))
        for entry in entries:
            if entry.kind is EntryKind.SYSTEM:
                self._take_system_entry(entry)

    def _take_snapshot(self, snapshot: HostSnapshot) -> None:
        if snapshot.parts is None:
            self._context.emit(Logged(True, f"a snapshot could not be made: {snapshot.failure}"))
        else:
            made = RequestedSnapshot(
                self.raft.metadata_at(snapshot.index), snapshot.request_id, snapshot.parts
            )
            self.sync.snapshot_made(made, now=self._now)

    def _take_system_entry(self, entry: Entry) -> None:
        with suppress(RemoteError):  # void for everybody, and counted by the host
            self._news.applied.append(decode_system_entry(entry.data))

    def _take_outcome(self, outcome: ProposalOutcome) -> None:
        token = outcome.token
        if outcome.verdict is ProposalVerdict.COMMITTED or token is None:
            return
        if isinstance(token, CommandProposal):
            self.commands.refuse(token.command_batches, now=self._now)
        else:
            self._news.failed.append(token)

    def _take_event(self, event: Any) -> None:
        match event:
            case LeaderChanged(leader, term):
                self._note_leader(leader, term)
            case BecameLeader():
                self.voter_changes.hurry(now=self._now)
            case ConfigurationKnown():
                self.voter_changes.hurry(now=self._now)
            case ConfigurationCommitted(_, voters):
                self.voter_changes.hurry(now=self._now)
                self._context.emit(Notify(MembersChanged(voters.voters, voters.learners)))
            case SnapshotNeeded(metadata):
                self.sync.begin(metadata.index, now=self._now)
            case EntriesLost(last_index, counted_index, counted_by):
                text = (
                    f"the log here ends at entry {last_index}, but the leader, {counted_by.short}, "
                    f"has counted {counted_index} as saved here: waiting to be taken in anew"
                )
                self._context.emit(Logged(True, text))
            case SteppedDown(term, why):
                self.elections.note_stepped_down(term, why, now=self._now)

    def _note_leader(self, leader: PeerId | None, term: int) -> None:
        self.elections.note_leader(leader, term, now=self._now)
        self.commands.route(now=self._now)
