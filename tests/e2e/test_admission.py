"""A network with a secret, on real QUIC: who has it is in, and everybody else is told so little."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path

import pytest

from mosaik_actors import ConfigError, Network, NotAdmitted, ProducerOffline, SecretKey
from mosaik_actors.discovery.errors import SyncError
from mosaik_actors.network_secret import VARIABLE
from tests.waiting import until

from .command import command

OLD, NEW = "the secret of last year", "the secret of this year"


async def check_refused(one: Network, other: Network) -> None:
    with pytest.raises(NotAdmitted, match="another network, or to one with another") as caught:
        await one.discovery.dial(other.addr)
    assert caught.value.gate == "network"
    assert OLD not in str(caught.value)


@pytest.mark.parametrize("other_secret", [NEW, None])
async def test_another_secret_is_not_admitted_on_either_side(
    other_secret: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        Network("closed", secret=OLD) as inside,
        Network("closed", secret=other_secret) as outside,
    ):
        await check_refused(outside, inside)
        await check_refused(inside, outside)
        assert not inside.discovery.catalog()
        assert not outside.discovery.catalog()
        # Who was told to dial the other says that the secret may be why.
        with caplog.at_level(logging.ERROR):
            async with Network("closed", secret=other_secret, bootstrap=inside.addr):
                await until(lambda: "or has another secret" in caplog.text)
        for said in (OLD, NEW, inside.id.short):
            assert said not in "".join(r.getMessage() for r in caplog.records if r.levelno > 20)


async def test_the_environment_closes_a_network_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, OLD)
    file = tmp_path / "secret"
    file.write_text(f"{OLD}\n")
    file.chmod(0o600)
    async with Network("closed") as one, Network("closed", secret=file) as two:
        await until(lambda: two.peer_id in one.discovery.catalog())
        async with Network("closed", secret=NEW, bootstrap=one.addr) as three:
            await check_refused(three, one)


async def test_secret_is_changed_while_items_flow() -> None:
    """One process after the other is restarted, first with both secrets, then with the new one."""
    got: list[int] = []

    async def start(*secret: str) -> Network:
        return await Network.start("rolling", secret=secret)

    async def consume(net: Network) -> None:
        consumer = net.streams.consumer(int, stream_id="numbers")
        while True:
            got.append(await consumer.recv())

    async def produce(net: Network) -> None:
        producer = net.streams.producer(int, stream_id="numbers")
        while True:
            try:
                await producer.send(len(got))
            except ProducerOffline:
                await producer.when().online()
            await asyncio.sleep(0.001)

    jobs = {"sends": produce, "takes": consume}
    nets = {name: await start(OLD) for name in jobs}
    tasks = {name: asyncio.create_task(job(nets[name])) for name, job in jobs.items()}
    try:
        for secrets in ((NEW, OLD), (NEW,)):
            for name, job in jobs.items():
                tasks[name].cancel()
                await asyncio.wait([tasks[name]])
                await nets[name].close()
                nets[name] = await start(*secrets)
                tasks[name] = asyncio.create_task(job(nets[name]))
                count = len(got)
                await until(lambda count=count: len(got) > count + 10)  # type: ignore[misc]
        assert all(not task.done() for task in tasks.values())
        async with Network("rolling", secret=OLD, bootstrap=nets["sends"].addr) as late:
            await check_refused(late, nets["sends"])
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        for net in nets.values():
            await net.close()


async def test_commands_take_the_secret_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "net.secret"
    async with command("secret", "new", str(file), runtime_dir=tmp_path) as made:
        assert await made.end() == 0
    assert made.out == []
    async with Network("shop", secret=file) as net:
        closed = ("peers", "shop", "--secret-file", str(file))
        async with command(*closed, runtime_dir=tmp_path) as peers:
            await peers.line(net.peer_id.short)
            assert await peers.end() == 0
        open_ = ("peers", "shop", "--wait", "0.5", "--bootstrap", str(net.addr))
        async with command(*open_, runtime_dir=tmp_path) as peers:
            assert await peers.end() == 1
        assert "or has another secret" in "".join(peers.err)


async def test_ban_ends_a_stream_at_once_and_allow_lets_it_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Network("lists") as one, Network("lists") as other:
        producer = one.streams.producer(int, stream_id="numbers")
        consumer = other.streams.consumer(int, stream_id="numbers")
        await producer.when().online()
        await producer.send(1)
        assert await consumer.recv() == 1
        one.ban(other.peer_id, timedelta(hours=1), why="a test")
        await until(lambda: not producer.consumers() and not consumer.producers(), timeout=1)
        with pytest.raises(NotAdmitted, match=r"banned for another \d+ s: a test") as caught:
            await other.discovery.dial(one.addr)
        assert caught.value.gate == "deny"
        with pytest.raises(SyncError, match="banned") as here:
            await one.discovery.dial(other.addr)  # not refused, but not wanted
        assert not isinstance(here.value, NotAdmitted)
        assert one.standings()[other.peer_id].gate == "deny"
        said = [r.getMessage() for r in caplog.records if "does not admit this node" in r.message]
        assert len(said) == 1
        one.allow(str(other.peer_id))
        # Both come back by themselves; a dial that was under way may still be refused.
        await producer.when().online()
        await producer.send(2)
        assert await consumer.recv() == 2
        with pytest.raises(ConfigError, match="ban itself"):
            one.ban(one.peer_id)
        with pytest.raises(ConfigError, match="duration is 0"):
            one.ban(other.peer_id, 0)


async def test_only_those_on_the_list_get_in() -> None:
    key = SecretKey.from_seed("a friend")
    async with Network("lists", allow=[key.peer_id], rendezvous=False) as one:
        async with Network("lists", secret_key=key, rendezvous=False) as friend:
            await friend.discovery.dial(one.addr)
        async with Network("lists", rendezvous=False) as other:
            with pytest.raises(NotAdmitted, match="not on the list") as caught:
                await other.discovery.dial(one.addr)
            assert caught.value.gate == "allow"
    for wrong in ({"allow": ["me"]}, {"deny": [7]}, {"deny": 7}):
        with pytest.raises(ConfigError, match=r"allow|deny"):
            Network("lists", **wrong)
