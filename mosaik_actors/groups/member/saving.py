"""What waits for the disk: the member's own saves, and those of its history, one at a time.

Which history a member follows, and what it has promised, is not Raft's to save, but
must be on the disk in order with what is. One save is under way at a time; the
member's own come first, for there are few and everything waits for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from math import inf

from ..raft.pending_io import PendingIo
from ..storage.interface import SaveBatch


class DiskState(Enum):
    """How the disk does; the value is for people."""

    FINE = "the disk does its work"
    FULL = "the disk takes nothing"  # for the moment; the save is tried again
    HANGING = "the disk does not answer"  # a save has been under way for an election timeout


class Saving:
    """The saves of one member: none at all unless it is durable.

    A save that takes longer than `patience_s` makes the disk count as hanging.
    """

    def __init__(self, *, is_durable: bool, patience_s: float) -> None:
        self.is_busy = False  # whether a save is under way
        self.disk = DiskState.FINE
        self.is_stalled = False  # whether it takes nothing: the member is silent until it does
        self._patience_s = patience_s
        self._since_s = 0.0
        self._is_durable = is_durable
        self._own: deque[tuple[SaveBatch, Callable[[], None]]] = deque()
        self._then: Callable[[], None] | None = None

    def add(self, batch: SaveBatch, then: Callable[[], None]) -> None:
        """Save what is the member's own, then go on; at once when nothing is saved."""
        if self._is_durable:
            self._own.append((batch, then))
        else:
            then()

    def note_disk(self, disk: DiskState) -> None:
        """Take in how the disk does."""
        self.disk, self.is_stalled = disk, disk is DiskState.FULL

    @property
    def hangs_at_s(self) -> float:
        """When the disk counts as hanging, unless the save is done before."""
        is_due = self.is_busy and self.disk is DiskState.FINE
        return self._since_s + self._patience_s if is_due else inf

    def next_batch(self, history: PendingIo | None, *, now: float) -> SaveBatch | None:
        """Return what to save now, None for nothing; call `saved` when it is."""
        if self.is_busy:
            return None
        batch: SaveBatch | None = None
        if self._own:
            batch, self._then = self._own.popleft()
        elif history is not None:
            batch = history.next_save()
        self.is_busy, self._since_s = batch is not None, now
        return batch

    def saved(self, history: PendingIo | None) -> None:
        """Go on after a save."""
        self.is_busy = False
        if self._then is not None:
            then, self._then = self._then, None
            then()
        elif history is not None:
            history.saved()
