"""``mosaik-actors chaos``: a scenario with many seeds, each with faults of its own.

Runs seeds in several processes until one fails or all went well. The fault
schedule of the first seed that fails is made as small as possible; the command
that runs the small one again is printed with what happened before the failure.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from ..errors import ConfigError
from . import joining

if TYPE_CHECKING:
    from ..testing.chaos import SeedOutcome
    from . import Subparsers

SEEDS = 100
JOBS = 2
BAR_CHARACTERS = 30
PLAIN_INTERVAL_S = 5.0

_EPILOG = """\
examples:
  mosaik-actors chaos tests/test_shop.py::test_orders_survive --seeds 500
  mosaik-actors chaos shop.scenarios:orders_survive --seeds 100 --jobs 4
  mosaik-actors chaos shop.scenarios:orders_survive --seed 17
  mosaik-actors chaos shop.scenarios:orders_survive --seed 17 --faults 2,5

A scenario is a test made with @mosaik_actors.testing.scenario(...).
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "chaos",
        help="run a scenario with many seeds and shrink what fails",
        description="Run a simulated scenario with many seeds; make the first failure small.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", help="path/to/file.py::function, or module:function")
    parser.add_argument(
        "--seeds", type=joining.positive(int), default=SEEDS, help=f"how many (default: {SEEDS})"
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument(
        "--jobs", type=joining.positive(int), default=JOBS, help=f"processes (default: {JOBS})"
    )
    parser.add_argument("--seed", type=int, help="run this seed only, in this process")
    parser.add_argument(
        "--faults", help="with --seed: only the faults of these numbers, as in 2,5; or none"
    )
    parser.add_argument(
        "--keep-going", action="store_true", help="run all seeds, also after a failure"
    )
    parser.add_argument(
        "--no-shrink", action="store_true", help="leave the failing fault schedule as it is"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the scenario and return 1 when a seed failed."""
    if options.seed is not None:
        return _run_one(options)
    if options.faults is not None:
        raise ConfigError("--faults goes with --seed: the numbers are those of one seed's faults")
    return _run_many(options)


def _run_one(options: argparse.Namespace) -> int:
    from ..testing.chaos import load_scenario, run_seed

    made = load_scenario(options.scenario)
    numbers = _parse_numbers(options.faults)
    schedule = made.schedule(options.seed)
    chosen = schedule if numbers is None else schedule.only(numbers)
    print(f"seed {options.seed}: {made.describe()}")
    print(chosen)
    outcome = run_seed(options.scenario, options.seed, None if numbers is None else chosen.numbers)
    print(
        f"{outcome.simulated_s:.1f} simulated seconds in {outcome.real_s:.2f} s, "
        f"{outcome.fault_count} faults, {outcome.call_count} calls, trace {outcome.digest[:16]}"
    )
    if outcome.error is None:
        print("ok")
        return 0
    print(outcome.explanation)
    print(f"failed: {outcome.error}")
    return 1


def _run_many(options: argparse.Namespace) -> int:
    from ..testing.chaos import load_scenario, run_seeds

    made = load_scenario(options.scenario)
    print(f"{made.target}: {options.seeds} seeds from {options.first} on, {made.describe()}")
    seeds = range(options.first, options.first + options.seeds)
    progress = _Progress(options.seeds)
    failed: list[SeedOutcome] = []
    with closing(run_seeds(options.scenario, seeds, options.jobs)) as outcomes:
        for outcome in outcomes:
            progress.take(outcome)
            if outcome.error is not None:
                failed.append(outcome)
                if not options.keep_going:
                    break
    progress.end()
    if not failed:
        return 0
    first = min(failed, key=lambda outcome: outcome.seed)
    print(f"failed: {_numbers(outcome.seed for outcome in failed)}")
    _show_failure(options, first)
    return 1


def _show_failure(options: argparse.Namespace, first: SeedOutcome) -> None:
    from ..testing.chaos import shrink_seed

    if options.no_shrink or not first.fault_count:
        print(first.explanation)
    else:
        print(f"shrinking the {first.fault_count} faults of seed {first.seed} ...", flush=True)
        small, again = shrink_seed(options.scenario, first.seed)
        print(f"these are enough:\n{small}")
        if again.error is not None:
            first = again
        print(first.explanation)
    print(f"failed: {first.error}")


class _Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = self._failed = self._faults = self._calls = 0
        self._simulated_s = 0.0
        self._started = self._shown_at = time.monotonic()
        self._is_terminal = sys.stdout.isatty()

    def take(self, outcome: SeedOutcome) -> None:
        """Count one seed and show it."""
        self._done += 1
        self._failed += outcome.error is not None
        self._faults += outcome.fault_count
        self._calls += outcome.call_count
        self._simulated_s += outcome.simulated_s
        now = time.monotonic()
        if self._is_terminal:
            print(f"\r{self._bar()} {self._text()}", end="", flush=True)
        elif now - self._shown_at >= PLAIN_INTERVAL_S:
            self._shown_at = now
            print(self._text(), flush=True)

    def end(self) -> None:
        """Show the figures of all."""
        if self._is_terminal:
            print()
        elapsed = time.monotonic() - self._started
        print(
            f"{self._done} seeds, {self._faults} faults, {self._calls} calls, "
            f"{self._simulated_s:,.0f} simulated seconds in {elapsed:.1f} s, "
            f"{self._failed} failed"
        )

    def _bar(self) -> str:
        filled = BAR_CHARACTERS * self._done // self._total
        return "[" + "#" * filled + "." * (BAR_CHARACTERS - filled) + "]"

    def _text(self) -> str:
        elapsed = max(1e-9, time.monotonic() - self._started)
        left = (self._total - self._done) * elapsed / max(1, self._done)
        return f"{self._done}/{self._total} seeds, {self._failed} failed, {left:.0f} s left  "


def _parse_numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    if text == "none":
        return []
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--faults is {text!r}, expected numbers such as 2,5, or none") from None


def _numbers(seeds: Iterable[int]) -> str:
    shown = sorted(seeds)
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return "seeds " + ", ".join(map(str, shown[:20])) + more
