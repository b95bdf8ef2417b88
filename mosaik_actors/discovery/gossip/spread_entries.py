"""Which entries the broadcast knows: those that the catalog accepted, and what went by lately.

A pure bookkeeper, a part of `broadcast`. An entry is known by its message id. One that a
neighbour announced is remembered with the way it came, for as long as the catalog judges it; after
that the store itself says that it is known. What it replaced, and what was refused,
is remembered for a while, so that it is not judged again.

Which entry is the last one of a peer the catalog knows, and says with each new one: a second
table of all peers would be as large as its own.

Invariants:
    * At most `_STORED_MAX` entries are kept, the last one of each peer.
    * Of what went by, at most two generations of `_SEEN_MAX` ids are remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...ids import PeerId
from ..entry import SignedPeerEntry
from ..recent import Recent

_SEEN_MAX: Final = 16_384  # ids of one generation
_STORED_MAX: Final = 16_384  # entries from which grafts are served

Way = tuple[int, PeerId | None]  # over how many links an entry came, and from whom
GONE: Final[Way] = (0, None)  # the way of an entry that was replaced


class SpreadEntries:
    """The bookkeeper of this module's docstring."""

    def __init__(self) -> None:
        self._seen: Recent[bytes, Way] = Recent(_SEEN_MAX)
        self._stored: dict[bytes, SignedPeerEntry] = {}

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._stored or message_id in self._seen

    def unknown(self, ids: Iterable[bytes]) -> list[bytes]:
        """Return those of some ids that are not known, in their order."""
        stored, seen = self._stored, self._seen
        return [one for one in ids if one not in stored and one not in seen]

    def find(self, message_id: bytes) -> SignedPeerEntry | None:
        """Return the entry with an id, if it is the last one of its peer."""
        return self._stored.get(message_id)

    def is_last(self, signed: SignedPeerEntry) -> bool:
        """Return whether an entry is the last one of its peer."""
        return signed.message_id in self._stored

    def note_announced(self, message_id: bytes, way: Way) -> None:
        """Remember that an entry was announced, and which way it came."""
        self._seen.put(message_id, way)

    def take_way(self, message_id: bytes) -> Way | None:
        """Return which way an entry came that is about to be stored."""
        return self._seen.take(message_id)

    def store(self, signed: SignedPeerEntry, before: SignedPeerEntry | None) -> None:
        """Keep an entry in place of the one before of its peer."""
        if before is not None:
            self._stored.pop(before.message_id, None)
            self._seen.put(before.message_id, GONE)
        if len(self._stored) >= _STORED_MAX:
            oldest = next(iter(self._stored))
            del self._stored[oldest]
            self._seen.put(oldest, GONE)
        self._stored[signed.message_id] = signed
