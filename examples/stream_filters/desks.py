"""A market and three desks, each of which subscribes to a part of what the market sends."""

import sys
from collections.abc import Iterator
from random import Random

from mosaik_actors import Criteria, CriteriaError, Network, Record, run, stream, where

SYMBOLS = ("BTC/USDC", "ETH/USDC", "SOL/USDC", "BTC/EUR")
TRADES = 2000


class Trade(Record, frozen=True):
    symbol: str
    price: float
    size: int
    is_block: bool = False


Trades = stream(Trade, "market.trades")

DESKS: dict[str, Criteria] = {
    "ether": where(Trade.symbol == "ETH/USDC") & (Trade.price > 3000),
    "dollar blocks": where(lambda t: t.symbol.contains("/USDC") & t.is_block),
    "large": where(Trade.size >= 90) | where(Trade.symbol.startswith("SOL") & (Trade.size >= 80)),
}


def trades() -> Iterator[Trade]:
    rng = Random(7)
    for number in range(TRADES):
        price = {"BTC": 60_000.0, "ETH": 3_000.0, "SOL": 150.0}
        symbol = rng.choice(SYMBOLS)
        yield Trade(
            symbol,
            price[symbol[:3]] * rng.uniform(0.9, 1.1),
            rng.randint(1, 100),
            is_block=number % 10 == 0,
        )


async def main() -> None:
    async with Network("stream-filters") as market, Network("stream-filters") as office:
        desks = {
            name: office.streams.consumer(Trade, stream_id="market.trades", criteria=criteria)
            for name, criteria in DESKS.items()
        }
        producer = Trades.producer(market)
        for desk in desks.values():
            await desk.when().online()  # one peer, and so one of `subscribed()`, for all three
        channels = producer.consumers()

        await producer.send_many(list(trades()))
        await producer.close()  # everything wanted has left

        for name, desk in desks.items():
            await desk.close()
            got = [trade async for trade in desk]
            print(f"{name} got {len(got)} of {TRADES} trades, the first is {got[0].symbol}")
            assert got == [trade for trade in trades() if wanted(name, trade)]
        print("sent in all", sum(channel.stats.datums for channel in channels))

        # A mistake shows where it is made, not as silence.
        try:
            office.streams.consumer(Trade, criteria=where(lambda t: t.volume > 5))
        except CriteriaError as error:
            print("refused:", error)


def wanted(desk: str, trade: Trade) -> bool:
    """What the criteria say, in plain Python."""
    if desk == "ether":
        return trade.symbol == "ETH/USDC" and trade.price > 3000
    if desk == "dollar blocks":
        return "/USDC" in trade.symbol and trade.is_block
    return trade.size >= 90 or (trade.symbol.startswith("SOL") and trade.size >= 80)


if __name__ == "__main__":
    sys.exit(run(main))
