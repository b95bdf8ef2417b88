"""A whole node: what the handle promises from its start to its end."""

import asyncio
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mosaik_actors import (
    Closed,
    ConfigError,
    Network,
    NetworkId,
    PeerAddr,
    SecretKey,
    SecretKeyShared,
    Tag,
    TransportConfig,
    TransportError,
)
from tests.waiting import until


class Reading(msgspec.Struct, frozen=True):
    number: int


async def test_two_nodes_with_one_name_find_each_other_and_stream() -> None:
    async with Network("app", tags=["sensor"]) as a, Network("app") as b:
        producer, consumer = a.streams.produce(Reading), b.streams.consume(Reading)
        async with asyncio.timeout(20):
            await producer.when().online()
            for number in range(1000):
                await producer.send(Reading(number))
            got = [(await consumer.recv()).number for _ in range(1000)]
        assert got == list(range(1000))
        info = b.discovery.catalog()[a.peer_id]
        assert "sensor" in info.tags
        assert info.addr.peer_id == a.peer_id


async def test_bootstrap_address_as_text_is_enough() -> None:
    async with Network("app", rendezvous=False) as a:
        text = str(a.addr)
        assert PeerAddr.parse(text) == a.addr
        async with Network("app", bootstrap=text, rendezvous=False) as b:
            await until(lambda: a.peer_id in b.discovery.catalog())
            await until(lambda: b.peer_id in a.discovery.catalog())


async def test_nodes_with_different_names_never_meet() -> None:
    async with Network("one") as a, Network("two", bootstrap=str(a.addr)) as b:
        with pytest.raises(TransportError, match="belongs to another network"):
            await b.discovery.sync_with(a.addr)
        assert not a.discovery.catalog()
        assert not b.discovery.catalog()


async def test_identity_is_the_key() -> None:
    key = SecretKey.from_seed("alice")
    async with Network("app", secret_key=key, rendezvous=False) as net:
        assert net.peer_id == key.peer_id
        assert net.id == NetworkId("app")
    async with Network("app", secret_key=key.hex, rendezvous=False) as net:
        assert net.peer_id == key.peer_id


