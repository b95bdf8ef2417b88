"""A member of a group: everything one node does in it, decided in one place.

A pure state machine that composes the cores of all rooms and knows how they depend on each other.
Which history it follows is in `following`.

Invariants:
    * Raft of one history never gets a message of another.
    * Until its log has reached the place where its join was accepted, a member does not vote: it
      may have voted before, in an earlier life, and have forgotten it.
    * Nothing is resolved before it is applied here, and nothing is applied before it is committed.

The caller passes links' frames and ``now`` (monotonic seconds), then drains `events` and
re-reads `get_timer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from random import Random
from types import MappingProxyType
from typing import Any, Final

from ...errors import ConfigError, RemoteError
from ...ids import PeerId
from ...transport.close import CloseCode, CloseReason
from ..client.calls import Submission
from ..client.client import SubmissionFailed
from ..client.reads import ReadFailed, ReadGranted
from ..mesh.bond import BondFormed, BondLost, CloseLink, SendBondFrame, StatusChanged
from ..mesh.standing_bonds import JoinHeartbeats
from ..raft.pending_io import PendingIo
from ..wire import frames
from ..wire.bootstrap import decode_message as decode_bootstrap
from ..wire.frames import Admitted, ForwardRefused, JoinAccepted
from ..wire.status import Status
from ..wire.types import HISTORY_BYTES
from .context import Context, MemberSpec
from .continuing import Continuing
from .events import FramesOut, GroupForced, MemberLeft, SaveWanted
from .following import Following
from .history import FollowedHistory, StoredMember
from .leaving import Leaving
from .own_status import OwnStatus
from .saving import DiskState

_VIOLATION: Final = "breaks the protocol: "
_UNPROVEN: Final = CloseReason(CloseCode.GROUP_INVALID_HANDSHAKE, "a frame before the proof")


class GroupMember:
    """See the module's docstring; `join_heartbeats` is as in `StandingBonds`.

    What a durable storage held, `stored`, is restored already. Raises `DecodeError` where a
    configuration in its log cannot be read.
    """

    def __init__(
        self,
        spec: MemberSpec,
        rng: Random,
        *,
        now: float,
        stored: StoredMember,
        join_heartbeats: JoinHeartbeats = lambda _link_id: None,
    ) -> None:
        self._context = context = Context(spec, rng, join_heartbeats)
        self.mesh = context.mesh  # what links do goes there; `pump` follows
        self.host = context.host
        self.statuses: Mapping[PeerId, Status] = MappingProxyType(context.statuses)
        self.events = context.events  # what to do, oldest first; the caller takes them out
        self.client = context.client  # takes this node's commands; `pump` follows
        self.reads = context.reads  # and its strong reads
        self._saving = context.saving
        self._leaving = Leaving()
        self._following = Following(context, now=now)
        self._continuing = Continuing(context, self._following)
        self._own_status = OwnStatus(context, self._following, self._continuing, self._leaving)
        self._following.begin_from(stored, now=now)
        self._own_status.publish(now=now)

    # Views.

    @property
    def history(self) -> FollowedHistory | None:
        """The history this member follows, None while it has none; to be read only."""
        return self._following.history

    @property
    def status(self) -> Status:
        """What this member says of itself."""
        return self._own_status.make()

    @property
    def leader(self) -> PeerId | None:
        """Who leads the group, None when that is not known."""
        return None if self.history is None else self.history.raft.leader

    @property
    def is_leader(self) -> bool:
        """Whether this member leads: the same as `leader` being this member, always.

        One whose disk takes nothing or hangs, or that hears no majority, has stepped down.
        """
        return self.history is not None and self.history.raft.is_leader

    @property
    def why_offline(self) -> str | None:
        """Why commands are not taken at the moment; None when they are."""
        if self._leaving.has_begun:
            return "leaving the group"
        if self.history is None:
            following = self._following
            return f"no history yet: {following.why_apart or following.bootstrap.why_unbegun}"
        return self.history.availability.why_offline

    @property
    def may_query(self) -> bool:
        """Whether the machine is whole: it is not while it is being restored."""
        return self.history is None or not self.history.sync.is_restoring

    @property
    def is_busy(self) -> bool:
        """Whether something is being saved, or waits to be applied here."""
        pending_io = self._pending_io
        return self._saving.is_busy or (pending_io is not None and pending_io.has_more)

    @property
    def is_stalled(self) -> bool:
        """Whether the disk takes nothing."""
        return self._saving.is_stalled

    @property
    def shown(self) -> tuple[Any, ...]:
        """Return what people may wait for: when it differs, something has changed."""
        history = self.history
        if history is None:
            return (None, self.why_offline)
        raft = history.raft
        led, log = (raft.leader, raft.term), (raft.log.last_index, self.host.position)
        members = (raft.configurations.latest_index, raft.final_configuration[0])
        return (history.id, self.why_offline, led, log, members)

    def end(self) -> list[Submission | SubmissionFailed | ReadGranted | ReadFailed]:
        """Return what became of all calls that wait, also of those decided and not handed out."""
        self.client.fail_all("the member has ended")
        self.reads.fail_all()
        self._take_client()
        outcomes = Submission | SubmissionFailed | ReadGranted | ReadFailed
        ended = [event for event in self._context.events if isinstance(event, outcomes)]
        self._context.events.clear()
        return ended

    # What comes from this node.

    def cancel(self, token: Any) -> None:
        """Forget who waits for commands or a read; commands that have left go on."""
        self.client.cancel(token)
        self.reads.cancel(token)

    def take_part(self, *, now: float) -> None:
        """Be an observer no more: the leader may make this member a voter. May be repeated."""
        self._context.is_observer = False
        self._following.bootstrap.take_part(now=now)
        if self.history is not None:
            self.history.peers_changed(now=now)

    def leave(self, *, now: float, is_final: bool) -> None:
        """Leave the group; `MemberLeft` follows. May be repeated.

        Where it `is_final`, this member does not mean to come back: a voter then has itself
        removed first. One that comes back with its log only hands over leadership.
        """
        if self._leaving.has_begun:
            return
        until_s = now + self._context.settings.leave_timeout
        self._leaving.begin(until_s=until_s, is_final=is_final or not self._context.is_durable)
        if self.history is not None:
            self.history.peers_changed(now=now)

    def transfer_leadership(self, to: PeerId) -> bool:
        """Hand leadership to another voter; return whether that begins. It may come to nothing."""
        return self.history is not None and self.history.raft.transfer_leadership(to)

    def force_new_group(self, *, now: float) -> None:
        """Begin a new history from the state here, with this member as its only voter.

        Only for the day when a majority is gone for good. Everything in the log
        here counts as committed; what only the others had is lost. Should they
        come back, the two histories merge like any two.

        Raises `ConfigError` while there is no state here to begin from.
        """
        history = self.history
        if history is None or not history.is_settled_here or history.availability.is_catching_up:
            raise ConfigError("this member has no state to begin a new history from; try again")
        if self.host.ledger.closed_into:
            raise ConfigError("the history here is closed: it is in another one, or will be")
        fresh = self._context.rng.randbytes(HISTORY_BYTES)
        self.client.change_history()
        self._context.notify(GroupForced(fresh, history.id))
        self._continuing.go_on_alone(history, fresh, keeps_tail=True)

    # What comes from links and the catalog.

    def recheck_peers(self, *, now: float) -> None:
        """Ask `MemberSpec.allow` again: it may answer otherwise than before."""
        self.mesh.recheck(now=now)
        if self.history is not None:
            self.history.peers_changed(now=now)

    def receive_frames(self, link_id: int, received: Sequence[bytes], *, now: float) -> bool:
        """Take in the frames of one loop turn, in order. What is wrong ends the link.

        Return False where nothing has changed by them, and no `pump` is needed.
        """
        mesh = self.mesh
        is_pump_needed = False
        for data in received:
            if not data or data[0] == frames.MESH:
                mesh.receive_frame(link_id, data, now=now)
                is_pump_needed |= self._take_mesh(now)
                continue
            peer = mesh.peer_of(link_id)
            if peer is None:
                # Closed just now; or not proven, and then there is nothing else to say.
                mesh.close_link(link_id, _UNPROVEN, now=now)
                self._take_mesh(now)
                return True
            try:
                is_pump_needed |= self._receive(peer, data, now)
            except RemoteError as exc:
                is_pump_needed = True
                reason = CloseReason(CloseCode.PROTOCOL_VIOLATION, f"{_VIOLATION}{exc}"[:250])
                self._context.warn(f"peer {peer.short} {_VIOLATION}{exc}", peer)
                mesh.close_link(link_id, reason, now=now)
                self._take_mesh(now)
        mesh.note_heard(link_id, now=now)
        return is_pump_needed

    def _receive(self, peer: PeerId, data: bytes, now: float) -> bool:
        """Take in a frame; return whether a `pump` is needed."""
        match data[0]:
            case frames.RAFT | frames.FORWARD | frames.SYNC_ASK | frames.SYNC_ANSWER:
                return self._receive_of_history(peer, data, now)
            case frames.MERGE:
                self._following.merge.receive_message(peer, data[1:], now=now)
            case frames.BOOTSTRAP:
                self._following.bootstrap.receive_message(peer, decode_bootstrap(data[1:]), now=now)
            case frames.CONTROL:
                self._receive_control(peer, data, now)
            case _:
                pass  # of a later version
        return True

    def _receive_of_history(self, peer: PeerId, data: bytes, now: float) -> bool:
        """Take in a frame of the history that is followed here; ignore one of another."""
        history, body = frames.split_history(data)
        followed = self._following.history
        if followed is None or history != followed.id:
            return True
        match data[0]:
            case frames.RAFT:
                return followed.receive_raft(peer, body, now=now)
            case frames.FORWARD:
                followed.commands.receive_forward(peer, frames.decode_forward(body))
            case frames.SYNC_ASK:
                followed.sync.provider.receive_message(peer, bytes(body), now=now)
            case frames.SYNC_ANSWER:
                followed.sync.receive_answer(peer, bytes(body), now=now)
        return True

    def _receive_control(self, peer: PeerId, data: bytes, now: float) -> None:
        match message := frames.decode_control(data):
            case JoinAccepted():
                self._following.receive_join_accepted(peer, message, now=now)
            case Admitted(history, index):
                if self.history is not None and self.history.id == history:
                    self.history.availability.admit(peer, index)
            case ForwardRefused(history, client, first_sequence):
                is_mine = self.history is not None and history == self.history.id
                if is_mine and client == self.client.client_id:
                    self.client.receive_refused(first_sequence, now)

    def saved(self, *, now: float) -> None:
        """Note that the batch of the last `SaveWanted` is saved."""
        self._note_disk(DiskState.FINE, now)
        self._saving.saved(self._pending_io)

    def stall(self, *, now: float) -> None:
        """Take in that the disk takes nothing for the moment; `saved` follows when it does."""
        self._note_disk(DiskState.FULL, now)

    def _note_disk(self, disk: DiskState, now: float) -> None:
        before = self._saving.disk
        self._saving.note_disk(disk)
        if disk is not before and self.history is not None:
            self.history.note_disk(before, now=now)

    @property
    def _pending_io(self) -> PendingIo | None:
        history = self._following.history
        return None if history is None else history.pending_io

    # Time.

    def get_timer(self) -> float | None:
        """Return when to call `handle_timer`; None for never."""
        saving, history = self._saving, self._following.history
        due_s = min(self._following.get_timer(), saving.hangs_at_s)
        if history is not None and not saving.is_stalled:
            due_s = min(due_s, history.get_timer(), self._continuing.takeover.timer_s)
        for core in (self.mesh, self.client, self.reads, self._following.bootstrap):
            if (time := core.get_timer()) is not None and time < due_s:
                due_s = time
        if self._leaving.until_s is not None:
            due_s = min(due_s, self._leaving.until_s)
        return None if due_s == inf else due_s

    def recheck_liveness(self, *, now: float) -> None:
        """Look whether peers' nodes were heard; then re-read `get_timer`, which may be later now.

        It needs no `pump`: what it finds due is done by `handle_timer`.
        """
        self.mesh.recheck_silence()
        if self.history is not None and not self.is_stalled:
            self.history.recheck_quiescence(now=now)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. Too early does no harm."""
        if now >= self._saving.hangs_at_s:
            self._note_disk(DiskState.HANGING, now)
        self.mesh.handle_timer(now=now)
        self.client.handle_timer(now=now)
        self.reads.handle_timer(now=now)
        self._following.merge.handle_timer(now=now)
        self._following.bootstrap.handle_timer(now=now)
        if self.history is not None:
            self.history.handle_timer(now=now)

    # The pump.

    def pump(self, *, now: float) -> None:
        """Carry everything on as far as it goes; then drain `events`."""
        following, saving = self._following, self._saving
        following.now = now
        self._take_mesh(now)
        following.take_bootstrap(now=now)
        if (history := following.history) is not None:
            history.pump(now=now)
        if history is None or saving.is_stalled:
            self.reads.hold(now=now)
        following.meet_others(now=now)
        following.read_notices()
        self._continuing.look(is_leaving=self._leaving.has_begun, now=now)
        self._own_status.publish(now=now)
        self._take_mesh(now)
        self._take_client()
        self._leave_on(now)
        if (batch := saving.next_batch(self._pending_io, now=now)) is not None:
            self._context.emit(SaveWanted(batch))
        self._flush()

    def _take_mesh(self, now: float) -> bool:
        """Pass on what the mesh wants, note who is there; return whether a `pump` is needed."""
        have_changed = is_pump_needed = False
        while (event := self.mesh.next_event()) is not None:
            match event:
                case StatusChanged(peer, status) if not self._following.heeds(peer, status):
                    self._context.statuses[peer] = status
                    continue
                case SendBondFrame(link_id, data):
                    self._context.out.setdefault(link_id, []).append(data)
                case CloseLink(link_id, _):
                    self._flush_link(link_id)
                    self._context.emit(event)
                case BondFormed(peer, _, status) | StatusChanged(peer, status):
                    self._context.statuses[peer] = status
                    have_changed = True
                case BondLost(peer, _, was_graceful):
                    self._context.statuses.pop(peer, None)
                    if was_graceful and self.history is not None:
                        self.history.voter_changes.peer_left(peer)
                    have_changed = True
                case _:
                    self._context.emit(event)
            is_pump_needed = True
        if have_changed:
            self._context.status_count += 1
            self._following.note_statuses(now=now)
        return is_pump_needed

    def _flush(self) -> None:
        for link_id in list(self._context.out):
            self._flush_link(link_id)

    def _flush_link(self, link_id: int) -> None:
        waiting = self._context.out.pop(link_id, None)
        if waiting:
            self._context.emit(FramesOut(link_id, waiting))

    def _leave_on(self, now: float) -> None:
        leaving = self._leaving
        if not leaving.has_begun or leaving.is_done:
            return
        is_late = leaving.until_s is not None and now >= leaving.until_s
        is_needed = self._saving.is_busy or leaving.is_needed(self._context, self.history)
        if is_needed and not is_late:
            return
        leaving.is_done = True
        self.reads.fail_all()
        self.client.fail_all("the member leaves the group")
        self._take_client()
        self.mesh.leave(now=now, is_final=leaving.is_final)
        self._take_mesh(now)
        self._flush()
        self._context.emit(MemberLeft())

    def _take_client(self) -> None:
        self._context.events += self.client.take_events()
        while (read := self.reads.next_event()) is not None:
            self._context.emit(read)
