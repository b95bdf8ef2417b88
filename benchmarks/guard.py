"""The guard: fails when a hot path has become slower, ``python -m benchmarks.guard``.

Each path of `guard_paths` is measured in five rounds. In a round it alternates with its own
baseline, three times, and the least of both counts; then the median of the five ratios. Both
are CPU times of this process, which a busy machine makes longer (caches and cores are shared)
and never shorter, and no figure is one of a machine. A path is too slow when its ratio is more
than `slower_max` times the recorded one. What all paths differ by, up to 6 % either way, is
taken for another kind of processor, and the bounds move with it: on a quicker one for us, too,
30 % of one path are seen. One that seems too slow is measured again, up to three times more,
with nodes and connections of their own (a connection that settled on a small congestion window
keeps it), and the least decides. One that has become much quicker is named, so that it is
recorded: until then a part of what it gained could be lost unseen.

The bounds are in ``benchmarks/guard.json``, for each version of Python. Who makes a path slower
on purpose, or quicker, records them anew (``--record``) and says so in the commit. With a
version for which there are none, nothing is decided.

Exit codes: 0 nothing is too slow, 1 something is, 2 the command line is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from .guard_paths import HotPath, Work, hot_paths

BOUNDS_FILE: Final = Path(__file__).with_name("guard.json")
ROUNDS: Final = 5
TURNS: Final = 3
REPEATS: Final = 3
RECORDED_RUNS: Final = 5
PATHS_MIN: Final = 5  # of fewer nobody can say whether the machine is another one
MACHINES_MAX: Final = 1.06  # times `slower_max` it is less than `SEEN`: all paths at once are seen
SEEN: Final = 1.3  # what has to be seen to be slower

Measure = Callable[[Collection[str]], Awaitable[dict[str, float]]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is still quick enough.

    Attributes:
        slower_max: How many times the recorded ratio a path may take.
        ratios: What was recorded, by the path's name.
    """

    slower_max: float
    ratios: Mapping[str, float]

    def find_slow(self, found: Mapping[str, float]) -> list[str]:
        """Return the paths whose ratio is too high, in their order; also those not recorded."""
        allowed = self.slower_max * self._difference_of_machines(found)
        return [
            name
            for name, ratio in found.items()
            if name not in self.ratios or ratio > self.ratios[name] * allowed
        ]

    def find_quick(self, found: Mapping[str, float]) -> list[str]:
        """Return the paths that have become so much quicker that `SEEN` would not be seen."""
        allowed = self.slower_max * self._difference_of_machines(found)
        return [
            name
            for name, ratio in found.items()
            if name in self.ratios and ratio * SEEN < self.ratios[name] * allowed
        ]

    def _difference_of_machines(self, found: Mapping[str, float]) -> float:
        """Return how many times the recorded ratios they are here, all in all, within bounds.

        On another kind of processor a baseline is quicker, or slower, than what it is for.
        """
        changes = [
            ratio / self.ratios[name] for name, ratio in found.items() if name in self.ratios
        ]
        if len(changes) < PATHS_MIN:
            return 1.0
        return min(MACHINES_MAX, max(1 / MACHINES_MAX, median(changes)))


def load_bounds(text: str, python: str) -> Bounds | None:
    """Return the bounds for a version of Python in a file's text; None without any."""
    stored = json.loads(text)
    ratios = stored["ratios"].get(python)
    return None if ratios is None else Bounds(stored["slower_max"], ratios)


def with_bounds(text: str, python: str, ratios: Mapping[str, float]) -> str:
    """Return a file's text with other bounds for a version of Python."""
    stored = json.loads(text)
    stored["ratios"][python] = {name: round(ratio, 3) for name, ratio in ratios.items()}
    return json.dumps(stored, indent=2) + "\n"


async def find_ratios(names: Collection[str], bounds: Bounds, measure: Measure) -> dict[str, float]:
    """Return the ratio of each path, of one that seemed slow the least of several measurements."""
    found = await measure(names)
    for _ in range(REPEATS):
        if not (slow := bounds.find_slow(found)):
            break
        for name, ratio in (await measure(slow)).items():
            found[name] = min(found[name], ratio)
    return found


