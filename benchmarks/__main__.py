"""All figures in one run: ``python -m benchmarks [--quick] [name ...]``."""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from .report import Row, print_table

BENCHMARKS = (
    "runtime",
    "actors",
    "transport",
    "carriers",
    "streams",
    "stream_rivals",
    "discovery",
    "storage",
    "groups",
    "collections",
    "linearizability",
    "simulation",
    "scale",
)


def main() -> int:
    """Run the chosen benchmarks; with ``--strict`` return 1 when a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="tiny inputs: shows only that it runs")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a bar is missed")
    options = parser.parse_args()
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
    print_table(rows)
    missed = [row.name for row in rows if row.ok is False]
    if missed:
        print(f"\nmissed: {', '.join(missed)}")
    return 1 if missed and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
