"""Exchanges of entries that somebody asked for: one at a time with each peer.

A pure bookkeeper. What is asked while one is under way waits for its end, and shares the next.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from ...ids import PeerId

R = TypeVar("R")


class AskedSyncs(Generic[R]):
    """The requests for exchanges, by the peer they are about."""

    def __init__(self) -> None:
        self._waiting: dict[PeerId, list[R]] = {}

    def begin(self, peer_id: PeerId, request: R) -> bool:
        """Return whether to begin an exchange now; otherwise the request waits."""
        if peer_id in self._waiting:
            self._waiting[peer_id].append(request)
            return False
        self._waiting[peer_id] = []
        return True

    def end(self, peer_id: PeerId, *, is_over: bool = False) -> list[R]:
        """Take in that an exchange ended; return the requests that waited.

        Begin the next one for all of them, unless `is_over`: then there is none.
        """
        waiting = self._waiting.pop(peer_id, [])
        if waiting and not is_over:
            self._waiting[peer_id] = []
        return waiting
