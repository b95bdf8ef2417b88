"""The actors of launch.toml, and the deployment that they all know.

Whoever reads this file knows the keys of the operators and of the issuer of tickets: that is
for trying things out only. In earnest each operator keeps its own, and publishes the
public half in the configuration.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack

from thespian.actors import ActorExitRequest

from mosaik_actors import (
    EdDsaSigningKey,
    Jwt,
    JwtTicketBuilder,
    MosaikActor,
    Network,
    SecretKey,
)

from .aggregator import Aggregator
from .client import Client
from .reader import Said, read
from .server import Server
from .service import Envelope, Zipnet, ZipnetConfig

NETWORK = "zipnet-example"
ISSUER = EdDsaSigningKey(bytes(SecretKey.from_seed("examples/zipnet issuer")))
SECRET = "examples/zipnet: the operators' secret"


def server_key(index: int) -> SecretKey:
    """Return the key of a server."""
    return SecretKey.from_seed(f"examples/zipnet server {index}")


def make_config(servers: int, participants_min: int = 3, window_s: float = 1.0) -> ZipnetConfig:
    """Return the configuration of a deployment with so many servers."""
    return ZipnetConfig(
        name="acme.example",
        salt=b"published by the operator",
        acl=Jwt(ISSUER.verifying_key, issuers=["acme"]),
        servers=tuple(server_key(index).peer_id for index in range(servers)),
        window_s=window_s,
        participants_min=participants_min,
    )


ACME = make_config(servers=3)


def show_ticket(net: Network) -> None:
    """Show the ticket that the issuer has made for this node."""
    net.discovery.replace_ticket(JwtTicketBuilder(ISSUER, issuer="acme").build(net.peer_id))


class ServerActor(MosaikActor):
    """One server of the committee."""

    def __init__(self, index: int) -> None:
        self.index = index

    def started(self) -> None:
        show_ticket(self.net)
        server = Server(self.net, ACME, server_key(self.index), secret=SECRET)
        self.start_task(server.run())


class AggregatorActor(MosaikActor):
    """The aggregator, which nobody has to trust."""

    def started(self) -> None:
        show_ticket(self.net)
        self.start_task(Aggregator(self.net, ACME).run())


def texts_of(client: int, count: int) -> list[bytes]:
    """Return what a client of the crowd says."""
    return [f"client {client} says {number}".encode() for number in range(count)]


class CrowdActor(MosaikActor):
    """Clients, each with a node of its own; the odd ones only send cover."""

    def __init__(self, clients: int, count: int) -> None:
        self.clients = clients
        self.count = count

    def started(self) -> None:
        for index in range(self.clients):
            self.start_task(self.talk(index))

    async def talk(self, index: int) -> None:
        key = SecretKey.generate()
        async with AsyncExitStack() as stack:
            net = await stack.enter_async_context(Network(NETWORK, secret_key=key))
            show_ticket(net)
            client = await stack.enter_async_context(Client(net, ACME, key))
            for text in texts_of(index, self.count) if index % 2 == 0 else ():
                await client.submit(text)
            await asyncio.Event().wait()  # cover, from now on


class CheckActor(MosaikActor):
    """Reads what was said, shows it, and ends when all of it was there once; fails otherwise."""

    def __init__(self, clients: int, count: int, timeout_s: float) -> None:
        talkers = range(0, clients, 2)
        self.expected = {text for index in talkers for text in texts_of(index, count)}
        self.clients = clients
        self.timeout_s = timeout_s

    def started(self) -> None:
        show_ticket(self.net)
        self.start_task(self.check())

    async def check(self) -> None:
        said: list[Said] = []
        async with asyncio.timeout(self.timeout_s):
            print(f"{Zipnet.deployment_id(ACME)}, envelopes of {Envelope.WIRE_SIZE} bytes")
            async for one in read(self.net, ACME):
                said.append(one)
                print(f"round {one.round:3}: {one.text.decode():20} by one of {one.among}")
                if {each.text for each in said} >= self.expected:
                    break
        texts = [one.text for one in said]
        assert sorted(texts) == sorted(self.expected), "something was read twice, or never said"
        rounds = len(list(itertools.groupby(said, lambda one: one.round)))
        fewest = min(one.among for one in said)
        print(f"all {len(said)} messages were read once, in {rounds} rounds, each among {fewest}")
        self.send(self.ref, ActorExitRequest())
