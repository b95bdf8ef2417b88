"""Locks on the files of a log that nothing else in this process drops.

SQLite's own locks are POSIX record locks. The process loses them all as soon as *any* descriptor of
the file is closed in it: a copy of the files made with `shutil`, or a look at them, is enough. A
second opener then gets in, and what is acknowledged meanwhile is lost. So there are two locks of
another kind, which belong to the descriptor that took them:

    * `lock_mark`: the whole mark file with ``flock``. It keeps apart handles of this
      library, also two of one process.
    * `lock_database`: the bytes that SQLite locks, with an open-file-description
      lock. It keeps out everybody who opens the database with SQLite, in this
      process and in others; our own connection then has SQLite lock nothing
      (``unix-none``). Where the system has no such locks, SQLite's own remain.

A forked child shares the descriptors, and with them the locks: they would outlive
this process. So the child closes its copies (`SqliteLog`). That takes nothing
from the parent: such a lock goes when its last descriptor does.

This module does blocking I/O. It is used from `SqliteLog` only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from pathlib import Path
from typing import Final

from .interface import StorageError, StorageInUse

FILE_MODE: Final = 0o600

_LOCK_BYTES_AT: Final = 0x4000_0000  # sqlite.org/fileformat2.html, section 1.4
_LOCK_BYTES: Final = 512
_FLOCK: Final = struct.Struct("hhqqi4x")  # type, whence, start, length, pid: 64-bit Linux
_HAS_OFD: Final = sys.platform == "linux" and struct.calcsize("P") == 8
_SET_LOCK: Final[int | None] = getattr(fcntl, "F_OFD_SETLK", None) if _HAS_OFD else None
_IN_USE: Final = (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)

VFS: Final = "unix" if _SET_LOCK is None else "unix-none"


def lock_mark(path: Path) -> int:
    """Open a file, a new one if there is none, and lock it; return its descriptor.

    Raises:
        StorageInUse: Somebody else has it: another process, or a handle of this one.
        StorageError: The file system has no locks.
        OSError: It cannot be opened or made.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except BaseException as exc:
            os.close(descriptor)
            raise _ours(exc, path, "another handle or process has the log open") from exc
        os.close(descriptor)  # it was removed or replaced just before it was locked


def lock_database(path: Path) -> int | None:
    """Lock an SQLite database against all others; return what to close to unlock it.

    Returns:
        A descriptor; None where only SQLite itself can lock.

    Raises:
        StorageInUse: Another program has the database open.
        StorageError: The file system has no locks.
        OSError: It cannot be opened.
    """
    if _SET_LOCK is None:
        return None
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _LOCK_BYTES_AT, _LOCK_BYTES, 0)
    try:
        fcntl.fcntl(descriptor, _SET_LOCK, wanted)
    except BaseException as exc:
        os.close(descriptor)
        raise _ours(exc, path, "another program has the file open") from exc
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether a descriptor still is the file that has this name."""
    held = os.fstat(descriptor)
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)


def _ours(exc: BaseException, path: Path, in_use: str) -> BaseException:
    if not isinstance(exc, OSError):
        return exc
    if exc.errno in _IN_USE:
        return StorageInUse(str(path), in_use)
    if exc.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
        return StorageError(str(path), f"its file system has no locks: {exc.strerror}")
    return exc
