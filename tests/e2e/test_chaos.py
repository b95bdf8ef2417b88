"""``mosaik-actors chaos`` as a user runs it."""

import re
import signal
from pathlib import Path

import pytest

from mosaik_actors.cli.main import main
from mosaik_actors.errors import ConfigError
from mosaik_actors.testing.chaos import load_scenario, run_seed, run_seeds, shrink_seed

from .command import command, is_alive, until_slowly

FILE = Path(__file__).with_name("chaos_scenarios.py")
ROOT = FILE.parents[2]
BUG, FINE, LONG = (
    f"{FILE}::{name}" for name in ("time_goes_on", "nodes_meet_again", "goes_on_and_on")
)


async def test_seeds_that_all_go_well_end_with_0(tmp_path: Path) -> None:
    async with command("chaos", FINE, "--seeds", "6", runtime_dir=tmp_path) as chaos:
        assert await chaos.end() == 0, chaos.transcript()
    assert chaos.out[0].startswith("tests/e2e/chaos_scenarios.py::nodes_meet_again: 6 seeds")
    assert re.match(r"6 seeds, \d+ faults, 0 calls, 1\d\d simulated seconds", chaos.out[-1])
    assert chaos.out[-1].endswith("0 failed")
    assert chaos.err == []


async def test_first_failure_is_shrunk_to_the_two_faults_that_matter(tmp_path: Path) -> None:
    async with command("chaos", BUG, "--seeds", "60", runtime_dir=tmp_path) as chaos:
        assert await chaos.end() == 1, chaos.transcript()
    out = "\n".join(chaos.out)
    enough = out.index("these are enough:")
    small = re.findall(r"^#\d+ at .*: (\w+) (n\d)", out[enough:], re.MULTILINE)
    assert sorted(kind for kind, _ in small) == ["crash", "skew"]
    assert len({node for _, node in small}) == 1
    assert out.endswith("failed: AssertionError: time went back")
    assert "crashes" in out[enough:]
    # The command that was printed fails in the same way.
    [line] = re.findall(r"run it again: mosaik-actors (chaos .*)", out)
    async with command(*line.split(), runtime_dir=tmp_path) as again:
        assert await again.end() == 1
    assert again.out[-1] == "failed: AssertionError: time went back"
    assert "2 faults" in "\n".join(again.out)


async def test_interrupt_ends_all_processes_at_once(tmp_path: Path) -> None:
    async with command(
        "chaos", LONG, runtime_dir=tmp_path, environment={"STARTED_DIR": str(tmp_path)}
    ) as chaos:
        await until_slowly(lambda: len(workers(tmp_path)) == 2)
        pids = workers(tmp_path)
        assert all(map(is_alive, pids))
        assert await chaos.end(signal.SIGINT) == 130, chaos.transcript()
    await until_slowly(lambda: not any(map(is_alive, pids)))
    assert "Traceback" not in chaos.transcript()


async def test_killed_command_leaves_no_process(tmp_path: Path) -> None:
    async with command(
        "chaos", LONG, runtime_dir=tmp_path, environment={"STARTED_DIR": str(tmp_path)}
    ) as chaos:
        await until_slowly(lambda: len(workers(tmp_path)) == 2)
        pids = workers(tmp_path)
        await chaos.end(signal.SIGKILL)
    await until_slowly(lambda: not any(map(is_alive, pids)))


def workers(folder: Path) -> list[int]:
    return [int(file.name) for file in folder.iterdir() if file.name.isdigit()]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nonsense"], "'nonsense' is not path::function or module:function"),
        ([f"{FILE}::nobody"], "it has: time_goes_on, nodes_meet_again, goes_on_and_on"),
        (["no/such/file.py::test"], "there is no file"),
        (["no_such_module:test"], "cannot import no_such_module"),
        ([FINE, "--faults", "1"], "--faults goes with --seed"),
        ([FINE, "--seed", "1", "--faults", "x"], "--faults is 'x'"),
    ],
)
def test_misuse_is_explained_in_one_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chaos", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert text in line


def test_scenarios_are_found_by_path_and_by_module() -> None:
    by_path = load_scenario(FINE)
    by_module = load_scenario("tests.e2e.chaos_scenarios:nodes_meet_again")
    assert by_path is by_module
    with pytest.raises(ConfigError, match="has no scenario 'command'"):
        load_scenario("tests.e2e.command:command")


def test_outcome_of_a_seed_is_the_same_in_any_process() -> None:
    outcomes = {outcome.seed: outcome for outcome in run_seeds(FINE, range(3), 2)}
    assert sorted(outcomes) == [0, 1, 2]
    assert len({outcome.digest for outcome in outcomes.values()}) == 3
    here = run_seed(FINE, 2)
    assert (here.digest, here.fault_count) == (outcomes[2].digest, outcomes[2].fault_count)


def test_faults_can_be_left_out() -> None:
    made = load_scenario(FINE)
    whole, none, one = (run_seed(FINE, 5, faults) for faults in (None, [], [1]))
    assert whole.fault_count == len(made.schedule(5))
    assert (none.fault_count, one.fault_count) == (0, 1)
    assert len({whole.digest, none.digest, one.digest}) == 3


def test_shrunk_schedule_is_part_of_the_whole_one() -> None:
    made = load_scenario(BUG)
    seed = next(seed for seed in range(60) if not made.run(seed).is_ok)
    small, outcome = shrink_seed(BUG, seed)
    assert len(small) == 2
    assert set(small.numbers) < set(made.schedule(seed).numbers)
    assert outcome.error is not None
    assert outcome.error.startswith("AssertionError: time went back")
