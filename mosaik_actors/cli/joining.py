"""Options of the sub-commands that join a network, and joining with them."""

from __future__ import annotations

import argparse
import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..discovery.view import CatalogSnapshot
    from ..network import Network

OBSERVER_TAG = "observer"
WAIT_S = 3.0
SETTLED_S = 0.5


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


async def settled(net: Network, wait_s: float) -> CatalogSnapshot:
    """Return the catalog once nobody was added for a moment, or when the time is over."""
    known: set[object] = set()
    snapshot = net.discovery.catalog()
    watch = net.discovery.watch()
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + wait_s
    settled_at = give_up_at
    while True:
        try:
            async with asyncio.timeout_at(min(settled_at, give_up_at)):
                snapshot = await anext(watch)
        except TimeoutError:
            return snapshot
        if snapshot and set(snapshot) != known:
            known = set(snapshot)
            settled_at = loop.time() + SETTLED_S


def nobody(network: str, wait_s: float) -> str:
    """Return what to say when nobody is there."""
    return (
        f"nobody else found on network {network!r} within {wait_s:g} s; nodes of this user on "
        "this machine are found by name and secret, others need --bootstrap"
    )
