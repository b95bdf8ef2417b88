"""Gossip: the overlay and the broadcast over it, as one state machine.

The overlay says who the neighbours are, the broadcast says what they get. Both
have ``now`` in monotonic seconds. A departed node keeps its links until what it
said last has gone out, and takes part in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from ..ids import PeerId
from ..transport.address import PeerAddr
from .broadcast import Broadcast, BroadcastEvent
from .config import DiscoveryConfig
from .entry import SignedPeerEntry
from .info import PeerInfo
from .overlay import DropNeighbour, Offer, Overlay, OverlayEvent

GossipEvent = OverlayEvent | BroadcastEvent


class Gossip:
    """Neighbours, and what they are told.

    Args:
        me: This node.
        config: The settings of both parts.
        rng: Where both draw from.
        now: Monotonic time in seconds.
    """

    def __init__(self, me: PeerId, config: DiscoveryConfig, rng: Random, *, now: float) -> None:
        self._me = me
        self._overlay = Overlay(me, config, rng, now=now)
        self._broadcast = Broadcast(config, rng, now=now)

    @property
    def neighbours(self) -> tuple[PeerId, ...]:
        """The peers with a link, the oldest first."""
        return self._overlay.neighbours

    def receive_known(self, known: Mapping[PeerId, PeerInfo], *, now: float) -> None:
        """Take in the catalog. See `Overlay.receive_known`."""
        self._overlay.receive_known(known, now=now)

    def receive_hints(self, source: str, addrs: Iterable[PeerAddr], *, now: float) -> None:
        """Take in where peers may be found. See `Overlay.receive_hints`."""
        self._overlay.receive_hints(source, addrs, now=now)

    def complete_addr(self, addr: PeerAddr) -> PeerAddr:
        """Return an address with all further ways to that peer that are known."""
        return self._overlay.complete_addr(addr)

    def receive_fresh(
        self, entries: Sequence[SignedPeerEntry], source: PeerId | None, *, now: float
    ) -> None:
        """Take in entries that are new to the catalog, the own one among them or not."""
        others = [signed for signed in entries if signed.peer_id != self._me]
        self._broadcast.receive_fresh(others, source)
        for signed in entries:
            if signed.peer_id == self._me:
                self._broadcast.receive_own(signed, now=now)
                if signed.entry.departed:
                    self._overlay.close()

    def receive_offer(self, peer_id: PeerId, *, urgent: bool, now: float) -> Offer:
        """Decide on a neighbour link that a peer opened."""
        offer = self._overlay.receive_offer(peer_id, urgent=urgent, now=now)
        if offer is Offer.ACCEPT:
            self._broadcast.receive_neighbour_up(peer_id)
        return offer

    def receive_link_up(self, peer_id: PeerId, *, now: float) -> None:
        """Note that the neighbour link we dialled is open."""
        self._overlay.receive_link_up(peer_id, now=now)
        self._broadcast.receive_neighbour_up(peer_id)

    def receive_link_down(self, peer_id: PeerId, *, code: int, now: float) -> None:
        """Note that the link to a neighbour ended."""
        self._broadcast.receive_neighbour_down(peer_id)
        self._overlay.receive_link_down(peer_id, code=code, now=now)

    def receive_dial_failed(self, peer_id: PeerId, *, code: int, now: float) -> None:
        """Note that a dial failed with a close code."""
        self._overlay.receive_dial_failed(peer_id, code=code, now=now)

    def receive_sync_done(self, peer_id: PeerId, *, now: float) -> None:
        """Note that a sync that was asked for is through."""
        self._overlay.receive_sync_done(peer_id, now=now)

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in monotonic seconds; None for never."""
        timers = (self._overlay.get_timer(), self._broadcast.get_timer())
        return min((due for due in timers if due is not None), default=None)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. May be called early."""
        self._overlay.handle_timer(now=now)
        self._broadcast.handle_timer(now=now)

    def next_event(self) -> GossipEvent | None:
        """Return the next event not yet handed out, or None."""
        event = self._overlay.next_event()
        if event is None:
            return self._broadcast.next_event()
        if isinstance(event, DropNeighbour):
            self._broadcast.receive_neighbour_down(event.peer_id)
        return event
