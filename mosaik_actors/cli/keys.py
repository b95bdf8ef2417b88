"""``mosaik-actors key``: make secret keys, and show which peer a key belongs to.

A key file holds the 64 hexadecimal digits of the key and a line end, readable
by its owner alone. The secret itself is printed only with ``--secret``.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .failure import CommandFailed

if TYPE_CHECKING:
    from ..ids import SecretKey
    from . import Subparsers

KEY_FILE_BYTES_MAX = 4096

_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_EPILOG = """\
examples:
  mosaik-actors key new node.key            make a key, print its peer id
  mosaik-actors key show node.key           print the peer id of a key
  mosaik-actors key new --secret            make a key and print it, nothing is stored

In a program: Network("my-app", secret_key=Path("node.key").read_text().strip())
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "key",
        help="make a node's secret key, or show its peer id",
        description="Make a node's secret key, or show which peer a key belongs to.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a key and print its peer id")
    new.add_argument("file", nargs="?", type=Path, help="where to store it; must not exist yet")
    new.set_defaults(run=run_new)
    show = actions.add_parser("show", help="print the peer id of a key")
    show.add_argument("file", help="the file it is stored in, or - for stdin")
    show.set_defaults(run=run_show)
    for action in (new, show):
        action.add_argument("--secret", action="store_true", help="print the secret key as well")


def run_new(options: argparse.Namespace) -> int:
    """Make a key."""
    from ..ids import SecretKey

    if options.file is None and not options.secret:
        raise CommandFailed("the key would be lost: name a file to store it in, or add --secret")
    key = SecretKey.generate()
    if options.file is not None:
        _store(key, options.file)
    _print(key, with_secret=options.secret)
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Print whose key it is."""
    _print(_load(options.file), with_secret=options.secret)
    return 0


def _print(key: SecretKey, *, with_secret: bool) -> None:
    print(f"peer {key.peer_id}")
    if with_secret:
        print(f"secret {key.hex}")


def _store(key: SecretKey, file: Path) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CommandFailed(f"{file} exists already; name another file or move it away") from None
    except OSError as exc:
        raise CommandFailed(f"cannot store a key in {file}: {exc.strerror}") from exc
    with os.fdopen(descriptor, "w") as stream:
        stream.write(key.hex + "\n")


def _load(file: str) -> SecretKey:
    from ..ids import SecretKey

    try:
        if file == "-":
            text = sys.stdin.read(KEY_FILE_BYTES_MAX)
        else:
            with Path(file).open(encoding="ascii", errors="replace") as stream:
                text = stream.read(KEY_FILE_BYTES_MAX)
    except OSError as exc:
        raise CommandFailed(f"cannot read {file}: {exc.strerror}") from exc
    # What was read is not repeated in the message: it may be a secret.
    if not _HEX_KEY.fullmatch(text.strip()):
        raise CommandFailed(f"{file} holds no key: expected 64 hexadecimal digits")
    return SecretKey(text.strip())
