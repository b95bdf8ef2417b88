"""Actors from sources that are still being validated."""

from __future__ import annotations

import asyncio
import io
import sys
import zipfile
from typing import Any

import pytest
from thespian.actors import (
    Actor,
    ActorAddress,
    InvalidActorSourceHash,
    ValidatedSource,
    ValidateSource,
)

from mosaik_actors.runtime import AskUndeliverable, AsyncActorSystem, RuntimeConfig

MAIN = """
from thespian.actors import Actor
class Loaded(Actor):
    def receiveMessage(self, message, sender):
        if isinstance(message, str):
            self.send(sender, message.upper())
"""


class Authority(Actor):
    """Decides when it is told to."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if message == "register":
            self.registerSourceAuthority()
            self.send(sender, "registered")
        elif isinstance(message, ValidateSource):
            self.request, self.system = message, sender
        elif isinstance(message, tuple):
            _, data = message
            self.send(self.system, ValidatedSource(self.request.sourceHash, data))


def archive() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("main.py", MAIN)
    return data.getvalue()


async def with_authority(system: AsyncActorSystem) -> ActorAddress:
    authority = system.createActor(Authority)
    assert await system.ask(authority, "register") == "registered"
    return authority


async def test_actor_starts_when_its_source_is_validated(system: AsyncActorSystem) -> None:
    authority = await with_authority(system)
    source_hash = system.loadActorSource(io.BytesIO(archive()))
    actor = system.createActor("main.Loaded", sourceHash=source_hash)
    asked = asyncio.create_task(system.ask(actor, "hello"))
    await asyncio.sleep(0.001)
    assert not asked.done()
    system.tell(authority, ("decide", archive()))
    assert await asked == "HELLO"
    system.unloadActorSource(source_hash)
    assert not [name for name in sys.modules if source_hash in name]
    with pytest.raises(InvalidActorSourceHash):
        system.createActor("main.Loaded", sourceHash=source_hash)


@pytest.mark.parametrize("data", [None, b"this is no zip file"])
async def test_actor_whose_source_is_rejected_is_dead(
    system: AsyncActorSystem, data: bytes | None
) -> None:
    authority = await with_authority(system)
    source_hash = system.loadActorSource(io.BytesIO(archive()))
    actor = system.createActor("main.Loaded", sourceHash=source_hash)
    asked = asyncio.create_task(system.ask(actor, "hello"))
    await asyncio.sleep(0)
    system.tell(authority, ("decide", data))
    with pytest.raises(AskUndeliverable):
        await asked
    with pytest.raises(InvalidActorSourceHash):
        system.createActor("main.Loaded", sourceHash=source_hash)


async def test_authority_that_never_decides_is_waited_for_in_vain() -> None:
    async with AsyncActorSystem(config=RuntimeConfig(source_validation_s=0.01)) as system:
        await with_authority(system)
        source_hash = system.loadActorSource(io.BytesIO(archive()))
        actor = system.createActor("main.Loaded", sourceHash=source_hash)
        with pytest.raises(AskUndeliverable):
            await system.ask(actor, "hello")


async def test_without_an_authority_nothing_is_loaded(system: AsyncActorSystem) -> None:
    source_hash = system.loadActorSource(io.BytesIO(archive()))
    with pytest.raises(InvalidActorSourceHash):
        system.createActor("main.Loaded", sourceHash=source_hash)


async def test_only_the_authority_validates(system: AsyncActorSystem) -> None:
    await with_authority(system)
    source_hash = system.loadActorSource(io.BytesIO(archive()))
    system.tell(system.address, ValidatedSource(source_hash, archive()))
    actor = system.createActor("main.Loaded", sourceHash=source_hash)
    with pytest.raises(TimeoutError):
        await system.ask(actor, "hello", timeout=0.01)


async def test_shutdown_ends_actors_that_still_wait_for_their_source() -> None:
    async with AsyncActorSystem() as system:
        await with_authority(system)
        source_hash = system.loadActorSource(io.BytesIO(archive()))
        system.createActor("main.Loaded", sourceHash=source_hash)
    assert system.stats().actors == 0
