"""Nodes without the subsystems on top: actors and a transport, on memory or on QUIC."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from mosaik_actors.clock import LoopClock, Randomness
from mosaik_actors.ids import SecretKey
from mosaik_actors.node import Node
from mosaik_actors.node_parts import start_node
from mosaik_actors.transport.close import SHUTDOWN
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import Endpoint
from mosaik_actors.transport.memory import MemoryEndpoint, MemoryNetwork

MakeNode = Callable[..., Awaitable[Node]]


@asynccontextmanager
async def node_maker(kind: str, memory: MemoryNetwork | None = None) -> AsyncIterator[MakeNode]:
    """Give ``make(name, network="net", config=None, secrets=()) -> Node``; all it made is ended.

    Args:
        kind: "memory" or "quic".
        memory: The memory network to join, for tests that cut or crash; a new one when None.
    """
    memory = memory or MemoryNetwork()
    async with AsyncExitStack() as stack:

        async def make(
            name: str,
            network: str = "net",
            config: TransportConfig | None = None,
            secrets: Sequence[bytes] = (),
        ) -> Node:
            key = SecretKey.from_seed(name)
            clock = LoopClock(asyncio.get_running_loop())
            randomness = Randomness(name.encode())
            endpoint: Endpoint
            if kind == "memory":
                endpoint = MemoryEndpoint(memory, network, key, config, secrets)
            else:
                rng = randomness.branch("transport")
                endpoint = await QuicEndpoint.start(
                    network, key, clock=clock, rng=rng, config=config, secrets=secrets
                )
            stack.push_async_callback(endpoint.close, SHUTDOWN)
            node = await start_node(endpoint, key, clock=clock, randomness=randomness)
            stack.push_async_callback(node.system.shutdown)
            return node

        yield make
