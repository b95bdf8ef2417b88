"""mDNS between real processes, over multicast on the loopback interface only."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.network import Network
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
    pytest.importorskip("zeroconf")
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


def on_loopback(network: str) -> Network:
    return Network(network, bind="127.0.0.1:0", rendezvous=False, mdns=True)


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


async def test_without_the_package_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf.asyncio", None)
    with pytest.raises(ConfigError, match=r"mosaik-actors\[mdns\]"):
        await Network.start("mdns test", bind="127.0.0.1:0", rendezvous=False, mdns=True)
