"""A simulated disk: what was not synced is lost in a crash.

`SimDisk` holds named files. What a file is told is seen by later reads at once,
as with an operating system's cache, but survives a `crash` only if a `sync` of
that file ended before. A crash may leave the first part of the last write that
was not synced (a torn write). A disk can be told to fail the next syncs or to
be full, to see what its user makes of it.

Pure: the caller hands in the generator that decides how a write is torn.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from random import Random


class SimFile:
    """One file. Made by `SimDisk.open`."""

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk
        self._seen = bytearray()
        self._safe = b""
        self._dirty: list[tuple[int, int]] = []
        self._dropped: list[tuple[int, int]] = []

    @property
    def size(self) -> int:
        """The size in bytes, unsynced writes included."""
        return len(self._seen)

    def append(self, data: bytes) -> None:
        """Write at the end. Raises OSError (ENOSPC) when the disk is full."""
        self._disk.check_room(len(data))
        self._metadata_dirty(len(self._seen), len(self._seen) + len(data))
        self._seen += data

    def write_at(self, offset: int, data: bytes) -> None:
        """Write at a place, at most at the end. Raises OSError (ENOSPC) when the disk is full."""
        if not 0 <= offset <= len(self._seen):
            raise ValueError(f"offset is {offset}, expected 0 to {len(self._seen)}")
        self._disk.check_room(max(0, offset + len(data) - len(self._seen)))
        self._metadata_dirty(offset, offset + len(data))
        self._seen[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        del self._seen[size:]
        for ranges in (self._dirty, self._dropped):
            ranges[:] = [(start, min(end, size)) for start, end in ranges if start < size]

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Return what the file holds, unsynced writes included."""
        return bytes(self._seen[offset : None if size is None else offset + size])

    def sync(self) -> None:
        """Make all that was written survive a crash.

        Raises:
            OSError: The disk was told to fail (EIO). Nothing became safe, and,
                as on a real disk, a later sync does not bring it back.
        """
        try:
            self._disk.check_sync()
        except OSError:
            self._dropped += self._dirty
            self._dirty = []
            raise
        safe = bytearray(self._seen)
        for start, end in self._dropped:
            safe[start:end] = self._safe[start:end].ljust(min(end, len(safe)) - start, b"\0")
        self._safe = bytes(safe)
        self._dirty = []

    def crash(self, rng: Random) -> None:
        """Lose what was not synced, but for a torn part of the last append."""
        kept = bytes(self._safe)
        tail = bytes(self._seen[len(kept) :]) if self._seen.startswith(kept) else b""
        if tail and self._disk.tears:
            kept += tail[: rng.randrange(len(tail) + 1)]
        self._seen = bytearray(kept)
        self._safe = kept
        self._dirty, self._dropped = [], []

    def _metadata_dirty(self, start: int, end: int) -> None:
        """Remember what the next sync is to write, also if an earlier one dropped it."""
        if self._dirty and self._dirty[-1][1] == start:
            start_of_run, _ = self._dirty.pop()
            self._dirty.append((start_of_run, end))
        else:
            self._dirty.append((start, end))
        self._dropped = [
            part
            for old_start, old_end in self._dropped
            for part in ((old_start, min(old_end, start)), (max(old_start, end), old_end))
            if part[0] < part[1]
        ]


class SimDisk:
    """The disk of one simulated node. It outlives the node's crashes.

    Args:
        rng: Decides how writes are torn.
        tears: Whether a crash may leave part of an unsynced append.
    """

    def __init__(self, rng: Random, *, tears: bool = True) -> None:
        self.tears = tears
        self.failing_syncs = 0
        self.room_bytes: int | None = None
        self.sync_count = 0
        self._rng = rng
        self._files: dict[str, SimFile] = {}

    def open(self, name: str) -> SimFile:
        """Return a file, a new empty one if there is none of this name."""
        if name not in self._files:
            self._files[name] = SimFile(self)
        return self._files[name]

    def names(self) -> list[str]:
        """Return the names of all files, in the order in which they were made."""
        return list(self._files)

    def remove(self, name: str) -> None:
        """Delete a file. Raises FileNotFoundError."""
        if name not in self._files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        del self._files[name]

    def rename(self, name: str, new_name: str) -> None:
        """Give a file another name, in one step, in place of a file that has it.

        The names survive a crash; of the contents, only what was synced does.
        Raises FileNotFoundError.
        """
        if name not in self._files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        self._files[new_name] = self._files.pop(name)

    def fail_syncs(self, count: int) -> None:
        """Let the next `count` syncs fail with EIO."""
        self.failing_syncs = count

    def interrupt(self, write: Callable[[], object]) -> None:
        """Do `write` as far as its next sync, which does not happen: then comes a `crash`."""
        failing_syncs, self.failing_syncs = self.failing_syncs, 1
        try:
            write()
        finally:
            self.failing_syncs = failing_syncs

    def fill(self, room_bytes: int | None) -> None:
        """Leave so much room; None for no limit."""
        self.room_bytes = room_bytes

    def crash(self) -> None:
        """Lose what was not synced, in every file."""
        for file in self._files.values():
            file.crash(self._rng)

    def check_room(self, size: int) -> None:
        """Take `size` bytes of room, or raise OSError (ENOSPC)."""
        if self.room_bytes is None:
            return
        if size > self.room_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room_bytes -= size

    def check_sync(self) -> None:
        """Count a sync, or raise OSError (EIO) if it is to fail."""
        if self.failing_syncs:
            self.failing_syncs -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.sync_count += 1
