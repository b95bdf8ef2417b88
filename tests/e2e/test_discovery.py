"""Discovery on real QUIC, between nodes and between processes of this machine."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.discovery.errors import DifferentNetwork
from mosaik_actors.discovery.view import DepartureReason, PeerDeparted, PeerDiscovered
from mosaik_actors.ids import PeerId
from mosaik_actors.network import Network
from tests.waiting import until

# A node in a process of its own: it prints whom it discovers, and ends with its input.
NODE = """
import asyncio, sys
from mosaik_actors.discovery.view import PeerDiscovered
from mosaik_actors.network import Network

async def main():
    async with Network("rendezvous test", tags=[sys.argv[1]]) as net:
        print(net.peer_id, flush=True)
        events = net.discovery.events()
        told = asyncio.ensure_future(tell(events))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await told

async def tell(events):
    async for event in events:
        if isinstance(event, PeerDiscovered):
            print(event.peer.peer_id, flush=True)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOSAIK_RUNTIME_DIR", str(tmp_path))
    return tmp_path


class Process:
    """A node in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, peer_id: str) -> None:
        self.process = process
        self.peer_id = peer_id

    async def read_line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().strip()

    async def end(self) -> None:
        if self.process.returncode is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
        async with asyncio.timeout(20):
            await self.process.wait()


@asynccontextmanager
async def process(tag: str) -> AsyncIterator[Process]:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-X", "dev", "-W", "error", "-c", NODE, tag)
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    node = Process(child, "")
    try:
        node.peer_id = await node.read_line()
        yield node
    finally:
        await node.end()


async def test_two_processes_find_each_other_by_the_networks_name_alone() -> None:
    async with process("first") as first:
        began = time.monotonic()
        async with process("second") as second:
            assert await first.read_line() == second.peer_id
            assert await second.read_line() == first.peer_id
            # Most of it is the start of an interpreter.
            assert time.monotonic() - began < 10
        assert second.process.returncode == 0
    assert first.process.returncode == 0


async def test_an_ended_process_is_known_to_have_left_and_a_killed_one_leaves_no_notice(
    place: Path,
) -> None:
    config = DiscoveryConfig(announce_interval=1.0, purge_after=60.0)
    async with Network("rendezvous test", discovery=config) as net:
        events = net.discovery.events()
        async with process("ends") as one, process("is killed") as two:
            found: set[str] = set()
            while len(found) < 2:
                event = await asyncio.wait_for(anext(events), 20)
                if isinstance(event, PeerDiscovered):
                    found.add(str(event.peer.peer_id))
            assert found == {one.peer_id, two.peer_id}

            # It ended in an orderly way: that is known at once.
            await one.end()
            event = await asyncio.wait_for(anext(events), 20)
            assert isinstance(event, PeerDeparted)
            assert (str(event.peer.peer_id), event.reason) == (one.peer_id, DepartureReason.LEFT)

            # It was killed: it stays in the catalog until it is purged. The next
            # one to come removes its notice, and meets those that are there.
            two.process.kill()
            await two.process.wait()
            assert net.discovery.catalog().get(PeerId(two.peer_id)) is not None
            assert len(list(place.rglob("*.peer"))) == 2
            async with process("comes later") as three:
                await until(lambda: PeerId(three.peer_id) in net.discovery.catalog())
                names = {path.name[:64] for path in place.rglob("*.peer")}
                assert names == {str(net.peer_id), three.peer_id}


async def test_twenty_nodes_converge_from_one_address() -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Network("twenty", rendezvous=False))
        began = time.monotonic()
        nets = [first]
        for _ in range(19):
            net = Network("twenty", rendezvous=False, bootstrap=first.addr)
            nets.append(await stack.enter_async_context(net))
        await until(lambda: all(len(net.discovery.catalog()) == 19 for net in nets))
        assert time.monotonic() - began < 10
        nets[7].discovery.add_tags("chosen")
        others = [net for net in nets if net is not nets[7]]
        await until(
            lambda: all("chosen" in n.discovery.catalog()[nets[7].peer_id].tags for n in others)
        )
        await nets[3].close()
        others = [net for net in nets if net is not nets[3]]
        await until(lambda: all(nets[3].peer_id not in n.discovery.catalog() for n in others))


async def test_another_network_is_refused_over_quic_and_the_dialler_learns_why() -> None:
    async with (
        Network("here", rendezvous=False) as here,
        Network("there", rendezvous=False) as there,
    ):
        with pytest.raises(DifferentNetwork, match="belongs to another network"):
            await here.discovery.sync_with(str(there.addr))
        assert not here.discovery.catalog()
        assert not there.discovery.catalog()


async def test_a_peer_known_from_others_is_reached_by_its_bare_id() -> None:
    async with (
        Network("bare", rendezvous=False) as one,
        Network("bare", rendezvous=False, bootstrap=one.addr) as two,
        Network("bare", rendezvous=False, bootstrap=one.addr) as three,
    ):
        await until(lambda: three.peer_id in two.discovery.catalog())
        finished = await two.discovery.sync_with(str(three.peer_id))
        assert finished.peer_id == three.peer_id


async def test_the_round_trip_time_to_a_neighbour_is_measured() -> None:
    async with (
        Network("rtt", rendezvous=False) as one,
        Network("rtt", rendezvous=False, bootstrap=one.addr) as two,
    ):

        def is_measured() -> bool:
            info = two.discovery.catalog().get(one.peer_id)
            return info is not None and info.rtt is not None

        await until(is_measured)
        assert two.discovery.catalog()[one.peer_id].rtt_below(1.0)
