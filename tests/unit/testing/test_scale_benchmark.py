"""The benchmark of what grows, on tiny inputs."""

import pytest

from benchmarks import scale


def test_benchmark_runs_with_tiny_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", "")  # which the benchmark sets: put back after it
    rows = scale.run(quick=True)
    assert len(rows) == 13
    assert all(row.value > 0 for row in rows if not row.name.startswith("an idle group"))
