"""Reads what the feed sends, inside of a trusted domain. Change a byte, and it gets nothing."""

import argparse
import asyncio
import sys
from pathlib import Path

from software import Reading, domain

from mosaik_actors import Consumer, Network, NotAllowed, run


def refusals(readings: Consumer[Reading]) -> list[NotAllowed]:
    """Return what the ward has against this program."""
    return [one for one in readings.refusals().values() if isinstance(one, NotAllowed)]


async def main(network: str, patience_s: float, is_real: bool) -> None:
    program = Path(__file__)
    async with Network(network, tee=domain(program, is_real)) as net:
        print(f"reader: {net.tdx.status}")
        await net.tdx.install_own_ticket(3600)
        readings = net.streams.consumer(Reading)
        got = 0
        try:
            async with asyncio.timeout(patience_s):
                while not (readings.producers() or refusals(readings)):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            for refusal in refusals(readings):
                print(f"reader: {refusal}")
            while readings.producers():
                got += bool(await asyncio.wait_for(readings.recv(), 1))
        except TimeoutError:
            pass  # there is no ward, or it has left
        print(f"reader: MRTD {(await net.tdx.measurements()).mrtd.short}, got {got} readings")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="attested")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds to wait for a feed")
    parser.add_argument("--real", action="store_true", help="in a TD of this machine's own")
    options = parser.parse_args()
    sys.exit(run(main, options.network, options.patience, options.real))
