"""A replica's log on the disk, written in a thread; a part of `replica`.

A log is opened without the loop being held: it is read and decoded in a thread, the state of its
snapshot is taken in piece by piece, and for as long as a long one is opened the garbage collector
does not look at what was there before (`CollectorHold`).

One batch is written at a time. A disk that is full is tried again until there is room: the
batch is neither lost nor said to be saved meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from ..groups.machine.host import Host
from ..groups.member.history import StoredMember
from ..groups.storage.interface import LogOwner, LogStorage, SaveBatch, StorageError
from ..runtime.collector import CollectorHold

logger = logging.getLogger(__name__)

_LONG_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SaveDone:
    """The thread that writes the log is through with a batch; `error` says how it failed."""

    batch: SaveBatch
    error: Exception | None


class ReplicaLog:
    """The storage of one member.

    Args:
        storage: It.
        owner: Whose log it must be.
        tell: Called with `SaveDone` when a batch is saved, or could not be.
    """

    def __init__(
        self, storage: LogStorage, owner: LogOwner, tell: Callable[[SaveDone], None]
    ) -> None:
        self._storage = storage
        self._owner = owner
        self._tell = tell
        self._saving: asyncio.Task[None] | None = None
        self._opening: CollectorHold | None = None

    @property
    def is_saving(self) -> bool:
        """Whether a batch is being written: then the storage must stay open."""
        return self._saving is not None

    @property
    def is_opening(self) -> bool:
        """Whether a long log is being opened: call `end_opening` when it is applied."""
        return self._opening is not None

    async def open(self, host: Host) -> StoredMember:
        """Open the storage, bring a host to its state, and return what it holds."""
        stored = await asyncio.to_thread(self._open)
        if stored.log.size_bytes >= _LONG_BYTES:
            self._opening = CollectorHold()
        for _ in stored.restore(host):
            await asyncio.sleep(0)
        return stored

    def end_opening(self) -> None:
        """Let the garbage collector at everything again. May be repeated."""
        if self._opening is not None:
            self._opening.release()
            self._opening = None

    def save(self, batch: SaveBatch) -> None:
        """Write a batch in a thread; `SaveDone` follows, then call `note_done`."""
        self._saving = asyncio.get_running_loop().create_task(
            self._save(batch), name="save a batch"
        )

    def note_done(self) -> None:
        """Take in that `SaveDone` has come."""
        self._saving = None

    def close(self, label: str) -> None:
        """Close the storage, which nobody writes to any more."""
        self.end_opening()
        try:
            self._storage.close()
        except StorageError as error:
            logger.error("group %s: closing the log: %s", label, error)

    def _open(self) -> StoredMember:
        self._storage.open(self._owner)
        try:
            return StoredMember.of(self._storage.load())
        except BaseException:
            self._storage.close()
            raise

    async def _save(self, batch: SaveBatch) -> None:
        error: Exception | None = None
        try:
            await asyncio.to_thread(self._storage.save, batch)
        except Exception as exc:
            error = exc
        self._tell(SaveDone(batch, error))
