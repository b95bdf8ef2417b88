"""Entries that neighbours have announced by their ids, and that are not here.

A pure bookkeeper, a part of `broadcast`. ``now`` is monotonic time in seconds. Each is waited for
until a deadline, and then asked of whoever was first to have it, of the next one if it still
does not come (Plumtree, section 3.6).

Invariant: at most `_MISSING_MAX` entries are missed, each with at most `_SOURCES_MAX` sources.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable
from typing import Final

import msgspec

from ...ids import PeerId

_MISSING_MAX: Final = 8_192
_SOURCES_MAX: Final = 8  # neighbours remembered to have a missing entry


class _Missing(msgspec.Struct):
    """An entry that neighbours have and this node does not.

    Attributes:
        is_quick: Whether the tree should have brought it by now. If not, and it is
            missed all the same, it was sent while the tree was another one.
        sources: Who has it.
    """

    is_quick: bool
    sources: list[PeerId]


class MissingEntries:
    """The bookkeeper of this module's docstring.

    Args:
        retry_s: How long the answer of one source is waited for.
    """

    def __init__(self, retry_s: float) -> None:
        self._retry_s = retry_s
        self._missing: dict[bytes, _Missing] = {}
        self._deadlines: list[tuple[float, bytes]] = []

    def add(self, ids: Iterable[bytes], source: PeerId, *, is_quick: bool, due_at: float) -> None:
        """Note that a neighbour has these, which are waited for until `due_at`."""
        for message_id in ids:
            if (missing := self._missing.get(message_id)) is not None:
                if len(missing.sources) < _SOURCES_MAX:
                    missing.sources.append(source)
            elif len(self._missing) < _MISSING_MAX:
                self._missing[message_id] = _Missing(is_quick, [source])
                heapq.heappush(self._deadlines, (due_at, message_id))

    def discard(self, message_id: bytes) -> None:
        """Note that an entry is here."""
        if self._missing:
            self._missing.pop(message_id, None)

    def get_timer(self) -> float | None:
        """Return when `take_due` is due; None for never."""
        return self._deadlines[0][0] if self._deadlines else None

    def take_due(
        self, *neighbours: Container[PeerId], now: float
    ) -> dict[tuple[PeerId, bool], list[bytes]]:
        """Return what is to be asked of whom; and whether the tree should have brought it.

        Args:
            neighbours: Who can be asked: is in any of these.
            now: Monotonic time in seconds.
        """
        wanted: dict[tuple[PeerId, bool], list[bytes]] = {}
        while self._deadlines and self._deadlines[0][0] <= now:
            _, message_id = heapq.heappop(self._deadlines)
            missing = self._missing.get(message_id)
            if missing is None:
                continue
            source = _next_source(missing, neighbours)
            if source is None:
                del self._missing[message_id]
                continue
            wanted.setdefault((source, missing.is_quick), []).append(message_id)
            heapq.heappush(self._deadlines, (now + self._retry_s, message_id))
        return wanted


def _next_source(missing: _Missing, neighbours: tuple[Container[PeerId], ...]) -> PeerId | None:
    while missing.sources:
        source = missing.sources.pop(0)
        if any(source in some for some in neighbours):
            return source
    return None
