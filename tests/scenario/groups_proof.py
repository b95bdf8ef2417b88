"""The proof of groups as a table: many seeds of each chaos scenario, and what happened in them.

``python -m tests.scenario.groups_proof 500`` runs seeds 0 to 499 of each, on all
cores, and prints the table of `docs/groups_proof.md`. It exits with 1 if a seed failed.

With ``--variants a b`` all seeds run once for each name: the machines have another
signature then, so the group another id, and every draw another outcome. Seeds of one
variant show what a whole class of moments does; other variants have other moments.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Sequence

from mosaik_actors.testing.chaos import load_scenario

from .groups_chaos import TALLY
from .groups_machines import take_variant

PLACE = "tests/scenario/test_groups_chaos.py"
SCENARIOS = (
    "test_members_in_memory",
    "test_durable_members",
    "test_histories_that_merge_in_memory",
    "test_histories_that_merge_durably",
    "test_observers_that_are_left",
    "test_durable_members_over_real_quic",
)
FAULT_NAMES = {
    "one_way": "one-way cuts",
    "partition": "partitions",
    "pause": "pauses",
    "skew": "clock jumps and drifts",
    "weather": "spells of loss and delay",
    "crash": "crashes",
    "full_disk": "full disks",
    "slow_disk": "slow disks",
    "stop": "stops",
}
SEEDS_PER_TASK = 10


def run_some(task: tuple[str, int, int, str]) -> tuple[str, Counter[str], list[str]]:
    """Run some seeds of a scenario in one variant; return what happened, and what failed."""
    name, first, end, variant = task
    logging.disable(logging.CRITICAL)
    if variant:
        take_variant(variant)
    scenario = load_scenario(f"{PLACE}::{name}")
    counts: Counter[str] = Counter()
    failed = []
    TALLY.clear()
    for seed in range(first, end):
        report = scenario.run(seed)
        counts["seeds"] += 1
        counts["simulated ms"] += round(report.simulated_s * 1000)
        counts.update(f"fault: {fault.kind}" for fault in report.faults)
        if report.error is not None:
            text = " ".join(f"{type(report.error).__name__}: {report.error}".split())
            which = f" (variant {variant})" if variant else ""
            failed.append(f"{scenario.replay_command(seed)}{which}\n  {text[:300]}")
    counts.update(TALLY)
    return name, counts, failed


def table(found: dict[str, Counter[str]], failed: dict[str, list[str]]) -> str:
    """Return the table and the sentence below it, as Markdown."""
    lines = [
        "| scenario | seeds | simulated s | faults and churn | acknowledged writes | strong reads "
        "| histories | failed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in SCENARIOS:
        counts = found[name]
        churn = sum(
            number
            for kind, number in counts.items()
            if kind.startswith("churn: ") and kind != "churn: not safe"
        )
        faults = sum(number for kind, number in counts.items() if kind.startswith("fault: "))
        cells = [
            counts["seeds"],
            counts["simulated ms"] // 1000,
            faults + churn,
            counts["writes acknowledged"],
            counts["reads answered"],
            counts["histories"],
            len(failed[name]),
        ]
        title = name.removeprefix("test_").replace("_", " ")
        lines.append(" | ".join([f"| {title}", *(f"{cell:,}" for cell in cells)]) + " |")
    total = sum(found.values(), Counter[str]())
    kinds = [f"{total[f'fault: {kind}']:,} {text}" for kind, text in FAULT_NAMES.items()]
    return "\n".join([*lines, "", f"The faults: {', '.join(kinds)}."])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds, show how far it is, print the table; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.scenario.groups_proof", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("seeds", type=int, nargs="?", default=500, help="of each scenario")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--variants", nargs="*", default=[""], metavar="NAME")
    parser.add_argument("--scenarios", nargs="*", choices=SCENARIOS, default=SCENARIOS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    end = options.first + options.seeds
    tasks = [
        (name, first, min(first + SEEDS_PER_TASK, end), variant)
        for variant in options.variants
        for first in range(options.first, end, SEEDS_PER_TASK)
        for name in options.scenarios
    ]
    found: dict[str, Counter[str]] = {name: Counter() for name in SCENARIOS}
    failed: dict[str, list[str]] = {name: [] for name in SCENARIOS}
    # A new process for each task: a variant is for good.
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.jobs, maxtasksperchild=1) as pool:
        for number, (name, counts, errors) in enumerate(pool.imap_unordered(run_some, tasks), 1):
            found[name] += counts
            failed[name] += errors
            print(f"\r{number} of {len(tasks)}", end="", file=sys.stderr, flush=True)  # noqa: T201
            for error in errors:
                print(f"\n{error}", file=sys.stderr)  # noqa: T201
    print(file=sys.stderr)  # noqa: T201
    print(table(found, failed))  # noqa: T201
    return 1 if any(failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
