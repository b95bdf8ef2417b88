"""``mosaik-actors tap``: the items of a stream, whatever they are.

Subscribes like any consumer, without knowing the type, and prints one JSON
document per line. What JSON does not know (bytes, big integers) is written in
the nearest form it has.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .. import running
from ..peer_text import json_printable
from . import joining

if TYPE_CHECKING:
    from ..handles.consumer import Consumer
    from . import Subparsers

HINT_AFTER_S = 3.0

_EPILOG = """\
examples:
  mosaik-actors tap my-app feeds.Price                 all items, until Ctrl-C
  mosaik-actors tap my-app feeds.Price --count 10      the next ten
  mosaik-actors tap my-app feeds.Price --where symbol=ETH --where 'bid>=100' --fields bid

A stream is called what `mosaik-actors peers` shows: by default the module and
the name of its type. --where compares a field (a.b for one of a record within) with JSON, or with
a text: = != < <= > >=. Items for which it does not hold are not counted. --count ends with 0.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "tap",
        help="print the items of a stream as JSON lines",
        description="Join a network and print the items of a stream, one JSON line each.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    joining.add_options(parser)
    parser.add_argument("stream", help="the stream's name, or its id")
    parser.add_argument("--count", type=joining.positive(int), help="end after so many items")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        type=parse_condition,
        metavar="FIELD=VALUE",
        help="only items for which this holds; may be repeated",
    )
    parser.add_argument("--fields", metavar="A,B", help="only these fields")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the items."""
    return running.run(_tap, options)


async def _told_when_nobody_produces(
    consumer: Consumer[object], options: argparse.Namespace
) -> None:
    try:
        async with asyncio.timeout(HINT_AFTER_S):
            await consumer.when().online()
    except TimeoutError:
        print(
            f"mosaik-actors: no producer of {options.stream!r} on network {options.network!r} so "
            "far; still waiting. `mosaik-actors peers` shows the names of the streams",
            file=sys.stderr,
        )


async def _tap(options: argparse.Namespace) -> int:
    import msgspec

    encoder = msgspec.json.Encoder(enc_hook=repr)
    left = options.count
    async with joining.joined(options) as net:
        consumer = net.streams.consumer(object, stream_id=options.stream)
        await _told_when_nobody_produces(consumer, options)
        while left is None or left > 0:
            received = await consumer.recv_many()
            wanted = [item for item in received if all(holds(item) for holds in options.where)]
            items = wanted[:left]
            for item in pick(items, options.fields):
                sys.stdout.write(json_printable(encoder.encode(item).decode()) + "\n")
            sys.stdout.flush()
            if left is not None:
                left -= len(items)
    return 0


_CONDITION = re.compile(r"([\w.]+)\s*(!=|<=|>=|=|<|>)\s*(.*)", re.DOTALL)
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
_ABSENT = object()


def parse_condition(text: str) -> Callable[[Any], bool]:
    """Return what says whether an item is wanted, for ``field=value`` and the like."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r}, expected FIELD=VALUE, or another of != < <= > >="
        )
    path, compare = found[1].split("."), _OPERATORS[found[2]]
    try:
        value = json.loads(found[3])
    except ValueError:
        value = found[3]

    def holds(item: Any) -> bool:
        actual = _look_up(item, path)
        try:
            return actual is not _ABSENT and bool(compare(actual, value))
        except TypeError:
            return False  # of types that have no order between them

    return holds


def pick(items: Iterable[Any], fields: str | None) -> Iterator[Any]:
    """Give the items, or of each the named fields only."""
    if fields is None:
        yield from items
        return
    names = fields.split(",")
    for item in items:
        found = ((name, _look_up(item, name.split("."))) for name in names)
        yield {name: value for name, value in found if value is not _ABSENT}


def _look_up(item: Any, path: list[str]) -> Any:
    for name in path:
        if not isinstance(item, dict) or name not in item:
            return _ABSENT
        item = item[name]
    return item
