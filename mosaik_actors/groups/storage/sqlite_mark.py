"""The mark beside a log file: who has it open, and how far it had come.

A small file of its own, which does two things for `SqliteLog`:

    * Its lock belongs to the handle that has the log open and ends with its
      process, however that ends (`sqlite_lock`).
    * It holds the number of the last batch whose save returned. It is written after the batch is
      durable and is not synced itself, so it may lag behind after a power cut, but it is never
      ahead. A log that knows fewer batches than its mark has lost some: its write-ahead log was
      removed or has decayed, or an old copy was put in its place.

Telling a decayed end from one that a crash cut off needs a second record of the end (Alagappan et
al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST 2018, section 3.4.2). Theirs is
synced too; ours is not, because a second sync would halve the number of batches per second.

This module does blocking I/O. It is used from `SqliteLog` only.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final
from zlib import crc32

from .sqlite_lock import lock_mark

_NUMBER_BYTES: Final = 8
_CHECKSUM_BYTES: Final = 4


class MarkFile:
    """The mark of a log that this process has open; to make it takes its lock.

    Raises:
        StorageInUse: Another process has it, or another handle of this one.
        StorageError: The file system has no locks.
        OSError: It cannot be opened or made.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = lock_mark(path)

    def read(self) -> int:
        """Return the number of the last batch that was saved; 0 if that is not known."""
        content = os.pread(self._descriptor, _NUMBER_BYTES + _CHECKSUM_BYTES, 0)
        number, checksum = content[:_NUMBER_BYTES], content[_NUMBER_BYTES:]
        return int.from_bytes(number) if checksum == _checksum(number) else 0

    def write(self, batch_number: int) -> None:
        """Note that a batch is durable. A failure only leaves the mark behind."""
        number = batch_number.to_bytes(_NUMBER_BYTES)
        with suppress(OSError):
            os.pwrite(self._descriptor, number + _checksum(number), 0)

    def release(self) -> None:
        """Sync the mark and give the lock back. May be repeated."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.fsync(self._descriptor)
            self.forget()

    def forget(self) -> None:
        """Close the file and no more, as a forked child does: the lock is its parent's."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _checksum(number: bytes) -> bytes:
    return crc32(number).to_bytes(_CHECKSUM_BYTES)
