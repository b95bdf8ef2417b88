"""Scenarios as pytest sees them, and what a failure tells."""

import asyncio
from pathlib import Path

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.faults import FaultPlan
from mosaik_actors.testing.loop import SimDeadlock
from mosaik_actors.testing.scenario import Scenario, scenario

pytest_plugins = ["pytester"]

FAULTS = FaultPlan(duration=5, interval=0.5)
FILE = """
from mosaik_actors.testing import Cluster, scenario

@scenario(nodes=1, seeds=[3, 14])
async def test_something(cluster: Cluster) -> None:
    '''What it is about.'''
    cluster.note("note", "before the end")
    await cluster.sleep(1.5)
    assert cluster.seed == 3, "not my seed"
"""


def made_of(test: object) -> Scenario:
    made = test.scenario  # type: ignore[attr-defined]
    assert isinstance(made, Scenario)
    return made


def test_pytest_runs_a_case_per_seed_and_shows_what_helps(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = pytester.makepyfile(test_it=FILE)
    result = pytester.runpytest_inprocess("-v", "-p", "no:asyncio", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    out = result.stdout.str()
    assert "test_it.py::test_something[seed3] PASSED" in out
    assert "test_it.py::test_something[seed14] FAILED" in out
    assert "not my seed" in out
    assert "seed 14 failed after 1.500 simulated seconds" in out
    assert f"run it again: mosaik-actors chaos {file.name}::test_something --seed 14" in out
    assert "0.000000  note     before the end" in out
    assert "n0 started, run 1" in out
    assert "scenario test_something: seed 14, nodes=1" in out  # captured output
    assert "1.5 simulated seconds in " in out


@scenario(nodes=2, seeds=range(3), faults=FAULTS, network=NetworkConditions(loss=0.1))
async def gives_up(cluster: Cluster) -> None:
    """Fail after a while."""
    await cluster.sleep(3)
    raise RuntimeError("enough")


def test_report_of_a_failure_has_what_happened() -> None:
    report = made_of(gives_up).run(1)
    assert isinstance(report.error, RuntimeError)
    assert not report.is_ok
    assert report.simulated_s == 3
    assert "stops" not in report.timeline.splitlines()[-1]  # what came after is not in it
    assert report.faults == made_of(gives_up).schedule(1)
    for part in ("n1 started", "n0 > n1", "n0 is connected to n1"):
        assert part in report.timeline


def test_error_keeps_its_class_and_gets_a_note() -> None:
    with pytest.raises(RuntimeError, match="enough") as caught:
        gives_up(1)
    [note] = caught.value.__notes__
    assert "seed 1 failed after" in note
    assert "run it again: mosaik-actors chaos tests/unit/testing/test_scenario.py::gives_up" in note


def test_seed_decides_the_faults_and_the_trace() -> None:
    made = made_of(gives_up)
    assert made.schedule(1) == made.schedule(1) != made.schedule(2)
    assert made.run(1).digest == made.run(1).digest != made.run(2).digest


def test_replay_command_names_the_faults_only_when_they_are_not_the_seeds() -> None:
    made = made_of(gives_up)
    whole = made.schedule(1)
    assert made.replay_command(1, whole).endswith("::gives_up --seed 1")
    assert made.replay_command(1, whole.only([2, 0])).endswith("--seed 1 --faults 0,2")
    assert made.replay_command(1, whole.only([])).endswith("--seed 1 --faults none")


def test_function_keeps_its_name_and_docstring() -> None:
    assert (gives_up.__name__, gives_up.__doc__) == ("gives_up", "Fail after a while.")
    assert gives_up.__module__ == __name__


def test_description_names_what_is_not_the_default() -> None:
    assert made_of(gives_up).describe() == (
        "nodes=2, faults=FaultPlan(duration=5, interval=0.5), network=NetworkConditions(loss=0.1)"
    )


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="a scenario has no setting 'node'"):
        scenario(node=3)


@scenario(nodes=1)
async def hangs(cluster: Cluster) -> None:
    await cluster.stop(0)
    await asyncio.get_running_loop().create_future()


@scenario(nodes=1, limit=20)
async def goes_on(cluster: Cluster) -> None:
    while True:
        await cluster.sleep(1)


def test_scenario_that_hangs_or_does_not_end_fails() -> None:
    for made in (made_of(hangs), made_of(goes_on)):
        error = made.run(0).error
        assert isinstance(error, TimeoutError | SimDeadlock)
    assert "did not end within 20 simulated seconds" in str(made_of(goes_on).run(0).error)


def test_target_is_relative_to_where_the_command_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = Path(__file__)
    assert made_of(gives_up).target == "tests/unit/testing/test_scenario.py::gives_up"
    monkeypatch.chdir(tmp_path)
    assert made_of(gives_up).target == f"{here}::gives_up"
