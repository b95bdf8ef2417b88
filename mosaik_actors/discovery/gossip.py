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
from .overlay import DropNeighbour, Offer, Overlay, OverlayEvent, Purpose
from .wire import Announce, GossipFrame, Graft, IHave, Prune

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
        self.overlay = Overlay(me, config, rng, now=now)
        self.broadcast = Broadcast(me, config, rng, now=now)

    @property
    def neighbours(self) -> tuple[PeerId, ...]:
        """The peers with a link, the oldest first."""
        return self.overlay.neighbours

    def receive_known(
        self,
        known: Mapping[PeerId, PeerInfo],
        past: Sequence[SignedPeerEntry] = (),
        *,
        now: float,
    ) -> None:
        """Take in the catalog. See `Overlay.receive_known`."""
        self.broadcast.receive_peer_count(len(known))
        self.overlay.receive_known(known, past, now=now)

    def receive_hints(self, source: str, addrs: Iterable[PeerAddr], *, now: float) -> None:
        """Take in where peers may be found. See `Overlay.receive_hints`."""
        self.overlay.receive_hints(source, addrs, now=now)

    def complete_addr(self, addr: PeerAddr) -> PeerAddr:
        """Return an address with all further ways to that peer that are known."""
        return self.overlay.complete_addr(addr)

    def receive_fresh(
        self,
        entries: Sequence[SignedPeerEntry],
        source: PeerId | None,
        *,
        is_synced: bool = False,
        now: float,
    ) -> None:
        """Take in entries that are new to the catalog, the own one among them or not."""
        others = [signed for signed in entries if signed.peer_id != self._me]
        if others:
            self.overlay.receive_signs_of_life(others, now=now)
            self.broadcast.receive_fresh(others, source, is_synced=is_synced, now=now)
        if len(others) == len(entries):
            return
        for signed in entries:
            if signed.peer_id == self._me:
                self.overlay.receive_own_addr(signed.addr)
                self.broadcast.receive_own(signed, now=now)
                if signed.entry.departed:
                    self.overlay.close()

    def receive_frame(self, source: PeerId, frame: GossipFrame, *, now: float) -> Sequence[bytes]:
        """Take in a frame from a neighbour.

        Returns:
            Encoded entries that were not here before: let the catalog judge
            them, and bring back with `receive_fresh` those that it accepts.
        """
        match frame:
            case Announce():
                return self.broadcast.receive_announce(source, frame)
            case IHave():
                self.broadcast.receive_ihave(source, frame, now=now)
            case Graft():
                self.broadcast.receive_graft(source, frame)
            case Prune():
                self.broadcast.receive_prune(source)
            case _:
                self.overlay.receive_frame(source, frame, now=now)
        return ()

    def receive_offer(
        self, peer_id: PeerId, purpose: Purpose, addr: PeerAddr | None, *, urgent: bool, now: float
    ) -> Offer:
        """Decide on a neighbour link that a peer opened."""
        offer = self.overlay.receive_offer(peer_id, purpose, addr, urgent=urgent, now=now)
        if offer is Offer.ACCEPT:
            self.broadcast.receive_neighbour_up(peer_id)
        return offer

    def receive_link_up(self, peer_id: PeerId, *, now: float) -> None:
        """Note that the neighbour link we dialled is open."""
        self.overlay.receive_link_up(peer_id, now=now)
        self.broadcast.receive_neighbour_up(peer_id)

    def receive_link_down(self, peer_id: PeerId, *, code: int, now: float) -> None:
        """Note that the link to a neighbour ended."""
        self.broadcast.receive_neighbour_down(peer_id)
        self.overlay.receive_link_down(peer_id, code=code, now=now)

    def receive_dial_failed(self, peer_id: PeerId, *, code: int, now: float) -> None:
        """Note that a dial failed with a close code."""
        self.overlay.receive_dial_failed(peer_id, code=code, now=now)

    def receive_guest_done(self, peer_id: PeerId, *, now: float) -> None:
        """Note that a peer without room for us has synced with us."""
        self.overlay.receive_guest_done(peer_id, now=now)

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in monotonic seconds; None for never."""
        timers = (self.overlay.get_timer(), self.broadcast.get_timer())
        return min((due for due in timers if due is not None), default=None)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. May be called early."""
        self.overlay.handle_timer(now=now)
        self.broadcast.handle_timer(now=now)

    def next_event(self) -> GossipEvent | None:
        """Return the next event not yet handed out, or None."""
        event = self.overlay.next_event()
        if event is None:
            return self.broadcast.next_event()
        if isinstance(event, DropNeighbour):
            self.broadcast.receive_neighbour_down(event.peer_id)
        return event
