"""Which connections there are to whom, and which of several to one peer is used.

* A Unix socket is preferred to TLS over TCP, that to QUIC, and a direct way to a relay
  (`CARRIERS`).
* Two simultaneous dials leave two connections. Both sides prefer the one that the
  smaller `PeerId` dialled; the other takes no new links and ends with its last one.
* A connection that proves another *instance* of the same key means that the peer
  restarted: the older connections end at once.
* An instance that was replaced and comes again has not restarted: two nodes have the
  same key. It is refused while the other one is connected, so that they do not
  evict each other for ever.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ...ids import PeerId
from ..address import is_loopback
from ..close import CloseCode, CloseReason
from ..config import CARRIERS
from ..connection.connection import Connection
from ..proven_peer import ProvenPeer
from .dialer import NOT_NEEDED

CONNECTIONS_PER_PEER_MAX: Final = 4
REPLACED_MAX: Final = 4096
_INSTANCES_MAX: Final = 8

_GIVEN_UP = CloseReason(CloseCode.UNEXPECTED_CLOSE, "the peer connected anew", remote=True)
_RESTARTED = CloseReason(CloseCode.UNEXPECTED_CLOSE, "the peer restarted", remote=True)
KEY_IN_USE = CloseReason(CloseCode.KEY_IN_USE, "another node is connected with the same key")


class PeerTable:
    """The connections of an endpoint that are ready, by peer.

    Args:
        own_id: Who this side is.
        dial_timeout: A connection that is ready for so many seconds when another one begins is
            too old to be one of two simultaneous dials.
    """

    def __init__(self, own_id: PeerId, dial_timeout: float) -> None:
        self._own_id = own_id
        self._dial_timeout = dial_timeout
        self._by_peer: dict[PeerId, list[Connection]] = {}
        # Instances that another one took the place of, for each peer, the latest last.
        self._replaced: OrderedDict[PeerId, list[int]] = OrderedDict()

    def connections(self, peer_id: PeerId) -> list[Connection]:
        """Return the connections to a peer, in the order in which they got ready."""
        return list(self._by_peer.get(peer_id, ()))

    def connected(self) -> list[PeerId]:
        """Return who is connected, in the order they connected."""
        return list(self._by_peer)

    def usable(self, peer_id: PeerId) -> Connection | None:
        """Return the connection to use for new links to a peer."""
        for connection in self._by_peer.get(peer_id, ()):
            if not connection.is_retiring:
                return connection
        return None

    def is_local(self, peer_id: PeerId) -> bool:
        """Return whether the connection to a peer shows that it is on this machine."""
        connection = self.usable(peer_id)
        if connection is None or connection.carrier == "unix":
            return connection is not None
        return connection.remote is not None and is_loopback(connection.remote[0])

    def is_copy(self, peer: ProvenPeer) -> bool:
        """Return whether another node with the same key has replaced this one, and is there."""
        return peer.instance in self._replaced.get(peer.peer_id, ()) and any(
            mate.peer is not None and mate.peer.instance != peer.instance
            for mate in self._by_peer.get(peer.peer_id, ())
        )

    def add(self, connection: Connection, *, now: float) -> bool:
        """Take in a connection that is ready, and end what it makes needless.

        Returns:
            Whether it is the only one to its peer.
        """
        peer = connection.peer
        assert peer is not None, "a connection is ready only with a proven peer"
        connection.ready_at = now
        for mate in self.connections(peer.peer_id):
            if mate.peer is not None and mate.peer.instance != peer.instance:
                self._note_replaced(mate.peer)
                mate.close(_RESTARTED)
            elif (
                not connection.is_initiator
                and connection.begun_at - mate.ready_at > self._dial_timeout
                and not is_better(connection.carrier, mate.carrier)
            ):
                mate.close(_GIVEN_UP)  # the peer dialled anew, so it has lost this one
        mates = self._by_peer.setdefault(peer.peer_id, [])
        mates.append(connection)
        self._settle(mates)
        retiring = [mate for mate in mates if mate.is_retiring]
        for mate in retiring[: max(0, len(mates) - CONNECTIONS_PER_PEER_MAX)]:
            mate.close(NOT_NEEDED)
        return len(mates) == 1

    def remove(self, connection: Connection) -> int | None:
        """Forget a connection that ended.

        Returns:
            How many to its peer are left; None when it never was ready.
        """
        mates = [] if connection.peer is None else self._by_peer.get(connection.peer_id, [])
        if connection not in mates:
            return None
        mates.remove(connection)
        if mates:
            self._settle(mates)
        else:
            del self._by_peer[connection.peer_id]
        return len(mates)

    def _settle(self, mates: list[Connection]) -> None:
        """Choose one connection of several to the same peer, the same one on both sides.

        Of several that the same side dialled the newest is chosen: nobody dials
        a peer again while the former connection still works.
        """
        is_smaller = self._own_id < mates[0].peer_id
        best = min((mate.carrier for mate in mates), key=CARRIERS.index)
        near = [mate for mate in mates if mate.carrier == best]
        preferred = [mate for mate in near if mate.is_initiator == is_smaller]
        chosen = (preferred or near)[-1]
        for mate in mates:
            mate.is_retiring = mate is not chosen

    def _note_replaced(self, peer: ProvenPeer) -> None:
        instances = self._replaced.pop(peer.peer_id, [])
        if peer.instance not in instances:
            instances.append(peer.instance)
        self._replaced[peer.peer_id] = instances[-_INSTANCES_MAX:]
        if len(self._replaced) > REPLACED_MAX:
            self._replaced.popitem(last=False)


def is_better(carrier: str, other: str) -> bool:
    """Return whether a carrier is preferred to another one."""
    return CARRIERS.index(carrier) < CARRIERS.index(other)
