"""The benchmark of the checker, on tiny inputs."""

from random import Random

import pytest

from benchmarks import linearizability
from mosaik_actors.testing.history import Outcome
from mosaik_actors.testing.linearizability import Decision, check_linearizable
from mosaik_actors.testing.models import Register

from .histories import assert_proven


def test_benchmark_runs_and_meets_its_bar() -> None:
    rows = linearizability.run(quick=True)
    assert len(rows) == 8
    assert all(row.ok and 0 < row.value < row.bar for row in rows if row.bar)


@pytest.mark.parametrize("seed", range(3))
def test_histories_of_the_benchmark_are_what_they_are_said_to_be(seed: int) -> None:
    draw = linearizability.draw_register
    history = linearizability.make_history(Register(), draw, 200, Random(seed))
    assert len(history) == 200
    assert {call.client for call in history} == {f"c{number}" for number in range(5)}
    assert any(call.outcome is Outcome.UNKNOWN for call in history)
    assert_proven(check_linearizable(history, Register()), history, Register())
    wrong = linearizability.with_wrong_answer(history)
    assert check_linearizable(wrong, Register()).decision is Decision.VIOLATION
