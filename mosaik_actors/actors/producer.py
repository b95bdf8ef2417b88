"""The producer actor: one stream of this node, and its subscribers.

Receives: `StartProducer`, `FlushOutbox` and `CloseProducer` from its handle;
    `SettleCriteria` from its sieve; `SubscriberOffered` from the streams actor;
    `FramesReceived` (the acknowledgements) and `LinkClosed` from its links; `CatalogChanged`,
    `StreamAdvertised`; `TicketsJudged`.
Sends: frames to links; `AdvertiseStream`, `WatchCatalog` to the
    catalog; `ProducerClosed` to whoever closed it.
Owns: a `FanOut`, a `Sieve`, the links to its subscribers, the shared state of its handle.
Failure: a subscriber that breaks a rule is closed with the rule's code and
    forgotten; the others do not notice.

One burst takes one way: the handle's outbox, `FanOut.publish`, one write per
subscriber of the same bytes.

Two calls reach this actor without a turn in its mailbox, on the same thread and
never inside one another, because a turn of the loop on each side is a good part
of a round trip: the acknowledgements, as the link hands them over, and the
first item after a calm moment (`_publish_now`), which so leaves with the
datagram that answers the one it came from.
"""

from __future__ import annotations

import logging

from thespian.actors import ActorAddress, ActorExitRequest, WakeupMessage

from ..discovery.entry import StreamInfo
from ..discovery.info import PeerInfo
from ..discovery.messages import (
    AdvertiseStream,
    CatalogChanged,
    StreamAdvertised,
    UnwatchCatalog,
    WatchCatalog,
)
from ..discovery.view import CatalogSnapshot
from ..errors import RemoteError
from ..ids import PeerId
from ..runtime import TypeDispatcher
from ..schema import fingerprint
from ..streams.config import SHARE_ITEMS_MIN
from ..streams.criteria.criteria import CriteriaError
from ..streams.gate import NOT_ALLOWED, clip, holds, is_allowed, refusal, without_ticket
from ..streams.messages import (
    CloseProducer,
    FlushOutbox,
    ProducerClosed,
    SettleCriteria,
    StartProducer,
    SubscriberOffered,
)
from ..streams.producing.fanout import FanOut, FramesReady, LaggardFound, WindowChanged
from ..streams.producing.outbox import Entry
from ..streams.producing.parts import OVERHEAD_BYTES
from ..streams.producing.runs import item_count_of, single_parts
from ..streams.producing.sieve import Lane, SortedPart
from ..streams.shared import Channel
from ..streams.wire import (
    ACK_BYTES_MAX,
    Accepted,
    encode,
    is_window,
    read_ack,
    read_window,
    window_frame,
)
from ..tickets.messages import TicketsJudged, UnwatchTickets, WatchTickets
from ..transport.close import SHUTDOWN, CloseCode, CloseReason
from ..transport.interface import FramesReceived, Link, LinkClosed, LinkDrained, LinkEvent

logger = logging.getLogger(__name__)

TOO_COSTLY = CloseReason(
    CloseCode.STREAM_COSTLY_CRITERIA, "to judge by your criteria takes more time than a peer may"
)
ANSWERS_UNSENT_BYTES_MAX = 256 * 1024
UNJUDGED_MAX = 256  # subscriptions that wait for their peer's tickets to be validated
CALM_S = 0.0001  # an item this long after the last burst does not wait for company


