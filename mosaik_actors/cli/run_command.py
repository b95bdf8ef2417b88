"""``mosaik-actors run``: run a node, or several, as a file says; see `launch`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import running
from .failure import CommandFailed

if TYPE_CHECKING:
    from ..launch.settings import LaunchSettings
    from . import Subparsers

_EPILOG = """\
examples:
  mosaik-actors run launch.toml                     all that the file says
  mosaik-actors run launch.toml --check             only say whether it is right
  mosaik-actors run launch.toml --process matcher   one of its processes, for a service manager
  mosaik-actors run shop.actors:Matcher --network shop --tag eu --arg '"ETH"'
  mosaik-actors run launch.toml --nodes 3 --watch   three nodes here, anew when code changes

Each setting is a flag, an environment variable (MOSAIK_ and its name), or a key of the
file, in this order. A list of tables is given as TOML: --actors '{class = "shop:Matcher"}'.

SIGTERM and Ctrl-C end it in order, within --drain-timeout; a second one at once.
Exit codes: 0 it was checked, or a main actor exited, 1 it failed, 2 a setting is wrong (the
message says where), 130 and 143 after Ctrl-C and SIGTERM.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "run",
        help="run a node, or several, from a launch.toml or an actor class",
        description="Run a node with actors, streams and collections until a signal ends it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "target", nargs="?", help="a file of settings (.toml), or an actor as module:Class"
    )
    parser.add_argument("--check", action="store_true", help="check all settings, run nothing")
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings and where each is from"
    )
    parser.add_argument(
        "--watch", action="store_true", help="start anew when a source file changes"
    )
    parser.add_argument(
        "--process", default="", metavar="NAME", help="only this process of the file"
    )
    parser.add_argument("--count", metavar="N", help="of module:Class: how many to start")
    parser.add_argument(
        "--arg", metavar="VALUE", action="append", help="of module:Class: an argument, as in TOML"
    )
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    _add_settings(parser.add_argument_group("settings"))
    parser.set_defaults(run=run)


def _add_settings(group: Any) -> None:
    # Listed by hand and not from `launch.settings`, whose import would slow every command down;
    # a test compares them.
    for name, shape, help_ in SETTINGS:
        flag = "--" + name.replace(".", "-").replace("_", "-")
        names = [flag, flag.removesuffix("s")] if shape == "texts" and flag[-1] == "s" else [flag]
        settings: dict[str, Any] = {"dest": f"setting {name}", "help": help_}
        if shape == "bool":
            settings |= {"metavar": "true|false"}
        elif shape in ("texts", "tables"):
            settings |= {"action": "append", "metavar": "TABLE" if shape == "tables" else "TEXT"}
        else:
            settings |= {"metavar": "N" if shape == "number" else "TEXT"}
        group.add_argument(*names, **settings)


SETTINGS = (
    ("network", "text", "the network's name, or its id"),
    ("secret_file", "text", "the file with the network's secret"),
    ("secret_env", "text", "the environment variable with the network's secret"),
    ("key_file", "text", "the file of the node's identity, made where there is none"),
    ("tags", "texts", "what the node is; may be repeated"),
    ("bootstrap", "texts", "a peer to begin with; may be repeated"),
    ("bind", "texts", "where to listen, as host:port; may be repeated"),
    ("rendezvous", "bool", "whether nodes of this user on this machine are found"),
    ("mdns", "bool", "whether nodes on the local network are found"),
    ("dht", "bool", "whether nodes anywhere are found through the Mainline DHT"),
    ("dht_bootstrap", "texts", "a node of the DHT to begin with, as host:port; may be repeated"),
    ("relay", "texts", "a relay for peers that cannot be reached directly; may be repeated"),
    ("relay_secret_file", "text", "the file with the secret that the relays want"),
    ("relay_tickets", "texts", "a class of tickets that relays are shown; may be repeated"),
    ("storage", "text", "the folder of durable logs"),
    ("share_status", "bool", "whether peers may read the node's status"),
    ("metrics_addr", "text", "where to serve metrics and health"),
    ("drain_timeout", "number", "seconds that the end may take after a signal"),
    ("nodes", "number", "how many nodes to run, each in a process of its own"),
    ("actors", "tables", "actors; may be repeated"),
    ("streams", "tables", "streams to open; may be repeated"),
    ("collections", "tables", "collections to open; may be repeated"),
    ("tickets", "tables", "tickets to show; may be repeated"),
    ("tdx", "bool", "whether to show a TDX ticket of the trusted domain that this is"),
    ("processes", "tables", "processes in place of one; may be repeated"),
    ("logging.level", "text", "debug, info, warning or error"),
    ("logging.format", "text", "text or json"),
)


