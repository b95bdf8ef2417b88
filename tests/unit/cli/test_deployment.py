"""``mosaik-actors deployment``: what it prints, and its exit codes."""

from pathlib import Path

import pytest

from mosaik_actors.cli.main import main

MODULE = """
from mosaik_actors import Deployment, DeploymentConfig, public, stream

class Config(DeploymentConfig):
    window_s: float = 3.0
    slots: int = 64

class Small(Deployment[Config]):
    service = "shop"
    orders = public(stream(int))

class Large(Deployment[Config]):
    service = "shop"
    orders = public(stream(str))

ONE = Config(name="acme")
OTHER = Config(name="acme", window_s=4, slots=8)
NUMBER = 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "deployment_cli_shop.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "deployment_cli_shop"


def test_diff_names_each_field_that_differs(
    module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def diff(one: str, other: str) -> tuple[int, list[str]]:
        code = main(["deployment", "diff", one, other])
        return code, capsys.readouterr().out.splitlines()

    both = ["slots: 64 | 8", "window_s: 3.0 | 4"]
    assert diff(f"{module}:ONE", f"{module}:OTHER") == (1, both)
    code, lines = diff(f"{module}:ONE", f"{module}:ONE")
    assert code == 0
    assert lines[0].startswith("no difference: both are ")
    code, lines = diff(f"{module}:Small@ONE", f"{module}:Large@ONE")
    assert code == 1
    assert lines[0].startswith("surface.orders: #")
    # A file is read with the other one's class: what it leaves out has its default.
    (tmp_path / "a.toml").write_text('name = "acme"\nwindow_s = 3\n')
    (tmp_path / "b.json").write_text('{"name": "acme", "slots": 8, "window_s": 4}')
    assert diff(f"{module}:ONE", "a.toml")[0] == 0
    assert diff("a.toml", f"{module}:Small@ONE")[0] == 0
    assert diff(f"{module}:ONE", "b.json") == (1, [both[0], "window_s: 3.0 | 4.0"])


def test_id_is_what_the_service_computes(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deployment", "id", f"{module}:Small@ONE"]) == 0
    assert main(["deployment", "id", f"{module}:ONE"]) == 0
    digits = capsys.readouterr().out.split()
    assert [len(one) for one in digits] == [64, 64]
    assert digits[0] != digits[1]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("nothing", "expected MODULE:NAME or a file"),
        ("no_such_module_there:X", "cannot be imported"),
        ("deployment_cli_shop:NONE", "has no NONE"),
        ("deployment_cli_shop:NUMBER", "is a int, expected a DeploymentConfig"),
        ("deployment_cli_shop:Config@ONE", "Config is no Deployment"),
        ("absent.toml", "cannot be read"),
        ("broken.json", "cannot be read"),
        ("list.json", "holds no fields"),
        ("odd.json", "has no field colour"),
        ("wrong.json", "slots: Expected `int`"),
        ("empty.json", "'name'"),
    ],
)
def test_what_is_no_configuration_is_refused(
    module: str, tmp_path: Path, source: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "broken.json": "{",
        "list.json": "[1]",
        "odd.json": '{"name": "a", "colour": 1}',
        "wrong.json": '{"name": "a", "slots": "x"}',
        "empty.json": "{}",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert main(["deployment", "diff", f"{module}:ONE", source]) == 2
    assert why in capsys.readouterr().err
