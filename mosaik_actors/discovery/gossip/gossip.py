"""Gossip: the overlay, the broadcast over it and the probes, as one state machine.

The overlay says who the neighbours are, the broadcast says what they get, the
prober says when they are asked how long an answer takes. All have ``now`` in
monotonic seconds. A departed node keeps its links until what it said last has
gone out, and takes part in nothing else.

HyParView takes every message for a test of its link. Here the transport keeps
links alive, and needs its idle timeout to notice that a peer is gone, which is
long. So a neighbour whose connection brought nothing for `_SILENT_S`, not even
the answer to a keep-alive, is verified (`VerifyNeighbours`). Where everybody
lives this costs a look at a few numbers now and then, and sends nothing. A node that cannot
keep up gives its neighbours more time (`lateness`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from random import Random

import msgspec

from ...ids import PeerId
from ...transport.address import PeerAddr, without_loopback
from ...transport.close import CloseCode, CloseReason
from ..config import DiscoveryConfig
from ..entry import SignedPeerEntry
from ..info import PeerInfo
from ..rtt import ProbesDue, RttProber, RttSampled
from ..suspicion import CLAIM_COUNT_MAX
from ..wire import (
    Announce,
    GossipFrame,
    Graft,
    IHave,
    LinkPurpose,
    Ping,
    Pong,
    Prune,
    Suspect,
    encode_frame,
)
from .announcements import BroadcastEvent, SendFrames
from .broadcast import Broadcast
from .edges import DropNeighbour, Offer, OverlayEvent, Purpose
from .lateness import Lateness
from .overlay import Overlay

_LASTING_MAX = 1024
_SILENT_S = 5.0
_VERIFIED_S = 1.0  # a silent neighbour is looked at again after this


class LookAtLinks(msgspec.Struct, frozen=True):
    """See when each neighbour was heard last, and report it with `Gossip.receive_heard`."""


class VerifyNeighbours(msgspec.Struct, frozen=True):
    """Try to reach these neighbours, and close the links of those that do not answer soon.

    Report those with `Gossip.receive_link_down`, as any other link that broke.
    """

    peers: tuple[PeerId, ...]


GossipEvent = (
    OverlayEvent | BroadcastEvent | LookAtLinks | VerifyNeighbours | RttSampled | ProbesDue
)


class Gossip:
    """Neighbours, and what they are sent.

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
        self.rtt = RttProber(config, rng, now=now)
        self._probes_all = config.max_rtt is not None
        self._look_at = now + _SILENT_S
        self._lateness = Lateness()
        self._heard: dict[PeerId, None] = {}  # since the last round of measurements
        self._lasting: dict[PeerId, PeerAddr] = {}
        self._events: deque[GossipEvent] = deque()

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

    def receive_lasting(self, addr: PeerAddr, *, now: float) -> None:
        """Take in a peer that this node was told to know for good."""
        if addr.peer_id in self._lasting or len(self._lasting) < _LASTING_MAX:
            self._lasting[addr.peer_id] = addr
        self.overlay.receive_hints("dialled", self._lasting.values(), now=now)

    def is_hinted(self, peer_id: PeerId) -> bool:
        """Return whether this node was asked, by its user or by a finder, to dial a peer."""
        return self.overlay.is_hinted(peer_id)

    def complete_addr(self, addr: PeerAddr) -> PeerAddr:
        """Return an address with all further ways to that peer that are known."""
        return self.overlay.complete_addr(addr)

    def receive_fresh(
        self,
        entries: Sequence[SignedPeerEntry],
        source: PeerId | None,
        replaced: Mapping[PeerId, SignedPeerEntry],
        *,
        is_synced: bool = False,
        now: float,
    ) -> None:
        """Take in entries that are new to the catalog, the own one among them or not.

        See `Broadcast.receive_fresh`.
        """
        others = [signed for signed in entries if signed.peer_id != self._me]
        if others:
            self.overlay.receive_departed(others)
            self.broadcast.receive_fresh(others, source, replaced, is_synced=is_synced, now=now)
        if len(others) == len(entries):
            return
        for signed in entries:
            if signed.peer_id == self._me:
                self.overlay.receive_own(signed, now=now)
                self.broadcast.receive_own(signed, now=now)
                if signed.entry.departed:
                    self.overlay.close()

    def receive_frame(self, source: PeerId, frame: GossipFrame, *, now: float) -> Sequence[bytes]:
        """Take in a frame from a neighbour.

        Returns:
            Encoded entries that were not here before: let the catalog judge
            them, and bring back with `receive_fresh` those that it accepts.
        """
        self._heard[source] = None
        match frame:
            case Announce():
                return self.broadcast.receive_announce(source, frame)
            case IHave():
                self.broadcast.receive_ihave(source, frame, now=now)
            case Graft():
                self.broadcast.receive_graft(source, frame)
            case Prune():
                self.broadcast.receive_prune(source)
            case Suspect():
                pass  # the catalog judges claims; what it accepts comes back
            case Ping(number):
                self._events.append(SendFrames((source,), (encode_frame(Pong(number)),)))
            case Pong(number):
                rtt_s = self.rtt.receive_pong(source, number, now=now)
                if rtt_s is not None:
                    self._events.append(RttSampled(source, rtt_s))
            case _:
                self.overlay.receive_frame(source, frame, now=now)
        return ()

    def receive_claims(
        self,
        claims: Sequence[bytes],
        accused: Iterable[PeerId],
        source: PeerId | None,
        *,
        now: float,
    ) -> None:
        """Pass on claims that the catalog accepted; what the accused say next is urgent.

        Args:
            claims: The claims.
            accused: Whom these, and claims about this node, accuse.
            source: The neighbour that sent them; None for own ones.
            now: Monotonic time in seconds.
        """
        for peer_id in accused:
            self.broadcast.receive_accused(peer_id, now=now)
        others = tuple(peer for peer in self.overlay.neighbours if peer != source)
        if claims and others:
            self._events.append(SendFrames(others, suspect_frames(claims)))

    def judge_link(
        self, peer_id: PeerId, purpose: LinkPurpose, *, may_be_local: bool, now: float
    ) -> Offer | CloseReason:
        """Return what to do with a link that a peer opened: `Offer.GUEST` is one sync or probe."""
        if purpose.purpose == "sync" or purpose.purpose == "probe":
            return Offer.GUEST
        addr = None if purpose.contact is None else purpose.contact.addr
        if addr is not None and not may_be_local:
            addr = without_loopback(addr)
        if addr is not None and addr.peer_id != peer_id:
            return CloseReason(CloseCode.PROTOCOL_VIOLATION, "the contact is somebody else")
        offer = self.receive_offer(peer_id, purpose.purpose, addr, urgent=purpose.urgent, now=now)
        if offer in (Offer.ACCEPT, Offer.GUEST):
            return offer
        return CloseReason(CloseCode.GRACEFUL_SHUTDOWN, offer.value)

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
        self._heard.pop(peer_id, None)
        self.broadcast.receive_neighbour_down(peer_id)
        self.overlay.receive_link_down(peer_id, code=code, now=now)

    def receive_late(self, late_s: float, *, now: float) -> bool:
        """Take in how late this process is; return whether it stood still.

        Its neighbours may have given it up meanwhile: they are verified.
        """
        if not self._lateness.receive(late_s, now=now):
            return False
        self._look_at = now + _SILENT_S
        if self.overlay.neighbours and not self.overlay.is_closed:
            self._events.append(VerifyNeighbours(self.overlay.neighbours))
        return True

    def allowance_s(self, *, now: float) -> float:
        """Return how much longer than usual others may take to answer, in seconds."""
        return self._lateness.allowance_s(now=now)

    def receive_heard(self, heard_at: Mapping[PeerId, float], *, now: float) -> None:
        """Take in when neighbours were heard last; those that are silent are verified."""
        silent_s = _SILENT_S + self.allowance_s(now=now)
        silent = tuple(peer for peer, at in heard_at.items() if now >= at + silent_s)
        due_at = [at + silent_s for at in heard_at.values() if now < at + silent_s]
        if silent:
            self._events.append(VerifyNeighbours(silent))
            due_at.append(now + _VERIFIED_S)
        self._look_at = min(due_at, default=now + _SILENT_S)

    def receive_dial_failed(self, peer_id: PeerId, *, code: int, now: float) -> None:
        """Note that a dial failed with a close code."""
        self.overlay.receive_dial_failed(peer_id, code=code, now=now)

    def receive_guest_done(self, peer_id: PeerId, *, now: float) -> None:
        """Note that a peer without room for us has synced with us."""
        self.overlay.receive_guest_done(peer_id, now=now)

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in monotonic seconds; None for never."""
        due_at = self.overlay.get_timer()
        other = self.broadcast.get_timer()
        if other is not None and (due_at is None or other < due_at):
            due_at = other
        if self.overlay.is_closed:
            return due_at
        has_neighbours = bool(self.overlay.neighbours)
        if has_neighbours and (due_at is None or self._look_at < due_at):
            due_at = self._look_at
        if has_neighbours or self._probes_all:
            round_at = self.rtt.get_timer()
            due_at = round_at if due_at is None else min(due_at, round_at)
        return due_at

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. May be called early."""
        look_at = self._next_look_at()
        if look_at is not None and now >= look_at:
            self._look_at = now + _SILENT_S
            self._events.append(LookAtLinks())
        round_at = self._round_at()
        if round_at is not None and now >= round_at:
            self._measure(now)
        self.overlay.handle_timer(now=now)
        self.broadcast.handle_timer(now=now)

    def next_event(self) -> GossipEvent | None:
        """Return the next event not yet handed out, or None."""
        if self._events:
            return self._events.popleft()
        event = self.overlay.next_event()
        if event is None:
            return self.broadcast.next_event()
        if isinstance(event, DropNeighbour):
            self._heard.pop(event.peer_id, None)
            self.broadcast.receive_neighbour_down(event.peer_id)
        return event

    def _next_look_at(self) -> float | None:
        is_idle = not self.overlay.neighbours or self.overlay.is_closed
        return None if is_idle else self._look_at

    def _round_at(self) -> float | None:
        """Return when to measure again; never while there is nothing to measure."""
        is_idle = not self.overlay.neighbours and not self._probes_all
        return None if is_idle or self.overlay.is_closed else self.rtt.get_timer()

    def _measure(self, now: float) -> None:
        """Ping silent neighbours, and have others probed where that was asked for.

        Links that carry something are measured by the transport as it is.
        """
        silent = tuple(peer for peer in self.overlay.neighbours if peer not in self._heard)
        self._heard.clear()
        number = self.rtt.start_round(silent, now=now)
        if silent:
            self._events.append(SendFrames(silent, (encode_frame(Ping(number)),)))
        if self._probes_all:
            self._events.append(ProbesDue())


def suspect_frames(claims: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return claims as the frames in which they travel."""
    firsts = range(0, len(claims), CLAIM_COUNT_MAX)
    return tuple(encode_frame(Suspect(tuple(claims[at : at + CLAIM_COUNT_MAX]))) for at in firsts)