def run(options: argparse.Namespace) -> int:
    """Run what the settings say."""
    # What imports make stays. To look for garbage in it takes a tenth of the start.
    gc.disable()
    from ..launch import log_format, sources
    from ..launch.node import Launch

    gc.freeze()
    gc.enable()

    folder, source = _read_source(options.target)
    flags = {
        tuple(name.removeprefix("setting ").split(".")): value
        for name, value in vars(options).items()
        if name.startswith("setting ") and value is not None
    }
    settings, origins = sources.load(source, os.environ, flags, _target(options))
    if options.print_config:
        print(sources.render(settings, origins), end="")
        return 0
    for place in dict.fromkeys((str(folder), str(Path.cwd()))):
        if place not in sys.path:
            sys.path.insert(0, place)
    if options.check:
        for name in [one.name for one in settings.processes] or [options.process]:
            Launch(settings, origins, folder, process=name)
        print(f"{source.name or 'the settings'}: ok")
        return 0
    if options.log_level is None:
        log_format.configure(settings.logging)
    if options.child is None and (options.watch or _process_count(settings, options) > 1):
        return _run_processes(settings, folder, options)
    process = options.process
    if not process and len(settings.processes) == 1:
        process = settings.processes[0].name
    launch = Launch(settings, origins, folder, process=process, index=options.child or 0)
    is_child = options.child is not None

    async def main() -> int:
        if is_child:
            from ..launch.processes import end_with_parent

            end_with_parent(asyncio.get_running_loop())
        return await launch.run()

    return running.run(main, close_timeout=settings.drain_timeout)


def _read_source(target: str | None) -> tuple[Path, Any]:
    from ..launch.sources import SettingsSource

    if target is None or not target.endswith(".toml"):
        return Path.cwd(), SettingsSource()
    file = Path(target)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandFailed(f"{target} cannot be read: {exc}") from exc
    return file.resolve().parent, SettingsSource(target, text)


def _target(options: argparse.Namespace) -> dict[str, Any] | None:
    from ..launch.sources import read_value

    target = options.target
    if target is None or target.endswith(".toml"):
        if options.count or options.arg:
            raise CommandFailed("--count and --arg are for `run module:Class`")
        return None
    table: dict[str, Any] = {"class": target}
    if options.count:
        table["count"] = read_value(options.count)
    if options.arg:
        table["args"] = [read_value(text) for text in options.arg]
    return table


def _process_count(settings: LaunchSettings, options: argparse.Namespace) -> int:
    if options.process:
        return 1
    return sum(one.count for one in settings.processes) or settings.nodes


def _run_processes(settings: LaunchSettings, folder: Path, options: argparse.Namespace) -> int:
    from ..launch.processes import Processes, ProcessSpec, watch_sources

    own = ["-m", "mosaik_actors.cli.main", *options.command_line]
    chosen = [one for one in settings.processes if options.process in ("", one.name)]
    specs = [
        ProcessSpec(
            f"{one.name}.{index}" if one.count > 1 else one.name,
            [*own, "--process", one.name, "--child", str(index)],
        )
        for one in chosen
        for index in range(one.count)
    ] or [
        ProcessSpec(f"node.{index}", [*own, "--child", str(index)])
        for index in range(settings.nodes)
    ]
    folders = list(dict.fromkeys([folder, Path.cwd()]))
    changes = watch_sources(folders) if options.watch else None

    async def main() -> int:
        def write(line: str) -> None:
            print(line, flush=True)

        processes = Processes(specs, drain_s=settings.drain_timeout, write=write)
        return await processes.run(changes)

    return running.run(main, close_timeout=settings.drain_timeout + 5)
