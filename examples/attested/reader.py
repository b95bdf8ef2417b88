"""Reads what the feed sends, inside of a trusted domain. Change a byte, and it gets nothing."""

import argparse
import asyncio
import sys
from pathlib import Path

from software import Reading, domain

from mosaik_actors import Consumer, Network, NotAllowed, run


async def until_fed(readings: Consumer[Reading]) -> None:
    """Wait until the ward feeds this program, and print what it has against it until then.

    It may have heard of this node, and not of its ticket yet: that is no last word.
    """
    shown: set[str] = set()
    while not readings.producers():
        for one in readings.refusals().values():
            if isinstance(one, NotAllowed) and str(one) not in shown:
                shown.add(str(one))
                print(f"reader: {one}")
        await asyncio.sleep(0.05)


async def main(network: str, patience_s: float, is_real: bool) -> None:
    program = Path(__file__)
    async with Network(network, tee=domain(program, is_real)) as net:
        print(f"reader: {net.tdx.status}")
        await net.tdx.install_own_ticket(3600)
        readings = net.streams.consumer(Reading)
        got = 0
        try:
            await asyncio.wait_for(until_fed(readings), patience_s)
            while readings.producers():
                got += bool(await asyncio.wait_for(readings.recv(), 1))
        except TimeoutError:
            pass  # there is no ward, it has left, or it does not let this program in
        print(f"reader: MRTD {(await net.tdx.measurements()).mrtd.short}, got {got} readings")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="attested")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds to wait for a feed")
    parser.add_argument("--real", action="store_true", help="in a TD of this machine's own")
    options = parser.parse_args()
    sys.exit(run(main, options.network, options.patience, options.real))
