"""The benchmark of actors, on tiny inputs: two processes."""

from __future__ import annotations

from benchmarks import actors


def test_benchmark_runs_with_tiny_inputs() -> None:
    rows = actors.run(quick=True)
    assert [row.unit for row in rows] == ["messages/s", "messages/s", "asks/s", "us"]
    assert all(row.value > 0 for row in rows)
    assert rows[0].baseline
