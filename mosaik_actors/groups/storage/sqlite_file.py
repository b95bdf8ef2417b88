"""The files of a log in SQLite: made, judged before SQLite opens them, and connected to.

See `sqlite` for what they are and what is promised of them.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from ...codec import codec_for
from ...errors import DecodeError
from .interface import (
    LogOwner,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageInUse,
    StorageMismatch,
)
from .sqlite_lock import FILE_MODE, VFS
from .sqlite_wal import judge_wal

FORMAT: Final = 2
APPLICATION_ID: Final = 0x4D4F_5341
CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
PAGE_BYTES: Final = 4096

_MAGIC: Final = b"SQLite format 3\0"
_APPLICATION_ID_AT: Final = 68

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
_SAVE_RECORD: Final = "INSERT OR REPLACE INTO record VALUES (?, ?, ?)"
_OWNER_CODEC: Final = codec_for(LogOwner)

# What calls of SQLite raise; the last where the text of an error quotes damaged bytes.
FOREIGN: Final = (sqlite3.Error, OSError, UnicodeDecodeError)
# The statements are fixed, so when one does not fit the file, the file has changed.
_SIGNS_OF_DAMAGE: Final = (
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_ERROR",
    "SQLITE_CONSTRAINT",
    "SQLITE_MISMATCH",
    "UnicodeDecodeError",
)


class LogFile:
    """The file of one log, at most so large, and those beside it."""

    def __init__(self, path: Path, bytes_max: int | None) -> None:
        self.path = path
        self._bytes_max = bytes_max

    def connect(self, path: Path | None = None) -> sqlite3.Connection:
        """Return a connection to the file, or to another one, with all that it is to keep to."""
        path = path or self.path
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
            if self._bytes_max is not None:
                pages = self._bytes_max // PAGE_BYTES
                connection.execute(f"PRAGMA max_page_count={pages}").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def create(self, owner: LogOwner, head: bytes) -> None:
        """Make an empty log, complete and synced before it has its name."""
        new = self.beside("-new")
        # SQLite gives the files that it makes beside it the same mode.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
        with closing(self.connect(new)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FORMAT}")
            for statement in _SCHEMA:
                connection.execute(statement)
            put_record(connection, "owner", _OWNER_CODEC.encode(owner))
            put_record(connection, "head", head)
            connection.execute("COMMIT")
            _, pages, moved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if pages != moved:
                raise StorageError(str(new), "the new log could not be written in full")
        new.rename(self.path)
        _sync(self.path)
        _sync(self.path.parent)

    def refuse_to_replace(self, marked: int) -> None:
        """Raise `StorageCorrupt` if there was a log that is gone."""
        if marked or self.beside("-wal").exists():
            name = self.path.name
            raise self.corrupt(
                f"it is gone, but {name}-mark or {name}-wal remains; remove these too if the node "
                "is to begin anew, under a new identity",
                f"{marked or 'all'} batches",
            )

    def check_header(self) -> None:
        """Refuse a file that is not ours before anything touches it."""
        # For writing too: SQLite would fall back to reading, and fail later, less clearly.
        with self.path.open("r+b") as file:
            header = file.read(_APPLICATION_ID_AT + 4)
        if not header:
            raise self.corrupt("it is empty", "everything")
        application_id = int.from_bytes(header[_APPLICATION_ID_AT:])
        if not header.startswith(_MAGIC) or application_id != APPLICATION_ID:
            found = f"application {application_id:#x}" if header.startswith(_MAGIC) else "unknown"
            raise StorageMismatch(str(self.path), "format", found, "the log of a group")

    def settle_wal(self) -> None:
        """Cut a torn tail off the write-ahead log, and make sure that the rest is on disk."""
        path = self.beside("-wal")
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

    def check_owner(self, connection: sqlite3.Connection, owner: LogOwner) -> None:
        """Refuse the log of another group or peer."""
        [(found_format,)] = connection.execute("PRAGMA user_version").fetchall()
        if found_format != FORMAT:
            raise StorageMismatch(str(self.path), "format", str(found_format), str(FORMAT))
        found: LogOwner = self.read(connection, "owner", _OWNER_CODEC)
        owner.check(found, str(self.path))

    def read(self, connection: sqlite3.Connection, name: str, codec: Any) -> Any:
        """Return a record, its checksum checked."""
        rows = connection.execute(
            "SELECT data, checksum FROM record WHERE name = ?", (name,)
        ).fetchall()
        if len(rows) == 1 and isinstance(rows[0][0], bytes) and crc32(rows[0][0]) == rows[0][1]:
            with suppress(DecodeError):
                return codec.decode(rows[0][0])
        raise self.corrupt(f"its {name} record is damaged", "everything")

    def ours(self, exc: sqlite3.Error | OSError | UnicodeDecodeError) -> StorageError:
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

    def corrupt(self, reason: str, lost: str) -> StorageCorrupt:
        """Return the error that says what is damaged, and what is lost with it."""
        return StorageCorrupt(str(self.path), reason, lost)

    def beside(self, ending: str) -> Path:
        """Return the path of a file that belongs to this one."""
        return self.path.with_name(self.path.name + ending)


def put_record(connection: sqlite3.Connection, name: str, data: bytes) -> None:
    """Write a record and its checksum."""
    connection.execute(_SAVE_RECORD, (name, data, crc32(data)))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
