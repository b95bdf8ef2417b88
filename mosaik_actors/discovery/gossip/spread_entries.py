"""Which entries the broadcast knows: the last one of each peer, and what went by lately.

A pure bookkeeper, a part of `broadcast`. An entry is known by its message id. One that a
neighbour announced is remembered with the way it came, for as long as the catalog judges it; after
that the store itself says that it is known. What it replaced, and what was refused,
is remembered for a while, so that it is not judged again.

Invariants:
    * At most `_STORED_MAX` entries are kept, the last one of each peer.
    * Of what went by, at most two generations of `_SEEN_MAX` ids are remembered.
"""

from __future__ import annotations

from typing import Final

from ...ids import PeerId
from ..entry import SignedPeerEntry
from ..recent import Recent

_SEEN_MAX: Final = 16_384  # ids of one generation
_STORED_MAX: Final = 16_384  # entries from which grafts are served

Way = tuple[int, PeerId | None]  # over how many links an entry came, and from whom
_GONE: Final[Way] = (0, None)


class SpreadEntries:
    """The bookkeeper of this module's docstring."""

    def __init__(self) -> None:
        self._seen: Recent[bytes, Way] = Recent(_SEEN_MAX)
        self._stored: dict[PeerId, SignedPeerEntry] = {}
        self._by_id: dict[bytes, SignedPeerEntry] = {}

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._by_id or message_id in self._seen

    def find(self, message_id: bytes) -> SignedPeerEntry | None:
        """Return the entry with an id, if it is the last one of its peer."""
        return self._by_id.get(message_id)

    def is_last(self, signed: SignedPeerEntry) -> bool:
        """Return whether an entry is the last one of its peer."""
        return self._stored.get(signed.peer_id) is signed

    def note_announced(self, message_id: bytes, way: Way) -> None:
        """Remember that an entry was announced, and which way it came."""
        self._seen.put(message_id, way)

    def take_way(self, message_id: bytes) -> Way | None:
        """Return which way an entry came that is about to be stored."""
        return self._seen.take(message_id)

    def store(self, signed: SignedPeerEntry) -> SignedPeerEntry | None:
        """Keep an entry in place of the one before of its peer, and return that."""
        before = self._stored.get(signed.peer_id)
        if before is not None:
            self._forget(before)
        elif len(self._stored) >= _STORED_MAX:
            self._forget(next(iter(self._stored.values())))
        self._stored[signed.peer_id] = signed
        self._by_id[signed.message_id] = signed
        return before

    def _forget(self, signed: SignedPeerEntry) -> None:
        del self._stored[signed.peer_id]
        self._by_id.pop(signed.message_id, None)
        self._seen.put(signed.message_id, _GONE)
