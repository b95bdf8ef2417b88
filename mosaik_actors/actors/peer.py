"""The peer actor: one discovery link to one peer, from its dial to its end.

Receives: `DialLink` or `AdoptLink` first; `BeginSync`, `EndLink` from the gossip
    actor; `ToldEntries`, `MergeDone` from the catalog actor; `EntriesJudged` from
    both; the link's events.
Sends: `LinkUp`, `FramesHeard`, `ProbeAnswered` and, as its last word, `LinkDown` to the gossip
    actor; `EntriesReceived` and `SyncEnded` to the catalog actor.
Owns: one `Reconciler` while a sync runs, and the link. The gossip actor writes
    its own frames to the link of a neighbour directly.
Failure: a peer that breaks a rule, does not finish a sync in time, or sends
    faster than its entries are checked, loses the link with the reason. The
    actor exits with its link.

The opener begins the sync. A neighbour link stays open after it, and carries
the frames of the overlay and the broadcast both ways; they may overtake a sync
that is under way. A peer that has no room for a neighbour makes this node its
guest: the link then ends with the sync. A link for a probe carries one ping and
its pong, and nothing else.
"""

from __future__ import annotations

import logging

import msgspec
from thespian.actors import ActorAddress, ActorExitRequest, WakeupMessage

from ..discovery.config import DiscoveryConfig
from ..discovery.errors import DifferentNetwork, PeerRefused, SyncError
from ..discovery.messages import (
    AdoptLink,
    AwaitMerge,
    BeginSync,
    DialLink,
    EndLink,
    EntriesJudged,
    EntriesReceived,
    FramesHeard,
    LinkDown,
    LinkUp,
    MergeDone,
    ProbeAnswered,
    StartSync,
    SyncEnded,
    SyncFailed,
    SyncFinished,
    TakeToldEntries,
    ToldEntries,
)
from ..discovery.reconcile import Reconciler, SyncStep
from ..discovery.wire import (
    GUEST,
    PROTOCOL,
    Announce,
    Frame,
    GossipFrame,
    LinkPurpose,
    Ping,
    Pong,
    SyncFrame,
    SyncRoot,
    decode_frame,
    encode_frame,
    encode_purpose,
)
from ..errors import RemoteError
from ..node import Node
from ..runtime import TypeDispatcher
from ..transport.address import PeerAddr
from ..transport.close import CANCELLED, SUCCESS, CloseCode, CloseReason, gate_of
from ..transport.interface import FramesReceived, Link, LinkClosed, LinkDrained
from ..transport.messages import LinkFailed, LinkOpened, OpenLink

logger = logging.getLogger(__name__)

# Checking a signature takes a tenth of a millisecond: others get their turn in between.
_ENTRIES_PER_MESSAGE = 32
_RECEIPT_BYTES = 32 * 1024  # a receipt is asked for when so much was passed on without one
_PROBE_NUMBER = 0  # the link is for one ping only
_DRAIN_CHECK_S = 0.005
_SLOW_SYNC = 4  # a sync that goes on all the time may take so many times its timeout


class _SyncDeadline(msgspec.Struct, frozen=True):
    number: int


class _DrainCheck(msgspec.Struct, frozen=True):
    until: float


