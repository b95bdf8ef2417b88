"""The transport actor brings links to actors, on both kinds of endpoint."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from thespian.actors import ActorAddress

from mosaik_actors.ids import PeerId
from mosaik_actors.node import Node
from mosaik_actors.runtime import TypeDispatcher
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CloseCode, CloseReason
from mosaik_actors.transport.interface import (
    FramesReceived,
    Link,
    LinkClosed,
    PeerConnected,
    PeerDisconnected,
)
from mosaik_actors.transport.messages import (
    DisconnectPeer,
    LinkFailed,
    LinkOffered,
    LinkOpened,
    OpenLink,
    ServeProtocol,
    WatchConnections,
)
from tests.nodes import MakeNode, node_maker


@dataclass(frozen=True)
class Begin:
    """Use this node; put what you see into this queue."""

    node: Node
    seen: asyncio.Queue[Any]


@dataclass(frozen=True)
class Dial:
    """Open an echo link to this peer."""

    to: PeerAddr
    protocol: str = "echo"


class EchoServer(TypeDispatcher):
    """Sends every frame back, in upper case."""

    def receiveMsg_Begin(self, message: Begin, _sender: ActorAddress) -> None:
        self.seen = message.seen
        self.send(message.node.transport, ServeProtocol("echo", self.myAddress))
        self.send(message.node.transport, WatchConnections(self.myAddress))

    def receiveMsg_LinkOffered(self, message: LinkOffered, _sender: ActorAddress) -> None:
        message.link.accept(b"welcome " + message.link.header)

    def receiveMsg_FramesReceived(self, message: FramesReceived, _sender: ActorAddress) -> None:
        message.link.write_many(frame.upper() for frame in message.frames)

    def receiveUnrecognizedMessage(self, message: Any, _sender: ActorAddress) -> None:
        self.seen.put_nowait(message)


class Client(TypeDispatcher):
    """Passes on everything it gets."""

    def receiveMsg_Begin(self, message: Begin, _sender: ActorAddress) -> None:
        self.node, self.seen = message.node, message.seen

    def receiveMsg_Dial(self, message: Dial, _sender: ActorAddress) -> None:
        request = OpenLink(message.to, message.protocol, b"header", token=message)
        self.send(self.node.transport, request)

    def receiveUnrecognizedMessage(self, message: Any, _sender: ActorAddress) -> None:
        self.seen.put_nowait(message)


class Side:
    """A node with one actor on it, and what that actor saw."""

    def __init__(self, node: Node, kind: type[TypeDispatcher]) -> None:
        self.node = node
        self.seen: asyncio.Queue[Any] = asyncio.Queue()
        self.actor = node.system.createActor(kind)
        node.system.tell(self.actor, Begin(node, self.seen))

    async def next(self, kind: type[Any]) -> Any:
        message = await asyncio.wait_for(self.seen.get(), 20)
        assert isinstance(message, kind), message
        return message

    async def dial(self, to: PeerAddr) -> Link:
        self.node.system.tell(self.actor, Dial(to))
        opened = await self.next(LinkOpened)
        assert isinstance(opened.token, Dial)
        link: Link = opened.link
        return link


@pytest.fixture(params=["memory", "quic"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[MakeNode]:
    async with node_maker(request.param) as maker:
        yield maker


async def test_actors_talk_over_a_link(make: MakeNode) -> None:
    server, client = Side(await make("a"), EchoServer), Side(await make("b"), Client)
    link = await client.dial(server.node.endpoint.addr)
    assert link.reply == b"welcome header"
    link.write_many([b"one", b"two"])
    assert (await client.next(FramesReceived)).frames == [b"ONE", b"TWO"]


async def test_refused_link_fails_with_its_token(make: MakeNode) -> None:
    server, client = Side(await make("a"), EchoServer), Side(await make("b"), Client)
    request = Dial(server.node.endpoint.addr, "nobody serves this")
    client.node.system.tell(client.actor, request)
    failed = await client.next(LinkFailed)
    assert failed.token == request
    assert failed.error.reason.code == CloseCode.INVALID_PROTOCOL


async def test_watcher_sees_peers_come_and_go(make: MakeNode) -> None:
    server, client = Side(await make("a"), EchoServer), Side(await make("b"), Client)
    await client.dial(server.node.endpoint.addr)
    assert (await server.next(PeerConnected)).peer_id == client.node.peer_id
    peer: PeerId = server.node.peer_id
    reason = CloseReason(CloseCode.SUCCESS, "enough")
    client.node.system.tell(client.node.transport, DisconnectPeer(peer, reason))
    assert (await server.next(LinkClosed)).reason.text == "enough"
    assert (await server.next(PeerDisconnected)).peer_id == client.node.peer_id


async def test_shutdown_cancels_what_is_being_dialled(make: MakeNode) -> None:
    client = Side(await make("b"), Client)
    nobody = PeerAddr(PeerId(bytes(31) + b"\1"), (("127.0.0.1", 9),))
    client.node.system.tell(client.actor, Dial(nobody))
    await client.node.system.shutdown()
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if name.startswith("open ")]
