"""A network's secret comes from text, bytes, files or the environment, and is never repeated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mosaik_actors import ConfigError, Network
from mosaik_actors.network_secret import VARIABLE, generate_secret, load_secrets

ONE, TWO = "correct horse battery", "staple and so on and on"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o600)
    return path


def test_text_bytes_and_a_file_of_one_secret_are_the_same(tmp_path: Path) -> None:
    made = generate_secret()
    file = write(tmp_path / "secret", made + "\n")
    wanted = (bytes.fromhex(made),)
    sources: tuple[Any, ...] = (
        made,
        f" {made.upper()}\n",
        bytes.fromhex(made),
        file,
        [made],
        [file, made],
    )
    for given in sources:
        assert load_secrets(given, {}) == wanted
    assert load_secrets(None, {VARIABLE: made}) == wanted
    assert load_secrets(ONE, {}) == load_secrets(ONE.encode(), {}) == (ONE.encode(),)
    assert generate_secret() != made


def test_several_are_kept_in_order(tmp_path: Path) -> None:
    file = write(tmp_path / "secrets", f"{ONE}\n\n  {TWO}\r\n")
    wanted = (ONE.encode(), TWO.encode())
    both = f"{ONE}\n{TWO}"
    sources: tuple[Any, ...] = ([ONE, TWO], (ONE.encode(), TWO), both, file, [file, ONE])
    for given in sources:
        assert load_secrets(given, {}) == wanted
    assert load_secrets([TWO, ONE], {}) == wanted[::-1]


def test_file_of_an_editor_or_of_the_longest_secrets_is_read_whole(tmp_path: Path) -> None:
    marked = write(tmp_path / "marked", b"\xef\xbb\xbf" + b"ab" * 32 + b"\r\n")
    assert load_secrets(marked, {}) == (b"\xab" * 32,)
    longest = [letter * 1024 for letter in "abcd"]
    file = write(tmp_path / "longest", "\n".join(longest))
    assert load_secrets(file, {}) == tuple(one.encode() for one in longest)


def test_the_environment_counts_where_nothing_is_given() -> None:
    assert load_secrets(None, {}) == ()
    assert load_secrets(None, {VARIABLE: f"{ONE}\n{TWO}"}) == (ONE.encode(), TWO.encode())
    assert load_secrets(TWO, {VARIABLE: ONE}) == (TWO.encode(),)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", "secret is empty"),
        (" \n", "secret is empty"),
        (b"", "a secret of 0 bytes, expected 16 to 1024"),
        ("hunter2", "a secret of 7 bytes, expected 16 to 1024"),
        ("h" * 1025, "a secret of 1025 bytes"),
        ([ONE, "hunter2"], "a secret of 7 bytes"),
        ([], "secret has 0 secrets, expected 1 to 4"),
        ([bytes([n] * 16) for n in range(5)], "secret has 5 secrets, expected 1 to 4"),
        (7, "secret is a int"),
        ([7], "secret has a int in it"),
        ([None], "secret has a NoneType in it"),
        ("hunter2" * 3 + "\udcff", "secret is not text"),
        (Path("hunter\0"), "cannot read the secret file"),
    ],
)
def test_what_closes_no_network_is_refused_and_not_repeated(given: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        Network("net", secret=given)
    assert "hunter2" not in str(caught.value)


def test_empty_variable_does_not_open_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ``MOSAIK_SECRET=$(cat a-file-that-is-gone)``."""
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(ConfigError, match="MOSAIK_SECRET is empty, expected a secret"):
        Network("net")


@pytest.mark.parametrize(
    ("content", "mode", "text"),
    [
        ("", 0o600, "is empty, expected a secret"),
        (b"\xff" * 40, 0o600, "is not text"),
        ("hunter2", 0o600, ": a secret of 7 bytes"),
        (f"{ONE}\n" * 500, 0o600, "has more than 8192 bytes"),
        (ONE, 0o644, "has mode 0644, expected 0600"),
    ],
)
def test_a_file_that_is_not_right_is_refused(
    tmp_path: Path, content: str | bytes, mode: int, text: str
) -> None:
    file = write(tmp_path / "secret", content)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=text) as caught:
        load_secrets(file, {})
    assert str(file) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert ONE not in str(caught.value)


def test_a_file_that_is_not_there_opens_no_network(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no secret file"):
        Network("net", secret=tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is no regular file"):
        Network("net", secret=tmp_path / "pipe")
