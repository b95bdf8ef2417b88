"""The mark beside a log file: who has it open, and how far it had come.

A small file of its own, which does two things for `SqliteLog`:

    * Its lock belongs to the handle that has the log open and ends with its
      process, however that ends (`sqlite_lock`).
    * It holds the number of the last batch whose save returned. It is written
      after the batch is durable and is not synced itself, so it may lag behind
      after a power cut, but it is never ahead. A log that knows fewer batches
      than its mark has lost some: its write-ahead log was removed or has
      decayed, or an old copy was put in its place.

Telling a decayed end from one that a crash cut off needs a second record of
the end (Alagappan et al., "Protocol-Aware Recovery for Consensus-Based
Storage", FAST 2018, section 3.4.2). Theirs is synced too; ours is not, because
a second sync would halve the number of batches per second.

This module does blocking I/O. It is used from `SqliteLog` only.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final, Self
from zlib import crc32

from .sqlite_lock import lock_mark

_NUMBER: Final = struct.Struct(">Q")
_CONTENT_BYTES: Final = _NUMBER.size + 4


class MarkFile:
    """The mark of a log that this process has open. Made by `claim`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def claim(cls, path: Path) -> Self:
        """Open the mark and take its lock.

        Raises:
            StorageInUse: Another process has it, or another handle of this one.
            StorageError: The file system has no locks.
            OSError: It cannot be opened or made.
        """
        return cls(lock_mark(path))

    def read(self) -> int:
        """Return the number of the last batch that was saved; 0 if that is not known."""
        content = os.pread(self._descriptor, _CONTENT_BYTES, 0)
        if len(content) < _CONTENT_BYTES:
            return 0
        number = content[: _NUMBER.size]
        if crc32(number).to_bytes(4) != content[_NUMBER.size :]:
            return 0
        found: int = _NUMBER.unpack(number)[0]
        return found

    def write(self, batch_number: int) -> None:
        """Note that a batch is durable. A failure only leaves the mark behind."""
        number = _NUMBER.pack(batch_number)
        try:
            os.pwrite(self._descriptor, number + crc32(number).to_bytes(4), 0)
        except OSError:
            return

    def release(self) -> None:
        """Sync the mark and give the lock back. May be repeated."""
        if self._descriptor < 0:
            return
        try:
            os.fsync(self._descriptor)
        except OSError:
            pass
        finally:
            self.forget()

    def forget(self) -> None:
        """Close the file and no more, as a forked child does: the lock is its parent's."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
