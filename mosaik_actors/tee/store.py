"""Where collateral is kept: a folder with one file for each kind of machine.

The file of key ``K`` is ``K.json``, such as ``B0C06F000000-platform.json``; put there by the
collateral actor, which fetches what is missing here, or by people where there is no network.

    * A file that is newer than what was read is read again, so processes can share a folder.
    * A file is replaced in one step, or not at all.
    * What was asked for is remembered, `WANTED_MAX` kinds of machines at most. `QuoteChecker`
      asks only for quotes below a trusted root.

It reads and writes files: use it in a thread.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from ..errors import DecodeError
from .collateral import COLLATERAL_BYTES_MAX, Collateral, CollateralKey

logger = logging.getLogger(__name__)

WANTED_MAX: Final = 64
FOLDER_VARIABLE: Final = "MOSAIK_COLLATERAL_DIR"


class CollateralSource(Protocol):
    """Where a checker finds collateral."""

    def find(self, key: CollateralKey) -> Collateral | None:
        """Return what judges quotes with that key; None when it is not there yet."""


class CollateralFile:
    """One file, for every quote, whatever its machine; for tools and tests."""

    def __init__(self, path: Path) -> None:
        self._collateral = Collateral.parse(path.read_bytes())

    def find(self, key: CollateralKey) -> Collateral | None:
        """Return it."""
        return self._collateral


class CollateralStore:
    """A folder of collateral."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[CollateralKey, tuple[tuple[int, int, int], Collateral | None]] = {}
        self._failed: dict[CollateralKey, str] = {}
        self._wanted: dict[CollateralKey, None] = {}

    def find(self, key: CollateralKey) -> Collateral | None:
        """Return what judges quotes with that key; remember that it was asked for."""
        if len(self._wanted) < WANTED_MAX:
            self._wanted[key] = None
        return self.load(key)

    @property
    def wanted(self) -> list[CollateralKey]:
        """What was asked for so far."""
        return list(self._wanted)

    def load(self, key: CollateralKey) -> Collateral | None:
        """Return what the file of `key` has; None when there is none, or it is no collateral."""
        path = self._path(key)
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._read.get(key)
            if known is None or known[0] != stamp:
                known = self._read[key] = (stamp, _load(path))
        except FileNotFoundError:
            return None
        except OSError as exc:  # not kept: it may be another one's mode, or too many open files
            self._log_failure(key, exc)
            return None
        self._failed.pop(key, None)
        return known[1]

    def _log_failure(self, key: CollateralKey, error: OSError) -> None:
        """Say why a file could not be read, until another reason, or until it could."""
        reason = str(error)
        if self._failed.get(key) != reason and (
            key in self._failed or len(self._failed) < WANTED_MAX
        ):
            self._failed[key] = reason
            logger.warning("%s is skipped: %s", self._path(key), reason)

    def save(self, key: CollateralKey, collateral: Collateral) -> None:
        """Write the file of `key`. Raises `OSError`."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(key)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(collateral.text)
        draft.replace(path)

    def _path(self, key: CollateralKey) -> Path:
        return self.folder / f"{key}.json"


@cache
def store_at(folder: Path) -> CollateralStore:
    """Return this process's store of a folder: validators and the actor share it."""
    return CollateralStore(folder)


def default_store() -> CollateralStore:
    """Return the store of the folder in `MOSAIK_COLLATERAL_DIR`, or in the user's cache."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return store_at(Path(named))
    cached = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return store_at(Path(cached) / "mosaik-actors" / "collateral")


def _load(path: Path) -> Collateral | None:
    """Return what a file has, None when it is no collateral. Raises `OSError`."""
    # Without O_NONBLOCK a FIFO would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with os.fdopen(descriptor, "rb") as file:
            return Collateral.parse(file.read(COLLATERAL_BYTES_MAX + 1))
    except DecodeError as exc:
        logger.warning("%s is skipped: %s", path, exc)
        return None
