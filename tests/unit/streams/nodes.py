"""Whole nodes on the memory network, for tests of the stream actors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mosaik_actors.clock import LoopClock, Randomness
from mosaik_actors.discovery.config import DiscoveryConfig
from mosaik_actors.handles.discovery import Discovery
from mosaik_actors.handles.required_tickets import TicketChecks
from mosaik_actors.handles.streams import Streams
from mosaik_actors.ids import PeerId, SecretKey
from mosaik_actors.node import Node
from mosaik_actors.node_parts import start_node
from mosaik_actors.streams.config import Backoff, StreamsConfig
from mosaik_actors.transport.close import SHUTDOWN
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.interface import FRAME_BYTES_MAX
from mosaik_actors.transport.memory import MemoryEndpoint, MemoryNetwork

TIMEOUT_S = 10.0
NETWORK = "streams-test"

QUICK_DISCOVERY = DiscoveryConfig(announce_gap=0.002, graceful_departure_window=0.02)
QUICK_RETRIES = Backoff(initial=0.01, max=0.05)


class StreamNode:
    """One node: discovery and streams over a memory endpoint."""

    def __init__(self, endpoint: MemoryEndpoint, node: Node, discovery: Discovery) -> None:
        self.endpoint = endpoint
        self.node = node
        self.discovery = discovery
        self.streams: Streams

    @property
    def peer_id(self) -> PeerId:
        return self.node.peer_id

    async def close(self) -> None:
        await self.streams.close()
        await self.discovery.close()
        await self.node.system.shutdown()
        await self.endpoint.close(SHUTDOWN)

    async def crash(self) -> None:
        """Vanish without a word."""
        self.endpoint.crash()
        await self.node.system.shutdown()


class World:
    """The nodes of one test."""

    def __init__(self, **settings: Any) -> None:
        self.network = MemoryNetwork()
        self.nodes: list[StreamNode] = []
        self.frame_bytes_max = FRAME_BYTES_MAX
        self.config = StreamsConfig(**{"backoff": QUICK_RETRIES, **settings})

    async def start(
        self, name: str, *tags: str, bootstrap: bool = True, **settings: Any
    ) -> StreamNode:
        """Start a node that knows the first one."""
        key = SecretKey.from_seed(name)
        transport = TransportConfig(
            idle_timeout=1.5, keep_alive_interval=0.1, frame_bytes_max=self.frame_bytes_max
        )
        endpoint = MemoryEndpoint(self.network, NETWORK, key, transport)
        loop = asyncio.get_running_loop()
        randomness = Randomness(name.encode())
        node = await start_node(endpoint, key, clock=LoopClock(loop), randomness=randomness)
        known = [self.nodes[0].endpoint.addr] if self.nodes and bootstrap else []
        discovery = await Discovery.start(
            node, endpoint, config=QUICK_DISCOVERY, bootstrap=known, tags=tags, rendezvous=False
        )
        made = StreamNode(endpoint, node, discovery)
        config = StreamsConfig(**settings) if settings else self.config
        tickets = TicketChecks(node)
        tickets.follow(discovery.catalog_actor)
        made.streams = Streams(node, discovery.catalog_actor, tickets, config)
        self.nodes.append(made)
        return made

    async def crash(self, node: StreamNode) -> None:
        self.nodes.remove(node)
        await node.crash()


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    """Give a test its nodes, a time limit, and a clean end."""
    made = World(**settings)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield made
    finally:
        for node in reversed(made.nodes):
            await node.close()


async def take(consumer: Any, count: int) -> list[Any]:
    """Return the next `count` items of a consumer."""
    items: list[Any] = []
    if count:
        async for item in consumer:
            items.append(item)
            if len(items) == count:
                break
    return items


async def send_all(producer: Any, items: Sequence[Any]) -> None:
    """Send items one by one."""
    for item in items:
        await producer.send(item)
