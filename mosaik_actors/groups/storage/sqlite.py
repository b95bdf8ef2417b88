"""A Raft log in an SQLite file.

One batch is one transaction in a write-ahead log with full sync, so a batch costs one fsync, and
SQLite rolls a half-written one back by itself. What SQLite does not promise is added here:

    * Decay. SQLite checks neither the pages of its database nor, once a frame is bad, the rest of
      its write-ahead log. Each entry carries a CRC that runs on from the one before it; the head
      record, rewritten with each batch, holds the CRC of the last entry; a snapshot has a digest. A
      lost, old or changed row breaks the chain. The write-ahead log is judged by `judge_wal` before
      SQLite opens it, and `MarkFile` knows how far the log had come. Damage raises `StorageCorrupt`
      and leaves the files as they are.
    * Failed syncs. After a failed fsync the system may hold pages in its cache that are marked
      clean and were never written, and the next fsync then succeeds without them. So any failure
      but a full disk closes the log for good, and opening it writes what the write-ahead log holds
      once more and syncs it before anything is read. The database file needs no such care: a
      checkpoint whose sync failed is done again in full.
    * Strangers. The file is claimed for one process, one group and one peer,
      and refused to all others, by locks that nothing else in the process drops
      (`sqlite_lock`). A forked child has the log no more.

Files, all for their owner's eyes only: the log itself; ``-wal``, SQLite's write-ahead log, gone
after a clean close; ``-mark``, the lock and the mark. A new log is made under another name and
renamed, so a log that exists is complete, and an empty file is damage.

Blocking: call it from a thread. `close` waits for a call that is under way in another thread; other
calls that meet are refused. `docs/storage.md` says what an operator sees and does.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from weakref import WeakSet
from zlib import crc32

import msgspec
from blake3 import blake3

from ...codec import codec_for
from ...errors import ConfigError
from ..wire.records import Entry, EntryKind, HardState, SnapshotMetadata
from .interface import (
    BEGINNING,
    LogOwner,
    Place,
    SaveBatch,
    Shape,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageInUse,
    Stored,
)
from .sqlite_file import CHECKPOINT_BYTES, FOREIGN, PAGE_BYTES, LogFile, put_record
from .sqlite_lock import lock_database
from .sqlite_mark import MarkFile

CHUNK_BYTES: Final = 256 * 1024
FILE_BYTES_MIN: Final = 16 * PAGE_BYTES

_PAGES_PER_BATCH: Final = 3
_ROW_BYTES: Final = 40
_ENTRY_HEADER: Final = struct.Struct(">QQB")

_KINDS: Final = {int(kind): kind for kind in EntryKind}
_SAVE_ENTRY: Final = "INSERT INTO entry VALUES (?, ?, ?, ?, ?)"
_TERM_AND_CHAIN: Final = "SELECT term, checksum FROM entry WHERE log_index = ?"


class _SnapshotHead(msgspec.Struct, frozen=True, array_like=True):
    metadata: SnapshotMetadata
    size_bytes: int
    digest: bytes


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """What is rewritten with each batch. The chains are CRCs at base and last."""

    batch_number: int = 0
    hard_state: HardState = HardState()
    base: Place = BEGINNING
    base_chain: int = 0
    last: Place = BEGINNING
    last_chain: int = 0
    snapshot: _SnapshotHead | None = None

    @property
    def shape(self) -> Shape:
        metadata = self.snapshot.metadata if self.snapshot else None
        return Shape(self.hard_state, metadata, self.base, self.last)


_HEAD_CODEC: Final = codec_for(_Head)


class SqliteLog:
    """A durable log in the file `path`, for one node and one group.

    Args:
        path: Where. The directory must exist; the file is made when needed.
        file_bytes_max: At most so large a file, without its write-ahead log;
            None for as much as the disk has. Beyond it `StorageFull` is
            raised. A file that is larger already does not grow any more.

    Raises:
        ConfigError: `file_bytes_max` is too small to hold anything.
    """

    is_durable: Final = True

    def __init__(self, path: str | os.PathLike[str], *, file_bytes_max: int | None = None) -> None:
        if file_bytes_max is not None and file_bytes_max < FILE_BYTES_MIN:
            raise ConfigError(f"file_bytes_max is {file_bytes_max}, expected {FILE_BYTES_MIN} up")
        self.path = Path(path).absolute()
        self._file = LogFile(self.path, file_bytes_max)
        self._calls = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._mark: MarkFile | None = None
        self._lock: int | None = None
        self._head = _Head()
        self._failure: StorageError | None = None
        self._written_bytes = 0

    def open(self, owner: LogOwner) -> None:
        """Open the log, or make a new one. See `LogStorage.open` for what it raises."""
        with self._one_call():
            if self._connection is not None:
                raise StorageInUse(str(self.path), "it is open already; one group, one storage")
            try:
                self._open(owner)
            except BaseException as exc:
                self._let_go()
                if isinstance(exc, FOREIGN):
                    raise self._file.ours(exc) from exc
                raise

    def load(self) -> Stored:
        """Return what is stored, every byte of it checked. May be repeated."""
        with self._one_call():
            connection = self._usable()
            try:
                return self._load(connection)
            except FOREIGN as exc:
                raise self._file.ours(exc) from exc

    def save(self, batch: SaveBatch) -> None:
        """Make a batch durable. See `LogStorage.save` for what it raises.

        Every few megabytes it also moves the write-ahead log into the database,
        which takes some tens of milliseconds.
        """
        with self._one_call():
            connection = self._usable()
            try:
                shape = self._head.shape.after(batch, lambda index: self._entry_at(index)[0])
                try:
                    self._commit(connection, batch, shape)
                except sqlite3.Error as exc:
                    if not self._made_room(connection, exc):
                        raise
                    self._commit(connection, batch, shape)
            except FOREIGN as exc:
                raise self._give_up(connection, exc) from exc
            if self._mark is not None:
                self._mark.write(self._head.batch_number)
            if self._written_bytes >= CHECKPOINT_BYTES:
                self._checkpoint(connection)

    def close(self) -> None:
        """Let go of the file. Waits for a call in another thread; may be repeated."""
        with self._calls:
            self._let_go()

    # Opening

    def _open(self, owner: LogOwner) -> None:
        _open_logs.add(self)
        self._mark = MarkFile(self._file.beside("-mark"))
        self._failure, self._written_bytes = None, 0
        for leftover in ("-new", "-new-journal", "-new-wal"):
            self._file.beside(leftover).unlink(missing_ok=True)
        if not self.path.exists():
            self._file.refuse_to_replace(self._mark.read())
            self._file.create(owner, _HEAD_CODEC.encode(_Head()))
        # First of all: to close the file would drop the lock of a stranger in this process.
        self._lock = lock_database(self.path)
        self._file.check_header()
        self._file.settle_wal()
        self._connection = connection = self._file.connect()
        self._file.check_owner(connection, owner)
        self._head = self._file.read(connection, "head", _HEAD_CODEC)
        marked = self._mark.read()
        if self._head.batch_number < marked:
            raise self._file.corrupt(
                f"it ends with batch {self._head.batch_number}, but {marked} were saved; is it an "
                "old copy, or was its -wal file removed?",
                f"batches {self._head.batch_number + 1} to {marked}",
            )

    def _let_go(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._drop(MarkFile.release)

    def _forget(self) -> None:
        """In a forked child: have nothing to do with the log any more, it is the parent's."""
        self._calls = threading.Lock()  # a thread that is not here may have held the other
        if self._connection is not None:
            # Never to be closed, not even when the child ends: that would remove the
            # write-ahead log which the parent goes on writing.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
        self._drop(MarkFile.forget)

    def _drop(self, end: Callable[[MarkFile], None]) -> None:
        """Let go of the locks; of the mark last, as who has that goes on to the other."""
        if self._lock is not None:
            os.close(self._lock)
        if self._mark is not None:
            end(self._mark)
        self._connection = self._lock = self._mark = None

    # Reading

    def _load(self, connection: sqlite3.Connection) -> Stored:
        found = connection.execute("PRAGMA quick_check(1)").fetchall()
        if found != [("ok",)]:
            raise self._file.corrupt(f"SQLite's own check fails: {found[0][0]}", "unknown")
        head = self._head
        return Stored(
            hard_state=head.hard_state,
            snapshot=self._load_snapshot(connection, head.snapshot),
            base=head.base,
            entries=self._load_entries(connection, head),
        )

    def _load_entries(self, connection: sqlite3.Connection, head: _Head) -> list[Entry]:
        entries: list[Entry] = []
        chain, index = head.base_chain, head.base[0]
        rows = connection.execute(
            "SELECT log_index, term, kind, data, checksum FROM entry ORDER BY log_index"
        )
        for row_index, term, kind, data, checksum in rows:
            index += 1
            if row_index != index or not _is_entry(term, kind, data):
                raise self._lost_from(index)
            chain = _chain(chain, index, term, kind, data)
            if chain != checksum:
                raise self._lost_from(index)
            entries.append(Entry(index, term, _KINDS[kind], data))
        if (index, chain) != (head.last[0], head.last_chain):
            raise self._lost_from(min(index, head.last[0]) + 1)
        return entries

    def _load_snapshot(
        self, connection: sqlite3.Connection, head: _SnapshotHead | None
    ) -> tuple[SnapshotMetadata, bytes] | None:
        if head is None:
            return None
        chunks = connection.execute("SELECT data FROM chunk ORDER BY number")
        data = b"".join(chunk for (chunk,) in chunks if isinstance(chunk, bytes))
        if len(data) != head.size_bytes or blake3(data).digest() != head.digest:
            raise self._file.corrupt(
                f"the snapshot of entries 1 to {head.metadata.index} is damaged", "the snapshot"
            )
        return head.metadata, data

    def _entry_at(self, index: int) -> tuple[int, int]:
        """Return term and chain of a stored entry, and raise `StorageCorrupt` without one."""
        if index == self._head.last[0]:
            return self._head.last[1], self._head.last_chain
        rows = self._usable().execute(_TERM_AND_CHAIN, (index,)).fetchall()
        if len(rows) != 1 or not all(isinstance(value, int) for value in rows[0]):
            raise self._lost_from(index)
        return rows[0][0], rows[0][1]

    # Writing

    def _commit(self, connection: sqlite3.Connection, batch: SaveBatch, shape: Shape) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            head = self._write(connection, batch, shape)
            connection.execute("COMMIT")
            self._head = head
        except FOREIGN:
            raise
        except BaseException as exc:
            # Cut off anywhere in between, what is here may not be what is in the file.
            self._give_up(connection, exc)
            raise

    def _write(self, connection: sqlite3.Connection, batch: SaveBatch, shape: Shape) -> _Head:
        """Write a batch in the open transaction, and return the new head."""
        snapshot, base_chain, chain = None, 0, 0
        if not batch.reset:
            snapshot = self._head.snapshot
            base_chain = self._chain_at(shape.base[0])
            chain = self._chain_at(shape.last[0] - len(batch.entries))
        self._written_bytes += _PAGES_PER_BATCH * PAGE_BYTES
        if batch.reset:
            connection.execute("DELETE FROM entry")
        if batch.truncate_from is not None:
            connection.execute("DELETE FROM entry WHERE log_index >= ?", (batch.truncate_from,))
        if batch.compact_to is not None:
            connection.execute("DELETE FROM entry WHERE log_index <= ?", (shape.base[0],))
        if batch.reset or batch.snapshot is not None:
            connection.execute("DELETE FROM chunk")
        if batch.snapshot is not None:
            snapshot = self._write_snapshot(connection, *batch.snapshot)
        if batch.entries:
            rows = list(_rows(batch.entries, chain))
            connection.executemany(_SAVE_ENTRY, rows)
            chain = rows[-1][4]
            self._written_bytes += sum(len(row[3]) + _ROW_BYTES for row in rows)
        head = _Head(
            self._head.batch_number + 1,
            shape.hard_state,
            shape.base,
            base_chain,
            shape.last,
            chain,
            snapshot,
        )
        put_record(connection, "head", _HEAD_CODEC.encode(head))
        return head

    def _write_snapshot(
        self, connection: sqlite3.Connection, metadata: SnapshotMetadata, data: bytes
    ) -> _SnapshotHead:
        view = memoryview(data)
        starts = range(0, len(view), CHUNK_BYTES)
        chunks = ((n, view[start : start + CHUNK_BYTES]) for n, start in enumerate(starts))
        connection.executemany("INSERT INTO chunk VALUES (?, ?)", chunks)
        self._written_bytes += len(view)
        return _SnapshotHead(metadata, len(view), blake3(data).digest())

    def _chain_at(self, index: int) -> int:
        if index == self._head.base[0]:
            return self._head.base_chain
        if index > self._head.last[0]:
            return 0  # a snapshot beyond the log: a new chain begins there
        return self._entry_at(index)[1]

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Move the write-ahead log into the database, so that it starts over.

        What was saved is durable without it, so a failure is not that of the
        batch: a full disk is tried again later, anything else ends the log.
        """
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except FOREIGN as exc:
            if isinstance(self._file.ours(exc), StorageFull):
                self._written_bytes = CHECKPOINT_BYTES // 2
            else:
                self._give_up(connection, exc)
        else:
            self._written_bytes = 0

    def _made_room(self, connection: sqlite3.Connection, exc: sqlite3.Error) -> bool:
        """On a full disk, give back the write-ahead log's room, and return whether that worked."""
        if not isinstance(self._file.ours(exc), StorageFull):
            return False
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as second:
            if isinstance(self._file.ours(second), StorageFull):
                return False
            raise
        self._written_bytes = 0
        return not busy

    # Failing

    def _give_up(self, connection: sqlite3.Connection, exc: BaseException) -> StorageError:
        """Undo what is under way; unless the disk was just full, accept nothing more."""
        if isinstance(exc, FOREIGN):
            error = self._file.ours(exc)
        else:
            error = StorageError(str(self.path), f"a save was cut off by {exc!r}")
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except FOREIGN:
            if isinstance(error, StorageFull):
                error = StorageError(str(self.path), "a save could not be undone on a full disk")
        if not isinstance(error, StorageFull):
            self._failure = error
        return error

    def _lost_from(self, index: int) -> StorageCorrupt:
        return self._file.corrupt(
            f"entry {index} is missing or damaged", f"entries {index} to {self._head.last[0]}"
        )

    def _usable(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StorageError(str(self.path), "it is not open; call open first")
        if self._failure is not None:
            raise StorageError(
                str(self.path), f"it failed earlier, close and open it again: {self._failure}"
            ) from self._failure
        return self._connection

    @contextmanager
    def _one_call(self) -> Iterator[None]:
        if not self._calls.acquire(blocking=False):
            raise StorageInUse(str(self.path), "another call is under way in another thread")
        try:
            yield
        finally:
            self._calls.release()


def _chain(chain: int, index: int, term: int, kind: int, data: bytes) -> int:
    """Return the CRC up to an entry, given the one up to the entry before it."""
    return crc32(data, crc32(_ENTRY_HEADER.pack(index, term, kind), chain))


def _rows(entries: Sequence[Entry], chain: int) -> Iterator[tuple[int, int, int, bytes, int]]:
    for entry in entries:
        chain = _chain(chain, entry.index, entry.term, entry.kind, entry.data)
        yield entry.index, entry.term, int(entry.kind), entry.data, chain


def _is_entry(term: object, kind: object, data: object) -> bool:
    return isinstance(term, int) and term >= 0 and kind in _KINDS and isinstance(data, bytes)


_open_logs: Final[WeakSet[SqliteLog]] = WeakSet()


def _forget_all() -> None:
    for log in _open_logs:
        log._forget()


os.register_at_fork(after_in_child=_forget_all)
