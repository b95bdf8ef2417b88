"""A user's first script: two nodes in one process that find each other and stream.

It lies beside modules called ``actors`` and ``transport`` that are the user's
own; the library's folders of these names must not get in their way, nor theirs
in the library's.
"""

# ruff: noqa: D101, D103, T201

import asyncio
import tempfile
from os import environ

import msgspec

import actors
import transport
from mosaik_actors import Network

COUNT = 10


class Price(msgspec.Struct, frozen=True):
    symbol: str
    value: float


async def main() -> list[Price]:
    async with (
        Network("first-script", tags=["seller"]) as seller,
        Network("first-script") as buyer,
        asyncio.timeout(30),
    ):
        consumer = buyer.streams.consume(Price)
        producer = seller.streams.produce(Price)
        await producer.when().online()
        assert "seller" in buyer.discovery.catalog()[seller.peer_id].tags
        for number in range(COUNT):
            await producer.send(Price("ETH/USDC", 3000.0 + number))
        return [await consumer.recv() for _ in range(COUNT)]


if __name__ == "__main__":
    assert actors.MINE, "this is not the user's own module"
    assert transport.MINE, "this is not the user's own module"
    with tempfile.TemporaryDirectory() as folder:
        environ["MOSAIK_RUNTIME_DIR"] = folder  # a machine may run this twice at a time
        received = asyncio.run(main())
    assert received == [Price("ETH/USDC", 3000.0 + number) for number in range(COUNT)], received
    print(f"user script: {len(received)} prices in order, with modules of its own beside it")
