"""The other process of the stream tests.

    python -m tests.e2e.streams_worker consume <bootstrap> <count>
    python -m tests.e2e.streams_worker consume_from <bootstrap> <count> <first>
    python -m tests.e2e.streams_worker produce <bootstrap> <count> <seed>

It prints one JSON object per line: what it saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import msgspec

from mosaik_actors.ids import SecretKey
from mosaik_actors.network import Network
from mosaik_actors.streams.config import Backoff, StreamsConfig
from mosaik_actors.streams.criteria.criteria import where

NETWORK = "streams-e2e"
STREAM = (
    "readings"  # given, because here the record belongs to __main__ and in the tests it does not
)


class Reading(msgspec.Struct, frozen=True):
    source: str
    n: int
    payload: bytes = b""


def config(**settings: Any) -> StreamsConfig:
    return StreamsConfig(**{"backoff": Backoff(initial=0.05, max=0.2), **settings})


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201  # that is how it reports


async def consume(bootstrap: str, count: int, first: str = "0") -> None:
    criteria = where(lambda reading: reading.n >= int(first)) if int(first) else None
    async with Network(NETWORK, bootstrap=bootstrap, rendezvous=False, streams=config()) as net:
        consumer = net.streams.consumer(Reading, stream_id=STREAM, criteria=criteria)
        say(peer=str(net.peer_id))
        got: list[int] = []
        async for reading in consumer:
            got.append(reading.n)
            if len(got) == count:
                break
        say(count=len(got), in_order=got == list(range(int(first), int(first) + count)))


async def produce(bootstrap: str, count: int, seed: str) -> None:
    async with Network(
        NETWORK,
        secret_key=SecretKey.from_seed(seed),
        bootstrap=bootstrap,
        rendezvous=False,
        streams=config(),
    ) as net:
        producer = net.streams.produce(Reading, stream_id=STREAM)
        say(peer=str(net.peer_id))
        n = 0
        while n < count:
            await producer.send(Reading(seed, n))
            n += 1
        # Leaving the block sends what was accepted.


if __name__ == "__main__":
    role, bootstrap, count, *rest = sys.argv[1:]
    run = produce if role == "produce" else consume
    asyncio.run(run(bootstrap, int(count), *rest))
