"""Three mirrors of one feed, and a reader that keeps to the one with the least load."""

import asyncio
import sys

import msgspec

from mosaik_actors import Consumer, Network, PeerInfo, Producer, best, run

NETWORK = "stream-preferences"
NAMES = ("first", "second", "third")


class Line(msgspec.Struct, frozen=True):
    mirror: str
    number: int


def load(peer: PeerInfo) -> float | None:
    """Return the load that a mirror shows, from 0 to 9; None if it shows none."""
    return next((float(level) for level in range(10) if f"load-{level}" in peer.tags), None)


async def feed(name: str, mirror: Producer[Line]) -> None:
    """Send lines for ever; while nobody listens, `send` waits."""
    number = 0
    while True:
        await mirror.send(Line(name, number))
        number += 1
        await asyncio.sleep(0.001)


async def read_from(reader: Consumer[Line], name: str) -> str:
    """Read until lines of one mirror come, and see that they are in order."""
    last: dict[str, int] = {}
    while True:
        line = await reader.recv()
        assert line.number > last.get(line.mirror, -1)
        last[line.mirror] = line.number
        assert len(reader.producers()) <= 1
        if line.mirror == name:
            return name


async def main() -> None:
    async with (
        Network(NETWORK, tags=["load-2"]) as first,
        Network(NETWORK, tags=["load-5"]) as second,
        Network(NETWORK, tags=["load-8"]) as third,
        Network(NETWORK) as home,
    ):
        mirrors = dict(zip(NAMES, (first, second, third), strict=True))
        producers = {name: net.streams.produce(Line) for name, net in mirrors.items()}
        feeds = {name: asyncio.create_task(feed(name, p)) for name, p in producers.items()}
        reader = home.streams.consumer(Line, prefer=best(1, key=load, patience=0.2))

        print("the least loaded is", await read_from(reader, "first"))

        # The load moves, and the reader after it.
        first.discovery.remove_tags("load-2")
        first.discovery.add_tags("load-9")
        print("less loaded now is", await read_from(reader, "second"))

        # A mirror leaves: the next best will do.
        feeds["second"].cancel()
        await second.close()
        print("the next best is", await read_from(reader, "third"))

        for task in feeds.values():
            task.cancel()
        await asyncio.wait(feeds.values())


if __name__ == "__main__":
    sys.exit(run(main))
