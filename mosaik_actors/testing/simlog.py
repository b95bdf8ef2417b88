"""A Raft log on a simulated disk: durable storage for scenario tests.

The same promises as `SqliteLog`, on a `SimDisk` that loses unsynced writes,
tears the last one, fills up and fails its syncs. One file of records:

    * 16 bytes: length and CRC of the content, the record's number, and the CRC
      of these three;
    * the content: the owner first, then the state when the file was made, then
      one record per batch.

A batch is one record, so it is there as a whole or not at all. On opening, an
incomplete record at the end is what a crash left of a batch whose save never
returned; it is dropped. Any other damage is damage to something that had been
synced, because a torn write is shorter than it should be, not different; it
raises `StorageCorrupt`.

What is found is then written to a new file, synced and renamed over the old
one. So all that `load` returns is durable even if a failed sync had left it in
the cache only, and the file stays in proportion to what it holds.
"""

from __future__ import annotations

import errno
import struct
from typing import Any, Final
from zlib import crc32

from ..codec import codec_for
from ..errors import DecodeError
from ..groups.storage.interface import (
    BatchError,
    LogOwner,
    LogState,
    SaveBatch,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageInUse,
    Stored,
)
from .disk import SimDisk, SimFile

REWRITE_BYTES: Final = 64 * 1024

_HEADER: Final = struct.Struct(">IIII")
_FIELDS: Final = struct.Struct(">III")
_OWNER_CODEC: Final = codec_for(LogOwner)
_STORED_CODEC: Final = codec_for(Stored)
_BATCH_CODEC: Final = codec_for(SaveBatch)


class SimLog:
    """A durable log in a file of a simulated disk.

    Args:
        disk: The node's disk. It outlives the node's crashes; the log does not.
        name: The file's name, one per group.
        rewrite_bytes: A file is rewritten when it has grown by so much, and
            to twice its size, since it was written last.
    """

    is_durable: Final = True

    def __init__(self, disk: SimDisk, name: str, *, rewrite_bytes: int = REWRITE_BYTES) -> None:
        self._disk = disk
        self._name = name
        self._rewrite_bytes = rewrite_bytes
        self._owner: LogOwner | None = None
        self._file: SimFile | None = None
        self._state = LogState()
        self._count = 0
        self._size_when_written = 0
        self._failure: StorageError | None = None

    def open(self, owner: LogOwner) -> None:
        """Open the log, or make a new one. See `LogStorage.open` for what it raises."""
        if self._file is not None:
            raise StorageInUse(self._name, "it is open already; one group, one storage")
        self._failure, self._owner = None, owner
        self._state = LogState()
        if self._name in self._disk.names():
            self._read(self._disk.open(self._name), owner)
        try:
            self._rewrite()
        except OSError as exc:
            raise self._ours(exc) from exc

    def load(self) -> Stored:
        """Return what is stored, all of it synced. May be repeated."""
        self._usable()
        return self._state.stored

    def save(self, batch: SaveBatch) -> None:
        """Make a batch durable. See `LogStorage.save` for what it raises."""
        file = self._usable()
        self._state.check(batch)
        size = file.size
        try:
            file.append(_record(self._count, _BATCH_CODEC.encode(batch)))
        except OSError as exc:
            file.truncate(size)
            raise self._ours(exc) from exc
        try:
            file.sync()
        except OSError as exc:
            self._failure = self._ours(exc)
            raise self._failure from exc
        self._count += 1
        self._state.apply(batch)
        grown = file.size - self._size_when_written
        if grown >= max(self._rewrite_bytes, self._size_when_written):
            self._rewrite_or_fail_later()

    def close(self) -> None:
        """Let go of the file. May be repeated."""
        self._file = None

    def _read(self, file: SimFile, owner: LogOwner) -> None:
        contents = self._records(file.read())
        if len(contents) < 2:
            raise self._corrupt(0, "it ends before its first batch", "everything")
        found = self._decode(0, _OWNER_CODEC, contents[0])
        owner.check(found, self._name)
        try:
            self._state = LogState(self._decode(1, _STORED_CODEC, contents[1]))
            for number, content in enumerate(contents[2:], 2):
                self._state.apply(self._decode(number, _BATCH_CODEC, content))
        except BatchError as exc:
            raise self._corrupt(len(contents), str(exc), "unknown") from exc

    def _records(self, data: bytes) -> list[bytes]:
        """Return the contents of all complete records."""
        contents: list[bytes] = []
        at = 0
        while len(data) - at >= _HEADER.size:
            number = len(contents)
            size, checksum, found, header_checksum = _HEADER.unpack_from(data, at)
            if crc32(data[at : at + _FIELDS.size]) != header_checksum or found != number:
                raise self._corrupt(number, "its header is damaged", f"batches from {number} on")
            at += _HEADER.size
            content = data[at : at + size]
            if len(content) < size:
                break
            if crc32(content) != checksum:
                raise self._corrupt(number, "it is damaged", f"batches from {number} on")
            contents.append(content)
            at += size
        return contents

    def _decode(self, number: int, codec: Any, content: bytes) -> Any:
        try:
            return codec.decode(content)
        except DecodeError as exc:
            raise self._corrupt(number, str(exc), f"batches from {number} on") from exc

    def _rewrite(self) -> None:
        """Write all that is held to a new file, and switch to it. Raises OSError."""
        new_name = f"{self._name}.new"
        if new_name in self._disk.names():
            self._disk.remove(new_name)
        new = self._disk.open(new_name)
        try:
            new.append(_record(0, _OWNER_CODEC.encode(self._owner)))
            new.append(_record(1, _STORED_CODEC.encode(self._state.stored)))
            new.sync()
        except OSError:
            self._disk.remove(new_name)
            raise
        self._disk.rename(new_name, self._name)
        self._file, self._count, self._size_when_written = new, 2, new.size

    def _rewrite_or_fail_later(self) -> None:
        """Rewrite after a batch that is durable already, so that it cannot fail any more."""
        try:
            self._rewrite()
        except OSError as exc:
            error = self._ours(exc)
            if not isinstance(error, StorageFull):
                self._failure = error

    def _usable(self) -> SimFile:
        if self._file is None:
            raise StorageError(self._name, "it is not open; call open first")
        if self._failure is not None:
            raise StorageError(
                self._name, f"it failed earlier, close and open it again: {self._failure}"
            ) from self._failure
        return self._file

    def _ours(self, exc: OSError) -> StorageError:
        kind = StorageFull if exc.errno == errno.ENOSPC else StorageError
        return kind(self._name, exc.strerror or str(exc))

    def _corrupt(self, number: int, reason: str, lost: str) -> StorageCorrupt:
        return StorageCorrupt(f"{self._name}, record {number}", reason, lost)


def _record(number: int, content: bytes) -> bytes:
    fields = _FIELDS.pack(len(content), crc32(content), number)
    return fields + crc32(fields).to_bytes(4) + content
