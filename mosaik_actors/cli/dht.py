"""``mosaik-actors dht``: what stands in the slots of a network in the Mainline DHT."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any

from .. import running
from ..ids import SHORT_DIGITS
from ..peer_text import printable
from . import joining
from .failure import CommandFailed

if TYPE_CHECKING:
    from ..dht.config import DhtConfig
    from ..dht.slots import DhtSlot
    from . import Subparsers

WAIT_S = 20.0

_EPILOG = """\
examples:
  mosaik-actors dht my-app                             the sixteen slots of an open network
  mosaik-actors dht my-app --secret-file net.secret    those of a closed one
  mosaik-actors dht my-app --bootstrap 10.0.0.5:6881   in a DHT of one's own
  mosaik-actors dht my-app --json | jq '.[].peer'

Only reads. A slot is free, alive (a peer wrote it within ten minutes), expired, or
invalid (somebody wrote something else). The exit code is 1 when no node of the DHT
answers. Needs the extra "dht".
"""


def add(subparsers: Subparsers) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "dht",
        help="show where a network's peers write themselves down in the Mainline DHT",
        description="Show the slots of a network in the Mainline DHT.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", help="the network's name, or its id")
    joining.add_secret_file(parser)
    parser.add_argument(
        "--bootstrap",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="a node of the DHT to begin with; may be repeated (default: public ones)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=joining.positive(float),
        default=WAIT_S,
        help="how long to wait for the DHT (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="a JSON array instead of a table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read all slots once, and print them."""
    from ..dht.config import DhtConfig, require_dnspython
    from ..handles.arguments import as_network_id
    from ..network_secret import load_secrets
    from ..transport.admission import NetworkKeys

    require_dnspython()
    from ..dht.slots import derive_slots

    config = DhtConfig(bootstrap=tuple(options.bootstrap)) if options.bootstrap else DhtConfig()
    secrets = load_secrets(options.secret_file, os.environ)
    slots = derive_slots(NetworkKeys(as_network_id(options.network), secrets))

    async def show() -> None:
        rows = await _read(slots, config, options.timeout)
        print(json.dumps(rows, indent=2) if options.json else _format(rows))

    return running.run(show)


def _format(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'slot':>4}  {'state':<8} {'age':>6}  {'key':<10}  peer"]
    for row in rows:
        age = "" if row["age_s"] is None else f"{row['age_s']:.0f} s"
        shown = printable(row["addr"] or row["reason"] or "")
        key = row["key"][:SHORT_DIGITS]
        lines.append(f"{row['slot']:>4}  {row['state']:<8} {age:>6}  {key}  {shown}".rstrip())
    return "\n".join(lines)


async def _read(
    slots: tuple[DhtSlot, ...], config: DhtConfig, wait_s: float
) -> list[dict[str, Any]]:
    from ..actors.dht import resolve
    from ..dht.chain import read_slot
    from ..dht.config import parse_host_port
    from ..environment import Machine
    from ..handles.dht_client import DhtClient
    from ..transport.sockets import family_of

    addr = parse_host_port(config.bind)
    entries = await resolve(config.bootstrap, family_of(addr[0]))
    if not entries:
        raise CommandFailed(f"none of these could be resolved: {', '.join(config.bootstrap)}")
    rng = Machine().randomness.branch("dht")
    async with DhtClient(addr, entries, rng=rng) as client:
        try:
            async with asyncio.timeout(wait_s):
                await client.joined()
                found = await asyncio.gather(*(client.find(slot.target) for slot in slots))
        except TimeoutError:
            raise CommandFailed(f"no node of the DHT answered within {wait_s:g} s") from None
    now = time.time()
    rows = []
    for slot, item in zip(slots, found, strict=True):
        reading = read_slot(slot, item, wall=now)
        rows.append(
            {
                "slot": slot.number,
                "key": slot.public_key.hex(),
                "state": reading.state.value,
                "age_s": None if reading.sequence is None else round(now - reading.written_s, 1),
                "peer": None if reading.addr is None else str(reading.addr.peer_id),
                "addr": None if reading.addr is None else str(reading.addr),
                "reason": reading.reason or None,
            }
        )
    return rows
