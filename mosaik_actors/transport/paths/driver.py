"""Direct paths: joins the `selector` of each peer to the sockets, the relays and the connections.

For each peer with a connection through a relay there is a selector. The side with the smaller
`PeerId` opens a link on that connection, and both exchange a `PathOffer` with its header and its
reply. What then comes for one of the keys, or from an address that a peer has proven to send
from, the endpoint hands over here; and `RelayPort` asks `ways` where a datagram goes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from hashlib import blake2b
from typing import Final, Protocol

import msgspec

from ...clock import Clock
from ...errors import DecodeError
from ...ids import PeerId
from ..address import PeerAddr, SocketAddr, is_loopback, is_relayed
from ..close import CloseCode, CloseReason
from ..config import TransportConfig
from ..counters import TransportCounters
from ..dial_budget import LeakyBucket
from ..interface import ConnectionEvent, Link, LinkRefused, PeerConnected
from ..quic.path_mtu import BASE
from ..sockets import DatagramPort, family_of
from .candidates import PathOffer, decode_offer, is_worth_probing, make_secret, pick_own
from .observed import Observer
from .probes import SECRET_BYTES, PathKey, path_id
from .selector import OfferDue, PathSelector, SendTo, WayChanged, Withdraw

logger = logging.getLogger(__name__)

PROTOCOL: Final = "paths/1"
OBSERVED_WAIT_S: Final = 0.5
OFFER_TIMEOUT_S: Final = 10.0
_OFFERS_MAX: Final = 8
_OFFERS_PER_S: Final = 0.5

_NOT_RELAYED = CloseReason(CloseCode.INVALID_PROTOCOL, "that is for peers behind a relay")
_TOO_MANY = CloseReason(CloseCode.TOO_MANY_LINKS, "too many offers of paths")


class Owner(Protocol):
    """What the endpoint does for its direct paths."""

    def relayed_at(self, peer_id: PeerId) -> list[SocketAddr]:
        """Return the addresses, behind relays, of the connections to a peer."""

    async def open_relayed(self, peer_id: PeerId, protocol: str, header: bytes) -> Link:
        """Open a link on a connection through a relay. Raises `LinkRefused`."""

    def is_relayed(self, link: Link) -> bool:
        """Return whether a link is on a connection that was made through a relay."""

    def receive_move(self, remote: SocketAddr, datagram_bytes: int | None) -> None:
        """Take in that datagrams to an address go another way, and how large they may be.

        None for the relay's.
        """

    def send(self, port: DatagramPort, data: bytes, remote: SocketAddr) -> None:
        """Send one datagram."""

    def send_relayed(self, data: bytes, remote: SocketAddr) -> None:
        """Send one datagram to an address behind a relay."""

    def note_fault(self, peer_id: PeerId, text: str) -> None:
        """Take in that a peer broke a rule."""


class Way(msgspec.Struct):
    """The direct way to a peer that is taken now.

    Attributes:
        port: What datagrams leave by.
        remote: Where to.
        selector: Says how large they may be.
        on_used: To be called with the first after a while, when `selector.is_used` is not set.
        on_failed: To be called when the system takes none for there.
        on_doubted: To be called when the peer sends through the relay though there is this way,
            and `selector.is_doubted` is not set.
    """

    port: DatagramPort
    remote: SocketAddr
    selector: PathSelector
    on_used: Callable[[], object]
    on_failed: Callable[[], object]
    on_doubted: Callable[[], object]


class _Peer(msgspec.Struct):
    selector: PathSelector
    offers: LeakyBucket
    timer: asyncio.TimerHandle | None = None
    offering: asyncio.Task[None] | None = None
    hosts: list[str] = msgspec.field(default_factory=list)


class DirectPaths:
    """The direct paths of an endpoint. Made when it uses relays; `close` it in the end.

    Args:
        peer_id: Who this side is.
        owner: The endpoint.
        ports: Its sockets, by family.
        clock: Where `now` comes from.
        config: The transport's settings.
        counters: What is counted.
        secret: What shares of secrets are derived from; known to nobody.

    Attributes:
        ways: Where datagrams go, by the host of a peer's address behind a relay; those that are
            not here go through the relay.
        mapped: Where the gateway sends on what comes from outside.
    """

    def __init__(
        self,
        peer_id: PeerId,
        owner: Owner,
        ports: Mapping[int, DatagramPort],
        clock: Clock,
        config: TransportConfig,
        counters: TransportCounters,
        secret: bytes,
    ) -> None:
        self.ways: dict[str, Way] = {}
        self.mapped: tuple[SocketAddr, ...] = ()
        self._peer_id = peer_id
        self._owner = owner
        self._ports = dict(ports)
        self._clock = clock
        self._config = config
        self._counters = counters
        self._secret = secret
        self._nonce_count = 0
        self._peers: dict[PeerId, _Peer] = {}
        self._by_key: dict[bytes, PeerId] = {}
        self._by_direct: dict[SocketAddr, PeerId] = {}
        self._observers: dict[int, Observer] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._observed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._is_closed = False
        self._hears_loopback = all(
            is_loopback(host) for port in self._ports.values() for host, _ in port.addrs
        )

    def close(self) -> None:
        """Send nothing from now on."""
        self._is_closed = True
        for peer_id in list(self._peers):
            self._forget(peer_id)
        for timer in self._timers.values():
            timer.cancel()

    # What the endpoint asks.

    def is_direct(self, remote: SocketAddr) -> bool:
        """Return whether datagrams to an address behind a relay go directly."""
        return remote[0] in self.ways

    def comes_from(self, peer_id: PeerId, remote: SocketAddr) -> bool:
        """Return whether a peer has proven to send from an address."""
        peer = self._peers.get(peer_id)
        return peer is not None and peer.selector.comes_from_peer(remote)

    def relayed_addr_of(self, remote: SocketAddr) -> SocketAddr | None:
        """Return the address behind a relay of whoever is at the end of a direct way."""
        peer_id = self._by_direct.get(remote)
        found = [] if peer_id is None else self._owner.relayed_at(peer_id)
        return found[0] if found else None

    def receive_datagram(
        self, data: bytes, remote: SocketAddr, port: DatagramPort, now: float
    ) -> bool:
        """Take in what is no QUIC; return whether it is a probe, or an answer, that counts."""
        key_id = path_id(data)
        if key_id is None:
            return False
        if peer_id := self._by_key.get(key_id):
            selector = self._peers[peer_id].selector
            if is_relayed(remote[0]):
                counts = selector.receive_withdrawal(data, now=now)
            else:
                counts = selector.receive_datagram(data, remote, now=now)
            if counts:
                self._act(peer_id)
            return counts
        for number, observer in self._observers.items():
            if observer.key_id == key_id:
                has_changed = observer.receive_datagram(data, remote, now=now)
                self._arm_observer(number)
                if has_changed:
                    self._receive_observed(now)
                return True
        return False

    def receive_event(self, event: ConnectionEvent) -> None:
        """Take in that a peer connected or disconnected."""
        if not isinstance(event, PeerConnected):
            self._forget(event.peer_id)
        elif self._owner.relayed_at(event.peer_id):
            self._take_up(event.peer_id)
            self._act(event.peer_id)

    # Relays.

    @property
    def observed(self) -> list[tuple[SocketAddr, SocketAddr]]:
        """Where relays see this node: the address of each relay, and what it saw."""
        return [seen for one in self._observers.values() for seen in one.observed.items()]

    def receive_relay(
        self, number: int, relay: PeerAddr, write: Callable[[bytes], None] | None
    ) -> None:
        """Take in that a relay can be used, `write` sending it a request; or not any more."""
        if timer := self._timers.pop(number, None):
            timer.cancel()
        self._observers.pop(number, None)
        if write is None or self._is_closed:
            return
        secret = self._nonce()
        addrs: dict[int, SocketAddr] = {}
        for addr in relay.direct:
            if family_of(addr[0]) in self._ports:
                addrs.setdefault(family_of(addr[0]), addr)
        write(secret)
        self._observers[number] = Observer(
            secret, list(addrs.values()), now=self._clock.monotonic()
        )
        self._ask(number)

    def _ask(self, number: int) -> None:
        self._timers.pop(number, None)
        observer = self._observers[number]
        for data, remote in observer.handle_timer(now=self._clock.monotonic()):
            self._send(data, remote)
        self._arm_observer(number)

    def _arm_observer(self, number: int) -> None:
        if timer := self._timers.pop(number, None):
            timer.cancel()
        due = self._observers[number].get_timer()
        self._timers[number] = self._loop.call_at(due, self._ask, number, context=self._context)

    def _receive_observed(self, now: float) -> None:
        is_first = not self._observed.is_set()
        self._observed.set()
        for peer_id, peer in list(self._peers.items()):
            if is_first and peer.offering is not None and not peer.offering.done():
                continue  # it has waited for this
            peer.selector.receive_move(now=now)
            self._act(peer_id)

    def receive_move(self, left: Set[int]) -> None:
        """Take in that the addresses of this node have changed, some of these families being gone.

        Datagrams go through the relay where the way may have begun at one that is gone; where
        none is, ways are asked whether they still lead somewhere. All are looked for anew, and
        relays are asked where they see this node now.
        """
        now = self._clock.monotonic()
        self._observed.clear()
        for number, observer in self._observers.items():
            observer.receive_move(now=now)
            self._ask(number)
        for peer_id, peer in list(self._peers.items()):
            direct = peer.selector.direct
            if direct is not None and family_of(direct[0]) in left:
                peer.selector.give_up(now=now)
            peer.selector.receive_doubt(now=now)
            peer.selector.receive_move(now=now)
            self._act(peer_id)

    # Offers.

    def accept(self, link: Link) -> None:
        """Answer the offer of a peer."""
        peer_id = link.peer_id
        if not self._owner.is_relayed(link) or not peer_id < self._peer_id:
            link.close(_NOT_RELAYED)
            return
        peer = self._take_up(peer_id)
        now = self._clock.monotonic()
        if peer.offers.fill(now) >= _OFFERS_MAX:
            link.close(_TOO_MANY)
            return
        peer.offers.add(1)
        try:
            theirs = decode_offer(link.header)
        except DecodeError as error:
            link.close(CloseReason(error.close_code, error.text))
            return
        own = self._make_offer()
        link.attach(_ignore)
        link.accept(own.encode())
        link.close()
        self._agree(peer_id, make_secret(theirs, own), theirs)

    async def _offer(self, peer_id: PeerId) -> None:
        """Exchange offers with a peer. One that cannot is asked again, ever more seldom."""
        with suppress(TimeoutError):
            async with asyncio.timeout(OBSERVED_WAIT_S):
                await self._observed.wait()
        own = self._make_offer()
        try:
            async with asyncio.timeout(OFFER_TIMEOUT_S):
                link = await self._owner.open_relayed(peer_id, PROTOCOL, own.encode())
        except (LinkRefused, TimeoutError) as exc:
            logger.debug("no offer of paths from peer %s: %s", peer_id.short, exc)
            return
        link.close()
        try:
            theirs = decode_offer(link.reply)
        except DecodeError as error:
            self._owner.note_fault(peer_id, error.text)
            return
        self._agree(peer_id, make_secret(own, theirs), theirs)

    def _make_offer(self) -> PathOffer:
        observed = [*self.mapped, *(addr for _, addr in self.observed)]
        local = [addr for port in self._ports.values() for addr in port.addrs]
        return PathOffer(self._nonce(), pick_own(observed, local))

    def _nonce(self) -> bytes:
        self._nonce_count += 1
        count = self._nonce_count.to_bytes(8)
        return blake2b(count, digest_size=SECRET_BYTES, key=self._secret).digest()

    def _agree(self, peer_id: PeerId, secret: bytes, theirs: PathOffer) -> None:
        peer = self._peers.get(peer_id)
        if peer is None:
            return
        key = PathKey(secret, bytes(self._peer_id), bytes(peer_id))
        if (former := peer.selector.key_id) is not None:
            self._by_key.pop(former, None)
        self._by_key[key.id] = peer_id
        peer.selector.receive_offer(key, theirs.candidates, now=self._clock.monotonic())
        self._act(peer_id)

    # Peers.

    def _take_up(self, peer_id: PeerId) -> _Peer:
        peer = self._peers.get(peer_id)
        if peer is None:
            now = self._clock.monotonic()
            selector = PathSelector(
                self._is_worth_probing,
                self._bytes_max,
                opens=self._peer_id < peer_id,
                now=now,
            )
            offers = LeakyBucket(_OFFERS_MAX, _OFFERS_PER_S, leaked_at=now)
            peer = self._peers[peer_id] = _Peer(selector, offers)
            selector.handle_timer(now=now)
        return peer

    def _forget(self, peer_id: PeerId) -> None:
        peer = self._peers.pop(peer_id, None)
        if peer is None:
            return
        if peer.timer is not None:
            peer.timer.cancel()
        if peer.offering is not None:
            peer.offering.cancel()
        if (key_id := peer.selector.key_id) is not None:
            self._by_key.pop(key_id, None)
        self._leave_way(peer)

    def _on_timer(self, peer_id: PeerId) -> None:
        peer = self._peers[peer_id]
        peer.timer = None
        if not self._owner.relayed_at(peer_id):
            self._forget(peer_id)  # another connection is used
            return
        peer.selector.handle_timer(now=self._clock.monotonic())
        self._act(peer_id)

    def _receive_use(self, peer_id: PeerId) -> None:
        if peer := self._peers.get(peer_id):
            peer.selector.receive_use(now=self._clock.monotonic())
            self._act(peer_id)

    def _receive_doubt(self, peer_id: PeerId) -> None:
        if peer := self._peers.get(peer_id):
            peer.selector.receive_doubt(now=self._clock.monotonic())
            self._act(peer_id)

    def _give_up(self, peer_id: PeerId) -> None:
        if peer := self._peers.get(peer_id):
            peer.selector.give_up(now=self._clock.monotonic())
            self._act(peer_id)

    def _act(self, peer_id: PeerId) -> None:
        """Do what the selector of a peer has decided, and wake up when it wants to."""
        peer = self._peers[peer_id]
        for event in peer.selector.next_events():
            match event:
                case SendTo(data, remote):
                    self._send(data, remote)
                case Withdraw(data):
                    for addr in self._owner.relayed_at(peer_id):
                        self._owner.send_relayed(data, addr)
                case WayChanged(remote):
                    self._change_way(peer_id, peer, remote)
                case OfferDue() if peer.offering is None or peer.offering.done():
                    name = f"paths to {peer_id.short}"
                    peer.offering = self._loop.create_task(
                        self._offer(peer_id), name=name, context=self._context
                    )
        if peer.timer is not None:
            peer.timer.cancel()
            peer.timer = None
        if (due := peer.selector.get_timer()) is not None:
            peer.timer = self._loop.call_at(due, self._on_timer, peer_id, context=self._context)

    def _change_way(self, peer_id: PeerId, peer: _Peer, remote: SocketAddr | None) -> None:
        there = self._owner.relayed_at(peer_id)
        was_direct = bool(peer.hosts)
        self._leave_way(peer)
        if remote is None:
            self._counters.paths_lost += was_direct
            logger.info("peer %s is reached through a relay again", peer_id.short)
            for number, observer in self._observers.items():
                observer.receive_doubt(now=self._clock.monotonic())
                self._arm_observer(number)
        else:
            self._counters.paths_taken += not was_direct
            selector, port = peer.selector, self._ports[family_of(remote[0])]
            later = partial(self._loop.call_soon, context=self._context)
            way = Way(
                port,
                remote,
                selector,
                on_used=partial(later, self._receive_use, peer_id),
                on_failed=partial(later, self._give_up, peer_id),
                on_doubted=partial(later, self._receive_doubt, peer_id),
            )
            peer.hosts = list({host: None for host, _ in there})
            self.ways.update(dict.fromkeys(peer.hosts, way))
            self._by_direct[remote] = peer_id
            logger.info("peer %s is reached directly at %s", peer_id.short, remote)
        size = None if remote is None else peer.selector.direct_bytes
        for addr in there:
            self._owner.receive_move(addr, size)

    def _leave_way(self, peer: _Peer) -> None:
        for host in peer.hosts:
            if way := self.ways.pop(host, None):
                self._by_direct.pop(way.remote, None)
        peer.hosts = []

    # Addresses.

    def _is_worth_probing(self, addr: SocketAddr) -> bool:
        port = self._ports.get(family_of(addr[0]))
        return (
            port is not None
            and addr not in port.addrs
            and is_worth_probing(addr, hears_loopback=self._hears_loopback)
        )

    def _bytes_max(self, addr: SocketAddr) -> int:
        if is_loopback(addr[0]):
            return max(BASE, self._config.datagram_bytes_loopback)
        headers = 20 if family_of(addr[0]) == socket.AF_INET6 else 0
        return max(BASE, self._config.datagram_bytes_max - headers)

    def _send(self, data: bytes, remote: SocketAddr) -> None:
        if not self._is_closed:
            self._owner.send(self._ports[family_of(remote[0])], data, remote)


def _ignore(_event: object) -> None:
    """Let what follows an offer be."""
