"""Sends readings to those, and only those, who prove that they run the reader as it is here."""

import argparse
import asyncio
import sys
from random import Random

from software import READER, ROOT, Reading, measure

from mosaik_actors import Network, Tdx, run


async def main(network: str, count: int, readers: int, mrtd: str | None) -> None:
    rng = Random(1)
    # On real hardware: what the image measures, and no other root than Intel's.
    allowed = Tdx(mrtd) if mrtd else Tdx(measure(READER), roots=[ROOT])
    async with Network(network) as net:
        feed = net.streams.producer(
            Reading, require_ticket=[allowed], online_when=lambda c: c.minimum_of(readers)
        )
        print(f"ward: outside of any trusted domain, for readers with {allowed!r}")
        await feed.when().online()
        for _ in range(count):
            await feed.send(Reading(rng.randrange(100), rng.randint(50, 120)))
            await asyncio.sleep(0.005)
        print(f"ward: sent {count} readings to {len(feed.consumers())} readers")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="attested")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--readers", type=int, default=1, help="wait for so many of them")
    parser.add_argument("--mrtd", help="of a real image, in place of the simulated one")
    options = parser.parse_args()
    sys.exit(run(main, options.network, options.count, options.readers, options.mrtd))
