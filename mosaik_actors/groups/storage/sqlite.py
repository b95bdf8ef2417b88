"""A Raft log in an SQLite file.

One batch is one transaction in a write-ahead log with full sync, so a batch
costs one fsync, and SQLite rolls a half-written one back by itself. What SQLite
does not promise is added here:

    * Decay. SQLite checks neither the pages of its database nor, once a frame
      is bad, the rest of its write-ahead log. Each entry carries a CRC that
      runs on from the one before it; the head record, rewritten with each
      batch, holds the CRC of the last entry; a snapshot has a digest. A lost,
      old or changed row breaks the chain. The write-ahead log is judged by
      `judge_wal` before SQLite opens it, and `MarkFile` knows how far the log
      had come. Damage raises `StorageCorrupt` and leaves the files as they are.
    * Failed syncs. After a failed fsync the system may hold pages in its cache
      that are marked clean and were never written, and the next fsync then
      succeeds without them. So any failure but a full disk closes the log for
      good, and opening it writes what the write-ahead log holds once more and
      syncs it before anything is read. The database file needs no such care:
      a checkpoint whose sync failed is done again in full.
    * Strangers. The file is claimed for one process, one group and one peer,
      and refused to all others, by locks that nothing else in the process drops
      (`sqlite_lock`). A forked child has the log no more.

Files, all for their owner's eyes only: the log itself; ``-wal``, SQLite's
write-ahead log, gone after a clean close; ``-mark``, the lock and the mark. A new
log is made under another name and renamed, so a log that exists is complete, and
an empty file is damage.

Blocking: call it from a thread. `close` waits for a call that is under way in
another thread; other calls that meet are refused. `docs/storage.md` says what
an operator sees and does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sqlite3
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet
from zlib import crc32

import msgspec
from blake3 import blake3

from ...codec import codec_for
from ...errors import ConfigError, DecodeError
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
    StorageMismatch,
    Stored,
)
from .sqlite_lock import FILE_MODE, VFS, lock_database
from .sqlite_mark import MarkFile
from .sqlite_wal import judge_wal

FORMAT: Final = 1
APPLICATION_ID: Final = 0x4D4F_5341
CHUNK_BYTES: Final = 256 * 1024
CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
PAGE_BYTES: Final = 4096
FILE_BYTES_MIN: Final = 16 * PAGE_BYTES

_MAGIC: Final = b"SQLite format 3\0"
_APPLICATION_ID_AT: Final = 68
_PAGES_PER_BATCH: Final = 3
_ROW_BYTES: Final = 40
_ENTRY_HEADER: Final = struct.Struct(">QQB")

_SCHEMA: Final = (
    "CREATE TABLE record (name TEXT PRIMARY KEY, data BLOB NOT NULL, checksum INTEGER NOT NULL)",
    "CREATE TABLE entry (log_index INTEGER PRIMARY KEY, term INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, data BLOB NOT NULL, checksum INTEGER NOT NULL)",
    "CREATE TABLE chunk (number INTEGER PRIMARY KEY, data BLOB NOT NULL)",
)
_PRAGMAS: Final = (
    "locking_mode=EXCLUSIVE",  # also keeps SQLite's index of the log in memory: no -shm file
    "journal_mode=WAL",
    "synchronous=FULL",
    "fullfsync=ON",  # where fsync alone does not empty the drive's cache
    "checkpoint_fullfsync=ON",
    "wal_autocheckpoint=0",  # done here, because SQLite's own hides errors
    f"journal_size_limit={CHECKPOINT_BYTES}",
    "secure_delete=OFF",
)
_KINDS: Final = {int(kind): kind for kind in EntryKind}
_SAVE_ENTRY: Final = "INSERT INTO entry VALUES (?, ?, ?, ?, ?)"
_SAVE_RECORD: Final = "INSERT OR REPLACE INTO record VALUES (?, ?, ?)"


# What calls of SQLite raise; the last where the text of an error quotes damaged bytes.
_FOREIGN: Final = (sqlite3.Error, OSError, UnicodeDecodeError)
# The statements are fixed, so when one does not fit the file, the file has changed.
_SIGNS_OF_DAMAGE: Final = (
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_ERROR",
    "SQLITE_CONSTRAINT",
    "SQLITE_MISMATCH",
    "UnicodeDecodeError",
)


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


_OWNER_CODEC: Final = codec_for(LogOwner)
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

    def __init__(self, path: str | os.PathLike[str], *, file_bytes_max: int | None = None) -> None:
        if file_bytes_max is not None and file_bytes_max < FILE_BYTES_MIN:
            raise ConfigError(f"file_bytes_max is {file_bytes_max}, expected {FILE_BYTES_MIN} up")
        self.path = Path(path).absolute()
        self._file_bytes_max = file_bytes_max
        self._calls = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._mark: MarkFile | None = None
        self._lock: int | None = None
        self._head = _Head()
        self._failure: StorageError | None = None
        self._written_bytes = 0

    @property
    def is_durable(self) -> bool:
        """True."""
        return True

    def open(self, owner: LogOwner) -> None:
        """Open the log, or make a new one. See `LogStorage.open` for what it raises."""
        with self._one_call():
            if self._connection is not None:
                raise StorageInUse(str(self.path), "it is open already; one group, one storage")
            try:
                self._open(owner)
            except BaseException as exc:
                self._let_go()
                if isinstance(exc, _FOREIGN):
                    raise self._ours(exc) from exc
                raise

    def load(self) -> Stored:
        """Return what is stored, every byte of it checked. May be repeated."""
        with self._one_call():
            connection = self._usable()
            try:
                return self._load(connection)
            except _FOREIGN as exc:
                raise self._ours(exc) from exc

    def save(self, batch: SaveBatch) -> None:
        """Make a batch durable. See `LogStorage.save` for what it raises.

        Every few megabytes it also moves the write-ahead log into the database,
        which takes some tens of milliseconds.
        """
        with self._one_call():
            connection = self._usable()
            try:
                shape = self._head.shape.after(batch, self._term_at)
                try:
                    self._commit(connection, batch, shape)
                except sqlite3.Error as exc:
                    if not self._made_room(connection, exc):
                        raise
                    self._commit(connection, batch, shape)
            except _FOREIGN as exc:
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
        self._mark = MarkFile.claim(self._beside("-mark"))
        self._failure, self._written_bytes = None, 0
        for leftover in ("-new", "-new-journal", "-new-wal"):
            self._beside(leftover).unlink(missing_ok=True)
        if not self.path.exists():
            self._refuse_to_replace(self._mark.read())
            self._create(owner)
        # First of all: to close the file would drop the lock of a stranger in this process.
        self._lock = lock_database(self.path)
        self._check_header()
        self._settle_wal()
        self._connection = connection = self._connect(self.path)
        self._check_owner(connection, owner)
        self._head = self._read(connection, "head", _HEAD_CODEC)
        marked = self._mark.read()
        if self._head.batch_number < marked:
            raise self._corrupt(
                f"it ends with batch {self._head.batch_number}, but {marked} were saved; is it an "
                "old copy, or was its -wal file removed?",
                f"batches {self._head.batch_number + 1} to {marked}",
            )

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.as_uri()}?vfs={VFS}",
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=32,
            uri=True,
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            if self._file_bytes_max is not None:
                pages = self._file_bytes_max // PAGE_BYTES
                connection.execute(f"PRAGMA max_page_count={pages}").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, owner: LogOwner) -> None:
        """Make an empty log, complete and synced before it has its name."""
        new = self._beside("-new")
        # SQLite gives the files that it makes beside it the same mode.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
        with closing(self._connect(new)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FORMAT}")
            for statement in _SCHEMA:
                connection.execute(statement)
            _put(connection, "owner", _OWNER_CODEC.encode(owner))
            _put(connection, "head", _HEAD_CODEC.encode(_Head()))
            connection.execute("COMMIT")
            _, pages, moved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if pages != moved:
                raise StorageError(str(new), "the new log could not be written in full")
        new.rename(self.path)
        _sync(self.path)
        _sync(self.path.parent)

    def _refuse_to_replace(self, marked: int) -> None:
        """Raise `StorageCorrupt` if there was a log that is gone."""
        if marked or self._beside("-wal").exists():
            name = self.path.name
            raise self._corrupt(
                f"it is gone, but {name}-mark or {name}-wal remains; remove these too if the node "
                "is to begin anew, under a new identity",
                f"{marked or 'all'} batches",
            )

    def _check_header(self) -> None:
        """Refuse a file that is not ours before anything touches it."""
        # For writing too: SQLite would fall back to reading, and fail later, less clearly.
        with self.path.open("r+b") as file:
            header = file.read(_APPLICATION_ID_AT + 4)
        if not header:
            raise self._corrupt("it is empty", "everything")
        application_id = int.from_bytes(header[_APPLICATION_ID_AT:])
        if not header.startswith(_MAGIC) or application_id != APPLICATION_ID:
            found = f"application {application_id:#x}" if header.startswith(_MAGIC) else "unknown"
            raise StorageMismatch(str(self.path), "format", found, "the log of a group")

    def _settle_wal(self) -> None:
        """Cut a torn tail off the write-ahead log, and make sure that the rest is on disk."""
        path = self._beside("-wal")
        if not path.exists():
            return
        with path.open("r+b") as file:
            content = file.read()
            verdict = judge_wal(content)
            if verdict.damage is not None:
                raise StorageCorrupt(
                    str(path), verdict.damage, "what was saved since the last checkpoint"
                )
            # The same bytes once more: after a failed fsync they may be in the
            # cache only, marked clean, and the next fsync would skip them.
            file.seek(0)
            file.write(content[: verdict.valid_bytes])
            file.truncate(verdict.valid_bytes)
            file.flush()
            os.fsync(file.fileno())

    def _check_owner(self, connection: sqlite3.Connection, owner: LogOwner) -> None:
        [(found_format,)] = connection.execute("PRAGMA user_version").fetchall()
        if found_format != FORMAT:
            raise StorageMismatch(str(self.path), "format", str(found_format), str(FORMAT))
        found: LogOwner = self._read(connection, "owner", _OWNER_CODEC)
        for what, ours, theirs in (
            ("group", owner.group_id, found.group_id),
            ("peer", owner.peer_id, found.peer_id),
        ):
            if ours != theirs:
                raise StorageMismatch(str(self.path), what, str(theirs), str(ours))

    def _let_go(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._mark is not None:
            self._mark.release()
            self._mark = None

    def _forget(self) -> None:
        """In a forked child: have nothing to do with the log any more, it is the parent's."""
        self._calls = threading.Lock()  # a thread that is not here may have held the other
        if self._connection is not None:
            # Never to be closed, not even when the child ends: that would remove the
            # write-ahead log which the parent goes on writing.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
            self._connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._mark is not None:
            self._mark.forget()
            self._mark = None

    # Reading

    def _read(self, connection: sqlite3.Connection, name: str, codec: Any) -> Any:
        rows = connection.execute(
            "SELECT data, checksum FROM record WHERE name = ?", (name,)
        ).fetchall()
        if len(rows) == 1 and isinstance(rows[0][0], bytes) and crc32(rows[0][0]) == rows[0][1]:
            with suppress(DecodeError):
                return codec.decode(rows[0][0])
        raise self._corrupt(f"its {name} record is damaged", "everything")

    def _load(self, connection: sqlite3.Connection) -> Stored:
        found = connection.execute("PRAGMA quick_check(1)").fetchall()
        if found != [("ok",)]:
            raise self._corrupt(f"SQLite's own check fails: {found[0][0]}", "unknown")
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
            raise self._corrupt(
                f"the snapshot of entries 1 to {head.metadata.index} is damaged", "the snapshot"
            )
        return head.metadata, data

    def _term_at(self, index: int) -> int:
        """Return the term of a stored entry. Raises `StorageCorrupt` when it is not there."""
        term, _ = self._entry_at(index)
        return term

    def _entry_at(self, index: int) -> tuple[int, int]:
        """Return term and chain of a stored entry."""
        if index == self._head.last[0]:
            return self._head.last[1], self._head.last_chain
        rows = (
            self._usable()
            .execute("SELECT term, checksum FROM entry WHERE log_index = ?", (index,))
            .fetchall()
        )
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
        except _FOREIGN:
            raise
        except BaseException as exc:
            # Cut off anywhere in between, what is here may not be what is in the file.
            self._give_up(connection, exc)
            raise

    def _write(self, connection: sqlite3.Connection, batch: SaveBatch, shape: Shape) -> _Head:
        """Write a batch in the open transaction, and return the new head."""
        base_chain, chain = self._chains_after(batch, shape)
        snapshot = None if batch.reset else self._head.snapshot
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
        _put(connection, "head", _HEAD_CODEC.encode(head))
        return head

    def _write_snapshot(
        self, connection: sqlite3.Connection, metadata: SnapshotMetadata, data: bytes
    ) -> _SnapshotHead:
        view = memoryview(data)
        connection.executemany(
            "INSERT INTO chunk VALUES (?, ?)",
            (
                (number, view[start : start + CHUNK_BYTES])
                for number, start in enumerate(range(0, len(view), CHUNK_BYTES))
            ),
        )
        self._written_bytes += len(view)
        return _SnapshotHead(metadata, len(view), blake3(data).digest())

    def _chains_after(self, batch: SaveBatch, shape: Shape) -> tuple[int, int]:
        """Return the chain at the new base, and at the end before the new entries."""
        end = shape.last[0] - len(batch.entries)
        if batch.reset:
            return 0, 0
        return self._chain_at(shape.base[0]), self._chain_at(end)

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
        except _FOREIGN as exc:
            if isinstance(self._ours(exc), StorageFull):
                self._written_bytes = CHECKPOINT_BYTES // 2
            else:
                self._give_up(connection, exc)
        else:
            self._written_bytes = 0

    def _made_room(self, connection: sqlite3.Connection, exc: sqlite3.Error) -> bool:
        """On a full disk, give back the write-ahead log's room, and return whether that worked."""
        if not isinstance(self._ours(exc), StorageFull):
            return False
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as second:
            if isinstance(self._ours(second), StorageFull):
                return False
            raise
        self._written_bytes = 0
        return not busy

    # Failing

    def _give_up(self, connection: sqlite3.Connection, exc: BaseException) -> StorageError:
        """Undo what is under way; unless the disk was just full, accept nothing more."""
        if isinstance(exc, _FOREIGN):
            error = self._ours(exc)
        else:
            error = StorageError(str(self.path), f"a save was cut off by {exc!r}")
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except _FOREIGN:
            if isinstance(error, StorageFull):
                error = StorageError(str(self.path), "a save could not be undone on a full disk")
        if not isinstance(error, StorageFull):
            self._failure = error
        return error

    def _ours(self, exc: sqlite3.Error | OSError | UnicodeDecodeError) -> StorageError:
        """Return an error of SQLite or of the system as one of ours."""
        place = str(self.path)
        if isinstance(exc, OSError):
            return self._of_system(exc)
        name = getattr(exc, "sqlite_errorname", type(exc).__name__)
        reason = f"{exc} ({name})"
        if name == "SQLITE_FULL":
            return StorageFull(place, reason)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StorageInUse(place, "another program has the file open")
        if name.startswith(_SIGNS_OF_DAMAGE):
            return StorageCorrupt(place, reason, "unknown")
        return StorageError(place, reason)

    def _of_system(self, exc: OSError) -> StorageError:
        place = str(self.path)
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageFull(place, os.strerror(exc.errno))
        if not self.path.parent.is_dir():
            return StorageError(place, f"there is no directory {self.path.parent}")
        if isinstance(exc, PermissionError):
            return StorageError(place, f"no permission to write {exc.filename or place}")
        return StorageError(place, exc.strerror or str(exc))

    def _corrupt(self, reason: str, lost: str) -> StorageCorrupt:
        return StorageCorrupt(str(self.path), reason, lost)

    def _lost_from(self, index: int) -> StorageCorrupt:
        return self._corrupt(
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

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)


def _chain(chain: int, index: int, term: int, kind: int, data: bytes) -> int:
    """Return the CRC up to an entry, given the one up to the entry before it."""
    return crc32(data, crc32(_ENTRY_HEADER.pack(index, term, kind), chain))


def _rows(entries: Sequence[Entry], chain: int) -> Iterator[tuple[int, int, int, bytes, int]]:
    for entry in entries:
        chain = _chain(chain, entry.index, entry.term, entry.kind, entry.data)
        yield entry.index, entry.term, int(entry.kind), entry.data, chain


def _is_entry(term: object, kind: object, data: object) -> bool:
    return isinstance(term, int) and term >= 0 and kind in _KINDS and isinstance(data, bytes)


def _put(connection: sqlite3.Connection, name: str, data: bytes) -> None:
    connection.execute(_SAVE_RECORD, (name, data, crc32(data)))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_open_logs: Final[WeakSet[SqliteLog]] = WeakSet()


def _forget_all() -> None:
    for log in _open_logs:
        log._forget()


os.register_at_fork(after_in_child=_forget_all)
