"""The guard of the hot paths: what it decides, that it can fail, and what it runs."""

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from benchmarks import guard, guard_paths
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
    bounds = Bounds(1.2, dict.fromkeys("abcdef", 2.0))
    assert bounds.find_slow(dict.fromkeys("abcdef", 2.7)) == []
    assert bounds.find_slow(dict.fromkeys("abcdef", 2.8)) == list("abcdef")
    assert bounds.find_slow({**dict.fromkeys("abcdef", 2.0), "c": 2.5}) == ["c"]
    # A quicker machine lets nothing pass that was too slow before.
    assert bounds.find_slow({**dict.fromkeys("abcdef", 1.5), "c": 2.5}) == ["c"]


def test_each_path_that_is_30_percent_slower_is_seen_and_named() -> None:
    for python in json.loads(BOUNDS_FILE.read_text())["ratios"]:
        bounds = load_bounds(BOUNDS_FILE.read_text(), python)
        assert bounds is not None
        for name, ratio in bounds.ratios.items():
            assert bounds.find_slow({**bounds.ratios, name: 1.3 * ratio}) == [name]


def test_a_path_that_became_quicker_has_to_be_recorded_anew() -> None:
    """A third slower than now would be within the bound of then."""
    assert BOUNDS.find_quick({"a": 1.9, "b": 0.95, "c": 0.1}) == []
    assert BOUNDS.find_quick({"a": 1.8, "b": 0.9}) == ["a", "b"]


def measured(rounds: dict[str, list[list[float]]]) -> Callable[[str], Awaitable[list[float]]]:
    async def measure(name: str) -> list[float]:
        return rounds[name].pop(0)

    return measure


async def test_what_seems_slow_is_measured_again_before_it_fails() -> None:
    # a was measured while the machine was busy; b is as it was.
    left = {"a": [[2.6, 2.7, 2.8], [2.1, 2.0, 2.0], [2.0, 2.0, 2.0]], "b": [[1.0, 1.1, 0.9]]}
    found = await find_ratios(left, BOUNDS, measured(left))
    assert BOUNDS.find_slow(found) == []
    assert left == {"a": [[2.0, 2.0, 2.0]], "b": []}


async def test_what_is_slow_each_time_fails() -> None:
    left = {"a": [[2.6, 2.5, 2.7]] * (REPEATS + 2), "b": [[1.0]]}
    found = await find_ratios(left, BOUNDS, measured(left))
    assert BOUNDS.find_slow(found) == ["a"]
    assert len(left["a"]) == 1
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
    work = guard_paths._codec
    ratios = await find_ratios(["codec"], Bounds(1.2, {"codec": 9e9}), lambda _: fresh(work))
    bounds = Bounds(1.2, ratios)
    slow = slowed(work, 0.5)
    found = await find_ratios(["codec"], bounds, lambda _: fresh(slow))
    assert bounds.find_slow(found) == ["codec"], found


async def fresh(work: guard_paths.Work) -> list[float]:
    await work()
    return await measure_rounds(work)


async def test_all_paths_run_and_have_bounds() -> None:
    async with guard_paths.hot_paths() as paths:
        for work in paths.values():
            await work()
    stored = json.loads(BOUNDS_FILE.read_text())
    assert 1.1 <= stored["slower_max"] < 1.3
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
