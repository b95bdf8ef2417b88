"""The command line as a function: exit codes, one-line errors, secrets kept."""

import argparse
import stat
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from mosaik_actors.cli.main import _report, build_parser, main
from mosaik_actors.errors import ConfigError
from mosaik_actors.ids import SecretKey, UniqueId

Captured = pytest.CaptureFixture[str]


def test_version_is_that_of_the_package(capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.strip() == version("mosaik-actors")


def commands() -> list[str]:
    """Return the names of all sub-commands."""
    [action] = [one for one in build_parser()._actions if one.nargs == argparse.PARSER]
    assert action.choices is not None
    return list(action.choices)


@pytest.mark.parametrize("command", commands())
def test_every_command_helps_with_examples(command: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert "examples:" in text
    assert f"mosaik-actors {command} " in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["demo", "--seconds", "1"],
        ["demo", "--seconds", "nan"],
        ["demo", "--nodes", "2"],
        ["tap", "net", "stream", "--count", "0"],
        ["peers", "net", "--wait", "-1"],
        ["tap", "net", "stream", "--where", "bid"],
        ["completion", "powershell"],
    ],
)
def test_a_wrong_command_line_exits_with_2(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error: " in capsys.readouterr().err


def test_id_of_a_name_and_below_it(capsys: Captured) -> None:
    assert main(["id", "my-app"]) == 0
    assert main(["id", "my-app", "--derive", "orders", "--derive", "eu"]) == 0
    assert main(["id", UniqueId("my-app").hex, "--short"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(UniqueId("my-app")),
        str(UniqueId("my-app").derive("orders").derive("eu")),
        UniqueId("my-app").short,
    ]


def test_a_new_key_is_stored_for_its_owner_alone_and_not_printed(
    tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "node.key"
    assert main(["key", "new", str(file)]) == 0
    key = SecretKey(file.read_text().strip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert main(["key", "show", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == [f"peer {key.peer_id}"] * 2
    assert main(["key", "show", str(file), "--secret"]) == 0
    assert f"secret {key.hex}" in capsys.readouterr().out


def test_a_new_secret_is_printed_or_stored_for_its_owner_alone(
    tmp_path: Path, capsys: Captured
) -> None:
    assert main(["secret", "new"]) == 0
    printed = capsys.readouterr().out.strip()
    assert len(bytes.fromhex(printed)) == 32
    file = tmp_path / "net.secret"
    assert main(["secret", "new", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    stored = file.read_text().strip()
    assert len(bytes.fromhex(stored)) == 32
    assert stored != printed
    assert main(["secret", "new", str(file)]) == 1
    assert main(["secret", "new", str(tmp_path / "no folder" / "net.secret")]) == 1
    said = capsys.readouterr().err
    assert "exists already" in said
    assert "cannot store a secret in" in said
    assert file.read_text().strip() == stored


def test_no_command_takes_a_secret_as_an_argument(capsys: Captured) -> None:
    for command in ("peers", "tap"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        said = capsys.readouterr().out
        assert "--secret-file FILE" in said
        assert "--secret " not in said


def test_a_key_is_never_overwritten(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "node.key"
    file.write_text("precious")
    assert main(["key", "new", str(file)]) == 1
    assert file.read_text() == "precious"
    assert "exists already" in capsys.readouterr().err


def test_a_new_key_that_would_be_lost_is_not_made(capsys: Captured) -> None:
    assert main(["key", "new"]) == 1
    assert capsys.readouterr().err == (
        "mosaik-actors: the key would be lost: name a file to store it in, or add --secret\n"
    )


@pytest.mark.parametrize("content", ["", "abc", "g" * 64, "0" * 65, "not\x00a key"])
def test_what_is_no_key_is_refused_and_not_repeated(
    content: str, tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "node.key"
    file.touch(mode=0o600)
    file.write_text(content)
    assert main(["key", "show", str(file)]) == 1
    error = capsys.readouterr().err
    assert "expected 64 hexadecimal digits" in error
    assert not content or content not in error


def test_a_key_that_others_can_read_is_refused(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "node.key"
    assert main(["key", "new", str(file)]) == 0
    file.chmod(0o644)
    assert main(["key", "show", str(file)]) == 1
    assert main(["key", "show", str(tmp_path / "none")]) == 1
    mode, missing = capsys.readouterr().err.splitlines()
    assert "has mode 0644, expected 0600" in mode
    assert "there is no file" in missing


def test_a_wrong_setting_exits_with_2_and_one_line(capsys: Captured) -> None:
    assert main(["peers", "net", "--bootstrap", "nonsense"]) == 2
    assert main(["peers", "net", "--bind", "nonsense"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "bootstrap" in lines[0]
    assert "bind" in lines[1]


def test_verbose_adds_the_traceback(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ["peers", "net", "--bind", "nonsense"]
    for arguments in (["-v", *wrong], [*wrong, "-v"], ["group", "status", *wrong[1:], "-v"]):
        assert main(arguments) == 2
        assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("MOSAIK_DEBUG", "1")
    assert main(["peers", "net", "--bind", "nonsense"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_what_all_commands_have_may_stand_before_and_behind_the_command() -> None:
    parser = build_parser()
    for arguments in (["--log-level", "info", "id", "x"], ["id", "x", "--log-level", "info"]):
        options = parser.parse_args(arguments)
        assert (options.log_level, options.verbose) == ("info", False)
    assert parser.parse_args(["id", "x"]).log_level is None


def test_a_failure_inside_a_group_of_tasks_is_told_as_itself(capsys: Captured) -> None:
    inner = ExceptionGroup("tasks", [ConfigError("purge_after is -1"), ValueError("later")])
    assert _report(ExceptionGroup("tasks", [inner])) == 2
    assert _report(ValueError("two\nlines")) == 1
    assert capsys.readouterr().err.splitlines() == [
        "mosaik-actors: purge_after is -1",
        "mosaik-actors: ValueError: two lines (this is a bug; -v shows where)",
    ]


class _Without:
    """A finder that passes on what another finds, but for some modules."""

    def __init__(self, finder: Any, *names: str) -> None:
        self._finder = finder
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name in self._names:
            return None
        return self._finder.find_spec(name, path, target)


def test_the_demo_without_its_extra_says_what_to_install(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    finders = [_Without(finder, "psutil", "rich") for finder in sys.meta_path]
    monkeypatch.setattr(sys, "meta_path", finders)
    for name in ("psutil", "rich"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == (
        "mosaik-actors: the demo needs psutil and rich: pip install 'mosaik-actors[demo]'\n"
    )
