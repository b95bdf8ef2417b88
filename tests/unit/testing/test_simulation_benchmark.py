"""The benchmark of the simulation, on tiny inputs."""

from benchmarks import simulation


def test_benchmark_runs_with_tiny_inputs() -> None:
    rows = simulation.run(quick=True)
    assert len(rows) == 6
    assert all(row.value > 0 for row in rows)
    assert [row.bar for row in rows[:3]] == [1000, 20_000, 100]
