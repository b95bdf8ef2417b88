"""What may be sent to addresses where no peer has answered yet.

An address in an entry is somebody's word. Anybody can sign entries with many keys
that all name a third party, and every node that dials them would send handshakes
there. So an address is a *stranger* until it has proven that the peer in question
is there, by a handshake in either direction, or this node's user has named it.
For strangers:

    * One handshake at a time with an address, whatever keys are said to be there,
      and after each that came to nothing a wait, twice as long each time.
    * At most ``stranger_datagrams_max`` datagrams of 1,200 bytes in the first
      handshake, and one in each later one, until something comes back. What is later
      goes by the host, while no port of it has answered: a machine has many ports.
    * At most ``stranger_host_dials_max`` unanswered dials at a host of which no port
      has ever answered, and ``stranger_dials_max`` in all: two leaky buckets. With more
      than that in vain at such a host, each halves the rate at which its bucket leaks. A dial
      that is answered counts no longer, so that a network whose nodes are where they
      say is joined as fast as they answer.

Who dials asks `is_blocked` (then the address is of no use now) and `wait_s` (then
it is its turn later), and brackets the dial by `begin` and `end`.

A pure core; ``now`` is monotonic time in seconds. All that is remembered is
bounded, and what was not used for the longest time goes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from ..ids import PeerId
from .address import SocketAddr
from .config import TransportConfig

PROVEN_MAX = 16_384
STRANGERS_MAX = 4096
HOST_SHARE = 1 / 40  # of the rate in all, for one host


K = TypeVar("K")
V = TypeVar("V")


class LeakyBucket(msgspec.Struct):
    """How many of something there were lately.

    Attributes:
        limit: How many there may be at a time.
        per_s: How many are forgotten per second.
    """

    limit: int
    per_s: float
    level: float = 0.0
    leaked_at: float = 0.0

    def fill(self, now: float) -> float:
        """Return how many there are now."""
        self.level = max(0.0, self.level - (now - self.leaked_at) * self.per_s)
        self.leaked_at = now
        return self.level

    def wait_s(self, now: float) -> float:
        """Return after how many seconds there is room for one more."""
        return max(0.0, (self.fill(now) + 1 - self.limit) / self.per_s)

    def add(self, change: int) -> None:
        """Count one more, or one less."""
        self.level = max(0.0, self.level + change)


class _Host(LeakyBucket):
    """A host at which no port has answered, and how many dials there came to nothing."""

    failure_count: int = 0


class _Stranger(msgspec.Struct):
    """An address that is dialled, or was in vain."""

    failure_count: int = 0
    blocked_until: float = float("-inf")
    is_dialled: bool = False


class DialBudget:
    """The state machine of this module's docstring."""

    def __init__(self, config: TransportConfig) -> None:
        self._config = config
        self._vouched: dict[SocketAddr, None] = {}
        self._proven: dict[SocketAddr, PeerId] = {}
        self._proven_hosts: dict[str, None] = {}
        self._strangers: dict[SocketAddr, _Stranger] = {}
        self._hosts: dict[str, _Host] = {}
        self._host_per_s = config.stranger_dials_per_s * HOST_SHARE
        self._all = LeakyBucket(config.stranger_dials_max, config.stranger_dials_per_s)

    def vouch(self, addrs: Iterable[SocketAddr]) -> None:
        """Note that the user named these addresses."""
        for addr in addrs:
            _put(self._vouched, addr, None, PROVEN_MAX)

    def receive_proof(self, addr: SocketAddr, peer_id: PeerId) -> None:
        """Note that a peer has proven to be at an address."""
        _put(self._proven, addr, peer_id, PROVEN_MAX)
        _put(self._proven_hosts, addr[0], None, PROVEN_MAX)
        self._hosts.pop(addr[0], None)

    def is_stranger(self, addr: SocketAddr, peer_id: PeerId) -> bool:
        """Return whether nothing but somebody's word says that the peer is there."""
        return addr not in self._vouched and self._proven.get(addr) != peer_id

    def is_blocked(self, addr: SocketAddr, peer_id: PeerId, *, now: float) -> bool:
        """Return whether an address is not to be dialled at present."""
        stranger = self._strangers.get(addr)
        if stranger is None or not self.is_stranger(addr, peer_id):
            return False
        return stranger.is_dialled or now < stranger.blocked_until

    def wait_s(self, addr: SocketAddr, peer_id: PeerId, *, now: float) -> float:
        """Return after how many seconds to ask again; 0 when it is to be dialled now."""
        if not self.is_stranger(addr, peer_id):
            return 0.0
        return max(bucket.wait_s(now) for bucket in self._buckets(addr, now))

    def begin(self, addr: SocketAddr, peer_id: PeerId, *, now: float) -> int | None:
        """Note that an address is dialled.

        Returns:
            How many datagrams may go there before something comes back; None for any.
        """
        if not self.is_stranger(addr, peer_id):
            return None
        for bucket in self._buckets(addr, now):
            bucket.add(1)
        stranger = self._strangers.pop(addr, None) or _Stranger()
        _put(self._strangers, addr, stranger, STRANGERS_MAX)
        stranger.is_dialled = True
        has_failed = stranger.failure_count or self._has_silence(addr[0])
        return 1 if has_failed else self._config.stranger_datagrams_max

    def end(self, addr: SocketAddr, peer_id: PeerId, *, is_peer_found: bool, now: float) -> None:
        """Note the end of a dial for which `begin` gave a number.

        Args:
            addr: Where to.
            peer_id: Whom it was for.
            is_peer_found: Whether the peer has answered, here or at another address.
            now: Monotonic time in seconds.
        """
        if is_peer_found:
            for bucket in self._buckets(addr, now):
                bucket.add(-1)
        elif host := self._hosts.get(addr[0]):
            host.failure_count += 1
            if host.failure_count > self._config.stranger_host_dials_max:
                host.fill(now)
                slowest = min(host.per_s, 1 / self._config.stranger_retry_max)
                host.per_s = max(host.per_s / 2, slowest)
        stranger = self._strangers.get(addr)
        if stranger is None:
            return
        if not self.is_stranger(addr, peer_id):
            del self._strangers[addr]
            return
        wait_s = self._config.stranger_retry_min * 2**stranger.failure_count
        stranger.is_dialled = False
        stranger.blocked_until = now + min(wait_s, self._config.stranger_retry_max)
        if wait_s < self._config.stranger_retry_max:
            stranger.failure_count += 1

    def _has_silence(self, host: str) -> bool:
        """Return whether nobody has answered at a host, and somebody was dialled there in vain."""
        bucket = self._hosts.get(host)
        return bucket is not None and bucket.failure_count > 0

    def _buckets(self, addr: SocketAddr, now: float) -> list[LeakyBucket]:
        host = addr[0]
        if host in self._proven_hosts:
            return [self._all]
        bucket = self._hosts.pop(host, None)
        if bucket is None:
            limit = self._config.stranger_host_dials_max
            bucket = _Host(limit, self._host_per_s, leaked_at=now)
        _put(self._hosts, host, bucket, STRANGERS_MAX)
        return [self._all, bucket]


def _put(kept: dict[K, V], key: K, value: V, limit: int) -> None:
    """Put something in last, and drop the first when there is too much."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > limit:
        del kept[next(iter(kept))]
