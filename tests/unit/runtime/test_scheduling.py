"""The drain: fair, bounded per turn of the loop, and measured."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
from thespian.actors import Actor, ActorAddress, ChildActorExited

from mosaik_actors.errors import ConfigError
from mosaik_actors.runtime import AsyncActorSystem, RuntimeConfig
from tests.waiting import until


class Player(Actor):
    """Plays ping-pong for ever."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, ActorAddress):
            self.send(message, "ball")
        elif message == "ball":
            self.send(sender, "ball")


class Recorder(Actor):
    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, tuple):
            record, entry = message
            record.append(entry)


async def test_endless_ping_pong_starves_neither_timers_nor_sockets(
    system: AsyncActorSystem,
) -> None:
    one, two = system.createActor(Player), system.createActor(Player)
    system.tell(one, two)
    loop = asyncio.get_running_loop()
    before = system.stats().handled
    # A timer: it may be late by a few slices, not more.
    started = loop.time()
    await asyncio.sleep(0.02)
    assert loop.time() - started < 1.0
    # A socket: data arrives although the actors never pause.
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        for number in range(20):
            await loop.sock_sendall(left, bytes([number]))
            assert await asyncio.wait_for(loop.sock_recv(right, 1), 5) == bytes([number])
    stats = system.stats()
    assert stats.handled > before
    assert stats.drains_cut_short > 0  # the actors had more to do whenever others had a turn


async def test_turn_of_the_loop_handles_no_more_than_the_quota() -> None:
    config = RuntimeConfig(drain_messages_max=10, mailbox_batch=4, drain_slice_s=60)
    async with AsyncActorSystem(config=config) as system:
        record: list[int] = []
        recorder = system.createActor(Recorder)
        for number in range(25):
            system.tell(recorder, (record, number))
        seen = []
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(len(record))
        assert seen == [10, 20, 25]
        assert record == list(range(25))


async def test_turn_of_the_loop_ends_when_its_time_is_over() -> None:
    class Slow(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if isinstance(message, list):
                message.append(1)
                time.sleep(0.003)

    config = RuntimeConfig(drain_slice_s=0.002)
    async with AsyncActorSystem(config=config) as system:
        record: list[int] = []
        slow = system.createActor(Slow)
        for _ in range(5):
            system.tell(slow, record)
        await asyncio.sleep(0)
        assert len(record) == 1


async def test_actor_with_a_long_mailbox_lets_others_have_their_turn() -> None:
    config = RuntimeConfig(mailbox_batch=5, drain_slice_s=60)
    async with AsyncActorSystem(config=config) as system:
        record: list[str] = []
        busy, quick = system.createActor(Recorder), system.createActor(Recorder)
        for _ in range(12):
            system.tell(busy, (record, "busy"))
        system.tell(quick, (record, "quick"))
        await until(lambda: len(record) >= 13)
        assert record.index("quick") == 5


async def test_depth_and_handled_messages_are_counted(system: AsyncActorSystem) -> None:
    recorder = system.createActor(Recorder)
    record: list[int] = []
    for number in range(7):
        system.tell(recorder, (record, number))
    assert system.stats().queued == 7
    await asyncio.sleep(0)
    figures = system.mailboxes()[0]
    assert (figures.actor_class, figures.address) == ("Recorder", recorder)
    assert (figures.depth, figures.depth_max, figures.handled) == (0, 7, 7)
    assert system.stats().handled == 7


async def test_slow_handlers_are_counted_and_logged_once_per_class(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Holds(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            if isinstance(message, float):
                time.sleep(message)

    config = RuntimeConfig(slow_handler_s=0.01)
    async with AsyncActorSystem(config=config) as system:
        first, second = system.createActor(Holds), system.createActor(Holds)
        for actor, seconds in ((first, 0.02), (second, 0.02), (second, 0.0)):
            system.tell(actor, seconds)
        await until(lambda: system.stats().handled >= 3)
        assert system.stats().slow == {"Holds": 2}
        assert [figures.slow_count for figures in system.mailboxes()] == [1, 1]
    assert caplog.text.count("held the event loop") == 1


async def test_interrupt_in_a_handler_leaves_the_others_their_messages() -> None:
    class Interrupts(Actor):
        def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
            raise KeyboardInterrupt

    # Driven by hand, because an interrupt is meant to leave the loop.
    async with AsyncActorSystem() as system:
        record: list[int] = []
        recorder = system.createActor(Recorder)
        scheduler = system._host.scheduler
        system.tell(system.createActor(Interrupts), 1)
        system.tell(recorder, (record, 1))
        with pytest.raises(KeyboardInterrupt):
            scheduler._drain()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert record == [1]
        for cell in list(system._host.cells.values()):
            cell.end()


async def test_strange_system_messages_disturb_nothing(system: AsyncActorSystem) -> None:
    recorder = system.createActor(Recorder)
    record: list[int] = []
    unhashable: Any = ActorAddress("made up")
    system.tell(recorder, ChildActorExited(unhashable))
    system.tell(recorder, (record, 1))
    await until(lambda: bool(record))
    assert system.stats().failures == 0


@pytest.mark.parametrize(
    "setting", ["drain_messages_max", "drain_slice_s", "exit_grace_s", "external_backlog_max"]
)
def test_setting_that_is_not_positive_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting} is 0, expected more than 0"):
        RuntimeConfig(**{setting: 0})
