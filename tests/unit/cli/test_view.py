"""The live table and the summary, drawn as text."""

import io

import pytest
from rich.console import Console

from mosaik_actors.cli.demo import claims, view
from mosaik_actors.cli.demo.display import PlainDisplay
from mosaik_actors.cli.demo.facts import Facts

from .recorded import END_AT, KINDS, VICTIM_PID, good_run, peer_of


def drawn(facts: Facts, *, columns: int = 100, rows: int = 30) -> list[str]:
    console = Console(
        file=io.StringIO(), width=columns, height=rows, color_system=None, legacy_windows=False
    )
    console.print(view.live(facts, console, now=END_AT, sensor_count=len(KINDS)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_live_table_shows_each_process_at_100_columns_uncut() -> None:
    lines = drawn(good_run(is_ended=False))
    assert not any("…" in line for line in lines)
    rows = {name: next(line for line in lines if f"│ {name} " in line) for name in KINDS}
    assert "● live" in rows["cpu"]
    assert "✘ lost" in rows["disk"]
    assert peer_of(VICTIM_PID)[:4] in rows["disk"]
    assert any("disk-2" in line and "in place of disk" in line for line in lines)
    assert any("killed disk" in line for line in lines)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (100, 24), (100, 30), (160, 50)])
def test_the_picture_fits_the_terminal(columns: int, rows: int) -> None:
    for facts in (Facts("demo-test", now=0.0), good_run()):
        lines = drawn(facts, columns=columns, rows=rows)
        assert len(lines) < rows
        assert max(map(len, lines)) <= columns


def test_the_summary_has_a_row_per_process_and_a_line_per_claim() -> None:
    facts = good_run()
    facts.sensors[100].out_of_order_count = 3
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(view.summary(facts, claims.check(facts, sensor_count=len(KINDS))))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for name in ("collector", "cpu", "memory", "disk (killed)", "net-io", "disk-2"):
        assert f"\n{name} " in text
    assert text.count("✔") == 10
    assert text.count("✘") == 1
    assert "✘ no reading arrived out of order  cpu 3 out of order" in text


def test_plain_lines_show_every_event_once(capsys: pytest.CaptureFixture[str]) -> None:
    facts = Facts("demo-test", now=0.0)
    with PlainDisplay() as display:
        display.update(facts, now=0.1)
        facts.receive_start("cpu", 100, now=0.2)
        display.update(facts, now=0.3)
        display.update(facts, now=0.4)
        facts.receive_remark("cpu: something", now=0.5)
        display.update(facts, now=0.6)
    assert capsys.readouterr().out.splitlines() == [
        "network demo-test",
        "   0.20 s  started cpu (process 100)",
        "   0.50 s  cpu: something",
    ]
