"""Items that were accepted and that nobody was there to take: back to the application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from .encoded import item_count_of, single_items
from .encoding import ItemEncoder
from .item_filter import SortedItem
from .outbox import Entry


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
        encoder: ItemEncoder,
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
            encoded = entry.encoded if isinstance(entry, SortedItem) else entry
            for single in single_items((encoded,)):
                try:
                    self._callback(self._encoder.decode(single))
                except Exception:
                    self._logger.exception("%s: the undelivered callback failed", self._name)
