"""Thespian's blocking interface: on a loop that runs, and on a thread of its own."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest
from thespian.actors import Actor, ActorAddress, ActorSystem, ChildActorExited

from mosaik_actors.runtime import (
    ActorSystemClosed,
    AsyncActorSystem,
    AsyncioSystemBase,
    BlockingCallOnLoop,
    NotOnLoopThread,
    RuntimeConfig,
)


class Echo(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "thread":
            self.send(sender, threading.get_ident())
        elif isinstance(message, int | str):
            self.send(sender, message)


class Exits(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
        if message == "exit":
            sys.exit("a handler ends the program")
        if message == "exit later":
            return self.exit_later()
        if message == "interrupt":
            raise KeyboardInterrupt
        if message == "child":
            self.send(sender, (self.myAddress, self.createActor(Echo)))
        return None

    async def exit_later(self) -> None:
        await asyncio.sleep(0)
        sys.exit("a handler ends the program")


class ExitsAtBirth(Echo):
    def __init__(self) -> None:
        sys.exit("a constructor ends the program")


class Parent(Actor):
    """Creates a child, and tells of its exit when asked."""

    creator: ActorAddress
    exited: ActorAddress | None = None
    customer: ActorAddress | None = None

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "create":
            self.creator = sender
            self.send(self.createActor(Exits), "child")
        elif isinstance(message, tuple):
            self.send(self.creator, message)
        elif message == "create bad":
            self.send(sender, self.createActor(ExitsAtBirth))
        elif message == "wait":
            self.customer = sender
        elif isinstance(message, ChildActorExited):
            self.exited = message.childAddress
        if self.exited is not None and self.customer is not None:
            self.send(self.customer, ("exited", self.exited))
            self.exited = self.customer = None


def system_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "actor system" in thread.name]


def test_base_runs_a_thread_of_its_own_from_first_use_to_shutdown() -> None:
    base = AsyncioSystemBase({"Disk": "big"})
    system = ActorSystem(systemBase=base, transientUnique=True)
    assert system_threads() == []
    echo = system.createActor(Echo)
    assert len(system_threads()) == 1
    assert system.ask(echo, 1, 5) == 1
    assert system.ask(echo, "thread", 5) != threading.get_ident()
    system.shutdown()
    assert system_threads() == []
    with pytest.raises(ActorSystemClosed):
        base.tell(echo, 1)


def test_dropped_base_costs_nothing() -> None:
    # Without transientUnique the first base of a class serves all later ones.
    first = ActorSystem(systemBase=AsyncioSystemBase())
    try:
        echo = first.createActor(Echo)
        second = ActorSystem(systemBase=AsyncioSystemBase())
        assert second.ask(echo, 1, 5) == 1
        assert len(system_threads()) == 1
    finally:
        first.shutdown()


def test_actor_system_shows_the_capabilities_of_the_base() -> None:
    system = AsyncioSystemBase({"Disk": "big"}).actor_system()
    try:
        assert system.capabilities["Disk"] == "big"
        assert system.capabilities["Thespian Watch Supported"] is True
    finally:
        system.shutdown()


async def test_blocking_calls_on_the_loop_thread_name_the_coroutine() -> None:
    async with AsyncActorSystem() as system:
        blocking = system.actor_system()
        echo = blocking.createActor(Echo)  # does not block, so it may be called here
        with pytest.raises(BlockingCallOnLoop, match=r"await AsyncActorSystem\.ask\("):
            blocking.ask(echo, 1)
        with pytest.raises(BlockingCallOnLoop, match=r"await AsyncActorSystem\.listen\("):
            blocking.listen(1)
        with pytest.raises(BlockingCallOnLoop, match=r"await AsyncActorSystem\.shutdown\("):
            blocking.shutdown()
        with blocking.private() as context, pytest.raises(BlockingCallOnLoop):
            context.ask(echo, 1)
        assert await system.ask(echo, 1) == 1
        assert system_threads() == []


async def test_base_made_on_a_running_loop_uses_it() -> None:
    base = AsyncioSystemBase()
    system = ActorSystem(systemBase=base, transientUnique=True)
    echo = system.createActor(Echo)
    here = threading.get_ident()
    assert await asyncio.to_thread(system.ask, echo, "thread", 5) == here
    await asyncio.to_thread(system.shutdown)
    assert base.host.closed


async def test_other_threads_use_the_blocking_interface() -> None:
    async with AsyncActorSystem() as system:
        blocking = system.actor_system()
        echo = system.createActor(Echo)

        def work(number: int) -> list[Any]:
            with blocking.private() as context:
                mine = context.createActor(Echo)
                return [context.ask(actor, number, 5) for actor in (echo, mine) * 20]

        answers = await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(4)))
        assert answers == [[number] * 40 for number in range(4)]


async def test_asyncio_calls_on_another_thread_are_refused_but_tell(
    system: AsyncActorSystem,
) -> None:
    echo = system.createActor(Echo)
    with pytest.raises(NotOnLoopThread, match=r"actor_system\(\)\.createActor"):
        await asyncio.to_thread(system.createActor, Echo)
    await asyncio.to_thread(system.tell, echo, 7)
    assert await system.listen(timeout=5) == 7


def test_backlog_for_listen_is_bounded() -> None:
    base = AsyncioSystemBase(config=RuntimeConfig(external_backlog_max=3))
    system = base.actor_system()
    try:
        echo = system.createActor(Echo)
        for number in range(5):
            system.tell(echo, number)
        with system.private() as context:
            assert context.ask(echo, "last", 5) == "last"
        assert [system.listen(0.01) for _ in range(4)] == [0, 1, 2, None]
        assert base.host.letters.count == 2
    finally:
        system.shutdown()


def test_listen_ends_with_the_system() -> None:
    system = AsyncioSystemBase().actor_system()
    base = system._systemBase
    heard: list[Any] = []
    listening = threading.Thread(target=lambda: heard.append(base.listen()))
    listening.start()
    system.shutdown()
    listening.join(5)
    assert heard == [None]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_interrupt_in_a_handler_ends_the_system_with_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    system = AsyncioSystemBase().actor_system()
    exits = system.createActor(Exits)
    # Nobody may wait for an answer that cannot come.
    assert system.ask(exits, "interrupt") is None
    with pytest.raises(ActorSystemClosed) as caught:
        system.createActor(Echo)
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)
    system.shutdown()
    assert system_threads() == []
    assert "ended by KeyboardInterrupt" in caplog.text


@pytest.mark.parametrize("order", ["exit", "exit later"])
def test_exit_in_a_handler_ends_its_actor_and_no_other(
    order: str, caplog: pytest.LogCaptureFixture
) -> None:
    system = AsyncioSystemBase().actor_system()
    try:
        parent = system.createActor(Parent)
        child, grandchild = system.ask(parent, "create", 5)
        assert system.ask(child, order, 5) is None  # at once: the message is lost
        assert system.ask(parent, "wait", 5) == ("exited", child)
        assert system.ask(grandchild, "x", 5) is None
        assert system.ask(parent, "create", 5)[0] != child
    finally:
        system.shutdown()
    assert "raised SystemExit in handling str" in caplog.text
    assert "a handler ends the program" in caplog.text


def test_exit_in_a_constructor_is_a_child_that_cannot_start() -> None:
    system = AsyncioSystemBase().actor_system()
    try:
        parent = system.createActor(Parent)
        child = system.ask(parent, "create bad", 5)
        assert system.ask(parent, "wait", 5) == ("exited", child)
    finally:
        system.shutdown()
