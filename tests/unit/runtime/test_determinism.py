"""The runtime on a loop whose clock only moves when nothing else is left to do."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from thespian.actors import Actor, ActorAddress, WakeupMessage

import mosaik_actors.runtime
from mosaik_actors.runtime import AskTimeout, AsyncActorSystem
from mosaik_actors.testing.loop import run


def run_jumping(main: Coroutine[Any, Any, None]) -> float:
    """Run a coroutine on virtual time; return the seconds that passed for it."""

    async def timed() -> float:
        await main
        return asyncio.get_running_loop().time()

    return run(timed())


class Sleeper(Actor):
    """Wakes up often, and works in between as long as its number says."""

    log: list[Any]

    def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
        if isinstance(message, tuple):
            self.number, self.log = message
            self.wakeupAfter(60.0 + self.number, 0)
        elif isinstance(message, WakeupMessage):
            return self.work(message.payload)
        return None

    async def work(self, count: int) -> None:
        await asyncio.sleep(self.number)
        self.log.append((asyncio.get_running_loop().time(), self.number, count))
        self.wakeupAfter(60.0, count + 1)


def play() -> tuple[list[Any], float]:
    log: list[Any] = []

    async def scene() -> None:
        async with AsyncActorSystem() as system:
            for number in range(5):
                system.tell(system.createActor(Sleeper), (number, log))
            with pytest.raises(AskTimeout):
                await system.ask(system.createActor(Sleeper), "no answer", timeout=3600)

    return log, run_jumping(scene())


def test_an_hour_passes_at_once_and_replays_exactly() -> None:
    log, seconds = play()
    assert len(log) > 250
    assert 3600 <= seconds < 3601
    assert play() == (log, seconds)


def test_runtime_reads_no_clock_and_no_randomness_of_its_own() -> None:
    folder = Path(mosaik_actors.runtime.__file__).parent
    imported = {
        (path.name, alias.name)
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    found = {entry for entry in imported if entry[1] in ("time", "random", "secrets", "uuid")}
    # What `time` of an ordinary loop calls; where a loop has its own clock, that is used.
    # And wake-ups in a process of its own.
    assert found == {
        (f"{name}.py", "time") for name in ("scheduler", "isolated_process", "keeper_process")
    }
    # Threads exist only behind Thespian's blocking interface, and in processes of their own;
    # what all loops of a process share has a lock.
    threads = {name for name, module in imported if module == "threading"}
    assert threads == {"collector.py", "external.py", "isolated_process.py", "system_base.py"}
