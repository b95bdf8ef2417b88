"""``mosaik-actors beacon``: a node for others to begin with."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from .. import running
from . import joining

if TYPE_CHECKING:
    from . import Subparsers

BEACON_TAG = "beacon"

_EPILOG = """\
examples:
  mosaik-actors beacon my-app --bind 0.0.0.0:4433           prints its address, and stays
  mosaik-actors beacon my-app --key-file beacon.key > addr  the same address after a restart
  mosaik-actors peers my-app --bootstrap "$(cat addr)"      from any machine

It takes part in discovery and nothing else. Run two or three, and give all of them to
bootstrap: none of them is a single point of failure, for nodes that know each other need
no beacon. Its address holds its id, which is that of the key file: keep that.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "beacon",
        help="run a node that others begin with, at a stable address",
        description="Run a node for others to begin with, and print its address.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    joining.add_options(parser, bind="0.0.0.0:4433")
    parser.add_argument(
        "--key-file",
        type=Path,
        default=Path("beacon.key"),
        help="its identity, made where there is none (default: %(default)s)",
    )
    parser.add_argument("--metrics-addr", metavar="HOST:PORT", help="where to serve metrics")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    return running.run(_run, options)


async def _run(options: argparse.Namespace) -> int:
    from ..ids import SecretKey
    from ..launch.notify import READY, STOPPING, notify

    key = SecretKey.load_or_create(options.key_file)
    settings = {"secret_key": key, "tags": [BEACON_TAG], "metrics_addr": options.metrics_addr}
    async with joining.joined(options, **settings) as net:
        print(net.addr, flush=True)
        notify(READY)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            notify(STOPPING)
    return 0
