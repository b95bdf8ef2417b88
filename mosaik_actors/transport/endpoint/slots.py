"""Which connection ends for a newcomer, when there are as many as there may be.

Whoever reaches the port can complete handshakes, and then say nothing. So a
connection without an accepted link holds its slot only while nobody needs it,
and so does a handshake that is not finished:

    * All connections are taken: of those without an accepted link the one that
      has been so for longest ends; where all have one, the oldest handshake.
    * All handshakes are taken: the oldest of them ends.

A newcomer that comes and opens its link is the youngest on either list, so a
flood has to go through a whole list within its few round trips to keep it out.

Newcomers from the addresses of peers that had an accepted link before may also
use a reserve, and handshakes of theirs end after all others. An address counts as
theirs only once it is shown to be real: whoever is to use the reserve, or
to have somebody evicted, has answered a Retry. That is the caller's duty. None is the address of
whoever comes from this machine, by a Unix socket.

Invariants:
    * A connection with an accepted link is never evictable, nor one with a link
      that was opened here and waits for its answer.
    * All calls cost the same however many connections there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from ..address import SocketAddr
from ..config import TransportConfig

RESERVE_SHARE = 4  # the reserve is at most one of so many


class Slot(Protocol):
    """What there is to know of a connection here."""

    @property
    def reachable_at(self) -> SocketAddr | None:
        """Where the peer can be dialled; None where that is no address."""

    @property
    def own_link_count(self) -> int:
        """Links that were opened here and have not ended."""


T = TypeVar("T", bound=Slot)


class Slots(Generic[T]):
    """The connections that may have to end for others, in the order in which they would."""

    def __init__(self, config: TransportConfig) -> None:
        self._connections_max = config.connections_max
        self._handshakes_max = config.handshakes_max
        self._reserve = config.known_reserve
        self._idle: OrderedDict[T, None] = OrderedDict()
        self._strangers: OrderedDict[T, None] = OrderedDict()
        self._returning: OrderedDict[T, None] = OrderedDict()
        self._known: OrderedDict[SocketAddr, None] = OrderedDict()

    @property
    def half_open_count(self) -> int:
        """Incoming handshakes that are not finished."""
        return len(self._strangers) + len(self._returning)

    def is_full(self, connection_count: int, remote: SocketAddr | None) -> bool:
        """Return whether a newcomer needs the slot of another, with so many connections."""
        is_known = remote in self._known
        return connection_count >= self._limit(self._connections_max, is_known) or (
            self.half_open_count >= self._limit(self._handshakes_max, is_known)
        )

    def is_known(self, remote: SocketAddr) -> bool:
        """Return whether a peer had an accepted link from an address before."""
        return remote in self._known

    def has_evictable(self, remote: SocketAddr | None) -> bool:
        """Return whether there is a connection that may end for a newcomer."""
        return next(self._candidates(remote), None) is not None

    def evictable(self, remote: SocketAddr | None) -> T:
        """Return the connection to end; only after `has_evictable` said that there is one."""
        return next(self._candidates(remote))

    def receive_handshake(self, slot: T, remote: SocketAddr | None) -> None:
        """Take in that a newcomer began a handshake."""
        (self._returning if remote in self._known else self._strangers)[slot] = None

    def receive_ready(self, slot: T) -> None:
        """Take in that a handshake, of either side, is finished."""
        self.forget(slot)
        self._idle[slot] = None

    def receive_used(self, slot: T) -> None:
        """Take in that a connection has an accepted link."""
        self._idle.pop(slot, None)
        if (remote := slot.reachable_at) is not None:
            self._known[remote] = None
            self._known.move_to_end(remote)
            if len(self._known) > self._connections_max:
                self._known.popitem(last=False)

    def receive_unused(self, slot: T) -> None:
        """Take in that a connection has no accepted link any more."""
        self._idle[slot] = None

    def forget(self, slot: T) -> None:
        """Take in that a connection is over."""
        for held in (self._idle, self._strangers, self._returning):
            held.pop(slot, None)

    def _limit(self, count_max: int, is_known: bool) -> int:
        return count_max if is_known else count_max - min(self._reserve, count_max // RESERVE_SHARE)

    def _candidates(self, remote: SocketAddr | None) -> Iterator[T]:
        if self.half_open_count < self._limit(self._handshakes_max, remote in self._known):
            for slot in self._idle:
                if not slot.own_link_count:
                    yield slot
        yield from self._strangers
        if remote in self._known:
            yield from self._returning
