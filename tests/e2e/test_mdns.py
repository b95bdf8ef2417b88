"""mDNS between real processes, over multicast on the loopback interface only."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from random import Random
from types import SimpleNamespace

import pytest
from thespian.actors import WakeupMessage
from zeroconf import IPVersion, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from mosaik_actors.actors import mdns
from mosaik_actors.actors.mdns import MdnsActor, _HourOver
from mosaik_actors.clock import LoopClock
from mosaik_actors.discovery.mdns import HOUR_S, SERVICE_TYPE
from mosaik_actors.errors import ConfigError
from mosaik_actors.ids import SecretKey
from mosaik_actors.network import Network
from mosaik_actors.transport.close import SHUTDOWN
from mosaik_actors.transport.endpoint import QuicEndpoint
from tests.waiting import until

LOOPBACK = "127.0.0.1"
GROUP = "224.0.0.251"

# A node that is found by nothing but mDNS: it prints itself, then whom it discovers
# and who leaves, and ends with its input.
NODE = """
import asyncio, sys
from mosaik_actors.network import Network

async def main():
    net = Network(sys.argv[1], bind="127.0.0.1:0", rendezvous=False, mdns=True)
    async with net:
        print(net.peer_id, flush=True)
        told = asyncio.ensure_future(tell(net.discovery.events()))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await told

async def tell(events):
    async for event in events:
        print(type(event).__name__, event.peer_id, flush=True)

asyncio.run(main())
"""


def find_obstacle() -> str | None:
    """Return why there is no multicast on the loopback interface, or None."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hearer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker,
    ):
        try:
            hearer.bind(("", 0))
            membership = socket.inet_aton(GROUP) + socket.inet_aton(LOOPBACK)
            hearer.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            speaker.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK)
            )
            hearer.settimeout(2)
            speaker.sendto(b"anybody?", (GROUP, hearer.getsockname()[1]))
            hearer.recv(100)
        except OSError as error:
            return f"no multicast on the loopback interface: {error}"
    return None


@pytest.fixture(scope="module", autouse=True)
def _multicast() -> None:
    if (obstacle := find_obstacle()) is not None:
        pytest.skip(obstacle)


