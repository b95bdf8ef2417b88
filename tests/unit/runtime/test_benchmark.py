from __future__ import annotations

from benchmarks.runtime import run


def test_benchmark_runs_with_tiny_inputs() -> None:
    rows = run(quick=True)
    assert len(rows) == 4
    assert all(row.value > 0 for row in rows)
    ping_pong = rows[0]
    assert ping_pong.baseline_name == "simpleSystemBase"
    assert ping_pong.baseline is not None
