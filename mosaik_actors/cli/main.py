"""The entry point of ``mosaik-actors``.

Each sub-command is a module with a function ``add(subparsers)``; it sets
``run``, which takes the parsed arguments and returns the exit code:

    0    it did what was asked
    1    it did not, and one line on stderr says why
    2    the command line or a setting is wrong
    130  Ctrl-C; 128 and the signal's number for the other signals

Whatever goes wrong is one line on stderr that says what to do. The traceback
is shown with ``-v`` or with ``MOSAIK_DEBUG=1`` in the environment.

What is heavy is imported by the sub-command that needs it, when it runs: the
help is there at once, and Ctrl-C during the imports ends as quietly as later.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from ..errors import ConfigError, MosaikError
from . import (
    beacon,
    bench,
    call,
    chaos,
    collections,
    completion,
    demo_command,
    deployment,
    dht,
    doctor_command,
    groups,
    ids,
    keys,
    new_project,
    peers,
    relay,
    run_command,
    tap,
    tdx,
    tickets,
    top,
)
from .failure import CommandFailed

FAILED = 1
MISUSED = 2
INTERRUPTED = 128 + signal.SIGINT

_EPILOG = """\
examples:
  mosaik-actors demo                      watch five processes organise themselves
  mosaik-actors peers my-app --watch      see who joins and leaves the network "my-app"
  mosaik-actors id my-app                 print the id behind a name

A node is found by its network's name alone by every other node of the same
user on this machine; --bootstrap reaches further.
"""


class _Parser(argparse.ArgumentParser):
    """A parser with the options that all commands have: before the command, or behind it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.add_argument(
            "--log-level",
            choices=("debug", "info", "warning", "error"),
            default=argparse.SUPPRESS,  # a command must not put back what stands before it
            help="what is logged to stderr (default: warning; demo: error)",
        )
        self.add_argument(
            "-v",
            "--verbose",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show tracebacks; --log-level info",
        )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all sub-commands."""
    parser = _Parser(
        prog="mosaik-actors",
        description="Self-organizing, leaderless distributed systems.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version("mosaik-actors"))
    parser.set_defaults(log_level=None, verbose=False)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (
        run_command,
        new_project,
        beacon,
        peers,
        top,
        tap,
        call,
        groups,
        collections,
        bench,
        demo_command,
        chaos,
        deployment,
        dht,
        relay,
        doctor_command,
        ids,
        keys,
        tdx,
        tickets,
        completion,
    ):
        module.add(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, that of the process when None, and return the exit code."""
    shows_traceback = os.environ.get("MOSAIK_DEBUG", "") not in ("", "0")
    try:
        parser = build_parser()
        options = parser.parse_args(arguments)
        options.parser = parser
        options.command_line = list(sys.argv[1:] if arguments is None else arguments)
        shows_traceback = shows_traceback or options.verbose
        _configure_logging(options)
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _leave_broken_pipe()
    except Exception as exc:
        if shows_traceback:
            traceback.print_exc()
        return _report(exc)


def _report(exc: Exception) -> int:
    while isinstance(exc, ExceptionGroup):
        exc = exc.exceptions[0]  # of tasks that fail together the first one is the cause
    match exc:
        case CommandFailed() | MosaikError() | OSError():
            text = str(exc)
        case _:
            text = f"{type(exc).__name__}: {exc} (this is a bug; -v shows where)"
    print(f"mosaik-actors: {' '.join(text.split())}", file=sys.stderr)
    return MISUSED if isinstance(exc, ConfigError) else FAILED


def _leave_broken_pipe() -> int:
    # Whoever read our output has seen enough. The interpreter flushes stdout once more
    # at exit; that must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def _configure_logging(options: argparse.Namespace) -> None:
    if options.verbose and options.log_level is None:
        options.log_level = "info"
    logging.basicConfig(
        level=(options.log_level or "warning").upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
