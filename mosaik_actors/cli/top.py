"""``mosaik-actors top``: all nodes of a network, live in the terminal.

Joins like any node and asks each peer for its status; see `metrics.wire`. Nodes that do
not share it are listed with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .. import running
from ..errors import MosaikError
from ..metrics.top_view import (
    COLUMNS,
    KEYS,
    Silent,
    Top,
    detail_sections,
    overview_rows,
    silent_lines,
)
from ..peer_text import json_printable, printable
from ..transport.interface import LinkRefused
from . import joining
from .failure import CommandFailed

if TYPE_CHECKING:
    from ..metrics.records import NodeStatus
    from ..network import Network
    from . import Subparsers

INTERVAL_S = 1.0
ASKED_AT_ONCE = 32
_ARROWS = {"\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left", "\x1b": "esc"}

_EPILOG = f"""\
examples:
  mosaik-actors top my-app                   all nodes, live
  mosaik-actors top my-app --sort queued     the busiest actors first
  mosaik-actors top my-app --json            one snapshot of each node, as JSON lines

Keys: {KEYS}
Nodes started with share_status=False are listed, but show nothing of themselves.
The exit code is 1 if nobody is there.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "top",
        help="show all nodes of a network live: streams, groups, actors, load",
        description="Join a network and show what each node does, live.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    joining.add_options(parser)
    parser.add_argument(
        "--sort", choices=tuple(COLUMNS), default="node", help="by which column to begin with"
    )
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=joining.positive(float),
        default=INTERVAL_S,
        help="how often to look (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one snapshot of each, and end")
    parser.add_argument(
        "--once", action="store_true", help="print the table once, after one interval, and end"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show the nodes."""
    if not options.json and find_spec("rich") is None:
        raise CommandFailed("top needs rich: pip install 'mosaik-actors[demo]', or use --json")
    return running.run(_run, options)


async def _run(options: argparse.Namespace) -> int:
    from ..metrics.wire import FRESH_S

    async with joining.joined_and_settled(options) as (net, _):
        if options.json:
            return _print_json(*await ask_all(net))
        top = Top(sort=options.sort)
        if options.once or not sys.stdout.isatty():
            top.receive(*await ask_all(net))
            # Items are counted over it; a snapshot that is as old as `FRESH_S` is a new one.
            await asyncio.sleep(max(options.interval, FRESH_S))
            top.receive(*await ask_all(net))
            return _print_once(top)
        return await _live(net, top, options.interval)


async def ask_all(net: Network) -> tuple[dict[str, NodeStatus], list[Silent]]:
    """Ask all peers at once; return who answered, and who did not."""
    nodes: dict[str, NodeStatus] = {}
    silent: list[Silent] = []
    gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(peer_id: Any) -> None:
        async with gate:
            try:
                nodes[str(peer_id)] = await net.status_of(peer_id)
            except TimeoutError:
                silent.append(Silent(str(peer_id), "no answer in time"))
            except LinkRefused as exc:
                silent.append(Silent(str(peer_id), exc.reason.text or str(exc)))
            except MosaikError as exc:
                silent.append(Silent(str(peer_id), str(exc)))

    async with asyncio.TaskGroup() as group:
        for peer_id, peer in net.discovery.catalog().items():
            if joining.OBSERVER_TAG not in peer.tags:
                group.create_task(ask(peer_id))
    return nodes, silent


def _print_json(nodes: dict[str, NodeStatus], silent: list[Silent]) -> int:
    import msgspec

    for status in nodes.values():
        print(json_printable(msgspec.json.encode(status).decode()))
    for one in silent:
        print(f"mosaik-actors: {one.peer_id[:10]}: {printable(one.why)}", file=sys.stderr)
    return 0 if nodes else 1


def _print_once(top: Top) -> int:
    from rich.console import Console

    Console().print(picture(top, has_keys=False))
    return 0 if top.nodes else 1


async def _live(net: Network, top: Top, interval_s: float) -> int:
    from rich.live import Live

    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    with Live(picture(top), screen=True, auto_refresh=False) as live:

        def redraw() -> None:
            live.update(picture(top), refresh=True)

        def press(key: str) -> None:
            if not top.press(key) and not done.done():
                done.set_result(None)
            redraw()

        with _keys(loop, press):
            while not done.done():
                top.receive(*await ask_all(net))
                redraw()
                await asyncio.wait([done], timeout=interval_s)
    return 0


@contextmanager
def _keys(loop: asyncio.AbstractEventLoop, press: Callable[[str], None]) -> Iterator[None]:
    """Hand keys to `press` while inside, where stdin is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    import os
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def read() -> None:
        text = os.read(descriptor, 64).decode(errors="replace")
        for key in [text] if text in _ARROWS else list(text):
            press(_ARROWS.get(key, key))

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def picture(top: Top, *, has_keys: bool = True) -> Any:
    """Return what rich draws: the table of all nodes, or what one shows."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = top.shown()
    if top.is_detailed and shown is not None:
        parts: list[Any] = [Text(f"node {shown.peer_id}   {shown.addr}", overflow="ellipsis")]
        for title, columns, rows in detail_sections(shown):
            table = Table(title=title, title_justify="left", expand=True)
            for column in columns:
                table.add_column(column)
            for row in rows:
                table.add_row(*map(Text, row))
            parts.append(table)
        return Group(*parts, Text(KEYS, style="dim"))
    table = Table(expand=True, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in COLUMNS:
        mark = "" if column != top.sort else " ▲" if top.is_reversed else " ▼"
        table.add_column(
            f"{column}{mark}", no_wrap=True, min_width=10 if column == "node" else None
        )
    ordered = top.ordered()
    for index, row in enumerate(overview_rows(top)):
        is_selected = has_keys and shown is not None and ordered[index] is shown
        table.add_row(*map(Text, row), style="reverse" if is_selected else "")
    below = [*silent_lines(top), *([KEYS] if has_keys else [])]
    return Group(table, *(Text(line, style="dim") for line in below))
