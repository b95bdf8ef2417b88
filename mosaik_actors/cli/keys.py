"""``mosaik-actors key`` and ``mosaik-actors secret``: what nodes and networks keep to themselves.

``key`` makes a node's secret key, and shows which peer a key belongs to. A key file holds
the 64 hexadecimal digits of the key and a line end, readable by its owner alone. The
secret itself is printed only with ``--secret``.

``secret`` makes the secret that closes a network. It is printed, or stored in a file for
its owner alone. No command takes a secret as an argument, which every user of the machine
could read in the list of processes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .failure import CommandFailed

if TYPE_CHECKING:
    from ..ids import SecretKey
    from . import Subparsers

_KEY_EPILOG = """\
examples:
  mosaik-actors key new node.key            make a key, print its peer id
  mosaik-actors key show node.key           print the peer id of a key
  mosaik-actors key new --secret            make a key and print it, nothing is stored

In a program, which makes the file where there is none:
  Network("my-app", secret_key=SecretKey.load_or_create("node.key"))
"""

_SECRET_EPILOG = """\
examples:
  mosaik-actors secret new net.secret                store a new secret in a file
  export MOSAIK_SECRET=$(mosaik-actors secret new)   keep it in the environment
  mosaik-actors peers my-app --secret-file net.secret

In a program, which takes MOSAIK_SECRET where it is told nothing:
  Network("my-app", secret=Path("net.secret"))
"""


def add(subparsers: Subparsers) -> None:
    """Add both sub-commands."""
    _add_key(subparsers)
    _add_secret(subparsers)


def _add_key(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "key",
        help="make a node's secret key, or show its peer id",
        description="Make a node's secret key, or show which peer a key belongs to.",
        epilog=_KEY_EPILOG,
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


def _add_secret(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "secret",
        help="make the secret that closes a network",
        description="Make a secret. Only nodes that have it can take part in the network.",
        epilog=_SECRET_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a secret, and print it or store it in a file")
    new.add_argument("file", nargs="?", type=Path, help="where to store it; must not exist yet")
    new.set_defaults(run=run_new_secret)


def run_new(options: argparse.Namespace) -> int:
    """Make a key."""
    from ..ids import SecretKey

    if options.file is None and not options.secret:
        raise CommandFailed("the key would be lost: name a file to store it in, or add --secret")
    key = SecretKey.generate()
    if options.file is not None:
        _store(key.hex, options.file)
    _print(key, with_secret=options.secret)
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Print whose key it is."""
    _print(_load(options.file), with_secret=options.secret)
    return 0


def run_new_secret(options: argparse.Namespace) -> int:
    """Make a secret."""
    from ..network_secret import generate_secret

    secret = generate_secret()
    if options.file is None:
        print(secret)
    else:
        _store(secret, options.file, "secret")
    return 0


def _print(key: SecretKey, *, with_secret: bool) -> None:
    print(f"peer {key.peer_id}")
    if with_secret:
        print(f"secret {key.hex}")


def _store(text: str, file: Path, kind: str = "key") -> None:
    from ..key_file import create_key_file

    try:
        is_stored = create_key_file(file, text, kind)
    except ConfigError as exc:
        raise CommandFailed(str(exc)) from exc
    if not is_stored:
        raise CommandFailed(f"{file} exists already; name another file or move it away")


def _load(file: str) -> SecretKey:
    from ..ids import SecretKey

    try:
        return SecretKey(_read_digits(file))
    except ConfigError as exc:
        raise CommandFailed(str(exc)) from exc


def _read_digits(file: str) -> str:
    from ..key_file import FILE_BYTES_MAX, parse_key_text, read_key_file

    if file == "-":
        return parse_key_text(sys.stdin.buffer.read(FILE_BYTES_MAX), source="the input")
    digits = read_key_file(Path(file))
    if digits is None:
        raise CommandFailed(f"there is no file {file}")
    return digits
