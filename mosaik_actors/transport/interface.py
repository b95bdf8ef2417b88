"""What the rest of the library knows of the transport.

An *endpoint* is one node's presence on the network; a *link* is one
bidirectional channel of frames to one peer, for one protocol. There are two
endpoints with this interface: `QuicEndpoint` (sockets of all carriers) and
`MemoryEndpoint` (the simulated network). Both pass the same conformance tests.

A link's life:

    1. Both sides prove that they belong to the same network, once for each connection
       (`admission`).
    2. The opener names the protocol and sends the protocol's own header.
    3. The acceptor of that protocol gets the link, attaches itself, and
       answers with `Link.accept` (and a reply) or `Link.close` (and a reason).
    4. Frames flow both ways, in order, each one whole.
    5. Either side closes with a `CloseReason`; the other side's sink gets it
       as `LinkClosed` after all frames that came before.

Everything here happens on the event loop's thread. Writing is a synchronous
append: the bytes leave with the current loop turn, so all that one turn writes
shares datagrams (but for `Link.write_now`). Frames that arrive in one turn reach the
sink as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from ..errors import TransportError
from ..ids import NetworkId, PeerId
from ..peer_log import PeerLog
from .address import PeerAddr
from .admission import NetworkKeys
from .apart import Apart
from .close import SUCCESS, CloseReason
from .counters import TransportCounters
from .gate import Gate, Standing

FRAME_BYTES_MAX = 16 * 1024 * 1024
HEADER_BYTES_MAX = 64 * 1024
LINKS_RESERVED = 128


class LinkRefused(TransportError):
    """The link could not be opened; `reason` says why and who decided so.

    Attributes:
        reason: The peer's close reason, or one made here (a timeout, no route).
    """

    def __init__(self, reason: CloseReason) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason)


class NotAllowed(LinkRefused):
    """Who asked for a stream or a group may not have it, or not any more: `reason` says why not.

    Either side has decided so: see `CloseReason.remote`.
    """

    def __str__(self) -> str:
        return f"not allowed: {self.reason.text}"


class FramesReceived(msgspec.Struct, frozen=True, eq=False):
    """Frames arrived on `link`, in order; one message for all of one loop turn."""

    link: Link
    frames: list[bytes]


@dataclass(frozen=True, slots=True, eq=False)
class LinkDrained:
    """`link` had `unsent_bytes` above its high-water mark and is now below the low one."""

    link: Link


@dataclass(frozen=True, slots=True, eq=False)
class LinkClosed:
    """`link` ended. Nothing follows; writes from now on are dropped."""

    link: Link
    reason: CloseReason


LinkEvent = FramesReceived | LinkDrained | LinkClosed
Sink = Callable[[LinkEvent], None]


class Link(Protocol):
    """One channel of frames to one peer.

    Attributes:
        connection: What it shares with all links over the same connection, and only with them.
    """

    connection: Hashable

    @property
    def peer_id(self) -> PeerId:
        """Who is at the other end; proven, not claimed."""

    @property
    def protocol(self) -> str:
        """The protocol's name."""

    @property
    def header(self) -> bytes:
        """What the opener sent as the protocol's own header."""

    @property
    def reply(self) -> bytes:
        """What the acceptor answered; empty before it did."""

    @property
    def is_open(self) -> bool:
        """Whether writes still go anywhere."""

    @property
    def carrier(self) -> str:
        """What carries its bytes now, of `config.CARRIERS`.

        ``unix`` is a process of this user, and stays so. From ``relay`` a link moves to ``quic``
        when a direct path is found, and back when that is lost.
        """

    @property
    def unsent_bytes(self) -> int:
        """Bytes written here that the peer has not acknowledged yet."""

    @property
    def rtt(self) -> float | None:
        """The smoothed round-trip time of the connection in seconds, None while unmeasured."""

    def attach(self, sink: Sink) -> None:
        """Send this link's events to `sink` from now on, those that waited first.

        A sink is called with one `LinkEvent` at a time and must not block.
        """

    def accept(self, reply: bytes = b"", *, frame_bytes_max: int | None = None) -> None:
        """Accept: notify the opener. Only the acceptor calls this, once.

        Args:
            reply: What the opener gets with it.
            frame_bytes_max: The largest frame that the opener may send, where the
                protocol has a smaller limit than the transport: a part of a frame
                is held until the rest has come.
        """

    def write(self, frame: bytes) -> None:
        """Append one frame. Dropped when the link is closed.

        Raises:
            ValueError: The frame is larger than the transport's limit.
        """

    def write_many(self, frames: Iterable[bytes]) -> None:
        """Append several frames at once."""

    def write_now(self, frame: bytes) -> None:
        """Append one frame, as `write` does, and let it leave now where that can be.

        For a frame that comes alone: each costs a call of the system. Over datagrams it
        leaves with the turn of the loop, as ever.
        """

    @property
    def heard_at(self) -> float:
        """When anything came over its connection last, in monotonic seconds; 0 if unknown."""

    def after_read(self, call: Callable[[], None]) -> bool:
        """Call this, right from the loop, when all that has been read is taken in.

        For a sink that would let somebody else go on: here that can be done without
        another turn of the loop.

        Returns:
            Whether it will be called: not where nothing is being read from a byte stream.
        """

    def call_before_flush(self, call: Callable[[], None]) -> None:
        """Call this once, right before what was written in this turn of the loop leaves.

        What it writes leaves as well. So who collects what it sends in one turn need not
        wait for a turn of its own. If the link ends meanwhile, it may not be called.
        """

    def close(self, reason: CloseReason = SUCCESS) -> None:
        """Send what was written, then end the link with `reason`. May be repeated.

        The own sink gets no `LinkClosed` for it.
        """


