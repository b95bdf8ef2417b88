"""The anonymous broadcast as a whole, on virtual time: whatever becomes of its parties."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest
from zipnet.aggregator import Aggregator
from zipnet.client import Client, Receipt, Talker
from zipnet.committee import Patience
from zipnet.demo import SECRET, make_config, server_key, show_ticket
from zipnet.reader import Said, read
from zipnet.server import Memory, Server
from zipnet.service import Zipnet, ZipnetConfig

from mosaik_actors import TransportConfig
from mosaik_actors.testing import Cluster, SimNode, scenario

ACME = make_config(servers=3, participants_min=2)
READER, AGGREGATOR, LATE, OTHER = 3, 3, 6, 7
SETTINGS: dict[str, Any] = {
    "nodes": 8,
    "starts": False,
    "transport": TransportConfig(idle_timeout=3.0, keep_alive_interval=0.8),
    "traces_messages": False,
}


class Kept(Memory):
    """Survives the crash of its node."""

    def __init__(self) -> None:
        self.opened = b""

    def read(self) -> bytes:
        return self.opened

    async def write(self, opened: bytes) -> None:
        self.opened = opened


class Play:
    """The parts of a deployment, each on its node; what was read, and the clients."""

    def __init__(self) -> None:
        self.kept = [Kept() for _ in range(3)]
        self.said: list[Said] = []
        self.clients: dict[int, Client] = {}
        self.servers: dict[int, Server] = {}

    async def serve(self, node: SimNode) -> None:
        show_ticket(node.net)
        server = Server(
            node.net,
            ACME,
            server_key(node.index),
            secret=SECRET,
            memory=self.kept[node.index],
            patience=Patience(window_s=ACME.window_s, answer_s=2.0, pause_s=0.5),
        )
        self.servers[node.index] = server
        await server.run()

    async def aggregate(self, node: SimNode) -> None:
        show_ticket(node.net)
        await Aggregator(node.net, ACME).run()

    async def listen(self, node: SimNode) -> None:
        async for one in read(node.net, ACME):
            self.said.append(one)

    async def talk(self, node: SimNode, config: ZipnetConfig = ACME) -> None:
        show_ticket(node.net)
        async with Client(node.net, config, node.secret_key) as client:
            self.clients[node.index] = client
            await asyncio.Event().wait()

    async def start(self, cluster: Cluster) -> None:
        await cluster.start(*range(6))
        for index in range(3):
            cluster.nodes[index].spawn(self.serve(cluster.nodes[index]))
        cluster.nodes[AGGREGATOR].spawn(self.aggregate(cluster.nodes[AGGREGATOR]))
        cluster.nodes[READER].spawn(self.listen(cluster.nodes[READER]))
        for index in (4, 5):
            cluster.nodes[index].spawn(self.talk(cluster.nodes[index]))
        await cluster.until(lambda: len(self.clients) == 2)

    def texts(self) -> list[bytes]:
        return [one.text for one in self.said]


@scenario(seeds=range(1), **SETTINGS)
async def test_messages_are_read_once_whoever_is_lost_restarts_comes_late_or_lies(
    cluster: Cluster,
) -> None:
    play = Play()
    await play.start(cluster)

    async def say(index: int, text: bytes, timeout_s: float = 60) -> Receipt:
        return await asyncio.wait_for(play.clients[index].submit(text), timeout_s)

    # Two clients talk; each has a receipt that says where, and the reader has both texts.
    receipts = await asyncio.gather(say(4, b"a"), say(5, b"b"))
    await cluster.until(lambda: sorted(play.texts()) == [b"a", b"b"])
    assert {one.round for one in play.said} == {one.round for one in receipts}
    assert all(one.among == 2 for one in play.said)

    # One comes late, and takes part from the next round on.
    await cluster.start(LATE)
    cluster.nodes[LATE].spawn(play.talk(cluster.nodes[LATE]))
    await cluster.until(lambda: LATE in play.clients)
    await say(LATE, b"late")

    # A client is lost without a word: the window ends without it.
    await cluster.crash(5)
    await say(4, b"one is lost")

    # While a server is away no round can be opened; it comes back, and remembers.
    leading = next(index for index, one in play.servers.items() if one.leads)
    opened = play.kept[leading].opened
    await cluster.crash(leading)
    waiting = asyncio.create_task(say(4, b"a server was away"))
    await cluster.sleep(5)
    assert not waiting.done()
    await cluster.start(leading)
    cluster.nodes[leading].spawn(play.serve(cluster.nodes[leading]))
    await waiting
    assert play.kept[leading].opened > opened

    # One lies about its pad: no round gives a message, and nobody can say whose fault it is.
    mask = Talker.mask
    liar = play.clients[LATE]._talker

    def lie(talker: Talker, live: Any) -> bytes:
        masked = mask(talker, live)
        return bytes(len(masked)) if talker is liar else masked

    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("zipnet.server").addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Talker, "mask", lie)
        waiting = asyncio.create_task(say(4, b"in spite of a liar"))
        await cluster.until(lambda: any("was disrupted by one of" in text for text in warnings))
        assert not waiting.done()
    await waiting
    logging.getLogger("zipnet.server").removeHandler(handler)

    said = [b"late", b"one is lost", b"a server was away", b"in spite of a liar"]
    await cluster.until(lambda: play.texts()[2:] == said)


@scenario(seeds=range(1), **SETTINGS)
async def test_another_window_or_salt_never_meets(cluster: Cluster) -> None:
    play = Play()
    await play.start(cluster)
    await cluster.start(LATE, OTHER)
    others = {LATE: replace(ACME, window_s=2.0), OTHER: replace(ACME, salt=b"another")}
    for index, config in others.items():
        cluster.nodes[index].spawn(play.talk(cluster.nodes[index], config))
    await cluster.until(lambda: len(play.clients) == 4)
    lost = [asyncio.create_task(play.clients[index].submit(b"x")) for index in others]
    await asyncio.wait_for(play.clients[4].submit(b"hello"), 60)
    await cluster.sleep(3)
    assert play.texts() == [b"hello"]
    assert all(one.among == 2 for one in play.said)
    for index, task in zip(others, lost, strict=True):
        assert (play.clients[index].envelopes, task.done()) == (0, False)
        assert Zipnet.bind(cluster.net(index), others[index]).submit.producer().consumers() == []
        task.cancel()
