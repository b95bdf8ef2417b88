"""A system that is killed or stopped from outside, as simulations do."""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest
from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ActorSystemStartupFailure,
    ChildActorExited,
)

from mosaik_actors.runtime import (
    ActorSystemClosed,
    AskUndeliverable,
    AsyncActorSystem,
    AsyncioSystemBase,
)


class Recorder(Actor):
    seen: list[Any]

    def __init__(self) -> None:
        self.seen = []

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, list):
            self.seen = message
        else:
            self.seen.append(message)


class Sleeper(Actor):
    async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        await asyncio.Event().wait()


async def test_killed_system_asks_and_tells_nobody() -> None:
    system = await AsyncActorSystem.start()
    seen: list[Any] = []
    recorder = system.createActor(Recorder)
    system.tell(recorder, seen)
    await asyncio.sleep(0)
    sleeper = system.createActor(Sleeper)
    asking = asyncio.create_task(system.ask(sleeper, "never answered"))
    await asyncio.sleep(0)
    system.tell(recorder, "lost with the mailbox")
    system.kill()
    with pytest.raises((ActorSystemClosed, AskUndeliverable)):
        await asking
    assert system.is_closed
    assert not [item for item in seen if isinstance(item, ActorExitRequest | ChildActorExited)]
    assert "lost with the mailbox" not in seen
    await system.shutdown()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_suspended_system_keeps_its_messages_for_later() -> None:
    async with AsyncActorSystem() as system:
        seen: list[Any] = []
        recorder = system.createActor(Recorder)
        system.tell(recorder, seen)
        await asyncio.sleep(0)
        system.suspend()
        for number in range(3):
            system.tell(recorder, number)
        for _ in range(5):
            await asyncio.sleep(0)
        assert seen == []
        system.resume()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert seen == [0, 1, 2]
        system.tell(recorder, "as before")
        await asyncio.sleep(0)
        assert seen[-1] == "as before"


async def test_step_is_taken_now_when_a_message_would_be_next_anyway() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="the system's")
    async with AsyncActorSystem() as system:
        seen: list[Any] = []
        recorder = system.createActor(Recorder)
        system.tell(recorder, seen)
        await asyncio.sleep(0)
        token = variable.set("the caller's")
        assert system.run_now(recorder, lambda: seen.append(variable.get()))
        variable.reset(token)
        assert seen == ["the system's"]

        # It overtakes nothing, and does nothing for one that stands still or has ended.
        may_step = system.step_check(recorder)
        assert may_step()
        system.tell(recorder, 1)
        assert not may_step()
        assert not system.run_now(recorder, lambda: seen.append(2))
        await asyncio.sleep(0)
        assert seen[1:] == [1]
        system.suspend()
        assert not may_step()
        assert not system.run_now(recorder, lambda: seen.append(3))
        system.resume()
        assert may_step()
        assert system.run_now(recorder, lambda: seen.append(4))
        with pytest.raises(ZeroDivisionError):
            system.run_now(recorder, lambda: 1 / 0)
        sleeper = system.createActor(Sleeper)
        sleeper_may_step = system.step_check(sleeper)
        system.tell(sleeper, "sleep")
        await asyncio.sleep(0)
        assert not sleeper_may_step()
        assert not system.run_now(sleeper, lambda: seen.append(5))
        system.kill()
        assert not may_step()
        assert not system.run_now(recorder, lambda: seen.append(6))
        assert seen[1:] == [1, 4]


def test_loop_that_cannot_start_is_an_error_and_no_endless_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> asyncio.AbstractEventLoop:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio, "new_event_loop", fail)
    base = AsyncioSystemBase()
    with pytest.raises(ActorSystemStartupFailure) as caught:
        base.actor_system().createActor(Recorder)
    assert isinstance(caught.value.__cause__, OSError)
