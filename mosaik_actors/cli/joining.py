"""Options of the sub-commands that join a network, and joining with them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..network import Network

OBSERVER_TAG = "observer"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which network to join, and how."""
    parser.add_argument("network", help="the network's name, or its id")
    parser.add_argument(
        "--bootstrap",
        metavar="PEER@HOST:PORT",
        action="append",
        default=[],
        help="a peer to begin with; may be repeated. On this machine none is needed",
    )
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        type=Path,
        help="the file with the network's secret (default: MOSAIK_SECRET in the environment)",
    )
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        default="127.0.0.1:0",
        help="where to listen; port 0 takes any free one (default: %(default)s)",
    )


def joined(options: argparse.Namespace) -> Network:
    """Return the node that the options ask for, not started yet. Raises `ConfigError`."""
    from ..network import Network

    return Network(
        options.network,
        secret=options.secret_file,
        bootstrap=options.bootstrap,
        bind=options.bind,
        tags=[OBSERVER_TAG],
    )


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """Return a parser of numbers above 0, for the options of `argparse`."""

    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text}, expected more than 0")
        return value

    parse.__name__ = kind.__name__
    return parse
