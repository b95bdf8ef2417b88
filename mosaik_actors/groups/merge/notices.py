"""Of which merged histories users are notified, and with which commands.

Of each history that ends, once, with the commands that were first applied in it. Who was in it is
notified when it gives it up; the others here, when their ledger names it as merged, whatever way it
came: directly, with another one, or in a snapshot. A member that is new is not notified of what was
merged before it had caught up; one that has come over from a history that ended is, for it may wait
for just that.
"""

from __future__ import annotations

from typing import Final

from ..machine.host import Replayed
from ..machine.ledger import MERGED_KEPT_MAX

_KNOWN_KEPT: Final = 2 * MERGED_KEPT_MAX


class MergeNotices:
    """What one member has notified its users of."""

    def __init__(self) -> None:
        self._replayed: list[Replayed] = []
        self._merged: tuple[bytes, ...] | None = None
        self._known: dict[bytes, None] = {}
        self._has_come_over = False

    def note_replayed(self, replayed: list[Replayed]) -> None:
        """Take in commands of other histories that were applied here."""
        self._replayed += replayed

    def note_given_up(self, history: bytes, *, is_merged: bool) -> None:
        """Note that this member gave a history up; of its end users are notified elsewhere."""
        self._note_known(history)
        self._has_come_over = self._has_come_over or is_merged
        self._replayed.clear()

    def take(
        self, merged: tuple[bytes, ...], *, is_catching_up: bool
    ) -> list[tuple[bytes, list[bytes]]]:
        """Return of which of the `merged` histories to notify, and the commands of each."""
        if merged is self._merged:
            return []
        is_first, self._merged = self._merged is None, merged
        new = [loser for loser in merged if loser not in self._known]
        payloads = self._take_replayed(new)
        for loser in new:
            self._note_known(loser)
        is_told = self._has_come_over or not (is_first or is_catching_up)
        return [(loser, payloads[loser]) for loser in new] if is_told else []

    def _take_replayed(self, losers: list[bytes]) -> dict[bytes, list[bytes]]:
        """Return what came of these histories, and keep what came of others.

        What one had itself taken in from another one that ended is that one's, of which
        users were notified before or are notified now.
        """
        payloads: dict[bytes, list[bytes]] = {loser: [] for loser in losers}
        kept = []
        for replayed in self._replayed:
            if replayed.origin in payloads:
                payloads[replayed.origin] += replayed.payloads
            elif replayed.history not in payloads:
                kept.append(replayed)
            elif replayed.origin not in self._known:
                payloads[replayed.history] += replayed.payloads
        self._replayed = kept
        return payloads

    def _note_known(self, history: bytes) -> None:
        self._known[history] = None
        if len(self._known) > _KNOWN_KEPT:
            del self._known[next(iter(self._known))]
