"""``mosaik-actors secret``: make the secret that closes a network.

It is printed, or stored in a file for its owner alone. No command takes a secret as
an argument, which every user of the machine could read in the list of processes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .failure import CommandFailed

if TYPE_CHECKING:
    from . import Subparsers

_EPILOG = """\
examples:
  mosaik-actors secret new net.secret                store a new secret in a file
  export MOSAIK_SECRET=$(mosaik-actors secret new)   keep it in the environment
  mosaik-actors peers my-app --secret-file net.secret

In a program, which takes MOSAIK_SECRET where it is told nothing:
  Network("my-app", secret=Path("net.secret"))
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "secret",
        help="make the secret that closes a network",
        description="Make a secret. Only nodes that have it can take part in the network.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a secret, and print it or store it in a file")
    new.add_argument("file", nargs="?", type=Path, help="where to store it; must not exist yet")
    new.set_defaults(run=run_new)


def run_new(options: argparse.Namespace) -> int:
    """Make a secret."""
    from ..network_secret import generate_secret

    secret = generate_secret()
    if options.file is None:
        print(secret)
    else:
        _store(secret, options.file)
    return 0


def _store(secret: str, file: Path) -> None:
    from ..errors import ConfigError
    from ..key_file import create_key_file

    try:
        is_stored = create_key_file(file, secret, "secret")
    except ConfigError as exc:
        raise CommandFailed(str(exc)) from exc
    if not is_stored:
        raise CommandFailed(f"{file} exists already; name another file or move it away")
