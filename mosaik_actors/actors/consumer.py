"""The consumer actor: the subscriptions of one consumer of this node.

Receives: `StartConsumer`, `AckDue`, `CloseConsumer` and `DropConsumer` from its handle;
    `LinkOpened` and `LinkFailed` from the transport; `FramesReceived` and
    `LinkClosed` from its links; `CatalogChanged`, `SyncFinished`, `SyncFailed`, `TicketsJudged`.
Sends: `OpenLink` to the transport; `WatchCatalog`, `SyncWith` to the catalog;
    acknowledgements to links; `ConsumerClosed` to whoever closed it.
Owns: a `Subscriptions`, a `WindowPool`, one `ReceiverSession` per link, the shared
    state and the inbox of its handle.
Failure: a producer that breaks a rule is closed with the rule's code and tried
    again later, as one that was lost.

Inbound, a burst takes one way: one `FramesReceived` per loop turn, one decode
call per frame, one hand-over to the inbox per frame. Once a session stands, the
link hands its frames over directly (`_Inlet`), without a turn in the mailbox:
that is a turn of the loop less in every round trip, and an answer leaves with the
datagram that acknowledges the question.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

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
from ..runtime import TypeDispatcher
from ..schema import mismatch_from
from ..streams.consuming.preference import Rank
from ..streams.consuming.session import ReceiverSession
from ..streams.consuming.subscriptions import (
    NOT_WANTED,
    ProducerCandidate,
    ProducerGivenUp,
    SubscriptionDropped,
    Subscriptions,
    SubscriptionWanted,
    SyncWanted,
)
from ..streams.consuming.window_pool import WindowPool
from ..streams.criteria.criteria import CriteriaError
from ..streams.gate import clip, holds, is_allowed, near_miss, without_ticket
from ..streams.messages import (
    AckDue,
    CloseConsumer,
    ConsumerClosed,
    DropConsumer,
    StartConsumer,
)
from ..streams.shared import Channel
from ..streams.wire import (
    PROTOCOL,
    Subscribe,
    Window,
    ack_frame,
    decode_accepted,
    encode,
    is_window,
    read_window,
    window_frame,
)
from ..tickets.messages import TicketsJudged, UnwatchTickets, WatchTickets
from ..tickets.ticket import Ticket
from ..transport.address import PeerAddr
from ..transport.close import CANCELLED, CloseCode, CloseReason
from ..transport.interface import (
    FramesReceived,
    Link,
    LinkClosed,
    LinkDrained,
    LinkEvent,
    LinkRefused,
    NotAllowed,
)
from ..transport.messages import LinkFailed, LinkOpened, OpenLink

logger = logging.getLogger(__name__)

PROBES_MAX = 1024  # of one consumer at a time
PROBE_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class _Probe:
    """The token of an exchange that is made to learn how far away a peer is."""

    peer_id: PeerId


_Token = tuple[PeerId, int]  # the producer and the number of the attempt


class _Inlet:
    """A link's sink: to the mailbox until that is empty of the link's frames, then direct.

    Before it was attached, frames went into the mailbox as the transport sent
    them, and whatever comes after must not overtake them.
    """

    __slots__ = ("_queue", "_take", "handled_number", "is_direct", "queued_number")

    def __init__(
        self, take: Callable[[FramesReceived], None], queue: Callable[[object], None]
    ) -> None:
        self._take = take
        self._queue = queue
        self.is_direct = False
        self.queued_number = 0
        self.handled_number = 0

    def __call__(self, event: LinkEvent) -> None:
        if self.is_direct and type(event) is FramesReceived:
            self._take(event)
        else:
            self.queued_number += 1
            self._queue(QueuedLinkEvent(self, self.queued_number, event))


@dataclass(frozen=True, slots=True)
class QueuedLinkEvent:
    """A link's event on its way through the mailbox.

    Numbered, and not counted: a message whose handler failed is handled again.
    """

    inlet: _Inlet
    number: int
    event: LinkEvent


@dataclass(frozen=True, slots=True)
class OpenInlet:
    """Everything the transport itself put into the mailbox is handled now."""

    inlet: _Inlet


class ConsumerActor(TypeDispatcher):
    """Keeps one consumer subscribed to all producers it wants."""

    def __init__(self) -> None:
        self._subscriptions: Subscriptions | None = None
        self._sessions: dict[Link, ReceiverSession] = {}
        self._links: dict[ReceiverSession, Link] = {}
        self._link_of: dict[PeerId, Link] = {}
        self._peers: dict[PeerId, PeerInfo] = {}
        self._rtts: dict[PeerId, float] = {}
        self._probed_at: dict[PeerId, float] = {}
        self._snapshot: CatalogSnapshot | None = None
        self._timer_at: float | None = None
        self._wanted: dict[_Token, PeerAddr] = {}  # to be subscribed to when there is room
        self._refused: dict[PeerId, CloseReason] = {}  # by us, for want of a ticket
        self._own_tickets: tuple[Ticket, ...] | None = None
        self._asked: dict[_Token, Window] = {}  # the windows that links are being opened with

    # Lifecycle.

    def receiveMsg_StartConsumer(self, message: StartConsumer, _sender: ActorAddress) -> None:
        """Look for producers."""
        spec = message.spec
        self._node = message.node
        self._catalog = message.catalog
        self._spec = spec
        self._inbox = message.inbox
        self._state = message.state
        self._subscriptions = Subscriptions(
            spec.backoff,
            message.node.randomness.branch(f"consumer {spec.stream_id}"),
            spec.prefer,
        )
        self._pool = WindowPool(Window(spec.config.window_items, spec.config.window_bytes))
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
            self._note_own_tickets(message.snapshot.me.entry.tickets)
            self._take_catalog()

    def receiveMsg_TicketsJudged(self, message: TicketsJudged, _sender: ActorAddress) -> None:
        """Look again at the producers whose tickets count for more, or less, than before."""
        snapshot, stream_id = self._snapshot, self._spec.stream_id
        if snapshot is None or self._state.is_closed:
            return
        for peer_id in message.peers:
            info = snapshot.get(peer_id)
            if peer_id in self._link_of or (info is not None and stream_id in info.streams):
                self._take_catalog()
                return

    def _note_own_tickets(self, tickets: tuple[Ticket, ...]) -> None:
        """Try again where we were not allowed, once we show something else."""
        if self._own_tickets is not None and tickets != self._own_tickets:
            self._core.receive_own_change(now=self._now())
        self._own_tickets = tickets

    def _take_catalog(self) -> None:
        snapshot = self._snapshot
        assert snapshot is not None, "it came with CatalogChanged"
        stream_id, require = self._spec.stream_id, self._spec.require
        # Where only the best are wanted, one that is away must not keep the next one out.
        takes_all = self._spec.prefer is None
        candidates: dict[PeerId, ProducerCandidate] = {}
        self._refused = {}
        for peer_id, info in snapshot.items():
            if stream_id in info.streams and (takes_all or info.is_reachable):
                info = self._peers[peer_id] = self._measured(info)
                allowed, why_not = is_allowed(info, require), NOT_WANTED
                if allowed and (refused := self._refuse_ticketless(info)) is not None:
                    allowed, why_not = False, refused
                rank = self._rank(info) if allowed else None
                if allowed is None:
                    self._probe(info)
                candidates[peer_id] = ProducerCandidate(
                    info.addr, info.version.start, bool(allowed), rank, why_not
                )
        self._drop_ticketless(candidates)
        changed = False
        for peer_id, link in self._link_of.items():
            channel = self._state.channels[link]
            info = self._measured(snapshot.get(peer_id, channel.peer))
            changed |= info != channel.peer
            channel.peer = info
        if not candidates:
            self._explain(snapshot.values())
        self._core.receive_catalog(candidates, now=self._now())
        for peer_id in list(self._peers):
            if self._core.state_of(peer_id) is None:
                del self._peers[peer_id]
        for peer_id in [one for one in self._probed_at if one not in snapshot]:
            del self._probed_at[peer_id]
            self._rtts.pop(peer_id, None)
        if changed:
            self._publish_state()
        self._pump()

    def _refuse_ticketless(self, info: PeerInfo) -> CloseReason | None:
        """Return why a producer's tickets do not let it be subscribed to, None when they do."""
        tickets = self._spec.tickets
        if tickets is None:
            return None
        verdict = tickets.requirement.judge(info)
        if tickets.requirement.allows(verdict):
            return None
        reason = without_ticket(verdict.reason)
        if not verdict.is_awaited:
            self._refused[info.peer_id] = reason
        return reason

    def _drop_ticketless(self, candidates: dict[PeerId, ProducerCandidate]) -> None:
        """End the links to producers that the catalog shows no more, with their tickets' end."""
        if self._spec.tickets is None:
            return
        for peer_id, link in list(self._link_of.items()):
            if peer_id not in candidates:
                reason = self._refuse_ticketless(self._state.channels[link].peer)
                if reason is not None:
                    link.close(reason)
                    self._forget(link, reason)

    def receiveMsg_LinkOpened(self, message: LinkOpened, _sender: ActorAddress) -> None:
        """Start a session on a link that was asked for."""
        link = message.link
        peer_id, attempt = message.token
        if link in self._sessions:
            return
        asked = self._asked.pop(message.token, None)
        if self._state.is_closed or asked is None or not self._core.is_opening(peer_id, attempt):
            link.close(CANCELLED)
            self._pool.release(message.token)
            return
        try:
            accepted = decode_accepted(link.reply)
            if not accepted.window.fits(asked):  # it grants itself more than it may have
                raise RemoteError(f"a window of {accepted.window}, asked for {asked}")
        except RemoteError as exc:
            self._refuse(link, exc)
            self._pool.release(message.token)
            reason = CloseReason(exc.close_code, clip(str(exc)))
            self._core.receive_failed(peer_id, attempt, reason, now=self._now())
            self._pump()
            return
        if not self._core.receive_opened(peer_id, attempt, accepted.start, now=self._now()):
            link.close(CANCELLED)
            self._pool.release(message.token)
            self._pump()
            return
        session = ReceiverSession(accepted, asked)
        self._pool.open(message.token, session)
        self._sessions[link] = session
        self._links[session] = link
        self._link_of[peer_id] = link
        self._state.refusals.pop(peer_id, None)
        self._state.channels[link] = Channel(
            stream_id=self._spec.stream_id,
            producer_id=peer_id,
            consumer_id=self._node.peer_id,
            peer=self._peers[peer_id],
            totals=self._state.totals,
            now=self._now(),
        )
        self._log_info(peer_id, "%s: subscribed to peer %s")
        inlet = _Inlet(self._take_frames, partial(self.send, self.myAddress))
        link.attach(inlet)
        self.send(self.myAddress, OpenInlet(inlet))
        self._publish_state()
        self._pump()

    def receiveMsg_OpenInlet(self, message: OpenInlet, _sender: ActorAddress) -> None:
        """Let frames come directly, unless some are still in the mailbox."""
        if message.inlet.handled_number < message.inlet.queued_number:
            self.send(self.myAddress, message)
        else:
            message.inlet.is_direct = True

    def receiveMsg_QueuedLinkEvent(self, message: QueuedLinkEvent, sender: ActorAddress) -> None:
        """Take in an event that went through the mailbox."""
        message.inlet.handled_number = message.number
        self.receiveMessage(message.event, sender)

    def receiveMsg_LinkFailed(self, message: LinkFailed, _sender: ActorAddress) -> None:
        """Note why a subscription failed, and try again later."""
        if self._state.is_closed:
            return
        peer_id, attempt = message.token
        self._release(message.token)
        self._note_refusal(peer_id, message.error)
        self._core.receive_failed(peer_id, attempt, message.error.reason, now=self._now())
        self._pump()

    def receiveMsg_FramesReceived(self, message: FramesReceived, _sender: ActorAddress) -> None:
        """Take in frames that went through the mailbox."""
        self._take_frames(message)

    def _receive_frames(self, message: FramesReceived) -> None:
        """Decode what one loop turn brought and hand it over."""
        link = message.link
        session = self._sessions.get(link)
        if session is None:
            return
        inbox, decode = self._inbox, self._spec.encoder.decode_batch
        try:
            for frame in message.frames:
                if is_window(frame):
                    self._receive_window(link, session, frame)
                    continue
                item_count, batch = session.receive_frame(frame)
                items, bad_count = decode(batch, item_count)  # type: ignore[arg-type]
                if bad_count:
                    self._note_rejected(link, bad_count)
                inbox.put(session, items, item_count, len(frame))
        except RemoteError as exc:
            self._refuse(link, exc)
            self._forget(link, CloseReason(exc.close_code, clip(str(exc))))
            self._pump()
            return
        channel = self._state.channels[link]
        channel.item_count = session.item_count
        channel.byte_count = session.byte_count

    def receiveMsg_AckDue(self, message: AckDue, _sender: ActorAddress) -> None:
        """Acknowledge what the application took."""
        self._acknowledge(message.session)
        if self._wanted or message.session.is_over:
            self._open_wanted()

    def receiveMsg_LinkDrained(self, _message: LinkDrained, _sender: ActorAddress) -> None:
        """Ignore the link's own marks: acknowledgements are few and small."""

    def receiveMsg_LinkClosed(self, message: LinkClosed, _sender: ActorAddress) -> None:
        """Subscribe again, later."""
        if message.link in self._sessions:
            if message.reason.code == CloseCode.STREAM_TOO_SLOW:
                self._warn_too_slow(message.link.peer_id, message.reason)
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

    def _take_frames(self, event: FramesReceived) -> None:
        """Take in frames; whatever goes wrong with them ends their link, and nothing else."""
        try:
            self._receive_frames(event)
        except Exception as exc:
            logger.exception("%s: taking in frames failed", self._spec.name)
            link = event.link
            text = f"the consumer failed to take items: {type(exc).__name__}"
            error = RemoteError(clip(text), CloseCode.UNEXPECTED_CLOSE)
            reason = CloseReason(error.close_code, str(error))
            link.close(reason)
            self._state.refusals[link.peer_id] = error
            if link in self._sessions:  # or what failed came after the forgetting
                self._forget(link, reason)
                self._pump()

    @property
    def _core(self) -> Subscriptions:
        assert self._subscriptions is not None, "StartConsumer comes first"
        return self._subscriptions

    def _now(self) -> float:
        return self._node.clock.monotonic()

    def _after_sync(self, token: PeerId | _Probe) -> None:
        if self._state.is_closed:
            return
        if isinstance(token, _Probe):
            rtt_s = self._node.endpoint.rtt(token.peer_id)
            if rtt_s is not None:
                self._rtts[token.peer_id] = rtt_s
                self._take_catalog()
        else:
            self._core.receive_synced(token, now=self._now())
            self._pump()

    def _pump(self) -> None:
        """Do what the core wants and arm the timer."""
        while (event := self._core.next_event()) is not None:
            match event:
                case SubscriptionWanted(addr, attempt):
                    self._wanted[addr.peer_id, attempt] = addr
                case SyncWanted(addr):
                    self.send(self._catalog, SyncWith(addr, addr.peer_id))
                case SubscriptionDropped(peer_id, reason):
                    link = self._link_of.get(peer_id)
                    if link is not None:
                        link.close(reason)
                        self._forget_link(link, reason)
                case ProducerGivenUp(peer_id, failures):
                    self._warn_of(peer_id, "%s: gave up peer %s after %d failures", failures)
        self._open_wanted()
        self._forget_refusals()
        due = self._core.get_timer()
        # One that comes too early finds nothing due, and the next one is armed then.
        if due is not None and (self._timer_at is None or due < self._timer_at):
            self._timer_at = due
            self.wakeupAfter(max(0.0, due - self._now()), due)

    def _open_wanted(self) -> None:
        """Subscribe where there is room for what comes; have others make room, or take it."""
        if self._state.is_closed:
            return
        for token in [one for one in self._wanted if not self._core.is_opening(*one)]:
            del self._wanted[token]
        for token, addr in list(self._wanted.items()):
            window = self._pool.reserve(token, waiting_count=len(self._wanted))
            if window is None:
                self._note_full()
                break
            del self._wanted[token]
            self._asked[token] = window
            timeout_s = self._spec.config.open_timeout
            opening = OpenLink(addr, PROTOCOL, self._make_header(window), token, timeout_s)
            self.send(self._node.transport, opening)
        for change in self._pool.next_changes(waiting_count=len(self._wanted)):
            self._links[change.session].write(window_frame(change.window))

    def _note_full(self) -> None:
        """Say why others are not subscribed to, if it is for the application to change."""
        item_count = self._pool.waiting.items
        if item_count:
            text = f"{item_count} items of ended subscriptions wait to be taken"
            error = LinkRefused(CloseReason(CloseCode.STREAM_TOO_SLOW, text))
            self._state.refusals.update((peer_id, error) for peer_id, _ in self._wanted)

    def _make_header(self, window: Window) -> bytes:
        spec = self._spec
        return encode(
            Subscribe(
                stream=bytes(spec.stream_id),
                name=spec.name,
                schema=spec.schema,
                window_items=window.items,
                window_bytes=window.bytes,
                criteria=spec.criteria,
            )
        )

    def _release(self, token: _Token) -> None:
        """Take in that no link comes for an attempt."""
        self._asked.pop(token, None)
        self._pool.release(token)

    def _receive_window(self, link: Link, session: ReceiverSession, frame: bytes) -> None:
        session.receive_window(read_window(frame))
        self._acknowledge(session)
        self._open_wanted()

    def _acknowledge(self, session: ReceiverSession) -> None:
        link = self._links.get(session)
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
        self._warn_of(link.peer_id, "%s: peer %s: %s", error)
        link.close(CloseReason(error.close_code, clip(str(error))))
        self._state.refusals[link.peer_id] = error

    def _warn_too_slow(self, peer_id: PeerId, reason: CloseReason) -> None:
        """Say that items are lost here, and what can be done."""
        self._warn_of(
            peer_id,
            "%s: producer %s disconnected us as too slow (%s); items are lost until we are back. "
            "Take items faster, or give the producer more lag_grace, a larger buffer_size, "
            "or disconnect_lagging=False",
            clip(reason.text),
        )

    def _warn_of(self, peer_id: PeerId, text: str, *values: object) -> None:
        """Warn of a producer, but not again each time that it does the same."""
        name = self._spec.name
        self._node.peer_log.warning(
            logger, peer_id, text, name, peer_id.short, *values, now=self._now(), about=name
        )

    def _log_info(self, peer_id: PeerId, text: str, *values: object) -> None:
        name = self._spec.name
        self._node.peer_log.info(
            logger, peer_id, text, name, peer_id.short, *values, now=self._now(), about=name
        )

    def _note_rejected(self, link: Link, count: int) -> None:
        """Count items that are not of the stream's type, and say so once per subscription."""
        channel = self._state.channels[link]
        if not channel.rejected_count:
            text = "%s: peer %s sends items that are not of the stream's type; they are left out"
            self._warn_of(link.peer_id, text)
        channel.rejected_count += count

    def _rank(self, info: PeerInfo) -> Rank:
        """Return how much a producer is preferred; find out how near it is, if that matters."""
        prefer = self._spec.prefer
        if prefer is None:
            return None
        rank, is_unmeasured = prefer.judge(info)
        if is_unmeasured:
            self._probe(info)
        return rank

    def _measured(self, info: PeerInfo) -> PeerInfo:
        """Return a peer with what is known of its distance: the catalog looks now and then."""
        if info.rtt is not None:
            return info
        rtt_s = self._node.endpoint.rtt(info.peer_id)
        return info.measured(self._rtts.get(info.peer_id) if rtt_s is None else rtt_s)

    def _probe(self, info: PeerInfo) -> None:
        """Have a connection made to a producer, so that its distance becomes known."""
        peer_id, now = info.peer_id, self._now()
        is_new = peer_id not in self._probed_at
        if len(self._probed_at) < PROBES_MAX if is_new else self._is_probe_due(peer_id, now):
            self._probed_at[peer_id] = now
            self.send(self._catalog, SyncWith(info.addr, _Probe(info.peer_id)))

    def _is_probe_due(self, peer_id: PeerId, now: float) -> bool:
        return now >= self._probed_at[peer_id] + PROBE_AGAIN_S

    def _note_refusal(self, peer_id: PeerId, error: LinkRefused) -> None:
        reason = error.reason
        refusal: Exception = error
        if reason.code == CloseCode.STREAM_NOT_ALLOWED:
            refusal = NotAllowed(reason)
        elif reason.code == CloseCode.STREAM_SCHEMA_MISMATCH:
            refusal = mismatch_from(reason.text)
        elif reason.code in (
            CloseCode.STREAM_INVALID_CRITERIA,
            CloseCode.STREAM_COSTLY_CRITERIA,
        ):
            refusal = CriteriaError(reason.text)
        if str(self._state.refusals.get(peer_id)) != str(refusal):
            wrong = (
                CloseCode.STREAM_SCHEMA_MISMATCH,
                CloseCode.STREAM_INVALID_CRITERIA,
                CloseCode.STREAM_COSTLY_CRITERIA,
                CloseCode.PROTOCOL_VIOLATION,
            )
            level = logging.WARNING if reason.code in wrong else logging.DEBUG
            logger.log(level, "%s: peer %s: %s", self._spec.name, peer_id.short, refusal)
        self._state.refusals[peer_id] = refusal

    def _forget_refusals(self) -> None:
        """Say no more of producers that left, or are not wanted: nobody tries them."""
        refusals, core = self._state.refusals, self._core
        for peer_id in [one for one in refusals if core.state_of(one) is None]:
            if peer_id not in self._refused:
                del refusals[peer_id]
        for peer_id, reason in self._refused.items():
            if str(refusals.get(peer_id)) != str(refusal := NotAllowed(reason)):
                logger.info("%s: peer %s: %s", self._spec.name, peer_id.short, refusal)
                refusals[peer_id] = refusal

    def _forget(self, link: Link, reason: CloseReason) -> None:
        """Take in that a link ended without our wish."""
        session = self._sessions[link]
        self._forget_link(link, reason)
        was_too_slow = reason.remote and reason.code == CloseCode.STREAM_TOO_SLOW
        was_refused = reason.remote and reason.code == CloseCode.STREAM_NOT_ALLOWED
        if was_refused:
            self._state.refusals[link.peer_id] = NotAllowed(reason)
        self._core.receive_closed(
            link.peer_id,
            now=self._now(),
            was_too_slow=was_too_slow,
            was_refused=was_refused,
            has_progressed=session.has_progressed,
        )

    def _forget_link(self, link: Link, reason: CloseReason) -> None:
        session = self._sessions.pop(link)
        del self._links[session]
        self._pool.end(session)
        if self._link_of.get(link.peer_id) is link:
            del self._link_of[link.peer_id]
        channel = self._state.channels.pop(link)
        channel.close(reason, now=self._now())
        self._log_info(link.peer_id, "%s: the subscription to peer %s ended: %s", reason)
        self._publish_state()

    def _publish_state(self) -> None:
        self._state.show(is_online=holds(self._spec.online_when, self._state.peers()))

    def _end(self) -> None:
        self.send(self._catalog, UnwatchCatalog(self.myAddress))
        self._stop()
        self.send(self.myAddress, ActorExitRequest())

    def _stop(self) -> None:
        for link in list(self._sessions):
            link.close(CANCELLED)
            channel = self._state.channels.pop(link)
            channel.close(CANCELLED, now=self._now())
        self._sessions.clear()
        self._links.clear()
        self._link_of.clear()
        self._inbox.close()
        self._state.close()
        if self._spec.tickets is not None:
            left = UnwatchTickets(self.myAddress, self._spec.tickets.requirement)
            self.send(self._spec.tickets.actor, left)
