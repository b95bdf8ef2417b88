"""Turns prices into candles: the first, highest, lowest and last of every few."""

import argparse
import asyncio
import sys
from collections import defaultdict

from prices import Price

from mosaik_actors import Consumer, Network, run


async def draw(consumer: Consumer[Price], prices_per_candle: int) -> int:
    """Print candles as the prices come; return how many prices came."""
    count = 0
    open_candles: dict[str, list[float]] = defaultdict(list)
    async for price in consumer:
        count += 1
        values = open_candles[price.symbol]
        values.append(price.value)
        if len(values) == prices_per_candle:
            first, last, low, high = values[0], values[-1], min(values), max(values)
            arrow = "+" if last >= first else "-"
            print(f"{arrow} {price.symbol}  {first:10.2f} {high:10.2f} {low:10.2f} {last:10.2f}")
            values.clear()
    return count


async def main(network: str, prices_per_candle: int) -> None:
    async with Network(network) as net:
        consumer = net.streams.consume(Price)
        drawing = asyncio.create_task(draw(consumer, prices_per_candle))
        await consumer.when().online()
        feed = consumer.producers()[0].peer
        print(f"chart: found {feed.peer_id.short} at {feed.addr.direct[0]}")
        await consumer.when().offline()
        await consumer.close()  # what has arrived can still be taken
        print(f"chart: the feed has left after {await drawing} prices")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="hello-streams")
    parser.add_argument("--candle", type=int, default=50, help="prices per candle")
    options = parser.parse_args()
    sys.exit(run(main, options.network, options.candle))
