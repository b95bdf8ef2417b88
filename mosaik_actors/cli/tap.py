"""``mosaik-actors tap``: the items of a stream, whatever they are.

Subscribes like any consumer, without knowing the type, and prints one JSON
document per line. What JSON does not know (bytes, big integers) is written in
the nearest form it has.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

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

A stream is called what `mosaik-actors peers` shows: by default the module and
the name of its type.
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
            items = await consumer.recv_many(1024 if left is None else min(left, 1024))
            for item in items:
                sys.stdout.write(json_printable(encoder.encode(item).decode()) + "\n")
            sys.stdout.flush()
            if left is not None:
                left -= len(items)
    return 0
