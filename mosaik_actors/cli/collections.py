"""``mosaik-actors collection``: read and write a collection, export and import it.

A collection's types are part of its id, so they have to be named as the program names them.
Values are JSON on the way in and out. Reading follows as an observer does. Writing takes a
member that leaves again, and so wants another one to be there, who keeps what is written.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import running
from ..peer_text import json_printable
from . import joining
from .failure import CommandFailed

if TYPE_CHECKING:
    from . import Subparsers

ONLINE_S = 15.0
LOAD_ITEMS = 1000
KINDS = ("Map", "Vec", "Set", "Cell", "Once", "PriorityQueue")

_EPILOG = """\
examples:
  mosaik-actors collection get my-app prices 'Map[str,float]' '"ETH"'
  mosaik-actors collection set my-app prices 'Map[str,float]' '"ETH"' 3120.5
  mosaik-actors collection dump my-app prices 'Map[str,shop.records:Price]' > prices.jsonl
  mosaik-actors collection load my-app prices 'Map[str,float]' prices.jsonl

Keys and values are JSON. A line of a dump is [key, value] of a Map, [priority, key, value] of
a PriorityQueue, and the element itself of the others. load adds to what is there.
Exit codes: 0 done, 1 it is not there or nobody else keeps it, 2 the type is wrong.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "collection",
        help="get, set, dump and load a collection",
        description="Read and write a collection, export and import it as JSON lines.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, run_action, help_ in (
        ("get", _get, "print one element, or the value"),
        ("set", _set, "write an element: a key and a value, or a value"),
        ("dump", _dump, "print all elements as JSON lines"),
        ("load", _load, "add the elements of JSON lines"),
    ):
        action = actions.add_parser(name, help=help_)
        joining.add_options(action)
        action.add_argument("name", help="the collection's name, or its id")
        action.add_argument("type", help="such as 'Map[str,float]'; classes as module:Class")
        action.add_argument(
            "--collection-secret-file", type=Path, metavar="FILE", help="the collection's secret"
        )
        if name == "get":
            action.add_argument("key", nargs="?", help="a key, an index or a member, as JSON")
        elif name == "set":
            action.add_argument("values", nargs="+", metavar="VALUE", help="as JSON")
        elif name == "load":
            action.add_argument("file", nargs="?", default="-", help="- or none: stdin")
        action.set_defaults(run=run, action=run_action, writes=name in ("set", "load"))


def run(options: argparse.Namespace) -> int:
    """Do it."""
    return running.run(_run, options)


async def _run(options: argparse.Namespace) -> int:
    from .. import CollectionOffline
    from ..groups.messages import CallFailed

    kind, types = parse_type(options.type)
    settings: dict[str, Any] = {}
    if options.collection_secret_file is not None:
        settings["secret"] = options.collection_secret_file.read_bytes().strip()
    # To open it before others are known would begin a history of its own.
    async with joining.joined_and_settled(options) as (net, _):
        typed = kind[types]
        opened = typed.reader(net, options.name, **settings)
        if not any(opened.group_id in peer.groups for peer in net.discovery.catalog().values()):
            raise CommandFailed(
                f"no node has a collection {options.name!r} of the type {options.type}; "
                "`mosaik-actors peers` shows what there is, and of which types"
            )
        if options.writes:
            opened = typed.writer(net, options.name, **settings)
        try:
            async with asyncio.timeout(ONLINE_S):
                await opened.when().online()
            await opened.refresh()
            await options.action(opened, types, options)
        except (TimeoutError, CollectionOffline, CallFailed) as exc:
            raise CommandFailed(f"{options.name}: not online: {opened.why_offline}") from exc
    return 0


def parse_type(text: str) -> tuple[Any, tuple[Any, ...]]:
    """Return the class of a collection and its types. Raises `ConfigError`."""
    import mosaik_actors

    from ..errors import ConfigError
    from ..launch.types import load_type

    name, bracket, rest = text.partition("[")
    if name not in KINDS or not bracket or not rest.endswith("]"):
        raise ConfigError(f"{text!r} is no collection's type, expected one like 'Map[str,float]'")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    types = tuple(load_type(part.strip()) for part in rest[:-1].split(","))
    kind = getattr(mosaik_actors, name)
    if len(types) != kind.type_count:
        raise ConfigError(f"{name} has {kind.type_count} types, got {len(types)}")
    return kind, types


