"""``mosaik-actors deployment``: identities of deployments, and where two of them differ."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import Subparsers

_EPILOG = """\
examples:
  mosaik-actors deployment id acme.mixer:ACME              the identity of a configuration
  mosaik-actors deployment diff acme.mixer:ACME acme.toml  names each field that differs
  mosaik-actors deployment diff acme.mixer:Mixer@ACME other.mixer:Mixer@ACME
                                                           compares the public parts too

A configuration is MODULE:NAME, MODULE:SERVICE@NAME, or a file that ends in .toml or .json. A file
that is compared with a NAME is read with that one's class, so that defaults count as written.
Modules are imported, and so run. With differences the exit code is 1.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "deployment",
        help="compare the configurations of two deployments",
        description="Print the identity of a deployment, or where two of them differ.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    shown = actions.add_parser("id", help="print the identity of a deployment")
    shown.add_argument("config", metavar="CONFIG", help="which one")
    shown.set_defaults(run=run_id)
    diff = actions.add_parser("diff", help="name the fields in which two deployments differ")
    diff.add_argument("one", metavar="A", help="a configuration")
    diff.add_argument("other", metavar="B", help="another one")
    diff.set_defaults(run=run_diff)


def run_id(options: argparse.Namespace) -> int:
    """Print the identity."""
    from ..deployment.loading import load

    print(load(options.config).inputs.digest())
    return 0


def run_diff(options: argparse.Namespace) -> int:
    """Print what differs, one field a line; return 1 if anything does."""
    from ..deployment.loading import load_both

    one, other = load_both(options.one, options.other)
    lines = one.differences(other)
    for line in lines:
        print(line)
    if not lines:
        print(f"no difference: both are {one.inputs.digest()}")
    return 1 if lines else 0
