"""The overlay: which few peers this node keeps links to.

A pure state machine. It opens no link: the caller dials what `next_event` says
and reports what became of it. ``now`` is monotonic time in seconds.

Every node keeps between ``neighbours_min`` and about ``neighbours_max`` links to
peers picked at random from all it knows. A graph in which everyone has picked
four at random is connected with near certainty, and what holds it together
after failures is repair:

    * Below the minimum, dial random known peers, urgently: an urgent link is
      accepted even by a peer that has enough, which then lets go of another
      one, picked at random.
    * Every ``shuffle_interval``, exchange one neighbour for a random other
      peer. Two halves that know each other grow together this way.
    * A peer that was only hinted at (bootstrap, rendezvous, the past) and is
      not in the catalog is dialled whatever the number of neighbours: as a
      neighbour below the minimum, else for one sync. Two halves that do not
      know each other meet this way.
    * A peer that cannot be reached waits, twice as long after each failure.

When two peers dial each other at once, the link of the smaller id stays.

HyParView (Leitao, Pereira, Rodrigues 2007) keeps a partial passive view for
picking; here the catalog knows everybody, so that the passive view is the
catalog.

Invariants:
    * A neighbour is not dialled. It may become one while it is being dialled.
    * At most ``dials_max`` peers are dialled at the same time.
    * This node itself is never dialled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random

from ..ids import PeerId
from ..transport.address import DIRECT_COUNT_MAX, PeerAddr
from ..transport.close import CloseCode
from .config import DiscoveryConfig
from .info import PeerInfo

_SETTLE_S = 1.0  # a new neighbour is left in peace for its first sync
_AVOID_S = 2.0  # a peer that had enough of us, or we of it
_BACKOFF_DOUBLINGS_MAX = 16


@dataclass(frozen=True, slots=True)
class DialNeighbour:
    """Open a neighbour link; report `receive_link_up` or `receive_dial_failed`."""

    addr: PeerAddr
    urgent: bool


@dataclass(frozen=True, slots=True)
class DialForSync:
    """Sync once; report `receive_sync_done` or `receive_dial_failed`."""

    addr: PeerAddr


@dataclass(frozen=True, slots=True)
class DropNeighbour:
    """Close the link to a neighbour. It is no neighbour any more."""

    peer_id: PeerId


OverlayEvent = DialNeighbour | DialForSync | DropNeighbour


class Offer(Enum):
    """What to do with a link that a peer offers."""

    ACCEPT = "accept"
    REFUSE_FULL = "enough neighbours"
    REFUSE_CROSSED = "the links crossed, the other one stays"


class _Dial(Enum):
    NEIGHBOUR = "neighbour"
    EXCHANGE = "exchange"
    SYNC = "sync"


class Overlay:
    """The state machine of this module's docstring.

    Args:
        me: This node.
        config: How many neighbours, and when to try again.
        rng: Where picks are drawn from.
        now: Monotonic time in seconds.
    """

    def __init__(self, me: PeerId, config: DiscoveryConfig, rng: Random, *, now: float) -> None:
        self._me = me
        self._config = config
        self._rng = rng
        self._retry_min_s = config.retry_min
        self._retry_max_s = config.retry_max
        self._shuffle_s = config.shuffle_interval
        self._known: Mapping[PeerId, PeerInfo] = {}
        self._hints: dict[str, dict[PeerId, PeerAddr]] = {}
        self._since: dict[PeerId, float] = {}
        self._dials: dict[PeerId, _Dial] = {}
        self._failures: dict[PeerId, int] = {}
        self._blocked_until: dict[PeerId, float] = {}
        self._events: deque[OverlayEvent] = deque()
        self._is_closed = False
        self._shuffle_at = now + self._spread(self._shuffle_s)

    @property
    def neighbours(self) -> tuple[PeerId, ...]:
        """The peers with a link, the oldest first."""
        return tuple(self._since)

    # What is known.

    def receive_known(self, known: Mapping[PeerId, PeerInfo], *, now: float) -> None:
        """Take in the catalog: everybody there may become a neighbour."""
        self._known = known
        self._step(now)

    def receive_hints(self, source: str, addrs: Iterable[PeerAddr], *, now: float) -> None:
        """Take in where peers may be found, in place of what `source` said before."""
        hints: dict[PeerId, PeerAddr] = {}
        for addr in addrs:
            if addr.peer_id != self._me and len(hints) < self._config.peers_max:
                hints[addr.peer_id] = merge_addrs(hints.get(addr.peer_id), addr)
        self._hints[source] = hints
        self._step(now)

    def complete_addr(self, addr: PeerAddr) -> PeerAddr:
        """Return an address with all further ways to that peer that are known."""
        if addr.peer_id in self._known or any(addr.peer_id in h for h in self._hints.values()):
            return merge_addrs(addr, self._find_addr(addr.peer_id))
        return addr

    # What became of links.

    def receive_offer(self, peer_id: PeerId, *, urgent: bool, now: float) -> Offer:
        """Decide on a neighbour link that a peer opened; accepted, it is a neighbour."""
        is_crossed = self._dials.get(peer_id) in (_Dial.NEIGHBOUR, _Dial.EXCHANGE)
        if is_crossed and peer_id not in self._since and self._me < peer_id:
            return Offer.REFUSE_CROSSED
        room = self._config.links_max if urgent else self._config.neighbours_max
        if peer_id not in self._since and (len(self._since) >= room or self._is_closed):
            return Offer.REFUSE_FULL
        self._add(peer_id, now)
        return Offer.ACCEPT

    def receive_link_up(self, peer_id: PeerId, *, now: float) -> None:
        """Note that the neighbour link we dialled is open."""
        is_exchange = self._dials.pop(peer_id, None) is _Dial.EXCHANGE
        self._add(peer_id, now)
        if is_exchange and len(self._since) > self._config.neighbours_min + 1:
            self._drop([other for other in self._since if other != peer_id], now)
        self._step(now)

    def receive_sync_done(self, peer_id: PeerId, *, now: float) -> None:
        """Note that a sync that was asked for is through."""
        self._dials.pop(peer_id, None)
        self._failures.pop(peer_id, None)
        # It is known now; if it still is not, asking again soon would not help.
        self._blocked_until[peer_id] = now + self._retry_max_s
        self._step(now)

    def receive_dial_failed(self, peer_id: PeerId, *, code: int, now: float) -> None:
        """Note that a dial failed with a close code."""
        self._dials.pop(peer_id, None)
        if peer_id not in self._since:
            self._block(peer_id, code, now)
        self._step(now)

    def receive_link_down(self, peer_id: PeerId, *, code: int, now: float) -> None:
        """Note that the link to a neighbour ended, by its doing or by accident."""
        if self._since.pop(peer_id, None) is not None:
            self._block(peer_id, code, now)
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
        due = [self._shuffle_at]
        if len(self._since) > self._config.neighbours_max:
            due.append(min(self._since.values()) + _SETTLE_S)
        if len(self._dials) < self._config.dials_max:
            due.extend(
                until for peer_id, until in self._blocked_until.items() if self._is_wanted(peer_id)
            )
        return min(due)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. May be called early."""
        if now >= self._shuffle_at:
            self._shuffle_at = now + self._spread(self._shuffle_s)
            self._shuffle()
            self._forget_strangers()
        self._step(now)

    def next_event(self) -> OverlayEvent | None:
        """Return the oldest event not yet handed out, or None."""
        return self._events.popleft() if self._events else None

    # Helpers.

    def _step(self, now: float) -> None:
        if self._is_closed:
            return
        for peer_id in [peer for peer, until in self._blocked_until.items() if until <= now]:
            del self._blocked_until[peer_id]
        while len(self._since) > self._config.neighbours_max:
            settled = [peer for peer, since in self._since.items() if since + _SETTLE_S <= now]
            if not settled:
                break
            self._drop(settled, now)
        for peer_id in self._list_strangers():
            self._dial(peer_id)
        if self._lacks_neighbours() and len(self._dials) < self._config.dials_max:
            candidates = [peer for peer in self._known if self._may_dial(peer)]
            self._rng.shuffle(candidates)
            for peer_id in candidates:
                self._dial(peer_id)

    def _dial(self, peer_id: PeerId) -> None:
        if len(self._dials) >= self._config.dials_max:
            return
        lacks = self._lacks_neighbours()
        if not lacks and peer_id in self._known:
            return
        addr = self._find_addr(peer_id)
        if lacks:
            self._dials[peer_id] = _Dial.NEIGHBOUR
            self._events.append(DialNeighbour(addr, urgent=True))
        else:
            self._dials[peer_id] = _Dial.SYNC
            self._events.append(DialForSync(addr))

    def _shuffle(self) -> None:
        if self._lacks_neighbours() or len(self._dials) >= self._config.dials_max:
            return
        candidates = [peer for peer in self._known if self._may_dial(peer)]
        if candidates:
            peer_id = self._rng.choice(candidates)
            self._dials[peer_id] = _Dial.EXCHANGE
            self._events.append(DialNeighbour(self._find_addr(peer_id), urgent=False))

    def _lacks_neighbours(self) -> bool:
        return len(self._since) + len(self._dials) < self._config.neighbours_min

    def _list_strangers(self) -> list[PeerId]:
        hinted = {peer: None for hints in self._hints.values() for peer in hints}
        return [peer for peer in hinted if peer not in self._known and self._may_dial(peer)]

    def _may_dial(self, peer_id: PeerId) -> bool:
        return (
            peer_id not in self._since
            and peer_id not in self._dials
            and peer_id not in self._blocked_until
            and peer_id != self._me
        )

    def _is_wanted(self, peer_id: PeerId) -> bool:
        if peer_id in self._since or peer_id in self._dials:
            return False
        if peer_id in self._known:
            return self._lacks_neighbours()
        return any(peer_id in hints for hints in self._hints.values())

    def _find_addr(self, peer_id: PeerId) -> PeerAddr:
        info = self._known.get(peer_id)
        addr = None if info is None else info.addr
        for hints in self._hints.values():
            if (hinted := hints.get(peer_id)) is not None:
                addr = merge_addrs(addr, hinted)
        assert addr is not None, f"nobody knows where {peer_id.short} is"
        return addr

    def _add(self, peer_id: PeerId, now: float) -> None:
        self._since[peer_id] = now
        self._failures.pop(peer_id, None)
        self._blocked_until.pop(peer_id, None)

    def _drop(self, candidates: list[PeerId], now: float) -> None:
        peer_id = self._rng.choice(candidates)
        del self._since[peer_id]
        self._blocked_until[peer_id] = now + _AVOID_S
        self._events.append(DropNeighbour(peer_id))

    def _block(self, peer_id: PeerId, code: int, now: float) -> None:
        if code in (CloseCode.GRACEFUL_SHUTDOWN, CloseCode.SUCCESS):
            self._blocked_until[peer_id] = now + self._spread(_AVOID_S)
            return
        count = min(self._failures.get(peer_id, 0) + 1, _BACKOFF_DOUBLINGS_MAX)
        self._failures[peer_id] = count
        wait_s = min(self._retry_min_s * 2 ** (count - 1), self._retry_max_s)
        if code == CloseCode.DIFFERENT_NETWORK:
            wait_s = self._retry_max_s
        self._blocked_until[peer_id] = now + self._spread(wait_s)

    def _spread(self, duration_s: float) -> float:
        return duration_s * (0.75 + self._rng.random() / 2)

    def _forget_strangers(self) -> None:
        for peer_id in list(self._failures):
            if peer_id not in self._known and not any(peer_id in h for h in self._hints.values()):
                del self._failures[peer_id]


def merge_addrs(one: PeerAddr | None, other: PeerAddr) -> PeerAddr:
    """Return an address with the ways of both, those of `one` first."""
    if one is None or one == other:
        return other
    direct = tuple(dict.fromkeys(one.direct + other.direct))[:DIRECT_COUNT_MAX]
    return PeerAddr(one.peer_id, direct, one.relay or other.relay)
