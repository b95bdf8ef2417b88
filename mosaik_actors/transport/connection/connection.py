"""One connection to one peer: the links on it, and what leaves with a loop turn.

What carries its bytes is a subclass's: `quic.connection.QuicConnection`, or
`byte_streams.connection.StreamConnection`. The connection drives its engine. Bytes that
links write in one loop turn are joined and given to the engine once; frames that arrive in one turn
reach each link's sink once. The endpoint owns the sockets and calls `receive_datagram`,
`process` and `flush`; it learns what happened through `ConnectionOwner`.

What a link holds is freed when it ends, in whichever way that is: closed here,
by the peer, refused, reset, or with its connection. Of a link that ended only
the number of its stream is kept, until the peer has ended the stream as well. A
peer that takes nothing of what was written before the end has `LINGER_S` for it.

Before it is ready both sides prove that they belong to the same network (`admission`),
on the dialler's first stream. The acceptor takes in nothing else meanwhile. It is ready
before the dialler knows, and what it sends may be quicker than its proof: so the dialler
keeps that for after, which flow control keeps small (`engine_face.UNPROVEN_BYTES_MAX`).

Open frames that are not complete are held too: `UNOPENED_BYTES_MAX` of them, then flow
control makes the peer complete some first.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum

from ...errors import DecodeError, RemoteError
from ...ids import PeerId
from ..address import SocketAddr
from ..admission import Admission
from ..close import CloseCode, CloseReason
from ..config import TransportConfig
from ..engine_events import (
    CidIssued,
    CidRetired,
    ConnectionEnded,
    HandshakeDone,
    StreamAborted,
    StreamData,
)
from ..engine_face import ConnectionEngine
from ..frames import ControlFrame, OpenFrame
from ..interface import Link, LinkRefused
from ..late import Deadline
from ..link import LinkState, call_each
from ..proven_peer import ProvenPeer
from .ended import EndedStreams
from .owner import ConnectionOwner
from .proving import PROOF_STREAM, Proving
from .stream_link import StreamLink
from .unopened import UnopenedStreams

logger = logging.getLogger(__name__)

UNOPENED_BYTES_MAX = 4 * 1024 * 1024
DEAD_PROBES = 3  # unanswered in a row, each after twice the time: about 0.2 s on one machine


_NO_REASON = CloseReason(CloseCode.UNEXPECTED_CLOSE, "no reason given", remote=True)


class ConnectionState(Enum):
    """Where a connection stands."""

    HANDSHAKE = "handshake"
    PROVING = "proving"
    READY = "ready"
    CLOSED = "closed"


class Connection(ABC):
    """One connection and its links."""

    carrier: str  # what it was made over, such as ``quic``; `carried_by` is what it is now
    is_timer_early = False  # whether its timer only ever becomes due later, so that one suffices

    def __init__(
        self,
        owner: ConnectionOwner[Connection],
        engine: ConnectionEngine,  # the connection without its sockets
        config: TransportConfig,
        *,
        is_initiator: bool,  # whether this side dialled
    ) -> None:
        self.owner = owner
        self.engine = engine
        self.config = config
        self.is_initiator = is_initiator
        self.state = ConnectionState.HANDSHAKE
        self.peer: ProvenPeer | None = None
        self.cids: dict[bytes, None] = {}  # the connection ids of datagrams for it
        self.expected_id: PeerId | None = None  # who must be there, when this side dialled
        self.is_retiring = False  # another one is used instead: it ends with its last link
        self.is_doubted = False  # the peer has hinted that it lost this connection
        self.direct_at = 0.0  # when a way past the relay may be looked for again
        self.begun_at = 0.0  # when it was dialled, or first heard of
        self.proven_by = Deadline(config.dial_timeout, now=0.0)  # set when it is identified
        self.ready_at = self.linkless_since = 0.0
        self.last_sent_at = self.last_heard_at = 0.0
        self.handshake_done: asyncio.Future[Connection] | None = None  # for the dialler
        self._proving: Proving | None = None
        self._links: dict[int, StreamLink] = {}
        self._accepted: dict[int, None] = {}  # those of the links that are
        self._unopened = UnopenedStreams()
        self._half_received_bytes = 0
        self._peer_link_count = self._own_link_count = 0
        self._draining = EndedStreams()
        self._congested: dict[int, StreamLink] = {}
        self._dirty: dict[StreamLink, None] = {}
        self._before_flush: list[Callable[[], None]] = []
        self._is_collecting = False  # for a flush that is under way
        self._touched: dict[StreamLink, None] = {}

    @property
    def peer_id(self) -> PeerId:
        """Who is at the other end, once the handshake is done."""
        assert self.peer is not None, "a connection has no peer before its handshake is done"
        return self.peer.peer_id

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes or goes."""
        return self.state is ConnectionState.CLOSED

    @property
    def remote(self) -> SocketAddr | None:
        """Where the peer is; None where that is no address."""
        return self.engine.remote

    @property
    def carried_by(self) -> str:
        """What carries its bytes now, of `CARRIERS`: past its relay it is ``quic``."""
        remote = self.remote
        if self.carrier == "relay" and remote is not None and self.owner.is_past_relay(remote):
            return "quic"
        return self.carrier

    @property
    def reachable_at(self) -> SocketAddr | None:
        """Where the peer can be dialled; None where that is no address."""
        return self.remote

    @property
    def peer_link_count(self) -> int:
        """Links that the peer has opened and that are not closed."""
        return self._peer_link_count

    @property
    def own_link_count(self) -> int:
        """Links that were opened here and that are not closed, or whose streams wait for room."""
        return max(self._own_link_count, self.engine.blocked_stream_count)

    @property
    def links(self) -> list[StreamLink]:
        """The links that are not closed."""
        return list(self._links.values())

    @property
    def has_unsent(self) -> bool:
        """Whether anything that a link wrote is not acknowledged yet, by a peer that answers."""
        if self.engine.probe_count >= DEAD_PROBES:
            return False
        ids = [*self._links, *self._draining]
        return bool(self._dirty) or any(self.engine.unacked_bytes(stream) for stream in ids)

    def open_link(self, opening: OpenFrame, opened: asyncio.Future[Link]) -> StreamLink:
        """Open a link to the peer; `opened` is resolved with the peer's answer."""
        assert self.state is ConnectionState.READY, f"cannot open a link while {self.state.value}"
        stream_id = self.engine.open_stream()
        link = StreamLink(
            self, stream_id, opening.protocol, opening.header, LinkState.OPENING, self.peer_id
        )
        link.opened = opened
        self._add(link)
        link.send_open(opening)
        return link

    def process(self) -> None:
        """React to all that the engine has seen; what goes wrong in that is its own end only."""
        try:
            while self.state is not ConnectionState.CLOSED and (events := self.engine.events):
                match event := events.popleft():
                    case StreamData() if self.state is ConnectionState.READY:
                        self._receive_stream_data(event)
                    case StreamAborted() if self.state is ConnectionState.READY:
                        self._receive_abort(event)
                    case StreamData() | StreamAborted():
                        self._receive_unproven(event)
                    case HandshakeDone(peer, binding):
                        self._begin_proof(peer, binding)
                    case CidIssued(cid):
                        self.cids[cid] = None
                        self.owner.on_cid(self, cid, True)
                    case CidRetired(cid):
                        self.cids.pop(cid, None)
                        self.owner.on_cid(self, cid, False)
                    case ConnectionEnded(reason):
                        self.end(reason)
            if self._touched:
                touched, self._touched = self._touched, {}
                for link in touched:
                    link.flush_inbox()
            if self._congested:
                self._release_drained()
        except Exception:
            close_failed(self)

    def flush(self, *, now: float) -> None:
        """Send what may leave now."""
        if self._before_flush:
            calls, self._before_flush = self._before_flush, []
            self._is_collecting = True
            call_each(calls)
            self._is_collecting = False
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
            for link in dirty:
                link.flush(self.engine)
                if self.engine.unacked_bytes(link.stream_id) > self.config.high_water_bytes:
                    self._congested[link.stream_id] = link
        if self._transmit(now=now):
            self.last_sent_at = now
            if self._congested:  # and the kernel took it: nothing else may come that says so
                self._release_drained()

    def keep_alive(self, *, now: float) -> bool:
        """Ping the peer if links need the connection and it was silent; return whether it did."""
        silent_since = max(self.last_heard_at, self.last_sent_at)
        if self._links and now - silent_since >= self.config.keep_alive_interval:
            self.engine.ping(now=now)
            return True
        return False

    def close(self, reason: CloseReason) -> None:
        """End the connection now; what links have not sent is lost."""
        if self.state is not ConnectionState.CLOSED:
            self.engine.close(reason)
            self.owner.mark_dirty(self)
            self.end(reason)

    def end(self, reason: CloseReason) -> None:
        """Note that the connection is over, and end its links."""
        if self.state is ConnectionState.CLOSED:
            return
        self.state = ConnectionState.CLOSED
        for link in self.links:
            link.end_by_peer(reason)
        for held in (self._unopened, self._draining, self._congested, self._dirty, self._touched):
            held.clear()
        self._proving = None
        self.engine.release()
        if self.handshake_done is not None and not self.handshake_done.done():
            self.handshake_done.set_exception(LinkRefused(reason))
        self.owner.on_ended(self, reason)

    def mark_dirty(self, link: StreamLink) -> None:
        """Flush `link` with this loop turn."""
        self._dirty[link] = None
        if not self._is_collecting:
            self.owner.mark_dirty(self)

    def call_before_flush(self, call: Callable[[], None]) -> None:
        """Call this once, at the begin of the flush of this loop turn."""
        self._before_flush.append(call)
        self.owner.mark_dirty(self)

    def send_now(self, stream_id: int, data: bytes) -> bool:
        """Send bytes of a stream now, and return True; here all leave with the turn: False."""
        return False

    def after_read(self, call: Callable[[], None]) -> bool:
        """Call this when all that was read is taken in; here that is not known: return False."""
        return False

    def note_accepted(self, link: StreamLink) -> None:
        """Note that a link is in use from now on."""
        self._accepted[link.stream_id] = None
        if len(self._accepted) == 1:
            self.owner.on_used(self)

    def note_violation(self, error: RemoteError) -> None:
        """Note that the peer broke a rule."""
        self.owner.on_violation(self, error)

    def forget(self, link: StreamLink) -> None:
        """Note that a link ended; what it wrote may still be on its way."""
        stream_id = link.stream_id
        if stream_id in self._accepted:
            del self._accepted[stream_id]
            if not self._accepted:
                self.owner.on_unused(self)
        if self._links.pop(stream_id, None) is not None:
            self._draining[stream_id] = (self.last_heard_at, link.unsent_bytes)
            self.linkless_since = self.last_heard_at
            self._count(stream_id, -1)
        self._congested.pop(stream_id, None)

    def note_half_received(self, change: int) -> None:
        """Note that links hold so many bytes more of frames that are not complete."""
        self._half_received_bytes += change
        if change <= 0 or self._half_received_bytes <= self.config.half_received_bytes_max:
            return
        link = max(self._links.values(), key=lambda one: one.decoder.held_bytes)
        text = f"frames that are not complete hold {self._half_received_bytes} bytes"
        reason = CloseReason(CloseCode.TOO_MANY_BYTES, text)
        link.disconnect(reason)
        self.owner.on_overflow(self, reason)

    def drop_lingering(self, *, now: float) -> None:
        """Give up what links wrote before they ended, where the peer takes none of it."""
        if self._draining.drop_stalled(self.engine, now=now):
            self.owner.mark_dirty(self)

    def _add(self, link: StreamLink) -> None:
        self._links[link.stream_id] = link
        self._count(link.stream_id, 1)

    def _is_ours(self, stream_id: int) -> bool:
        """Return whether a stream was opened here (RFC 9000 section 2.1)."""
        return bool(stream_id & 1) != self.is_initiator

    def _count(self, stream_id: int, change: int) -> None:
        if self._is_ours(stream_id):
            self._own_link_count += change
        else:
            self._peer_link_count += change
            self.engine.set_link_count(self._peer_link_count)

    def _receive_abort(self, event: StreamAborted) -> None:
        """End the link of a stream that the peer gave up, or the stream that never became one."""
        stream_id = event.stream_id
        link = self._links.get(stream_id)
        if link is not None:
            link.end_by_peer(CloseReason(event.code, "reset", remote=True))
        elif not self._is_ours(stream_id) and not stream_id & 2:
            self._unopened.drop(stream_id)
            self._note_held()
            if self.engine.may_receive(stream_id):
                self._draining[stream_id] = (self.last_heard_at, 0)
            self.engine.write(stream_id, b"", is_end=True)
            self.owner.mark_dirty(self)
        if event.is_reset:
            self._draining.pop(stream_id, None)  # no more will come

    def _note_held(self) -> None:
        self.engine.set_held_bytes(max(0, self._unopened.held_bytes - UNOPENED_BYTES_MAX))

    def _begin_proof(self, peer: ProvenPeer, binding: bytes) -> None:
        """Prove, as the dialler, that this side is of the network; or wait for that."""
        self.peer = peer
        self.proven_by.began_at = self.last_heard_at
        self.state = ConnectionState.PROVING
        self.owner.on_identified(self)
        if self.is_over:
            return
        admission = Admission(
            self.owner.keys,
            binding=binding,
            here=self.owner.peer_id,
            there=peer.peer_id,
            is_dialler=self.is_initiator,
        )
        self._proving = Proving(admission, is_initiator=self.is_initiator)
        if self.is_initiator:
            stream_id = self.engine.open_stream()
            assert stream_id == PROOF_STREAM, "no stream is opened before the proof"
            self.engine.write(stream_id, admission.begin(), is_end=True)

    def _receive_unproven(self, event: StreamData | StreamAborted) -> None:
        """Take in the peer's proof."""
        if self._proving is None:
            return  # nobody knows yet whose bytes these are
        try:
            answer = self._proving.receive(event)
        except RemoteError as error:
            self.owner.on_refused(self, error)
            self.close(CloseReason(error.close_code, error.text))
            return
        if answer is None:
            return
        if reason := self.owner.objection(self):
            self.close(reason)
            return
        if answer:
            self.engine.write(PROOF_STREAM, answer, is_end=True)
        early, self._proving = self._proving.early, None
        self._become_ready(early)

    def _become_ready(self, early: list[StreamData | StreamAborted]) -> None:
        self.state = ConnectionState.READY
        self.engine.set_held_bytes(0)
        self.owner.on_ready(self)
        for event in early:
            if self.state is not ConnectionState.READY:
                return
            if isinstance(event, StreamData):
                self._receive_stream_data(event)
            else:
                self._receive_abort(event)

    def _receive_stream_data(self, event: StreamData) -> None:
        stream_id = event.stream_id
        link: StreamLink | None
        try:
            if stream_id in self._links:
                link = self._links[stream_id]
                decoder = link.decoder
                held_bytes = decoder.held_bytes
                try:
                    frames = decoder.receive_data(event.data)
                finally:
                    if change := decoder.held_bytes - held_bytes:
                        self.note_half_received(change)
            else:
                link, frames = self._receive_first_data(event)
            if link is not None:
                if frames:
                    link.receive_frames(frames)
                    self._touched[link] = None
                if event.is_end and link.is_open:
                    if link.decoder.is_inside_frame:
                        raise DecodeError("the stream ended inside a frame")
                    link.end_by_peer(_NO_REASON)
        except RemoteError as error:
            if (link := self._links.get(stream_id)) is not None:
                link.violate(error)
            self.owner.on_violation(self, error)
        if event.is_end:
            self._draining.pop(stream_id, None)

    def _receive_first_data(
        self, event: StreamData
    ) -> tuple[StreamLink | None, list[bytes | ControlFrame]]:
        """Return the link that the head of a stream opens, and the frames behind its head."""
        stream_id = event.stream_id
        if stream_id in self._draining or self._is_ours(stream_id) or stream_id & 2:
            return None, []  # it ended here already, or is one-way, which nothing uses
        held_bytes = self._unopened.held_bytes
        try:
            found = self._unopened.receive(event)
        except RemoteError:
            # To be closed with the reason.
            self._add(StreamLink(self, stream_id, "", b"", LinkState.OFFERED, self.peer_id))
            raise
        finally:
            if self._unopened.held_bytes != held_bytes:
                self._note_held()
        if found is None:
            return None, []
        decoder, opening, frames = found
        link = StreamLink(
            self, stream_id, opening.protocol, opening.header, LinkState.OFFERED, self.peer_id
        )
        link.decoder = decoder
        self.note_half_received(decoder.held_bytes)
        self._add(link)
        self.owner.on_link(link, opening)
        return link, frames

    def _release_drained(self) -> None:
        low_water_bytes = self.config.high_water_bytes // 2
        for stream_id, link in list(self._congested.items()):
            if self.engine.unacked_bytes(stream_id) < low_water_bytes:
                del self._congested[stream_id]
                link.emit_drained()

    @abstractmethod
    def _transmit(self, *, now: float) -> bool:
        """Send what the engine has, as far as that goes; return whether anything left."""


def close_failed(connection: Connection) -> None:
    """End a connection for the exception that is being handled; the others go on."""
    logger.exception("a connection failed and is closed; the others go on")
    connection.close(CloseReason(CloseCode.UNEXPECTED_CLOSE, "an internal error"))
