"""The in-memory twin of the QUIC transport: the same interface, no sockets.

A `MemoryNetwork` joins the endpoints of one event loop. Frames travel as they
are, one hand-over for all that one link wrote in one loop turn, after the
network's latency. Connections are as real as they need to be: they stand from
the first link until one side closes, or until `idle_timeout` after one side
became unreachable (`cut`, `crash`), which is when QUIC would notice.

Both sides prove that they are of the same network, as over QUIC, in the moment in
which the connection is made; and the `gate` of each says whom it refuses.

Between two reachable endpoints nothing is lost or reordered, as on a QUIC
stream. While two endpoints are cut off from each other, what was sent waits,
as a stream that retransmits would, until they are mended or give up. So it is
with an endpoint that stands still (`set_silent`), as that of a stopped process
does: what comes for it waits, and the others give it up when it says nothing.

All of it is one file, since network, endpoint, connection and link know each other: files
for each would import each other in a circle.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from ..errors import DecodeError, RemoteError
from ..ids import NetworkId, PeerId, SecretKey
from .address import PeerAddr
from .admission import Admission, NetworkKeys, bind_channel
from .close import SUCCESS, CloseCode, CloseReason
from .config import TransportConfig
from .endpoint_base import EndpointBase
from .frames import CloseFrame, ControlFrame, OpenFrame, encode_control
from .interface import Link, LinkRefused, PeerConnected, PeerDisconnected
from .link import FramedLink, LinkState, call_each
from .link_limit import why_too_many

_HOST = "127.0.0.1"
_CONTROL_BYTES = 32  # about what a control frame takes on the wire


class MemoryNetwork:
    """What joins the memory endpoints of one event loop.

    A subclass may override `reaches` and `plan_delay`, and listen at `note`.

    Args:
        latency: One-way delay in seconds. 0 means the next loop turn.
    """

    def __init__(self, *, latency: float = 0.0) -> None:
        self.latency = latency
        self._endpoints: dict[PeerId, MemoryEndpoint] = {}
        self._cuts: set[tuple[PeerId, PeerId]] = set()
        self._silent: set[PeerId] = set()
        self._next_port = 1
        self._meeting_count = 0

    def cut(self, one: PeerId, other: PeerId) -> None:
        """Let nothing pass between two peers, in either direction, until `mend`."""
        self.set_cuts(one, other, True, True)

    def mend(self, one: PeerId, other: PeerId) -> None:
        """Undo `cut`: what waited is delivered, in order."""
        self.set_cuts(one, other, False, False)

    def set_cuts(self, one: PeerId, other: PeerId, there: bool, back: bool) -> None:
        """Say whether nothing passes from `one` to `other`, and whether nothing passes back."""
        before = ((one, other) in self._cuts, (other, one) in self._cuts)
        if before == (there, back):
            return
        for pair, is_cut in (((one, other), there), ((other, one), back)):
            if is_cut:
                self._cuts.add(pair)
            else:
                self._cuts.discard(pair)
        self.recheck(one, other)

    def reaches(self, sender: PeerId, receiver: PeerId) -> bool:
        """Return whether what `sender` sends now gets to `receiver`."""
        return (sender, receiver) not in self._cuts

    def set_silent(self, peer_id: PeerId, is_silent: bool) -> None:
        """Say whether a peer stands still: it takes nothing in and says nothing."""
        if is_silent == self.is_silent(peer_id):
            return
        if is_silent:
            self._silent.add(peer_id)
        else:
            self._silent.discard(peer_id)
        for remote in list(self._endpoints):
            if remote != peer_id:
                self.recheck(peer_id, remote)

    def is_silent(self, peer_id: PeerId) -> bool:
        """Return whether a peer stands still at present."""
        return peer_id in self._silent

    def plan_delay(self, sender: PeerId, receiver: PeerId, size: int) -> float:
        """Return after how many seconds `size` bytes sent now arrive."""
        return self.latency

    def rtt(self, one: PeerId, other: PeerId) -> float:
        """Return the usual round-trip time between two peers in seconds."""
        return 2 * self.latency

    def note(self, sender: PeerId, receiver: PeerId, frames: list[bytes | ControlFrame]) -> None:
        """Take note of frames that were delivered."""

    def find(self, peer_id: PeerId) -> MemoryEndpoint | None:
        """Return the endpoint of a peer, None while there is none."""
        return self._endpoints.get(peer_id)

    def join(self, endpoint: MemoryEndpoint) -> PeerAddr:
        """Take in an endpoint and return its address."""
        if endpoint.peer_id in self._endpoints:
            raise ValueError(f"peer {endpoint.peer_id.short} is on this network already")
        self._endpoints[endpoint.peer_id] = endpoint
        port, self._next_port = self._next_port, self._next_port % 65_535 + 1
        return PeerAddr(endpoint.peer_id, ((_HOST, port),))

    def next_binding(self) -> bytes:
        """Return what tells a new connection from all others."""
        self._meeting_count += 1
        return bind_channel(self._meeting_count.to_bytes(8), b"")

    def leave(self, endpoint: MemoryEndpoint) -> None:
        """Forget an endpoint."""
        if self._endpoints.get(endpoint.peer_id) is endpoint:
            del self._endpoints[endpoint.peer_id]

    def recheck(self, one: PeerId, other: PeerId) -> None:
        """Let both sides look again whether they reach and hear each other."""
        for peer, remote in ((one, other), (other, one)):
            if endpoint := self._endpoints.get(peer):
                endpoint.recheck(remote)


class MemoryLink(FramedLink):
    """One end of a link between two memory endpoints."""

    def __init__(
        self,
        connection: _Connection,
        protocol: str,
        header: bytes,
        state: LinkState,
        opened: asyncio.Future[Link] | None = None,
    ) -> None:
        endpoint = connection.endpoint
        super().__init__(
            connection.remote_id, protocol, header, state, endpoint.config.frame_bytes_max
        )
        self.other: MemoryLink | None = None
        self.connection = connection
        self.is_own = state is LinkState.OPENING
        self._opened = opened
        self._outbox: list[bytes | ControlFrame] = []
        self._unsent_bytes = 0
        self._is_congested = False

    @property
    def carrier(self) -> str:
        """What carries its bytes: ``memory``."""
        return "memory"

    @property
    def unsent_bytes(self) -> int:
        """Bytes written here that the peer has not taken yet."""
        return self._unsent_bytes

    @property
    def rtt(self) -> float | None:
        """Twice the network's latency."""
        return self.connection.endpoint.rtt(self.peer_id)

    def on_accepted(self) -> None:
        """Resolve the opener's wait."""
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(self)

    def on_refused(self, reason: CloseReason) -> None:
        """Fail the opener's wait."""
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(LinkRefused(reason))

    def take_outbox(self) -> list[bytes | ControlFrame]:
        """Return what was written since the last call."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def on_taken(self, frame_bytes: int) -> None:
        """Note that the other end took in so many bytes."""
        self._unsent_bytes -= frame_bytes
        high = self.connection.endpoint.config.high_water_bytes
        if self._is_congested and self._unsent_bytes < high // 2:
            self._is_congested = False
            self.emit_drained()

    def close(self, reason: CloseReason = SUCCESS) -> None:
        """Send what was written, then end the link with `reason`. May be repeated."""
        if self.is_open and reason.code == CloseCode.PROTOCOL_VIOLATION:
            self.connection.endpoint.note_fault(self.peer_id, reason.text)
        super().close(reason)

    def call_before_flush(self, call: Callable[[], None]) -> None:
        """Call this once, right before what was written in this turn of the loop leaves."""
        self.connection.call_before_flush(call)

    def _send_frame(self, frame: bytes) -> None:
        self._unsent_bytes += len(frame)
        self._is_congested |= self._unsent_bytes > self.connection.endpoint.config.high_water_bytes
        self._send(frame)

    def _send_control(self, frame: ControlFrame) -> None:
        encode_control(frame)  # as on the wire: what is too large is refused here
        self._send(frame)

    def _send(self, frame: bytes | ControlFrame) -> None:
        if not self._outbox:
            self.connection.mark_dirty(self)
        self._outbox.append(frame)

    def _abandon(self) -> None:
        self.connection.forget(self)


class _Connection:
    """One end of a connection: its links, and what is on its way out."""

    def __init__(self, endpoint: MemoryEndpoint, remote_id: PeerId) -> None:
        self.endpoint = endpoint
        self.remote_id = remote_id
        self.other: _Connection | None = None
        self.links: dict[MemoryLink, None] = {}
        self.own_link_count = 0
        self.is_ended = False
        self._dirty: list[MemoryLink] = []
        self._before_flush: list[Callable[[], None]] = []
        self._on_the_way: deque[Callable[[], None]] = deque()
        self._due_count = 0
        self._give_up: asyncio.TimerHandle | None = None
        self._is_flushing = False

    @property
    def is_given_up(self) -> bool:
        """Whether nothing is heard from the other end."""
        return self._give_up is not None

    @property
    def heard_at(self) -> float:
        """When the other end was heard last, keep-alives included."""
        if self._give_up is None:
            return self.endpoint.loop.time()
        return self._give_up.when() - self.endpoint.config.idle_timeout

    def mark_dirty(self, link: MemoryLink) -> None:
        """Flush `link` with this loop turn."""
        self._dirty.append(link)
        self._flush_soon()

    def call_before_flush(self, call: Callable[[], None]) -> None:
        """Call this once, at the begin of the flush of this loop turn."""
        self._before_flush.append(call)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self.endpoint.loop.call_soon(self._flush, context=self.endpoint.context)

    def forget(self, link: MemoryLink) -> None:
        """Drop a link that ended."""
        if self.links.pop(link, False) is None:
            self.own_link_count -= link.is_own

    def add(self, link: MemoryLink) -> None:
        """Take in a link, opened here or by the other end."""
        self.links[link] = None
        self.own_link_count += link.is_own

    def send(self, deliver: Callable[[], None], size: int = 0) -> None:
        """Let `deliver` happen at the other end, in order, when `size` bytes have arrived."""
        self._on_the_way.append(deliver)
        network, loop = self.endpoint.network, self.endpoint.loop
        delay = network.plan_delay(self.endpoint.peer_id, self.remote_id, size)
        # What arrives belongs to the receiver, also when the sender stands still by then.
        context = None if self.other is None else self.other.endpoint.context
        if delay:
            loop.call_later(delay, self._arrive, context=context)
        else:
            loop.call_soon(self._arrive, context=context)

    def vanish(self) -> None:
        """Lose what is on its way out, as a crash does."""
        self._on_the_way.clear()

    def tell_end(self, reason: CloseReason) -> None:
        """Let the other end learn, after all that was written, that this one ended."""
        self._flush()
        other, remote = self.other, CloseReason(reason.code, reason.text, remote=True)
        if other is not None:
            self.send(lambda: other.end(remote))

    def recheck(self) -> None:
        """Look again whether the other end is heard, and whether it hears this one.

        An end that hears nothing gives up after the idle timeout, as QUIC does.
        """
        network, here = self.endpoint.network, self.endpoint.peer_id
        hears = (
            self.other is not None
            and not self.other.is_ended
            and network.reaches(self.remote_id, here)
            and not network.is_silent(self.remote_id)
        )
        if not hears and self._give_up is None and not self.is_ended:
            self._give_up = self.endpoint.loop.call_later(
                self.endpoint.config.idle_timeout, self._time_out, context=self.endpoint.context
            )
        elif hears and self._give_up is not None:
            self._give_up.cancel()
            self._give_up = None
        self._deliver_due()

    def end(self, reason: CloseReason) -> None:
        """End this side of the connection and all its links."""
        if self.is_ended:
            return
        self.is_ended = True
        if self._give_up is not None:
            self._give_up.cancel()
        for link in list(self.links):
            link.end_by_peer(reason)
        self.endpoint.forget(self, reason)

    def _arrive(self) -> None:
        """One more of what is on its way has been on it for long enough."""
        self._due_count += 1
        self._deliver_due()

    def _deliver_due(self) -> None:
        network, here = self.endpoint.network, self.endpoint.peer_id
        while (
            self._due_count
            and network.reaches(here, self.remote_id)
            and not network.is_silent(self.remote_id)
        ):
            self._due_count -= 1
            if self._on_the_way:
                self._on_the_way.popleft()()

    def _time_out(self) -> None:
        self.end(CloseReason(CloseCode.UNEXPECTED_CLOSE, "idle timeout", remote=True))
        if self.other is not None:
            self.other.recheck()

    def _flush(self) -> None:
        calls, self._before_flush = self._before_flush, []
        call_each(calls)
        self._is_flushing = False
        if self._before_flush:  # asked for meanwhile: that is for the next one
            self._flush_soon()
        dirty, self._dirty = self._dirty, []
        for link in dirty:
            frames = link.take_outbox()
            if (other := link.other) is not None and frames:
                size = sum(
                    len(frame) if type(frame) is bytes else _CONTROL_BYTES for frame in frames
                )
                self.send(partial(_deliver, other, frames), size)


def _deliver(link: MemoryLink, frames: list[bytes | ControlFrame]) -> None:
    """Hand frames to the link at the other end."""
    connection = link.connection
    if connection.is_ended or connection.endpoint.is_closed:
        return
    connection.endpoint.network.note(connection.remote_id, connection.endpoint.peer_id, frames)
    remote = [_as_remote(frame) if isinstance(frame, CloseFrame) else frame for frame in frames]
    taken = sum(len(frame) for frame in frames if type(frame) is bytes)
    if link.other is not None:
        link.other.on_taken(taken)
    try:
        longest = max((len(frame) for frame in frames if type(frame) is bytes), default=0)
        if longest > link.taken_bytes_max:
            raise DecodeError(f"a frame of {longest} bytes, at most {link.taken_bytes_max}")
        link.receive_frames(remote)
        link.flush_inbox()
    except RemoteError as error:
        link.violate(error)
        connection.endpoint.note_fault(connection.remote_id, error.text)


def _as_remote(frame: CloseFrame) -> CloseFrame:
    return CloseFrame(CloseReason(frame.reason.code, frame.reason.text, remote=True))


class MemoryEndpoint(EndpointBase):
    """A node's presence on a `MemoryNetwork`.

    Args:
        network: What joins it to others.
        network_id: The network whose links it accepts.
        secret_key: Its identity.
        config: The settings that mean something without sockets.
        secrets: The network's secrets.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        network_id: NetworkId | str,
        secret_key: SecretKey,
        config: TransportConfig | None = None,
        secrets: Sequence[bytes] = (),
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()  # what happens here belongs to who made this
        self.network = network
        keys = NetworkKeys(NetworkId(network_id), secrets)
        config = config or TransportConfig()
        super().__init__(secret_key.peer_id, keys, config, self.loop.time, self.context)
        self._connections: dict[PeerId, _Connection] = {}
        self.is_closed = False
        self._addr = network.join(self)

    @property
    def local_addr(self) -> PeerAddr:
        """The same: there is one machine only."""
        return self._addr

    async def open_link(
        self,
        to: PeerAddr,
        protocol: str,
        header: bytes = b"",
        *,
        timeout: float = 10.0,
        is_essential: bool = False,
    ) -> Link:
        """Open a link and wait until the peer accepts it. Raises `LinkRefused`."""
        if to.peer_id == self._peer_id:
            raise LinkRefused(CloseReason(CloseCode.PROTOCOL_VIOLATION, "that is this peer itself"))
        opening = OpenFrame(protocol, header)
        encode_control(opening)
        if refusal := self.gate.objection(to.peer_id, now=self.loop.time()):
            raise LinkRefused(refusal)
        connection = self._connection_to(to.peer_id)
        if reason := why_too_many(
            connection.own_link_count, self.config.links_max, is_essential=is_essential
        ):
            raise LinkRefused(reason)
        opened: asyncio.Future[Link] = self.loop.create_future()
        link = MemoryLink(connection, protocol, header, LinkState.OPENING, opened)
        connection.add(link)
        connection.send(partial(_offer, link, opening), _CONTROL_BYTES + len(header))
        try:
            async with asyncio.timeout(timeout):
                return await opened
        except TimeoutError:
            reason = CloseReason(CloseCode.CANCELLED, f"no answer within {timeout:g} s")
            link.close(reason)
            raise LinkRefused(reason) from None
        except asyncio.CancelledError:
            link.close(CloseReason(CloseCode.CANCELLED))
            raise

    def rtt(self, peer_id: PeerId) -> float | None:
        """Return twice the latency to a connected peer, else None."""
        return self.network.rtt(self._peer_id, peer_id) if peer_id in self._connections else None

    def is_answering(self, peer_id: PeerId) -> bool:
        """Return whether a peer is connected, and is heard."""
        connection = self._connections.get(peer_id)
        return connection is not None and not connection.is_given_up

    def heard_at(self, peer_id: PeerId) -> float | None:
        """Return when a connected peer was heard last, in seconds of the loop, else None."""
        connection = self._connections.get(peer_id)
        return None if connection is None else connection.heard_at

    def listen_local(self, folder: Path) -> None:
        """Do nothing: there are no sockets here."""

    def leave_local(self) -> None:
        """Do nothing."""

    def carrier(self, peer_id: PeerId) -> str | None:
        """Return ``memory`` for a peer that is connected."""
        return "memory" if peer_id in self.connected_peers() else None

    def may_be_local(self, peer_id: PeerId) -> bool:
        """Return True: all are on one loopback interface."""
        return True

    def vouch(self, addrs: Iterable[PeerAddr]) -> None:
        """Do nothing: whoever is dialled here is there, or hears nothing."""

    def connected_peers(self) -> list[PeerId]:
        """Return the peers with a connection, in the order they connected."""
        return list(self._connections)

    def disconnect(self, peer_id: PeerId, reason: CloseReason) -> None:
        """End the connection to a peer with `reason`; the peer is notified."""
        if connection := self._connections.get(peer_id):
            connection.tell_end(reason)
            connection.end(reason)

    async def close(self, reason: CloseReason) -> None:
        """Close all links and connections with `reason`."""
        for link in [link for conn in self._connections.values() for link in conn.links]:
            link.close(reason)
        for peer_id in list(self._connections):
            self.disconnect(peer_id, reason)
        self.is_closed = True
        self.network.leave(self)

    def crash(self) -> None:
        """Vanish without a word; the others notice after their idle timeout."""
        self.is_closed = True
        self.network.leave(self)
        connections, self._connections = self._connections, {}
        for peer_id, connection in connections.items():
            connection.vanish()
            connection.end(CloseReason(CloseCode.UNEXPECTED_CLOSE, "crashed"))
            if other := self.network.find(peer_id):
                other.recheck(self._peer_id)

    def recheck(self, peer_id: PeerId) -> None:
        """Look again whether a peer can be reached and heard."""
        if connection := self._connections.get(peer_id):
            connection.recheck()

    def forget(self, connection: _Connection, reason: CloseReason) -> None:
        """Drop a connection that ended and notify the listeners."""
        if self._connections.get(connection.remote_id) is connection:
            del self._connections[connection.remote_id]
            self.notify(PeerDisconnected(connection.remote_id, reason))

    def accept_connection(self, connection: _Connection) -> None:
        """Take in a connection, made here or by the other end, in place of an older one."""
        if older := self._connections.get(connection.remote_id):
            older.end(CloseReason(CloseCode.UNEXPECTED_CLOSE, "the peer restarted", remote=True))
        self._connections[connection.remote_id] = connection
        self.notify(PeerConnected(connection.remote_id, PeerAddr(connection.remote_id)))

    def accept_link(self, link: MemoryLink, opening: OpenFrame) -> None:
        """Answer an incoming link: to its acceptor, or no."""
        connection = link.connection
        count = len(connection.links) - connection.own_link_count - 1
        self.answer(link, opening, peer_link_count=count)

    def _connection_to(self, peer_id: PeerId) -> _Connection:
        if connection := self._connections.get(peer_id):
            return connection
        remote = self.network.find(peer_id)
        reaches = self.network.reaches
        can_meet = reaches(self._peer_id, peer_id) and reaches(peer_id, self._peer_id)
        can_meet = can_meet and not self.network.is_silent(peer_id)
        if self.is_closed or remote is None or not can_meet:
            text = f"peer {peer_id.short} cannot be reached"
            raise LinkRefused(CloseReason(CloseCode.UNEXPECTED_CLOSE, text))
        _admit(self, remote)
        here, there = _Connection(self, peer_id), _Connection(remote, self._peer_id)
        here.other, there.other = there, here
        self.accept_connection(here)
        remote.accept_connection(there)
        return here


