"""The page of figures, and its plots."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import carriers, groups, page, scale, streams
from benchmarks.plot import Chart, Series, shown
from benchmarks.report import Row

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


def test_quick_figures_are_printed_and_leave_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "page.md"
    text = "<!-- measured: one -->\nold\n<!-- end -->\n"
    file.write_text(text)
    monkeypatch.setattr(page, "PAGE", file)
    monkeypatch.setattr(page, "SECTIONS", {"one": lambda _quick, _folder: ["new"]})
    assert page.main(["--quick"]) == 0
    assert file.read_text() == text
    out = capsys.readouterr().out
    assert "\nnew\n" in out
    assert "page.md stays as it was" in out
    assert page.main(["--quick", "--page", str(file)]) == 0
    assert "new" in file.read_text()


def texts(lines: list[str], folder: Path) -> list[set[str | None]]:
    """Return what is written in each of the plots that the lines show."""
    paths = [folder / line.partition("](")[2].rstrip(")") for line in lines if line[:2] == "!["]
    roots = [ElementTree.fromstring(path.read_text()) for path in paths]
    return [{one.text for one in root.iter(f"{SVG}text")} for root in roots]


def test_sizes_are_shown_as_bytes_and_as_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carriers, "large_rate", lambda _carrier, size, _count: size / 100)
    in_bytes, in_items = texts(page.measure_sizes(True, tmp_path), tmp_path)
    assert {"MB/s", "Unix socket", "QUIC", "4 k"} <= in_bytes
    assert {"items/s", "Unix socket", "QUIC", "4 k"} <= in_items


def test_consumers_are_shown_as_cost_and_as_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"producer_ns": 300.0, "consumer_ns": 900.0, "rate": 1e6}
    monkeypatch.setattr(streams, "_pair", lambda *_: found)
    cost, items = texts(page.measure_consumers(True, tmp_path), tmp_path)
    assert "microseconds" in cost
    assert "items/s" in items


def test_commits_are_shown_against_what_is_in_flight_and_against_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "running_group", lambda members: nullcontext(members))
    monkeypatch.setattr(groups, "best_rate", lambda members, _count, many: many / members)
    in_flight, members = texts(page.measure_groups(True, tmp_path), tmp_path)
    assert {"1 member", "3 members", "256"} <= in_flight
    assert {"1 in flight", "256 in flight", "3"} <= members


def test_growth_is_shown_with_the_figures_of_the_most_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(count: int) -> list[Row]:
        return [Row(f"{count} nodes", count * 100.0, "CPU ms"), Row(f"{count}, after", 1, "ms")]

    monkeypatch.setattr(scale, "measure_start", measured)
    monkeypatch.setattr(scale, "measure_simulation", measured)
    lines = page.measure_growth(False, tmp_path)
    [plot] = texts(lines, tmp_path)
    assert {"on one host", "simulated", "CPU s", "300"} <= plot
    assert "| 300 nodes | 30,000 CPU ms |" in lines
    assert "| 400 nodes | 40,000 CPU ms |" in lines


def test_a_large_item_is_measured_at_both_ends() -> None:
    lines = page.measure_large_item(True, Path())
    costs = [int(line.split("|")[2].removesuffix(" us ").replace(",", "")) for line in lines[2:]]
    assert len(costs) >= 7  # without the extra quic-native
    assert min(costs) > 0
