"""An endpoint that is attacked over one of the carriers, and an honest peer beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import cast

from mosaik_actors.transport.address import SocketAddr
from mosaik_actors.transport.config import TransportConfig
from mosaik_actors.transport.endpoint import QuicEndpoint
from mosaik_actors.transport.interface import Endpoint
from tests.waiting import until

from .endpoints import Inbox, Server, endpoint_maker
from .raw import RawPeer, Stranger, raw_client
from .raw_streams import RawStreamPeer, raw_stream_client

CARRIED = ("quic", "native", "unix", "tcp")
Raw = RawPeer | RawStreamPeer


class Scene:
    """An endpoint under attack, and an honest peer whose link must not notice."""

    def __init__(self, victim: QuicEndpoint, server: Server, friend: Endpoint, kind: str) -> None:
        self.kind = kind
        self.victim = victim
        self.server = server
        self.friend = friend
        self.honest: Inbox
        self.number = 0

    async def connect(self, number: int = 0) -> None:
        """Open the honest peer's link, which is the victim's link of this number."""
        link = await self.friend.open_link(self.victim.addr, "p", timeout=5)
        self.honest, self.number = Inbox(link), number
        await self.server.inbox(number)

    @property
    def addr(self) -> SocketAddr:
        return self.victim.addr.direct[0]

    def intruder(self, *, is_proving: bool = True) -> AbstractAsyncContextManager[Raw]:
        """Return a raw peer that connects over the scene's carrier.

        One that proves nothing has proven who it is, and not that it is of the network.
        """
        if self.kind == "tcp":
            return raw_stream_client(self.addr, is_proving=is_proving)
        if self.kind == "unix":
            [(_, path, _)] = self.victim._routes.local._listening.values()
            return raw_stream_client(path, is_proving=is_proving)
        return raw_client(self.addr, kind=RawPeer if is_proving else Stranger)

    async def check_undisturbed(self) -> None:
        """Assert that the honest link still carries frames."""
        there = await self.server.inbox(self.number)
        count = len(there.frames)
        self.honest.link.write(b"still here")
        await there.until_frames(count + 1)
        assert there.frames[-1] == b"still here"
        assert not self.honest.closed


@asynccontextmanager
async def scene(config: TransportConfig | None = None, kind: str = "quic") -> AsyncIterator[Scene]:
    async with endpoint_maker(kind) as make:
        victim = cast(QuicEndpoint, await make("victim", config=config))
        server = Server(victim, "p")
        it = Scene(victim, server, await make("honest"), kind)
        await it.connect()
        yield it
        await it.check_undisturbed()


@asynccontextmanager
async def stranger(attacked: Scene) -> AsyncIterator[Raw]:
    """Yield a peer that has proven who it is, and nothing else."""
    async with attacked.intruder(is_proving=False) as client:
        await client.wait_connected()
        yield client


async def check_unnoticed(attacked: Scene) -> None:
    """Assert that a stranger that is gone was a peer to nobody."""
    counters = attacked.victim.counters
    await until(lambda: counters.handshakes_failed == 1)
    assert counters.connections_opened == counters.links_accepted == 1
    assert len(attacked.victim.connected_peers()) == 1
