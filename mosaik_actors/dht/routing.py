"""The nodes of the DHT that this one knows: Kademlia's routing table (BEP 5, "Routing Table").

Distance is the exclusive or of two ids. There is one bucket for each number of leading bits
that a node shares with this one, with `BUCKET_SIZE` nodes at most: many near this node, few
far away. A node that has answered lately keeps its place against newcomers; one that does not
answer twice in a row goes. Of newcomers that find no room the latest are kept as spares.

Where addresses are global each host has one place in a bucket and two in all, so that a
single machine cannot fill the table. A node whose id does not follow from its address (BEP 42)
has its place only until one comes whose does; many of the DHT are of the former kind, so they
are not refused.

A core; ``now`` is monotonic time in seconds.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from heapq import nsmallest
from itertools import chain
from math import inf
from typing import Final

from ..transport.address import SocketAddr
from .krpc import NodeContact, NodeId
from .node_id import fits

BUCKET_SIZE: Final = 8
SPARES_MAX: Final = 8
FRESH_S: Final = 15 * 60.0
FAILURES_MAX: Final = 2
PER_HOST_MAX: Final = 2
ID_BITS: Final = 160


def distance(one: bytes, other: bytes) -> int:
    """Return how far two ids are apart."""
    return int.from_bytes(one, "big") ^ int.from_bytes(other, "big")


def closest(contacts: Iterable[NodeContact], target: bytes, count: int) -> list[NodeContact]:
    """Return the `count` contacts closest to a target, the closest first."""
    return nsmallest(count, contacts, key=lambda one: distance(one.id, target))


@lru_cache(maxsize=4096)
def is_global(host: str) -> bool:
    """Return whether a numeric address is one that the whole internet can reach."""
    return ipaddress.ip_address(host).is_global


@lru_cache(maxsize=4096)
def may_name(source: SocketAddr, named: SocketAddr) -> bool:
    """Return whether to believe a node at `source` that another one is at `named`.

    A node far away cannot know of nodes on this machine or in this network: it would have
    others send datagrams where they do not belong.
    """
    host = ipaddress.ip_address(named[0])
    if named[1] == 0 or host.is_multicast or host.is_unspecified or host.is_link_local:
        return False
    there = ipaddress.ip_address(source[0])
    if host.is_loopback:
        return there.is_loopback
    return host.is_global or not there.is_global


@dataclass(slots=True)
class _Known:
    contact: NodeContact
    answered_at: float
    failures: int = 0


class RoutingTable:
    """The nodes that this one knows.

    Args:
        own_id: The id of this node, which is never in the table.
    """

    def __init__(self, own_id: NodeId) -> None:
        self.own_id = own_id
        self._buckets: dict[int, OrderedDict[NodeId, _Known]] = {}
        self._spares: dict[int, OrderedDict[NodeId, NodeContact]] = {}
        self._hosts: Counter[str] = Counter()
        self._changed_at: dict[int, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def __iter__(self) -> Iterator[NodeContact]:
        return (known.contact for known in self._all())

    def knows(self, node_id: NodeId) -> bool:
        """Return whether a node of that id is in the table."""
        index = self._index(node_id)
        return index is not None and node_id in self._buckets.get(index, ())

    def closest(self, target: bytes, count: int = BUCKET_SIZE) -> list[NodeContact]:
        """Return the nodes closest to a target that are not failing, the closest first."""
        usable = (known.contact for known in self._all() if not known.failures)
        return closest(usable, target, count)

    def note_answer(self, contact: NodeContact, *, now: float) -> None:
        """Take in that a node has answered."""
        index = self._index(contact.id)
        if index is None:
            return
        bucket = self._buckets.setdefault(index, OrderedDict())
        known = bucket.get(contact.id)
        if known is not None:
            # Who takes another node's id does not get its place.
            if known.contact.addr == contact.addr:
                known.answered_at, known.failures = now, 0
                bucket.move_to_end(contact.id)
            return
        if len(bucket) >= BUCKET_SIZE and not self._make_room(bucket, contact):
            self._spare(index, contact)
            return
        if self._has_room_for(bucket, contact.addr[0]):
            bucket[contact.id] = _Known(contact, now)
            self._hosts[contact.addr[0]] += 1
            self._changed_at[index] = now

    def note_failure(self, contact: NodeContact, *, now: float) -> None:
        """Take in that a node has not answered; after the second time it is out."""
        index = self._index(contact.id)
        bucket = None if index is None else self._buckets.get(index)
        if index is None or bucket is None:
            return
        known = bucket.get(contact.id)
        if known is None or known.contact != contact:
            return
        known.failures += 1
        if known.failures < FAILURES_MAX:
            return
        del bucket[contact.id]
        self._hosts[contact.addr[0]] -= 1
        spares = self._spares.get(index)
        if spares:
            # It has answered once; whether it still does shows when it is asked.
            _, spare = spares.popitem()
            self.note_answer(spare, now=now)

    def questionable(self, *, now: float) -> list[NodeContact]:
        """Return the nodes that have not answered for so long that they should be asked."""
        return [
            known.contact
            for known in self._all()
            if known.failures or known.answered_at + FRESH_S <= now
        ]

    def stale_buckets(self, *, now: float) -> list[int]:
        """Return the buckets of which nothing has changed for long: numbers of shared bits."""
        return [
            index
            for index in sorted(self._buckets)
            if self._changed_at.get(index, -inf) + FRESH_S <= now
        ]

    def note_refresh(self, index: int, *, now: float) -> None:
        """Take in that nodes of a bucket are being looked for."""
        self._changed_at[index] = now

    # Helpers.

    def _all(self) -> Iterator[_Known]:
        return chain.from_iterable(bucket.values() for bucket in self._buckets.values())

    def _index(self, node_id: NodeId) -> int | None:
        far = distance(self.own_id, node_id)
        return None if far == 0 else ID_BITS - far.bit_length()

    def _has_room_for(self, bucket: OrderedDict[NodeId, _Known], host: str) -> bool:
        if not is_global(host):
            return True
        if self._hosts[host] >= PER_HOST_MAX:
            return False
        return all(known.contact.addr[0] != host for known in bucket.values())

    def _make_room(self, bucket: OrderedDict[NodeId, _Known], contact: NodeContact) -> bool:
        """Drop a node whose id does not fit its address for one whose does (BEP 42)."""
        if not (fits(contact.id, contact.addr[0]) and self._has_room_for(bucket, contact.addr[0])):
            return False
        for known in bucket.values():
            if not fits(known.contact.id, known.contact.addr[0]):
                del bucket[known.contact.id]
                self._hosts[known.contact.addr[0]] -= 1
                return True
        return False

    def _spare(self, index: int, contact: NodeContact) -> None:
        spares = self._spares.setdefault(index, OrderedDict())
        spares[contact.id] = contact
        spares.move_to_end(contact.id)
        if len(spares) > SPARES_MAX:
            spares.popitem(last=False)
