"""``mosaik-actors call``: ask an actor of any node something, and print the answer."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import running
from ..peer_text import json_printable
from . import joining
from .failure import CommandFailed

if TYPE_CHECKING:
    from . import Subparsers

TIMEOUT_S = 5.0

_EPILOG = """\
examples:
  mosaik-actors call my-app matcher shop.messages:Load
  mosaik-actors call my-app matcher shop.messages:Order '{"market": "ETH", "amount": 5}' --tell
  mosaik-actors call my-app echo '"a plain text"'

A message is a class as module:Class, with its fields as JSON behind it, or a plain JSON
value. The answer is printed as JSON. With --tell nobody waits for one.
Exit codes: 0 it was answered, 1 it was not, or nobody has the name, 2 the message is wrong.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "call",
        help="ask an actor of any node something, by its name",
        description="Send a message to an actor, by its name, and print the answer.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    joining.add_options(parser)
    parser.add_argument("actor", help="the actor's name")
    parser.add_argument("message", help="module:Class, or a JSON value")
    parser.add_argument("fields", nargs="?", help="the fields of the class, as JSON")
    parser.add_argument("--tell", action="store_true", help="do not wait for an answer")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=joining.positive(float),
        default=TIMEOUT_S,
        help="for finding it, and for the answer (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask."""
    return running.run(_run, options, make_message(options.message, options.fields))


async def _run(options: argparse.Namespace, message: Any) -> int:
    import msgspec

    from .. import AskFailed, NotResolved

    async with joining.joined(options) as net:
        try:
            actor = await net.actors.resolve(options.actor, timeout=options.timeout)
            if options.tell:
                actor.tell(message)
                return 0
            answer = await actor.ask(message, timeout=options.timeout)
        except (NotResolved, AskFailed) as exc:
            raise CommandFailed(str(exc)) from exc
    print(json_printable(msgspec.json.encode(answer, enc_hook=repr).decode()))
    return 0


def make_message(text: str, fields: str | None) -> Any:
    """Return the message to send. Raises `ConfigError`."""
    import msgspec

    from ..errors import ConfigError
    from ..launch.types import load_class

    module, colon, name = text.partition(":")
    is_class = bool(colon) and all(part.isidentifier() for part in f"{module}.{name}".split("."))
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        if is_class:
            return msgspec.json.decode(fields or "{}", type=load_class(text))
        if fields is not None:
            raise ConfigError(f"{text!r} is not module:Class, and yet there are fields")
        return msgspec.json.decode(text)
    except msgspec.MsgspecError as exc:
        expected = "" if is_class else "; expected JSON, such as '\"text\"', or module:Class"
        raise ConfigError(f"message {text}: {exc}{expected}") from exc
