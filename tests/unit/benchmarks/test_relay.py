"""The benchmark of a loaded relay, on tiny inputs."""

import pytest

from benchmarks import relay


def test_benchmark_runs_with_tiny_inputs() -> None:
    [load] = relay.measure(2, 1, rounds=1, seconds=0.1, ways=["relay"]).values()
    assert load.mb_per_s > 0
    assert load.slowest_share == pytest.approx(1.0)
    assert load.cpu_ms > load.relay_cpu_ms > 0
