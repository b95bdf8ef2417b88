"""A Mainline DHT of one's own on the loopback interface, for tests and demonstrations.

    async with LocalDht(20) as dht:
        net = Network("my-app", dht=dht.config)

Nothing leaves the machine: every node is told of the others only.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from random import Random
from typing import Self

from ..dht.config import DhtConfig
from ..dht.node import DhtNode
from ..handles.dht_client import DhtClient
from ..transport.address import SocketAddr, format_socket_addr

_HOST = "127.0.0.1"


class LocalDht:
    """Some nodes that serve, on this event loop.

    Args:
        node_count: How many.
        seed: What their ids are drawn from.
    """

    def __init__(self, node_count: int = 20, *, seed: int = 0) -> None:
        self._rng = Random(seed)
        self._node_count = node_count
        self._clients: list[DhtClient] = []
        self._stack = AsyncExitStack()

    @property
    def nodes(self) -> list[DhtNode]:
        """The nodes, in order."""
        return [client.node for client in self._clients]

    @property
    def addrs(self) -> list[SocketAddr]:
        """Where the nodes are, in order."""
        return [client.addr for client in self._clients]

    @property
    def config(self) -> DhtConfig:
        """Settings with which a network finds this DHT, and no other."""
        names = tuple(map(format_socket_addr, self.addrs[:3]))
        return DhtConfig(bootstrap=names, bind=f"{_HOST}:0")

    async def __aenter__(self) -> Self:
        for _ in range(self._node_count):
            rng = Random(self._rng.random())
            client = DhtClient((_HOST, 0), self.addrs[:1], serves=True, rng=rng)
            self._clients.append(await self._stack.enter_async_context(client))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stack.aclose()
