"""Broadcast: how an entry that is new to one node gets to all of them.

A pure state machine. ``now`` is monotonic time in seconds.

An entry that the catalog accepted as newer goes to every neighbour but the one
it came from. The catalog accepts each version once, so that each node forwards
it once and the flood ends. Over an overlay of four to eight random neighbours
it reaches everybody within a few hops and survives the loss of most links; it
costs one copy per link. (Plumtree, Leitao, Pereira, Rodrigues 2007, sends one
copy per node along a tree and is to replace this module; the links, the catalog
and the frames around it stay.)

The own entry is announced

    * at once when it has changed, but not more often than every
      ``announce_gap``: what changes within it goes out together;
    * every ``announce_interval``, spread by ``announce_jitter``, as a sign of
      life with a new version;
    * immediately when it is the departure.

Invariants:
    * No entry is sent back to the neighbour it came from.
    * Entries of one turn share frames, encoded once for all neighbours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from ..ids import PeerId
from .config import DiscoveryConfig
from .entry import SignedPeerEntry
from .wire import Announce, encode_frame, pack_entries


@dataclass(frozen=True, slots=True)
class SendFrames:
    """Write these frames to the links of these neighbours."""

    peers: tuple[PeerId, ...]
    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RefreshOwnEntry:
    """Give the own entry a new version, and bring it back with `receive_own`."""


BroadcastEvent = SendFrames | RefreshOwnEntry


class Broadcast:
    """The state machine of this module's docstring.

    Args:
        config: When to announce.
        rng: Where the jitter is drawn from.
        now: Monotonic time in seconds.
    """

    def __init__(self, config: DiscoveryConfig, rng: Random, *, now: float) -> None:
        self._interval_s = config.announce_interval
        self._jitter = config.announce_jitter
        self._gap_s = config.announce_gap
        self._rng = rng
        self._neighbours: dict[PeerId, None] = {}
        self._events: deque[BroadcastEvent] = deque()
        self._pending: SignedPeerEntry | None = None
        self._announced_at = float("-inf")
        self._refresh_at: float | None = now + self._draw_interval()

    def receive_neighbour_up(self, peer_id: PeerId) -> None:
        """Send what is new to this peer too. What is not new, the sync brings."""
        self._neighbours[peer_id] = None

    def receive_neighbour_down(self, peer_id: PeerId) -> None:
        """Send nothing more to this peer."""
        self._neighbours.pop(peer_id, None)

    def receive_fresh(self, entries: Sequence[SignedPeerEntry], source: PeerId | None) -> None:
        """Take in entries that the catalog has just accepted from `source`.

        Args:
            entries: The entries of others, signatures checked.
            source: The neighbour that sent them; None when it was nobody.
        """
        self._send(entries, tuple(peer for peer in self._neighbours if peer != source))

    def receive_own(self, own: SignedPeerEntry, *, now: float) -> None:
        """Take in the own entry after it changed."""
        if own.entry.departed:
            self._announce(own, now)
            self._refresh_at = None
        elif now >= self._announced_at + self._gap_s:
            self._announce(own, now)
        else:
            self._pending = own

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due, in monotonic seconds; None for never."""
        due = [] if self._refresh_at is None else [self._refresh_at]
        if self._pending is not None:
            due.append(self._announced_at + self._gap_s)
        return min(due, default=None)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. May be called early."""
        if self._pending is not None and now >= self._announced_at + self._gap_s:
            self._announce(self._pending, now)
        if self._refresh_at is not None and now >= self._refresh_at:
            self._refresh_at = now + self._draw_interval()
            self._events.append(RefreshOwnEntry())

    def next_event(self) -> BroadcastEvent | None:
        """Return the oldest event not yet handed out, or None."""
        return self._events.popleft() if self._events else None

    def _announce(self, own: SignedPeerEntry, now: float) -> None:
        self._pending = None
        self._announced_at = now
        self._refresh_at = now + self._draw_interval()
        self._send([own], tuple(self._neighbours))

    def _send(self, entries: Sequence[SignedPeerEntry], peers: tuple[PeerId, ...]) -> None:
        if not entries or not peers:
            return
        groups = pack_entries(signed.encode() for signed in entries)
        frames = tuple(encode_frame(Announce(group)) for group in groups)
        self._events.append(SendFrames(peers, frames))

    def _draw_interval(self) -> float:
        return self._interval_s * (1 + self._jitter * (2 * self._rng.random() - 1))
