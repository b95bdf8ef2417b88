"""Thespian's own tests on our base; `thespian_suite.py` says how, and what differs."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

SUITE = pytest.importorskip("thespian.test", reason="Thespian came without its tests").__path__[0]
ROOT = Path(__file__).parents[2]
# They start Thespian's bases, or measure, or are about commands, whose time is real.
OTHERS = ("test_HAConvention.py", "test_load.py", "test_runcommand.py")
PROCESSES = 4
PASSED_MIN = 220


@pytest.mark.timeout(240)
async def test_thespians_own_tests_pass_on_our_base(tmp_path: Path) -> None:
    files = sorted(path for path in Path(SUITE).glob("test_*.py") if path.name not in OTHERS)
    outputs = await asyncio.gather(
        *(run(files[start::PROCESSES], tmp_path) for start in range(PROCESSES))
    )
    for code, output in outputs:
        assert code == 0, output
    passed = [re.search(r"(\d+) passed", output) for _, output in outputs]
    assert sum(int(found[1]) for found in passed if found) >= PASSED_MIN


async def run(files: list[Path], folder: Path) -> tuple[int | None, str]:
    options = ["-q", "-rfE", "-c", os.devnull, f"--rootdir={folder}", "--timeout=60", "--tb=short"]
    # Not those of the run that this is a part of.
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("PYTEST")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-p", "tests.conformance.thespian_suite"),
        *("-p", "no:cacheprovider", *options, *map(str, files)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode(errors="replace")[-20_000:]
