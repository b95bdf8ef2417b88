"""The guard of the hot paths: what it decides, that it can fail, and what it runs."""

import json
import re
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from statistics import median

import pytest

from benchmarks import guard, guard_baselines, guard_paths
from benchmarks.guard import (  # fmt: skip
    BOUNDS_FILE,
    REPEATS,
    Bounds,
    find_ratios,
    load_bounds,
    measure_rounds,
    slowed,
    table,
    with_bounds,
)

BOUNDS = Bounds(1.2, {"a": 2.0, "b": 1.0})
ROOT = Path(__file__).parents[3]


def test_a_path_is_slow_above_the_share_of_what_was_recorded() -> None:
    assert BOUNDS.find_slow({"a": 2.4, "b": 1.2}) == []
    assert BOUNDS.find_slow({"a": 2.41, "b": 1.21}) == ["a", "b"]
    # One that nobody recorded would never be seen to become slower.
    assert BOUNDS.find_slow({"c": 0.1}) == ["c"]


def test_another_machine_is_allowed_for_and_one_slow_path_is_not() -> None:
    bounds = Bounds(1.22, dict.fromkeys("abcdef", 2.0))
    assert bounds.find_slow(dict.fromkeys("abcdef", 2.5)) == []
    assert bounds.find_slow({**dict.fromkeys("abcdef", 2.0), "c": 2.5}) == ["c"]
    # On a machine that is quicker for us one path that became slower is seen as well.
    assert bounds.find_slow({**dict.fromkeys("abcdef", 1.8), "c": 1.3 * 1.8}) == ["c"]


def test_all_paths_that_are_30_percent_slower_are_seen() -> None:
    """What they share became slower: that is no other machine."""
    for bounds in recorded():
        slow = {name: 1.3 * ratio for name, ratio in bounds.ratios.items()}
        assert bounds.find_slow(slow) == list(slow)


def test_each_path_that_is_30_percent_slower_is_seen_and_named() -> None:
    for bounds in recorded():
        for name, ratio in bounds.ratios.items():
            assert bounds.find_slow({**bounds.ratios, name: 1.3 * ratio}) == [name]


def recorded() -> list[Bounds]:
    text = BOUNDS_FILE.read_text()
    bounds = [load_bounds(text, python) for python in json.loads(text)["ratios"]]
    assert bounds
    return [each for each in bounds if each is not None]


def test_a_path_that_became_quicker_has_to_be_recorded_anew() -> None:
    """A third slower than now would be within the bound of then."""
    assert BOUNDS.find_quick({"a": 1.9, "b": 0.95, "c": 0.1}) == []
    assert BOUNDS.find_quick({"a": 1.8, "b": 0.9}) == ["a", "b"]


def measured(
    *runs: dict[str, float],
) -> tuple[list[list[str]], Callable[[Collection[str]], Awaitable[dict[str, float]]]]:
    asked: list[list[str]] = []

    async def measure(names: Collection[str]) -> dict[str, float]:
        asked.append(list(names))
        return runs[len(asked) - 1]

    return asked, measure


async def test_what_seems_slow_is_measured_again_before_it_fails() -> None:
    # a was measured while the machine was busy; b is as it was.
    asked, measure = measured({"a": 2.7, "b": 1.0}, {"a": 2.5}, {"a": 2.1})
    found = await find_ratios((), BOUNDS, measure)
    assert found == {"a": 2.1, "b": 1.0}
    assert asked == [[], ["a"], ["a"]]


async def test_what_is_slow_each_time_fails() -> None:
    asked, measure = measured({"a": 2.7, "b": 1.0}, *[{"a": 2.6}] * REPEATS)
    found = await find_ratios((), BOUNDS, measure)
    assert BOUNDS.find_slow(found) == ["a"]
    assert len(asked) == 1 + REPEATS
    assert re.search(r"^a +2\.600 +2\.000 +\+30 %  TOO SLOW$", table(found, BOUNDS), re.MULTILINE)


def test_bounds_are_kept_for_each_version_of_python() -> None:
    text = with_bounds('{"slower_max": 1.2, "ratios": {}}', "3.11", {"a": 2.00049})
    text = with_bounds(text, "3.12", {"a": 3.0})
    assert load_bounds(text, "3.11") == Bounds(1.2, {"a": 2.0})
    assert load_bounds(text, "3.12") == Bounds(1.2, {"a": 3.0})
    assert load_bounds(text, "3.13") is None


async def test_a_planted_slow_down_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With bounds of this moment, so that the test does not depend on the machine."""
    for name, value in {"ROUNDS": 3, "TURNS": 2, "REPEATS": 1}.items():
        monkeypatch.setattr(guard, name, value)

    async def work() -> None:
        guard_baselines.records(40)

    as_it_is = guard_paths.HotPath(work, work)
    bounds = Bounds(1.22, {"records": median(await measure_rounds(as_it_is))})
    slow = guard_paths.HotPath(slowed(work, 0.5), work)

    async def measure(_names: Collection[str]) -> dict[str, float]:
        return {"records": median(await measure_rounds(slow))}

    found = await find_ratios((), bounds, measure)
    assert bounds.find_slow(found) == ["records"], found


async def test_all_paths_and_their_baselines_run_and_have_bounds() -> None:
    async with guard_paths.hot_paths() as paths:
        for path in paths.values():
            await path.work()
            await path.baseline()
    stored = json.loads(BOUNDS_FILE.read_text())
    # All paths that are 30 % slower are no other machine.
    assert 1.1 <= stored["slower_max"] < guard.SEEN / guard.MACHINES_MAX
    assert stored["ratios"]
    for ratios in stored["ratios"].values():
        assert list(ratios) == list(paths)


def test_the_command_decides_by_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "guard.json"
    version = f"{guard.sys.version_info.major}.{guard.sys.version_info.minor}"  # type: ignore[attr-defined]
    monkeypatch.setattr(guard, "BOUNDS_FILE", file)
    file.write_text('{"slower_max": 1.2, "ratios": {}}')
    assert guard.main([]) == 0
    assert "nothing is decided" in capsys.readouterr().out
    file.write_text(with_bounds(file.read_text(), version, {"a": 2.0}))
    for ratio, code in ((2.3, 0), (2.5, 1)):

        async def find(*_arguments: object, ratio: float = ratio) -> dict[str, float]:
            return {"a": ratio}

        monkeypatch.setattr(guard, "_guard", find)
        assert guard.main([]) == code
    assert "more than 20 % slower than recorded: a." in capsys.readouterr().out


def test_it_decides_whether_a_change_lands_after_the_tests() -> None:
    steps = (ROOT / ".ci" / "run").read_text().splitlines()
    assert steps.index("make guard") > steps.index("make test")
