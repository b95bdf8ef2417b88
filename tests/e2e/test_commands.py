"""Commands that take part in a network, against real nodes."""

import json
import signal
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mosaik_actors import Map, Network, PeerAddr, RelayConfig, TransportConfig
from mosaik_actors.cli.relay import render
from mosaik_actors.transport.relay.forwarding import RelayCounters
from mosaik_actors.transport.relay.server import RelayServer
from tests.waiting import until

from .command import command


async def test_a_collection_is_loaded_through_a_beacon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beacon's address is all that the others share: each has a rendezvous of its own."""
    key = str(tmp_path / "beacon.key")
    lines = tmp_path / "prices.jsonl"
    lines.write_text('["ETH", 3120.5]\n["BTC", 64000.0]\n')
    (tmp_path / "there").mkdir()
    arguments = ("beacon", "shop", "--key-file", key, "--bind", "127.0.0.1:0")
    async with command(*arguments, runtime_dir=tmp_path / "there") as beacon:
        addr = await beacon.line("@127.0.0.1:")
        monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
        async with Network("shop", bootstrap=addr) as net:
            prices = Map[str, float].writer(net, "prices")
            await prices.when().online()
            kind = ("prices", "Map[str,float]")
            join = ("shop", "--bootstrap", addr)
            async with command("collection", "load", *join, *kind, str(lines),
                               runtime_dir=tmp_path / "there") as load:  # fmt: skip
                assert await load.end() == 0, load.transcript()
            assert dict(prices) == {"ETH": 3120.5, "BTC": 64000.0}
            async with command("group", "status", *join, "--json",
                               runtime_dir=tmp_path / "there") as show:  # fmt: skip
                assert await show.end() == 0, show.transcript()
            [row] = map(json.loads, show.out)
            assert row["leader"] == str(net.peer_id)
        assert await beacon.end(signal.SIGTERM) == 143
    assert Path(key).exists()


async def test_nodes_meet_through_the_relay_command_and_it_shows_what_it_did(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "relay.secret"
    secret.write_text("a secret of the relay's own")
    secret.chmod(0o600)
    arguments = ("relay", "--key-file", str(tmp_path / "relay.key"), "--bind", "127.0.0.1:0")
    options = ("--secret-file", str(secret), "--metrics-addr", "127.0.0.1:0")
    only_relay = TransportConfig(carriers=("relay",))
    async with command(*arguments, *options, runtime_dir=tmp_path) as relay:
        addr = await relay.line("@127.0.0.1:")
        config = RelayConfig(relays=(PeerAddr.parse(addr),), secret=secret)
        common: dict[str, Any] = {
            "relay": config,
            "transport": only_relay,
            "rendezvous": False,
        }
        async with (
            Network("shop", **common) as a,
            Network("shop", bootstrap=str(a.peer_id), **common) as b,
        ):
            await until(lambda: b.peer_id in a.discovery.catalog())
            assert a.node.endpoint.carrier(b.peer_id) == "relay"
            (tmp_path / "there").mkdir()
            join = ("shop", "--bootstrap", str(a.peer_id), "--relay", addr)
            async with command("peers", *join, "--relay-secret-file", str(secret), "--json",
                               runtime_dir=tmp_path / "there") as peers:  # fmt: skip
                assert await peers.end() == 0, peers.transcript()
            assert str(b.peer_id) in "".join(peers.out)
        assert await relay.end(signal.SIGTERM) == 143


def test_the_metrics_of_a_relay_have_every_counter() -> None:
    counters = RelayCounters(datagrams_forwarded=3)
    text = render(cast(RelayServer, SimpleNamespace(peer_count=2, counters=counters))).decode()
    assert "mosaik_relay_peers 2.0\n" in text
    assert "mosaik_relay_datagrams_forwarded_total 3.0\n" in text
    assert text.count("_total 0.0\n") == len(fields(counters)) - 1
