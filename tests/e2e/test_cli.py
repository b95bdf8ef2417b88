"""The other commands against real nodes."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from mosaik_actors import Network, ProducerOffline

from .command import EXECUTABLE, command


class Quote(msgspec.Struct, frozen=True):
    symbol: str
    bid: float


@pytest.fixture
async def seller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Network]:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    async with Network("shop") as net:
        net.streams.produce(Quote, stream_id="shop.quotes")
        yield net


async def test_peers_lists_who_is_there(seller: Network, tmp_path: Path) -> None:
    async with command("peers", "shop", runtime_dir=tmp_path) as peers:
        line = await peers.line(seller.peer_id.short)
        assert await peers.end() == 0
    host, port = seller.addr.direct[0]
    assert f"{host}:{port}" in line
    assert "shop.quotes" in line
    assert peers.out == [line]
    assert peers.err == []


async def test_a_line_of_peers_can_be_pasted_as_bootstrap(seller: Network, tmp_path: Path) -> None:
    async with command("peers", "shop", "--long", runtime_dir=tmp_path) as peers:
        line = await peers.line(str(seller.peer_id))
        assert await peers.end() == 0
    # Where nobody can be found by name, the address alone is enough.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = ("peers", "shop", "--bootstrap", line.split()[0])
    async with command(*arguments, runtime_dir=elsewhere) as peers:
        await peers.line(seller.peer_id.short)
        assert await peers.end() == 0


async def test_watching_shows_who_comes_and_goes_until_ctrl_c(
    seller: Network, tmp_path: Path
) -> None:
    async with command("peers", "shop", "--watch", runtime_dir=tmp_path) as peers:
        await peers.line(rf"^\+ {seller.peer_id.short}")
        async with Network("shop") as visitor:
            await peers.line(rf"^\+ {visitor.peer_id.short}")
        await peers.line(rf"^- {visitor.peer_id.short}")
        assert await peers.end(signal.SIGINT) == 130
    assert peers.err == []


async def test_nobody_there_is_said_in_one_line(tmp_path: Path) -> None:
    async with command("peers", "void", "--wait", "0.2", runtime_dir=tmp_path) as peers:
        assert await peers.end() == 1
    assert len(peers.err) == 1
    assert "nobody else found on network 'void'" in peers.err[0]


async def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        arguments = ("peers", "shop", "--bind", f"127.0.0.1:{port}")
        async with command(*arguments, runtime_dir=tmp_path) as peers:
            assert await peers.end() == 1
    assert len(peers.err) == 1
    assert f"UDP port {port} is in use at 127.0.0.1:{port}" in peers.err[0]


async def test_tap_prints_items_of_a_type_it_does_not_know(seller: Network, tmp_path: Path) -> None:
    producer = seller.streams.produce(Quote, stream_id="shop.quotes")
    async with command("tap", "shop", "shop.quotes", "--count", "2", runtime_dir=tmp_path) as tap:
        async with asyncio.timeout(20):
            await producer.when().online()
        for bid in (1.5, 2.5, 3.5):
            await producer.send(Quote("ABC", bid))
        assert await tap.end() == 0
    assert [json.loads(line) for line in tap.out] == [
        {"symbol": "ABC", "bid": 1.5},
        {"symbol": "ABC", "bid": 2.5},
    ]
    assert tap.err == []


async def test_a_reader_that_has_seen_enough_ends_the_command_quietly(
    seller: Network, tmp_path: Path
) -> None:
    producer = seller.streams.produce(Quote, stream_id="shop.quotes")
    piped = await asyncio.create_subprocess_shell(
        f"'{EXECUTABLE}' tap shop shop.quotes | head -n 1",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    ended = asyncio.create_task(piped.communicate())
    async with asyncio.timeout(20):
        while not ended.done():
            with suppress(ProducerOffline):
                producer.try_send(Quote("ABC", 1.0))
            await asyncio.wait([ended], timeout=0.02)
    out, err = await ended
    assert json.loads(out) == {"symbol": "ABC", "bid": 1.0}
    assert err == b""


async def test_top_once_shows_what_goes_through_streams_each_second(
    seller: Network, tmp_path: Path
) -> None:
    producer = seller.streams.produce(Quote, stream_id="shop.quotes")
    async with (
        Network("shop") as buyer,
        command("top", "shop", "--once", "--interval", "0.3", runtime_dir=tmp_path) as top,
    ):
        consumer = buyer.streams.consumer(Quote, stream_id="shop.quotes")
        await consumer.when().online()
        ended = asyncio.create_task(top.end())
        while not ended.done():
            await producer.send(Quote("ABC", 1.0))
            await consumer.recv()
            await asyncio.wait([ended], timeout=0.01)
        assert await ended == 0
    rates = [line.split()[5] for line in top.out if line.startswith(seller.peer_id.short)]
    assert [float(rate) > 0 for rate in rates] == [True]


async def test_information_is_logged_when_asked_for(seller: Network, tmp_path: Path) -> None:
    arguments = ("--log-level", "info", "peers", "shop")
    async with command(*arguments, runtime_dir=tmp_path) as peers:
        assert await peers.end() == 0
    assert any("INFO" in line and "listens at" in line for line in peers.err)
