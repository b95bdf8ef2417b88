"""The benchmark of groups, on tiny inputs: three processes, and a fourth that joins."""

from benchmarks import groups


def test_benchmark_runs_with_tiny_inputs() -> None:
    rows = [row for row in groups.run(quick=True) if row.name.startswith("groups:")]
    assert [row.unit for row in rows] == [*3 * ["commands/s"], "us", "ms", "%", ""]
    assert all(row.value > 0 for row in rows[:5])
    assert rows[3].baseline
