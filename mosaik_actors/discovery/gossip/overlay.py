"""The overlay: which few peers this node keeps links to.

A pure state machine. It opens no link: the caller dials what `next_event` says
and reports what became of it. ``now`` is monotonic time in seconds.

HyParView (Leitao, Pereira, Rodrigues: HyParView, DSN 2007). A node keeps two
partial views of the network:

    * the *active view*: its neighbours. A link is one edge, in the views of
      both its ends; the transport notices when it breaks.
    * the *passive view*: more peers, which replace neighbours that are lost.

How they come about:

    1. Joining: a newcomer dials somebody it has heard of (`DialNeighbour` with
       the purpose ``join``). The contact sends its neighbours a `ForwardJoin`,
       which walks at random through the network; who holds it in the end dials
       the newcomer, and who holds it on the way remembers it.
    2. Repair: below ``neighbours_min`` a node dials peers of its passive view.
       Who has no neighbour at all is never refused for want of room; whoever
       takes it in lets another one go, which goes to the passive view.
    3. Shuffles: every ``shuffle_interval`` a node sends a sample of its views on
       a random walk, and gets as large a sample of the passive view where it
       ends. So the passive views keep up with who is there.

Where we differ from the paper, and why:
    * A view has room between ``neighbours_min``, below which it is repaired, and
      ``neighbours_max``, above which it sheds. With one number for both, most
      requests of low priority would be refused.
    * A contact without room makes the newcomer its guest for one sync instead of
      its neighbour. A thousand nodes that join at one contact would otherwise
      push each other, and all older neighbours, out of its view.
    * As many walks as a newcomer needs neighbours start from the contact, and one
      that ends where there is no room only leaves the newcomer in the passive
      view there: pushing another one out would make that one look for a place.
      A newcomer that is left with too few repairs its view like everybody else.
    * A neighbour is let go a moment after the view has grown too large, not at
      once: its first sync goes undisturbed.
    * The reply to a shuffle goes back the way the shuffle came: opening a
      connection for it would cost more than all its hops.
    * The catalog knows everybody. It serves as further candidates where the
      passive view has none, and it shows who has been silent for too long: one
      of those at a time is dialled, so that two halves of a network that lost
      each other find together. The paper has nothing for that case.
    * A peer that cannot be reached waits, twice as long after each failure.
    * When two dial each other at once, the link of the smaller id stays; of many that were
      found on the spot a few are joined (see `strangers`).

Invariants:
    * A neighbour is not dialled. It may become one while it is being dialled.
    * No peer is in both views, and this node is in neither.
    * At most ``dials_max`` peers are dialled at the same time, and the passive
      view holds at most ``passive_max``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from ...ids import PeerId
from ...transport.address import PeerAddr
from ...transport.close import CloseCode
from ..config import DiscoveryConfig
from ..entry import SignedPeerEntry
from ..info import PeerInfo
from ..wire import (
    CONTACT_COUNT_MAX,
    WALK_LENGTH_MAX,
    Contact,
    ForwardJoin,
    MembershipFrame,
    Shuffle,
    ShuffleReply,
)
from .addresses import Addresses, in_random_order, merge_addrs
from .edges import DialNeighbour, DropNeighbour, Offer, OverlayEvent, Purpose, SendFrame
from .pauses import DialPauses
from .strangers import Strangers

# The values with which the paper was evaluated (section 5.1).
ACTIVE_WALK = 6
PASSIVE_WALK = 3
SHUFFLED_ACTIVE = 3
SHUFFLED_PASSIVE = 4

_SETTLE_S = 1.0  # a new neighbour is left in peace for its first sync
_JOIN_S = 0.5  # a newcomer waits this long to be dialled before it dials
_REFUSALS_MAX = 3  # refused so often in a row, a node insists
_SILENT_INTERVALS = 4  # how long a sign of life may take to get here


class Overlay:
    """The state machine of this module's docstring.

    Args:
        config: How many neighbours, and when to try again.
        rng: Where picks are drawn from.
    """

    def __init__(self, me: PeerId, config: DiscoveryConfig, rng: Random, *, now: float) -> None:
        self._me = me
        self._config = config
        self._rng = rng
        self._own_addr = PeerAddr(me)
        self._addresses = Addresses(me, config.peers_max)
        self._pauses = DialPauses(config, rng)
        self._strangers = Strangers(config, self._addresses, self._pauses, rng, now=now)
        self._active: dict[PeerId, float] = {}
        self._passive: dict[PeerId, PeerAddr] = {}
        self._shuffled: tuple[PeerId, ...] = ()
        self._dials: dict[PeerId, Purpose] = {}
        self._refusal_count = 0
        self._wait_until = now
        self._waits = False
        self._events: deque[OverlayEvent] = deque()
        self._is_closed = False
        self._shuffle_at = now + self._pauses.spread(config.shuffle_interval)

    @property
    def neighbours(self) -> tuple[PeerId, ...]:
        """The active view: the peers with a link, the oldest first."""
        return tuple(self._active)

    @property
    def is_closed(self) -> bool:
        """Whether nobody is dialled or accepted any more."""
        return self._is_closed

    @property
    def passive(self) -> tuple[PeerId, ...]:
        """The passive view."""
        return tuple(self._passive)

    # What is known.

    def receive_known(
        self,
        known: Mapping[PeerId, PeerInfo],
        past: Sequence[SignedPeerEntry] = (),
        *,
        now: float,
    ) -> None:
        """Take in the catalog: who is there, and what those said last who fell silent."""
        count_before = len(self._addresses.known)
        self._addresses.known = known
        self._addresses.past = past
        self._strangers.receive_known(count_before, now=now)
        self._step(now)

    def receive_departed(self, entries: Iterable[SignedPeerEntry]) -> None:
        """Note that those of these peers are gone whose entries say so."""
        for signed in entries:
            if signed.entry.departed:
                self._passive.pop(signed.peer_id, None)

    def receive_own(self, own: SignedPeerEntry, *, now: float) -> None:
        """Take in the own entry, which was written just now."""
        self._own_addr = own.addr
        self._addresses.receive_own(own, now=now)

    def receive_hints(self, source: str, addrs: Iterable[PeerAddr], *, now: float) -> None:
        """Take in where peers may be found, in place of what `source` said before."""
        self._addresses.receive_hints(source, addrs)
        self._strangers.find(now=now)
        self._step(now)

    def is_hinted(self, peer_id: PeerId) -> bool:
        """Return whether somebody said where the peer may be found."""
        return self._addresses.is_hinted(peer_id)

    def complete_addr(self, addr: PeerAddr) -> PeerAddr:
        """Return an address with all further ways to that peer that are known."""
        return merge_addrs(addr, self._find_addr(addr.peer_id) or addr)

    def dial_again(self, peer_id: PeerId) -> None:
        """Try to have a peer as a neighbour that did not answer, unless it was tried just now."""
        addr = self._find_addr(peer_id)
        if addr is not None and not self._is_closed and self._may_dial(peer_id):
            self._dial(addr, "neighbour", urgent=True)

    # What became of links.

    def receive_offer(
        self, peer_id: PeerId, purpose: Purpose, addr: PeerAddr | None, *, urgent: bool, now: float
    ) -> Offer:
        """Decide on a neighbour link that a peer opened; accepted, it is a neighbour.

        Args:
            peer_id: Who opened it.
            purpose: What for.
            addr: Where it says it can be reached, None when it does not say.
            urgent: Whether it insists.
            now: Monotonic time in seconds.
        """
        is_new = peer_id not in self._active
        if is_new and peer_id in self._dials and self._me < peer_id:
            return Offer.REFUSE_CROSSED
        if self._is_closed:
            return Offer.REFUSE_FULL
        if purpose == "join":
            self._forward_join(peer_id, addr)
        elif is_new and not self._has_room(self._config.links_max if urgent else 0):
            return Offer.REFUSE_FULL
        if is_new and purpose == "join" and not self._has_room():
            return Offer.GUEST
        self._add(peer_id, now)
        return Offer.ACCEPT

    def receive_link_up(self, peer_id: PeerId, *, now: float) -> None:
        """Note that the neighbour link we dialled is open."""
        if self._dials.pop(peer_id, None) == "join":
            self._receive_joined(now)
        self._refusal_count = 0
        self._add(peer_id, now)
        self._step(now)

    def receive_guest_done(self, peer_id: PeerId, *, now: float) -> None:
        """Note that a peer without room for us has synced with us."""
        self._dials.pop(peer_id, None)
        # It knows others to dial. If not, because all have just started, ask again soon.
        self._pauses.back_off(peer_id, _JOIN_S, now=now)
        self._receive_joined(now)
        self._step(now)

    def receive_dial_failed(self, peer_id: PeerId, *, code: int, now: float) -> None:
        """Note that a dial failed with a close code."""
        self._dials.pop(peer_id, None)
        if peer_id not in self._active:
            self._block(peer_id, code, now)
            if code == CloseCode.GRACEFUL_SHUTDOWN:
                self._refusal_count += 1
        self._step(now)

    def receive_link_down(self, peer_id: PeerId, *, code: int, now: float) -> None:
        """Note that the link to a neighbour ended, by its doing or by accident."""
        if self._active.pop(peer_id, None) is not None:
            self._block(peer_id, code, now)
            if code == CloseCode.GRACEFUL_SHUTDOWN:
                self._remember(peer_id, self._find_addr(peer_id))
        self._step(now)

    # What neighbours send.

    def receive_frame(self, source: PeerId, frame: MembershipFrame, *, now: float) -> None:
        """Take in a frame of the membership."""
        if self._is_closed:
            return
        match frame:
            case ForwardJoin(contact, steps):
                self._receive_forward_join(source, contact, steps)
            case Shuffle():
                self._receive_shuffle(source, frame)
            case ShuffleReply(contacts, path):
                self._receive_shuffle_reply(contacts, path)
        self._step(now)

    # Time, and what came of it all.

    def close(self) -> None:
        """Dial and accept nobody any more."""
        self._is_closed = True
        self._events.clear()

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in monotonic seconds; None for never."""
        if self._is_closed:
            return None
        due_at = self._shuffle_at
        if len(self._active) > self._config.neighbours_max:
            due_at = min(due_at, min(self._active.values()) + _SETTLE_S)
        if len(self._dials) < self._config.dials_max:
            if self._lacks_neighbours():
                if self._waits:
                    due_at = min(due_at, self._wait_until)
                for peer_id, until in self._pauses.items():
                    if until < due_at and self._is_wanted(peer_id):
                        due_at = until
            if self._strangers.are_any:
                state = not self._active, self._join_count()
                due_at = min(due_at, self._strangers.get_timer(*state, self._is_linked))
        return due_at

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. May be called early."""
        if self._is_closed:
            return
        if now >= self._shuffle_at:
            self._shuffle_at = now + self._pauses.spread(self._config.shuffle_interval)
            self._shuffle()
            self._dial_silent(now)
            self._pauses.keep_failures(lambda peer_id: self._find_addr(peer_id) is not None)
            self._strangers.find(now=now)
        self._step(now)

    def next_event(self) -> OverlayEvent | None:
        """Return the oldest event not yet handed out, or None."""
        return self._events.popleft() if self._events else None

    # Helpers: the active view.

    def _step(self, now: float) -> None:
        if self._is_closed:
            return
        self._waits = now < self._wait_until
        self._pauses.expire(now=now)
        while len(self._active) > self._config.neighbours_max:
            settled = [peer for peer, since in self._active.items() if since + _SETTLE_S <= now]
            if not settled:
                break
            self._drop(self._rng.choice(settled), now)
        if self._strangers.are_any and len(self._dials) < self._config.dials_max:
            self._join_strangers(now)
        may_dial = len(self._dials) < self._config.dials_max and not self._waits
        if may_dial and self._lacks_neighbours():
            self._repair()

    def _repair(self) -> None:
        """Dial from the passive view, then from the catalog, then from the past."""
        urgent = not self._active or self._refusal_count >= _REFUSALS_MAX
        # Who knows nobody else yet is led on by the contact, again if need be.
        is_new = not self._active and len(self._addresses.known) < self._config.neighbours_min
        purpose: Purpose = "join" if is_new else "neighbour"
        past = [one.peer_id for one in self._addresses.past]
        for pool in (self._passive, self._addresses.known, past):
            for peer_id in in_random_order(self._rng, list(pool)):
                if not self._lacks_neighbours() or len(self._dials) >= self._config.dials_max:
                    return
                if self._may_dial(peer_id):
                    addr = self._find_addr(peer_id)
                    assert addr is not None, f"nobody knows where {peer_id.short} is"
                    self._dial(addr, purpose, urgent=urgent)

    def _dial(self, addr: PeerAddr, purpose: Purpose, *, urgent: bool) -> bool:
        if len(self._dials) >= self._config.dials_max:
            return False
        self._dials[addr.peer_id] = purpose
        self._events.append(DialNeighbour(addr, purpose, urgent))
        return True

    def _add(self, peer_id: PeerId, now: float) -> None:
        self._active[peer_id] = now
        self._passive.pop(peer_id, None)
        self._pauses.forget(peer_id)

    def _drop(self, peer_id: PeerId, now: float) -> None:
        del self._active[peer_id]
        self._remember(peer_id, self._find_addr(peer_id))
        self._pauses.avoid(peer_id, now=now)
        self._events.append(DropNeighbour(peer_id))

    def _has_room(self, room: int = 0) -> bool:
        return len(self._active) < (room or self._config.neighbours_max)

    def _lacks_neighbours(self) -> bool:
        return len(self._active) + len(self._dials) < self._config.neighbours_min

    def _may_dial(self, peer_id: PeerId) -> bool:
        return not (peer_id in self._pauses or peer_id == self._me or self._is_linked(peer_id))

    def _is_linked(self, peer_id: PeerId) -> bool:
        return peer_id in self._active or peer_id in self._dials

    def _is_wanted(self, peer_id: PeerId) -> bool:
        return not self._is_linked(peer_id) and self._find_addr(peer_id) is not None

    def _block(self, peer_id: PeerId, code: int, now: float) -> None:
        if self._pauses.block(peer_id, code, now=now):
            self._passive.pop(peer_id, None)

    # Helpers: joining.

    def _join_strangers(self, now: float) -> None:
        alone, joins = not self._active, self._join_count()
        for peer_id in self._strangers.choose(alone, joins, self._may_dial, now=now):
            addr = self._find_addr(peer_id)
            assert addr is not None, f"nobody knows where {peer_id.short} is"
            self._dial(addr, "join", urgent=alone)

    def _join_count(self) -> int:
        return sum(purpose == "join" for purpose in self._dials.values())

    def _receive_joined(self, now: float) -> None:
        self._wait_until = now + _JOIN_S
        self._strangers.receive_joined(now=now)

    def _forward_join(self, peer_id: PeerId, addr: PeerAddr | None) -> None:
        known = self._find_addr(peer_id)
        if addr is None:
            addr = known
        elif known is not None:
            addr = merge_addrs(addr, known)
        if addr is None:
            return
        others = [neighbour for neighbour in self._active if neighbour != peer_id]
        for neighbour in _sample(self._rng, others, self._config.neighbours_min):
            self._send(neighbour, ForwardJoin(Contact.of(addr), ACTIVE_WALK))

    def _receive_forward_join(self, source: PeerId, contact: Contact, steps: int) -> None:
        peer_id = contact.peer
        if peer_id == self._me:
            return
        is_neighbour = peer_id in self._active or peer_id in self._dials
        others = [one for one in self._active if one not in (source, peer_id)]
        if not is_neighbour and (steps == 0 or not others):
            if not (self._has_room() and self._dial(contact.addr, "neighbour", urgent=True)):
                self._remember(peer_id, contact.addr)
            return
        if steps == PASSIVE_WALK:
            self._remember(peer_id, contact.addr)
        if steps and others:
            steps = min(steps, ACTIVE_WALK) - 1
            self._send(self._rng.choice(others), ForwardJoin(contact, steps))

    # Helpers: the passive view.

    def _shuffle(self) -> None:
        if not self._active:
            return
        target = self._rng.choice(list(self._active))
        others = [peer for peer in self._active if peer != target]
        active = _sample(self._rng, others, SHUFFLED_ACTIVE)
        passive = _sample(self._rng, list(self._passive), SHUFFLED_PASSIVE)
        self._shuffled = tuple(passive)
        contacts = (Contact.of(self._own_addr), *self._contacts_of([*active, *passive]))
        self._send(target, Shuffle(contacts, ACTIVE_WALK, (self._me,)))

    def _receive_shuffle(self, source: PeerId, shuffle: Shuffle) -> None:
        path = shuffle.path
        if not path or path[-1] != source or len(path) > ACTIVE_WALK:
            return
        others = [peer for peer in self._active if peer not in path]
        steps = min(shuffle.steps, ACTIVE_WALK) - 1
        if steps > 0 and others:
            following = Shuffle(shuffle.contacts, steps, (*path, self._me))
            self._send(self._rng.choice(others), following)
            return
        count = min(len(shuffle.contacts), CONTACT_COUNT_MAX)
        answer = _sample(self._rng, list(self._passive), count)
        self._send(source, ShuffleReply(tuple(self._contacts_of(answer)), path))
        self._integrate(shuffle.contacts, answer)

    def _receive_shuffle_reply(
        self, contacts: tuple[Contact, ...], path: tuple[PeerId, ...]
    ) -> None:
        if not path or path[-1] != self._me:
            return
        if len(path) == 1:
            self._integrate(contacts, self._shuffled)
        elif path[-2] in self._active:
            self._send(path[-2], ShuffleReply(contacts, path[:-1]))

    def _integrate(self, contacts: Iterable[Contact], sent: Sequence[PeerId]) -> None:
        """Take contacts into the passive view; those sent away make room first."""
        replaceable = list(sent)
        for contact in contacts:
            while (
                contact.peer not in self._passive
                and len(self._passive) >= self._config.passive_max
                and replaceable
            ):
                self._passive.pop(replaceable.pop(), None)
            self._remember(contact.peer, contact.addr)

    def _remember(self, peer_id: PeerId, addr: PeerAddr | None) -> None:
        """Put a peer into the passive view, in place of a random one when it is full."""
        if addr is None or peer_id == self._me or peer_id in self._active:
            return
        if peer_id not in self._passive and len(self._passive) >= self._config.passive_max:
            del self._passive[self._rng.choice(list(self._passive))]
        self._passive[peer_id] = addr

    def _contacts_of(self, peers: Iterable[PeerId]) -> list[Contact]:
        addrs = [self._find_addr(peer_id) for peer_id in peers]
        return [Contact.of(addr) for addr in addrs if addr is not None]

    # Helpers: those who fell silent, and addresses.

    def _dial_silent(self, now: float) -> None:
        """Try one peer that was not heard of for too long: it may be a whole network."""
        interval_s, spread_s = self._config.plan_announcements(len(self._addresses.known))
        silent_for_s = interval_s + spread_s + _SILENT_INTERVALS * self._config.announce_interval
        candidates = self._addresses.list_silent(silent_for_s, now=now)
        wanted = [addr for peer_id, addr in candidates.items() if self._may_dial(peer_id)]
        if wanted:
            self._dial(self._rng.choice(wanted), "join", urgent=False)

    def _find_addr(self, peer_id: PeerId) -> PeerAddr | None:
        return self._addresses.find(peer_id, self._passive.get(peer_id))

    def _send(self, peer_id: PeerId, frame: MembershipFrame) -> None:
        self._events.append(SendFrame(peer_id, frame))


def _sample(rng: Random, peers: list[PeerId], count: int) -> list[PeerId]:
    return rng.sample(peers, min(count, len(peers)))


assert WALK_LENGTH_MAX >= ACTIVE_WALK
