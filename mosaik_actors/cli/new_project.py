"""``mosaik-actors new``: write a project that runs at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import Subparsers

_EPILOG = """\
examples:
  mosaik-actors new shop                  the project "shop" in the folder shop
  cd shop && mosaik-actors run launch.toml
  pytest                                  its scenario test

It has a package with an actor, launch.toml, a test, a Dockerfile and a pyproject.toml.
The exit code is 2 if the folder is not empty.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "new",
        help="write a project: a package, launch.toml, a test, a Dockerfile",
        description="Write a project that runs, and whose test passes, as it is.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="the name of the package")
    parser.add_argument("--folder", type=Path, help="where to write it (default: NAME)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write it."""
    from ..launch.skeleton import write_project

    folder = options.folder or Path(options.name)
    for file in write_project(options.name, folder):
        print(file)
    return 0
