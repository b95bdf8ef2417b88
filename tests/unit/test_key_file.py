"""Key files are whole, for their owner alone, and never replaced in silence."""

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mosaik_actors import ConfigError, SecretKey


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "node.key"


def test_a_key_is_made_once_and_then_loaded(file: Path) -> None:
    key = SecretKey.load_or_create(file)
    assert SecretKey.load_or_create(str(file)) == key
    assert file.read_text() == f"{key.hex}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_the_mode_does_not_depend_on_the_umask(file: Path) -> None:
    before = os.umask(0)
    try:
        SecretKey.load_or_create(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_those_who_come_at_once_get_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(10):
            path = tmp_path / str(number)
            keys = set(pool.map(SecretKey.load_or_create, [path] * 8))
            assert len(keys) == 1
    assert len(list(tmp_path.iterdir())) == 10


def test_who_loses_the_race_takes_the_key_of_the_winner(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process stores its key between this one's look and its link."""
    winner = SecretKey.generate()
    link = os.link

    def lose(source: str, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        write(file, winner.hex)
        link(source, target)

    monkeypatch.setattr(os, "link", lose)
    assert SecretKey.load_or_create(file) == winner
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_file_that_cannot_be_finished_is_not_there(
    file: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(ConfigError, match=r"cannot store a key in .*No space left"):
        SecretKey.load_or_create(file)
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty, expected 64"),
        ("\n", "is empty, expected 64"),
        ("ab" * 20, "holds 40 hexadecimal digits, expected 64"),
        ("ab" * 33, "holds 66 hexadecimal digits, expected 64"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "holds something else, expected 64"),
        ("\0" * 64, "holds something else"),
    ],
)
def test_what_is_no_key_is_refused_and_left_alone(file: Path, content: str, reason: str) -> None:
    write(file, content)
    with pytest.raises(ConfigError, match=reason) as caught:
        SecretKey.load_or_create(file)
    assert len(content) < 2 or content not in str(caught.value)
    assert file.read_text() == content


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o601])
def test_a_file_that_is_open_to_others_is_refused(file: Path, mode: int) -> None:
    write(file, SecretKey.generate().hex)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"has mode {mode:04o}, expected 0600"):
        SecretKey.load_or_create(file)


def test_a_file_of_another_user_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, SecretKey.generate().hex)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match=f"belongs to user {owner}, this process is"):
        SecretKey.load_or_create(file)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_file_is_refused_at_once(file: Path, make: Callable[[Path], None]) -> None:
    make(file)
    with pytest.raises(ConfigError, match="is no regular file"):
        SecretKey.load_or_create(file)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no folder .*missing; make it first"):
        SecretKey.load_or_create(tmp_path / "missing" / "node.key")


def write(file: Path, content: str) -> None:
    file.touch(mode=0o600)
    file.write_text(content)
