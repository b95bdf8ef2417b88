"""What of a log is handed out to be saved, and what is known to be saved.

Entries are handed out in order, several batches may be on their way to the disk, and a batch may
remove what an earlier one adds. So "saved" is worked out from the batches themselves, not from
comparing terms: an entry counts as saved only when no batch that is still on its way removes it.
(An entry may be removed and come back, with the same index and term.)
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..wire.records import HardState


class _Batch(NamedTuple):
    """What one `Ready` has saved: the log on the disk ends at `last_index` after it."""

    number: int
    truncate_from: int | None
    last_index: int
    hard_state: HardState | None


class Durability:
    """Where the disk stands: at first `last_index`, term and vote are saved."""

    def __init__(self, last_index: int, hard_state: HardState) -> None:
        self.next_index = last_index + 1  # the first entry that was not handed out
        self.truncate_from: int | None = None  # what the next batch must remove, None for nothing
        self.saved = hard_state  # the term and vote that are known to be saved
        self._disk_last_index = last_index
        self._outstanding: deque[_Batch] = deque()

    @property
    def has_outstanding(self) -> bool:
        """Whether a batch is on its way."""
        return bool(self._outstanding)

    def truncated(self, from_index: int) -> None:
        """Note that entries from `from_index` on were removed from the log."""
        if from_index < self.next_index:
            self.next_index = from_index
            if self.truncate_from is None or from_index < self.truncate_from:
                self.truncate_from = from_index

    def skip_to(self, index: int) -> None:
        """Note that entries before `index` need not be saved: a snapshot has them."""
        self.next_index = max(self.next_index, index)

    def hand_out(self, number: int, last_index: int, hard_state: HardState | None) -> int | None:
        """Note a batch with everything up to `last_index`; return what it must remove."""
        truncate_from, self.truncate_from = self.truncate_from, None
        self._outstanding.append(_Batch(number, truncate_from, last_index, hard_state))
        self.next_index = last_index + 1
        return truncate_from

    def persisted(self, number: int) -> None:
        """Note that the oldest batch on its way is saved."""
        assert self._outstanding, f"batch {number} was never handed out"
        batch = self._outstanding.popleft()
        assert batch.number == number, f"batch {number} saved before batch {batch.number}"
        self._disk_last_index = batch.last_index
        self.saved = batch.hard_state or self.saved

    def saved_index(self) -> int:
        """Return the last entry of the log that is saved and stays so."""
        last_index = self._disk_last_index
        for batch in self._outstanding:
            if batch.truncate_from is not None:
                last_index = min(last_index, batch.truncate_from - 1)
        if self.truncate_from is not None:
            last_index = min(last_index, self.truncate_from - 1)
        return last_index