async def test_tags_may_be_one_or_many() -> None:
    async with Network("app", tags="worker", rendezvous=False) as net:
        assert list(net.discovery.me.entry.tags) == [Tag("worker")]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"secret_key": b"short"}, "secret_key: a secret key has 32 bytes, got 5"),
        ({"secret_key": "a seed by accident"}, r"SecretKey\.from_seed\(text\) for one made"),
        ({"network_id": ""}, "network_id is empty"),
        ({"network_id": None}, "network_id: .* got NoneType; expected the network's name"),
        ({"bootstrap": 4433}, "bootstrap is 4433, expected an address's text"),
        ({"tags": 3}, "tags: "),
        ({"tickets": "jwt"}, "tickets is 'jwt', expected a Ticket or several"),
        ({"tickets": [object()]}, r"what makes them, .* builder\.build\(secret_key\.peer_id\)"),
        ({"bind": 4433}, "bind: 4433 is neither"),
        ({"bind": ("127.0.0.1", "0")}, "bind: "),
        ({"bind": ("127.0.0.1", 70_000)}, "bind: .* a port of 0 to 65535"),
        ({"bind": "127.0.0.1:70000"}, "bind: .* a port of 0 to 65535"),
        ({"bootstrap": "nonsense"}, "bootstrap: a peer id has 64"),
        ({"transport": {"carriers": "auto"}}, "transport is {.*}, expected a TransportConfig"),
        ({"groups": TransportConfig()}, "groups is .*, expected a GroupsConfig"),
        ({"secret": "hunter2"}, "secret: a secret of 7 bytes, expected 16 to 1024"),
        ({"bind": "nowhere"}, "bind: 'nowhere' is not host:port"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Network(**{"network_id": "app", **settings})  # type: ignore[arg-type]


async def test_node_of_all_interfaces_is_found_by_one_that_hears_this_machine_only() -> None:
    async with Network("app", bind="0.0.0.0:0") as wide, Network("app") as local:
        await until(lambda: wide.peer_id in local.discovery.catalog())
        await until(lambda: local.peer_id in wide.discovery.catalog())


async def test_peer_beyond_what_the_node_is_bound_to_is_refused_with_advice() -> None:
    async with Network("app", bind="127.0.0.1:0", rendezvous=False) as net:
        far = PeerAddr(SecretKey.generate().peer_id, (("192.0.2.1", 4433),))
        with pytest.raises(TransportError, match=r'bind="0\.0\.0\.0:0"'):
            await net.discovery.sync_with(far)


@pytest.mark.parametrize(
    "bind",
    ["127.0.0.1:0", ("127.0.0.1", 0), [("127.0.0.1", 0)], ["127.0.0.1:0", "[::1]:0"], ("::1", 0)],
)
async def test_bind_may_be_one_address_or_several(bind: Any) -> None:
    async with Network("app", bind=bind, rendezvous=False) as net:
        assert {host for host, _ in net.addr.direct} <= {"127.0.0.1", "::1"}


async def test_busy_port_is_named_and_nothing_is_left_behind() -> None:
    async with Network("app", rendezvous=False) as net:
        port = net.addr.direct[0][1]
        with pytest.raises(TransportError, match=f"UDP port {port} is in use"):
            await Network.start("app", bind=("127.0.0.1", port), rendezvous=False)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_handle_that_is_not_started_or_closed_says_so() -> None:
    net = Network("app", rendezvous=False)
    with pytest.raises(Closed, match="not started"):
        _ = net.streams
    async with net:
        assert net.addr.direct
    with pytest.raises(Closed, match="closed"):
        net.streams.consume(Reading)
    with pytest.raises(Closed, match="starts once"):
        await net.__aenter__()
    await net.close()


async def read_to_the_end(events: AsyncIterator[object]) -> None:
    async for _ in events:
        pass


async def test_close_leaves_no_task_no_timer_and_no_socket(runtime_dir: Path) -> None:
    loop = asyncio.get_running_loop()
    before = set(Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").exists() else set()
    async with Network("app") as a, Network("app") as b:
        producer, consumer = a.streams.produce(Reading), b.streams.consume(Reading)
        await producer.when().online()
        await producer.send(Reading(1))
        await consumer.recv()
        watch = asyncio.create_task(read_to_the_end(b.discovery.events()))
    await asyncio.wait_for(watch, 5)
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert len(timers) <= 1  # the wait just above
    if before:
        assert len(set(Path("/proc/self/fd").iterdir())) <= len(before)
    assert not [path for path in runtime_dir.rglob("*") if path.is_file()]


async def test_cancelled_close_is_carried_through() -> None:
    net = await Network.start("app")
    other = await Network.start("app")
    await until(lambda: other.discovery.catalog())
    closing = asyncio.create_task(net.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await until(lambda: not other.discovery.catalog())
    await other.close()


async def test_cancelling_every_task_still_gives_the_sockets_back() -> None:
    net = await Network.start("app", rendezvous=False)
    port = net.addr.direct[0][1]
    closing = asyncio.create_task(net.close())
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await closing
    await net.close()
    async with Network("app", bind=("127.0.0.1", port), rendezvous=False):
        pass  # the port is free again


async def test_departure_is_seen_at_once() -> None:
    async with Network("app") as stays:
        async with Network("app") as leaves:
            await until(lambda: leaves.peer_id in stays.discovery.catalog())
        await until(lambda: leaves.peer_id not in stays.discovery.catalog(), timeout=2)


async def test_logging_is_quiet_by_default_and_useful_at_info(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="mosaik_actors"):
        async with Network("app") as a, Network("app") as b:
            await until(lambda: b.peer_id in a.discovery.catalog())
    assert f"node {a.peer_id.short}" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


INTERRUPTED = """
import asyncio
from mosaik_actors import Network

async def main():
    async with Network("app") as net:
        print("up", flush=True)
        await asyncio.Event().wait()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_interrupt_ends_a_node_without_a_traceback(runtime_dir: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    assert not [path for path in runtime_dir.rglob("*") if path.is_file()]


async def test_two_nodes_with_one_key_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Alone on a machine they cannot meet, but each sees the other's notice."""
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    key = SecretKey.generate()
    async with Network("one-key", secret_key=key) as one:
        events = one.discovery.events()
        async with Network("one-key", secret_key=key.hex):
            event = await asyncio.wait_for(anext(events), 20)
            assert event == SecretKeyShared(key.peer_id)
            await until(lambda: caplog.text.count("another node uses the same secret key") == 2)
        caplog.clear()
    # One after the other is a restart, and nothing to tell.
    async with Network("one-key", secret_key=key), Network("one-key") as observer:
        await until(lambda: len(observer.discovery.catalog()) == 1)
    assert "secret key" not in caplog.text
