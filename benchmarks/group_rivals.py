"""What users would pick instead of groups, by turns with ours: PySyncObj and etcd.

Three members in processes of their own on loopback. Commands are issued at the leader: for ours
and PySyncObj in the leader's own process, for etcd by a client of it. Each is awaited by itself.
A turn starts each group anew, and the median of the turns counts.

What is not installed is left out, and the report says so: ``pysyncobj`` and ``aetcd`` are looked
for in the environment, ``etcd`` beside this Python or on the path.
"""

from __future__ import annotations

import functools
import importlib.util
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from . import etcd_group, groups, pysyncobj_group
from .pysyncobj_group import AT_ONCE, DEFAULTS, ENCRYPTED, MEMBERS, TUNED
from .report import Row
from .stream_rivals import find_program

TURNS = 3
IN_FLIGHT = (256, 4096)
FIGURES = {
    **{str(many): f"commands, {many:,} in flight" for many in IN_FLIGHT},
    "alone_us": "one at a time",
}

Measure = Callable[[int], dict[str, float]]  # with counts divided by so many: figures by name


@dataclass(slots=True)
class Contender:
    """One of those that take turns, what of ours it is beside, and what was found of it."""

    name: str
    measure: Measure
    beside: str = ""
    found: dict[str, list[float]] = field(default_factory=dict)

    def median(self, figure: str) -> float | None:
        """Return the median of a figure, or None without one."""
        values = self.found.get(figure)
        return median(values) if values else None


def run(quick: bool) -> list[Row]:
    """Measure each one that is installed, and ours between them."""
    found = measure(quick=quick)
    ours = {one.name: one for one in found}
    rows = []
    for one in found:
        for figure, what in FIGURES.items() if one.beside else ():
            value, baseline = ours[one.beside].median(figure), one.median(figure)
            if value is not None and baseline is not None:
                unit = "us" if figure == "alone_us" else "commands/s"
                rows.append(Row(f"groups: {what}, vs {one.name}", value, unit, baseline, one.name))
    return rows


def measure(*, quick: bool) -> list[Contender]:
    """Measure ours and who is installed, by turns; return all with their figures."""
    contenders = list(_contenders())
    for _ in range(1 if quick else TURNS):
        for one in contenders:
            for figure, value in one.measure(100 if quick else 1).items():
                one.found.setdefault(figure, []).append(value)
    return contenders


def _contenders() -> Iterator[Contender]:
    """Yield those to measure: ours when there is one to compare it with."""
    rivals: list[Contender] = []
    for name, module, program, made in (
        ("PySyncObj", "pysyncobj", None, _pysyncobj),
        ("etcd", "aetcd", "etcd", _etcd),
    ):
        missing = "" if importlib.util.find_spec(module) else module
        if not missing and program is not None and find_program(program) is None:
            missing = program
        if missing:
            print(f"[{name}: {missing} is not installed]", end=" ", flush=True)
        else:
            rivals += made()
    for is_durable, name in ((False, "ours, in memory"), (True, "ours, durable")):
        beside = [one for one in rivals if one.beside == name]
        if beside:
            yield Contender(name, functools.partial(_measure_ours, is_durable))
            yield from beside


def _pysyncobj() -> Iterator[Contender]:
    for name, settings, count in (
        ("default settings", DEFAULTS, 5_000),
        ("best settings", TUNED, 20_000),
        ("best settings, encrypted", ENCRYPTED, 20_000),
    ):
        measured = functools.partial(_measure_pysyncobj, settings, count)
        yield Contender(f"PySyncObj, {name}", measured, "ours, in memory")


def _etcd() -> Iterator[Contender]:
    for is_durable, name, beside in (
        (False, "etcd, without syncs", "ours, in memory"),
        (True, "etcd", "ours, durable"),
    ):
        yield Contender(name, functools.partial(_measure_etcd, is_durable), beside)


def _measure_ours(is_durable: bool, scale: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as name,
        groups.running_group(MEMBERS, Path(name) if is_durable else None) as group,
    ):
        leader, _ = group.split()
        for many in IN_FLIGHT:
            leader.ask("load", count=2_000 // scale, in_flight=many)  # to warm up
            count = 20_000 // scale
            found[str(many)] = leader.ask("load", count=count, in_flight=many)["per_s"]
        found["alone_us"] = leader.ask("one_by_one", count=1_000 // scale)["median_ms"] * 1e3
    return found


def _measure_pysyncobj(settings: dict[str, object], count: int, scale: int) -> dict[str, float]:
    found = {
        str(many): pysyncobj_group.measure(settings, count // scale, many)["per_s"]
        for many in IN_FLIGHT
    }
    if settings is TUNED:  # what is best for many is not for one
        alone = pysyncobj_group.measure(AT_ONCE, 1_000 // scale, 1)
        found["alone_us"] = alone["median_us"]
    return found


def _measure_etcd(is_durable: bool, scale: int) -> dict[str, float]:
    program = find_program("etcd") or "etcd"
    counts = dict.fromkeys(IN_FLIGHT, 6_000 // scale)
    return etcd_group.measure(program, is_durable=is_durable, counts=counts, alone=300 // scale)


def table(found: Iterable[Contender]) -> list[str]:
    """Return what was found as the lines of a table."""
    lines = [f"| | {' | '.join(FIGURES.values())} |", "| --- | ---: | ---: | ---: |"]
    for one in found:
        cells = [one.name]
        for figure in FIGURES:
            value = one.median(figure)
            unit = " us" if figure == "alone_us" else "/s"
            cells.append("" if value is None else f"{value:,.0f}{unit}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines
