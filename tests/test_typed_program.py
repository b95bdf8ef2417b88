"""What a strict type checker finds in a user's program with a group: all mistakes, no others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = Path(__file__).with_name("typed_groups.py")


def check(program: Path) -> str:
    """Return what mypy says of a program. What it remembers of the library saves time."""
    options = ["--config-file", str(ROOT / "setup.cfg"), "--cache-dir", str(ROOT / ".mypy_cache")]
    command = [sys.executable, "-m", "mypy", "--strict", *options, str(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout


def test_every_mistake_of_a_program_with_a_group_is_found_and_nothing_else(tmp_path: Path) -> None:
    """With the remarks that excuse them its mistakes are all there is: without, each is named."""
    text = PROGRAM.read_text("utf-8")
    expected = [
        (number, found.group(1))
        for number, line in enumerate(text.splitlines(), 1)
        if (found := re.search(r"# type: ignore\[([a-z-]+)\]$", line))
    ]
    assert len(expected) == 10
    program = tmp_path / "program.py"
    program.write_text(re.sub(r"  # type: ignore\[[a-z-]+\]", "", text), "utf-8")
    said = check(program)
    errors = re.findall(r"program\.py:(\d+): error: .*\[([a-z-]+)\]", said)
    assert [(int(number), code) for number, code in errors] == expected, said
