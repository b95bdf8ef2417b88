"""The figures of ``docs/performance.md``: ``python -m benchmarks.page [--quick] [section ...]``.

Each section of the page between ``<!-- measured: NAME -->`` and ``<!-- end -->`` is measured anew
and written in its place, with its plots beside the page. The text around stays as it is.
Without names, all sections are. What ``--quick`` finds is printed, and the page stays.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from . import (
    carriers,
    group_rivals,
    groups,
    large_item,
    relay,
    round_trip,
    scale,
    stream_rivals,
    streams,
)
from .plot import Chart, Series, shown
from .report import Row

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
PLOTS = "performance"
_END = "<!-- end -->"
SIZES = (100, 1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000)
CONSUMERS = (1, 2, 4, 8, 16)
MEMBERS = (1, 3, 5)
IN_FLIGHT = (1, 16, 256, 4096)
STARTED, SIMULATED = (20, 80, 300), (50, 100, 200, 400)

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


def measure_large_item(quick: bool, folder: Path) -> list[str]:
    """Return the table of what an item of 64 KiB costs both ends."""
    found = large_item.measure(quick=quick)
    lines = ["| | CPU |", "| --- | ---: |"]
    return [*lines, *(f"| {name} | {cpu_us:,.0f} us |" for name, cpu_us in found.items())]


def measure_sizes(quick: bool, folder: Path) -> list[str]:
    """Return the plots of throughput against the size of items."""
    sizes = SIZES[:3] if quick else SIZES
    found: list[Series] = []
    with carriers.folder():
        for carrier in carriers.CARRIERS:
            points = []
            for size in sizes:
                count = max(200, min(100_000, (20_000 if quick else 150_000_000) // size))
                points.append((float(size), carriers.large_rate(carrier, size, count)))
            found.append(Series(carriers.NAMES[carrier].partition(",")[0], points))
    items = [
        Series(one.name, [(size, rate * 1e6 / size) for size, rate in one.points]) for one in found
    ]
    return [
        _write(folder, name, Chart(f"{what} against the size of items", of, unit, series, True))
        for name, what, of, unit, series in (
            ("sizes", "Bytes a second", "bytes of an item", "MB/s", found),
            ("size_items", "Items a second", "bytes of an item", "items/s", items),
        )
    ]


def measure_consumers(quick: bool, folder: Path) -> list[str]:
    """Return the plots of rates, and of the CPU of both sides, against the number of consumers."""
    count = 5_000 if quick else 200_000
    costs: list[Series] = []
    rates: list[Series] = []
    with carriers.folder():
        for carrier in carriers.CARRIERS:
            cost, rate = [], []
            for number in CONSUMERS[:2] if quick else CONSUMERS:
                options = {"carrier": carrier, "consumers": number, "count": count // number}
                pair = streams._pair(streams._consume_each, streams._produce_each, options)
                cost.append((float(number), (pair["producer_ns"] + pair["consumer_ns"]) / 1e3))
                rate.append((float(number), pair["rate"]))
            name = carriers.NAMES[carrier].partition(",")[0]
            costs.append(Series(name, cost))
            rates.append(Series(name, rate))
    of = "consumers of one producer"
    cpu = Chart("CPU for each item that is delivered, both sides", of, "microseconds", costs)
    items = Chart("Items delivered a second, to all consumers together", of, "items/s", rates)
    return [_write(folder, "consumers", cpu), _write(folder, "consumer_items", items)]


def measure_groups(quick: bool, folder: Path) -> list[str]:
    """Return the plots of commits against what is in flight, and against the members."""
    found: list[Series] = []
    by_members: dict[int, list[tuple[float, float]]] = {}
    for members in MEMBERS[:2] if quick else MEMBERS:
        points = []
        with groups.running_group(members) as group:
            for many in IN_FLIGHT[:3] if quick else IN_FLIGHT:
                count = (500 if quick else 20_000) if many > 1 else 200
                rate = groups.best_rate(group, count, many)
                points.append((float(many), rate))
                by_members.setdefault(many, []).append((float(members), rate))
        found.append(Series(f"{members} member{'s' if members > 1 else ''}", points))
    title = "Commands a second, in memory, each with its own answer"
    in_flight = [Series(f"{many:,} in flight", points) for many, points in by_members.items()]
    return [
        _write(folder, "groups", Chart(title, "in flight at the leader", "commits/s", found, True)),
        _write(folder, "group_members", Chart(title, "members", "commits/s", in_flight, True)),
    ]


def measure_growth(quick: bool, folder: Path) -> list[str]:
    """Return the plot of what nodes cost that start at once, and the table of the most of them."""
    started, simulated = (STARTED[:1], SIMULATED[:1]) if quick else (STARTED, SIMULATED)
    starts = [scale.measure_start(count) for count in started]
    simulations = [scale.measure_simulation(count) for count in simulated]
    found = [
        Series(name, [(float(count), _cpu_s(rows)) for count, rows in zip(counts, of, strict=True)])
        for name, counts, of in (
            ("on one host", started, starts),
            ("simulated", simulated, simulations),
        )
    ]
    chart = Chart("Nodes that start at once, until all know all", "nodes", "CPU s", found, True)
    return [_write(folder, "growth", chart), "", *_table([*starts[-1], *simulations[-1]])]


def _cpu_s(rows: Iterable[Row]) -> float:
    [cpu_ms] = [row.value for row in rows if row.unit == "CPU ms"]
    return cpu_ms / 1e3


def measure_node(quick: bool, folder: Path) -> list[str]:
    """Return the table of what a node costs."""
    rows = [*scale.measure_up(2 if quick else 10)]
    if not quick:
        rows += [*scale.measure_start(80), scale.measure_idle(33), scale.measure_open(1_000_000)]
    return _table(rows)


def measure_members(quick: bool, folder: Path) -> list[str]:
    """Return the table of what an idle group costs each of its members."""
    return _table(scale.measure_members(scale.MEMBERS[:1] if quick else scale.MEMBERS))


def measure_commits(quick: bool, folder: Path) -> list[str]:
    """Return the table of what a command costs all members together."""
    return _table(scale.measure_commits(scale.COMMITTING[:1] if quick else scale.COMMITTING))


SECTIONS: dict[str, Section] = {
    "carriers": measure_carriers,
    "relay": measure_relay,
    "round_trip": measure_round_trip,
    "large_item": measure_large_item,
    "sizes": measure_sizes,
    "consumers": measure_consumers,
    "groups": measure_groups,
    "node": measure_node,
    "members": measure_members,
    "commits": measure_commits,
    "growth": measure_growth,
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


def _begin(name: str) -> str:
    return f"<!-- measured: {name} -->"


def section_of(page: Path, name: str) -> str:
    """Return a section of a page, with its marks."""
    pattern = rf"{re.escape(_begin(name))}\n.*?{re.escape(_END)}"
    if found := re.search(pattern, page.read_text(), re.DOTALL):
        return found[0]
    raise SystemExit(f"{page.name} has no section {name!r}")


def update(page: Path, names: Iterable[str], *, quick: bool) -> None:
    """Measure sections of a page, and write them into it."""
    for name in names:
        section_of(page, name)  # refused here, not after it was measured
        started, machine = time.monotonic(), describe_machine()
        print(f"{name} ...", end=" ", flush=True)
        lines = SECTIONS[name](quick, page.parent)
        print(f"{time.monotonic() - started:.0f} s")
        if not lines:
            print(f"{name} stays as it was: there is nothing to measure")
            continue
        section = "\n".join([_begin(name), machine, "", *lines, _END])
        # Read again, as who writes the page does not wait for a measurement.
        page.write_text(page.read_text().replace(section_of(page, name), section))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="tiny inputs: shows only that it runs")
    parser.add_argument(
        "--page",
        type=Path,
        help="the page to write into (default: docs/performance.md; "
        "with --quick a copy, which is printed)",
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    names = options.names or SECTIONS
    if options.page is not None or not options.quick:
        update(options.page or PAGE, names, quick=options.quick)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(PAGE, folder))
        update(copy, names, quick=True)
        print(*(section_of(copy, name) for name in names), sep="\n\n")
    print(f"\n{PAGE.name} stays as it was: figures of tiny inputs show only that it runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
