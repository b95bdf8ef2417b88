"""A trader: it places orders from its input, or a random flow of them, and shows what it got."""

import argparse
import asyncio
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import islice
from random import Random

from book import NETWORK, SIDES, Book, Cancel, Depth, LastNumber, Place, Summary, join, send

from mosaik_actors import Consistency, Network, run

LINE = re.compile(r"(?P<side>buy|sell) (?P<size>\d+) @ (?P<price>\d+)|cancel (?P<order>\d+)")

BURST = 20


def random_flow(trader: str, number: int, count: int, seed: int) -> Iterator[Place | Cancel]:
    """Return orders around a price of 1000, and now and then a cancellation."""
    rng = Random(f"{trader} {seed}")
    for one in range(number, number + count):
        if rng.random() < 0.1:
            yield Cancel(trader, one, rng.randrange(max(1, one - 20), one) if one > 1 else 1)
        else:
            side = rng.choice(SIDES)
            yield Place(trader, one, side, round(rng.gauss(1000, 10)), rng.randint(1, 100))


async def lines_of_input() -> AsyncIterator[str]:
    """Yield the lines of standard input, be it a terminal, a pipe or a file.

    A thread waits for them that nobody waits for: so Ctrl-C ends the program at once. It
    reads without a buffer, whose lock could not be had when the program ends.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        with (
            open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as file,
            suppress(RuntimeError),  # the loop is closed: the program has ended
        ):
            while line := file.readline():
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, b"")

    threading.Thread(target=read, daemon=True).start()
    while line := await lines.get():
        yield line.decode(errors="replace")


async def typed(trader: str, number: int) -> AsyncIterator[Place | Cancel]:
    """Yield what the lines of the input say."""
    async for line in lines_of_input():
        found = LINE.fullmatch(line.strip())
        if found is None:
            print("expected: buy SIZE @ PRICE, sell SIZE @ PRICE, or cancel NUMBER")
            continue
        if found["order"]:
            yield Cancel(trader, number, int(found["order"]))
        else:
            side = SIDES[found["side"] == "sell"]
            yield Place(trader, number, side, int(found["price"]), int(found["size"]))
        number += 1


async def trade_typed(group: Book, trader: str, number: int) -> None:
    async for command in typed(trader, number):
        [position] = await send(group, command)
        print(f"{command.number}: command {position} of the book")
        if position.has_result:  # what this very order did, and no other
            for trade in position.result.trades:
                print(f"   {trade.buyer} buys {trade.size} @ {trade.price} from {trade.seller}")
        # What was executed here is applied here: this copy of the book knows.
        depth = (await group.query(Depth(), Consistency.WEAK)).result
        print(f"   bids {depth['buy']}  asks {depth['sell']}", flush=True)


async def trade_at_random(group: Book, trader: str, number: int, count: int, seed: int) -> None:
    flow = random_flow(trader, number, count, seed)
    while commands := list(islice(flow, BURST)):
        await send(group, *commands)
        print(f"trader: {commands[-1].number} sent", flush=True)


async def main(network: str, trader: str, count: int | None, seed: int) -> None:
    async with Network(network) as net:
        group = join(net, is_trader=True)
        await group.when().online()
        last = (await group.query(LastNumber(trader))).result
        print(f"trader: online as {trader}, {last} sent before", flush=True)
        if count is None:
            await trade_typed(group, trader, last + 1)
        else:
            await trade_at_random(group, trader, last + 1, count, seed)
        trades, volume, digest = (await group.query(Summary())).result
        last = (await group.query(LastNumber(trader))).result
        print(f"trader: {last} sent in all, {trades} trades, volume {volume}, state {digest}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default=NETWORK)
    parser.add_argument("--name", default="alice")
    parser.add_argument("--orders", type=int, help="so many at random, instead of the input's")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.exit(run(main, options.network, options.name, options.orders, options.seed))
