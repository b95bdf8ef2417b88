"""Warnings that peers cause: one for each kind, then a summary of what was held back.

Whoever reaches the port can make a node say something about each datagram. So a kind
is said once in `QUIET_S` seconds, and the next time that it is, with how often it was
not. No kind is silent for good. `KINDS_MAX` of them are known; of what is new beyond
these, one line in `QUIET_S` says how much there was.

Pure: ``now`` is monotonic time in seconds.
"""

from __future__ import annotations

import logging
from typing import Final

QUIET_S: Final = 600.0
KINDS_MAX: Final = 100


class BoundedLog:
    """What one endpoint warns of. `logger` is where it says it."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._said_at: dict[str, float] = {}
        self._held_back: dict[str, int] = {}
        self._new_since = float("-inf")
        self._new_count = 0

    @property
    def kinds(self) -> list[str]:
        """What was warned of lately, the oldest first."""
        return list(self._said_at)

    def warn(self, kind: str, text: str, *values: object, now: float) -> None:
        """Log a warning unless its kind was said in the last `QUIET_S` seconds."""
        self._say(logging.WARNING, kind, text, values, now)

    def error(self, kind: str, text: str, *values: object, now: float) -> None:
        """Log in the same way what somebody has to do something about."""
        self._say(logging.ERROR, kind, text, values, now)

    def _say(
        self, level: int, kind: str, text: str, values: tuple[object, ...], now: float
    ) -> None:
        """Log unless it was said lately.

        Args:
            level: How bad it is.
            kind: What it is about; a peer, if it is one's doing, and what it did.
            text: The warning, as for `logging`.
            values: What goes into it.
            now: Monotonic time in seconds.
        """
        said_at = self._said_at.get(kind)
        if said_at is not None and now - said_at < QUIET_S:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return
        if said_at is None and not self._make_room(now):
            self._count_new(now)
            return
        self._said_at.pop(kind, None)
        self._said_at[kind] = now
        if count := self._held_back.pop(kind, 0):
            text, values = f"{text} (and %d times more before)", (*values, count)
        self._logger.log(level, text, *values)

    def _make_room(self, now: float) -> bool:
        while len(self._said_at) >= KINDS_MAX:
            oldest, said_at = next(iter(self._said_at.items()))
            if now - said_at < QUIET_S:
                return False
            del self._said_at[oldest]
            self._held_back.pop(oldest, None)
        return True

    def _count_new(self, now: float) -> None:
        self._new_count += 1
        if now - self._new_since >= QUIET_S:
            text = "too many kinds of trouble to name each: %d more warnings were held back"
            self._logger.warning(text, self._new_count)
            self._new_since, self._new_count = now, 0
