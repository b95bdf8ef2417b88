"""``mosaik-actors completion``: the script that completes commands in a shell."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .failure import CommandFailed

if TYPE_CHECKING:
    from . import Subparsers

SHELLS = ("bash", "zsh", "tcsh")

_EPILOG = """\
examples:
  mosaik-actors completion bash > ~/.local/share/bash-completion/completions/mosaik-actors
  mosaik-actors completion zsh > ~/.zfunc/_mosaik-actors

Needs the extra `completion`. Write it anew after an update.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "completion",
        help="print the script that completes commands in bash, zsh or tcsh",
        description="Print the script that completes commands in a shell.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print it."""
    try:
        import shtab
    except ImportError:
        raise CommandFailed(
            "completion needs shtab: pip install 'mosaik-actors[completion]'"
        ) from None
    print(shtab.complete(options.parser, shell=options.shell))
    return 0
