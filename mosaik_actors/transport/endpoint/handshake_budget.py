"""How many handshakes are worked on for who may be anybody.

A handshake costs this side some milliseconds, and whoever asks for it next to nothing.
So each takes a place in two leaky buckets, one of its host and one of all. One whose
peer then proves that it is of the network gives its places back: a network that joins
at once, or many nodes behind one address, are bounded only in how many of them may be
on their way at a time. Those of strangers come to nothing, and keep theirs until they
leak out.

Without a place a newcomer is not answered. It tries again by itself (RFC 9002 section
6.2), and so comes a little later.

Anybody can write another's address on a datagram. So once half of a bucket is
full, only an address that is shown to be real (RFC 9000 section 8.1.2) takes a place: a
forger cannot take the last ones of a host. Who has been linked from its address before
(`slots`), and has shown that it is there, needs no place.

A pure core; ``now`` is monotonic time in seconds. As many hosts are remembered as
`HOSTS_MAX`; what is forgotten first is who came least lately.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ..config import TransportConfig
from ..dial_budget import LeakyBucket

HOSTS_MAX: Final = 4096


class HandshakeBudget:
    """The state machine of this module's docstring."""

    def __init__(self, config: TransportConfig) -> None:
        self._host_max = config.host_handshakes_max
        self._host_per_s = config.host_handshakes_per_s
        self._all = LeakyBucket(config.stranger_handshakes_max, config.stranger_handshakes_per_s)
        self._hosts: OrderedDict[str, LeakyBucket] = OrderedDict()

    def is_strained(self, host: str, *, now: float) -> bool:
        """Return whether a newcomer must show that its address is real."""
        return any(2 * one.fill(now) >= one.limit for one in self._buckets(host, now))

    def take(self, host: str, *, now: float) -> bool:
        """Take a place for a handshake; return whether there was one."""
        buckets = self._buckets(host, now)
        if any(bucket.wait_s(now) for bucket in buckets):
            return False
        for bucket in buckets:
            bucket.add(1)
        return True

    def give_back(self, host: str, *, now: float) -> None:
        """Note that a handshake that took a place was one of the network's own."""
        for bucket in self._buckets(host, now):
            bucket.add(-1)

    def _buckets(self, host: str, now: float) -> list[LeakyBucket]:
        bucket = self._hosts.pop(host, None)
        if bucket is None:
            bucket = LeakyBucket(self._host_max, self._host_per_s, leaked_at=now)
        self._hosts[host] = bucket
        if len(self._hosts) > HOSTS_MAX:
            self._hosts.popitem(last=False)
        return [self._all, bucket]
