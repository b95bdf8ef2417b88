"""A member's part in one history: the log, what is applied, and who may vote.

Made when a history is founded, loaded or joined; dropped when it is given up.
It moves between Raft, the host of the machine, the commands and reads of this
node, state sync, and the policy of membership:

    * Commands leave for the leader once per `pump`, all that piled up as one
      entry or one frame; what comes back is learnt by applying the log here.
    * What the log says is applied here, and only here.
    * What a leader does about the members is in `voter_changes`, cutting the log in
      `compaction`, serving and catching up in `catching_up`.

Until the log has reached the place where its join was accepted, a member is non-voting: see
`member`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from ...errors import RemoteError
from ...ids import PeerId
from ..machine.host import HostSnapshot as HostCut
from ..machine.host import Replayed
from ..machine.sync_roles import RequestedSnapshot
from ..merge.takeover import are_forgotten
from ..raft.pending_io import PendingIo
from ..raft.quorum import majority
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
from ..wire.commands import CommandBatch, decode_command_batches
from ..wire.configuration import encode_voters, make_voters
from ..wire.frames import RAFT, with_history
from ..wire.group_record import StoredGroup, encode_stored
from ..wire.raft import Message, decode_message, encode_message
from ..wire.records import Entry, EntryKind, HardState, SnapshotMetadata
from ..wire.status import ANCESTOR_COUNT_MAX, MERGED_COUNT_MAX, Standing
from ..wire.system_entries import ContinueAs, SystemEntry, decode_system_entry, encode_system_entry
from .catching_up import CatchingUp
from .commanding import CommandProposal, Commands
from .compaction import Compaction
from .context import Context
from .events import LeaderElected, Logged, MembersChanged, Notify
from .saving import DiskState
from .voter_changes import Joiners, VoterChanges

_CONTINUED: Final = "the voters have lost what they had; who is left goes on without them"
_MAJORITY_LOST: Final = (
    "a majority of the voters has lost what it had stored, and with it perhaps what was "
    "acknowledged; see `force_new_group`"
)


@dataclass(frozen=True, slots=True)
class Begin:
    """Where a history begins for a member.

    Attributes:
        history: Its id.
        raft: What `Raft` is made with, beside the member and its settings.
        join_index: The member is non-voting until its log has reached this.
        root: The history in which the log begins; empty for `history`.
    """

    history: bytes
    raft: Mapping[str, Any] = field(default_factory=dict)
    join_index: int = 0
    root: bytes = b""


@dataclass(slots=True)
class Elections:
    """Counts for people.

    Attributes:
        count: Leaders that were seen to take over.
        lost_at_s: When the last one was last heard of, None while there is one.
        last_elapsed_s: How long the group was last without one.
    """

    count: int = 0
    lost_at_s: float | None = None
    last_elapsed_s: float = 0.0


class FollowedHistory:
    """See the module's docstring.

    Args:
        context: What the pieces of this member share.
        begin: Where it begins.
        now: Monotonic time in seconds.

    Attributes:
        id: The history's id.
        raft: The core, to be read.
        elections: Counts for people.
    """

    def __init__(self, context: Context, begin: Begin, *, now: float) -> None:
        self.id = begin.history
        self.elections = Elections()
        self._disk = DiskState.FINE
        self._told_number = 0
        self._context = context
        self.raft = raft = Raft(
            context.me,
            context.consensus.raft(context.factor),
            context.rng,
            now=now,
            join_index=begin.join_index,
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
        self._replayed: list[Replayed] = []
        self._compaction = Compaction(context, raft, self.id, begin.join_index)
        self._commands = Commands(context, raft, self.id)
        self._voter_changes = VoterChanges(context, raft, self.id, now=now)
        self._loaded_index = raft.last_index
        self._leader_heard_s = now
        self._is_caught_up = False
        # A voter of a committed configuration has its place, also when it comes back.
        is_voter = context.me in raft.final_configuration[1].voters
        self._is_admitted = is_voter and not raft.is_non_voting
        self._admitted_index: int | None = None
        self._caught_up_index: int | None = None
        self._system_entries: list[SystemEntry] = []
        self._failed_system_entries: list[SystemEntry] = []
        self._has_told_lost = False
        self._sync = CatchingUp(context, raft, self.id, self._compaction.keep_snapshot, now=now)
        if begin.join_index > raft.commit_index:
            self._sync.begin(now=now)
        self._commands.route(now=now)

    # What it is, for the member.

    @property
    def is_catching_up(self) -> bool:
        """Whether the state here is not to be relied on yet."""
        return self.raft.is_non_voting or self._sync.is_active

    @property
    def is_member(self) -> bool:
        """Whether the configuration names this member."""
        return self._voter_changes.is_named(self._context.me)

    @property
    def is_voter(self) -> bool:
        """Whether this member counts for quorums."""
        return self._context.me in self.raft.configuration.voters

    @property
    def is_stalled(self) -> bool:
        """Whether the disk takes nothing: the member is silent until it does."""
        return self._disk is DiskState.FULL

    @property
    def why_offline(self) -> str | None:
        """Why commands are not taken at the moment; None when they are."""
        if self._disk is not DiskState.FINE:
            return str(self._disk.value)
        if self.raft.has_lost_entries:
            return "the log here lacks entries that were acknowledged: waiting to be taken in anew"
        if self._is_closed:
            return "the history is closed: it is being merged into another one"
        if self.is_catching_up:
            return "catching up with the group"
        leader = self.raft.leader
        if leader is None:
            if self._is_continued:
                return f"no leader: {_CONTINUED}"
            if self._majority_is_lost:
                return f"no leader: {_MAJORITY_LOST}"
            return "no leader: a majority of the voters is not in reach"
        if leader != self._context.me:
            status = self._context.statuses.get(leader)
            if status is None:
                return f"no bond with the leader, {leader.short}"
            if status.history != self.id:
                return f"no leader: {leader.short}, which led, has lost what it had"
        if not self._is_caught_up:
            return "behind the leader"
        if not self._is_admitted:
            return "being taken in: the change of the voters is not finished"
        if self.raft.is_log_full:
            return "the log is full: a machine with `snapshot` and `restore` would have it cut"
        return None

    @property
    def _is_continued(self) -> bool:
        """Whether those that are left go on by themselves, without the voters (`takeover`)."""
        context, deciding = self._context, self.raft.deciding
        may_be = context.consensus.initial_voters == 1
        return may_be and are_forgotten(self.id, deciding, context.statuses)

    @property
    def _majority_is_lost(self) -> bool:
        """Whether so many voters have lost entries, or all, that nobody can go on."""
        raft = self.raft
        if self._is_closed or self._is_continued:
            return False  # it need not go on, or will
        voter_count = len(raft.configuration.voters)
        if not (voter_count and raft.commit_index):
            return False  # unknown yet, or the first voters may not have begun
        lost_count = int(raft.has_lost_entries)
        for peer in raft.configuration.voters:
            status = self._context.statuses.get(peer)
            lost_count += status is not None and status.standing is Standing.SEEKING
        return voter_count - lost_count < majority(voter_count)

    @property
    def _is_closed(self) -> bool:
        """Whether the history has ended: it takes nobody in, and what it shows is of the past."""
        return self._context.host.ledger.is_closed

    @property
    def is_restoring(self) -> bool:
        """Whether the machine is half restored, and nothing may be asked of it."""
        return self._sync.is_restoring

    @property
    def served_bytes(self) -> int:
        """What was handed to those who catch up."""
        return self._sync.served_bytes

    @property
    def sync_mismatches(self) -> int:
        """How often a state that was fetched did not fit together."""
        return self._sync.mismatch_count

    def is_known_to(self, peer: PeerId) -> bool:
        """Whether a member knows all that this one, as its leader, has committed."""
        progress = self.raft.progress.get(peer)
        return progress is None or progress.commit_known >= self.raft.commit_index

    @property
    def is_settled(self) -> bool:
        """Whether the configuration in force is known to be committed."""
        return not self.raft.is_configuration_pending

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
        standing = Standing.VOTER if self.is_voter else Standing.LEARNER
        return {
            "standing": Standing.SEEKING if raft.has_lost_entries else standing,
            "history": self.id,
            "term": raft.term,
            "leader": raft.leader,
            "commit_index": raft.commit_index,
            "first_index": raft.first_index,
            "is_catching_up": self.is_catching_up or raft.has_lost_entries,
            "closed_into": ledger.closed_into,
            "merged": ledger.merged[-MERGED_COUNT_MAX:],
            "position": self._context.host.position,
            "ancestors": ledger.ancestors[-ANCESTOR_COUNT_MAX:],
            "is_admitted": self._is_admitted,
        }

    @property
    def standing_key(self) -> tuple[Any, ...]:
        """Return what differs when others may have to act on something in `status`."""
        ledger = self._context.host.ledger
        return (
            self.raft.configuration_index,
            self.raft.leader,
            self.raft.term,
            self.is_catching_up,
            self.raft.has_lost_entries,
            self._is_admitted,
            ledger.closed_into,
            len(ledger.merged),
            len(ledger.ancestors),
        )

    def log_position(self) -> int:
        """Return the position the log's last command will have if all of them are applied."""
        raft = self.raft
        waiting = 0
        for entry in raft.tail(raft.applied_index + 1):
            if entry.kind is EntryKind.COMMANDS:
                waiting += sum(
                    len(command_batch.payloads)
                    for command_batch in decode_command_batches(entry.data)
                )
        return self._context.host.position + waiting

    # What the member passes on.

    def receive_raft(self, peer: PeerId, body: memoryview, *, now: float) -> None:
        """Take in a message of Raft. Raises `RemoteError`."""
        message = decode_message(body)
        if self.is_stalled:
            return
        if self._sync.holds_back(message):
            return
        if peer == self.raft.leader:
            self._leader_heard_s = now
        self.raft.receive_message(peer, message, now=now)

    def receive_forward(self, peer: PeerId, command_batch: CommandBatch) -> None:
        """Take in commands of another member, which takes this one for the leader."""
        self._commands.receive_forward(peer, command_batch)

    def receive_sync_ask(self, peer: PeerId, data: memoryview, *, now: float) -> None:
        """Serve one that catches up. Raises `RemoteError`."""
        self._sync.receive_ask(peer, bytes(data), now=now)

    def receive_sync_answer(self, peer: PeerId, data: memoryview, *, now: float) -> None:
        """Take in what was asked for to catch up. Raises `RemoteError`."""
        self._sync.receive_answer(peer, bytes(data), now=now)

    def admit(self, leader: PeerId, index: int) -> None:
        """Take in that this member's place is final as soon as `index` is known to be committed."""
        if leader == self.raft.leader:
            self._admitted_index = index

    def propose_system_entry(self, system_entry: SystemEntry) -> None:
        """Put a system entry into the log.

        It comes back through `take_system_entries` or `take_failed_system_entries`.
        """
        self.raft.propose(encode_system_entry(system_entry), system_entry, EntryKind.SYSTEM)

    @property
    def has_news(self) -> bool:
        """Whether one of the `take_` methods would return anything."""
        return bool(self._system_entries or self._failed_system_entries or self._replayed)

    def take_system_entries(self) -> list[SystemEntry]:
        """Return the system entries applied since the last call."""
        taken, self._system_entries = self._system_entries, []
        return taken

    def take_replayed(self) -> list[Replayed]:
        """Return the commands of other histories applied here since the last call."""
        taken, self._replayed = self._replayed, []
        return taken

    def take_failed_system_entries(self) -> list[SystemEntry]:
        """Return the system entries proposed here that are not in the log, or not known to be."""
        taken, self._failed_system_entries = self._failed_system_entries, []
        return taken

    def peer_left(self, peer: PeerId) -> None:
        """Note that a member took its leave; `peers_changed` follows."""
        self._voter_changes.peer_left(peer)

    def peers_changed(self, *, now: float) -> None:
        """Somebody was bonded or lost, or says something new of itself."""
        self._now = now
        self._voter_changes.hurry(now=now)
        self._sync.holders_changed(now=now)
        self._commands.route(now=now)
        if self._majority_is_lost != self._has_told_lost:
            self._has_told_lost = not self._has_told_lost
            if self._has_told_lost:
                self._context.emit(Logged(True, f"the group cannot go on: {_MAJORITY_LOST}"))

    def continued(self, history: bytes, *, keeps_tail: bool) -> tuple[Begin, SaveBatch]:
        """Return where a history begins in which this member continues this one, and its save.

        It has all that is committed here; then a system entry that says where the two part, and a
        configuration of this member alone.

        Args:
            history: The id of that history.
            keeps_tail: Whether what is in the log and not known to be committed counts as
                committed, as commands of the new history.
        """
        raft, host, me = self.raft, self._context.host, self._context.me
        ledger = host.ledger
        kept = self._kept_entries(keeps_tail=keeps_tail)
        index, term = kept[-1].index if kept else raft.first_index - 1, raft.term + 1
        system_entry = ContinueAs(
            self.id,
            history,
            raft.commit_index,
            host.position,
            ledger.own_count,
            ledger.command_count,
        )
        alone = encode_voters(make_voters([me]))
        added = (
            Entry(index + 1, term, EntryKind.SYSTEM, encode_system_entry(system_entry)),
            Entry(index + 2, term, EntryKind.CONFIGURATION, alone),
        )
        return self._go_on_as(history, HardState(term, me, index + 2), kept, added)

    def followed(self, history: bytes, join_index: int) -> tuple[Begin, SaveBatch]:
        """Return where this member goes on in a history that continues this one, and its save.

        That has all that is committed here, and is committed up to `join_index`: before the log
        is there, this member is non-voting, whatever the configuration that it has says.
        """
        kept = self._kept_entries(keeps_tail=False)
        return self._go_on_as(history, self.raft.hard_state, kept, (), join_index)

    def _kept_entries(self, *, keeps_tail: bool) -> tuple[Entry, ...]:
        raft = self.raft
        entries = raft.tail(raft.first_index)
        if not keeps_tail:
            entries = entries[: raft.commit_index - raft.first_index + 1]
        return entries

    def _go_on_as(
        self,
        history: bytes,
        hard_state: HardState,
        kept: tuple[Entry, ...],
        added: tuple[Entry, ...],
        join_index: int = 0,
    ) -> tuple[Begin, SaveBatch]:
        raft, root = self.raft, self._context.host.ledger.root
        base_index = raft.first_index - 1
        begin = Begin(
            history,
            {
                "hard_state": hard_state,
                "metadata": raft.metadata,
                "base": (base_index, raft.term_at(base_index)),
                "entries": (*kept, *added),
                "applied_index": raft.applied_index,
            },
            join_index,
            root,
        )
        kept_index = kept[-1].index if kept else base_index
        batch = SaveBatch(
            hard_state=hard_state,
            snapshot=self._snapshot_as(history, root, join_index),
            truncate_from=None if kept_index == raft.last_index else kept_index + 1,
            entries=added,
        )
        return begin, batch

    def _snapshot_as(
        self, history: bytes, root: bytes, join_index: int
    ) -> tuple[SnapshotMetadata, bytes] | None:
        """Return what says on the disk which history it is from now on.

        The header still names the one so far, until the system entry in the log is applied again.
        """
        raft = self.raft
        if not self._context.is_durable:
            return None
        if not raft.metadata.index:
            return raft.metadata, encode_stored(StoredGroup(history, join_index, root=root))
        parts = tuple(self._context.host.snapshot_parts())
        return raft.metadata_at(raft.applied_index), encode_stored(
            StoredGroup(history, join_index, b"", parts)
        )

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
        was_stalled, self._disk = self.is_stalled, disk
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
                self._note_stepped_down(raft.term, disk.value)
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
        if self.is_stalled:
            return inf
        raft = self.raft
        due_s = min(self._sync.get_timer(), raft.get_timer())
        if raft.is_leader and not self._is_closed:
            due_s = min(due_s, self._voter_changes.look_at_s)
        has_work = self._compaction.is_active or self._pending_io.has_more
        return min(due_s, self._now) if has_work else due_s

    def handle_timer(self, *, now: float) -> None:
        """Do what is due."""
        if self.is_stalled:
            return
        self._now = now
        self.raft.handle_timer(now=now)
        self._sync.handle_timer(now=now)
        self._compaction.carry_on()

    # The pump.

    def pump(self, *, now: float) -> None:
        """Carry everything on as far as it goes."""
        self._now = now
        if self.is_stalled:
            return
        if not self._is_closed:
            self._voter_changes.look(now=now)
        self._note_caught_up()
        self._note_admitted()
        self._commands.send(now=now)
        if self._is_closed:
            self._context.reads.hold(now=now)
        else:
            self._context.reads.ask(self.raft.read, now=now)
        self._pending_io.run()
        self._sync.pump(self._pending_io, now=now)
        if self._compaction.consider():
            self._pending_io.run()

    @property
    def has_more(self) -> bool:
        """Whether another `pump` would find commands to send: answers have made room."""
        return self._commands.has_more(now=self._now)

    def _note_caught_up(self) -> None:
        """Note when this member has applied what was committed when it first met its leader.

        A member that restarts is told the commit index only then; until it has
        applied that much, what it shows is of the past.
        """
        if self._is_caught_up:
            return
        raft = self.raft
        if raft.leader is None or raft.term_at(raft.applied_index) != raft.term:
            return  # nothing of this term is applied: what was committed before may lack too
        if self._caught_up_index is None:
            status = self._context.statuses.get(raft.leader)
            self._caught_up_index = 0 if status is None else status.commit_index
        self._is_caught_up = raft.applied_index >= self._caught_up_index

    def _note_admitted(self) -> None:
        """Note when this member's place in the group is final for now: then it may be online."""
        if self._is_admitted:
            return
        raft, index = self.raft, self._admitted_index
        has_place = index is not None and raft.commit_index >= index
        # An observer never is to vote, and a leader is one of the voters.
        is_observer = self._is_caught_up and self._context.is_observer
        self._is_admitted = has_place or is_observer or raft.is_leader

    # What Raft says.

    def _send_messages(self, messages: tuple[tuple[PeerId, Message], ...]) -> None:
        for peer, message in messages:
            self._context.send(peer, with_history(RAFT, self.id, encode_message(message)))

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
                self._voter_changes.join_accepted(read.request_id)
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
            takes_cuts=not self.is_catching_up,
        )
        self.raft.applied(entries[-1].index)
        self._compaction.note_applied(sum([len(entry.data) for entry in entries]))
        if applied.answers:
            context.client.receive_answers(applied.answers, self._now)
        for cut in applied.cuts:
            self._take_cut(cut)
        if applied.replayed:
            self._replayed += applied.replayed
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

    def _take_cut(self, cut: HostCut) -> None:
        if cut.parts is None:
            self._context.emit(Logged(True, f"a snapshot could not be made: {cut.failure}"))
        else:
            made = RequestedSnapshot(self.raft.metadata_at(cut.index), cut.request_id, cut.parts)
            self._sync.cut_made(made, now=self._now)

    def _take_system_entry(self, entry: Entry) -> None:
        with suppress(RemoteError):  # void for everybody, and counted by the host
            self._system_entries.append(decode_system_entry(entry.data))

    def _take_outcome(self, outcome: ProposalOutcome) -> None:
        token = outcome.token
        if outcome.verdict is ProposalVerdict.COMMITTED or token is None:
            return
        if isinstance(token, CommandProposal):
            self._commands.refuse(token.command_batches, now=self._now)
        else:
            self._failed_system_entries.append(token)

    def _take_event(self, event: Any) -> None:
        match event:
            case LeaderChanged(leader, term):
                self._note_leader(leader, term)
            case BecameLeader():
                self._voter_changes.hurry(now=self._now)
            case ConfigurationKnown():
                self._voter_changes.hurry(now=self._now)
            case ConfigurationCommitted(_, voters):
                self._voter_changes.hurry(now=self._now)
                self._context.emit(Notify(MembersChanged(voters.voters, voters.learners)))
            case SnapshotNeeded(metadata):
                self._sync.begin(metadata.index, now=self._now)
            case EntriesLost(last_index, counted_index, counted_by):
                text = (
                    f"the log here ends at entry {last_index}, but the leader, {counted_by.short}, "
                    f"has counted {counted_index} as saved here: waiting to be taken in anew"
                )
                self._context.emit(Logged(True, text))
            case SteppedDown(term, why):
                self._note_stepped_down(term, why)

    def _note_stepped_down(self, term: int, why: str) -> None:
        self._leader_heard_s = self._now
        self._context.emit(Logged(False, f"leads no more in term {term}: {why}"))

    def _note_leader(self, leader: PeerId | None, term: int) -> None:
        elections = self.elections
        elapsed_s = 0.0
        if elections.lost_at_s is None and elections.count:
            elections.lost_at_s = self._leader_heard_s
        if leader is not None:
            elections.count += 1
            if elections.lost_at_s is not None:
                elapsed_s = elections.last_elapsed_s = self._now - elections.lost_at_s
            elections.lost_at_s = None
            self._leader_heard_s = self._now
        self._context.emit(Notify(LeaderElected(leader, term, elapsed_s)))
        self._commands.route(now=self._now)
