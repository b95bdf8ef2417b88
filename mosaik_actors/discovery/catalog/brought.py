"""The peers that one neighbour brought, and who of them goes when there are too many.

A pure bookkeeper, a part of `capacity`. Its time is a count that grows with each entry heard.

    * Who came first goes last: of some that are drawn by lot the older half stays. Else a
      flood of new keys would push out those who were there before it (Maymounkov,
      Mazieres: Kademlia, IPTPS 2002, section 4.1).
    * Of the younger half the one goes whose size times silence is the largest. Silence alone
      would take many small entries for a large one, which is what fills the room.

The lot bounds what it costs to choose, and nobody can work out ahead who goes. Few are not
drawn but all looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ...ids import PeerId

_DRAWN: Final = 32


class _Standing(msgspec.Struct):
    """Where a peer stands: its place in the list, its size, and when it was heard."""

    place: int
    size: int
    since: int
    heard_at: int


class Brought:
    """The bookkeeper of this module's docstring.

    Args:
        draw: Returns a random number from 0 to 1.
    """

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._peers: list[PeerId] = []
        self._standings: dict[PeerId, _Standing] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def put(self, peer_id: PeerId, size: int, *, since: int, now: int) -> None:
        """Take in a peer that was brought, known since then, and heard just now."""
        self._standings[peer_id] = _Standing(len(self._peers), size, since, now)
        self._peers.append(peer_id)

    def take(self, peer_id: PeerId) -> int:
        """Forget a peer; return since when it was known."""
        standing, last = self._standings.pop(peer_id), self._peers.pop()
        if last != peer_id:
            self._peers[standing.place] = last
            self._standings[last].place = standing.place
        return standing.since

    def choose(self, *, now: int) -> PeerId:
        """Return who goes; call it while there is anybody."""
        standings = self._standings
        drawn = sorted(self._draw_some(), key=lambda peer_id: standings[peer_id].since)
        younger = (standings[peer_id] for peer_id in drawn[len(drawn) // 2 :])
        goes = max(younger, key=lambda one: (one.size * (now - one.heard_at + 1), -one.since))
        return self._peers[goes.place]

    def _draw_some(self) -> list[PeerId]:
        peers, count = self._peers, len(self._peers)
        if count <= _DRAWN:
            return peers
        return [peers[min(int(self._draw() * count), count - 1)] for _ in range(_DRAWN)]
