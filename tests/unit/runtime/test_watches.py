"""Watches that meet: one descriptor, several actors."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest
from thespian.actors import Actor, ActorAddress, ThespianWatch, WatchMessage

from mosaik_actors.runtime import AskPoisoned, AsyncActorSystem
from tests.waiting import until


class Watches(Actor):
    """Watches a descriptor again and again, until it is told to stop."""

    heard: list[Any]

    def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
        if isinstance(message, tuple):
            self.descriptors, self.heard = message
        elif isinstance(message, WatchMessage):
            self.heard.append(self.myAddress)
        elif message == "stop":
            self.send(sender, "stopped")
            return None
        else:
            return None
        return ThespianWatch(list(self.descriptors))


async def test_all_who_watch_a_descriptor_hear_of_it(system: AsyncActorSystem) -> None:
    reader, writer = os.pipe()
    heard: list[Any] = []
    # The actors of another system on this loop are no different.
    async with AsyncActorSystem() as other:
        one, two = system.createActor(Watches), system.createActor(Watches)
        three = other.createActor(Watches)
        for its_system, actor in ((system, one), (system, two), (other, three)):
            its_system.tell(actor, ((reader,), heard))
        os.write(writer, b"x")
        await until(lambda: {one, two, three} <= set(heard))

        # Who stops takes nothing from the others.
        assert await system.ask(one, "stop", 5) == "stopped"
        heard.clear()
        await until(lambda: {two, three} <= set(heard))
        assert one not in heard

        # Nor does a file that gets the number of one that was closed.
        os.read(reader, 1)
        os.close(reader)
        again, feeder = os.pipe()
        assert again == reader
        heard.clear()
        system.tell(one, ((again,), heard))
        os.write(feeder, b"x")
        await until(lambda: one in heard)
        for its_system, actor in ((system, one), (system, two), (other, three)):
            assert await its_system.ask(actor, "stop", 5) == "stopped"
    for descriptor in (again, feeder, writer):
        os.close(descriptor)


async def test_descriptor_of_a_transport_is_refused(system: AsyncActorSystem) -> None:
    mine, other = socket.socketpair()
    mine.setblocking(False)
    reader, writer = os.pipe()
    heard: list[Any] = []
    _, transport = await asyncio.open_connection(sock=mine)
    actor = system.createActor(Watches)
    with pytest.raises(AskPoisoned, match="is used by transport"):
        await system.ask(actor, ((reader, mine.fileno()), heard), 5)
    # What could be watched is not half watched.
    assert await system.ask(actor, "stop", 5) == "stopped"
    assert not asyncio.get_running_loop().remove_reader(reader)
    transport.close()
    await transport.wait_closed()
    other.close()
    for descriptor in (reader, writer):
        os.close(descriptor)