class PeerConnected(msgspec.Struct, frozen=True):
    """The first usable connection to a peer stands."""

    peer_id: PeerId
    remote: PeerAddr


class PeerDisconnected(msgspec.Struct, frozen=True):
    """The last connection to a peer ended."""

    peer_id: PeerId
    reason: CloseReason


ConnectionEvent = PeerConnected | PeerDisconnected


class Endpoint(Protocol):
    """One node's presence on the network.

    Attributes:
        keys: What connections prove, and what else is derived from the same.
        counters: What it has seen so far.
        peer_log: Where it, and all of its node, logs what peers did.
        apart: With which peers it has no carrier in common.
    """

    keys: NetworkKeys
    counters: TransportCounters
    peer_log: PeerLog
    apart: Apart

    @property
    def gate(self) -> Gate:
        """Who may be connected; `ban` and `allow` change it and act on it."""

    def ban(self, peer_id: PeerId, *, for_s: float | None = None, why: str = "") -> None:
        """Refuse a peer from now on, and end what there is with it.

        Args:
            peer_id: Whom.
            for_s: For how many seconds; None until it is allowed.
            why: The reason it gets.
        """

    def allow(self, peer_id: PeerId) -> None:
        """Refuse a peer no longer, whatever it was refused for."""

    def note_fault(self, peer_id: PeerId, text: str) -> None:
        """Take in that a peer broke a rule; too many end what there is with it (`scores`).

        Links that are closed as a protocol violation are noted already.
        """

    def standings(self) -> list[Standing]:
        """Return what there is against whom: bans, and broken rules."""

    @property
    def network_id(self) -> NetworkId:
        """The network whose links are accepted here."""

    @property
    def peer_id(self) -> PeerId:
        """The identity that every connection proves."""

    @property
    def addr(self) -> PeerAddr:
        """Where others can reach this endpoint."""

    @property
    def may_move(self) -> bool:
        """Whether its addresses may change: those of all interfaces do."""

    def look_where(self, addr_of: Callable[[PeerId], PeerAddr | None] = lambda _: None) -> bool:
        """Look where others can reach it by now; return whether `addr` has changed.

        Connections that cannot go on from another address are made anew, on both sides at once.

        Args:
            addr_of: Says where a peer is that has to be dialled anew; None where nobody knows.
        """

    def receive_peer_move(self, before: PeerAddr, addr: PeerAddr) -> None:
        """Take in that a peer says that it is at other addresses than before.

        A connection that was dialled at one that is gone, and is silent, is made anew.
        """

    @property
    def frame_bytes_max(self) -> int:
        """The largest frame that is sent or taken in, in bytes."""

    @property
    def local_addr(self) -> PeerAddr:
        """Where others on this machine can reach this endpoint, loopback included."""

    async def open_link(
        self,
        to: PeerAddr,
        protocol: str,
        header: bytes = b"",
        *,
        timeout: float = 10.0,
        is_essential: bool = False,
    ) -> Link:
        """Open a link, connecting first where needed, and wait until the peer accepts it.

        May be cancelled: the half-open link is then closed as cancelled.

        Args:
            to: The peer and its addresses.
            protocol: The protocol's name.
            header: The protocol's own header.
            timeout: Seconds until it fails.
            is_essential: Whether it may be one of the last `LINKS_RESERVED` links.

        Raises:
            LinkRefused: The peer refused, did not answer within `timeout`
                seconds, could not be reached, or is not who `to` says; or the
                connection has all the links it may have, or too many dials of its
                addresses came to nothing lately (both `TOO_MANY_LINKS`).
        """

    def serve(
        self, protocol: str, acceptor: Callable[[Link], None], *, is_essential: bool = False
    ) -> None:
        """Hand every incoming link of `protocol` to `acceptor`, which attaches and accepts it.

        Those of an essential protocol may also be among the last `LINKS_RESERVED`
        links of a connection: the peer's other links leave room for them.
        """

    def unserve(self, protocol: str) -> None:
        """Refuse links of `protocol` from now on."""

    def on_connection_event(self, listener: Callable[[ConnectionEvent], None]) -> None:
        """Call `listener` when peers connect and disconnect."""

    def rtt(self, peer_id: PeerId) -> float | None:
        """Return the smoothed round-trip time to a connected peer in seconds, else None."""

    def is_answering(self, peer_id: PeerId) -> bool:
        """Return whether a peer is connected, and nothing says that it has stopped answering."""

    def heard_at(self, peer_id: PeerId) -> float | None:
        """Return when a connected peer was heard last, in monotonic seconds, else None.

        A peer that lives is heard every few seconds while there are links to it.
        """

    def listen_local(self, folder: Path) -> None:
        """Let processes of this user reach this one by a Unix socket in their private folder.

        And dial those that listen there. Does nothing where sockets may not carry
        connections; says in the log where one cannot be had.
        """

    def leave_local(self) -> None:
        """Listen in no folder any more, and leave nothing there. Connections stay."""

    def carrier(self, peer_id: PeerId) -> str | None:
        """Return what carries the connection to a peer, such as ``quic``; None without one."""

    def may_be_local(self, peer_id: PeerId) -> bool:
        """Return whether a peer may be on this machine, and so know its loopback interface.

        It may when its connection goes over that interface, or when this endpoint
        hears nothing else.
        """

    def vouch(self, addrs: Iterable[PeerAddr]) -> None:
        """Dial these peers, where it is said and through relays, as if they had proven to be there.

        For what the user of this node has named. All others are dialled within
        the limits of the configuration until a peer has answered there.
        """

    def connected_peers(self) -> list[PeerId]:
        """Return the peers with a usable connection, in the order they connected."""

    def disconnect(self, peer_id: PeerId, reason: CloseReason) -> None:
        """End all connections to a peer with `reason`."""

    async def close(self, reason: CloseReason) -> None:
        """Close all links and connections with `reason`, then the sockets."""

    def crash(self) -> None:
        """Vanish without a word, as a killed process does; for tests and simulations.

        The links here end at once; the peers notice after their idle timeout.
        """
