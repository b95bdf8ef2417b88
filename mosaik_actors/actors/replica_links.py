"""The links of a replica's bonds, and the numbers that its core knows them by.

A part of `replica`. The core has no links, only numbers that are never used again.
"""

from __future__ import annotations

from ..groups.mesh.peer_heartbeats import PeerHeartbeats
from ..transport.close import CloseReason
from ..transport.interface import Link, Sink


class ReplicaLinks:
    """The links of one replica.

    Args:
        sink: Gets the events of all of them.

    Attributes:
        heartbeats: Those that all groups of the node share.
    """

    def __init__(self, sink: Sink) -> None:
        self.heartbeats = PeerHeartbeats()
        self._sink = sink
        self._links: dict[int, Link] = {}
        self._ids: dict[Link, int] = {}
        self._number = 0

    def add(self, link: Link) -> int:
        """Attach a new link, and return its number."""
        self._number += 1
        self._links[self._number] = link
        self._ids[link] = self._number
        link.attach(self._sink)
        return self._number

    def get(self, link_id: int) -> Link | None:
        """Return the link with a number, None when it has ended."""
        return self._links.get(link_id)

    def id_of(self, link: Link) -> int | None:
        """Return the number of a link, None when it has ended."""
        return self._ids.get(link)

    def forget(self, link: Link) -> int | None:
        """Take in that a link ended; return its number, None when that is known."""
        link_id = self._ids.pop(link, None)
        if link_id is not None:
            del self._links[link_id]
            self.heartbeats.remove(link)
        return link_id

    def close(self, link_id: int, reason: CloseReason) -> None:
        """Close a link, unless it has ended."""
        link = self._links.get(link_id)
        if link is not None:
            self.forget(link)
            link.close(reason)

    def close_all(self, reason: CloseReason) -> None:
        """Close all links."""
        for link in self._links.values():
            self.heartbeats.remove(link)
            link.close(reason)
        self._links.clear()
        self._ids.clear()
