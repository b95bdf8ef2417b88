"""What is put before an instance of a singleton: nothing is done when its lease is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from thespian.actors import Actor

from mosaik_actors import (
    ActorRef,
    AskRejected,
    AsyncActorSystem,
    MosaikActor,
    Request,
)
from mosaik_actors.custom.guarded import guarded
from mosaik_actors.runtime.messaging.hooks import StartActor
from mosaik_actors.runtime.supervised import Spawning
from mosaik_actors.singletons.tenure import Tenure
from tests.waiting import until


class Token(Request[int]):
    """With which token?"""


class Linger(Request[int]):
    """Go on when `gate` is set: send something, and return the token."""

    gate: Any
    to: Any


class Instance(MosaikActor):
    def __init__(self, did: list[str]) -> None:
        self.did = did

    def started(self) -> None:
        self.did.append("started")

    def receiveMsg_str(self, text: str, sender: ActorRef) -> None:
        self.did.append(text)

    def receiveMsg_Token(self, message: Token, sender: ActorRef) -> int:
        return self.fencing_token

    async def receiveMsg_Linger(self, message: Linger, sender: ActorRef) -> int:
        await message.gate.wait()
        self.send(message.to, "late")
        return self.fencing_token


class Plain(Actor):
    """Any Thespian actor may be one."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        self.send(sender, f"got {message}")


async def test_nothing_is_done_when_the_lease_is_over() -> None:
    lasts = [True]
    tenure = Tenure("x", 7, lambda _token: lasts[0])
    did: list[str] = []
    async with AsyncActorSystem() as system:

        def spawn(actor_class: type, *args: Any) -> ActorRef:
            return system.host.creation.spawn(actor_class, Spawning(args=args))

        made = guarded(Instance, tenure)
        assert (made.__name__, made.__module__) == ("Instance", __name__)
        one, lingering = spawn(made, did), spawn(made, did)
        plain, other = spawn(guarded(Plain, tenure)), spawn(Instance, did)
        assert await one.ask(Token()) == 7
        assert await plain.ask("a") == "got a"
        one.tell("told")
        gate = asyncio.Event()
        late = asyncio.ensure_future(lingering.ask(Linger(gate, other)))
        await until(lambda: did[3:] == ["told"])

        lasts[0] = False
        letters = system.stats().dead_letters
        for ref in (one, plain):
            with pytest.raises(AskRejected, match="the lease of its host is over"):
                await ref.ask(Token())
            ref.tell("late")
        one.deliver(StartActor(), one)  # as timers come
        # What was begun can send nothing more, nor get at the token; it is not tried again.
        gate.set()
        with pytest.raises(AskRejected, match="the lease of its host is over"):
            await late
        await until(lambda: system.stats().dead_letters >= letters + 3)
        assert did == ["started"] * 3 + ["told"]
