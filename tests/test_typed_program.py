"""What strict type checkers find in a user's programs: all mistakes, no others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = ("typed_groups.py", "typed_handles.py")
REMARK = re.compile(r"  # type: ignore\[([a-z-]+)\]$", re.MULTILINE)


@pytest.fixture(params=PROGRAMS)
def text(request: pytest.FixtureRequest) -> str:
    """Return a program with remarks that excuse its mistakes."""
    return Path(__file__).with_name(request.param).read_text("utf-8")


@pytest.fixture
def program(text: str, tmp_path: Path) -> Path:
    """Return the program without these remarks."""
    program = tmp_path / "program.py"
    program.write_text(REMARK.sub("", text), "utf-8")
    return program


def mistakes_in(text: str) -> list[tuple[int, str]]:
    """Return the line of each mistake and what mypy calls it."""
    lines = enumerate(text.splitlines(), 1)
    found = [(line, match.group(1)) for line, one in lines if (match := REMARK.search(one))]
    assert len(found) >= 10
    return found


def test_mypy_finds_every_mistake_of_a_program_and_nothing_else(text: str, program: Path) -> None:
    # What it remembers of the library saves time.
    options = ["--config-file", str(ROOT / "setup.cfg"), "--cache-dir", str(ROOT / ".mypy_cache")]
    said = run("mypy", "--strict", *options, str(program))
    errors = re.findall(r"program\.py:(\d+): error: .*\[([a-z-]+)\]", said)
    assert [(int(line), code) for line, code in errors] == mistakes_in(text), said


def test_pyright_finds_every_mistake_of_a_program_and_nothing_else(
    text: str, program: Path
) -> None:
    settings = {"typeCheckingMode": "standard", "pythonVersion": "3.11", "extraPaths": [str(ROOT)]}
    program.with_name("pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    options = ["--outputjson", "--project", str(program.parent), "--pythonpath", sys.executable]
    said = run("basedpyright", *options)
    found = json.loads(said)["generalDiagnostics"]
    lines = [1 + one["range"]["start"]["line"] for one in found]
    assert lines == [line for line, _ in mistakes_in(text)], said


def run(checker: str, *options: str) -> str:
    """Return what a type checker says."""
    command = [sys.executable, "-m", checker, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout
