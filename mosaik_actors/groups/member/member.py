"""A member of a group: everything one node does in it, decided in one place.

A pure state machine that composes the cores and knows how they depend on each
other:

    mesh          who is bonded with whom
    bootstrap       how a history begins, while there is none
    raft, pending I/O  the log of the history, and its disk
    host          the machine, the sessions, the ledger
    client        the commands of this node
    reads         its strong queries
    membership    who votes, decided where the leader is
    state sync    catching up, and serving those who do
    merge         what to do when two histories meet
    takeover      what to do when all voters are gone

A member is without a history (seeking one, or prepared for one that is about to
begin) or follows one. It joins a history when the leader says so (`JoinAccepted`),
and gives one up only when everything in it is in another one.

Invariants:
    * Raft of one history never gets a message of another.
    * Until its log has reached the place where its join was accepted, a member does not
      vote: it may have voted before, in an earlier life, and have forgotten it.
    * Nothing is resolved before it is applied here, and nothing is applied
      before it is committed.

The caller passes links' frames and ``now`` (monotonic seconds), then drains
`next_event` and re-reads `get_timer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from random import Random
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ...errors import ConfigError, RemoteError
from ...ids import PeerId
from ...transport.address import PeerAddr
from ...transport.close import CloseCode, CloseReason
from ..bootstrap.bootstrap import (
    Bootstrap,
    BootstrapStuck,
    Founded,
    HistoryDied,
    SavePrepareVote,
    SendBootstrap,
)
from ..client.client import Failed, Resolved
from ..client.reads import ReadFailed, ReadGranted
from ..machine.host import Host
from ..machine.ledger import Ledger
from ..merge.replay import is_whole, merged_commands
from ..merge.takeover import ContinueHistory, DropHistory, FollowHistory, SurvivorView, Takeover
from ..mesh.mesh import BondFormed, BondLost, CloseLink, Mesh, SendBondFrame, StatusChanged
from ..storage.interface import SaveBatch, Stored
from ..wire import frames
from ..wire.bootstrap import PrepareVote, decode_prepare_vote, encode_prepare_vote
from ..wire.bootstrap import decode_message as decode_bootstrap
from ..wire.bootstrap import encode_message as encode_bootstrap
from ..wire.frames import Admitted, ForwardRefused, JoinAccepted
from ..wire.group_record import StoredGroup, decode_stored, encode_stored
from ..wire.records import HardState, SnapshotMetadata, Voters
from ..wire.status import Standing, Status
from ..wire.types import HISTORY_BYTES
from .context import Context, MemberSpec
from .events import (
    FramesOut,
    GroupForced,
    GroupTakenOver,
    HistoryMerged,
    Logged,
    MemberLeft,
    Notify,
    SaveWanted,
    StateReplaced,
)
from .history import Begin, FollowedHistory
from .leaving import Leaving
from .merging import Merging
from .saving import DiskState, Saving

_WAITS_S: Final = 5.0  # for the history into which the own one went
_STATUS_EVERY_S: Final = 0.05
_NO_HISTORY: Final = "no history yet: looking for members, or waiting to be taken in"
_SOUGHT_KEPT: Final = 16
_VIOLATION: Final = "breaks the protocol: "
_UNPROVEN: Final = CloseReason(CloseCode.GROUP_INVALID_HANDSHAKE, "a frame before the proof")


class GroupMember:
    """See the module's docstring.

    Args:
        spec: What it is made of.
        rng: Draws timeouts, nonces and ids.
        now: Monotonic time in seconds.
        stored: What a durable storage held.

    Raises:
        DecodeError: What was stored cannot be read.
    """

    def __init__(self, spec: MemberSpec, rng: Random, *, now: float, stored: Stored) -> None:
        self._now = now
        self._mesh = Mesh(
            spec.me,
            spec.network_id,
            spec.group_id,
            spec.key,
            spec.consensus,
            rng,
            now=now,
            status=Status(),
            is_in_reach=spec.is_in_reach,
            allow=spec.allow,
        )
        self._context = context = Context(spec, rng, self._mesh, self._my_status)
        self._host, self._client, self._reads = context.host, context.client, context.reads
        self._history: FollowedHistory | None = None
        self._merging = Merging(context, now=now)
        context.keeps_log = lambda: self._merging.keeps_log
        self._went_into = b""
        self._waits_until_s = now
        self._prepare_vote = b""
        self._is_beginning = False
        self._saving = Saving(
            is_durable=spec.is_durable, patience_s=spec.consensus.election_timeout
        )
        self._term = stored.hard_state.term
        self._vote = stored.hard_state.vote
        self._published_key: object = None
        self._publish_again_at_s = now
        self._takeover = Takeover(spec.me, spec.consensus, spec.settings)
        self._seen_voters: object = None
        self._sought: dict[bytes, None] = {}
        self._leaving = Leaving()
        self._status_count = 0
        self._begin_from(stored, now)
        self._publish_status()

    # Views.

    @property
    def mesh(self) -> Mesh:
        """The bonds; to be read only."""
        return self._mesh

    @property
    def history(self) -> FollowedHistory | None:
        """The history this member follows, None while it has none; to be read only."""
        return self._history

    @property
    def host(self) -> Host:
        """The machine."""
        return self._host

    @property
    def statuses(self) -> Mapping[PeerId, Status]:
        """What each bonded member says of itself."""
        return MappingProxyType(self._context.statuses)

    @property
    def status(self) -> Status:
        """What this member says of itself."""
        return self._my_status()

    @property
    def leader(self) -> PeerId | None:
        """Who leads the group, None when that is not known."""
        return None if self._history is None else self._history.raft.leader

    @property
    def is_leader(self) -> bool:
        """Whether this member leads: the same as `leader` being this member, always.

        One whose disk takes nothing or hangs, or that hears no majority, has stepped down.
        """
        return self._history is not None and self._history.raft.is_leader

    @property
    def why_offline(self) -> str | None:
        """Why commands are not taken at the moment; None when they are."""
        if self._leaving.has_begun:
            return "leaving the group"
        if self._history is None:
            return self._why_apart or _NO_HISTORY
        return self._history.why_offline

    @property
    def _why_apart(self) -> str:
        """Say which member in reach there is no bond with; empty for none."""
        for peer, why in self._mesh.list_apart().items():
            return f"no bond with {peer.short}, which is in reach and may have the history: {why}"
        return ""

    @property
    def may_query(self) -> bool:
        """Whether the machine is whole: it is not while it is being restored."""
        return self._history is None or not self._history.is_restoring

    @property
    def is_stalled(self) -> bool:
        """Whether the disk takes nothing."""
        return self._saving.disk is DiskState.FULL

    @property
    def shown(self) -> tuple[Any, ...]:
        """Return what people may wait for: when it differs, something has changed."""
        history = self._history
        if history is None:
            return (None, self.why_offline)
        raft = history.raft
        return (
            history.id,
            self.why_offline,
            raft.leader,
            raft.term,
            self._host.position,
            raft.last_index,
            raft.configuration_index,
            raft.final_configuration[0],
        )

    def end(self) -> list[Resolved | Failed | ReadGranted | ReadFailed]:
        """Return what became of all calls that wait: the member ends here and now.

        Also of those whose outcome was known and not handed out; a read that was
        granted is not to be answered any more.
        """
        self._client.fail_all("the member has ended")
        self._reads.fail_all()
        self._take_client()
        outcomes = Resolved | Failed | ReadGranted | ReadFailed
        ended = [event for event in self._context.events if isinstance(event, outcomes)]
        self._context.events.clear()
        return ended

    # What comes from this node.

    def submit(
        self, payloads: Sequence[bytes], token: Any, *, now: float, timeout_s: float, waits: bool
    ) -> None:
        """Take in commands; `Resolved` or `Failed` with `token` follows. Raises `Full`."""
        self._client.submit(payloads, token, now=now, timeout_s=timeout_s, waits=waits)

    def read(self, token: Any, *, now: float, timeout_s: float) -> None:
        """Take in a strong read; `ReadGranted` or `ReadFailed` with `token` follows."""
        self._reads.add(token, now=now, timeout_s=timeout_s)

    def cancel(self, token: Any) -> None:
        """Forget who waits for commands or a read; commands that have left go on."""
        self._client.cancel(token)
        self._reads.cancel(token)

    def take_part(self, *, now: float) -> None:
        """Be an observer no more: the leader may make this member a voter. May be repeated."""
        self._context.is_observer = False
        self._bootstrap.take_part(now=now)
        if self._history is not None:
            self._history.peers_changed(now=now)

    def leave(self, *, now: float, is_final: bool) -> None:
        """Leave the group; `MemberLeft` follows. May be repeated.

        Args:
            now: Monotonic time in seconds.
            is_final: Whether this member does not mean to come back: a voter
                then has itself removed first. One that comes back with its log
                only hands over leadership.
        """
        if self._leaving.has_begun:
            return
        self._leaving.begin(
            until_s=now + self._context.settings.leave_timeout,
            is_final=is_final or not self._context.is_durable,
        )
        if self._history is not None:
            self._history.peers_changed(now=now)

    def transfer_leadership(self, to: PeerId) -> bool:
        """Hand leadership to another voter; return whether that begins. It may come to nothing."""
        return self._history is not None and self._history.raft.transfer_leadership(to)

    def force_new_group(self, *, now: float) -> None:
        """Begin a new history from the state here, with this member as its only voter.

        Only for the day when a majority is gone for good. Everything in the log
        here counts as committed; what only the others had is lost. Should they
        come back, the two histories merge like any two.

        Raises:
            ConfigError: There is no state here to begin from, at this moment.
        """
        history = self._history
        if history is None or not history.is_settled_here or history.is_catching_up:
            raise ConfigError("this member has no state to begin a new history from; try again")
        if self._host.ledger.is_closed:
            raise ConfigError("the history here is closed: it is in another one, or will be")
        fresh = self._context.rng.randbytes(HISTORY_BYTES)
        begin, batch = history.continued(fresh, keeps_tail=True)
        self._client.change_history()
        self._context.emit(Notify(GroupForced(fresh, history.id)))
        self._go_on(begin, batch, is_founder=True)

    # What comes from links and the catalog.

    def receive_peers(self, peers: Mapping[PeerId, PeerAddr], *, now: float) -> None:
        """Take in who advertises the group, and where."""
        self._mesh.receive_peers(peers, now=now)

    def recheck_peers(self, *, now: float) -> None:
        """Ask `MemberSpec.allow` again: it may answer otherwise than before."""
        self._mesh.recheck(now=now)
        if self._history is not None:
            self._history.peers_changed(now=now)

    def receive_offer(self, link_id: int, peer: PeerId, header: bytes, *, now: float) -> None:
        """Take in that a peer opened a link for this group."""
        self._mesh.receive_offer(link_id, peer, header, now=now)

    def receive_opened(self, link_id: int, token: int, reply: bytes, *, now: float) -> None:
        """Take in that a link of a `DialWanted` was accepted."""
        self._mesh.receive_opened(link_id, token, reply, now=now)

    def receive_failed(self, token: int, reason: CloseReason, *, now: float) -> None:
        """Take in that a link of a `DialWanted` could not be opened."""
        self._mesh.receive_failed(token, reason, now=now)

    def receive_closed(self, link_id: int, reason: CloseReason, *, now: float) -> None:
        """Take in that a link ended."""
        self._mesh.receive_closed(link_id, reason, now=now)

    def receive_frames(self, link_id: int, received: Sequence[bytes], *, now: float) -> bool:
        """Take in the frames of one loop turn, in order. What is wrong ends the link.

        Return False where nothing has changed by them, and no `pump` is needed.
        """
        mesh = self._mesh
        if all(mesh.is_repeated(link_id, data) for data in received):
            mesh.note_heard(link_id, now=now)
            return False
        for data in received:
            if not data or data[0] == frames.MESH:
                mesh.receive_frame(link_id, data, now=now)
                self._take_mesh(now)
                continue
            peer = mesh.peer_of(link_id)
            if peer is None:
                # Closed just now; or not proven, and then there is nothing else to say.
                mesh.close_link(link_id, _UNPROVEN, now=now)
                self._take_mesh(now)
                return True
            try:
                self._receive(peer, data, now)
            except RemoteError as exc:
                reason = CloseReason(CloseCode.PROTOCOL_VIOLATION, f"{_VIOLATION}{exc}"[:250])
                self._context.emit(Logged(True, f"peer {peer.short} {_VIOLATION}{exc}", peer))
                mesh.close_link(link_id, reason, now=now)
                self._take_mesh(now)
        mesh.note_heard(link_id, now=now)
        return True

    def _receive(self, peer: PeerId, data: bytes, now: float) -> None:
        match data[0]:
            case frames.RAFT | frames.FORWARD | frames.SYNC_ASK | frames.SYNC_ANSWER:
                self._receive_of_history(peer, data, now)
            case frames.MERGE:
                self._merging.receive(peer, data[1:], now=now)
            case frames.BOOTSTRAP:
                self._bootstrap.receive_message(peer, decode_bootstrap(data[1:]), now=now)
            case frames.CONTROL:
                self._receive_control(peer, data, now)
            case _:
                pass  # of a later version

    def _receive_of_history(self, peer: PeerId, data: bytes, now: float) -> None:
        """Take in a frame of the history that is followed here; ignore one of another."""
        history, body = frames.split_history(data)
        followed = self._history
        if followed is None or history != followed.id:
            return
        match data[0]:
            case frames.RAFT:
                followed.receive_raft(peer, body, now=now)
            case frames.FORWARD:
                followed.receive_forward(peer, frames.decode_forward(body))
            case frames.SYNC_ASK:
                followed.receive_sync_ask(peer, body, now=now)
            case frames.SYNC_ANSWER:
                followed.receive_sync_answer(peer, body, now=now)

    def _receive_control(self, peer: PeerId, data: bytes, now: float) -> None:
        message = frames.decode_control(data)
        match message:
            case JoinAccepted(history):
                followed = self._history
                if followed is not None:
                    if followed.id == history and followed.raft.has_lost_entries:
                        # It was removed, and taken in again: nobody counts on what is here.
                        self._drop_history()
                        self._join(message, now)
                elif self._may_follow(peer, history, now):
                    self._join(message, now)
            case Admitted(history, index):
                if self._history is not None and self._history.id == history:
                    self._history.admit(peer, index)
            case ForwardRefused(history, client, first_sequence):
                is_mine = self._history is not None and history == self._history.id
                if is_mine and client == self._client.client_id:
                    self._client.receive_refused(first_sequence, now)

    def saved(self, *, now: float) -> None:
        """Note that the batch of the last `SaveWanted` is saved."""
        self._note_disk(DiskState.FINE, now)
        self._saving.saved(self._history)

    def stall(self, *, now: float) -> None:
        """Take in that the disk takes nothing for the moment; `saved` follows when it does."""
        self._note_disk(DiskState.FULL, now)

    def _note_disk(self, disk: DiskState, now: float) -> None:
        if disk is not self._saving.disk:
            self._saving.disk = disk
            if self._history is not None:
                self._history.note_disk(disk, now=now)

    # Time.

    def get_timer(self) -> float | None:
        """Return when to call `handle_timer`; None for never."""
        due_s = min(self._merging.get_timer(), self._saving.hangs_at_s)
        for time in (
            self._mesh.get_timer(),
            self._client.get_timer(),
            self._reads.get_timer(),
            self._bootstrap.get_timer(),
            self._leaving.until_s,
            None if self._history is None or self.is_stalled else self._takeover.timer_s,
            None if self._history is None else self._history.get_timer(),
        ):
            if time is not None and time < due_s:
                due_s = time
        return None if due_s == inf else due_s

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. Too early does no harm."""
        if now >= self._saving.hangs_at_s:
            self._note_disk(DiskState.HANGING, now)
        self._mesh.handle_timer(now=now)
        self._client.handle_timer(now=now)
        self._reads.handle_timer(now=now)
        self._merging.handle_timer(now=now)
        self._bootstrap.handle_timer(now=now)
        if self._history is not None:
            self._history.handle_timer(now=now)

    # The pump.

    def pump(self, *, now: float) -> None:
        """Carry everything on as far as it goes; then drain `next_event`."""
        self._now = now
        self._take_mesh(now)
        self._take_bootstrap(now)
        if self._history is not None:
            self._history.pump(now=now)
        if self._history is None or self.is_stalled:
            self._reads.hold(now=now)
        self._meet_others(now)
        self._see_to_voters(now)
        self._publish_status()
        self._take_mesh(now)
        self._take_client()
        self._leave_on(now)
        if (batch := self._saving.next_batch(self._history, now=now)) is not None:
            self._context.emit(SaveWanted(batch))
        self._flush()

    def next_event(self) -> Any | None:
        """Return what to do next, None for nothing."""
        return self._context.events.popleft() if self._context.events else None

    # Bonds.

    def _take_mesh(self, now: float) -> None:
        """Pass on what the mesh wants, and note who is there."""
        have_changed = False
        while (event := self._mesh.next_event()) is not None:
            match event:
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
                    if was_graceful and self._history is not None:
                        self._history.peer_left(peer)
                    have_changed = True
                case _:
                    self._context.emit(event)
        if have_changed:
            self._status_count += 1
            self._note_statuses(now)

    def _note_statuses(self, now: float) -> None:
        if self._history is None:
            seen = [status.history for status in self._context.statuses.values() if status.history]
            self._sought = dict.fromkeys([*self._sought, *seen][-_SOUGHT_KEPT:])
        self._bootstrap.update_peers(self._context.statuses, now=now)
        if self._history is not None:
            self._history.peers_changed(now=now)

    def _flush(self) -> None:
        for link_id in list(self._context.out):
            self._flush_link(link_id)

    def _flush_link(self, link_id: int) -> None:
        waiting = self._context.out.pop(link_id, None)
        if waiting:
            self._context.events.append(FramesOut(link_id, waiting))

    def _publish_status(self) -> None:
        """Have the mesh tell what this member is: now if others may act on it, else now and then.

        What changes with every command, as the commit index, is looked at only
        so often as a heartbeat could tell it.
        """
        key = (
            self._history,
            self._bootstrap.standing,
            self._leaving.has_begun,
            self._context.is_observer,
            self._takeover.is_abandoned,
        )
        if self._history is not None:
            key += self._history.standing_key
        if key != self._published_key or self._now >= self._publish_again_at_s:
            self._published_key, self._publish_again_at_s = key, self._now + _STATUS_EVERY_S
            status = self._my_status()
            if status.is_leaving and not self._leaving.is_final:
                # It comes back with its log, as the voter that it is: nobody shall replace it.
                status = msgspec.structs.replace(status, is_leaving=False)
            self._mesh.set_status(status, now=self._now)

    def _my_status(self) -> Status:
        context = self._context
        said: dict[str, Any] = {}
        if self._history is not None:
            said = self._history.status() | {"is_abandoned": self._takeover.is_abandoned}
        else:
            said = {"standing": self._bootstrap.standing}
        return Status(
            is_observer=self._context.is_observer,
            leadership_factor=context.factor,
            is_leaving=self._leaving.has_begun,
            is_durable=context.is_durable,
            **said,
        )

    # Voters that are gone.

    def _see_to_voters(self, now: float) -> None:
        """Go on without the voters of the history when they are gone."""
        history, takeover = self._history, self._takeover
        if history is None or self.is_stalled:
            return
        raft = history.raft
        seen = (
            history,
            self._status_count,
            raft.leader,
            raft.configuration_index,
            history.is_restoring,
            self._context.is_observer,
        )
        if seen == self._seen_voters and now < takeover.timer_s:
            return
        self._seen_voters = seen
        step = takeover.look(self._survivor_view(history), now=now)
        if isinstance(step, DropHistory):
            self._context.emit(
                Logged(True, "the members that had the state are gone: looking for others")
            )
            self._give_up()
        elif step is not None and history.is_settled_here:
            self._take_over(history, step)
        elif step is not None:
            self._seen_voters = None  # look again when that is so

    def _survivor_view(self, history: FollowedHistory) -> SurvivorView:
        raft = history.raft
        leading = None if raft.leader is None else self._context.statuses.get(raft.leader)
        return SurvivorView(
            history=history.id,
            deciding=raft.deciding,
            commit_index=raft.commit_index,
            is_led=raft.is_leader or (leading is not None and leading.history == history.id),
            is_closed=self._host.ledger.is_closed,
            is_observer=self._context.is_observer,
            is_non_voting=history.raft.is_non_voting,
            is_leaving=self._leaving.has_begun,
            is_restoring=history.is_restoring,
            peers=self._context.statuses,
        )

    def _take_over(self, history: FollowedHistory, step: ContinueHistory | FollowHistory) -> None:
        """Continue the history, or go on in one that does."""
        if isinstance(step, FollowHistory):
            followed, position = step.history, step.position
            begin, batch = history.followed(followed, step.commit_index)
        else:
            followed, position = self._context.rng.randbytes(HISTORY_BYTES), self._host.position
            begin, batch = history.continued(followed, keeps_tail=history.counts_tail)
        text = f"the voters are out of reach: going on from position {position} without them"
        self._context.emit(Logged(True, text))
        self._context.emit(Notify(GroupTakenOver(followed, history.id, position)))
        self._go_on(begin, batch, is_founder=isinstance(step, ContinueHistory))

    def _go_on(self, begin: Begin, batch: SaveBatch, *, is_founder: bool) -> None:
        """Follow a history that continues the one so far, as soon as that is saved."""
        self._history = None
        self._is_beginning = True  # until it is saved, nobody can take this member in elsewhere
        self._saving.add(batch, lambda: self._follow(begin, self._now, is_founder=is_founder))

    # Histories: begin, join, give up.

    def _begin_from(self, stored: Stored, now: float) -> None:
        """Go on where a durable member stopped, or look for a history."""
        metadata, data = stored.snapshot or (SnapshotMetadata(), encode_stored(StoredGroup()))
        kept = decode_stored(data)
        self._bootstrap = self._new_bootstrap(now, kept)
        if not kept.history:
            return
        host = self._host
        host.reset(Ledger(kept.root or kept.history))
        if kept.parts:
            for _ in host.restore(kept.parts):
                pass  # nothing else runs yet
        raft = {
            "hard_state": stored.hard_state,
            "metadata": metadata,
            "entries": stored.entries,
            "base": stored.base,
        }
        begin = Begin(kept.history, raft, kept.join_index, kept.root)
        self._follow(begin, now, is_founder=False)

    def _new_bootstrap(self, now: float, kept: StoredGroup) -> Bootstrap:
        context = self._context
        bootstrap = Bootstrap(
            context.me,
            context.consensus,
            self._context.rng,
            now=now,
            is_observer=self._context.is_observer,
            prepare_vote=decode_prepare_vote(kept.prepare_vote) if kept.prepare_vote else None,
            history=kept.history,
            is_apart=lambda: bool(self._mesh.list_apart()),
        )
        bootstrap.update_peers(self._context.statuses, now=now)
        return bootstrap

    def _take_bootstrap(self, now: float) -> None:
        while (event := self._bootstrap.next_event()) is not None:
            match event:
                case SendBootstrap(peer, message):
                    self._context.send(
                        peer, frames.plain(frames.BOOTSTRAP, encode_bootstrap(message))
                    )
                case SavePrepareVote(prepare_vote):
                    self._save_prepare_vote(prepare_vote)
                case Founded(history, voters, is_founder):
                    self._found(history, voters, is_founder)
                case HistoryDied(history):
                    if self._history is not None and self._history.id == history:
                        self._give_up()
                case BootstrapStuck(why):
                    self._context.emit(
                        Logged(True, f"there is no history yet: {self._why_apart or why}")
                    )
        followed = self._history
        if followed is not None and followed.raft.last_index:
            self._bootstrap.log_began(now=now)

    def _save_prepare_vote(self, prepare_vote: PrepareVote | None) -> None:
        """Save a promise, beside the history if there is one."""
        self._prepare_vote = b"" if prepare_vote is None else encode_prepare_vote(prepare_vote)
        history = self._history
        metadata = SnapshotMetadata() if history is None else history.raft.metadata
        stored = StoredGroup(prepare_vote=self._prepare_vote)
        if history is not None:
            stored = StoredGroup(history.id, 0, self._prepare_vote, (), self._host.ledger.root)
        # After a first snapshot there is nothing to change: that was saved without a prepare vote,
        # and none is made in a history.
        batch = (
            SaveBatch() if metadata.index else SaveBatch(snapshot=(metadata, encode_stored(stored)))
        )
        bootstrap = self._bootstrap  # when it is saved, another history may be looked for
        self._saving.add(batch, lambda: bootstrap.prepare_vote_saved(now=self._now))

    def _found(self, history: bytes, voters: Voters, is_founder: bool) -> None:
        """Begin a history with these voters, one of them this member."""
        self._host.reset(Ledger(history))
        metadata = SnapshotMetadata(0, 0, voters)
        self._begin(Begin(history, {"metadata": metadata}), is_founder=is_founder)

    def _join(self, join_accepted: JoinAccepted, now: float) -> None:
        """Follow a history that has taken this member in, unless it has one or has promised."""
        is_free = self._history is None and not self._is_beginning
        if not is_free or self._bootstrap.standing is not Standing.SEEKING:
            return
        history, root = join_accepted.history, join_accepted.root
        self._host.reset(Ledger(root or history))
        self._prepare_vote = b""
        begin = Begin(history, {"metadata": SnapshotMetadata()}, join_accepted.index, root)
        self._note_taken_over(history)
        self._begin(begin, is_founder=False)
        self._bootstrap.joined(history, now=now)
        self._sought.clear()

    def _note_taken_over(self, history: bytes) -> None:
        """Notify that a history goes on that was without voters while this member waited."""
        for status in self._context.statuses.values():
            for ancestor in status.ancestors:
                if status.history == history and ancestor.history in self._sought:
                    event = GroupTakenOver(history, ancestor.history, ancestor.position)
                    self._context.emit(Notify(event))
                    return

    def _may_follow(self, peer: PeerId, history: bytes, now: float) -> bool:
        """Return whether what this member gave up is in a history, or was waited for long enough.

        In another one, its next commands would come before those it gave earlier.
        """
        if now >= self._waits_until_s or history == self._went_into:
            return True
        status = self._context.statuses.get(peer)
        return status is not None and self._went_into in status.merged

    def _begin(self, begin: Begin, *, is_founder: bool) -> None:
        """Save which history it is, then follow it."""
        self._is_beginning = True
        stored = StoredGroup(begin.history, begin.join_index, self._prepare_vote, (), begin.root)
        batch = SaveBatch(snapshot=(begin.raft["metadata"], encode_stored(stored)))
        raft = {**begin.raft, "hard_state": HardState(self._term, self._vote)}
        begin = Begin(begin.history, raft, begin.join_index, begin.root)
        self._saving.add(batch, lambda: self._follow(begin, self._now, is_founder=is_founder))

    def _follow(self, begin: Begin, now: float, *, is_founder: bool) -> None:
        self._is_beginning = False
        self._history = history = FollowedHistory(self._context, begin, now=now)
        history.note_disk(self._saving.disk, now=now)
        if is_founder:
            history.raft.campaign(now=now)
        else:
            history.campaign_if_alone(now=now)
        history.peers_changed(now=now)
        history.pump(now=now)

    def _abandon(self, loser: bytes, winner: bytes) -> None:
        """Give up a history of which everything is in another one."""
        history = self._history
        if history is None or history.id != loser:
            return
        payloads: list[bytes] = []
        if is_whole(history.raft):
            ancestors = self._host.ledger.ancestors
            merged = merged_commands(loser, history.raft, ancestors=ancestors)
            payloads = [command.payload for command in merged]
        commands = tuple(self._host.decode_commands(payloads))
        self._went_into, self._waits_until_s = winner, self._now + _WAITS_S
        self._give_up(is_merged=True)
        self._context.emit(Notify(HistoryMerged(winner, loser, commands, is_loser=True)))

    def _give_up(self, *, is_merged: bool = False) -> None:
        """Go back to having no history, and look for one."""
        history = self._history
        assert history is not None, "there is no history to give up"
        self._merging.give_up(history.id, is_merged=is_merged, now=self._now)
        self._client.change_history()
        self._drop_history()

    def _drop_history(self) -> None:
        """Forget the log and the state, but not the term and the vote."""
        history = self._history
        assert history is not None, "there is no history to drop"
        if self._context.is_durable:
            # What a storage remembers of terms and votes never goes back.
            self._term, self._vote = history.raft.hard_state.term, history.raft.hard_state.vote
        self._history = None
        self._prepare_vote = b""
        self._host.reset(Ledger())
        self._client.set_leader(False, None, self._now)
        batch = SaveBatch(reset=True, snapshot=(SnapshotMetadata(), encode_stored(StoredGroup())))
        self._saving.add(batch, lambda: None)
        self._bootstrap = self._new_bootstrap(self._now, StoredGroup())
        self._context.emit(Notify(StateReplaced(0)))

    def _meet_others(self, now: float) -> None:
        """See to other histories in sight; give this one up when all of it is in another."""
        history = self._history
        if history is None:
            return
        has_more = history.has_more
        abandoned, has_acted = self._merging.look(history, self._status_count, now=now)
        if abandoned is not None:
            self._abandon(abandoned.loser, abandoned.winner)
        elif has_more or has_acted:
            history.pump(now=now)

    # Leaving.

    def _leave_on(self, now: float) -> None:
        leaving = self._leaving
        if not leaving.has_begun or leaving.is_done:
            return
        is_late = leaving.until_s is not None and now >= leaving.until_s
        is_needed = self._saving.is_busy or leaving.is_needed(
            self._context.me, self._history, self._context.statuses
        )
        if is_needed and not is_late:
            return
        leaving.is_done = True
        self._reads.fail_all()
        self._client.fail_all("the member leaves the group")
        self._take_client()
        self._mesh.leave(now=now, is_final=leaving.is_final)
        self._take_mesh(now)
        self._flush()
        self._context.emit(MemberLeft())

    # Events.

    def _take_client(self) -> None:
        while (outcome := self._client.next_event()) is not None:
            self._context.emit(outcome)
        while (read := self._reads.next_event()) is not None:
            self._context.emit(read)