def _admit(dialler: MemoryEndpoint, acceptor: MemoryEndpoint) -> None:
    """Let two endpoints prove to each other that they are of the same network.

    Raises:
        LinkRefused: They are not; says which side refused.
    """
    binding = dialler.network.next_binding()
    ends = [
        Admission(
            one.keys,
            binding=binding,
            here=one.peer_id,
            there=other.peer_id,
            is_dialler=one is dialler,
        )
        for one, other in ((dialler, acceptor), (acceptor, dialler))
    ]
    proof: bytes | None = ends[0].begin()
    for end, is_remote in ((ends[1], True), (ends[0], False)):
        try:
            proof = end.receive_data(proof or b"", is_end=True)
        except RemoteError as error:
            reason = CloseReason(error.close_code, error.text, remote=is_remote)
            raise LinkRefused(reason) from None
    if refusal := acceptor.gate.objection(dialler.peer_id, now=acceptor.loop.time()):
        raise LinkRefused(CloseReason(refusal.code, refusal.text, remote=True))


def _offer(link: MemoryLink, opening: OpenFrame) -> None:
    """Bring a new link to the other end of its connection."""
    there = link.connection.other
    if there is None or there.is_ended or there.endpoint.is_closed:
        return
    if link.state is LinkState.CLOSED:
        return
    there.endpoint.network.note(there.remote_id, there.endpoint.peer_id, [opening])
    offered = MemoryLink(there, opening.protocol, opening.header, LinkState.OFFERED)
    offered.other, link.other = link, offered
    there.add(offered)
    there.endpoint.accept_link(offered, opening)
