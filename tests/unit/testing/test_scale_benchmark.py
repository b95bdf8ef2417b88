"""The benchmark of what grows, on tiny inputs."""

import pytest

from benchmarks import scale
from benchmarks.report import Row


def test_benchmark_runs_with_tiny_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", "")  # which the benchmark sets: put back after it
    rows = scale.run(quick=True)
    assert len(rows) == 13
    assert all(row.value > 0 for row in rows if not row.name.startswith("an idle group"))


def test_each_figure_has_default_sizes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"up": [10], "start": [80], "simulate": [400], "idle": [20], "open": [1_000_000]}
    sizes |= {"members": [3, 9, 15], "commits": [1, 3, 9]}
    for name, (_measure, default) in list(scale.MEASURES.items()):
        asked: list[int] = []

        def measure(size: int, asked: list[int] = asked) -> list[Row]:
            asked.append(size)
            return [Row(f"of {size}", 1234.0, "ms", bar=12.0 if size == 3 else None)]

        monkeypatch.setitem(scale.MEASURES, name, (measure, default))
        scale.main([name])
        assert asked == sizes[name]
    assert "of 3: 1,234.0 ms, bar 12\nof 9: 1,234.0 ms\n" in capsys.readouterr().out
    scale.main(["members", "2"])
    assert capsys.readouterr().out == "of 2: 1,234.0 ms\n"


@pytest.mark.parametrize("wrong", [[], ["memberz"], ["idle", "many"], ["idle", "0"]])
def test_a_wrong_figure_or_size_is_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        scale.main(wrong)
    assert "usage: python -m benchmarks.scale" in capsys.readouterr().err
