"""Two actor systems in one process: what each may know of the other's addresses."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from thespian.actors import Actor, ActorAddress, InvalidActorAddress, PoisonMessage

from mosaik_actors.runtime import (
    AskPoisoned,
    AsyncActorSystem,
    AsyncioSystemBase,
    ForeignAddress,
    RuntimeConfig,
)
from tests.waiting import until


class Echo(Actor):
    handled = 0

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, str):
            Echo.handled += 1
            self.send(sender, message)


class Relay(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, tuple):
            self.send(message[0], message[1])


class Parks(Actor):
    """Takes no message directly: it is in the midst of a coroutine."""

    async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        await asyncio.Event().wait()


async def test_address_of_another_system_is_refused_wherever_it_is_used() -> None:
    config = RuntimeConfig(exit_grace_s=0.01)
    async with (
        AsyncActorSystem(name="one", config=config) as one,
        AsyncActorSystem(name="two") as two,
    ):
        echo, parks, relay = one.createActor(Echo), one.createActor(Parks), two.createActor(Relay)
        one.tell(parks, "begin")
        await until(lambda: one.mailboxes()[1].is_busy)
        handled = Echo.handled
        for foreign in (echo, parks, one.address):
            with pytest.raises(ForeignAddress, match="another actor system than 'two'"):
                two.tell(foreign, "direct")
            with pytest.raises(InvalidActorAddress):
                await two.ask(foreign, "direct", 5)
            # In a message, it is of no use to the actor that gets it.
            with pytest.raises(AskPoisoned, match="ForeignAddress"):
                await two.ask(relay, (foreign, "relayed"), 5)
            # From another thread.
            with pytest.raises(ForeignAddress):
                await asyncio.to_thread(two.tell, foreign, "direct")
        assert one.stats().queued == 0
        assert Echo.handled == handled


def test_thespians_interface_gives_the_message_back() -> None:
    one, two = AsyncioSystemBase(name="one"), AsyncioSystemBase(name="two")
    first, second = one.actor_system(), two.actor_system()
    try:
        echo = first.createActor(Echo)
        assert first.ask(echo, "x", 5) == "x"
        relay = second.createActor(Relay)
        answer = second.ask(relay, (echo, "hello"), 5)
        assert isinstance(answer, PoisonMessage)
        assert "ForeignAddress" in str(answer.details)
        answer = second.ask(echo, "direct", 5)
        assert isinstance(answer, PoisonMessage)
        assert answer.poisonMessage == "direct"
        assert "another actor system" in str(answer.details)
        second.tell(echo, "told")
        assert isinstance(second.listen(5), PoisonMessage)
    finally:
        first.shutdown()
        second.shutdown()


class Floods(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, int):
            for number in range(message):
                self.send(sender, number)


async def test_answers_beyond_the_backlog_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with AsyncActorSystem(config=RuntimeConfig(external_backlog_max=5)) as system:
        system.tell(system.createActor(Floods), 20)
        await until(lambda: system.stats().dead_letters == 15)
    assert caplog.text.count("5 messages wait for listen()") == 1


def test_answers_beyond_the_backlog_of_a_thread_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    system = AsyncioSystemBase(config=RuntimeConfig(external_backlog_max=5)).actor_system()
    try:
        floods = system.createActor(Floods)
        system.tell(floods, 20)
        assert [system.listen(5) for _ in range(5)] == list(range(5))
    finally:
        system.shutdown()
    assert caplog.text.count("5 messages wait for listen()") == 1


async def test_dead_letters_that_nobody_handles_are_logged_once_a_kind(
    caplog: pytest.LogCaptureFixture, system: AsyncActorSystem
) -> None:
    gone = system.createActor(Echo)
    system._host.cells[next(reversed(system._host.cells))].end()
    with caplog.at_level(logging.WARNING):
        for message in ("one", "two", 3):
            system.tell(gone, message)
    assert caplog.text.count("dead letter: str") == 1
    assert caplog.text.count("dead letter: int") == 1
