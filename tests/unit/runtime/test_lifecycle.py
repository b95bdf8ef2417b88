"""Creation, supervision and shutdown: in order, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    InvalidActorSpecification,
    NoCompatibleSystemForActor,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
    requireCapability,
)

from mosaik_actors.runtime import (
    ActorSystemClosed,
    AskPoisoned,
    AskUndeliverable,
    AsyncActorSystem,
    RuntimeConfig,
)
from tests.waiting import until


class Node(Actor):
    """A tree by orders: ("grow", log, names) makes one child per name."""

    name = "root"
    log: list[Any]

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, tuple) and message[0] == "name":
            _, self.name, self.log = message
        elif isinstance(message, tuple) and message[0] == "grow":
            for name in message[1]:
                child = self.createActor(Node)
                self.send(child, ("name", f"{self.name}.{name}", self.log))
                if len(message) > 2:
                    self.send(child, ("grow", *message[2:]))
            self.send(sender, "grown")
        elif isinstance(message, ActorExitRequest):
            self.log.append(("asked", self.name))
        elif isinstance(message, ChildActorExited):
            self.log.append(("child of", self.name))


class Idle(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "alarm":
            self.wakeupAfter(3600.0)
        elif message == "hello":
            self.send(sender, "hello")


def open_descriptors() -> int:
    # Where the system does not list them, there is nothing to compare.
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


async def test_children_end_before_their_parents() -> None:
    log: list[Any] = []
    async with AsyncActorSystem() as system:
        root = system.createActor(Node)
        system.tell(root, ("name", "root", log))
        await system.ask(root, ("grow", ["a", "b"], ["c"]))
        await until(lambda: system.stats().actors >= 5)
    assert log == [
        ("asked", "root"),
        ("asked", "root.a"),
        ("asked", "root.b"),
        ("asked", "root.a.c"),
        ("asked", "root.b.c"),
        ("child of", "root.a"),
        ("child of", "root.b"),
        ("child of", "root"),
        ("child of", "root"),
    ]
    assert system.is_closed


async def test_shutdown_leaves_no_task_timer_or_descriptor() -> None:
    class Watches(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
            return ThespianWatch([message]) if isinstance(message, int) else None

    class Sleeps(Actor):
        async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if message == "sleep":
                await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    descriptors = open_descriptors()
    left, right = socket.socketpair()
    with left, right:
        async with AsyncActorSystem(config=RuntimeConfig(exit_grace_s=0.01)) as system:
            idle, watches = system.createActor(Idle), system.createActor(Watches)
            for _ in range(3):
                system.tell(idle, "alarm")
            system.tell(watches, left.fileno())
            system.tell(system.createActor(Sleeps), "sleep")
            await system.ask(idle, "hello")
            assert len(asyncio.all_tasks()) == 2
        assert not loop.remove_reader(left.fileno())
    assert asyncio.all_tasks() == {asyncio.current_task()}
    live = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert live == []
    assert open_descriptors() == descriptors


async def test_shutdown_is_bounded_and_ends_what_hangs(caplog: pytest.LogCaptureFixture) -> None:
    class Hangs(Actor):
        async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            await asyncio.Event().wait()

    config = RuntimeConfig(exit_grace_s=60, shutdown_timeout_s=0.02)
    async with AsyncActorSystem(config=config) as system:
        hangs = system.createActor(Hangs)
        system.tell(hangs, "go")
    assert "1 actors did not exit within 0.02s" in caplog.text
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_shutdown_may_be_repeated_and_nothing_works_after_it() -> None:
    system = await AsyncActorSystem.start()
    idle = system.createActor(Idle)
    await asyncio.gather(system.shutdown(), system.shutdown())
    await system.shutdown()
    with pytest.raises(ActorSystemClosed):
        system.createActor(Idle)
    with pytest.raises(ActorSystemClosed):
        await system.listen()
    system.tell(idle, "nobody there")
    assert system.stats().dead_letters == 1


async def test_actor_may_shut_the_system_down() -> None:
    class Ends(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if message == "end":
                self.actorSystemShutdown()

    system = await AsyncActorSystem.start()
    system.tell(system.createActor(Ends), "end")
    with pytest.raises(ActorSystemClosed):
        await system.listen()
    assert system.is_closed


async def test_orphans_are_ended_by_the_shutdown() -> None:
    async with AsyncActorSystem() as system:
        log: list[Any] = []
        root = system.createActor(Node)
        system.tell(root, ("name", "root", log))
        await system.ask(root, ("grow", ["a"]))
        system.tell(root, ActorExitRequest(recursive=False))
        await until(lambda: system.stats().actors == 1)
        assert ("asked", "root.a") not in log
    assert ("asked", "root.a") in log


async def test_parent_is_told_once_of_a_childs_exit(system: AsyncActorSystem) -> None:
    log: list[Any] = []
    root = system.createActor(Node)
    system.tell(root, ("name", "root", log))
    await system.ask(root, ("grow", ["a"]))
    child = system.mailboxes()[1].address
    system.tell(child, ActorExitRequest())
    system.tell(child, ActorExitRequest())
    await until(lambda: system.stats().actors == 1)
    await asyncio.sleep(0)
    assert log == [("asked", "root.a"), ("child of", "root")]


async def test_exception_in_one_actor_disturbs_no_other(system: AsyncActorSystem) -> None:
    class Explodes(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            raise RuntimeError("boom")

    class Cancels(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            raise asyncio.CancelledError

    idle = system.createActor(Idle)
    for actor_class in (Explodes, Cancels) * 20:
        system.tell(system.createActor(actor_class), 1)
    assert await system.ask(idle, "hello") == "hello"
    assert system.stats().poisoned == 40
    assert system.stats().actors == 41


async def test_actors_are_numbered_in_order_of_creation() -> None:
    def addresses(system: AsyncActorSystem) -> list[str]:
        return [str(system.createActor(Idle)) for _ in range(3)]

    async with AsyncActorSystem(name="node") as first, AsyncActorSystem(name="node") as second:
        assert addresses(first) == addresses(second)
        assert addresses(first)[0].startswith("ActorAddr-node/")


async def test_failed_creation_leaves_nothing_behind(system: AsyncActorSystem) -> None:
    class CannotStart(Actor):
        def __init__(self) -> None:
            raise OSError("no disk")

    @requireCapability("Disk")
    class NeedsDisk(Actor):
        pass

    with pytest.raises(OSError, match="no disk"):
        system.createActor(CannotStart, globalName="taken")
    with pytest.raises(NoCompatibleSystemForActor):
        system.createActor(NeedsDisk)
    no_actor: Any = dict
    with pytest.raises(InvalidActorSpecification):
        system.createActor(no_actor)
    assert system.stats().created == 0
    # The name is still free.
    assert await system.ask(system.createActor(Idle, globalName="taken"), "hello") == "hello"


async def test_actor_ends_when_its_capability_goes(system: AsyncActorSystem) -> None:
    @requireCapability("Disk", "big")
    class NeedsDisk(Actor):
        pass

    system.updateCapability("Disk", "big")
    assert system.capabilities["Disk"] == "big"
    system.createActor(NeedsDisk)
    system.updateCapability("Disk", "small")
    await until(lambda: system.stats().actors == 0)
    system.updateCapability("Disk")
    assert "Disk" not in system.capabilities


async def test_wakeups_of_a_dead_actor_never_come(system: AsyncActorSystem) -> None:
    woken: list[Any] = []

    class Alarm(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if isinstance(message, WakeupMessage):
                woken.append(message.payload)
            elif message == "alarm":
                self.wakeupAfter(0.001, "too late")

    alarm = system.createActor(Alarm)
    system.tell(alarm, "alarm")
    system.tell(alarm, ActorExitRequest())
    await asyncio.sleep(0.01)
    assert woken == []
    assert system.stats().dead_letters == 0


async def test_watch_reports_ready_descriptors_once_and_drops_stale_reports(
    system: AsyncActorSystem,
) -> None:
    reports: list[list[int]] = []

    class Watches(Actor):
        customer: ActorAddress

        def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
            if isinstance(message, WatchMessage):
                reports.append(message.ready)
                for descriptor in message.ready:
                    os.read(descriptor, 100)
                self.send(self.customer, "reported")
            elif isinstance(message, list):
                self.customer = sender
                return ThespianWatch(message)
            return None

    one, two = os.pipe(), os.pipe()
    try:
        watches = system.createActor(Watches)
        os.write(one[1], b"x")
        os.write(two[1], b"x")
        # A closed descriptor and a doubled one change nothing.
        assert await system.ask(watches, [two[0], one[0], one[0], -1, 98765]) == "reported"
        assert reports == [[two[0], one[0]]]
        os.write(one[1], b"x")
        asked = asyncio.create_task(system.ask(watches, [one[0]]))
        await asyncio.sleep(0)
        # Another message replaces the watch before its report is handled.
        for _ in range(5):
            system.tell(watches, "no watch any more")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asked), 0.02)
        assert reports == [[two[0], one[0]]]
        asked.cancel()
    finally:
        for descriptor in (*one, *two):
            os.close(descriptor)


async def test_regular_file_is_always_ready(system: AsyncActorSystem, tmp_path: Path) -> None:
    class Watches(Actor):
        customer: ActorAddress

        def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
            if isinstance(message, int):
                self.customer = sender
                return ThespianWatch([message])
            if isinstance(message, WatchMessage):
                self.send(self.customer, message.ready)
            return None

    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        watches = system.createActor(Watches)
        assert await system.ask(watches, file.fileno(), timeout=5) == [file.fileno()]


async def test_actor_that_waits_for_its_children_takes_no_more_messages(
    system: AsyncActorSystem,
) -> None:
    release, answered = asyncio.Event(), list[Any]()

    class Busy(Actor):
        async def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if message == "work":
                await release.wait()

    class Parent(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if message == "begin":
                self.send(self.createActor(Busy), "work")
                self.send(sender, "begun")
            elif message == "late":
                answered.append(message)

    parent = system.createActor(Parent)
    await system.ask(parent, "begin")
    system.tell(parent, ActorExitRequest())
    # Both what came behind the exit request and what comes while it waits.
    with pytest.raises(AskUndeliverable):
        await system.ask(parent, "late")
    with pytest.raises(AskUndeliverable):
        await system.ask(parent, "late")
    assert system.stats().actors == 2
    release.set()
    await until(lambda: system.stats().actors == 0)
    assert answered == []


async def test_message_is_never_handled_inside_the_call_that_sends_it(
    system: AsyncActorSystem,
) -> None:
    steps: list[str] = []

    class Sends(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if isinstance(message, ActorAddress):
                self.send(message, "handled")
                self.send(self.myAddress, "to itself")
                steps.append("sent")
            elif isinstance(message, str):
                steps.append(message)

    one, two = system.createActor(Sends), system.createActor(Sends)
    system.tell(one, two)
    assert steps == []
    await until(lambda: len(steps) == 3)
    assert steps[0] == "sent"
    assert sorted(steps[1:]) == ["handled", "to itself"]


async def test_send_may_be_overridden_and_refuses_what_is_no_address(
    system: AsyncActorSystem,
) -> None:
    class Shouts(Actor):
        def send(self, targetAddr: ActorAddress, msg: Any) -> None:
            super().send(targetAddr, str(msg).upper())

        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if isinstance(message, str):
                self.send(sender, message)

    class Names(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if message == "nowhere":
                nowhere: Any = "nowhere"
                self.send(nowhere, 1)
            elif message == "by name":
                self.send(targetAddr=sender, msg="here")

    assert await system.ask(system.createActor(Shouts), "quiet") == "QUIET"
    names = system.createActor(Names)
    assert await system.ask(names, "by name") == "here"
    with pytest.raises(AskPoisoned, match="InvalidActorAddress"):
        await system.ask(names, "nowhere")