async def measure_rounds(path: HotPath) -> list[float]:
    """Return how many times the CPU of its baseline a path takes, for each of five rounds."""
    gc.collect()
    gc.disable()  # a collection falls into whichever of the two is running
    try:
        return [await _measure_round(path) for _ in range(ROUNDS)]
    finally:
        gc.enable()


async def _measure_round(path: HotPath) -> float:
    ours, bare = [], []
    for _ in range(TURNS):
        begun = time.process_time()
        await path.baseline()
        between = time.process_time()
        await path.work()
        bare.append(between - begun)
        ours.append(time.process_time() - between)
    return min(ours) / min(bare)


def slowed(work: Work, share: float) -> Work:
    """Return `work` with a share more of CPU, to see that the guard sees it."""

    async def slow() -> None:
        begun = time.process_time()
        await work()
        end_at = begun + (time.process_time() - begun) * (1 + share)
        while time.process_time() < end_at:
            pass

    return slow


def table(found: Mapping[str, float], bounds: Bounds) -> str:
    """Return one line for each path."""
    slow = set(bounds.find_slow(found))
    width = max(map(len, found))
    lines = [f"{'hot path':<{width}}   ratio  recorded  change"]
    for name, ratio in found.items():
        recorded = bounds.ratios.get(name)
        told = "no bound" if recorded is None else f"{(ratio / recorded - 1) * 100:+.0f} %"
        shown = "" if recorded is None else f"{recorded:.3f}"
        verdict = "  TOO SLOW" if name in slow else ""
        lines.append(f"{name:<{width}}  {ratio:6.3f}  {shown:>8}  {told:>6}{verdict}")
    return "\n".join(lines)


async def _measure(names: Collection[str], planted: float, where: str) -> dict[str, float]:
    """Return the ratio of each path, or of those named, on nodes started for it."""
    async with hot_paths() as all_paths:
        paths = {name: path for name, path in all_paths.items() if not names or name in names}
        for path in paths.values():
            await path.work()  # once to warm up
            await path.baseline()
        return {
            name: median(
                await measure_rounds(
                    HotPath(slowed(path.work, planted), path.baseline)
                    if planted and where in name
                    else path
                )
            )
            for name, path in paths.items()
        }


async def _guard(bounds: Bounds, planted: float, where: str) -> dict[str, float]:
    return await find_ratios((), bounds, lambda names: _measure(names, planted, where))


async def _record() -> dict[str, float]:
    runs = [await _measure((), 0.0, "") for _ in range(RECORDED_RUNS)]
    return {name: median(run[name] for run in runs) for name in runs[0]}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the bounds of this Python")
    parser.add_argument(
        "--slow",
        metavar="PERCENT",
        type=float,
        default=0.0,
        help="make paths slower by so much, to see the guard fail",
    )
    parser.add_argument(
        "--path", metavar="TEXT", default="", help="only those that have this in their name"
    )
    options = parser.parse_args(arguments)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = BOUNDS_FILE.read_text()
    if options.record:
        BOUNDS_FILE.write_text(with_bounds(text, python, asyncio.run(_record())))
        return 0
    bounds = load_bounds(text, python)
    if bounds is None:
        print(f"no bounds are recorded for Python {python}, so nothing is decided (--record)")
        return 0
    found = asyncio.run(_guard(bounds, options.slow / 100, options.path))
    print(table(found, bounds))
    slow = bounds.find_slow(found)
    if quick := bounds.find_quick(found):
        print(f"\nquicker than recorded, so record it: {', '.join(quick)}")
    if slow:
        limit = (bounds.slower_max - 1) * 100
        print(
            f"\nmore than {limit:.0f} % slower than recorded: {', '.join(slow)}. "
            "Make it quicker, or record it and say why: python -m benchmarks.guard --record"
        )
    return 1 if slow else 0


if __name__ == "__main__":
    logging.getLogger("mosaik_actors").setLevel(logging.ERROR)  # long batches hold the loop
    sys.exit(main())
