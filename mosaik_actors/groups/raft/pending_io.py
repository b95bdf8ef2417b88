"""Doing what Raft's `Ready` says, in its order, with a disk that takes its time.

    * What needs no saving is done at once.
    * On a durable storage the rest waits for its save. One save is under way
      at a time; what piles up meanwhile is saved together, as far as it is
      plain appending. So a slow disk makes larger batches, not a longer queue.
    * What is committed is applied in parts: after `APPLIED_COMMANDS` the rest waits for
      the next `run`, and others have their turn. A member that opens a long log would
      stop its node for seconds. An entry counts as well, also one that applies nothing.

Invariant: steps 3 to 6 of a `Ready` come after its save and after those of all earlier ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from ...ids import PeerId
from ..storage.interface import SaveBatch
from ..wire.raft import Message
from ..wire.records import Entry, SnapshotMetadata
from .raft import Raft
from .ready import Ready

JOINED_ENTRIES_MAX = 65_536
JOINED_BYTES_MAX = 16 * 1024 * 1024
APPLIED_COMMANDS = 2048  # some milliseconds, or as many as one `Ready` has
COMMANDS_PER_ENTRY = 4  # that an entry costs, beside those in it


class PendingIo:
    """The pending I/O of one replica; without `is_durable` nothing is saved at all.

    `send` is called with messages that may leave, `finish` for each `Ready`, after its save: it
    does steps 4 to 6, and returns how many commands it applied. `snapshot_of` returns the stored
    form of the snapshot with metadata.
    """

    def __init__(
        self,
        raft: Raft,
        *,
        is_durable: bool,
        send: Callable[[tuple[tuple[PeerId, Message], ...]], None],
        finish: Callable[[Ready], int],
        snapshot_of: Callable[[SnapshotMetadata], bytes],
    ) -> None:
        self.last_number = 0  # the number of the last `Ready`
        self.has_more = False  # whether to call `run` again soon: it stopped before all was done
        self._raft = raft
        self._is_durable = is_durable
        self._send = send
        self._finish = finish
        self._snapshot_of = snapshot_of
        self._waiting: deque[Ready] = deque()
        self._saving: list[Ready] = []
        self._saved: deque[Ready] = deque()
        self._room = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for the disk."""
        return not self._waiting and not self._saving and not self._saved

    def run(self) -> None:
        """Do what can be done now, as much as others can wait for: see `has_more`."""
        raft = self._raft
        self._room = APPLIED_COMMANDS
        self._complete_what_is_saved()
        while self._room > 0 and (ready := raft.next_ready()) is not None:
            self.last_number = ready.number
            if ready.early_messages:
                self._send(ready.early_messages)
            if self._is_durable and (ready.must_save or not self.is_idle):
                self._waiting.append(ready)
            else:
                self._complete(ready)
        self.has_more = self._room <= 0

    def next_save(self) -> SaveBatch | None:
        """Return what to save now, then call `saved`; None when nothing waits or a save is on."""
        if self._saving or self.has_more or not self._waiting:
            return None
        first = self._waiting.popleft()
        self._saving.append(first)
        return self._joined(first)

    def saved(self) -> None:
        """Go on after a save: it is durable now."""
        self._saved += self._saving
        self._saving = []
        self.run()

    def _complete_what_is_saved(self) -> None:
        """Finish what was saved, and what only waited for it."""
        while self._room > 0 and self._saved:
            self._complete(self._saved.popleft())
        if self._saving:
            return
        while self._room > 0 and self._waiting and not self._waiting[0].must_save:
            self._complete(self._waiting.popleft())

    def _complete(self, ready: Ready) -> None:
        self._raft.persisted(ready)
        self._room -= self._finish(ready) + COMMANDS_PER_ENTRY * len(ready.committed)

    def _joined(self, first: Ready) -> SaveBatch:
        """Return one batch for `first` and what may be saved with it."""
        batch = first.to_batch(b"" if first.metadata is None else self._snapshot_of(first.metadata))
        if first.metadata is not None:
            return batch
        hard_state, entries = first.hard_state, list(first.entries)
        size_bytes = _size(first.entries)
        while self._waiting and _only_appends(self._waiting[0]):
            ready = self._waiting[0]
            size_bytes += _size(ready.entries)
            if len(entries) > JOINED_ENTRIES_MAX or size_bytes > JOINED_BYTES_MAX:
                break
            self._saving.append(self._waiting.popleft())
            hard_state = ready.hard_state or hard_state
            entries += ready.entries
        return msgspec.structs.replace(batch, hard_state=hard_state, entries=tuple(entries))


def _only_appends(ready: Ready) -> bool:
    return ready.metadata is None and ready.truncate_from is None and ready.compact_to is None


def _size(entries: tuple[Entry, ...]) -> int:
    return sum([len(entry.data) for entry in entries])
