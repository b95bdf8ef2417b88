"""``mosaik-actors demo``: watch a real network organise itself; see `demo`."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .failure import CommandFailed

if TYPE_CHECKING:
    from . import Subparsers

SECONDS_DEFAULT = 25.0
SECONDS_MIN = 5.0
NODES_DEFAULT = 5
NODES_MIN = 3
NODES_MAX = 21

_EPILOG = """\
examples:
  mosaik-actors demo                     about half a minute, as a live table
  mosaik-actors demo --seconds 10        the same in a hurry
  mosaik-actors demo --plain --nodes 9   log lines, with eight sensors

While it runs, look in from another terminal: mosaik-actors peers NETWORK
with the name that the demo shows, or: mosaik-actors tap NETWORK demo.readings

The exit code is 0 if everything happened that the summary claims, else 1.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "demo",
        help="watch five processes find each other, stream, lose one and heal",
        description="Watch a real network organise itself, lose a node, and heal.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=SECONDS_DEFAULT,
        help=f"how long it runs; longer if healing takes longer (default: {SECONDS_DEFAULT:.0f})",
    )
    parser.add_argument(
        "--nodes",
        type=_nodes,
        default=NODES_DEFAULT,
        help=f"processes in the network, the collector included (default: {NODES_DEFAULT})",
    )
    parser.add_argument("--plain", action="store_true", help="log lines in place of the live table")
    parser.add_argument("--seed", type=int, help="decides which sensor is killed")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo."""
    missing = [name for name in ("psutil", "rich") if find_spec(name) is None]
    if missing:
        raise CommandFailed(
            f"the demo needs {' and '.join(missing)}: pip install 'mosaik-actors[demo]'"
        )
    from ..running import run as run_program
    from .demo.run import run_demo

    return run_program(
        run_demo(
            seconds=options.seconds,
            sensor_count=options.nodes - 1,
            plain=options.plain,
            seed=options.seed,
            # That a connection breaks when its process is killed is no news to warn about.
            log_level=options.log_level or "error",
        )
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not SECONDS_MIN <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text}, expected {SECONDS_MIN:.0f} or more")
    return value


def _nodes(text: str) -> int:
    value = int(text)
    if not NODES_MIN <= value <= NODES_MAX:
        raise argparse.ArgumentTypeError(f"{text}, expected {NODES_MIN} to {NODES_MAX}")
    return value