def read_json(text: str, kind: Any) -> Any:
    """Return a value from JSON. Raises `CommandFailed`."""
    import msgspec

    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as exc:
        shown = text.strip()[:80]
        is_json = isinstance(exc, msgspec.ValidationError) or shown.startswith(('"', "[", "{"))
        hint = "" if is_json else f"; a text has its quotes: '\"{shown}\"'"
        raise CommandFailed(f"{shown}: {exc}{hint}") from exc


def elements_of(opened: Any) -> Iterator[Any]:
    """Give what a dump has a line for."""
    if opened.kind == "Map":
        yield from opened.items()
    elif opened.kind == "PriorityQueue":
        yield from opened.iter_asc()
    elif opened.kind in ("Vec", "Set"):
        yield from opened
    elif opened.is_some() if opened.kind == "Once" else not opened.is_empty():
        yield opened.read()


def line_type(kind: str, types: tuple[Any, ...]) -> Any:
    """Return the type of a dump's line."""
    return types[0] if len(types) == 1 else tuple[types]  # type: ignore[valid-type]


async def _get(opened: Any, types: tuple[Any, ...], options: argparse.Namespace) -> None:
    _print(find(opened, types, options.key))


def find(opened: Any, types: tuple[Any, ...], key: str | None) -> Any:
    """Return the element of a key, or the value of what has one only. Raises `CommandFailed`."""
    if opened.kind in ("Cell", "Once"):
        for value in elements_of(opened):
            return value
        raise CommandFailed("there is no value")
    if key is None:
        raise CommandFailed(f"a {opened.kind} is read by a key: give one as JSON")
    if opened.kind == "Set":
        return read_json(key, types[0]) in opened
    read = read_json(key, int if opened.kind == "Vec" else types[-2])
    try:
        if opened.kind == "PriorityQueue":
            if not opened.contains_key(read):
                raise KeyError(read)
            return opened.get(read)
        return opened[read]
    except (KeyError, IndexError):
        raise CommandFailed(f"there is no {key}") from None


async def _set(opened: Any, types: tuple[Any, ...], options: argparse.Namespace) -> None:
    if len(options.values) != len(types):
        raise CommandFailed(f"a {opened.kind} takes {len(types)} values, got {len(options.values)}")
    values = [read_json(text, kind) for text, kind in zip(options.values, types, strict=True)]
    _require_others(opened)
    name = {"Vec": "push_back", "Cell": "write", "Once": "write"}.get(opened.kind, "insert")
    await getattr(opened, name)(*values)


async def _dump(opened: Any, _types: tuple[Any, ...], _options: argparse.Namespace) -> None:
    for element in elements_of(opened):
        _print(element)


async def _load(opened: Any, types: tuple[Any, ...], options: argparse.Namespace) -> None:
    _require_others(opened)
    count = 0
    for batch in batches(read_lines(options.file), line_type(opened.kind, types)):
        if opened.kind in ("Cell", "Once"):
            await opened.write(batch[-1])
        else:
            await opened.extend(batch)
        count += len(batch)
    print(f"{count} elements", file=sys.stderr)


def read_lines(file: str) -> Iterator[str]:
    """Give the lines of a file, of stdin for ``-``."""
    if file == "-":
        yield from sys.stdin
    else:
        with Path(file).open(encoding="utf-8") as lines:
            yield from lines


def batches(lines: Iterable[str], kind: Any) -> Iterator[list[Any]]:
    """Give the elements of JSON lines, some at a time. Raises `CommandFailed` with the line."""
    batch: list[Any] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            batch.append(read_json(line, kind))
        except CommandFailed as exc:
            raise CommandFailed(f"line {number}: {exc}") from exc
        if len(batch) == LOAD_ITEMS:
            yield batch
            batch = []
    if batch:
        yield batch


def _require_others(opened: Any) -> None:
    if sum(member.is_voter for member in opened.members) < 2:
        others = [m for m in opened.members if m.is_bonded]
        if len(others) < 2:
            raise CommandFailed("no other member is there: what is written would be gone with this")


def _print(value: Any) -> None:
    import msgspec

    print(json_printable(msgspec.json.encode(value, enc_hook=repr).decode()))
