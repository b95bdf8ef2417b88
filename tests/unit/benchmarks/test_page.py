"""The page of figures, and its plots."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import page
from benchmarks.plot import Chart, Series, shown

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("is_logarithmic", [False, True])
def test_a_chart_has_its_lines_inside_and_says_what_they_are(is_logarithmic: bool) -> None:
    chart = Chart(
        "A < B",
        "size",
        "rate",
        [Series("one", [(1, 10), (10, 1000)]), Series("two", [(1, 20), (10, 5)])],
        is_logarithmic,
    )
    root = ElementTree.fromstring(chart.draw())
    texts = [one.text for one in root.iter(f"{SVG}text")]
    assert {"A < B", "size", "rate", "one", "two"} <= set(texts)
    circles = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]
    assert len(circles) == 4
    assert all(0 < x < 720 and 0 < y < 400 for x, y in circles)
    assert circles[1][1] < circles[0][1]  # more is higher
    assert circles[3][1] > circles[2][1]


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "0.25"), (12, "12"), (1500, "1.5 k"), (2e6, "2 M"), (3e9, "3 G")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert shown(value) == text


def test_every_section_has_its_place_and_its_plots_are_there() -> None:
    text = page.PAGE.read_text()
    for name in page.SECTIONS:
        assert text.count(f"<!-- measured: {name} -->\n") == 1
    for line in text.splitlines():
        if line.startswith("!["):
            plot = page.PAGE.parent / line.partition("](")[2].rstrip(")")
            ElementTree.fromstring(plot.read_text())


def test_a_section_is_written_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "page.md"
    file.write_text("before\n<!-- measured: one -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(page, "SECTIONS", {"one": lambda _quick, _folder: ["new"]})
    page.update(file, ["one"], quick=True)
    lines = file.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "new" in lines
    assert "old" not in lines
    page.update(file, ["one"], quick=True)
    assert file.read_text().splitlines().count("new") == 1


def test_a_section_that_found_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "page.md"
    text = "<!-- measured: one -->\nold\n<!-- end -->\n"
    file.write_text(text)
    monkeypatch.setattr(page, "SECTIONS", {"one": lambda _quick, _folder: []})
    page.update(file, ["one"], quick=True)
    assert file.read_text() == text
    assert "one stays as it was" in capsys.readouterr().out
