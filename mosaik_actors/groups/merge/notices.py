"""Of which merged histories users are notified, and with which commands.

Of each history that ends, once, with the commands that have it as their holder (`Replay.holder`),
whatever way they came. Who was in it is notified when it gives it up; the others here, when their
ledger names it as merged: directly, with another one, or in a snapshot. A member that is new is not
notified of what was merged before it had caught up; one that has come over from a history that
ended is, for it may wait for just that. One that restarts is not of what its log names as merged.

A history may be long: what it brought is decoded a little at a time (`MergeNotice`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ..machine.host import Replayed
from ..machine.ledger import MERGED_KEPT_MAX

_KNOWN_KEPT: Final = 2 * MERGED_KEPT_MAX
_DECODED_COMMANDS: Final = 2048  # in one turn, some milliseconds
_STEP_COMMANDS: Final = 16  # that a step costs, beside those that it brings


class MergeNotice:
    """The notice of the end of one history, in the making."""

    def __init__(self, loser: bytes, winner: bytes, payloads: Iterable[Sequence[bytes]]) -> None:
        self.loser = loser
        self.winner = winner
        self.commands: list[Any] = []  # those that are decoded
        self._payloads = iter(payloads)

    def read(self, decode: Callable[[Sequence[bytes]], tuple[list[Any], object]]) -> bool:
        """Decode as much as one turn of the loop has room for; return whether that was all."""
        count = 0
        for payloads in self._payloads:
            commands, _ = decode(payloads)
            self.commands += commands
            count += _STEP_COMMANDS + len(commands)
            if count >= _DECODED_COMMANDS:
                return False
        return True


class MergeNotices:
    """What one member has notified its users of."""

    def __init__(self) -> None:
        self._replayed: list[Replayed] = []
        self._merged: tuple[bytes, ...] | None = None
        self._known: dict[bytes, None] = {}
        self._has_come_over = False

    def note_known(self, histories: Iterable[bytes]) -> None:
        """Note of which ends users are notified, or were before."""
        self._known.update(dict.fromkeys(histories))
        for history in list(self._known)[:-_KNOWN_KEPT]:
            del self._known[history]

    def note_given_up(self, history: bytes, *, is_merged: bool) -> None:
        """Note that this member gave a history up; of its end users are notified elsewhere."""
        self.note_known([history])
        self._has_come_over = self._has_come_over or is_merged
        self._replayed.clear()

    def take(
        self, winner: bytes, merged: tuple[bytes, ...], replayed: list[Replayed], *, is_told: bool
    ) -> list[MergeNotice]:
        """Return the notices of those of the `merged` histories that are new.

        `replayed` are the commands of other histories that were applied since the last call. Unless
        `is_told` only one that has come over is notified.
        """
        self._replayed += [one for one in replayed if one.holder not in self._known]
        if merged is self._merged:
            return []
        is_first, self._merged = self._merged is None, merged
        new = [loser for loser in merged if loser not in self._known]
        brought: dict[bytes, list[Sequence[bytes]]] = {loser: [] for loser in new}
        for one in self._replayed:
            brought.get(one.holder, []).append(one.payloads)
        self._replayed = [one for one in self._replayed if one.holder not in brought]
        self.note_known(new)
        is_told = self._has_come_over or (is_told and not is_first)
        return [MergeNotice(loser, winner, came) for loser, came in brought.items() if is_told]
