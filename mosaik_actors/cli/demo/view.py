"""The demo's live table and summary, drawn with rich.

Reads the facts and changes nothing. Made for 100 columns and 24 rows; in a narrower
terminal the curve is left out, a higher one shows more events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .claims import CheckedClaim
from .facts import PEER_DIGITS, Event, Facts, SensorFacts
from .wording import (
    Progress,
    curve,
    describe,
    milliseconds,
    moment,
    state_of,
    steps,
)

EVENT_ROWS_MIN: Final = 4
EVENT_ROWS_MAX: Final = 12
CURVE_COLUMNS: Final = 6
WIDTH_FOR_CURVE: Final = 98

_TONES: Final = {"good": "green", "bad": "red", "plain": ""}
_MARKS: Final = {
    Progress.DONE: ("✔", "green"),
    Progress.NOW: ("▶", "bold yellow"),
    Progress.AHEAD: ("·", "dim"),
}


def live(facts: Facts, console: Console, *, now: float, sensor_count: int) -> RenderableType:
    """Return the picture of the run at this moment."""
    spare = console.height - len(facts.sensors) - 11  # the rest: frame, steps, heads, collector
    return Panel(
        Group(
            _steps(facts, sensor_count),
            Text(),
            _sensors(facts, now=now, with_curve=console.width >= WIDTH_FOR_CURVE),
            Text(),
            _collector(facts),
            Text(),
            _events(facts, rows=min(max(spare, EVENT_ROWS_MIN), EVENT_ROWS_MAX)),
        ),
        title=f"[bold]mosaik-actors demo[/] · network [bold cyan]{facts.network}[/]",
        subtitle=f"{now - facts.started_at:.1f} s · look in from another terminal: "
        f"mosaik-actors peers {facts.network}",
        border_style="blue",
        box=box.ROUNDED,
    )


def summary(facts: Facts, claims: Sequence[CheckedClaim]) -> RenderableType:
    """Return the account of a finished run: a row per process, then the claims."""
    note = "found all, first item: after the start of that process; ms: from send to receipt"
    return Group(Text(), _figures(facts), Text(note, "dim"), Text(), _claims(claims))


def _steps(facts: Facts, sensor_count: int) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for step in steps(facts, sensor_count=sensor_count):
        mark, style = _MARKS[step.progress]
        line.append(f"{mark} {step.text}   ", style)
    return line


def _sensors(facts: Facts, *, now: float, with_curve: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=0, show_edge=False)
    for name, width in (("sensor", 8), ("peer", PEER_DIGITS), ("", 8), ("reading", 24)):
        table.add_column(name, no_wrap=True, min_width=width, ratio=1 if width == 24 else None)
    if with_curve:
        table.add_column("", no_wrap=True, min_width=CURVE_COLUMNS)
    for name in (
        "rate\n/s", "items\n", "p50\nms", "p99\nms", "in\norder", "peers\nknown", "rtt\nms",
        "msgs\n/s",
    ):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for sensor in facts.sensors.values():
        table.add_row(*_row(facts, sensor, now=now, with_curve=with_curve))
    return table


def _row(
    facts: Facts, sensor: SensorFacts, *, now: float, with_curve: bool
) -> list[RenderableType]:
    state, tone = state_of(sensor)
    is_over = sensor.killed_at is not None or sensor.exit_code is not None
    style = "dim" if is_over else ""
    reading = describe(sensor.measure) if sensor.measure is not None else ""
    peer = sensor.node.peer
    rtt_s = facts.collector.rtt_s.get(peer) if peer else None
    cells: list[RenderableType] = [
        Text(sensor.name, style or "bold"),
        Text(peer[:PEER_DIGITS] if peer else "", style or "cyan"),
        Text(state, _TONES[tone]),
        Text(reading, style),
    ]
    if with_curve:
        cells.append(Text(curve(list(sensor.trend)[-CURVE_COLUMNS:]), style or "blue"))
    wrong = sensor.out_of_order_count
    figures = [
        (f"{sensor.rate(now=now):.0f}", style),
        (str(sensor.item_count), style),
        (milliseconds(sensor.latency_s(0.5)), style),
        (milliseconds(sensor.latency_s(0.99)), style),
        ("ok" if not wrong else f"{wrong} !", style if not wrong else "bold red"),
        ("" if is_over else str(len(sensor.node.knows)), style),
        ("" if is_over else milliseconds(rtt_s), style),
        ("" if is_over else f"{sensor.messages_per_s:.0f}", style),
    ]
    return cells + [Text(text, one) for text, one in figures]


def _collector(facts: Facts) -> Text:
    peer = facts.collector.peer
    if peer is None:
        return Text("collector: starting", "dim")
    total = sum(sensor.item_count for sensor in facts.sensors.values())
    line = Text("collector ", "bold", no_wrap=True, overflow="ellipsis")
    line.append(peer[:PEER_DIGITS], "cyan")
    line.append(f" · this process · knows {len(facts.collector.knows)} · {total} items received")
    line.append(f" · {len(facts.collector.latest)} in the shared map")
    return line


def _events(facts: Facts, *, rows: int) -> Group:
    newest = list(facts.events)[-rows:]
    blank = [Text() for _ in range(rows - len(newest))]
    return Group(*(_event(facts, event) for event in newest), *blank)


def _event(facts: Facts, event: Event) -> Text:
    line = Text(f"{event.at - facts.started_at:6.2f} s  ", "dim", no_wrap=True, overflow="ellipsis")
    line.append(event.text, _TONES[event.tone])
    return line


def _figures(facts: Facts) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("process", "peer"):
        table.add_column(name, no_wrap=True)
    for name in (
        "found all s", "first item s", "items", "ms p50", "ms p99", "out of order", "lost",
    ):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for row in figure_rows(facts):
        table.add_row(*row)
    return table


def figure_rows(facts: Facts) -> list[tuple[str, ...]]:
    """Return the rows of the summary as texts."""
    found_s = facts.all_found_s(facts.initial)
    if facts.replacement is not None:
        now_living = [*facts.survivors, facts.replacement]
        found_s[facts.replacement.name] = facts.all_found_s(now_living)[facts.replacement.name]
    peer = facts.collector.peer or ""
    rows: list[tuple[str, ...]] = [
        ("collector", peer[:PEER_DIGITS], moment(found_s["collector"]), "", "", "", "", "", "")
    ]
    for one in facts.sensors.values():
        name = f"{one.name} (killed)" if one.killed_at is not None else one.name
        first_at = one.first_item_at
        rows.append(
            (
                name,
                (one.node.peer or "")[:PEER_DIGITS],
                moment(found_s[one.name]),
                moment(None if first_at is None else first_at - one.node.started_at),
                str(one.item_count),
                milliseconds(one.latency_s(0.5)),
                milliseconds(one.latency_s(0.99)),
                str(one.out_of_order_count),
                str(one.lost_count),
            )
        )
    return rows


def _claims(claims: Sequence[CheckedClaim]) -> Group:
    lines = []
    for claim in claims:
        line = Text("✔ " if claim.holds else "✘ ", "green" if claim.holds else "bold red")
        line.append(claim.text, "" if claim.holds else "bold red")
        line.append(f"  {claim.detail}", "dim" if claim.holds else "red")
        lines.append(line)
    return Group(*lines)