class PeerActor(TypeDispatcher):
    """One discovery link."""

    def __init__(self) -> None:
        self._node: Node
        self._config: DiscoveryConfig
        self._catalog: ActorAddress
        self._gossip: ActorAddress
        self._addr: PeerAddr
        self._purpose: LinkPurpose
        self._requests: tuple[StartSync, ...] = ()
        self._link: Link | None = None
        self._sync: Reconciler | None = None
        self._sync_number = 0
        self._progress_at = 0.0
        self._sync_ends_at = 0.0
        self._is_opener = False
        self._is_answered = False
        self._pinged_at = 0.0
        self._waiting_root: SyncRoot | None = None
        self._last_frames: list[SyncFrame] = []
        self._unjudged_bytes = 0
        self._unasked_bytes = 0
        self._closing_with: CloseReason | None = None
        self._is_over = False

    # Lifecycle.

    def receiveMsg_DialLink(self, message: DialLink, sender: ActorAddress) -> None:
        """Open the link."""
        self._begin(message, sender)
        self._addr = message.addr
        self._requests = message.requests
        self._is_opener = True
        header = encode_purpose(message.purpose)
        timeout_s = message.config.dial_timeout
        request = OpenLink(message.addr, PROTOCOL, header, timeout_s=timeout_s, is_essential=True)
        self.send(message.node.transport, request)

    def receiveMsg_AdoptLink(self, message: AdoptLink, sender: ActorAddress) -> None:
        """Take over a link that the peer opened."""
        self._begin(message, sender)
        self._link = message.link
        self._addr = PeerAddr(message.link.peer_id)
        if message.purpose.purpose in ("sync", "probe"):
            self._arm_sync_deadline()

    def receiveMsg_LinkOpened(self, message: LinkOpened, _sender: ActorAddress) -> None:
        """Begin a lone sync at once; a neighbour's begins when the overlay agrees."""
        if self._is_over:
            message.link.close(CANCELLED)
            return
        self._link = message.link
        if message.link.reply == GUEST:
            self._purpose = LinkPurpose("sync")
        if self._purpose.purpose == "sync":
            self.send(self._catalog, TakeToldEntries())
        elif self._purpose.purpose == "probe":
            self._begin_probe(message.link)
        else:
            self.send(self._gossip, LinkUp(self._addr.peer_id, message.link))

    def receiveMsg_LinkFailed(self, message: LinkFailed, _sender: ActorAddress) -> None:
        """Report it, and exit."""
        self._end(message.error.reason, was_open=False)

    def receiveMsg_LinkClosed(self, message: LinkClosed, _sender: ActorAddress) -> None:
        """Report it, and exit."""
        self._end(message.reason, was_open=True)

    # Commands.

    def receiveMsg_BeginSync(self, _message: BeginSync, _sender: ActorAddress) -> None:
        """Ask for what to sync."""
        self.send(self._catalog, TakeToldEntries())

    def receiveMsg_EndLink(self, message: EndLink, _sender: ActorAddress) -> None:
        """Close the link, at the latest after the time to drain."""
        self._closing_with = message.reason
        if self._link is None:
            # Only a node that leaves ends a dial; its transport cancels it.
            self._end(message.reason, was_open=False)
        else:
            self._drain(self._node.clock.monotonic() + message.drain_s)

    # What the catalog answers.

    def receiveMsg_ToldEntries(self, message: ToldEntries, _sender: ActorAddress) -> None:
        """Begin a sync with them, or answer one."""
        if self._link is None or self._is_over:
            return
        self._sync = Reconciler(message.entries, peers_max=self._config.peers_max)
        self._arm_sync_deadline()
        if self._is_opener:
            self._follow(self._sync, self._sync.open())
        elif self._waiting_root is not None:
            root, self._waiting_root = self._waiting_root, None
            self._take(root)

    def receiveMsg_EntriesJudged(self, message: EntriesJudged, _sender: ActorAddress) -> None:
        """Make room for more."""
        self._unjudged_bytes -= message.byte_count

    def receiveMsg_MergeDone(self, _message: MergeDone, _sender: ActorAddress) -> None:
        """Confirm the sync to the opener."""
        frames, self._last_frames = self._last_frames, []
        if self._link is not None:
            self._link.write_many(encode_frame(frame) for frame in frames)

    # What the peer sends.

    def receiveMsg_FramesReceived(self, message: FramesReceived, _sender: ActorAddress) -> None:
        """Go on with the sync; pass everything else on to the gossip actor, in one message."""
        heard: list[GossipFrame] = []
        try:
            for data in message.frames:
                if self._is_over:
                    return
                frame = decode_frame(data)
                if self._purpose.purpose == "probe":
                    self._receive_probe_frame(frame)
                elif isinstance(frame, SyncFrame):
                    self._receive_sync_frame(frame)
                elif self._purpose.purpose == "sync":
                    raise RemoteError(f"{type(frame).__name__} on a link for a sync")
                elif isinstance(frame, Announce) and self._is_long(frame):
                    self._pass_on_parts(frame, heard)
                else:
                    heard.append(frame)
        except RemoteError as error:
            peer_id, now = self._addr.peer_id, self._node.clock.monotonic()
            self._node.peer_log.warning(
                logger, peer_id, "peer %s: %s", peer_id.short, error, now=now
            )
            self._close(CloseReason(error.close_code, str(error)[:200]))
        if heard:
            self.send(self._gossip, FramesHeard(self._addr.peer_id, tuple(heard)))

    def receiveMsg_LinkDrained(self, message: LinkDrained, _sender: ActorAddress) -> None:
        """Nothing waits for it: what is written is small, or limited."""

    # Timers.

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: ActorAddress) -> None:
        """Give up on a sync that does not go on; look whether the link has drained."""
        match message.payload:
            case _SyncDeadline(number) if number == self._sync_number:
                due_at = min(self._progress_at + self._config.sync_timeout, self._sync_ends_at)
                wait_s = due_at - self._node.clock.monotonic()
                if wait_s > 0:
                    self.wakeupAfter(wait_s, message.payload)
                    return
                what = "probe" if self._purpose.purpose == "probe" else "sync"
                self._close(CloseReason(CloseCode.CANCELLED, f"the {what} took too long"))
            case _DrainCheck(until):
                self._drain(until)

    # Helpers.

    def _begin(self, message: DialLink | AdoptLink, sender: ActorAddress) -> None:
        self._node = message.node
        self._config = message.config
        self._catalog = message.catalog
        self._purpose = message.purpose
        self._gossip = sender

    def _begin_probe(self, link: Link) -> None:
        self._arm_sync_deadline()
        self._pinged_at = self._node.clock.monotonic()
        link.write_many((encode_frame(Ping(_PROBE_NUMBER)),))

    def _receive_probe_frame(self, frame: Frame) -> None:
        assert self._link is not None
        if isinstance(frame, Ping) and not self._is_opener and not self._is_answered:
            self._is_answered = True
            self._link.write_many((encode_frame(Pong(frame.number)),))
        elif isinstance(frame, Pong) and self._is_opener:
            rtt_s = self._node.clock.monotonic() - self._pinged_at
            self.send(self._gossip, ProbeAnswered(self._addr.peer_id, rtt_s))
            self._close(SUCCESS)
        else:
            raise RemoteError(f"{type(frame).__name__} on a link for a probe")

    def _receive_sync_frame(self, frame: SyncFrame) -> None:
        if isinstance(frame, SyncRoot) and not self._is_opener and self._is_idle():
            self._waiting_root = frame
            self.send(self._catalog, TakeToldEntries())
        else:
            self._take(frame)

    def _is_idle(self) -> bool:
        return self._waiting_root is None and (self._sync is None or self._sync.is_done)

    def _take(self, frame: SyncFrame) -> None:
        if self._sync is None:
            raise RemoteError(f"a sync frame {type(frame).__name__} without a sync")
        self._progress_at = self._node.clock.monotonic()
        self._follow(self._sync, self._sync.receive_frame(frame))

    def _follow(self, sync: Reconciler, step: SyncStep) -> None:
        assert self._link is not None
        self._pass_on(step.entries)
        if sync.is_done and (self._is_opener or self._purpose.purpose != "sync"):
            self._sync_number += 1  # the deadline is void; a lone sync's link must end too
        if sync.is_done and not self._is_opener:
            self._last_frames = step.frames
            self.send(self._catalog, AwaitMerge())
            return
        self._link.write_many(encode_frame(frame) for frame in step.frames)
        if sync.is_done and self._purpose.purpose == "sync":
            self._close(SUCCESS)

    def _pass_on(self, entries: tuple[bytes, ...]) -> None:
        """Give the catalog what a sync brought."""
        for first in range(0, len(entries), _ENTRIES_PER_MESSAGE):
            chunk = entries[first : first + _ENTRIES_PER_MESSAGE]
            self._unjudged_bytes += sum(map(len, chunk))
            self.send(self._catalog, EntriesReceived(chunk, self._addr.peer_id))
        self._check_unjudged()

    def _is_long(self, frame: Announce) -> bool:
        """Whether an announcement, or what came since the last receipt, needs one."""
        byte_count = sum(map(len, frame.entries))
        self._unjudged_bytes += byte_count
        self._unasked_bytes += byte_count
        return len(frame.entries) > _ENTRIES_PER_MESSAGE or self._unasked_bytes > _RECEIPT_BYTES

    def _pass_on_parts(self, frame: Announce, heard: list[GossipFrame]) -> None:
        """Give the gossip actor a long announcement in parts, after what came before it."""
        for first in range(0, len(frame.entries), _ENTRIES_PER_MESSAGE):
            last = first + _ENTRIES_PER_MESSAGE
            heard.append(Announce(frame.entries[first:last], frame.rounds[first:last]))
            receipt_bytes = self._unasked_bytes if last >= len(frame.entries) else 0
            passed = FramesHeard(self._addr.peer_id, tuple(heard), receipt_bytes)
            self.send(self._gossip, passed)
            heard.clear()
        self._unasked_bytes = 0
        self._check_unjudged()

    def _check_unjudged(self) -> None:
        if self._unjudged_bytes > self._config.unjudged_bytes_max:
            self._close(CloseReason(CloseCode.CANCELLED, "entries come faster than checks"))

    def _arm_sync_deadline(self) -> None:
        self._sync_number += 1
        payload, timeout_s = _SyncDeadline(self._sync_number), self._config.sync_timeout
        self._progress_at = self._node.clock.monotonic()
        self._sync_ends_at = self._progress_at + _SLOW_SYNC * timeout_s
        self.wakeupAfter(timeout_s, payload)

    def _drain(self, until: float) -> None:
        assert self._link is not None
        if self._link.unsent_bytes and self._node.clock.monotonic() < until:
            self.wakeupAfter(_DRAIN_CHECK_S, _DrainCheck(until))
        elif self._closing_with is not None:
            self._close(self._closing_with)

    def _close(self, reason: CloseReason) -> None:
        if self._link is not None and not self._is_over:
            self._link.close(reason)
            self._end(reason, was_open=True)

    def _end(self, reason: CloseReason, *, was_open: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        for request in self._requests:
            outcome = self._find_outcome(request, reason)
            self.send(self._catalog, SyncEnded(request.asker, outcome))
        self.send(self._gossip, LinkDown(self._addr.peer_id, reason, was_open))
        self.send(self.myAddress, ActorExitRequest())

    def _find_outcome(self, request: StartSync, reason: CloseReason) -> SyncFinished | SyncFailed:
        token = request.request.token
        if self._sync is not None and self._sync.is_done:
            counts = self._sync.received_count, self._sync.sent_count
            return SyncFinished(self._addr.peer_id, *counts, token)
        if reason.code == CloseCode.DIFFERENT_NETWORK:
            return SyncFailed(DifferentNetwork(self._addr, reason), token)
        if reason.remote and gate_of(reason.code):
            return SyncFailed(PeerRefused(self._addr, reason), token)
        return SyncFailed(SyncError(self._addr, reason), token)
