"""Items that were accepted and that nobody was there to take: back to the application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from .item_filter import SortedPart
from .outbox import Entry
from .parts import PartEncoder
from .runs import item_count_of, single_parts


class Undelivered:
    """Where the items of one producer go that no consumer was there to take.

    Args:
        name: The stream, for the log.
        logger: Where it is said.
        encoder: What encoded the items.
        callback: Called with each; None is nobody, and only their number is logged.
    """

    def __init__(
        self,
        name: str,
        logger: logging.Logger,
        encoder: PartEncoder,
        callback: Callable[[Any], object] | None,
    ) -> None:
        self._name = name
        self._logger = logger
        self._encoder = encoder
        self._callback = callback

    def hand_back(self, entries: Sequence[Entry]) -> None:
        """Give items back, one by one. The callback may raise, and may send again."""
        if not entries:
            return
        if self._callback is None:
            item_count = sum(map(item_count_of, entries))
            self._logger.info("%s: %d items had no consumer", self._name, item_count)
            return
        for entry in entries:
            part = entry.part if isinstance(entry, SortedPart) else entry
            for single in single_parts((part,)):
                try:
                    self._callback(self._encoder.decode(single))
                except Exception:
                    self._logger.exception("%s: the undelivered callback failed", self._name)
