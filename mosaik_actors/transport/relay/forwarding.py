"""What a relay forwards, and what it drops: the state machine of a relay.

A pure core; ``now`` is monotonic time in seconds. It never looks into a datagram.

Invariants:
    * A peer has at most one place, and there are at most ``peers_max``.
    * What a peer sends is forwarded in order, within two leaky buckets: bytes and datagrams.
      The tickets that it shows have a bucket of their own: a peer that sends all that it
      may can renew them all the same.
    * Datagrams for who is not here are dropped and leave nothing behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ...errors import DecodeError
from ..close import CloseCode, CloseReason
from ..dial_budget import LeakyBucket
from .config import RelayLimits
from .frames import HEAD_BYTES, PEER_BYTES, RELAY_ITSELF, RELAY_TICKETS, read_sizes

TICKETS_BURST: Final = 16
TICKETS_PER_S: Final = 1.0


@dataclass(slots=True)
class RelayCounters:
    """What a relay has done so far.

    Attributes:
        datagrams_forwarded: Datagrams that were given on.
        bytes_forwarded: Their bytes.
        dropped_rate: Datagrams beyond what their sender may send.
        dropped_absent: Datagrams for peers that are not here.
        dropped_full: Datagrams for peers that take them too slowly.
        peers_accepted: Peers that got a place.
        peers_refused: Peers for which there was none.
        tickets_refused: Peers that had no valid ticket when they came.
        tickets_expired: Peers that lost their place when their tickets held no more.
        violations: Frames that were no datagrams for anybody.
    """

    datagrams_forwarded: int = 0
    bytes_forwarded: int = 0
    dropped_rate: int = 0
    dropped_absent: int = 0
    dropped_full: int = 0
    peers_accepted: int = 0
    peers_refused: int = 0
    tickets_refused: int = 0
    tickets_expired: int = 0
    violations: int = 0


class _Sender:
    def __init__(self, limits: RelayLimits, now: float) -> None:
        self.bytes = LeakyBucket(limits.bytes_per_s, limits.bytes_per_s, leaked_at=now)
        self.datagrams = LeakyBucket(limits.datagram_rate, limits.datagram_rate, leaked_at=now)
        self.tickets = LeakyBucket(TICKETS_BURST, TICKETS_PER_S, leaked_at=now)


class Forwarding:
    """The state machine of this module's docstring."""

    def __init__(self, limits: RelayLimits) -> None:
        self.counters = RelayCounters()
        self._limits = limits
        self._senders: dict[bytes, _Sender] = {}

    @property
    def peer_count(self) -> int:
        """Peers that have a place."""
        return len(self._senders)

    def why_full(self, peer: bytes) -> CloseReason | None:
        """Return why there is no place for a peer, and count it; None when there is one."""
        if peer in self._senders or len(self._senders) < self._limits.peers_max:
            return None
        self.counters.peers_refused += 1
        text = f"this relay serves {len(self._senders)} peers, and no more"
        return CloseReason(CloseCode.TOO_MANY_LINKS, text)

    def join(self, peer: bytes, *, now: float) -> CloseReason | None:
        """Give a peer a place, or return why not. One that has a place keeps what it has used."""
        if (full := self.why_full(peer)) is not None:
            return full
        if peer not in self._senders:
            self._senders[peer] = _Sender(self._limits, now)
            self.counters.peers_accepted += 1
        return None

    def leave(self, peer: bytes) -> None:
        """Free the place of a peer. May be repeated."""
        self._senders.pop(peer, None)

    def receive_frames(
        self, peer: bytes, frames: list[bytes], *, now: float
    ) -> dict[bytes, list[bytes]]:
        """Return the frames to be sent on for frames of a peer, by who gets them.

        Those for `RELAY_ITSELF` and `RELAY_TICKETS` are for the relay, without a peer.

        Raises:
            DecodeError: One of them is not a datagram for anybody; none is sent on.
        """
        sender = self._senders.get(peer)
        if sender is None:
            return {}
        room_bytes = self._limits.bytes_per_s - sender.bytes.fill(now)
        room_count = self._limits.datagram_rate - sender.datagrams.fill(now)
        used_bytes = used_count = absent_count = rate_count = 0
        found: dict[bytes, list[bytes]] = {}
        for frame in frames:
            target = frame[:PEER_BYTES]
            if target == RELAY_TICKETS:
                if self._may_show_tickets(sender, now):
                    found[target] = [frame[PEER_BYTES:]]  # the last ones count
                continue
            if target == RELAY_ITSELF:
                size, count = len(frame), 1
            else:
                try:
                    size, count = read_sizes(frame)
                except DecodeError:
                    self.counters.violations += 1
                    raise
            total = max(0, len(frame) - HEAD_BYTES)
            if used_count + count > room_count or used_bytes + total > room_bytes:
                # As many as there is room for: else a full bucket would lose them by the dozen.
                room = min(room_count - used_count, (room_bytes - used_bytes) // size)
                kept = max(0, min(count - 1, int(room)))
                rate_count += count - kept
                if not kept:
                    continue
                count, total = kept, kept * size
                frame = frame[: HEAD_BYTES + total]
            # What is for nobody counts as well: it costs as much.
            used_count += count
            used_bytes += total
            if target in self._senders and target != peer:
                found.setdefault(target, []).append(peer + frame[PEER_BYTES:])
            elif target == RELAY_ITSELF:
                found.setdefault(target, []).append(frame[PEER_BYTES:])
            else:
                absent_count += count
        sender.bytes.add(used_bytes)
        sender.datagrams.add(used_count)
        self.counters.dropped_rate += rate_count
        self.counters.dropped_absent += absent_count
        return found

    def _may_show_tickets(self, sender: _Sender, now: float) -> bool:
        if sender.tickets.fill(now) + 1 > TICKETS_BURST:
            self.counters.dropped_rate += 1
            return False
        sender.tickets.add(1)
        return True

    def note_sent(self, frames: list[bytes], unsent_bytes: int) -> bool:
        """Return whether frames may go to a peer to which so many bytes are under way; count."""
        count = sum(read_sizes(frame)[1] for frame in frames)
        if unsent_bytes > self._limits.queue_bytes_max:
            self.counters.dropped_full += count
            return False
        self.counters.datagrams_forwarded += count
        self.counters.bytes_forwarded += sum(map(len, frames)) - HEAD_BYTES * len(frames)
        return True
