"""What was measured before: one line of JSON for each run, the newest last.

The file is of one machine and not committed. A run says when it was, of which commit, on
which Python and machine, and has all rows of the table.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from .report import Row

HISTORY_FILE = Path(__file__).parents[1] / ".cache" / "benchmarks.jsonl"
RUNS_MAX = 500
COMPARED_RUNS = 5


def describe_run(rows: Iterable[Row], *, quick: bool) -> dict[str, Any]:
    """Return a run, as it is written down."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _find_commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "quick": quick,
        "rows": [asdict(row) for row in rows],
    }


def read(file: Path) -> list[dict[str, Any]]:
    """Return the runs in a file, the oldest first; a line that is not whole is skipped."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return []
    runs = []
    for line in lines:
        try:
            runs.append(json.loads(line))
        except ValueError:
            continue  # the machine stopped while it was written
    return runs


def append(file: Path, run: dict[str, Any]) -> None:
    """Add a run; the oldest make room."""
    file.parent.mkdir(parents=True, exist_ok=True)
    runs = [*read(file), run][-RUNS_MAX:]
    unfinished = file.with_suffix(".new")
    unfinished.write_text("".join(json.dumps(one) + "\n" for one in runs))
    unfinished.replace(file)


def earlier(runs: Iterable[dict[str, Any]], *, quick: bool) -> dict[str, float]:
    """Return what each row's ratio, or value without a baseline, was: the median of the last 5."""
    figures: dict[str, list[float]] = {}
    for run in runs:
        if run["quick"] is quick:
            for row in run["rows"]:
                ratio = row["value"] / row["baseline"] if row["baseline"] else row["value"]
                figures.setdefault(row["name"], []).append(ratio)
    return {name: median(found[-COMPARED_RUNS:]) for name, found in figures.items()}


def _find_commit() -> str | None:
    command = ("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
