"""A node of the Mainline DHT with a socket of its own, on this event loop.

    async with DhtClient(("0.0.0.0", 0), entries, rng=rng) as client:
        await client.joined()
        item = await client.find(target)

For tools and tests; a `Network` with ``dht=`` has an actor for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from math import inf
from random import Random
from typing import Final, Self, TypeVar

from ..dht.items import Item
from ..dht.node import DhtNode, LookupDone, PutDone, SendDatagram
from ..dht.node_id import draw_id
from ..transport.address import SocketAddr
from ..transport.sockets import DatagramPort, bind_udp

T = TypeVar("T")

_BUFFER_BYTES: Final = 256 * 1024


class DhtClient:
    """One node.

    Args:
        bind: Where to speak from; port 0 takes any free one.
        entries: Nodes to begin with.
        serves: Whether to answer others.
        rng: What ids and transactions are drawn from.
    """

    def __init__(
        self,
        bind: SocketAddr,
        entries: Iterable[SocketAddr] = (),
        *,
        serves: bool = False,
        rng: Random,
    ) -> None:
        self.node = DhtNode(draw_id([bind[0]], rng), rng=rng, serves=serves, is_ipv6=":" in bind[0])
        self._bind = bind
        self._entries = tuple(entries)
        self._port: DatagramPort | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lookups: dict[int, asyncio.Future[Item | None]] = {}
        self._puts: dict[int, asyncio.Future[PutDone]] = {}
        self._has_joined = asyncio.Event()

    @property
    def addr(self) -> SocketAddr:
        """Where it is, as others on this machine can reach it."""
        assert self._port is not None, "the client is not open"
        return self._port.local_addrs[0]

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._port = bind_udp(self._bind, _BUFFER_BYTES, self._loop)
        self._port.start(self._read)
        self.node.join(self._entries, now=self._loop.time())
        self._pump()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._port is not None:
            self._port.close()
            self._port = None
        for lookup in self._lookups.values():
            lookup.cancel()
        for put in self._puts.values():
            put.cancel()

    async def joined(self) -> None:
        """Wait until a node has answered. Give it a time limit: there may be none."""
        await self._has_joined.wait()

    async def find(self, target: bytes, salt: bytes = b"") -> Item | None:
        """Return the item under a target, checked; None when there is none."""
        future: asyncio.Future[Item | None] = self._loop.create_future()
        self._lookups[self.node.find(target, salt, now=self._loop.time())] = future
        self._pump()
        return await future

    async def put(self, item: Item, *, expected: int | None = None) -> PutDone:
        """Store an item with the nodes closest to it; return how many have taken it."""
        future: asyncio.Future[PutDone] = self._loop.create_future()
        self._puts[self.node.put(item, expected=expected, now=self._loop.time())] = future
        self._pump()
        return await future

    # Helpers.

    def _read(self, port: DatagramPort) -> None:
        while True:
            try:
                found = port.read()
            except OSError:
                continue  # an answer of the network to something that was sent
            if found is None:
                break
            self.node.receive_data(*found, now=self._loop.time())
        self._pump()

    def _handle_timer(self) -> None:
        self.node.handle_timer(now=self._loop.time())
        self._pump()

    def _pump(self) -> None:
        if self._port is None:
            return
        for effect in self.node.take_effects():
            match effect:
                case SendDatagram(data, addr):
                    _try_to_send(self._port, data, addr)
                case LookupDone(number, item):
                    _resolve(self._lookups.pop(number, None), item)
                case PutDone(number):
                    _resolve(self._puts.pop(number, None), effect)
        if len(self.node.table):
            self._has_joined.set()
        if self._timer is not None:
            self._timer.cancel()
        if self.node.timer_s < inf:
            self._timer = self._loop.call_at(self.node.timer_s, self._handle_timer)


def _try_to_send(port: DatagramPort, data: bytes, addr: SocketAddr) -> None:
    with suppress(OSError):  # as good as lost on the way: it is asked again
        port.send(data, addr)


def _resolve(future: asyncio.Future[T] | None, value: T) -> None:
    if future is not None and not future.done():
        future.set_result(value)
