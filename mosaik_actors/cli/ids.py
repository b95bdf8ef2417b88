"""``mosaik-actors id``: the id behind a name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import Subparsers

_EPILOG = """\
examples:
  mosaik-actors id my-app                       the id of the network "my-app"
  mosaik-actors id my-app --derive orders       an id below it
  mosaik-actors id feeds.Price --short          as the tools abbreviate it
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "id",
        help="print the id behind a name",
        description="Print the id behind a name: of a network, a stream, a tag.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="a name, or an id's 64 hexadecimal digits")
    parser.add_argument(
        "--derive",
        metavar="NAME",
        action="append",
        default=[],
        help="the id of NAME below that one; may be repeated",
    )
    parser.add_argument("--short", action="store_true", help="only the first ten digits")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the id."""
    from ..ids import UniqueId

    found = UniqueId(options.name)
    for part in options.derive:
        found = found.derive(part)
    print(found.short if options.short else found)
    return 0
