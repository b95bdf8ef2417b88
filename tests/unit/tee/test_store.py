"""Collateral on disk, and when it is fetched."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mosaik_actors.errors import DecodeError
from mosaik_actors.tee.collateral import Collateral, CollateralKey
from mosaik_actors.tee.config import TeeConfig
from mosaik_actors.tee.refresh import RETRY_MAX_S, RETRY_MIN_S, CollateralRefresh
from mosaik_actors.tee.simulated import SIMULATED_FMSPC
from mosaik_actors.tee.store import WANTED_MAX, CollateralStore, default_store, store_at

from .vectors import NOW, root

KEY = CollateralKey(SIMULATED_FMSPC, "platform")


def collateral(now: float = NOW) -> Collateral:
    return root().collateral(now=now)


def test_what_is_saved_is_found_by_every_store_of_the_folder(tmp_path: Path) -> None:
    store, other = CollateralStore(tmp_path / "new"), CollateralStore(tmp_path / "new")
    assert store.find(KEY) is None
    store.save(KEY, collateral())
    assert other.load(KEY) == store.load(KEY) == collateral_of(store)
    assert store.wanted == [KEY]
    assert other.wanted == []
    assert [path.name for path in store.folder.iterdir()] == [f"{KEY}.json"]


def collateral_of(store: CollateralStore) -> Collateral:
    return Collateral.parse((store.folder / f"{KEY}.json").read_bytes())


def test_newer_file_is_read_again(tmp_path: Path) -> None:
    store = CollateralStore(tmp_path)
    store.save(KEY, collateral())
    first = store.load(KEY)
    assert store.load(KEY) is first
    store.save(KEY, collateral(NOW + 86_400))
    os.utime(tmp_path / f"{KEY}.json", ns=(1, 1))
    newer = store.load(KEY)
    assert newer is not None
    assert newer.issued == NOW + 86_400


def test_file_that_is_no_collateral_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = CollateralStore(tmp_path)
    (tmp_path / f"{KEY}.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        assert store.load(KEY) is None
        assert store.load(KEY) is None
    assert caplog.text.count("is skipped") == 1


def test_file_that_could_not_be_read_is_read_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a process has too many open files for a moment: the file does not change then."""
    store = CollateralStore(tmp_path)
    store.save(KEY, collateral())

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(os, "open", refuse)
        assert store.load(KEY) is None
        assert store.load(KEY) is None
    assert caplog.text.count("Too many open files") == 1
    assert store.load(KEY) is not None


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / f"{KEY}.json")
    assert CollateralStore(tmp_path).load(KEY) is None


def test_only_so_many_kinds_of_machines_are_asked_for(tmp_path: Path) -> None:
    store = CollateralStore(tmp_path)
    for number in range(WANTED_MAX + 5):
        store.find(CollateralKey(f"{number:012X}", "platform"))
    assert len(store.wanted) == WANTED_MAX


def test_default_folder_is_the_variables_or_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSAIK_COLLATERAL_DIR", str(tmp_path))
    assert default_store() is store_at(tmp_path)
    monkeypatch.delenv("MOSAIK_COLLATERAL_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_store().folder == tmp_path / "cache" / "mosaik-actors" / "collateral"


def test_missing_expired_and_old_collateral_is_due() -> None:
    refresh = CollateralRefresh(86_400)
    held = collateral()

    def due(known: Collateral | None, now: float) -> bool:
        return refresh.list_due([KEY], lambda _key: known, now=now) == [KEY]

    assert due(None, NOW)
    assert not due(held, NOW + 86_399)
    assert due(held, NOW + 86_400)
    assert due(held, held.expires)
    # The service has nothing newer: it is asked again a day later, not all the time.
    refresh.receive_collateral(KEY, held, held, now=NOW + 86_400)
    assert not due(held, NOW + 86_401)
    assert due(held, NOW + 2 * 86_400)


def test_failed_fetch_is_tried_later_and_later() -> None:
    refresh = CollateralRefresh(86_400)
    now, waits = NOW, []
    for _ in range(9):
        waits.append(refresh.receive_failure(KEY, now=now))
        assert refresh.list_due([KEY], lambda _key: None, now=now + waits[-1] - 1) == []
        now += waits[-1]
        assert refresh.list_due([KEY], lambda _key: None, now=now) == [KEY]
    assert waits[:3] == [RETRY_MIN_S, 2 * RETRY_MIN_S, 4 * RETRY_MIN_S]
    assert waits[-1] == RETRY_MAX_S
    refresh.receive_collateral(KEY, collateral(now), None, now=now)
    assert refresh.receive_failure(KEY, now=now) == RETRY_MIN_S


def test_what_is_wrong_or_older_is_not_taken() -> None:
    refresh = CollateralRefresh(86_400)
    held, older = collateral(), collateral(NOW - 86_400)
    with pytest.raises(DecodeError, match="older"):
        refresh.receive_collateral(KEY, older, held, now=NOW)
    with pytest.raises(DecodeError, match="expired"):
        refresh.receive_collateral(KEY, held, None, now=held.expires)
    with pytest.raises(DecodeError, match="came for"):
        refresh.receive_collateral(replace(KEY, fmspc="0" * 12), held, None, now=NOW)


@pytest.mark.parametrize(
    "settings",
    [{"collateral_url": "ftp://x"}, {"collateral_refresh": 0}, {"collateral_timeout": -1}],
)
def test_wrong_setting_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        TeeConfig(**settings)  # type: ignore[arg-type]
