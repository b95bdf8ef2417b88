"""The figures of ``docs/performance.md``: ``python -m benchmarks.page [--quick] [section ...]``.

Each section of the page between ``<!-- measured: NAME -->`` and ``<!-- end -->`` is measured anew
and written in its place, with its plots beside the page. The text around stays as it is.
Without names, all sections are.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from . import carriers, group_rivals, groups, relay, round_trip, scale, stream_rivals, streams
from .plot import Chart, Series, shown
from .report import Row

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
PLOTS = "performance"
SIZES = (100, 1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000)
CONSUMERS = (1, 2, 4, 8, 16)
MEMBERS = (1, 3, 5)
IN_FLIGHT = (1, 16, 256, 4096)

Section = Callable[[bool, Path], list[str]]


def measure_carriers(quick: bool, folder: Path) -> list[str]:
    """Return the table of carriers, each with its bare side."""
    lines = [
        "| | items/s, `send` | items/s, `send_many` | MB/s, 64 KiB items | round trip |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    with carriers.folder():
        for carrier in carriers.CARRIERS:
            ours, bare = carriers.measure(carrier, rounds=1 if quick else 3, quick=quick)
            lines.append(
                f"| {carriers.NAMES[carrier]} | {shown(ours['plain'])} | {shown(ours['many'])} "
                f"| {ours['large']:,.0f} | {ours['trip']:,.0f} us |"
            )
            if bare:
                lines.append(
                    f"| {carriers.BARE[carrier]} | | {shown(bare['many'])} "
                    f"| {bare['large']:,.0f} | {bare['trip']:,.0f} us |"
                )
    return lines


def measure_rivals(quick: bool, folder: Path) -> list[str]:
    """Return the table of what else is installed, beside ours; nothing when nothing is."""
    found = stream_rivals.measure(quick=quick)
    return stream_rivals.table(found) if found else []


def measure_group_rivals(quick: bool, folder: Path) -> list[str]:
    """Return the table of what else keeps a group, beside ours; nothing when nothing does."""
    found = group_rivals.measure(quick=quick)
    return group_rivals.table(found) if found else []


def measure_relay(quick: bool, folder: Path) -> list[str]:
    """Return the table of what goes through a loaded relay, and directly."""
    idle, pairs = (4, 2) if quick else (relay.IDLE_PEERS, relay.PAIRS)
    found = relay.measure(idle, pairs, rounds=1 if quick else 3, seconds=0.2 if quick else 3.0)
    lines = [
        f"| {pairs} pairs, {idle} idle peers at the relay | MB/s | CPU of all, a MB "
        "| of the relay | of the busiest process | slowest pair, of an average one |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for way, name in relay.WAYS.items():
        load = found[way]
        share = f"{100 * load.slowest_share:.0f} %"
        of_relay = f"{load.relay_cpu_ms:.1f} ms" if way == "relay" else ""
        lines.append(
            f"| {name} | {load.mb_per_s:,.0f} | {load.cpu_ms:.1f} ms | {of_relay} "
            f"| {load.busiest_cpu_ms:.1f} ms | {share} |"
        )
    return lines


def measure_round_trip(quick: bool, folder: Path) -> list[str]:
    """Return the table of what a round trip is made of."""
    names = {"unix": "Unix socket", "tcp": "TLS over TCP", "bare": "bare Unix socket"}
    found = [round_trip.measure(carrier, quick=quick) for carrier in names]
    lines = [f"| | {' | '.join(names.values())} |", "| --- | ---: | ---: | ---: |"]
    for what in found[0]:
        unit = " us" if what == "CPU" else ""
        name = "CPU, both ends in one process" if unit else what
        values = [one[what] for one in found]
        shown_values = [f"{value:.0f}" if value >= 10 else f"{value:.1f}" for value in values]
        lines.append(f"| {name} | {' | '.join(value + unit for value in shown_values)} |")
    return lines


def measure_sizes(quick: bool, folder: Path) -> list[str]:
    """Return the plot of throughput against the size of items."""
    sizes = SIZES[:3] if quick else SIZES
    found: list[Series] = []
    with carriers.folder():
        for carrier in carriers.CARRIERS:
            points = []
            for size in sizes:
                count = max(200, min(100_000, (20_000 if quick else 150_000_000) // size))
                points.append((float(size), carriers.large_rate(carrier, size, count)))
            found.append(Series(carriers.NAMES[carrier].partition(",")[0], points))
    chart = Chart(
        "Bytes a second against the size of items", "bytes of an item", "MB/s", found, True
    )
    return [_write(folder, "sizes", chart)]


def measure_consumers(quick: bool, folder: Path) -> list[str]:
    """Return the plot of the CPU of both sides against the number of consumers."""
    count = 5_000 if quick else 200_000
    found: list[Series] = []
    with carriers.folder():
        for carrier in carriers.CARRIERS:
            points = []
            for number in CONSUMERS[:2] if quick else CONSUMERS:
                options = {"carrier": carrier, "consumers": number, "count": count // number}
                pair = streams._pair(streams._consume_each, streams._produce_each, options)
                points.append((float(number), (pair["producer_ns"] + pair["consumer_ns"]) / 1e3))
            found.append(Series(carriers.NAMES[carrier].partition(",")[0], points))
    chart = Chart(
        "CPU for each item that is delivered, both sides",
        "consumers of one producer",
        "microseconds",
        found,
    )
    return [_write(folder, "consumers", chart)]


def measure_groups(quick: bool, folder: Path) -> list[str]:
    """Return the plot of commits against what is in flight, for groups of several sizes."""
    found: list[Series] = []
    for members in MEMBERS[:2] if quick else MEMBERS:
        points = []
        with groups.running_group(members) as group:
            for many in IN_FLIGHT[:3] if quick else IN_FLIGHT:
                count = (500 if quick else 20_000) if many > 1 else 200
                points.append((float(many), groups.best_rate(group, count, many)))
        found.append(Series(f"{members} member{'s' if members > 1 else ''}", points))
    chart = Chart(
        "Commands a second, in memory, each with its own answer",
        "in flight at the leader",
        "commits/s",
        found,
        True,
    )
    return [_write(folder, "groups", chart)]


def measure_node(quick: bool, folder: Path) -> list[str]:
    """Return the table of what a node costs."""
    rows = [*scale.measure_up(2 if quick else 10)]
    if not quick:
        rows += [*scale.measure_start(80), scale.measure_idle(33), scale.measure_open(1_000_000)]
    return _table(rows)


SECTIONS: dict[str, Section] = {
    "carriers": measure_carriers,
    "relay": measure_relay,
    "round_trip": measure_round_trip,
    "sizes": measure_sizes,
    "consumers": measure_consumers,
    "groups": measure_groups,
    "node": measure_node,
    "rivals": measure_rivals,
    "group_rivals": measure_group_rivals,
}


def _table(rows: Iterable[Row]) -> list[str]:
    lines = ["| | |", "| --- | ---: |"]
    for row in rows:
        value = f"{row.value:,.0f}" if row.value >= 100 else f"{row.value:.3g}"
        lines.append(f"| {row.name.partition(' (')[0]} | {value} {row.unit} |")
    return lines


def _write(folder: Path, name: str, chart: Chart) -> str:
    (folder / PLOTS).mkdir(exist_ok=True)
    (folder / PLOTS / f"{name}.svg").write_text(chart.draw())
    return f"![{chart.title}]({PLOTS}/{name}.svg)"


def describe_machine() -> str:
    """Return what was measured on, and when."""
    load = os.getloadavg()[0]
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, load {load:.1f} before it began."
    )


def update(page: Path, names: Iterable[str], *, quick: bool) -> None:
    """Measure sections of a page, and write them into it."""
    text = page.read_text()
    for name in names:
        begin, end = f"<!-- measured: {name} -->", "<!-- end -->"
        pattern = re.compile(rf"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"{page.name} has no section {name!r}")
        started, machine = time.monotonic(), describe_machine()
        print(f"{name} ...", end=" ", flush=True)
        lines = SECTIONS[name](quick, page.parent)
        print(f"{time.monotonic() - started:.0f} s")
        if not lines:
            print(f"{name} stays as it was: there is nothing to measure")
            continue
        body = "\n".join([machine, "", *lines])
        section = f"{begin}\n{body}\n{end}"
        text = pattern.sub(lambda _match, section=section: section, text)  # type: ignore[misc]
        page.write_text(text)


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="tiny inputs: shows only that it runs")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write into")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    update(options.page, options.names or SECTIONS, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
