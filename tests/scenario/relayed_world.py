"""Nodes behind NATs and a relay, on virtual time and with real QUIC datagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from mosaik_actors import (
    NetworkId,
    PeerAddr,
    RelayConfig,
    SecretKey,
    TransportConfig,
    UniqueId,
)
from mosaik_actors.clock import LoopClock, Randomness
from mosaik_actors.handles.relaying import start_relay, use_relays
from mosaik_actors.testing import NetworkConditions, SimNetwork, Trace
from mosaik_actors.testing.loop import SimLoop
from mosaik_actors.testing.nat import NatKind
from mosaik_actors.tickets.requirement import Validators
from mosaik_actors.transport.address import SocketAddr
from mosaik_actors.transport.close import SHUTDOWN
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import Endpoint, Link
from mosaik_actors.transport.relay.client import RelayClient
from mosaik_actors.transport.relay.config import RelayLimits
from mosaik_actors.transport.relay.frames import RELAY_NETWORK
from mosaik_actors.transport.relay.server import RelayServer
from tests.unit.transport.endpoints import Inbox

USUAL = NetworkConditions(latency=0.02)


class WorldClock(LoopClock):
    """The wall clock, too, shows the time of the simulation."""

    def wall(self) -> float:
        return self.monotonic()


class Place:
    """A machine in the simulation: an `Environment`."""

    has_machine = False

    def __init__(self, network: SimNetwork, name: str, address: str, nat: NatKind | None) -> None:
        self.clock = WorldClock(asyncio.get_running_loop())
        self.randomness = Randomness(name.encode())
        self._at = (name, address)
        self._network = network
        self._nat = nat

    async def open_endpoint(
        self,
        network_id: NetworkId,
        secret_key: SecretKey,
        bind: Sequence[SocketAddr],
        config: TransportConfig,
        secrets: Sequence[bytes],
    ) -> Endpoint:
        return await self._network.open_endpoint(
            *self._at,
            network_id,
            secret_key,
            config,
            self.clock,
            self.randomness,
            self._nat,
            secrets,
        )


class World:
    def __init__(self, stack: AsyncExitStack, paths: NetworkConditions = USUAL) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        self.network = SimNetwork(loop, Randomness(b"relay"), Trace(), paths, "quic")
        self.stack = stack
        self.endpoints: list[Endpoint] = []
        self.clients: dict[Endpoint, RelayClient] = {}

    async def relay(
        self,
        run: int = 1,
        limits: RelayLimits | None = None,
        number: int = 1,
        require_ticket: Validators = (),
    ) -> RelayServer:
        """Start a relay, the same one in each run."""
        name, address = f"relay {number}", f"203.0.113.{number}"
        place = Place(self.network, name, address, None)
        place.randomness = Randomness(f"{name} {run}".encode())
        key = SecretKey.from_seed(name)
        server = await start_relay(
            place, key, [(address, 4433)], limits=limits, require_ticket=require_ticket
        )
        self.stack.push_async_callback(server.close)
        return server

    async def node(
        self,
        name: str,
        relay: PeerAddr | tuple[PeerAddr, ...] | None,
        nat: NatKind | None,
        run: int = 1,
        tickets: tuple[UniqueId, ...] = (),
    ) -> QuicEndpoint:
        key = SecretKey.from_seed(name)
        place = Place(self.network, name, f"10.0.0.{len(self.endpoints) + 1}", nat)
        place.randomness = Randomness(f"{name} {run}".encode())
        endpoint = await place.open_endpoint(NetworkId("net"), key, [], TransportConfig(), ())
        self.endpoints.append(endpoint)
        assert isinstance(endpoint, QuicEndpoint)
        if relay is not None:
            relays = (relay,) if isinstance(relay, PeerAddr) else relay
            config = RelayConfig(relays=relays, tickets=tickets)
            client = await use_relays(place, endpoint, key, [], config)
            self.clients[endpoint] = client
            self.stack.push_async_callback(client.close)
        self.stack.push_async_callback(endpoint.close, SHUTDOWN)
        return endpoint


def accept_into(endpoint: QuicEndpoint, inboxes: list[Inbox]) -> None:
    def accept(link: Link) -> None:
        inboxes.append(Inbox(link))
        link.accept()

    endpoint.serve("chat", accept)


async def connect(
    a: QuicEndpoint, b: QuicEndpoint, to: PeerAddr | None = None
) -> tuple[Inbox, Inbox]:
    """Open a link from one to the other, at an address or at its own; return both ends."""
    inboxes: list[Inbox] = []
    accept_into(b, inboxes)
    here = Inbox(await a.open_link(to or b.addr, "chat", timeout=10.0))
    await until(lambda: bool(inboxes))
    return here, inboxes[0]


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> float:
    """Wait until something is so; return after how many seconds it was."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while not condition():
        assert loop.time() - began_at < seconds
        await asyncio.sleep(0.05)
    return loop.time() - began_at


async def raw_peer(world: World, name: str) -> Endpoint:
    """Return an endpoint that speaks to relays by hand."""
    key = SecretKey.from_seed(name)
    place = Place(world.network, name, f"10.0.1.{ord(name)}", None)
    endpoint = await place.open_endpoint(RELAY_NETWORK, key, [], TransportConfig(), ())
    world.stack.push_async_callback(endpoint.close, SHUTDOWN)
    return endpoint
