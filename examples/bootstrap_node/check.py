"""A beacon, two nodes that know nothing but its address, and a restart of it.

Ends with exit code 0 if the two met both before and after the restart, at the same address.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from mosaik_actors import Network, PeerAddr, run

NETWORK = "bootstrap-node-example"


@contextlib.asynccontextmanager
async def beacon(key_file: Path, port: int) -> AsyncIterator[str]:
    """Run a beacon, as the unit file does; give the address that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mosaik_actors.cli.main", "beacon", NETWORK),
        *("--bind", f"127.0.0.1:{port}", "--key-file", str(key_file)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def meet(address: str) -> None:
    """Return when two nodes, which look nowhere else, have found each other."""
    async with (
        Network(NETWORK, bootstrap=[address], rendezvous=False) as one,
        Network(NETWORK, bootstrap=[address], rendezvous=False) as two,
    ):
        for net, other in ((one, two), (two, one)):
            async for catalog in net.discovery.watch():
                if other.peer_id in catalog:
                    break


async def main(timeout_s: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        key_file, addresses = Path(folder) / "beacon.key", list[str]()
        async with asyncio.timeout(timeout_s):
            for when in ("at first", "after a restart"):
                port = PeerAddr.parse(addresses[0]).direct[0][1] if addresses else 0
                async with beacon(key_file, port) as address:
                    await meet(address)
                addresses.append(address)
                print(f"{when} two nodes met through {address}")
        assert addresses[0] == addresses[1], "the beacon has another address"
        print("checked: the address is the same, and whoever has it finds the others")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--timeout", type=float, default=60.0)
    sys.exit(run(main, parser.parse_args().timeout))
