"""Where peers may be found: in the catalog, in hints of the user or of finders, in what was once.

A pure bookkeeper, a part of `overlay`. ``now`` is monotonic time in seconds.

Invariant: each source of hints is about `peers_max` peers at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from random import Random

from ...ids import PeerId
from ...transport.address import DIRECT_COUNT_MAX, PeerAddr
from ..entry import SignedPeerEntry
from ..info import PeerInfo
from ..view import entries_of

_SILENT_LOOKED_AT_MAX = 32
_PICKS = 16  # a whole catalog is put into a random order only if none of these will do


class Addresses:
    """What is known of where peers are.

    Args:
        me: This node, which is nowhere for itself.
        peers_max: How many peers there may be.

    Attributes:
        known: The catalog.
        past: What those said last who fell silent.
    """

    def __init__(self, me: PeerId, peers_max: int) -> None:
        self._me = me
        self._peers_max = peers_max
        self.known: Mapping[PeerId, PeerInfo] = {}
        self.past: Sequence[SignedPeerEntry] = ()
        self._ahead_s: float | None = None  # the wall clock, of the own entries, less `now`
        self._hints: dict[str, dict[PeerId, PeerAddr]] = {}

    def receive_own(self, own: SignedPeerEntry, *, now: float) -> None:
        """Take in the own entry, which was written just now."""
        self._ahead_s = own.version.update / 1000 - now

    def receive_hints(self, source: str, addrs: Iterable[PeerAddr]) -> None:
        """Take in where peers may be found, in place of what `source` said before."""
        hints: dict[PeerId, PeerAddr] = {}
        for addr in addrs:
            if addr.peer_id != self._me and len(hints) < self._peers_max:
                hints[addr.peer_id] = merge_addrs(hints.get(addr.peer_id), addr)
        self._hints[source] = hints

    def is_hinted(self, peer_id: PeerId) -> bool:
        """Return whether somebody said where the peer may be found."""
        return any(peer_id in hints for hints in self._hints.values())

    def are_few(self, count_max: int) -> bool:
        """Return whether all hints together name so many peers at most."""
        return len({peer_id for hints in self._hints.values() for peer_id in hints}) <= count_max

    def strangers(self) -> Iterator[PeerId]:
        """Give the peers that somebody spoke of and the catalog does not show."""
        for hints in self._hints.values():
            for peer_id in hints:
                if peer_id not in self.known:
                    yield peer_id

    def find(self, peer_id: PeerId, remembered: PeerAddr | None) -> PeerAddr | None:
        """Return all ways to a peer, None when there is none.

        Args:
            peer_id: Which one.
            remembered: Where it was said to be, for one that the catalog does not show.
        """
        info = self.known.get(peer_id)
        addr = remembered if info is None else info.addr
        for hints in self._hints.values():
            if (hinted := hints.get(peer_id)) is not None:
                addr = merge_addrs(addr, hinted)
        if addr is None:
            addr = next((one.addr for one in self.past if one.peer_id == peer_id), None)
        return addr

    def list_silent(self, silent_for_s: float, *, now: float) -> dict[PeerId, PeerAddr]:
        """Return some that announced themselves so long ago: they may be a whole network."""
        found = {one.peer_id: one.addr for one in islice(self.past, _SILENT_LOOKED_AT_MAX)}
        if self._ahead_s is not None:
            latest_ms = (now + self._ahead_s - silent_for_s) * 1000
            silent = (one.peer for one in entries_of(self.known) if one.version.update <= latest_ms)
            for peer_id in list(islice(silent, _SILENT_LOOKED_AT_MAX)):
                found[peer_id] = self.known[peer_id].addr
        return found


def merge_addrs(one: PeerAddr | None, other: PeerAddr) -> PeerAddr:
    """Return an address with the ways of both, those of `one` first."""
    if one is None:
        return other
    # Which of the two is newer is not known: what either says is listened on may be tried.
    carriers = tuple(dict.fromkeys(one.carriers + other.carriers))
    if one == other:
        return other if carriers == other.carriers else replace(other, carriers=carriers)
    direct = tuple(dict.fromkeys(one.direct + other.direct))[:DIRECT_COUNT_MAX]
    return PeerAddr(one.peer_id, direct, one.relay or other.relay, carriers)


def in_random_order(rng: Random, peers: list[PeerId]) -> Iterator[PeerId]:
    """Give peers in a random order, the first of them perhaps twice: mostly they are enough."""
    if len(peers) > _PICKS:
        yield from rng.sample(peers, _PICKS)
    rng.shuffle(peers)
    yield from peers
