"""The catalog actor: what this node believes, and what it says about itself.

Receives: `StartCatalog` first; `WatchCatalog`, `UnwatchCatalog`,
    `AdvertiseStream`, `AdvertiseGroup`, `AdvertiseActor` and their withdrawals, `ChangeTags`,
    `SyncWith`, `DialPeer`, `AnnounceDeparture` from anybody; `EntriesReceived`, `TakeToldEntries`,
    `AwaitMerge`, `SyncEnded` from peer actors; `RefreshEntry`, `EntryRefused`
    from the gossip actor; `CatalogTouched` from it and from the handle.
Sends: `CatalogChanged` to watchers; `StreamAdvertised` to producers; `EntriesMerged`,
    `PeersKnown`, `StartSync` and `LeaveOverlay` to the gossip actor; the answers.
Owns: the `Catalog`. Two others change it too, on the same loop, and then send
    `CatalogTouched`: the handle, so that a change is visible when the call
    returns, and the gossip actor, so that what neighbours announce takes one
    message to get there.
Failure: entries that are refused are counted in the core, and logged once per
    reason. They never fail the actor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from thespian.actors import ActorAddress, WakeupMessage

from ..discovery.catalog.catalog import Catalog
from ..discovery.entry import EntryTooLarge, StreamInfo
from ..discovery.messages import (
    AdvertiseActor,
    AdvertiseGroup,
    AdvertiseStream,
    AnnounceDeparture,
    AwaitMerge,
    CatalogChanged,
    CatalogTouched,
    ChangeTags,
    DialPeer,
    EntriesJudged,
    EntriesMerged,
    EntriesReceived,
    FlushCatalog,
    LeaveOverlay,
    MergeDone,
    PeersKnown,
    ProbeSuspects,
    Publish,
    RefreshEntry,
    StartCatalog,
    StartSync,
    StreamAdvertised,
    SyncEnded,
    SyncWith,
    TakeToldEntries,
    ToldEntries,
    UnwatchCatalog,
    WatchCatalog,
    WithdrawActor,
    WithdrawGroup,
    WithdrawStream,
)
from ..discovery.view import (
    CatalogEvent,
    PeerDeparted,
    PeerDiscovered,
    PeerUpdated,
    SecretKeyShared,
)
from ..ids import PeerId, StreamId
from ..node import Node
from ..runtime import TypeDispatcher
from ..tickets.wire import PROTOCOL as TICKETS_PROTOCOL
from ..tickets.wire import ShownTickets, encode_shown
from ..transport.address import PeerAddr
from ..transport.interface import Link

logger = logging.getLogger(__name__)

_TIMER_SLACK_S = 0.001
_LOOK_INTERVAL_S = 0.5  # between looks at the interfaces, each some 0.4 ms
_PURGES_PER_PERIOD = 300  # who is given up at about the same time is given up together
_FLUSH_GAP_S = 25e-6  # for each peer in the catalog, between two looks of all who watch it
_FLUSH_GAP_MAX_S = 0.05
_RTTS_KEPT_S = 0.25  # in a burst of changes, round-trip times are not read with each


class _CatalogTimer(msgspec.Struct, frozen=True):
    due_at: float


class _ReadRtts(msgspec.Struct, frozen=True):
    pass


class _LookWhere(msgspec.Struct, frozen=True):
    pass


class CatalogActor(TypeDispatcher):
    """Keeps the catalog, and notifies those who watch it."""

    def __init__(self) -> None:
        self._node: Node
        self._catalog: Catalog
        self._publish: Publish
        self._is_read: Callable[[], bool]
        self._gossip: ActorAddress
        self._rtt_interval_s = 0.0
        self._timer_slack_s = _TIMER_SLACK_S
        self._rtts_read_at = float("-inf")
        self._watchers: dict[ActorAddress, None] = {}
        self._flushed_version = 0  # what the handle shows before the first flush
        self._flushed_at = float("-inf")
        self._is_flush_due = False
        self._armed: float | None = None
        self._hidden_streams: dict[StreamId, tuple[StreamInfo, ActorAddress]] = {}

    # Lifecycle.

    def receiveMsg_StartCatalog(self, message: StartCatalog, _sender: ActorAddress) -> None:
        """Take the core, and say what it says."""
        self._node = message.node
        self._catalog = message.catalog
        self._publish = message.publish
        self._is_read = message.is_read
        self._gossip = message.gossip
        self._rtt_interval_s = message.config.rtt_probe_interval
        self._timer_slack_s = _TIMER_SLACK_S + message.config.purge_after / _PURGES_PER_PERIOD
        self._node.endpoint.serve(TICKETS_PROTOCOL, self._show_tickets, is_essential=True)
        self.wakeupAfter(self._rtt_interval_s, _ReadRtts())
        if self._node.endpoint.may_move:
            self.wakeupAfter(_LOOK_INTERVAL_S, _LookWhere())
        self._pump()

    def _show_tickets(self, link: Link) -> None:
        """Answer a peer that admits nobody without a ticket."""
        entry = self._catalog.local.entry
        link.attach(lambda _event: None)
        link.accept(encode_shown(ShownTickets(entry.version, entry.tickets)))

    def receiveMsg_AnnounceDeparture(
        self, _message: AnnounceDeparture, sender: ActorAddress
    ) -> None:
        """Say that this node leaves; the gossip actor answers."""
        self._catalog.local.depart(now=self._now())
        self._pump()
        self.send(self._gossip, LeaveOverlay(sender))

    # Commands.

    def receiveMsg_WatchCatalog(self, message: WatchCatalog, _sender: ActorAddress) -> None:
        """Notify one more actor, now and from now on."""
        self._watchers[message.watcher] = None
        self.send(message.watcher, CatalogChanged(self._catalog.snapshot()))

    def receiveMsg_UnwatchCatalog(self, message: UnwatchCatalog, _sender: ActorAddress) -> None:
        """Notify one actor less."""
        self._watchers.pop(message.watcher, None)

    def receiveMsg_AdvertiseStream(self, message: AdvertiseStream, sender: ActorAddress) -> None:
        """Put a stream into the own entry, now or as soon as there is room."""
        stream = message.stream
        try:
            self._catalog.local.put_stream(stream, now=self._now())
        except EntryTooLarge as error:
            if not self._hidden_streams:
                text = "stream %r is not advertised, nor are further ones: %s"
                logger.error(text, stream.name, error)
            self._hidden_streams[stream.id] = (stream, sender)
            self.send(sender, StreamAdvertised(stream.id, error))
        self._pump()

    def receiveMsg_WithdrawStream(self, message: WithdrawStream, _sender: ActorAddress) -> None:
        """Take a stream out of the own entry."""
        self._hidden_streams.pop(message.stream_id, None)
        self._catalog.local.remove_stream(message.stream_id, now=self._now())
        self._advertise_hidden_streams()
        self._pump()

    def receiveMsg_AdvertiseGroup(self, message: AdvertiseGroup, _sender: ActorAddress) -> None:
        """Put a membership into the own entry."""
        self._advertise(partial(self._catalog.local.put_group, message.group), message.outcome)

    def receiveMsg_WithdrawGroup(self, message: WithdrawGroup, _sender: ActorAddress) -> None:
        """Take a membership out of the own entry."""
        self._catalog.local.remove_group(message.group_id, now=self._now())
        self._advertise_hidden_streams()
        self._pump()

    def receiveMsg_AdvertiseActor(self, message: AdvertiseActor, _sender: ActorAddress) -> None:
        """Put an actor's name into the own entry."""
        self._advertise(partial(self._catalog.local.put_actor, message.actor), message.outcome)

    def receiveMsg_WithdrawActor(self, message: WithdrawActor, _sender: ActorAddress) -> None:
        """Take an actor's name out of the own entry."""
        self._catalog.local.remove_actor(message.actor_id, now=self._now())
        self._advertise_hidden_streams()
        self._pump()

    def receiveMsg_ChangeTags(self, message: ChangeTags, _sender: ActorAddress) -> None:
        """Change the tags in the own entry."""
        try:
            now = self._now()
            self._catalog.local.change_tags(message.add, message.remove, now=now)
        except EntryTooLarge as error:
            logger.error("the tags are not changed: %s", error)
        self._pump()

    def receiveMsg_SyncWith(self, message: SyncWith, sender: ActorAddress) -> None:
        """Sync once, and answer the sender in the end."""
        self.send(self._gossip, StartSync(message, sender))

    def receiveMsg_DialPeer(self, message: DialPeer, sender: ActorAddress) -> None:
        """Sync once, answer the sender in the end, and keep the address."""
        request = SyncWith(message.addr, message.token)
        self.send(self._gossip, StartSync(request, sender, is_lasting=True))

    # From the other actors of discovery, and from the handle.

    def receiveMsg_CatalogTouched(self, _message: CatalogTouched, _sender: ActorAddress) -> None:
        """See what the handle did."""
        self._pump()

    def receiveMsg_RefreshEntry(self, _message: RefreshEntry, _sender: ActorAddress) -> None:
        """Give a sign of life."""
        self._catalog.local.refresh(now=self._now())
        self._pump()

    def receiveMsg_EntriesReceived(self, message: EntriesReceived, sender: ActorAddress) -> None:
        """Judge what a peer sent."""
        now = self._now()
        is_from_afar = not self._node.endpoint.may_be_local(message.source)
        refused = self._catalog.receive_many(
            message.entries, source=message.source, is_from_afar=is_from_afar, now=now
        )
        for verdict in refused:
            self._node.peer_log.warning(
                logger,
                message.source,
                "an entry from peer %s is refused: %s",
                message.source.short,
                verdict,
                now=self._node.clock.monotonic(),
                about=verdict,
            )
        self.send(sender, EntriesJudged(sum(map(len, message.entries))))
        self._pump(message.source)

    def receiveMsg_TakeToldEntries(self, _message: TakeToldEntries, sender: ActorAddress) -> None:
        """Hand out what a sync compares."""
        self._now()  # after a jump of the clock the own entry may be dated anew
        self._pump()
        self.send(sender, ToldEntries(self._catalog.told_entries()))

    def receiveMsg_AwaitMerge(self, _message: AwaitMerge, sender: ActorAddress) -> None:
        """Let the watchers know first, then the asker."""
        self._flush()
        self.send(sender, MergeDone())

    def receiveMsg_SyncEnded(self, message: SyncEnded, _sender: ActorAddress) -> None:
        """Let the watchers know first, then the asker."""
        self._flush()
        self.send(message.asker, message.outcome)

    def receiveMsg_FlushCatalog(self, _message: FlushCatalog, _sender: ActorAddress) -> None:
        """Hand the watchers what piled up."""
        self._is_flush_due = False
        self._flush()

    # Timers.

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: ActorAddress) -> None:
        """Let time do its work on the catalog; read the round-trip times again."""
        match message.payload:
            case FlushCatalog():
                self._is_flush_due = False
                self._flush()
            case _CatalogTimer(due_at) if due_at == self._armed:
                self._armed = None
                self._catalog.handle_timer(now=self._now())
            case _ReadRtts():
                self.wakeupAfter(self._rtt_interval_s, _ReadRtts())
                self._read_rtts()
            case _LookWhere():
                self.wakeupAfter(_LOOK_INTERVAL_S, _LookWhere())
                if self._node.endpoint.look_where(self._catalog_addr):
                    addr = self._node.endpoint.addr
                    logger.info("this node is at other addresses: %s", addr)
                    self._catalog.local.change_addr(addr, now=self._now())
        self._pump()

    # Helpers.

    def _catalog_addr(self, peer_id: PeerId) -> PeerAddr | None:
        """Return where a peer says that it is."""
        peer = self._catalog.snapshot().get(peer_id)
        return None if peer is None else peer.addr

    def _advertise(self, put: Callable[..., object], outcome: Any) -> None:
        error = None
        try:
            put(now=self._now())
        except EntryTooLarge as exc:
            error = exc
        if not outcome.done():
            outcome.set_result(error)
        self._pump()

    def _advertise_hidden_streams(self) -> None:
        """Put the streams into the own entry that now have room there, the oldest first."""
        for stream_id, (stream, producer) in list(self._hidden_streams.items()):
            try:
                self._catalog.local.put_stream(stream, now=self._now())
            except EntryTooLarge:
                return
            del self._hidden_streams[stream_id]
            self.send(producer, StreamAdvertised(stream_id, None))

    def _pump(self, source: PeerId | None = None) -> None:
        self._now()
        probes, dials = (
            self._catalog.reachability.take_probes(),
            self._catalog.reachability.take_dials(),
        )
        if probes or dials:
            self.send(self._gossip, ProbeSuspects(tuple(probes), tuple(dials)))
        replaced, fresh = self._catalog.take_replaced(), self._catalog.take_fresh()
        if fresh:
            self.send(self._gossip, EntriesMerged(tuple(fresh), source, replaced))
        if self._catalog.version != self._flushed_version and not self._is_flush_due:
            self._is_flush_due = True
            self._plan_flush()
        self._arm()

    def _plan_flush(self) -> None:
        """Flush next, or a moment after the last time where all have much to look at."""
        gap_s = min(len(self._catalog.store) * _FLUSH_GAP_S, _FLUSH_GAP_MAX_S)
        wait_s = self._flushed_at + gap_s - self._node.clock.monotonic()
        if wait_s > _TIMER_SLACK_S:
            self.wakeupAfter(wait_s, FlushCatalog())
        else:
            self.send(self.myAddress, FlushCatalog())

    def _flush(self) -> None:
        if self._node.clock.monotonic() >= self._rtts_read_at + _RTTS_KEPT_S:
            self._read_rtts()
        if self._catalog.version == self._flushed_version:
            return
        self._flushed_version = self._catalog.version
        self._flushed_at = self._node.clock.monotonic()
        snapshot = self._catalog.snapshot()
        is_logged = logger.isEnabledFor(logging.INFO)
        if not is_logged and not self._is_read():
            self._catalog.skip_arrivals()
        found: list[CatalogEvent] = []
        while (event := self._catalog.next_event()) is not None:
            found.append(event)
        events = tuple(found)
        self._log_events(events, is_logged)
        self._follow_moves(events)
        self._publish(snapshot, events)
        changed = CatalogChanged(snapshot)
        for watcher in self._watchers:
            self.send(watcher, changed)
        self.send(self._gossip, PeersKnown(snapshot, self._catalog.store.hidden()))

    def _read_rtts(self) -> None:
        endpoint = self._node.endpoint
        self._rtts_read_at = self._node.clock.monotonic()
        self._node.peer_log.flush(now=self._rtts_read_at)
        for peer_id in endpoint.connected_peers():
            rtt_s = endpoint.rtt(peer_id)
            if rtt_s is not None:
                self._catalog.receive_rtt(peer_id, rtt_s)

    def _arm(self) -> None:
        due_at = self._catalog.get_timer()
        if due_at is not None and (self._armed is None or due_at < self._armed):
            self._armed = due_at
            is_urgent = due_at == self._catalog.get_urgent_timer()
            slack_s = _TIMER_SLACK_S if is_urgent else self._timer_slack_s
            wait_s = max(0.0, due_at - self._now()) + slack_s
            self.wakeupAfter(wait_s, _CatalogTimer(due_at))

    def _log_events(self, events: tuple[CatalogEvent, ...], is_logged: bool) -> None:
        if any(isinstance(event, SecretKeyShared) for event in events):
            self._log_shared_key()
        if not is_logged:
            return
        log, now = self._node.peer_log, self._node.clock.monotonic()
        for event in events:
            match event:
                case PeerDiscovered(peer):
                    text = "peer %s is here, at %s"
                    log.info(logger, peer.peer_id, text, peer.peer_id.short, peer.addr, now=now)
                case PeerUpdated(peer, before) if peer.is_reachable != before.is_reachable:
                    state = "answers again" if peer.is_reachable else "does not answer"
                    log.info(logger, peer.peer_id, "peer %s %s", peer.peer_id.short, state, now=now)
                case PeerDeparted(peer, reason):
                    text = "peer %s is gone: %s"
                    log.info(logger, peer.peer_id, text, peer.peer_id.short, reason, now=now)

    def _follow_moves(self, events: tuple[CatalogEvent, ...]) -> None:
        for event in events:
            match event:
                case PeerUpdated(peer, before) if before.addr.direct != peer.addr.direct:
                    self._node.endpoint.receive_peer_move(before.addr, peer.addr)

    def _log_shared_key(self) -> None:
        self._node.peer_log.error(
            logger,
            None,
            "another node uses the same secret key as this one (peer %s): others take the two "
            "for one, and lose what either offers; give each node a key of its own",
            self._node.peer_id.short,
            now=self._node.clock.monotonic(),
        )

    def _now(self) -> float:
        clock = self._node.clock
        return self._catalog.read_clock(clock.wall(), clock.monotonic())
