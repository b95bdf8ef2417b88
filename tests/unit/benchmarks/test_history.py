"""What `make bench` keeps of earlier runs."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import history
from benchmarks.report import Row, print_table

ROWS = [Row("rate", 100.0, "items/s", 50.0, "bare"), Row("pause", 3.0, "ms")]


def test_a_run_says_what_was_measured_where_and_of_which_commit() -> None:
    run = history.describe_run(ROWS, quick=True)
    assert json.loads(json.dumps(run)) == run
    assert run["rows"][0]["baseline_name"] == "bare"
    assert set(run) == {"at", "commit", "python", "machine", "quick", "rows"}


def test_runs_are_added_and_the_oldest_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "RUNS_MAX", 3)
    file = tmp_path / "cache" / "runs.jsonl"
    for number in range(5):
        history.append(file, {"number": number})
    assert [run["number"] for run in history.read(file)] == [2, 3, 4]
    file.write_text(file.read_text() + '{"number": 5, "ro')
    assert [run["number"] for run in history.read(file)] == [2, 3, 4]
    assert history.read(tmp_path / "absent") == []


def of_values(*values: float, quick: bool = False) -> list[dict[str, Any]]:
    rows = [[Row("rate", value, "items/s", 10.0), Row("pause", value, "ms")] for value in values]
    return [history.describe_run(one, quick=quick) for one in rows]


def test_rows_are_compared_with_the_median_of_the_last_five(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = of_values(1000, 10, 20, 30, 40, 50) + of_values(7, quick=True)
    found = history.earlier(runs, quick=False)
    assert found == {"rate": 3.0, "pause": 30.0}
    assert history.earlier(runs, quick=True) == {"rate": 0.7, "pause": 7.0}
    print_table([Row("rate", 33.0, "items/s", 10.0), Row("new", 1.0, "ms")], found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("+10 %")
    assert lines[2].endswith("1 ms")


def test_the_command_keeps_each_run_and_writes_it_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = SimpleNamespace(run=lambda quick: ROWS)
    monkeypatch.setattr(command.importlib, "import_module", lambda name: module)  # type: ignore[attr-defined]
    kept, written = tmp_path / "runs.jsonl", tmp_path / "run.json"
    arguments = ["storage", "--quick", "--history", str(kept), "--json", str(written)]
    assert command.main(arguments) == 0
    assert command.main(arguments) == 0
    assert len(history.read(kept)) == 2
    assert json.loads(written.read_text()) == history.read(kept)[1]
    assert "+0 %" in capsys.readouterr().out
