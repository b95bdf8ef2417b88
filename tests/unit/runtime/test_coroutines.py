"""Handlers that are coroutines: the mailbox waits, other actors go on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from thespian.actors import Actor, ActorAddress, ActorExitRequest, ActorTypeDispatcher

from mosaik_actors.runtime import (
    AskPoisoned,
    AskUndeliverable,
    AsyncActorSystem,
    RuntimeConfig,
    TypeDispatcher,
)
from tests.waiting import until


class Waiter(Actor):
    """Waits for the events and futures it is sent, and keeps a log."""

    log: list[Any]

    def __init__(self) -> None:
        self.log = []

    async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, ActorExitRequest):
            self.log.append("exit")
            return
        if isinstance(message, asyncio.Event):
            self.log.append("waits")
            try:
                await message.wait()
            except asyncio.CancelledError:
                self.log.append("cancelled")
                raise
            self.log.append("goes on")
        elif message == "log":
            self.send(sender, self.log)
        elif isinstance(message, list):
            self.log = message
        else:
            self.log.append(message)


class FailsLater(Actor):
    def __init__(self) -> None:
        self.attempts = 0

    async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        await asyncio.sleep(0)
        if isinstance(message, int):
            self.attempts += 1
            if self.attempts <= message:
                raise ValueError("on purpose")
            self.send(sender, self.attempts)


async def test_mailbox_waits_for_the_coroutine(system: AsyncActorSystem) -> None:
    waiter, other = system.createActor(Waiter), system.createActor(Waiter)
    event = asyncio.Event()
    system.tell(waiter, event)
    system.tell(waiter, "next")
    asked = asyncio.create_task(system.ask(waiter, "log"))
    # The other actor is served meanwhile.
    assert await system.ask(other, "log") == []
    assert not asked.done()
    busy = system.mailboxes()[0]
    assert busy.is_busy
    assert busy.depth == 2
    event.set()
    assert await asked == ["waits", "goes on", "next"]


async def test_coroutine_that_fails_is_tried_again_then_poison(system: AsyncActorSystem) -> None:
    actor = system.createActor(FailsLater)
    assert await system.ask(actor, 1) == 2
    actor = system.createActor(FailsLater)
    with pytest.raises(AskPoisoned, match="on purpose"):
        await system.ask(actor, 100)
    assert await system.ask(actor, 0) == 3


async def test_messages_behind_a_failing_coroutine_keep_their_order(
    system: AsyncActorSystem,
) -> None:
    actor = system.createActor(FailsLater)
    first = asyncio.create_task(system.ask(actor, 1))
    second = asyncio.create_task(system.ask(actor, 0))
    assert [await first, await second] == [2, 3]


@pytest.mark.parametrize("base", [ActorTypeDispatcher, TypeDispatcher])
async def test_handlers_of_dispatchers_may_be_coroutines(
    system: AsyncActorSystem, base: Any
) -> None:
    class Dispatches(base):  # type: ignore[misc]
        async def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
            await asyncio.sleep(0)
            self.send(sender, message.upper())

    assert await system.ask(system.createActor(Dispatches), "text") == "TEXT"


async def test_coroutine_handler_may_defer_to_the_next(system: AsyncActorSystem) -> None:
    class Base:
        pass

    class Message(Base):
        pass

    class Defers(TypeDispatcher):
        async def receiveMsg_Message(self, message: Message, sender: ActorAddress) -> Any:
            await asyncio.sleep(0)
            return self.SUPER

        async def receiveMsg_Base(self, message: Base, sender: ActorAddress) -> None:
            self.send(sender, "taken by the base")

    assert await system.ask(system.createActor(Defers), Message()) == "taken by the base"


async def test_exit_waits_for_a_coroutine_that_ends_in_time(system: AsyncActorSystem) -> None:
    waiter, event, log = system.createActor(Waiter), asyncio.Event(), list[Any]()
    system.tell(waiter, log)
    system.tell(waiter, event)
    system.tell(waiter, ActorExitRequest())
    await until(lambda: "waits" in log)
    event.set()
    await until(lambda: system.stats().actors == 0)
    assert log == ["waits", "goes on", "exit"]


async def test_exit_cancels_a_coroutine_that_does_not_end() -> None:
    config = RuntimeConfig(exit_grace_s=0.02)
    async with AsyncActorSystem(config=config) as system:
        waiter, log = system.createActor(Waiter), list[Any]()
        system.tell(waiter, log)
        system.tell(waiter, asyncio.Event())
        # What is before the exit request when patience ends is not handled any more.
        asked = asyncio.create_task(system.ask(waiter, "log"))
        await asyncio.sleep(0)
        system.tell(waiter, ActorExitRequest())
        with pytest.raises(AskUndeliverable):
            await asked
        await until(lambda: system.stats().actors == 0)
        assert log == ["waits", "cancelled", "exit"]
        # The message that was cut short is neither tried again nor poison.
        assert system.stats().poisoned == 0


async def test_coroutine_that_ignores_its_cancellation_is_left_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = asyncio.Event()

    class Stubborn(Actor):
        async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

    config = RuntimeConfig(exit_grace_s=0.01)
    async with AsyncActorSystem(config=config) as system:
        stubborn = system.createActor(Stubborn)
        system.tell(stubborn, "go")
        await asyncio.sleep(0)
        system.tell(stubborn, ActorExitRequest())
    assert "ignores that it was cancelled" in caplog.text
    release.set()
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_exit_handler_may_be_a_coroutine(system: AsyncActorSystem) -> None:
    said: list[str] = []

    class SaysGoodbye(Actor):
        async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if isinstance(message, ActorExitRequest):
                await asyncio.sleep(0.001)
                said.append("goodbye")

    system.tell(system.createActor(SaysGoodbye), ActorExitRequest())
    await until(lambda: system.stats().actors == 0)
    assert said == ["goodbye"]
