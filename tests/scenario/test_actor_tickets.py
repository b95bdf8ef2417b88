"""Actors that take messages only of nodes with a ticket."""

from __future__ import annotations

import asyncio

import pytest
from thespian.actors import ActorAddress

from mosaik_actors import (
    ActorRef,
    AskRejected,
    DeadLetter,
    Hs256,
    Jwt,
    JwtTicketBuilder,
    MosaikActor,
    NotResolved,
    Request,
)
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario

KEY = Hs256(b"k" * 32)
STAFF = Jwt(KEY, issuers=["acme"])


class HowMany(Request[int]):
    """How many messages came?"""


class Teller(MosaikActor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def receiveMsg_HowMany(self, message: HowMany, sender: ActorAddress) -> None:
        self.count += 1
        self.send(sender, self.count)


async def until_answered(ref: ActorRef, timeout: float = 10.0) -> int:
    """Ask until the ticket has got around."""
    async with asyncio.timeout(timeout):
        while True:
            try:
                return await ref.ask(HowMany(), timeout=5)
            except AskRejected:
                await asyncio.sleep(0.05)


@scenario(nodes=3, seeds=range(1))
async def test_only_who_has_a_valid_ticket_reaches_the_actor(cluster: Cluster) -> None:
    net, staff, guest = (cluster.net(index) for index in range(3))
    ref = await net.actors.spawn(Teller, name="teller", require_ticket=STAFF)
    assert await ref.ask(HowMany(), timeout=5) == 1  # this node needs none
    builder = JwtTicketBuilder(KEY, issuer="acme", expires_in=20)
    staff.discovery.add_ticket(builder.build(staff.peer_id))
    there = await staff.actors.resolve("teller", timeout=10)
    assert await until_answered(there) == 2
    with pytest.raises(NotResolved):
        await guest.actors.resolve("teller", timeout=3)
    await cluster.sleep(25)
    with pytest.raises(AskRejected, match="no valid ticket"):
        await there.ask(HowMany(), timeout=5)
    events = staff.actors.events()
    there.tell(HowMany())
    letter = await asyncio.wait_for(anext(events), 10)
    assert isinstance(letter, DeadLetter)
    assert "no valid ticket" in letter.reason
    staff.discovery.add_ticket(builder.build(staff.peer_id))
    assert await until_answered(there) == 3


@scenario(nodes=2, seeds=range(1))
async def test_an_actor_that_ends_lets_its_requirement_go(cluster: Cluster) -> None:
    net = cluster.net(0)
    ref = await net.actors.spawn(Teller, name="teller", require_ticket=[STAFF])
    assert net.actors._remote._tickets
    await ref.stop()
    assert not net.actors._remote._tickets
