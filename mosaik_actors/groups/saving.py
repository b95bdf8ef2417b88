"""What waits for the disk: the member's own affairs, and those of its history, one at a time.

Which history a member follows, and what it has promised, is not Raft's to save, but
must be on the disk in order with what is. One save is under way at a time; the
member's own come first, for there are few and everything waits for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .history import History
from .storage import SaveBatch


class Saving:
    """The saves of one member.

    Args:
        is_durable: Whether anything is saved at all.

    Attributes:
        is_busy: Whether a save is under way.
        is_stalled: Whether the disk takes nothing for the moment.
    """

    def __init__(self, *, is_durable: bool) -> None:
        self.is_busy = False
        self.is_stalled = False
        self._is_durable = is_durable
        self._own: deque[tuple[SaveBatch, Callable[[], None]]] = deque()
        self._then: Callable[[], None] | None = None

    def add(self, batch: SaveBatch, then: Callable[[], None]) -> None:
        """Save what is the member's own, then go on; at once when nothing is saved."""
        if self._is_durable:
            self._own.append((batch, then))
        else:
            then()

    def next_batch(self, history: History | None) -> SaveBatch | None:
        """Return what to save now, None for nothing; call `saved` when it is."""
        if self.is_busy:
            return None
        batch: SaveBatch | None = None
        if self._own:
            batch, self._then = self._own.popleft()
        elif history is not None:
            batch = history.next_save()
        self.is_busy = batch is not None
        return batch

    def saved(self, history: History | None) -> None:
        """Go on after a save."""
        self.is_busy = False
        if self._then is not None:
            then, self._then = self._then, None
            then()
        elif history is not None:
            history.saved()
