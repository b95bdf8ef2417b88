"""``mosaik-actors bench``: how fast items go between here and another node.

One side serves: it sends back what asks for it. The other measures, first round trips with one
item under way, then as many items as the stream takes, of which the last asks for an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from .. import running
from . import joining
from .failure import CommandFailed

if TYPE_CHECKING:
    from ..network import Network
    from . import Subparsers

THERE, BACK = "mosaik.bench.there", "mosaik.bench.back"
SECONDS = 3.0
BYTES = 64
BATCH_ITEMS = 512
ROUND_TRIPS_MAX = 100_000
ANSWER_S = 30.0

_EPILOG = """\
examples:
  mosaik-actors bench my-app --serve                    on one machine
  mosaik-actors bench my-app --bootstrap "$(cat addr)"  on the other
  mosaik-actors bench my-app --bytes 65536 --json

Exit codes: 0 it was measured, 1 nobody serves, or who did is gone.
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "bench",
        help="measure round trips and throughput between two nodes",
        description="Measure streams between here and a node that serves.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    joining.add_options(parser)
    parser.add_argument("--serve", action="store_true", help="be the other side, until Ctrl-C")
    parser.add_argument(
        "--seconds",
        type=joining.positive(float),
        default=SECONDS,
        help="for round trips, and for throughput (default: %(default)s)",
    )
    parser.add_argument(
        "--bytes",
        type=joining.positive(int),
        default=BYTES,
        help="the size of an item (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve, or measure."""
    return running.run(_serve if options.serve else _measure, options)


# An item is [number, whether to send it back, bytes].
Item: Any = tuple[int, bool, bytes]


async def _serve(options: argparse.Namespace) -> int:
    async with joining.joined(options) as net:
        there = net.streams.consumer(Item, stream_id=THERE)
        back = net.streams.producer(Item, stream_id=BACK)
        print(f"serving at {net.addr}", flush=True)
        while True:
            for item in await there.recv_many():
                if item[1]:
                    await back.send((item[0], False, b""))


async def _measure(options: argparse.Namespace) -> int:
    async with joining.joined(options) as net:
        result = await measure(net, options.seconds, options.bytes)
    for line in render(result, as_json=options.json):
        print(line)
    return 0


async def measure(net: Network, seconds: float, item_bytes: int) -> dict[str, float]:
    """Return what was measured. Raises `CommandFailed`."""
    there = net.streams.producer(Item, stream_id=THERE)
    back = net.streams.consumer(Item, stream_id=BACK)
    payload = bytes(item_bytes)
    try:
        async with asyncio.timeout(joining.WAIT_S * 2):
            await there.when().online()
            await back.when().online()
    except TimeoutError:
        raise CommandFailed("nobody serves: run `mosaik-actors bench NETWORK --serve`") from None
    try:
        times = await _round_trips(there, back, payload, seconds)
        rate = await _throughput(there, back, payload, seconds)
    except TimeoutError:
        raise CommandFailed("no answer any more from who serves") from None
    times.sort()
    return {
        "item_bytes": item_bytes,
        "round_trips": len(times),
        "rtt_median_ms": times[len(times) // 2] * 1000,
        "rtt_p99_ms": times[int(len(times) * 0.99)] * 1000,
        "items_per_s": rate,
        "megabytes_per_s": rate * item_bytes / 1e6,
    }


async def _round_trips(there: Any, back: Any, payload: bytes, seconds: float) -> list[float]:
    times: list[float] = []
    end_at = time.perf_counter() + seconds
    async with asyncio.timeout(seconds + ANSWER_S):
        while len(times) < ROUND_TRIPS_MAX and (not times or time.perf_counter() < end_at):
            begun = time.perf_counter()
            await there.send((len(times), True, payload))
            await back.recv()
            times.append(time.perf_counter() - begun)
    return times


async def _throughput(there: Any, back: Any, payload: bytes, seconds: float) -> float:
    count = 0
    begun = time.perf_counter()
    batch = [(0, False, payload)] * max(1, min(BATCH_ITEMS, 1_000_000 // len(payload)))
    async with asyncio.timeout(seconds + ANSWER_S):
        while time.perf_counter() < begun + seconds:
            await there.send_many(batch)
            count += len(batch)
        await there.send((count, True, payload))
        await back.recv()
    return (count + 1) / (time.perf_counter() - begun)


def render(result: dict[str, float], *, as_json: bool) -> list[str]:
    """Return the lines to print."""
    if as_json:
        return [json.dumps(result)]
    return [
        f"items of {result['item_bytes']:.0f} bytes",
        f"round trip   {result['rtt_median_ms']:.3f} ms median, {result['rtt_p99_ms']:.3f} ms for "
        f"99 of 100, of {result['round_trips']:.0f}",
        f"throughput   {result['items_per_s']:,.0f} items/s, {result['megabytes_per_s']:.1f} MB/s",
    ]
