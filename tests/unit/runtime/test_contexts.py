"""Context variables: each actor has its own."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

from thespian.actors import Actor, ActorAddress

from mosaik_actors.runtime import AsyncActorSystem

request: ContextVar[str] = ContextVar("request", default="none")


class Keeps(Actor):
    """Sets the variable to what it is told, and answers with what it was."""

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


async def test_what_a_handler_sets_only_its_own_actor_sees() -> None:
    request.set("before")
    async with AsyncActorSystem() as system:
        request.set("after")
        for actor_class in (Keeps, KeepsLater):
            one, two = system.createActor(actor_class), system.createActor(actor_class)
            assert await system.ask(one, "mine", 5) == "before"
            assert await system.ask(two, "other", 5) == "before"
            assert await system.ask(one, "again", 5) == "mine"
        born = system.createActor(SetsAtBirth)
        assert await system.ask(born, "child", 5) == "born"
        assert await system.ask(system.createActor(Keeps), "x", 5) == "before"
    assert request.get() == "after"
