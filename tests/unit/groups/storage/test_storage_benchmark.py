"""The benchmark of the storage, on tiny inputs."""

from pathlib import Path

import pytest

from benchmarks import storage


def test_benchmark_runs_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = storage.run(quick=True)
    assert [row.unit for row in rows] == ["batches/s", "entries/s"] * 3 + [
        "entries/s",
        "MB/s",
        "MB/s",
    ]
    assert all(row.value > 0 for row in rows)
    assert all(row.baseline for row in rows[:6:2])
    assert not list(tmp_path.iterdir())