class ProducerActor(TypeDispatcher):
    """Serves the subscriptions of one stream."""

    def __init__(self) -> None:
        self._fan_out: FanOut | None = None
        self._snapshot: CatalogSnapshot | None = None
        self._timer_at: float | None = None
        self._closing: list[ActorAddress] = []
        self._close_at: float | None = None
        self._is_blocked = False
        self._is_pumping = False
        self._published_at = float("-inf")
        self._lanes: dict[Link, Lane | None] = {}
        self._unjudged: dict[Link, SubscriberOffered] = {}

    # Lifecycle.

    def receiveMsg_StartProducer(self, message: StartProducer, _sender: ActorAddress) -> None:
        """Advertise the stream and wait for subscribers."""
        spec = message.spec
        self._node = message.node
        self._catalog = message.catalog
        self._spec = spec
        self._outbox = message.outbox
        self._state = message.state
        self._sieve = message.sieve
        self._budget = message.criteria_budget
        frame_bytes_max = message.node.endpoint.frame_bytes_max - OVERHEAD_BYTES
        self._batch_bytes_max = min(spec.config.frame_bytes, frame_bytes_max)
        self._fan_out = FanOut(
            buffer_items=spec.buffer_size,
            buffer_bytes=spec.config.buffer_bytes,
            disconnect_lagging=spec.disconnect_lagging,
            lag_grace_s=spec.config.lag_grace,
            consumer_rate=spec.consumer_rate,
            total_rate=spec.total_rate,
            now=self._now(),
        )
        self._outbox.publish_now = self._publish_now
        self.send(self._catalog, WatchCatalog(self.myAddress))
        if spec.tickets is not None:
            self.send(spec.tickets.actor, WatchTickets(self.myAddress))
        info = StreamInfo(spec.stream_id, spec.name, fingerprint(spec.schema))
        self.send(self._catalog, AdvertiseStream(info))
        self._publish_state()

    def receiveMsg_CloseProducer(self, message: CloseProducer, sender: ActorAddress) -> None:
        """Stop once everything accepted is written, or time is up."""
        self._closing.append(sender)
        if self._close_at is None:
            self._close_at = self._now() + message.drain_timeout_s
            self._outbox.close()
            self.send(self._catalog, UnwatchCatalog(self.myAddress))
        self._pump()

    def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Stop at once: the actor system is going down."""
        if self._fan_out is not None and not self._state.is_closed:
            self._stop()

    # Commands.

    def receiveMsg_FlushOutbox(self, _message: FlushOutbox, _sender: ActorAddress) -> None:
        """Publish what piled up since the last burst."""
        self._pump()

    def receiveMsg_SettleCriteria(self, _message: SettleCriteria, _sender: ActorAddress) -> None:
        """Charge the subscribers for their criteria; end those of peers who ask too much."""
        now = self._now()
        spent, item_count = self._sieve.settle()
        for peer_id, seconds in spent.items():
            self._budget.charge(peer_id, seconds, item_count, now=now)
        over = [peer_id for peer_id in spent if self._budget.is_over(peer_id, now=now)]
        for link, _ in self._channels() if over else ():
            if link.peer_id in over and self._lanes[link] is not None:
                self._warn_of(link, TOO_COSTLY)
                link.close(TOO_COSTLY)
                self._forget(link, TOO_COSTLY)
        if over:
            self._pump()

    def receiveMsg_SubscriberOffered(
        self, message: SubscriberOffered, _sender: ActorAddress
    ) -> None:
        """Accept or refuse a subscription."""
        link, header = message.link, message.header
        if not link.is_open or link in self._state.channels:
            return
        peer = self._peer(link)
        self._unjudged.pop(link, None)
        reason = refusal(
            peer,
            require=self._spec.require,
            here=self._spec.schema,
            there=header.schema,
            consumers=[channel.consumer_id for channel in self._state.channels.values()],
            consumers_max=self._spec.max_consumers,
        )
        if self._close_at is not None:
            reason = CloseReason(CloseCode.STREAM_NOT_FOUND, "the producer is closing")
        if reason is not None or peer is None:
            assert reason is not None, "an unknown peer is refused with a reason"
            self._refuse(link, reason)
            return
        if not self._has_tickets(peer, message):
            return
        if header.criteria and not self._budget.may_subscribe(link.peer_id, now=self._now()):
            self._refuse(link, TOO_COSTLY)
            return
        try:
            lane = self._sieve.open_lane(header.criteria)
        except CriteriaError as exc:
            text = f"the criteria do not fit: {exc}"
            self._refuse(link, CloseReason(CloseCode.STREAM_INVALID_CRITERIA, clip(text)))
            return
        except RemoteError as exc:
            self._refuse(link, CloseReason(exc.close_code, clip(str(exc))))
            return
        snapshot = self._snapshot
        assert snapshot is not None, "the peer is known from it"
        self._pump()  # what was accepted before is not for the new subscriber
        subscription = self._core.subscribe(
            link,
            window_items=header.window_items,
            window_bytes=header.window_bytes,
            lane=lane,
            now=self._now(),
        )
        self._lanes[link] = lane
        self._sieve.join(lane, link.peer_id)
        answer = Accepted(
            first_sequence=subscription.sent,
            window_items=subscription.window_items,
            window_bytes=subscription.window_bytes,
            start=snapshot.me.version.start,
        )
        link.attach(self._take_event)  # no frame comes before the link is accepted
        link.accept(encode(answer), frame_bytes_max=ACK_BYTES_MAX)
        self._state.open_channel(
            link,
            stream_id=self._spec.stream_id,
            producer_id=self._node.peer_id,
            consumer_id=link.peer_id,
            peer=peer,
            now=self._now(),
        )
        name, peer_id = self._spec.name, link.peer_id
        self._node.peer_log.info(
            logger,
            peer_id,
            "%s: peer %s subscribed",
            name,
            peer_id.short,
            now=self._now(),
            about=name,
        )
        self._publish_state()

    def receiveMsg_FramesReceived(self, message: FramesReceived, _sender: ActorAddress) -> None:
        """Take in acknowledgements, and what windows are asked for."""
        link = message.link
        if link not in self._state.channels:
            return
        try:
            for frame in message.frames:
                if is_window(frame):
                    self._change_window(link, frame)
                else:
                    self._core.receive_ack(link, read_ack(frame), now=self._now())
        except RemoteError as exc:
            self._warn_of(link, exc)
            reason = CloseReason(exc.close_code, clip(str(exc)))
            link.close(reason)
            self._forget(link, reason)
        self._pump()

    def receiveMsg_LinkDrained(self, _message: LinkDrained, _sender: ActorAddress) -> None:
        """Ignore the link's own marks: the credit bounds what is unsent."""

    def receiveMsg_LinkClosed(self, message: LinkClosed, _sender: ActorAddress) -> None:
        """Forget a subscriber that left."""
        self._unjudged.pop(message.link, None)
        if message.link in self._state.channels:
            self._forget(message.link, message.reason)
            self._pump()

    def receiveMsg_TicketsJudged(self, message: TicketsJudged, sender: ActorAddress) -> None:
        """Go on with who waited for it; end the subscriptions whose tickets hold no more."""
        peers = frozenset(message.peers)
        for link, offered in list(self._unjudged.items()):
            if link.peer_id in peers:
                self.receiveMsg_SubscriberOffered(offered, sender)
        if self._check_tickets(peers):
            self._pump()

    def receiveMsg_CatalogChanged(self, message: CatalogChanged, _sender: ActorAddress) -> None:
        """Check all subscribers against the new catalog."""
        self._snapshot = message.snapshot
        if self._fan_out is None or not self._state.channels:
            return
        for link, channel in list(self._channels()):
            channel.peer = self._peer(link) or channel.peer
            if not is_allowed(channel.peer, self._spec.require):
                link.close(NOT_ALLOWED)
                self._forget(link, NOT_ALLOWED)
        if self._spec.tickets is not None:
            self._check_tickets(None)
        self._publish_state()
        self._pump()

    def receiveMsg_StreamAdvertised(self, message: StreamAdvertised, _sender: ActorAddress) -> None:
        """Be offline while nobody can see the stream."""
        hidden = message.error is not None
        self._state.why_hidden = f"the stream is not advertised: {message.error}" if hidden else ""
        self._publish_state()
        self._pump()

    # Timers.

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: ActorAddress) -> None:
        """Disconnect laggards, or end the drain."""
        if message.payload == self._timer_at:
            self._timer_at = None
            self._core.handle_timer(now=self._now())
            self._pump()

    # Helpers.

    def _take_event(self, event: LinkEvent) -> None:
        """Take acknowledgements from a link at once; all else goes through the mailbox."""
        if type(event) is not FramesReceived or self._is_pumping:
            self.send(self.myAddress, event)
            return
        try:
            self.receiveMsg_FramesReceived(event, self.myAddress)
        except Exception:
            logger.exception("%s: taking acknowledgements failed", self._spec.name)

    def _publish_now(self) -> bool:
        """Publish at once unless there was a burst just now; return whether it was done."""
        if self._is_pumping or self._now() - self._published_at < CALM_S:
            return False
        return self._node.system.run_now(self.myAddress, self._publish_alone)

    def _publish_alone(self) -> None:
        try:
            self._pump()
        except Exception:
            logger.exception("%s: publishing failed", self._spec.name)

    def _has_tickets(self, peer: PeerInfo, message: SubscriberOffered) -> bool:
        """Return whether a peer's tickets let it in; refuse it otherwise, or have it wait."""
        tickets = self._spec.tickets
        if tickets is None:
            return True
        verdict = tickets.requirement.judge(peer)
        if tickets.requirement.allows(verdict):
            return True
        if verdict.is_awaited and len(self._unjudged) < UNJUDGED_MAX:
            self._unjudged[message.link] = message
        else:
            self._refuse(message.link, without_ticket(verdict.reason))
        return False

    def _check_tickets(self, peers: frozenset[PeerId] | None) -> bool:
        """End the subscriptions of those whose tickets hold no more; return whether any did."""
        tickets = self._spec.tickets
        if tickets is None or self._fan_out is None:
            return False
        has_ended = False
        for link, channel in self._channels():
            if peers is not None and link.peer_id not in peers:
                continue
            verdict = tickets.requirement.judge(channel.peer)
            if not tickets.requirement.allows(verdict):
                reason = without_ticket(verdict.reason)
                link.close(reason)
                self._forget(link, reason)
                has_ended = True
        return has_ended

    @property
    def _core(self) -> FanOut:
        assert self._fan_out is not None, "StartProducer comes first"
        return self._fan_out

    def _now(self) -> float:
        return self._node.clock.monotonic()

    def _peer(self, link: Link) -> PeerInfo | None:
        info = self._snapshot.get(link.peer_id) if self._snapshot is not None else None
        # The catalog reads round-trip times now and then; a predicate wants one now.
        return info.measured(link.rtt) if info is not None else None

    def _channels(self) -> list[tuple[Link, Channel]]:
        return list(self._state.channels.items())

    def _pump(self) -> None:
        """Publish what there is room for, write, and arm the timer."""
        if self._state.is_closed or self._is_pumping:
            return
        self._is_pumping = True
        try:
            self._publish_all(self._now())
        finally:
            self._is_pumping = False
            # Only now, so that a sender encodes its next items while these are on their way.
            self._outbox.wake_senders()
        if self._close_at is not None and self._is_drained():
            self._stop()
        elif self._is_blocked or self._close_at is not None or self._core.is_throttled:
            self._arm()

    def _publish_all(self, now: float) -> None:
        core, outbox = self._core, self._outbox
        while True:
            self._publish_parts(now)
            self._write()
            if not outbox.parts or not self._state.channels:
                break  # what an `undelivered` function sent is for the flush it asked for
            # Whoever leaves no room is holding the others up. A laggard that
            # goes for it may make room at once.
            self._is_blocked = True
            core.note_blocked(now=now)
            if not self._write():
                break
        if self._is_blocked and not outbox.parts:
            self._is_blocked = False
            core.note_unblocked()
        self._published_at = self._now()

    def _publish_parts(self, now: float) -> None:
        core, spec = self._core, self._spec
        while True:
            if not self._state.channels:
                # Once: the function that gets them may send again.
                self._hand_back(self._outbox.take_all())
                return
            if not self._outbox.parts:
                return
            parts = self._outbox.take(*core.room())
            if not parts:
                return
            items_max = core.frame_items_max()
            bytes_max = core.frame_bytes_max(self._batch_bytes_max)
            for lane, share in self._sieve.split(parts):
                batches = spec.encoder.batches(
                    share, frame_items_max=items_max, frame_bytes_max=bytes_max
                )
                core.publish(batches, lane=lane, now=now)

    def _write(self) -> bool:
        """Do what the core wants; return whether a subscriber was lost."""
        lost = False
        channels = self._state.channels
        while (event := self._core.next_event()) is not None:
            link: Link = event.key
            channel = channels.get(link)
            if channel is None:
                continue
            if type(event) is FramesReady:
                channel.item_count += event.item_count
                for frame in event.frames:
                    channel.byte_count += len(frame)
                    link.write(frame)
            elif type(event) is WindowChanged:
                link.write(window_frame(event.window))
            else:
                assert isinstance(event, LaggardFound)
                text = f"{event.behind_items} items behind"
                reason = CloseReason(CloseCode.STREAM_TOO_SLOW, text)
                self._warn_of(link, reason)
                link.close(reason)
                self._forget(link, reason)
                lost = True
        return lost

    def _change_window(self, link: Link, frame: bytes) -> None:
        """Take in what window is asked for; who asks and does not read is refused."""
        subscription = self._core.subscriptions.get(link)
        if subscription is None:
            return  # too slow, as it turned out just now
        unsent = link.unsent_bytes - subscription.flight_bytes
        if unsent > ANSWERS_UNSENT_BYTES_MAX:
            raise RemoteError(f"asks for windows, and {unsent} bytes of answers are not read")
        window = read_window(frame)
        if window.items < SHARE_ITEMS_MIN:  # as for a subscription: it would cost all others
            raise RemoteError(f"asks for {window.items} items, expected {SHARE_ITEMS_MIN} or more")
        self._core.change_window(link, window, now=self._now())

    def _warn_of(self, link: Link, why: CloseReason | RemoteError) -> None:
        """Warn of a peer, but not again each time that it comes back and is the same again."""
        self._node.peer_log.warning(
            logger,
            link.peer_id,
            "%s: peer %s: %s",
            self._spec.name,
            link.peer_id.short,
            why,
            now=self._now(),
            about=(self._spec.name, getattr(why, "code", None)),
        )

    def _refuse(self, link: Link, reason: CloseReason) -> None:
        logger.debug("%s: refused peer %s: %s", self._spec.name, link.peer_id.short, reason)
        link.close(reason)

    def _forget(self, link: Link, reason: CloseReason) -> None:
        self._core.unsubscribe(link)
        channel = self._state.channels.pop(link, None)
        if channel is not None:
            self._sieve.leave(self._lanes.pop(link), link.peer_id)
            channel.close(reason, now=self._now())
            self._node.peer_log.info(
                logger,
                link.peer_id,
                "%s: the subscription of peer %s ended: %s",
                self._spec.name,
                link.peer_id.short,
                reason,
                now=self._now(),
                about=self._spec.name,
            )
        self._publish_state()

    def _publish_state(self) -> None:
        may_be_seen = self._close_at is None and not self._state.why_hidden
        online = may_be_seen and holds(self._spec.online_when, self._state.peers())
        if online != self._outbox.is_ready:
            self._outbox.set_online(online)
        self._state.show(is_online=online)

    def _hand_back(self, parts: list[Entry]) -> None:
        """Give items that nobody is there to take back to the application."""
        spec = self._spec
        if not parts:
            return
        if spec.undelivered is None:
            item_count = sum(map(item_count_of, parts))
            logger.info("%s: %d items had no consumer", spec.name, item_count)
            return
        for entry in parts:
            part = entry.part if isinstance(entry, SortedPart) else entry
            for single in single_parts((part,)):
                try:
                    spec.undelivered(spec.encoder.decode(single))
                except Exception:
                    logger.exception("%s: the undelivered callback failed", spec.name)

    def _is_drained(self) -> bool:
        assert self._close_at is not None
        if self._now() >= self._close_at:
            return True
        return not self._outbox.parts and self._core.is_drained

    def _stop(self) -> None:
        unsent = self._outbox.item_count + max(
            (s.backlog_items for s in self._core.subscriptions.values()), default=0
        )
        self._hand_back(self._outbox.take_all())
        for link, channel in self._channels():
            link.close(SHUTDOWN)
            self._core.unsubscribe(link)
            channel.close(SHUTDOWN, now=self._now())
        self._state.channels.clear()
        self._lanes.clear()
        self._outbox.close()
        self._state.close()
        if self._spec.tickets is not None:
            left = UnwatchTickets(self.myAddress, self._spec.tickets.requirement)
            self.send(self._spec.tickets.actor, left)
        for asker in self._closing:
            self.send(asker, ProducerClosed(unsent))
        self.send(self.myAddress, ActorExitRequest())

    def _arm(self) -> None:
        times = [t for t in (self._core.get_timer(), self._close_at) if t is not None]
        due = min(times, default=None)
        # One that comes too early finds nothing due, and the next one is armed then.
        if due is not None and (self._timer_at is None or due < self._timer_at):
            self._timer_at = due
            self.wakeupAfter(max(0.0, due - self._now()), due)
