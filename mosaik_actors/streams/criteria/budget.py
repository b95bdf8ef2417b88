"""What peers' criteria have cost this node, and who has asked for too much.

A leaky bucket per peer, for all producers of the node together: it is charged the
seconds of work that the peer's criteria took, and drains at `share` seconds per
second. One that holds more than `grace_s` is over: subscriptions of that peer
with criteria end, and are refused until half of the grace has drained.

The first `FREE_S` of an item's judging are nobody's fault, however many items
there are: honest criteria of a few comparisons stay below it, and whoever
sends a million items a second pays for that himself.

Clock: monotonic.
"""

from __future__ import annotations

from ...ids import PeerId

FREE_S = 2e-6
PEERS_MAX = 1024


class CriteriaBudget:
    """The buckets of all peers."""

    def __init__(self, share: float, grace_s: float) -> None:
        self._share = share
        self._grace_s = grace_s
        self._held: dict[PeerId, tuple[float, float]] = {}  # seconds, and when that was so

    def charge(self, peer_id: PeerId, seconds: float, item_count: int, *, now: float) -> None:
        """Take in that a peer's criteria took `seconds` for so many items."""
        owed = seconds - item_count * FREE_S
        if owed <= 0:
            return
        held = self._held_by(peer_id, now) + owed
        self._held.pop(peer_id, None)
        if len(self._held) >= PEERS_MAX:
            least = min(self._held, key=lambda one: self._held_by(one, now))
            del self._held[least]
        self._held[peer_id] = (held, now)

    def is_over(self, peer_id: PeerId, *, now: float) -> bool:
        """Return whether a peer's subscriptions with criteria have to end."""
        return self._held_by(peer_id, now) > self._grace_s

    def may_subscribe(self, peer_id: PeerId, *, now: float) -> bool:
        """Return whether a peer may have criteria judged that it has not yet."""
        held = self._held_by(peer_id, now)
        if not held:
            self._held.pop(peer_id, None)
        return held <= self._grace_s / 2

    def _held_by(self, peer_id: PeerId, now: float) -> float:
        seconds, at = self._held.get(peer_id, (0.0, now))
        return max(0.0, seconds - (now - at) * self._share)
