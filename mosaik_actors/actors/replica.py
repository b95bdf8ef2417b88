"""The replica actor: this node's member of one group.

Receives: `StartReplica` first; `CommandsQueued`, `ReadAsked`, `CallCancelled`,
    `TakePart`, `TransferLeadership`, `ForceNewGroup`, `LeaveGroup` from its handles;
    `BondOffered` and `PeerFellSilent` from the groups actor; `LinkOpened` and `LinkFailed`
    from the transport; `FramesReceived` and `LinkClosed` from its links; `CatalogChanged`;
    `TicketsJudged`; `SaveDone` from the thread that writes the log.
Sends: `OpenLink` to the transport; `WatchCatalog`, `AdvertiseGroup` and their
    opposites to the catalog; `RegisterReplica` to the groups actor; `GroupLeft`,
    `TransferBegun` and `GroupWasForced` to who asked.
Owns: the `GroupMember`, the links of its bonds and what other actors know of it
    (`replica_links`), the storage (`replica_log`), the shared state of its handles and what
    they have asked for (`replica_calls`).
Failure: a machine that raises, or a storage that fails for another reason than
    want of room, ends the member: its handles get `GroupTerminated` with the
    cause. Want of room makes it wait, offline, and try again. A peer that breaks
    a rule loses its bond.

The actor decides nothing. Each message goes into the core, then `_pump` does
what the core wants and arms the timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest, WakeupMessage

from ..discovery.messages import CatalogChanged
from ..errors import GroupTerminated
from ..groups.client.calls import Submission
from ..groups.client.client import ClientRenewed, SubmissionFailed
from ..groups.client.reads import ReadFailed, ReadGranted
from ..groups.machine.runner import MachineFailed
from ..groups.member.events import FramesOut, Logged, MemberLeft, Notify, SaveWanted
from ..groups.member.member import GroupMember
from ..groups.mesh.bond import AcceptLink, CloseLink, DialWanted
from ..groups.mesh.peer_heartbeats import ANSWER_FRAME, HEARTBEAT_FRAME, BondHeartbeats
from ..groups.messages import (
    BondOffered,
    CallCancelled,
    CallFailed,
    CommandsQueued,
    ForceNewGroup,
    GroupLeft,
    GroupWasForced,
    HeartbeatsDue,
    LeaveGroup,
    PeerFellSilent,
    ReadAsked,
    StartReplica,
    TakePart,
    TransferBegun,
    TransferLeadership,
)
from ..groups.storage.interface import LogOwner, SaveBatch, StorageFull
from ..groups.wire.frames import PROTOCOL
from ..peer_log import TopicLog
from ..peer_text import printable
from ..runtime import TypeDispatcher
from ..tickets.messages import TicketsJudged
from ..transport.close import CANCELLED, SHUTDOWN, CloseCode, CloseReason
from ..transport.interface import FramesReceived, Link, LinkClosed, LinkDrained, LinkEvent
from ..transport.messages import LinkFailed, LinkOpened, OpenLink
from .replica_calls import ReplicaCalls
from .replica_links import ReplicaLinks, ReplicaPresence
from .replica_log import ReplicaLog, SaveDone

logger = logging.getLogger(__name__)

_FULL_RETRY_S = 0.5
_TIMER_SLACK_S = 0.001
# A timer that goes off so soon is good enough, whatever is due before: a commit waits as long.
_TIMER_GRAIN_S = 0.002
_TOO_SLOW = CloseReason(CloseCode.GROUP_TIMEOUT, "it takes in too little of what it is sent")


@dataclass(frozen=True, slots=True)
class _ReplicaTimer:
    due_at: float


@dataclass(frozen=True, slots=True)
class _RetrySave:
    batch: SaveBatch


class ReplicaActor(TypeDispatcher):
    """This node's member of one group."""

    def __init__(self) -> None:
        self._start: StartReplica
        self._label = ""
        self._member: GroupMember | None = None
        self._links = ReplicaLinks(self._take_link_event)
        self._armed: float | None = None
        self._leaving: list[ActorAddress] = []
        self._is_over = self._is_exiting = False
        self._shown: tuple[Any, ...] = ()
        self._is_pumping = self._has_taken = False

    # Lifecycle.

    async def receiveMsg_StartReplica(self, message: StartReplica, _sender: ActorAddress) -> None:
        """Open the storage, take up what it holds, advertise the membership.

        A member that was here before and is leaving goes first.
        """
        self._start = message
        self._label = message.name or message.spec.group_id.short
        node, spec, me = message.node, message.spec, self.myAddress
        owner = LogOwner(spec.group_id, spec.me)
        self._storage = ReplicaLog(message.storage, owner, partial(node.system.tell, me))
        self._presence = ReplicaPresence(message, me, self.send)
        self._calls = ReplicaCalls(message.state, spec.client)
        self._log = TopicLog(node.peer_log, logger, self._label, self._now)
        if message.after is not None:
            await asyncio.wait([message.after])
        try:
            stored = await self._storage.open(spec.host)
            self._links.heartbeats = await self._presence.register()
            await self._presence.advertise()
            # The client differs from join to join: so do nonces, incarnations and histories.
            rng = node.randomness.branch(f"group {spec.group_id} {spec.client.client_id.hex()}")
            member = GroupMember(
                spec, rng, now=self._now(), stored=stored, join_heartbeats=self._join_heartbeats
            )
        except Exception as error:
            self._end(error)
            return
        self._member = member
        message.state.member = member
        message.state.take_now = self._take_now
        self._presence.watch()
        self._pump()

    @property
    def _active(self) -> GroupMember | None:
        """The member, None before it has started and once it has ended."""
        return None if self._is_over else self._member

    def _join_heartbeats(self, link_id: int) -> BondHeartbeats | None:
        """Have a bond take part in the heartbeats of its connection."""
        self.send(self._start.groups, HeartbeatsDue())
        wake = partial(self._start.node.system.tell, self.myAddress, PeerFellSilent())
        return self._links.join_heartbeats(link_id, self._start.spec.consensus, wake, self._now())

    def receiveMsg_LeaveGroup(self, message: LeaveGroup, sender: ActorAddress) -> None:
        """Leave, and answer when that is through."""
        if self._is_exiting or self._member is None:
            self.send(sender, GroupLeft())
            return
        self._leaving.append(sender)
        if self._is_over:
            return  # but a batch is being saved
        self._member.leave(now=self._now(), is_final=message.is_final)
        self._pump()

    def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Stop at once: the actor system is going down."""
        self._is_exiting = True
        if not self._is_over:
            self._end(GroupTerminated(None, "the network handle was closed"))

    # Commands.

    def receiveMsg_CommandsQueued(self, _message: CommandsQueued, _sender: ActorAddress) -> None:
        """Take what the handles have put in the shared state."""
        self._pump()

    def _take_now(self) -> bool:
        """Take a command without a turn in the mailbox, if they come one at a time."""
        if self._is_pumping or self._has_taken or not self._calls.come_alone:
            return False
        system = self._start.node.system
        if not system.run_now(self.myAddress, self._pump_alone):
            return False
        # What else comes in this turn of the loop is taken together.
        self._has_taken = True
        system.loop.call_soon(self._end_turn)
        return True

    def _pump_alone(self) -> None:
        """Pump for a lone command or frame: what answers it leaves at once."""
        try:
            self._pump(is_lone=True)
        except Exception as error:
            self._fail(error)

    def _end_turn(self) -> None:
        self._has_taken = False

    def receiveMsg_ReadAsked(self, message: ReadAsked, _sender: ActorAddress) -> None:
        """Ask for a strong read."""
        if self._active is None:
            self._calls.fail(message.future, self._start.state.ended())
            return
        self._active.reads.add(message.future, now=self._now(), timeout_s=message.timeout_s)
        self._pump()

    def receiveMsg_CallCancelled(self, message: CallCancelled, _sender: ActorAddress) -> None:
        """Forget who waited."""
        if self._member is not None:
            self._member.cancel(message.future)
            self._pump()

    def receiveMsg_TakePart(self, _message: TakePart, _sender: ActorAddress) -> None:
        """Vote from now on, if the leader wants it."""
        if self._active is not None:
            self._pump(self._active.take_part)

    def receiveMsg_TransferLeadership(
        self, message: TransferLeadership, sender: ActorAddress
    ) -> None:
        """Let another voter lead."""
        member = self._active
        has_begun = member is not None and member.transfer_leadership(message.to)
        self.send(sender, TransferBegun(has_begun))
        self._pump()

    def receiveMsg_ForceNewGroup(self, _message: ForceNewGroup, sender: ActorAddress) -> None:
        """Begin a new history."""
        error: Exception | None = None
        try:
            if self._active is None:
                raise self._start.state.ended()
            self._active.force_new_group(now=self._now())
        except Exception as exc:
            error = exc
        self.send(sender, GroupWasForced(error))
        self._pump()

    # From the catalog, the transport and the links.

    def receiveMsg_CatalogChanged(self, message: CatalogChanged, _sender: ActorAddress) -> None:
        """Look who advertises the group."""
        if self._active is None:
            return
        members = self._presence.list_members(message.snapshot)
        self._active.mesh.receive_peers(members, now=self._now())
        self._pump()

    def receiveMsg_TicketsJudged(self, _message: TicketsJudged, _sender: ActorAddress) -> None:
        """Let go of members whose tickets hold no more, and look for those whose tickets do now."""
        if self._active is not None:
            self._pump(self._active.recheck_peers)

    def receiveMsg_BondOffered(self, message: BondOffered, _sender: ActorAddress) -> None:
        """Let the core judge a link that a peer opened."""
        link = message.link
        if self._active is None:
            link.close(SHUTDOWN)
        elif link.is_open:
            link_id = self._links.add(link)
            self._active.mesh.receive_offer(link_id, link.peer_id, link.header, now=self._now())
            self._pump()

    def receiveMsg_LinkOpened(self, message: LinkOpened, _sender: ActorAddress) -> None:
        """Go on with a link that this member opened."""
        link = message.link
        if self._active is None:
            link.close(CANCELLED)
            return
        link_id = self._links.add(link)
        self._active.mesh.receive_opened(link_id, message.token, link.reply, now=self._now())
        self._pump()

    def receiveMsg_LinkFailed(self, message: LinkFailed, _sender: ActorAddress) -> None:
        """Let the core try again later."""
        if self._active is not None:
            self._active.mesh.receive_failed(message.token, message.error.reason, now=self._now())
            self._pump()

    def receiveMsg_LinkDrained(self, _message: LinkDrained, _sender: ActorAddress) -> None:
        """Do nothing: Raft bounds what is on its way to each member."""

    def receiveMsg_LinkClosed(self, message: LinkClosed, _sender: ActorAddress | None) -> None:
        """Take in that a link ended; it reports that itself once it is attached."""
        link_id = self._links.forget(message.link)
        if link_id is not None and self._active is not None:
            self._active.mesh.receive_closed(link_id, message.reason, now=self._now())
            self._pump()

    def _take_link_event(self, event: LinkEvent) -> None:
        """Take in what a link says, without a turn in the mailbox: a turn less in each round trip.

        Nothing overtakes anything: before the handshake is answered, which comes
        after this was attached, no frame is of any consequence.
        """
        try:
            if type(event) is FramesReceived:
                self.receiveMsg_FramesReceived(event, None)
            elif type(event) is LinkClosed:
                self.receiveMsg_LinkClosed(event, None)
        except Exception as error:
            self._fail(error)

    def receiveMsg_FramesReceived(
        self, message: FramesReceived, _sender: ActorAddress | None
    ) -> None:
        """Take in what came over a bond; its link reports that itself once it is attached."""
        link_id, member = self._links.id_of(message.link), self._active
        if link_id is None or member is None:
            return
        frames, now = message.frames, self._now()
        if HEARTBEAT_FRAME in frames or ANSWER_FRAME in frames:
            frames = self._links.take_heartbeats(message.link, frames, now=now)
        if not member.receive_frames(link_id, frames, now=now):
            return
        if len(frames) > 1 or not message.link.after_read(self._pump_alone):
            self._pump()

    # Saving.

    def receiveMsg_SaveDone(self, message: SaveDone, _sender: ActorAddress) -> None:
        """Go on when a batch is saved; wait when the disk is full; end when it failed."""
        self._storage.note_done()
        member, error = self._active, message.error
        if member is None:
            self._let_go()
        elif error is None:
            self._pump(member.saved)
        elif isinstance(error, StorageFull):
            if not member.is_stalled:
                logger.error("group %s is offline: %s", self._label, error)
            self.wakeupAfter(_FULL_RETRY_S, _RetrySave(message.batch))
            self._pump(member.stall)
        else:
            self._end(error)

    # Timers.

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: ActorAddress) -> None:
        """Do what is due."""
        match message.payload:
            case _ReplicaTimer(due_at) if due_at == self._armed:
                self._armed = None
                self._do_due()
            case _RetrySave(batch) if self._active is not None:
                self._storage.save(batch)

    def receiveMsg_PeerFellSilent(self, _message: PeerFellSilent, _sender: ActorAddress) -> None:
        """Look how long that may go on."""
        self._do_due()

    def _do_due(self) -> None:
        if (member := self._active) is None:
            return
        now = self._now()
        member.recheck_liveness(now=now)
        later_at = member.get_timer()
        if later_at is not None and later_at <= now:
            self._pump(member.handle_timer)
        else:
            self._arm(later_at)  # what a timer was for has been done meanwhile

    # The pump.

    def _pump(self, step: Callable[..., None] | None = None, *, is_lone: bool = False) -> None:
        """Take a step of the core, if any, do what it wants, show what it is, arm the timer.

        Nothing that the core raises may leave this actor: its message would come once more.
        """
        member = self._active
        if member is None:
            return
        self._is_pumping, now = True, self._now()
        try:
            if step is not None:
                step(now=now)
            self._calls.take(now)
            member.pump(now=now)
        except MachineFailed as error:
            self._end(error)
            return
        except Exception as error:  # a machine that cannot begin anew, or a bug of ours
            self._fail(error)
            return
        finally:
            self._is_pumping = False
        events = member.events
        while events:
            event = events.popleft()
            if type(event) is Submission:  # by far the most frequent
                if not event.token.done():
                    event.token.set_result(event)
            else:
                self._take(event, is_lone)
        self._show(member)
        if self._storage.is_opening and not member.is_busy:
            self._storage.end_opening()
        if self._armed is None or self._armed > now + _TIMER_GRAIN_S:
            self._arm(member.get_timer())

    def _take(self, event: Any, is_lone: bool) -> None:
        match event:
            case FramesOut(link_id, frames):
                if (slow := self._links.write(link_id, frames, is_lone=is_lone)) is not None:
                    self._drop_slow(link_id, slow)
            case SubmissionFailed(future, may_take_effect, reason):
                self._calls.fail(future, CallFailed(reason, may_take_effect))
            case ReadGranted(future):
                self._calls.answer(future)
            case ReadFailed(future):
                self._calls.fail(future, CallFailed("no answer in time"))
            case SaveWanted(batch):
                self._storage.save(batch)
            case DialWanted(_, addr, token, header, timeout_s):
                request = OpenLink(addr, PROTOCOL, header, token, timeout_s, is_essential=True)
                self.send(self._start.node.transport, request)
            case AcceptLink(link_id, reply):
                if (link := self._links.get(link_id)) is not None:
                    link.accept(reply)
            case CloseLink(link_id, reason):
                self._links.close(link_id, reason)
            case Notify(news):
                self._start.state.publish(news)
            case Logged(is_error, text, None):
                level = logging.WARNING if is_error else logging.INFO
                logger.log(level, "group %s: %s", self._label, printable(text))
            case Logged(_, text, peer_id):
                self._log.warning(peer_id, "group %s: %s", text)
            case MemberLeft():
                self._end(GroupTerminated(None, "it has left the group"))
            case ClientRenewed(_, unknown_count) if unknown_count:
                text = "group %s: nobody knows whether %d commands were applied"
                logger.warning(text, self._label, unknown_count)

    def _drop_slow(self, link_id: int, link: Link) -> None:
        """Let go of a peer that asks for more than it takes in: no queue is without an end."""
        self._log.warning(link.peer_id, "group %s: peer %s does not read", link.peer_id.short)
        self._links.close(link_id, _TOO_SLOW)
        if self._member is not None:
            self._member.mesh.receive_closed(link_id, _TOO_SLOW, now=self._now())

    def _show(self, member: GroupMember) -> None:
        """Notify those who wait when something they can see is different."""
        state = self._start.state
        if state.is_watched and (shown := member.shown) != self._shown:
            self._shown = shown
            state.changed()
        if state.room:
            state.room.wake_all()

    def _arm(self, due_at: float | None) -> None:
        """Have the timer go off at `due_at` at the latest."""
        if due_at is None or (self._armed is not None and self._armed <= due_at):
            return
        now = self._now()
        self._armed = due_at = max(due_at, now)
        delay_s = due_at - now
        self.wakeupAfter(delay_s + _TIMER_SLACK_S if delay_s else 0.0, _ReplicaTimer(due_at))

    # Helpers.

    def _fail(self, error: Exception) -> None:
        logger.exception("group %s: a step failed", self._label)
        self._end(error)

    def _end(self, error: Exception) -> None:
        """Let go of everything, notify everybody who waits, and exit."""
        self._is_over = True
        start = self._start
        if not isinstance(error, GroupTerminated):
            logger.error("group %s ends here: %s", self._label, error)
        self._links.close_all(SHUTDOWN)
        self._presence.withdraw()
        start.state.close(error)
        start.state.end_calls()
        if not self._storage.is_saving:
            self._let_go()

    def _let_go(self) -> None:
        """Close the storage, which nobody writes to any more, notify who asked for it, and exit."""
        self._storage.close(self._label)
        for asker in self._leaving:
            self.send(asker, GroupLeft())
        self._leaving.clear()
        if not self._is_exiting:
            self._is_exiting = True
            self.send(self.myAddress, ActorExitRequest())

    def _now(self) -> float:
        return self._start.node.clock.monotonic()
