"""The producer actor: one stream of this node, and its subscribers.

Receives: `StartProducer`, `FlushOutbox` and `CloseProducer` from its handle;
    `SettleCriteria` from its filter; `SubscriberOffered` from the streams actor;
    `FramesReceived` (the acknowledgements) and `LinkClosed` from its links; `CatalogChanged`,
    `StreamAdvertised`; `TicketsJudged`.
Sends: frames to links; `AdvertiseStream`, `WatchCatalog` to the
    catalog; `ProducerClosed` to whoever closed it.
Owns: a `FanOut`, a `ItemFilter`, the `ConsumerAdmission` to them, the links to its
    subscribers, the shared state of its handle.
Failure: a subscriber that breaks a rule is closed with the rule's code and
    forgotten; the others do not notice.

One burst takes one way: the handle's outbox, `FanOut.publish`, one write per
subscriber of the same bytes.

Two calls reach this actor without a turn in its mailbox, never inside one another, because a
turn of the loop is a good part of a round trip: the acknowledgements, as the link hands
them over, and the first item after a calm moment, or in answer to what came
(`_publish_now`). Alone, and for one subscriber, it leaves at once (`_send_lone`).

It is one file: each message may end in the same pump, whose state all the handlers share.
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
from ..peer_log import TopicLog
from ..runtime import TypeDispatcher
from ..schema import fingerprint
from ..streams.config import SHARE_ITEMS_MIN
from ..streams.gate import NOT_ALLOWED, clip, holds, is_allowed
from ..streams.messages import (
    CloseProducer,
    FlushOutbox,
    ProducerClosed,
    ProducerSpec,
    SettleCriteria,
    StartProducer,
    SubscriberOffered,
)
from ..streams.producing.admission import TOO_COSTLY, AdmittedPeer, Awaited, ConsumerAdmission
from ..streams.producing.encoding import OVERHEAD_BYTES
from ..streams.producing.fanout import FanOut, FramesReady, LaggardFound, WindowChanged
from ..streams.producing.item_filter import FilterGroup
from ..streams.producing.outbox import Entry
from ..streams.producing.publisher import Publisher
from ..streams.producing.undelivered import Undelivered
from ..streams.shared import Channel
from ..streams.wire import (
    ACK_BYTES_MAX,
    Accepted,
    Subscribe,
    Window,
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

ANSWERS_UNSENT_BYTES_MAX = 256 * 1024
_CLOSING = CloseReason(CloseCode.STREAM_NOT_FOUND, "the producer is closing")
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
        self._filter_groups: dict[Link, FilterGroup | None] = {}
        self._unjudged: dict[Link, SubscriberOffered] = {}

    # Lifecycle.

    def receiveMsg_StartProducer(self, message: StartProducer, _sender: ActorAddress) -> None:
        """Advertise the stream and wait for subscribers."""
        spec = message.spec
        self._node = message.node
        self._now = message.node.clock.monotonic
        self._catalog = message.catalog
        self._spec = spec
        self._outbox = message.outbox
        self._state = message.state
        self._item_filter = message.item_filter
        self._admission = _make_admission(message)
        self._log = TopicLog(message.node.peer_log, logger, spec.name, self._now)
        self._fan_out = _make_fan_out(spec, self._now())
        self._publisher = _make_publisher(message, self._fan_out)
        self._may_step = message.node.system.step_check(self.myAddress)
        self._outbox.send_lone = self._send_lone
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
        over = self._admission.charge_criteria(now=self._now())
        for link, _ in self._channels() if over else ():
            if link.peer_id in over and self._filter_groups[link] is not None:
                self._warn_of(link, TOO_COSTLY)
                self._drop(link, TOO_COSTLY)
        if over:
            self._pump()

    def receiveMsg_SubscriberOffered(
        self, message: SubscriberOffered, _sender: ActorAddress
    ) -> None:
        """Accept or refuse a subscription."""
        link, header = message.link, message.header
        if not link.is_open or link in self._state.channels:
            return
        self._unjudged.pop(link, None)
        if self._close_at is not None:
            self._refuse(link, _CLOSING)
            return
        consumers = [channel.consumer_id for channel in self._state.channels.values()]
        found = self._admission.judge(self._peer(link), header, consumers, now=self._now())
        if isinstance(found, Awaited):
            if len(self._unjudged) < UNJUDGED_MAX:
                self._unjudged[link] = message
            else:
                self._refuse(link, found.reason)
        elif isinstance(found, CloseReason):
            self._refuse(link, found)
        else:
            self._subscribe(link, header, found)

    def _subscribe(self, link: Link, header: Subscribe, admitted: AdmittedPeer) -> None:
        """Begin a subscription."""
        snapshot = self._snapshot
        assert snapshot is not None, "the peer is known from it"
        self._pump()  # what was accepted before is not for the new subscriber
        subscription = self._core.subscribe(
            link,
            window_items=header.window_items,
            window_bytes=header.window_bytes,
            filter_group=admitted.filter_group,
            now=self._now(),
        )
        self._filter_groups[link] = admitted.filter_group
        self._item_filter.join(admitted.filter_group, link.peer_id)
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
            peer=admitted.peer,
            now=self._now(),
        )
        self._log.info(link.peer_id, "%s: peer %s subscribed", link.peer_id.short)
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
            self._drop(link, CloseReason(exc.close_code, clip(str(exc))))
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
                self._drop(link, NOT_ALLOWED)
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
        is_calm = self._now() - self._published_at >= CALM_S or self._may_answer()
        if self._is_pumping or not is_calm:
            return False
        return self._node.system.run_now(self.myAddress, self._publish_safely)

    def _may_answer(self) -> bool:
        """Return whether the only subscriber was heard since the last burst."""
        channels = self._state.channels
        return len(channels) == 1 and next(iter(channels)).heard_at > self._published_at

    def _publish_safely(self) -> None:
        try:
            self._pump()
        except Exception:
            logger.exception("%s: publishing failed", self._spec.name)

    def _send_lone(self, entry: Entry) -> bool:
        """Send an item that nothing waits before to the only subscriber; return whether it left."""
        core, now = self._fan_out, self._now()
        if core is None or (lone := core.lone) is None or type(entry) is not bytes:
            return False
        link: Link = lone.key
        if (
            self._is_pumping
            or self._is_blocked
            or self._close_at is not None
            or (now - self._published_at < CALM_S and link.heard_at <= self._published_at)
            or not self._may_step()
            or (published := core.publish_lone(self._spec.encoder.one_head, entry)) is None
        ):
            return False
        frame, size = published
        self._published_at = now
        channel = self._state.channels[link]
        channel.item_count += 1
        channel.byte_count += size
        link.write_now(frame)
        return True

    def _check_tickets(self, peers: frozenset[PeerId] | None) -> bool:
        """End the subscriptions of those whose tickets hold no more; return whether any did."""
        if self._spec.tickets is None or self._fan_out is None:
            return False
        has_ended = False
        for link, channel in self._channels():
            if peers is not None and link.peer_id not in peers:
                continue
            refused = self._admission.judge_tickets(channel.peer)
            if refused is not None:
                self._drop(link, refused.reason if isinstance(refused, Awaited) else refused)
                has_ended = True
        return has_ended

    @property
    def _core(self) -> FanOut:
        assert self._fan_out is not None, "StartProducer comes first"
        return self._fan_out

    def _peer(self, link: Link) -> PeerInfo | None:
        info = self._snapshot.get(link.peer_id) if self._snapshot is not None else None
        # The catalog reads round-trip times now and then; a predicate wants one now.
        return info.measured(link.rtt) if info is not None else None

    def _channels(self) -> list[tuple[Link, Channel]]:
        return list(self._state.channels.items())

    def _pump(self) -> None:
        """Publish what there is room for, write, and arm the timer."""
        if self._state.error is not None or self._is_pumping:
            return
        self._is_pumping = True
        try:
            self._publish_all(self._now())
        finally:
            self._is_pumping = False
            # Only now, so that a sender encodes its next items while these are on their way.
            self._outbox.wake_senders()
        if self._close_at is not None and (
            self._publisher.is_drained or self._now() >= self._close_at
        ):
            self._stop()
        elif self._is_blocked or self._close_at is not None or self._core.is_throttled:
            self._arm()

    def _publish_all(self, now: float) -> None:
        core, outbox = self._core, self._outbox
        while True:
            self._publisher.publish(now=now)
            self._write(core)
            if not outbox.entries or not self._state.channels:
                break  # what an `undelivered` function sent is for the flush it asked for
            # Whoever leaves no room is holding the others up. A laggard that
            # goes for it may make room at once.
            self._is_blocked = True
            core.note_blocked(now=now)
            if not self._write(core):
                break
        if self._is_blocked and not outbox.entries:
            self._is_blocked = False
            core.note_unblocked()
        self._published_at = self._now()

    def _write(self, core: FanOut) -> bool:
        """Do what the core wants; return whether a subscriber was lost."""
        lost = False
        channels = self._state.channels
        while (event := core.next_event()) is not None:
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
                why = f"{event.behind_items} items behind"
                reason = CloseReason(CloseCode.STREAM_TOO_SLOW, why)
                self._warn_of(link, reason)
                self._drop(link, reason)
                lost = True
        return lost

    def _change_window(self, link: Link, frame: bytes) -> None:
        """Take in what window is asked for; who asks and does not read is refused."""
        subscription = self._core.subscriptions.get(link)
        if subscription is None:
            return  # too slow, as it turned out just now
        window = _read_wanted(frame, link.unsent_bytes - subscription.flight_bytes)
        self._core.change_window(link, window, now=self._now())

    def _warn_of(self, link: Link, why: CloseReason | RemoteError) -> None:
        """Warn of a peer, but not again each time that it comes back and is the same again."""
        about = (self._spec.name, getattr(why, "code", None))
        self._log.warning(link.peer_id, "%s: peer %s: %s", link.peer_id.short, why, about=about)

    def _refuse(self, link: Link, reason: CloseReason) -> None:
        logger.debug("%s: refused peer %s: %s", self._spec.name, link.peer_id.short, reason)
        link.close(reason)

    def _drop(self, link: Link, reason: CloseReason) -> None:
        """End a subscription."""
        link.close(reason)
        self._forget(link, reason)

    def _forget(self, link: Link, reason: CloseReason) -> None:
        self._core.unsubscribe(link)
        channel = self._state.channels.pop(link, None)
        if channel is not None:
            self._item_filter.leave(self._filter_groups.pop(link), link.peer_id)
            channel.close(reason, now=self._now())
            text = "%s: the subscription of peer %s ended: %s"
            self._log.info(link.peer_id, text, link.peer_id.short, reason)
        self._publish_state()

    def _publish_state(self) -> None:
        may_be_seen = self._close_at is None and not self._state.why_hidden
        online = may_be_seen and holds(self._spec.online_when, self._state.peers())
        if online != self._outbox.is_ready:
            self._outbox.set_online(online)
        self._state.show(is_online=online)

    def _stop(self) -> None:
        unsent = self._publisher.end()
        for link, channel in self._channels():
            link.close(SHUTDOWN)
            self._core.unsubscribe(link)
            channel.close(SHUTDOWN, now=self._now())
        self._state.channels.clear()
        self._filter_groups.clear()
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


def _read_wanted(frame: bytes, unsent_bytes: int) -> Window:
    """Return what window is asked for. Raises `RemoteError` for one that may not be."""
    if unsent_bytes > ANSWERS_UNSENT_BYTES_MAX:
        raise RemoteError(f"asks for windows, and {unsent_bytes} bytes of answers are not read")
    window = read_window(frame)
    if window.items < SHARE_ITEMS_MIN:  # as for a subscription: it would cost all others
        raise RemoteError(f"asks for {window.items} items, expected {SHARE_ITEMS_MIN} or more")
    return window


def _make_admission(message: StartProducer) -> ConsumerAdmission:
    spec = message.spec
    return ConsumerAdmission(
        spec.require,
        spec.tickets.requirement if spec.tickets is not None else None,
        spec.schema,
        spec.max_consumers,
        message.item_filter,
        message.criteria_budget,
    )


def _make_fan_out(spec: ProducerSpec, now: float) -> FanOut:
    return FanOut(
        buffer_items=spec.buffer_size,
        buffer_bytes=spec.config.buffer_bytes,
        disconnect_lagging=spec.disconnect_lagging,
        lag_grace_s=spec.config.lag_grace,
        consumer_rate=spec.consumer_rate,
        total_rate=spec.total_rate,
        now=now,
    )


def _make_publisher(message: StartProducer, fan_out: FanOut) -> Publisher:
    spec = message.spec
    frame_bytes_max = message.node.endpoint.frame_bytes_max - OVERHEAD_BYTES
    return Publisher(
        message.outbox,
        fan_out,
        message.item_filter,
        spec.encoder,
        min(spec.config.frame_bytes, frame_bytes_max),
        Undelivered(spec.name, logger, spec.encoder, spec.undelivered),
    )
