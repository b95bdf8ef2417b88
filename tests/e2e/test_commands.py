"""Commands that take part in a network, against real nodes."""

import json
import signal
from pathlib import Path

import pytest

from mosaik_actors import Map, Network

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
