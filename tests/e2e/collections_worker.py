"""The other process of the collection tests.

    python -m tests.e2e.collections_worker <network> <name>

It opens the shared map as a writer, says when it is online, and writes its own
key over and over until its input ends. One JSON object per line: what it wrote.
"""

from __future__ import annotations

import asyncio
import json
import sys

from mosaik_actors import CollectionOffline, Map, Network, collection

LATEST = collection(Map[str, int], "latest")


async def main(network: str, name: str) -> None:
    async with Network(network) as net:
        latest = await LATEST.online_writer(net)
        print(json.dumps({"online": True}), flush=True)  # noqa: T201  # that is how it reports
        number = 0
        while True:
            try:
                version = await latest.insert(name, number)
            except CollectionOffline:
                continue
            print(json.dumps({"wrote": number, "version": version}), flush=True)  # noqa: T201
            number += 1
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
