"""The kernel's interface for quotes, against a folder that behaves like it."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from mosaik_actors.tee.quote import Quote
from mosaik_actors.tee.simulated import SimulatedTd
from mosaik_actors.tee.sources import TdxUnavailable, TsmReports

from .vectors import MRTD, root


class Configfs:
    """A folder whose folders have the files of a request, as configfs makes them.

    ``inblob`` and ``outblob`` are pipes: a thread for each request reads the one, raises the
    generation, and then writes the quote into the other.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.provider = "tdx_guest"
        self.writes = 1
        self.made: list[Path] = []
        self.threads: dict[Path, threading.Thread] = {}
        self.answer: Callable[[bytes], bytes] = SimulatedTd(root(), mrtd=MRTD).quote
        folder.mkdir()

    def reports(self) -> TsmReports:
        return TsmReports(self.folder, make=self.make, remove=self.remove)

    def make(self, entry: Path) -> None:
        entry.mkdir()
        self.made.append(entry)
        (entry / "provider").write_text(self.provider + "\n")
        (entry / "generation").write_text("0\n")
        for name in ("inblob", "outblob"):
            os.mkfifo(entry / name)
        self.threads[entry] = threading.Thread(target=self.serve, args=(entry,))
        self.threads[entry].start()

    def serve(self, entry: Path) -> None:
        report_data = (entry / "inblob").read_bytes()
        (entry / "generation").write_text(f"{self.writes}\n")
        with suppress(BrokenPipeError):  # who asked has read enough
            (entry / "outblob").write_bytes(self.answer(report_data))

    def remove(self, entry: Path) -> None:
        if thread := self.threads.pop(entry, None):
            # Whoever still writes finds a reader, and room in the pipe, and ends.
            end = os.open(entry / "outblob", os.O_RDONLY | os.O_NONBLOCK)
            thread.join()
            os.close(end)
        shutil.rmtree(entry)


@pytest.fixture
def configfs(tmp_path: Path) -> Configfs:
    return Configfs(tmp_path / "report")


def test_quote_has_the_report_data_that_was_written(configfs: Configfs) -> None:
    quote = configfs.reports().quote(b"d" * 64)
    assert Quote.parse(quote).report.report_data == b"d" * 64
    assert list(configfs.folder.iterdir()) == []


def test_requests_at_the_same_time_have_folders_of_their_own(configfs: Configfs) -> None:
    reports = configfs.reports()
    wanted = [bytes([n]) * 64 for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        quotes = list(pool.map(reports.quote, wanted))
    assert [Quote.parse(quote).report.report_data for quote in quotes] == wanted
    assert len(set(configfs.made)) == 8
    assert list(configfs.folder.iterdir()) == []


def test_somebody_elses_write_is_noticed(configfs: Configfs) -> None:
    configfs.writes = 2
    with pytest.raises(TdxUnavailable, match="somebody else wrote"):
        configfs.reports().quote(bytes(64))
    assert list(configfs.folder.iterdir()) == []


@pytest.mark.parametrize("size", [0, 16 * 1024 + 1])
def test_quote_of_no_sensible_size_is_refused(configfs: Configfs, size: int) -> None:
    configfs.answer = lambda _data: bytes(size)
    with pytest.raises(TdxUnavailable, match="the kernel's quote has"):
        configfs.reports().quote(bytes(64))


def test_another_kind_of_domain_is_named(configfs: Configfs) -> None:
    configfs.provider = "sev_guest"
    reports = TsmReports(
        configfs.folder, make=lambda entry: make_quiet(configfs, entry), remove=configfs.remove
    )
    with pytest.raises(TdxUnavailable, match="'sev_guest', expected 'tdx_guest'"):
        reports.quote(bytes(64))


def make_quiet(configfs: Configfs, entry: Path) -> None:
    entry.mkdir()
    (entry / "provider").write_text(configfs.provider)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENXIO, "load the module tdx_guest"),
        (errno.EACCES, "made by root"),
        (errno.EBUSY, "takes no further request"),
        (errno.EIO, "takes no request"),
    ],
)
def test_request_that_is_refused_says_what_to_do(
    configfs: Configfs, number: int, reason: str
) -> None:
    def refuse(entry: Path) -> None:
        raise OSError(number, os.strerror(number), str(entry))

    with pytest.raises(TdxUnavailable, match=reason):
        TsmReports(configfs.folder, make=refuse).quote(bytes(64))


@pytest.mark.parametrize(("busy_count", "is_made"), [(4, True), (5, False)])
def test_busy_kernel_is_asked_again_a_few_times(
    configfs: Configfs, monkeypatch: pytest.MonkeyPatch, busy_count: int, is_made: bool
) -> None:
    from mosaik_actors.tee import sources

    left = [busy_count]
    read = sources._read

    def read_when_free(path: Path, bytes_max: int) -> bytes:
        if path.name == "outblob" and left[0]:
            left[0] -= 1
            raise OSError(errno.EBUSY, "busy")
        return read(path, bytes_max)

    monkeypatch.setattr(sources, "_read", read_when_free)
    monkeypatch.setattr(sources, "_RETRY_S", 0.0)
    if is_made:
        assert configfs.reports().quote(bytes(64))
    else:
        with pytest.raises(TdxUnavailable, match="stayed busy"):
            configfs.reports().quote(bytes(64))


def test_absent_folder_says_why(tmp_path: Path) -> None:
    reports = TsmReports(tmp_path / "absent")
    assert "this is no trusted domain" in reports.reason
    with pytest.raises(TdxUnavailable, match="does not exist"):
        reports.quote(bytes(64))


def test_report_data_has_64_bytes(configfs: Configfs) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        configfs.reports().quote(b"short")
