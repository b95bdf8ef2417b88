"""Sends prices to whoever wants them: a random walk of three symbols."""

import argparse
import asyncio
import sys
from random import Random

from prices import Price

from mosaik_actors import Network, run

SYMBOLS = {"BTC": 61_000.0, "ETH": 3_100.0, "SOL": 150.0}


async def main(network: str, count: int, interval_s: float) -> None:
    rng = Random()
    values = dict(SYMBOLS)
    async with Network(network) as net:
        feed = net.streams.produce(Price)
        print(f"feed: node {net.peer_id.short} waits for somebody to listen")
        await feed.when().online()
        for number in range(count):
            for symbol in values:
                values[symbol] *= 1 + rng.gauss(0, 0.001)
                await feed.send(Price(symbol, values[symbol], number))
            await asyncio.sleep(interval_s)
    # Leaving the block has sent what was accepted, and told the others goodbye.
    print(f"feed: sent {count * len(values)} prices")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="hello-streams")
    parser.add_argument("--count", type=int, default=300, help="prices per symbol")
    parser.add_argument("--interval", type=float, default=0.01, help="seconds between them")
    options = parser.parse_args()
    sys.exit(run(main, options.network, options.count, options.interval))
