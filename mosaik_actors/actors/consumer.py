"""The consumer actor: the subscriptions of one consumer of this node.

Receives: `StartConsumer`, `AckDue`, `CloseConsumer` and `DropConsumer` from its handle;
    `LinkOpened` and `LinkFailed` from the transport; `FramesReceived` and
    `LinkClosed` from its links; `CatalogChanged`, `SyncFinished`, `SyncFailed`, `TicketsJudged`.
Sends: `OpenLink` to the transport; `WatchCatalog`, `SyncWith` to the catalog;
    acknowledgements to links; `ConsumerClosed` to whoever closed it.
Owns: a `Subscriptions` (whom to try, and when), `Candidates` (who will do), `SessionLinks`
    (what stands), `Refusals` (why others do not), the shared state and the inbox of its handle.
Failure: a producer that breaks a rule is closed with the rule's code and tried
    again later, as one that was lost.

Inbound, a burst takes one way: one `FramesReceived` per loop turn, one decode
call per frame, one hand-over to the inbox per frame. Once a session stands, the
link hands its frames over directly (`_take_event`), without a turn in the mailbox, and
who waits for them goes on when all is read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
from thespian.actors import ActorAddress, ActorExitRequest, WakeupMessage

from ..discovery.info import PeerInfo
from ..discovery.messages import (
    CatalogChanged,
    SyncFailed,
    SyncFinished,
    SyncWith,
    UnwatchCatalog,
    WatchCatalog,
)
from ..discovery.view import CatalogSnapshot
from ..errors import RemoteError
from ..ids import PeerId
from ..peer_log import TopicLog
from ..runtime import TypeDispatcher
from ..streams.consuming.candidates import Candidates, Found
from ..streams.consuming.distances import Distances
from ..streams.consuming.inlet import Inlet, OpenInlet, QueuedLinkEvent
from ..streams.consuming.links import SessionLinks
from ..streams.consuming.refusals import Refusals
from ..streams.consuming.session import ReceiverSession
from ..streams.consuming.subscriptions import (
    ProducerGivenUp,
    SubscriptionDropped,
    Subscriptions,
    SubscriptionWanted,
    SyncWanted,
)
from ..streams.gate import clip, holds, near_miss
from ..streams.messages import (
    AckDue,
    CloseConsumer,
    ConsumerClosed,
    DropConsumer,
    StartConsumer,
)
from ..streams.wire import (
    PROTOCOL,
    WINDOW_FRAME_BYTES,
    Window,
    ack_frame,
    decode_accepted,
    is_window,
    read_window,
    window_frame,
)
from ..tickets.messages import TicketsJudged, UnwatchTickets, WatchTickets
from ..tickets.ticket import Ticket
from ..transport.close import CANCELLED, CloseCode, CloseReason
from ..transport.interface import (
    FramesReceived,
    Link,
    LinkClosed,
    LinkDrained,
    LinkEvent,
    NotAllowed,
)
from ..transport.messages import LinkFailed, LinkOpened, OpenLink

logger = logging.getLogger(__name__)

_TOO_SLOW_TEXT = (
    "%s: producer %s disconnected us as too slow (%s); items are lost until we are back. "
    "Take items faster, or give the producer more lag_grace, a larger buffer_size, "
    "or disconnect_lagging=False"
)


class _Probe(msgspec.Struct, frozen=True):
    """The token of an exchange that is made to learn how far away a peer is."""

    peer_id: PeerId


class ConsumerActor(TypeDispatcher):
    """Keeps one consumer subscribed to all producers it wants."""

    def __init__(self) -> None:
        self._subscriptions: Subscriptions | None = None
        self._peers: dict[PeerId, PeerInfo] = {}
        self._snapshot: CatalogSnapshot | None = None
        self._timer_at: float | None = None
        self._own_tickets: tuple[Ticket, ...] | None = None

    # Lifecycle.

    def receiveMsg_StartConsumer(self, message: StartConsumer, _sender: ActorAddress) -> None:
        """Look for producers."""
        spec = message.spec
        self._node = message.node
        self._now = message.node.clock.monotonic
        self._catalog = message.catalog
        self._spec = spec
        self._decode: Callable[[Any, int], tuple[list[Any], int]] = spec.encoder.decode_batch
        self._inbox = message.inbox
        self._state = message.state
        self._subscriptions = Subscriptions(
            spec.backoff,
            message.node.randomness.branch(f"consumer {spec.stream_id}"),
            spec.prefer,
        )
        tickets = spec.tickets.requirement if spec.tickets is not None else None
        self._distances = Distances(message.node.endpoint.rtt)
        self._candidates = Candidates(
            spec.stream_id, spec.require, tickets, spec.prefer, self._distances
        )
        self._links = SessionLinks(Window(spec.config.window_items, spec.config.window_bytes))
        self._refusals = Refusals(spec.name, logger, message.state.refusals)
        self._log = TopicLog(message.node.peer_log, logger, spec.name, self._now)
        self.send(self._catalog, WatchCatalog(self.myAddress))
        if spec.tickets is not None:
            self.send(spec.tickets.actor, WatchTickets(self.myAddress))
        self._publish_state()

    def receiveMsg_CloseConsumer(self, _message: CloseConsumer, sender: ActorAddress) -> None:
        """Unsubscribe from everything and stop."""
        self._end()
        self.send(sender, ConsumerClosed())

    def receiveMsg_DropConsumer(self, _message: DropConsumer, _sender: ActorAddress) -> None:
        """Do the same without an answer."""
        self._end()

    def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Stop at once: the actor system is going down."""
        if self._subscriptions is not None and not self._state.is_closed:
            self._stop()

    # Commands.

    def receiveMsg_CatalogChanged(self, message: CatalogChanged, _sender: ActorAddress) -> None:
        """Take in who produces the stream now."""
        self._snapshot = message.snapshot
        if not self._state.is_closed:
            tickets = message.snapshot.me.entry.tickets
            if self._own_tickets is not None and tickets != self._own_tickets:
                # We show something else: try again where we were not allowed.
                self._core.receive_own_change(now=self._now())
            self._own_tickets = tickets
            self._take_catalog()

    def receiveMsg_TicketsJudged(self, message: TicketsJudged, _sender: ActorAddress) -> None:
        """Look again at the producers whose tickets count for more, or less, than before."""
        snapshot, stream_id = self._snapshot, self._spec.stream_id
        if snapshot is None or self._state.is_closed:
            return
        for peer_id in message.peers:
            info = snapshot.get(peer_id)
            if self._links.link_of(peer_id) or (info is not None and stream_id in info.streams):
                self._take_catalog()
                return

    def _take_catalog(self) -> None:
        snapshot = self._snapshot
        assert snapshot is not None, "it came with CatalogChanged"
        found = self._candidates.find(snapshot)
        self._peers.update(found.peers)
        for info in found.unmeasured.values():
            # Have a connection made to it, so that its distance becomes known.
            if self._distances.begin_probe(info.peer_id, now=self._now()):
                self.send(self._catalog, SyncWith(info.addr, _Probe(info.peer_id)))
        self._drop_ticketless(found)
        self._refusals.receive_ticketless(found.ticketless)
        changed = self._note_changed_peers(snapshot)
        if not found.candidates:
            self._explain(snapshot.values())
        self._core.receive_catalog(found.candidates, now=self._now())
        for peer_id in [one for one in self._peers if self._core.state_of(one) is None]:
            del self._peers[peer_id]
        self._distances.keep_only(snapshot)
        if changed:
            self._publish_state()
        self._pump()

    def _note_changed_peers(self, snapshot: CatalogSnapshot) -> bool:
        """Show the newest of those who are subscribed to; return whether any is different."""
        changed = False
        for peer_id, link in self._links.peer_links():
            channel = self._state.channels[link]
            info = self._distances.measured(snapshot.get(peer_id, channel.peer))
            changed |= info != channel.peer
            channel.peer = info
        return changed

    def _drop_ticketless(self, found: Found) -> None:
        """End the links to producers that the catalog shows no more, with their tickets' end."""
        for peer_id, link in self._links.peer_links():
            if peer_id not in found.candidates:
                reason = self._candidates.judge_tickets(self._state.channels[link].peer, found)
                if reason is not None:
                    link.close(reason)
                    self._forget(link, reason)

    def receiveMsg_LinkOpened(self, message: LinkOpened, _sender: ActorAddress) -> None:
        """Start a session on a link that was asked for."""
        link = message.link
        peer_id, attempt = message.token
        if link in self._links.by_link:
            return
        asked = self._links.take_asked(message.token)
        if self._state.is_closed or asked is None or not self._core.is_opening(peer_id, attempt):
            link.close(CANCELLED)
            self._links.release(message.token)
            return
        try:
            accepted = decode_accepted(link.reply)
            if not accepted.window.fits(asked):  # it grants itself more than it may have
                raise RemoteError(f"a window of {accepted.window}, asked for {asked}")
        except RemoteError as exc:
            self._refuse(link, exc)
            self._links.release(message.token)
            reason = CloseReason(exc.close_code, clip(str(exc)))
            self._core.receive_failed(peer_id, attempt, reason, now=self._now())
            self._pump()
            return
        if not self._core.receive_opened(peer_id, attempt, accepted.start, now=self._now()):
            link.close(CANCELLED)
            self._links.release(message.token)
            self._pump()
            return
        self._links.open(message.token, link, accepted, asked)
        self._refusals.note_subscribed(peer_id)
        self._state.open_channel(
            link,
            stream_id=self._spec.stream_id,
            producer_id=peer_id,
            consumer_id=self._node.peer_id,
            peer=self._peers[peer_id],
            now=self._now(),
        )
        self._log.info(peer_id, "%s: subscribed to peer %s", peer_id.short)
        inlet = Inlet(partial(self.send, self.myAddress))
        link.attach(inlet)
        self.send(self.myAddress, OpenInlet(inlet, link))
        self._publish_state()
        self._pump()

    def receiveMsg_OpenInlet(self, message: OpenInlet, _sender: ActorAddress) -> None:
        """Let frames come directly, unless some are still in the mailbox."""
        if message.inlet.is_caught_up:
            message.link.attach(self._take_event)
        else:
            self.send(self.myAddress, message)

    def receiveMsg_QueuedLinkEvent(self, message: QueuedLinkEvent, sender: ActorAddress) -> None:
        """Take in an event that went through the mailbox."""
        message.inlet.receive_handled(message)
        self.receiveMessage(message.event, sender)

    def receiveMsg_LinkFailed(self, message: LinkFailed, _sender: ActorAddress) -> None:
        """Note why a subscription failed, and try again later."""
        if self._state.is_closed:
            return
        peer_id, attempt = message.token
        self._links.release(message.token)
        self._refusals.note_refused(peer_id, message.error)
        self._core.receive_failed(peer_id, attempt, message.error.reason, now=self._now())
        self._pump()

    def receiveMsg_FramesReceived(self, message: FramesReceived, _sender: ActorAddress) -> None:
        """Take in frames that went through the mailbox."""
        self._take_event(message)

    def receiveMsg_AckDue(self, message: AckDue, _sender: ActorAddress) -> None:
        """Acknowledge what the application took."""
        self._acknowledge(message.session)
        if self._links.wanted_peers or message.session.is_over:
            self._open_wanted()

    def receiveMsg_LinkDrained(self, _message: LinkDrained, _sender: ActorAddress) -> None:
        """Ignore the link's own marks: acknowledgements are few and small."""

    def receiveMsg_LinkClosed(self, message: LinkClosed, _sender: ActorAddress) -> None:
        """Subscribe again, later."""
        if message.link in self._links.by_link:
            if message.reason.code == CloseCode.STREAM_TOO_SLOW:
                peer_id, text = message.link.peer_id, clip(message.reason.text)
                self._log.warning(peer_id, _TOO_SLOW_TEXT, peer_id.short, text)
            self._forget(message.link, message.reason)
            self._pump()

    def receiveMsg_SyncFinished(self, message: SyncFinished, _sender: ActorAddress) -> None:
        """Try again where we were unknown."""
        self._after_sync(message.token)

    def receiveMsg_SyncFailed(self, message: SyncFailed, _sender: ActorAddress) -> None:
        """Try again all the same: somebody else may have told them meanwhile."""
        self._after_sync(message.token)

    # Timers.

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: ActorAddress) -> None:
        """Try those whose time has come."""
        if message.payload == self._timer_at and not self._state.is_closed:
            self._timer_at = None
            self._core.handle_timer(now=self._now())
            self._pump()

    # Helpers.

    def _take_event(self, event: LinkEvent) -> None:
        """Decode the frames that one loop turn brought, and hand them over; queue all else."""
        if type(event) is not FramesReceived:
            self.send(self.myAddress, event)
            return
        link = event.link
        if link not in self._links.by_link:
            return
        session, inbox = self._links.by_link[link], self._inbox
        try:
            for frame in event.frames:
                size = len(frame)
                if size == WINDOW_FRAME_BYTES and is_window(frame):
                    self._receive_window(link, session, frame)
                    continue
                item_count, batch = session.receive_frame(frame)
                items, bad_count = self._decode(batch, item_count)
                if bad_count:
                    self._note_rejected(link, bad_count)
                inbox.put(session, items, item_count, size)
            channel = self._state.channels[link]
            channel.item_count = session.item_count
            channel.byte_count = session.byte_count
        except Exception as exc:
            self._give_up(link, exc)
        finally:
            if inbox.receivers.waiting and not link.after_read(inbox.resume_receivers):
                inbox.receivers.wake(inbox.item_count)

    def _give_up(self, link: Link, error: Exception) -> None:
        """End a link with whose frames something went wrong, and nothing else."""
        if not isinstance(error, RemoteError):
            logger.error("%s: taking in frames failed", self._spec.name, exc_info=error)
            text = f"the consumer failed to take items: {type(error).__name__}"
            error = RemoteError(clip(text), CloseCode.UNEXPECTED_CLOSE)
        self._refuse(link, error)
        self._forget(link, CloseReason(error.close_code, clip(str(error))))
        self._pump()

    @property
    def _core(self) -> Subscriptions:
        assert self._subscriptions is not None, "StartConsumer comes first"
        return self._subscriptions

    def _after_sync(self, token: PeerId | _Probe) -> None:
        if self._state.is_closed:
            return
        if isinstance(token, _Probe):
            if self._distances.receive_probed(token.peer_id):
                self._take_catalog()
        else:
            self._core.receive_synced(token, now=self._now())
            self._pump()

    def _pump(self) -> None:
        """Do what the core wants and arm the timer."""
        while (event := self._core.next_event()) is not None:
            match event:
                case SubscriptionWanted(addr, attempt):
                    self._links.want((addr.peer_id, attempt), addr)
                case SyncWanted(addr):
                    self.send(self._catalog, SyncWith(addr, addr.peer_id))
                case SubscriptionDropped(peer_id, reason):
                    link = self._links.link_of(peer_id)
                    if link is not None:
                        link.close(reason)
                        self._forget_link(link, reason)
                case ProducerGivenUp(peer_id, failures):
                    text = "%s: gave up peer %s after %d failures"
                    self._log.warning(peer_id, text, peer_id.short, failures)
        self._open_wanted()
        self._refusals.settle(lambda peer_id: self._core.state_of(peer_id) is not None)
        due = self._core.get_timer()
        # One that comes too early finds nothing due, and the next one is armed then.
        if due is not None and (self._timer_at is None or due < self._timer_at):
            self._timer_at = due
            self.wakeupAfter(max(0.0, due - self._now()), due)

    def _open_wanted(self) -> None:
        """Subscribe where there is room for what comes; have others make room, or take it."""
        if self._state.is_closed:
            return
        links = self._links
        links.keep_wanted(self._core.is_opening)
        timeout_s = self._spec.config.open_timeout
        while (opening := links.next_opening()) is not None:
            header = self._spec.make_header(opening.window)
            request = OpenLink(opening.addr, PROTOCOL, header, opening.token, timeout_s)
            self.send(self._node.transport, request)
        if (peers := links.wanted_peers) and (item_count := links.waiting_items):
            self._refusals.note_waiting(peers, item_count)  # for the application to change
        for link, window in links.next_changes():
            link.write(window_frame(window))

    def _receive_window(self, link: Link, session: ReceiverSession, frame: bytes) -> None:
        session.receive_window(read_window(frame))
        self._acknowledge(session)
        self._open_wanted()

    def _acknowledge(self, session: ReceiverSession) -> None:
        link = self._links.link_for(session)
        sequence = session.make_ack() if link is not None else None
        if link is not None and sequence is not None:
            link.write(ack_frame(sequence))

    def _explain(self, peers: Iterable[PeerInfo]) -> None:
        """Say once when somebody offers nearly what we look for."""
        hint = near_miss(self._spec.name, self._spec.stream_id, peers)
        if hint is not None:
            self._node.peer_log.warning(
                logger, None, "%s", hint, now=self._now(), about=self._spec.name
            )

    def _refuse(self, link: Link, error: RemoteError) -> None:
        self._log.warning(link.peer_id, "%s: peer %s: %s", link.peer_id.short, error)
        link.close(CloseReason(error.close_code, clip(str(error))))
        self._refusals.note(link.peer_id, error)

    def _note_rejected(self, link: Link, count: int) -> None:
        """Count items that are not of the stream's type, and say so once per subscription."""
        channel = self._state.channels[link]
        if not channel.rejected_count:
            text = "%s: peer %s sends items that are not of the stream's type; they are left out"
            self._log.warning(link.peer_id, text, link.peer_id.short)
        channel.rejected_count += count

    def _forget(self, link: Link, reason: CloseReason) -> None:
        """Take in that a link ended without our wish."""
        session = self._links.by_link[link]
        self._forget_link(link, reason)
        was_too_slow = reason.remote and reason.code == CloseCode.STREAM_TOO_SLOW
        was_refused = reason.remote and reason.code == CloseCode.STREAM_NOT_ALLOWED
        if was_refused:
            self._refusals.note(link.peer_id, NotAllowed(reason))
        self._core.receive_closed(
            link.peer_id,
            now=self._now(),
            was_too_slow=was_too_slow,
            was_refused=was_refused,
            has_progressed=session.has_progressed,
        )

    def _forget_link(self, link: Link, reason: CloseReason) -> None:
        self._links.end(link)
        channel = self._state.channels.pop(link)
        channel.close(reason, now=self._now())
        text = "%s: the subscription to peer %s ended: %s"
        self._log.info(link.peer_id, text, link.peer_id.short, reason)
        self._publish_state()

    def _publish_state(self) -> None:
        self._state.show(is_online=holds(self._spec.online_when, self._state.peers()))

    def _end(self) -> None:
        self.send(self._catalog, UnwatchCatalog(self.myAddress))
        self._stop()
        self.send(self.myAddress, ActorExitRequest())

    def _stop(self) -> None:
        for link in self._links.clear():
            link.close(CANCELLED)
            channel = self._state.channels.pop(link)
            channel.close(CANCELLED, now=self._now())
        self._inbox.close()
        self._state.close()
        if self._spec.tickets is not None:
            left = UnwatchTickets(self.myAddress, self._spec.tickets.requirement)
            self.send(self._spec.tickets.actor, left)
