"""Endpoints of all kinds for the tests that hold for any transport."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from mosaik_actors.clock import LoopClock, Randomness
from mosaik_actors.ids import NetworkId, SecretKey
from mosaik_actors.testing import NetworkConditions, SimNetwork, Trace
from mosaik_actors.testing.network import Fidelity
from mosaik_actors.transport.close import SHUTDOWN
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import (
    Endpoint,
    FramesReceived,
    Link,
    LinkClosed,
    LinkDrained,
    LinkEvent,
)
from mosaik_actors.transport.memory import MemoryEndpoint, MemoryNetwork
from mosaik_actors.transport.quic.connection import QuicConnection

KINDS = ("memory", "quic", "native", "unix", "tcp")
NATIVE = TransportConfig(quic_engine="qh3")
SIMULATED: tuple[Fidelity, ...] = ("link", "quic")
MakeEndpoint = Callable[..., Awaitable[Endpoint]]


@asynccontextmanager
async def endpoint_maker(kind: str) -> AsyncIterator[MakeEndpoint]:
    """Give ``make(name, network="net", config=None, secrets=())``; all it made is closed."""
    memory = MemoryNetwork()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))

        async def make(
            name: str,
            network: str = "net",
            config: TransportConfig | None = None,
            secrets: Sequence[bytes] = (),
        ) -> Endpoint:
            key = SecretKey.from_seed(name)
            endpoint: Endpoint
            if kind == "memory":
                endpoint = MemoryEndpoint(memory, network, key, config, secrets)
            else:
                if kind == "native":
                    config = replace(config or NATIVE, quic_engine="qh3")
                endpoint = await QuicEndpoint.start(
                    network,
                    key,
                    clock=LoopClock(asyncio.get_running_loop()),
                    rng=Random(name),
                    config=replace(
                        config or TransportConfig(),
                        carriers=("quic" if kind == "native" else kind,),
                    ),
                    secrets=secrets,
                )
                if kind == "unix":
                    endpoint.listen_local(folder)
            stack.push_async_callback(endpoint.close, SHUTDOWN)
            return endpoint

        yield make


@asynccontextmanager
async def simulated_endpoint_maker(
    fidelity: Fidelity, conditions: NetworkConditions
) -> AsyncIterator[MakeEndpoint]:
    """Give the same function, for endpoints on a simulated network; runs on a `SimLoop`."""
    loop, randomness = asyncio.get_running_loop(), Randomness(b"conformance")
    network = SimNetwork(loop, randomness, Trace(), conditions, fidelity)
    count = 0
    async with AsyncExitStack() as stack:

        async def make(
            name: str,
            network_name: str = "net",
            config: TransportConfig | None = None,
            secrets: Sequence[bytes] = (),
        ) -> Endpoint:
            nonlocal count
            count += 1
            endpoint = await network.open_endpoint(
                name,
                f"10.0.0.{count}",
                NetworkId(network_name),
                SecretKey.from_seed(name),
                config or TransportConfig(),
                LoopClock(loop),
                Randomness(name.encode()),
                secrets=secrets,
            )
            stack.push_async_callback(endpoint.close, SHUTDOWN)
            return endpoint

        yield make


class Inbox:
    """A sink that keeps what it gets and can be awaited."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.frames: list[bytes] = []
        self.batches: list[int] = []
        self.drained_count = 0
        self.closed: list[LinkClosed] = []
        self._changed = asyncio.Event()
        link.attach(self._take)

    def _take(self, event: LinkEvent) -> None:
        match event:
            case FramesReceived(_, frames):
                self.frames += frames
                self.batches.append(len(frames))
            case LinkDrained():
                self.drained_count += 1
            case LinkClosed():
                self.closed.append(event)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds, checking after every event."""
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_frames(self, count: int) -> list[bytes]:
        """Wait for so many frames and return all."""
        await self.until(lambda: len(self.frames) >= count)
        return self.frames

    async def until_closed(self) -> LinkClosed:
        """Wait for the link's end."""
        await self.until(lambda: bool(self.closed))
        return self.closed[0]


class Server:
    """Accepts all links of one protocol and keeps their inboxes."""

    def __init__(self, endpoint: Endpoint, protocol: str, reply: bytes = b"") -> None:
        self.inboxes: list[Inbox] = []
        self._reply = reply
        self._came = asyncio.Event()
        endpoint.serve(protocol, self._accept)

    def _accept(self, link: Link) -> None:
        self.inboxes.append(Inbox(link))
        link.accept(self._reply)
        self._came.set()

    async def inbox(self, number: int = 0) -> Inbox:
        """Wait for the link of this number and return its inbox."""
        async with asyncio.timeout(20):
            while len(self.inboxes) <= number:
                self._came.clear()
                await self._came.wait()
        return self.inboxes[number]


def quic_connections(endpoint: QuicEndpoint) -> list[QuicConnection]:
    """Return the connections of an endpoint that QUIC carries."""
    return [one for one in endpoint._connections if isinstance(one, QuicConnection)]
