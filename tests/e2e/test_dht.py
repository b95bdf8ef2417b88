"""The DHT with real sockets, on the loopback interface only."""

from __future__ import annotations

import asyncio
import sys

import pytest

from mosaik_actors import DhtConfig, Network
from mosaik_actors.dht.bencode import Value
from mosaik_actors.dht.items import MutableItem
from mosaik_actors.dht.record import encode_record
from mosaik_actors.dht.slots import derive_slots
from mosaik_actors.errors import ConfigError
from mosaik_actors.ids import SecretKey, UniqueId
from mosaik_actors.testing.local_dht import LocalDht
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.admission import NetworkKeys
from tests.waiting import until


def member(dht: LocalDht, network: str, secret: str | None = None) -> Network:
    """Return a node that finds others through this DHT only."""
    return Network(network, secret=secret, bind="127.0.0.1:0", rendezvous=False, dht=dht.config)


async def test_two_that_share_nothing_but_a_name_meet() -> None:
    async with LocalDht(50) as dht:
        async with (
            member(dht, "dht-e2e", "a secret of this test") as one,
            member(dht, "dht-e2e", "a secret of this test") as other,
            member(dht, "dht-e2e", "another secret, not this") as stranger,
        ):
            await until(lambda: other.peer_id in one.discovery.catalog())
            await until(lambda: one.peer_id in other.discovery.catalog())
            assert len(stranger.discovery.catalog()) == 0
        assert sum(len(node.store) for node in dht.nodes) > 0


async def test_dead_and_hostile_records_are_in_nobodys_way() -> None:
    """The names of an open network's slots are anybody's to write into."""
    slots = derive_slots(NetworkKeys(UniqueId("dht-open")))
    nobody = SecretKey.from_seed("nobody").peer_id
    async with LocalDht(8) as dht:
        now = asyncio.get_running_loop().time()
        sequence = 1_000_000 * 1_700_000_000
        for number, slot in enumerate(slots):
            private = PeerAddr(nobody, (("10.255.255.1", 9), ("127.0.0.1", 9)))
            values: list[Value] = [
                b"nonsense",
                encode_record(private, slot.public_key),
                [b"x"],
                b"",
            ]
            item = MutableItem.sign(slot.private_key, sequence, values[number % 4])
            for node in dht.nodes:
                node.store.put(item, now=now)
        async with (
            member(dht, "dht-open") as one,
            member(dht, "dht-open") as other,
        ):
            await until(lambda: other.peer_id in one.discovery.catalog())
            assert nobody not in one.discovery.catalog()


async def test_command_shows_the_slots() -> None:
    async with LocalDht(8) as dht:
        entry = dht.config.bootstrap[0]
        async with member(dht, "dht-shown") as net:
            await until(lambda: sum(len(node.store) for node in dht.nodes) > 0)
            command = ("-m", "mosaik_actors.cli.main", "dht", "dht-shown", "--bootstrap", entry)
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdout=asyncio.subprocess.PIPE
            )
            shown, _ = await process.communicate()
            text = shown.decode()
            assert process.returncode == 0, text
            assert "alive" in text
            assert net.peer_id.short in text
            assert text.count("free") == 15


def test_settings_are_checked() -> None:
    for wrong in ("nowhere", "host:", "host:x", "host:70000", ":1"):
        with pytest.raises(ConfigError, match="dht"):
            DhtConfig(bootstrap=(wrong,))
