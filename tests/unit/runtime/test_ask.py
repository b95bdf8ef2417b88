"""Asks on the event loop: one answer each, or a typed error."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    DeadEnvelope,
    InvalidActorAddress,
    Thespian_StatusReq,
    Thespian_SystemStatus,
)

from mosaik_actors.errors import MosaikError
from mosaik_actors.runtime import (
    ActorSystemClosed,
    AskFailed,
    AskPoisoned,
    AskTimeout,
    AskUndeliverable,
    AsyncActorSystem,
    Request,
)


class Keeper(Actor):
    """Keeps questions until told to answer all of them, the last one first."""

    def __init__(self) -> None:
        self.kept: list[tuple[Any, ActorAddress]] = []

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "answer":
            for question, asker in reversed(self.kept):
                self.send(asker, ("answer", question))
        elif message == "fail":
            raise ValueError("on purpose")
        elif message == "twice":
            self.send(sender, 1)
            self.send(sender, 2)
        elif message == "none":
            self.send(sender, None)
        elif isinstance(message, int):
            self.kept.append((message, sender))


class Cancels(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, asyncio.Task):
            message.cancel()


class Letters(Actor):
    def __init__(self) -> None:
        self.letters: list[Any] = []

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "start":
            self.handleDeadLetters()
        elif message == "letters":
            self.send(sender, self.letters)
        elif isinstance(message, DeadEnvelope):
            self.letters.append(message.deadMessage)


async def test_answers_to_concurrent_asks_never_mix(system: AsyncActorSystem) -> None:
    keeper = system.createActor(Keeper)
    asks = [asyncio.create_task(system.ask(keeper, number)) for number in range(50)]
    await asyncio.sleep(0)
    system.tell(keeper, "answer")
    assert await asyncio.gather(*asks) == [("answer", number) for number in range(50)]


async def test_none_is_an_answer(system: AsyncActorSystem) -> None:
    assert await system.ask(system.createActor(Keeper), "none", timeout=5) is None


async def test_ask_without_an_answer_times_out(system: AsyncActorSystem) -> None:
    keeper = system.createActor(Keeper)
    with pytest.raises(AskTimeout) as caught:
        await system.ask(keeper, 1, timeout=0.01)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, MosaikError)
    assert (caught.value.address, caught.value.message, caught.value.timeout) == (keeper, 1, 0.01)
    assert "within 0.01 s (" in str(caught.value)
    assert "is no Request: what its handler returns is no answer" in str(caught.value)
    late = str(AskTimeout(caught.value.address, Request(), 1.0))
    assert late.endswith(" did not answer Request within 1 s")


async def test_message_that_fails_twice_raises_at_the_asker(system: AsyncActorSystem) -> None:
    keeper = system.createActor(Keeper)
    with pytest.raises(AskPoisoned, match="ValueError: on purpose") as caught:
        await system.ask(keeper, "fail")
    assert caught.value.details is not None
    # The second failure is reported on its own, not as a consequence of the first.
    assert caught.value.details.count("ValueError: on purpose") == 1
    assert system.stats().poisoned == 1
    assert system.stats().failures == 2


async def test_ask_of_a_dead_actor_fails_at_once(system: AsyncActorSystem) -> None:
    keeper = system.createActor(Keeper)
    system.tell(keeper, ActorExitRequest())
    with pytest.raises(AskUndeliverable) as caught:
        await system.ask(keeper, 1)  # still in the mailbox when the actor goes
    with pytest.raises(AskFailed):
        await system.ask(keeper, 2)
    assert caught.value.message == 1


async def test_cancelled_ask_leaves_its_late_answer_to_dead_letters(
    system: AsyncActorSystem,
) -> None:
    keeper, letters = system.createActor(Keeper), system.createActor(Letters)
    system.tell(letters, "start")
    ask = asyncio.create_task(system.ask(keeper, 1))
    await asyncio.sleep(0)
    ask.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ask
    system.tell(keeper, "answer")
    await system.ask(keeper, "none")
    assert await system.ask(letters, "letters") == [("answer", 1)]


async def test_only_the_first_answer_counts(system: AsyncActorSystem) -> None:
    keeper, letters = system.createActor(Keeper), system.createActor(Letters)
    system.tell(letters, "start")
    assert await system.ask(keeper, "twice") == 1
    assert await system.ask(letters, "letters") == [2]


async def test_shutdown_fails_pending_asks() -> None:
    async with AsyncActorSystem() as system:
        ask = asyncio.create_task(system.ask(system.createActor(Keeper), 1))
        await asyncio.sleep(0.001)
    with pytest.raises(ActorSystemClosed):
        await ask
    with pytest.raises(ActorSystemClosed):
        await system.ask(system.address, Thespian_StatusReq())


async def test_answers_to_tell_come_to_listen(system: AsyncActorSystem) -> None:
    keeper = system.createActor(Keeper)
    system.tell(keeper, "twice")
    assert [await system.listen(), await system.listen(timeout=5)] == [1, 2]
    with pytest.raises(TimeoutError):
        await system.listen(timeout=0.01)


async def test_cancelled_listen_loses_no_message(system: AsyncActorSystem) -> None:
    keeper = system.createActor(Keeper)
    listening = asyncio.create_task(system.listen())
    await asyncio.sleep(0)
    # 1. The message arrives. 2. The task is cancelled. 3. The task has its turn.
    system.tell(keeper, "twice")
    system.tell(system.createActor(Cancels), listening)
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert [await system.listen(), await system.listen()] == [1, 2]


async def test_system_answers_status_requests(system: AsyncActorSystem) -> None:
    keeper = system.createActor(Keeper)
    status = await system.ask(system.address, Thespian_StatusReq())
    assert isinstance(status, Thespian_SystemStatus)
    assert status.childActors == [keeper]


async def test_what_is_no_address_is_refused(system: AsyncActorSystem) -> None:
    nowhere: Any = "nowhere"
    with pytest.raises(InvalidActorAddress):
        system.tell(nowhere, 1)
    with pytest.raises(InvalidActorAddress):
        await system.ask(nowhere, 1)
    # An address that no system has made is nobody's.
    with pytest.raises(AskUndeliverable):
        await system.ask(ActorAddress("elsewhere"), 1)


async def test_message_may_carry_a_future(system: AsyncActorSystem) -> None:
    class Fulfils(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if isinstance(message, asyncio.Future):
                message.set_result("fulfilled")

    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    system.tell(system.createActor(Fulfils), future)
    assert await future == "fulfilled"
