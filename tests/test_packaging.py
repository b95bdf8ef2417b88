"""What users get: stubs of Thespian that type checkers find, dependencies with tested floors."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

PROGRAM = """
from thespian.actors import Actor, ActorAddress, ActorTypeDispatcher, requireCapability
from thespian.initmsgs import initializing_messages
from thespian.transient import transient
from thespian.troupe import troupe
import thespian.director  # not described: it stays what it was

@requireCapability("Disk")
class Greeter(Actor):
    def receiveMessage(self, message: object, sender: ActorAddress) -> None:
        self.send(sender, self.createActor(Named))

@initializing_messages([("name", str)])
@transient()
class Named(ActorTypeDispatcher):
    name: str

    async def receiveMsg_int(self, number: int, sender: ActorAddress) -> None:
        self.send(sender, self.name + number)  # the one mistake

@troupe(max_count=2)
class Works(Greeter):
    pass
"""


def project() -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return settings


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A virtual environment as the wheel leaves it, with our dependencies in it."""
    folder = tmp_path / "venv"
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "thespian-stubs").symlink_to(ROOT / "typings" / "thespian")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


def test_users_program_with_actors_passes_strict_mypy(installed: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(installed), program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    [mistake, *rest] = sorted(errors, key=lambda line: "operand" not in line)
    assert "Unsupported operand types for + " in mistake, done.stdout
    # The modules without a description are as untyped as they were.
    assert all("director" in line for line in rest), done.stdout


def test_every_dependency_has_a_floor_and_what_we_reach_into_a_ceiling() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "lowest.py"], capture_output=True, text=True, check=True
    )
    pinned = dict(line.split("==") for line in done.stdout.splitlines())
    wanted = {name for name in project()["dependencies"] if ">=" in name}
    assert len(wanted) == len(project()["dependencies"])
    assert {name.partition(">=")[0] for name in wanted} <= set(pinned)
    [aioquic] = [name for name in wanted if name.startswith("aioquic")]
    assert ",<" in aioquic


def test_packages_of_extras_are_loaded_when_they_are_needed() -> None:
    """So that everything else works without them."""
    code = (
        "import sys, mosaik_actors as m; [getattr(m, name) for name in m.__all__]; "
        "print([name for name in ('dcap_qvl', 'zstandard', 'zeroconf', 'rich') if name in "
        "sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
