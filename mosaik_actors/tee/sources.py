"""Who makes quotes: the kernel, through its TSM interface, or a simulated TD.

The interface is a folder of configfs (Linux, ``Documentation/ABI/testing/configfs-tsm``). A
folder made inside it is a request with a few files: what is written to ``inblob`` is the
report data, what is read from ``outblob`` is the quote, and ``generation`` counts the writes.

    * Each request has a folder of its own, so that requests of several threads and processes
      do not meet. All the same, the generation is compared before the quote is believed.
    * A busy kernel (EBUSY, EAGAIN, EINTR) is asked again a few times.
    * Whatever is wrong is a `TdxUnavailable` that says what to do.

Calls block, for tens of milliseconds on real machines: make them in a thread.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from ..errors import MosaikError
from .quote import QUOTE_BYTES_MAX, REPORT_DATA_BYTES

TSM_FOLDER: Final = Path("/sys/kernel/config/tsm/report")
TDX_PROVIDER: Final = "tdx_guest"
_TRIES_MAX = 5
_RETRY_S = 0.05
_BUSY = (errno.EBUSY, errno.EAGAIN, errno.EINTR)


class TdxUnavailable(MosaikError):
    """No quote can be made here; the text says why, and what to do about it."""


class QuoteSource(Protocol):
    """Who makes quotes."""

    @property
    def provider(self) -> str:
        """What it is called: "tdx_guest" for the kernel of a TD, "simulated" for software."""

    def quote(self, report_data: bytes) -> bytes:
        """Return a quote with `report_data` (64 bytes) in it. Blocks. Raises `TdxUnavailable`."""


class TsmReports:
    """The kernel's interface.

    Args:
        folder: Where configfs shows it.
        make: Makes a folder for a request, in place of ``os.mkdir``; for tests.
        remove: Removes one, in place of ``os.rmdir``; for tests.
    """

    def __init__(
        self,
        folder: Path | str = TSM_FOLDER,
        *,
        make: Callable[[Path], None] = os.mkdir,
        remove: Callable[[Path], None] = os.rmdir,
    ) -> None:
        self._folder = Path(folder)
        self._make = make
        self._remove = remove

    provider = TDX_PROVIDER

    def __repr__(self) -> str:
        return f"TsmReports({str(self._folder)!r})"

    @property
    def reason(self) -> str:
        """Why no quote can be made here; empty when one may be asked for."""
        if not self._folder.is_dir():
            return (
                f"{self._folder} does not exist: this is no trusted domain, or its kernel (Linux "
                "6.7 or newer) has not loaded tsm and tdx_guest, or configfs is not mounted"
            )
        if not os.access(self._folder, os.W_OK):
            return f"{self._folder} is not writable for this user: quotes are made by root"
        return ""

    def quote(self, report_data: bytes) -> bytes:
        """Return a quote with `report_data` (64 bytes) in it. Blocks. Raises `TdxUnavailable`."""
        if len(report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes, got {len(report_data)}")
        if reason := self.reason:
            raise TdxUnavailable(reason)
        entry = self._folder / f"mosaik-{os.getpid()}-{os.urandom(8).hex()}"
        try:
            self._make(entry)
        except OSError as exc:
            raise TdxUnavailable(_explain_make(exc)) from exc
        try:
            return self._ask(entry, report_data)
        except OSError as exc:
            raise TdxUnavailable(f"the kernel made no quote: {exc}") from exc
        finally:
            self._remove(entry)

    def _ask(self, entry: Path, report_data: bytes) -> bytes:
        provider = _read(entry / "provider", 64).decode(errors="replace").strip()
        if provider != TDX_PROVIDER:
            raise TdxUnavailable(
                f"the kernel's reports come from {provider!r}, expected {TDX_PROVIDER!r}: this "
                "is a trusted domain of another kind than TDX"
            )
        before = _read_generation(entry)
        _retry(lambda: _write(entry / "inblob", report_data))
        quote = _retry(lambda: _read(entry / "outblob", QUOTE_BYTES_MAX + 1))
        after = _read_generation(entry)
        if after != before + 1:
            raise TdxUnavailable(
                f"somebody else wrote to {entry}: its generation went from {before} to {after}, "
                f"expected {before + 1}"
            )
        if not 0 < len(quote) <= QUOTE_BYTES_MAX:
            raise TdxUnavailable(
                f"the kernel's quote has {len(quote)} bytes or more, expected 1 to "
                f"{QUOTE_BYTES_MAX}"
            )
        return quote


class NoQuotes:
    """Where no quotes are made.

    Attributes:
        reason: Why not.
    """

    provider = TDX_PROVIDER

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def quote(self, report_data: bytes) -> bytes:
        """Raise `TdxUnavailable`."""
        raise TdxUnavailable(self.reason)


def find_source() -> QuoteSource:
    """Return who makes quotes on this machine. Raises `TdxUnavailable` when nobody does."""
    source = TsmReports()
    if reason := source.reason:
        raise TdxUnavailable(reason)
    return source


def _explain_make(error: OSError) -> str:
    match error.errno:
        case errno.ENXIO | errno.ENODEV:
            return "the kernel has no provider of reports: load the module tdx_guest"
        case errno.EACCES | errno.EPERM:
            return "this user may not ask the kernel for quotes: they are made by root"
        case errno.EBUSY | errno.ENOSPC | errno.ENOMEM:
            return f"the kernel takes no further request for a quote now: {error}"
    return f"the kernel takes no request for a quote: {error}"


def _retry(call: Callable[[], bytes]) -> bytes:
    for left in reversed(range(_TRIES_MAX)):
        try:
            return call()
        except OSError as exc:
            if exc.errno not in _BUSY:
                raise
            if not left:
                raise TdxUnavailable(
                    f"the kernel stayed busy with other quotes: {exc}; try again later"
                ) from exc
            time.sleep(_RETRY_S)
    raise AssertionError("unreachable")


def _read_generation(entry: Path) -> int:
    text = _read(entry / "generation", 64)
    try:
        return int(text)
    except ValueError:
        raise TdxUnavailable(f"{entry}/generation is {text!r}, expected a number") from None


def _read(path: Path, bytes_max: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        parts = bytearray()
        while len(parts) < bytes_max and (part := file.read(bytes_max - len(parts))):
            parts += part
    return bytes(parts)


def _write(path: Path, data: bytes) -> bytes:
    with path.open("wb", buffering=0) as file:
        file.write(data)
    return data
