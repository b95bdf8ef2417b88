"""One node of `test_nats`, in a process of its own: ``python -m tests.namespaces.node NAME ...``.

It sends numbered items to the other one and takes those of the other, and says in a line of
JSON what carries the connection, how many came, and for how many seconds none came at most
since it last said so, whenever the former changes and with every twentieth item. It fails if one
is missing or out of order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from contextlib import suppress
from typing import Any

import msgspec

from mosaik_actors import Network, SecretKey, TransportConfig

PAUSE_S = 0.05


class Item(msgspec.Struct, frozen=True):
    """What the nodes send each other."""

    sender: str
    number: int
    padding: bytes = bytes(500)


def say(**what: Any) -> None:
    """Write a line for the test."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def send(producer: Any, name: str) -> None:
    """Send items for as long as the process runs."""
    await producer.when().online()
    number = 0
    while True:
        await producer.send(Item(name, number))
        number += 1
        await asyncio.sleep(PAUSE_S)


async def watch(net: Network) -> None:
    """Say where the peer is said to be, whenever that changes."""
    said = None
    async for catalog in net.discovery.watch():
        where = [list(peer.addr.direct) for peer in catalog.values()]
        if where != said:
            said = where
            say(where=where)


async def run(options: argparse.Namespace) -> None:
    """Take part until the test has had enough."""
    settings: dict[str, Any] = {"bootstrap": options.bootstrap} if options.bootstrap else {}
    if options.relay:
        settings["relay"] = options.relay
    network = Network(
        "behind-nats",
        secret_key=SecretKey.from_seed(options.name),
        bind=options.bind,
        rendezvous=False,
        transport=TransportConfig(
            carriers=(options.carrier,) if options.carrier else "auto", quic_engine=options.engine
        ),
        **settings,
    )
    async with network as net:
        say(peer=str(net.peer_id), addr=str(net.addr))
        watching = asyncio.create_task(watch(net))
        sending = asyncio.create_task(send(net.streams.produce(Item), options.name))
        consumer = net.streams.consume(Item)
        endpoint, carrier = net.node.endpoint, None
        async with asyncio.timeout(options.timeout):
            expected = 0
            came_at, pause_s = None, 0.0
            for number in range(1_000_000):
                item = await consumer.recv()
                is_next = item.number >= expected if options.gaps else item.number == expected
                assert is_next, f"got item {item.number}, expected {expected}"
                expected = item.number + 1
                now_s = time.monotonic()
                pause_s = max(pause_s, now_s - (came_at or now_s))
                came_at = now_s
                peers = endpoint.connected_peers()
                if not peers:
                    continue
                if (now := endpoint.carrier(peers[0])) != carrier or number % 20 == 0:
                    carrier = now
                    say(carrier=carrier, got=number + 1, pause_s=pause_s)
                    pause_s = 0.0
        sending.cancel()
        watching.cancel()


def main() -> None:
    """Run one node."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--bind", default="0.0.0.0:0")
    parser.add_argument("--relay")
    parser.add_argument("--bootstrap")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--carrier")
    parser.add_argument("--gaps", action="store_true", help="items may be missing")
    parser.add_argument("--timeout", type=float, default=120.0)
    with suppress(KeyboardInterrupt):
        asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
