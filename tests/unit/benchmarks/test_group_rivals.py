"""What users would pick instead of groups, as the benchmark measures it."""

from __future__ import annotations

import importlib.util

import pytest

from benchmarks import group_rivals
from benchmarks.group_rivals import Contender

NAMES = ["ours, in memory", "PySyncObj, best settings", "ours, durable", "etcd"]


def contenders(asked: list[str]) -> list[Contender]:
    def made(number: int, beside: str = "") -> Contender:
        def measure(scale: int) -> dict[str, float]:
            asked.append(NAMES[number])
            figures = {"256": 1000.0 * (number + 1), "4096": 2000.0, "alone_us": 812.4 / scale}
            if number == 1:
                del figures["alone_us"]
            return figures

        return Contender(NAMES[number], measure, beside)

    return [made(0), made(1, NAMES[0]), made(2), made(3, NAMES[2])]


def test_each_is_measured_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(group_rivals, "_contenders", lambda: iter(contenders(asked)))
    found = group_rivals.measure(quick=False)
    assert asked == group_rivals.TURNS * NAMES
    lines = group_rivals.table(found)
    assert lines[2] == "| ours, in memory | 1,000/s | 2,000/s | 812 us |"
    assert lines[3] == "| PySyncObj, best settings | 2,000/s | 2,000/s |  |"


def test_each_is_compared_with_what_is_as_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_rivals, "_contenders", lambda: iter(contenders([])))
    rows = group_rivals.run(quick=True)
    assert [(row.name, row.value, row.baseline) for row in rows if "256" in row.name] == [
        ("groups: commands, 256 in flight, vs PySyncObj, best settings", 1000.0, 2000.0),
        ("groups: commands, 256 in flight, vs etcd", 3000.0, 4000.0),
    ]
    assert len(rows) == 5  # no figure of PySyncObj for one at a time


def test_without_others_ours_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    assert group_rivals.measure(quick=True) == []
    assert "[etcd: aetcd is not installed]" in capsys.readouterr().out
