"""One member of a map, in its own process: ``python -m tests.namespaces.member NAME HOST [PEER]``.

It writes one key after the other, and says in lines of JSON how many were acknowledged, how many
it holds of each member, and what carries the connection. It fails if one that was
acknowledged is not there, or if there is a key without the one before it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from mosaik_actors import CollectionOffline, Map, Network, SecretKey

PAUSE_S = 0.05


def held_of(entries: dict[str, int]) -> dict[str, int]:
    """Return how many keys there are of each member; they are numbered without a gap."""
    numbers: dict[str, set[int]] = {}
    for key, value in entries.items():
        numbers.setdefault(key.split("/")[0], set()).add(value)
    for name, found in numbers.items():
        assert found == set(range(len(found))), f"of {name} one is missing among {len(found)}"
    return {name: len(found) for name, found in numbers.items()}


async def main(name: str, host: str, bootstrap: str = "") -> None:
    """Write until killed."""
    network = Network(
        "blocked",
        secret_key=SecretKey.from_seed(name),
        bind=f"{host}:0",
        rendezvous=False,
        bootstrap=bootstrap or (),
    )
    async with network as net:
        say(addr=str(net.addr))
        entries: Any = Map[str, int].writer(net, "entries")
        endpoint, number = net.node.endpoint, 0
        while True:
            try:
                await entries.insert(f"{name}/{number}", number)
            except CollectionOffline:  # it may still take effect, and twice is as once
                await entries.when().online()
                continue
            number += 1
            held = held_of(dict(entries))
            assert held[name] == number, f"{number} were acknowledged, {held[name]} are there"
            peers = endpoint.connected_peers()
            carrier = endpoint.carrier(peers[0]) if peers else None
            say(name=name, acknowledged=number, held=held, carrier=carrier)
            await asyncio.sleep(PAUSE_S)


def say(**what: Any) -> None:
    """Write a line for the test."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
