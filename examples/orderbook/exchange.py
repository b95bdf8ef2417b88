"""One of the exchange's machines: it keeps a copy of the book and votes."""

import argparse
import sys
from pathlib import Path

from book import NETWORK, Summary, join, node_key

from mosaik_actors import LeaderElected, Network, run


async def main(network: str, folder: Path | None) -> None:
    key = None if folder is None else node_key(folder)
    async with Network(network, secret_key=key) as net:
        group = join(net, folder=folder)
        print("exchange: waiting for a majority", flush=True)
        await group.when().online()
        trades, volume, digest = (await group.query(Summary())).result
        print(f"exchange: open, {trades} trades, volume {volume}, state {digest}", flush=True)
        print(f"exchange: {'leads' if group.is_leader else 'follows'}", flush=True)
        async for event in group.events():
            if isinstance(event, LeaderElected) and event.leader is not None:
                role = "leads" if event.leader == net.peer_id else "follows"
                print(
                    f"exchange: {role} after {event.elapsed_s:.1f} s without a leader", flush=True
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default=NETWORK)
    parser.add_argument("--data", type=Path, help="a folder to keep key and log in; else in memory")
    options = parser.parse_args()
    sys.exit(run(main, options.network, options.data))