class Process:
    """A node in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def read_line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().strip()

    async def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(20):
            await self.process.wait()


@asynccontextmanager
async def process(network: str) -> AsyncIterator[tuple[Process, str]]:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-X", "dev", "-W", "error", "-c", NODE, network)
    node = Process(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))
    try:
        yield node, await node.read_line()
    finally:
        if node.process.returncode is None:
            await node.end()


async def test_two_processes_find_each_other_on_the_local_network() -> None:
    async with process("mdns test") as (first, first_id):
        async with process("mdns test") as (second, second_id):
            assert await first.read_line() == f"PeerDiscovered {second_id}"
            assert await second.read_line() == f"PeerDiscovered {first_id}"
        assert second.process.returncode == 0
        assert await first.read_line() == f"PeerDeparted {second_id}"
    assert first.process.returncode == 0


def on_loopback(network: str, secret: bytes | None = None) -> Network:
    return Network(network, secret=secret, bind="127.0.0.1:0", rendezvous=False, mdns=True)


async def endpoint(name: str) -> QuicEndpoint:
    clock = LoopClock(asyncio.get_running_loop())
    return await QuicEndpoint.start(name, SecretKey.from_seed(name), clock=clock, rng=Random(name))


async def test_networks_do_not_meet() -> None:
    async with (
        on_loopback("mdns here") as here,
        on_loopback("mdns there") as there,
        on_loopback("mdns here") as also_here,
    ):
        await until(lambda: also_here.peer_id in here.discovery.catalog())
        await until(lambda: here.peer_id in also_here.discovery.catalog())
        # By then the third has been heard as well.
        assert len(there.discovery.catalog()) == 0
        assert len(here.discovery.catalog()) == 1


async def until_named(browser: Browser, count: int) -> list[str]:
    await until(lambda: len(browser.names) >= count, timeout=20)
    return list(browser.names)


class Browser:
    """A stranger on the local network: what it sees, and what it says."""

    def __init__(self) -> None:
        self.zeroconf = AsyncZeroconf(interfaces=[LOOPBACK], ip_version=IPVersion.V4Only)
        self.names: dict[str, None] = {}
        self.gone: dict[str, None] = {}
        self._browser = AsyncServiceBrowser(
            self.zeroconf.zeroconf, SERVICE_TYPE, handlers=[self._hear]
        )

    def _hear(self, *, name: str, state_change: ServiceStateChange, **_other: object) -> None:
        (self.gone if state_change is ServiceStateChange.Removed else self.names)[name] = None

    async def read(self, name: str) -> dict[bytes, bytes | None]:
        info = AsyncServiceInfo(SERVICE_TYPE, name)
        assert await info.async_request(self.zeroconf.zeroconf, 5000)
        return dict(info.properties)

    async def say(self, name: str, port: int, properties: dict[bytes, bytes | None]) -> None:
        said = {str(k, "ascii"): v for k, v in properties.items()}
        info = AsyncServiceInfo(
            SERVICE_TYPE,
            name,
            port=port,
            properties=said,
            server="evil.local.",
            parsed_addresses=[LOOPBACK],
        )
        await self.zeroconf.async_register_service(info, cooperating_responders=True)

    async def close(self) -> None:
        await self._browser.async_cancel()
        await self.zeroconf.async_close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    browser = Browser()
    yield browser
    await browser.close()


async def test_who_copies_a_tag_is_not_dialled(browser: Browser) -> None:
    """A stranger advertises itself under what a node shows, in all ways that there are."""
    secret = os.urandom(32)
    async with on_loopback("mdns copied", secret) as victim:
        [name] = await until_named(browser, 1)
        shown = await browser.read(name)
        assert victim.id.hex[:10] not in repr((name, shown))
        evil = await endpoint("evil")
        try:
            host, port = evil.addr.direct[0]
            mine: dict[bytes, bytes | None] = {b"a0": f"{host}:{port}".encode()}
            itself = mine | {b"p": str(evil.peer_id).encode()}
            tag = name[33:]
            for number, said in enumerate((shown | itself, shown | mine, shown)):
                await browser.say(f"{number:032x}-{tag}", port, said)
                await browser.say(name[:31] + f"{number}-{tag}", port, said)
            # Meanwhile a member comes, is found, and so all of that was heard before.
            async with on_loopback("mdns copied", secret) as member:
                await until(lambda: member.peer_id in victim.discovery.catalog())
                await until(lambda: victim.peer_id in member.discovery.catalog())
            assert evil.counters.datagrams_received == 0
            assert len(victim.discovery.catalog()) == 0
        finally:
            await evil.close(SHUTDOWN)


async def test_names_change_with_the_hour_and_nobody_is_lost(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1_000_000.0)
    monkeypatch.setattr(MdnsActor, "_read_clock", lambda _self: clock.now)
    async with on_loopback("mdns hours") as a, on_loopback("mdns hours") as b:
        await until(lambda: a.peer_id in b.discovery.catalog())
        before = await until_named(browser, 2)
        clock.now += HOUR_S
        for net in (a, b):
            [mdns] = net.discovery._finders
            net.node.system.tell(mdns, WakeupMessage(timedelta(), _HourOver(0)))
        after = (await until_named(browser, 4))[2:]
        await until(lambda: all(name in browser.gone for name in before))
        assert not {name[33:] for name in after} & {name[33:] for name in before}
        async with on_loopback("mdns hours") as c:
            await until(lambda: len(c.discovery.catalog()) == 2)
        assert b.peer_id in a.discovery.catalog()


async def test_a_node_that_moves_is_advertised_where_it_is(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mdns, "_LOOK_S", 0.05)
    monkeypatch.setattr(QuicEndpoint, "may_move", True)
    async with on_loopback("mdns moves") as a:
        [before] = await until_named(browser, 1)
        port = a.addr.direct[0][1] % 60_000 + 1
        moved = replace(a.addr, direct=((LOOPBACK, port),))
        a.node.endpoint._addr = moved  # type: ignore[attr-defined]
        after = (await until_named(browser, 2))[1]
        await until(lambda: before in browser.gone)
        said = await browser.read(after)
        assert said[b"a0"] == f"{LOOPBACK}:{port}".encode()
    # It is spoken on interfaces of this machine, and no gateway's.
    assert [mdns._is_own(host) for host in (LOOPBACK, "203.0.113.7")] == [True, False]


async def test_without_the_package_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf.asyncio", None)
    with pytest.raises(ConfigError, match=r"mosaik-actors\[mdns\]"):
        await Network.start("mdns test", bind="127.0.0.1:0", rendezvous=False, mdns=True)
