"""All figures in one run: ``python -m benchmarks [--quick] [name ...]``.

Each run is added to a history (`history`), and shown beside the median of the last five.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

from . import history
from .report import Row, print_table

BENCHMARKS = (
    "runtime",
    "actors",
    "transport",
    "carriers",
    "relay",
    "round_trip",
    "large_item",
    "streams",
    "stream_rivals",
    "discovery",
    "storage",
    "groups",
    "group_rivals",
    "collections",
    "linearizability",
    "simulation",
    "scale",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen benchmarks; with ``--strict`` return 1 when a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="tiny inputs: shows only that it runs")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a bar is missed")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write this run there, as JSON")
    parser.add_argument(
        "--history",
        metavar="FILE",
        type=Path,
        default=history.HISTORY_FILE,
        help="where earlier runs are kept, a line of JSON each (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    rows: list[Row] = []
    for name in options.names or BENCHMARKS:
        started = time.monotonic()
        print(f"{name} ...", end=" ", flush=True)
        found: list[Row] = importlib.import_module(f"benchmarks.{name}").run(quick=options.quick)
        print(f"{time.monotonic() - started:.0f} s")
        rows += found
    print()
    print_table(rows, history.earlier(history.read(options.history), quick=options.quick))
    run = history.describe_run(rows, quick=options.quick)
    history.append(options.history, run)
    if options.json is not None:
        options.json.write_text(json.dumps(run, indent=2) + "\n")
    missed = [row.name for row in rows if row.ok is False]
    if missed:
        print(f"\nmissed: {', '.join(missed)}")
    return 1 if missed and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
