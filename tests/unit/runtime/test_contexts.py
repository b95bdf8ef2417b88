"""Context variables: each actor has its own."""

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar
from typing import Any

from thespian.actors import Actor, ActorAddress

from mosaik_actors.runtime import AsyncActorSystem

request: ContextVar[str] = ContextVar("request", default="none")


class Keeps(Actor):
    """Sets the variable to what it gets, and answers with what it was."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, str):
            self.send(sender, request.get())
            request.set(message)


class KeepsLater(Actor):
    async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, str):
            await asyncio.sleep(0)
            self.send(sender, request.get())
            request.set(message)


class SetsAtBirth(Actor):
    def __init__(self) -> None:
        request.set("born")

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "child":
            self.send(sender, request.get())


async def use(expected: str) -> None:
    async with AsyncActorSystem() as system:
        request.set("after")
        assert system._host.scheduler.shares_context == (expected == "none")
        for actor_class in (Keeps, KeepsLater):
            one, two = system.createActor(actor_class), system.createActor(actor_class)
            # In one turn of the loop, one after the other.
            for actor in (one, two, two, one):
                system.tell(actor, "mine" if actor is one else "its")
            heard = sorted([await system.listen(5) for _ in range(4)])
            assert heard == sorted([expected, expected, "its", "mine"])
            assert await system.ask(one, "again", 5) == "mine"
            assert await system.ask(two, "again", 5) == "its"
        born = system.createActor(SetsAtBirth)
        assert await system.ask(born, "child", 5) == "born"
        assert await system.ask(system.createActor(Keeps), "x", 5) == expected
    assert request.get() == "after"


async def test_what_a_handler_sets_only_its_own_actor_sees() -> None:
    request.set("before")
    await use("before")


async def test_what_a_handler_sets_when_all_share_a_context_to_begin_with() -> None:
    await asyncio.get_running_loop().create_task(use("none"), context=Context())


async def test_what_fails_keeps_what_it_has_set_to_itself() -> None:
    class Fails(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if isinstance(message, str):
                request.set("failing")
                raise ValueError

    async def fail() -> None:
        async with AsyncActorSystem() as system:
            fails, keeps = system.createActor(Fails), system.createActor(Keeps)
            system.tell(fails, "x")
            assert await system.ask(keeps, "y", 5) == "none"

    await asyncio.get_running_loop().create_task(fail(), context=Context())
