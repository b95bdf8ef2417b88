"""Thespian's decorators where actors share a process and handlers may be coroutines."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from thespian.actors import Actor, ActorAddress, ActorExitRequest, ActorTypeDispatcher
from thespian.initmsgs import initializing_messages
from thespian.transient import transient
from thespian.troupe import troupe

from mosaik_actors.runtime import AskPoisoned, AskUndeliverable, AsyncActorSystem, TypeDispatcher
from tests.waiting import until


@initializing_messages([("name", str)])
class Account(ActorTypeDispatcher):
    name: str

    def receiveMsg_int(self, amount: int, sender: ActorAddress) -> None:
        self.send(sender, (self.name, amount))


@initializing_messages([("name", str, True)], initdone="ready")
class Slow(TypeDispatcher):
    """Its handlers, and what ends its initialization, are coroutines."""

    name: str
    name_sender: ActorAddress
    log: list[Any]

    async def ready(self) -> None:
        self.log = ["begun"]
        await asyncio.sleep(0)
        self.log.append("ready")
        self.send(self.name_sender, "ready")

    async def receiveMsg_int(self, number: int, sender: ActorAddress) -> None:
        if number < 0:
            raise ValueError("below zero")
        await asyncio.sleep(0)
        self.log.append(number)
        self.send(sender, (self.name, list(self.log)))


@initializing_messages([("name", str)], init_passthru=True)
class PassesAll(Actor):
    name: str

    async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        await asyncio.sleep(0)
        if not isinstance(message, ActorExitRequest):
            self.send(sender, ("passed", message))


@initializing_messages([("name", str)])
@transient(timedelta(milliseconds=1))
class Fleeting(TypeDispatcher):
    name: str

    async def receiveMsg_int(self, number: int, sender: ActorAddress) -> None:
        await asyncio.sleep(0)
        self.send(sender, (self.name, number))


@initializing_messages([("name", str)], initdone="ready")
class NeverReady(ActorTypeDispatcher):
    def ready(self) -> None:
        raise ValueError("not ready")


async def test_actors_of_one_class_keep_their_messages_apart(system: AsyncActorSystem) -> None:
    one, two = system.createActor(Account), system.createActor(Account)
    deposit = asyncio.create_task(system.ask(one, 100, 5))
    await asyncio.sleep(0)
    system.tell(two, "bob")
    assert await system.ask(two, 1, 5) == ("bob", 1)
    assert not deposit.done()
    system.tell(one, "alice")
    assert await deposit == ("alice", 100)


async def test_saved_messages_come_first_each_with_its_own_sender(system: AsyncActorSystem) -> None:
    actor = system.createActor(Slow)
    early = [asyncio.create_task(system.ask(actor, number, 5)) for number in (1, -1, 2)]
    await asyncio.sleep(0)
    system.tell(actor, "slow")
    late = asyncio.create_task(system.ask(actor, 3, 5))
    assert await system.listen(5) == "ready"
    assert await early[0] == ("slow", ["begun", "ready", 1])
    with pytest.raises(AskPoisoned, match="below zero"):
        await early[1]
    assert await early[2] == ("slow", ["begun", "ready", 1, 2])
    assert await late == ("slow", ["begun", "ready", 1, 2, 3])


async def test_coroutine_that_all_messages_are_passed_to_is_awaited(
    system: AsyncActorSystem,
) -> None:
    actor = system.createActor(PassesAll)
    assert await system.ask(actor, 1, 5) == ("passed", 1)
    assert await system.ask(actor, "name", 5) == ("passed", "name")
    assert await system.ask(actor, 2, 5) == ("passed", 2)


async def test_transient_actor_waits_for_its_initialization(system: AsyncActorSystem) -> None:
    actor = system.createActor(Fleeting)
    early = asyncio.create_task(system.ask(actor, 1, 5))
    await asyncio.sleep(0)
    system.tell(actor, "brief")
    assert await early == ("brief", 1)
    await until(lambda: system.stats().actors == 0)


async def test_what_an_actor_saved_is_a_dead_letter_when_it_exits(
    system: AsyncActorSystem,
) -> None:
    actor = system.createActor(Account)
    waiting = asyncio.create_task(system.ask(actor, 1, 5))
    await asyncio.sleep(0)
    system.tell(actor, ActorExitRequest())
    with pytest.raises(AskUndeliverable):
        await waiting


async def test_initialization_that_fails_goes_back_to_who_completed_it(
    system: AsyncActorSystem,
) -> None:
    with pytest.raises(AskPoisoned, match="not ready"):
        await system.ask(system.createActor(NeverReady), "name", 5)


@troupe(max_count=3, idle_count=1)
class Works(Actor):
    working = 0
    working_max = 0

    async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, asyncio.Event):
            Works.working += 1
            Works.working_max = max(Works.working, Works.working_max)
            await message.wait()
            Works.working -= 1
            self.send(sender, self.myAddress)
        elif message == "fail":
            await asyncio.sleep(0)
            raise ValueError("on purpose")


async def test_worker_of_a_troupe_is_busy_while_its_coroutine_runs(
    system: AsyncActorSystem,
) -> None:
    works, gate = system.createActor(Works), asyncio.Event()
    asked = [asyncio.create_task(system.ask(works, gate, 5)) for _ in range(4)]
    await until(lambda: Works.working == 3)
    # None of them counts as done, so the fourth waits, and none could be dismissed.
    status = await system.ask(works, "troupe:status?", 5)
    assert "[3, 0 idle, 0 extra]" in status
    assert "Pending=1" in status
    gate.set()
    assert len({await answer for answer in asked}) == 3
    assert Works.working_max == 3


async def test_work_that_fails_goes_back_to_its_client_and_the_worker_is_ready(
    system: AsyncActorSystem,
) -> None:
    works, gate = system.createActor(Works), asyncio.Event()
    gate.set()
    for _ in range(4):  # more often than there may be workers
        with pytest.raises(AskPoisoned, match="on purpose"):
            await system.ask(works, "fail", 5)
    await system.ask(works, gate, 5)
    assert "[1, " in await system.ask(works, "troupe:status?", 5)
