"""Counts the lines of all Python files below a folder, with a few worker actors.

The actors are ordinary Thespian actors. What the system adds: a handler may be a
coroutine, and while it waits, only this actor's mailbox waits with it.
"""

import argparse
import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thespian.actors import ActorAddress, PoisonMessage

from mosaik_actors import AsyncActorSystem, TypeDispatcher, run


@dataclass(frozen=True)
class CountFile:
    path: Path


@dataclass(frozen=True)
class FileCounted:
    path: Path
    lines: int


@dataclass(frozen=True)
class CountAll:
    paths: tuple[Path, ...]
    workers: int = 4


@dataclass(frozen=True)
class AllCounted:
    lines: dict[Path, int]
    failed: tuple[Path, ...] = ()


@dataclass(frozen=True)
class HowFar:
    pass


@dataclass
class _Task:
    asked_by: ActorAddress
    total: int
    lines: dict[Path, int] = field(default_factory=dict)
    failed: list[Path] = field(default_factory=list)


class Worker(TypeDispatcher):
    """Reads one file at a time, off the event loop."""

    async def receiveMsg_CountFile(self, message: CountFile, sender: ActorAddress) -> None:
        text = await asyncio.to_thread(message.path.read_text, encoding="utf-8")
        self.send(sender, FileCounted(message.path, len(text.splitlines())))


class Coordinator(TypeDispatcher):
    """Hands files to its workers, answers when all are counted."""

    def __init__(self) -> None:
        super().__init__()
        self._task: _Task | None = None

    def receiveMsg_CountAll(self, message: CountAll, sender: ActorAddress) -> None:
        self._task = _Task(asked_by=sender, total=len(message.paths))
        workers = [self.createActor(Worker) for _ in range(message.workers)]
        for index, path in enumerate(message.paths):
            self.send(workers[index % len(workers)], CountFile(path))
        self._answer_when_done()

    def receiveMsg_FileCounted(self, message: FileCounted, sender: ActorAddress) -> None:
        assert self._task is not None
        self._task.lines[message.path] = message.lines
        self._answer_when_done()

    def receiveMsg_PoisonMessage(self, message: PoisonMessage, sender: ActorAddress) -> None:
        """A worker failed twice on a file. It lives on and does the next one."""
        assert self._task is not None
        poison: Any = message.poisonMessage
        self._task.failed.append(poison.path)
        self._answer_when_done()

    def receiveMsg_HowFar(self, message: HowFar, sender: ActorAddress) -> None:
        task = self._task
        self.send(sender, len(task.lines) + len(task.failed) if task else 0)

    def _answer_when_done(self) -> None:
        task = self._task
        if task is not None and len(task.lines) + len(task.failed) == task.total:
            self.send(task.asked_by, AllCounted(task.lines, tuple(task.failed)))


async def main(folder: Path, paths: tuple[Path, ...]) -> None:
    async with AsyncActorSystem() as system:
        coordinator = system.createActor(Coordinator)
        counting = asyncio.create_task(system.ask(coordinator, CountAll(paths), timeout=60))
        done = await system.ask(coordinator, HowFar(), timeout=5)
        print(f"the coordinator answers while its workers read: {done} of {len(paths)} so far")
        result: AllCounted = await counting
    for path in sorted(result.lines, key=lambda path: -result.lines[path])[:5]:
        print(f"{result.lines[path]:7} {path.relative_to(folder)}")
    print(f"{sum(result.lines.values()):7} lines in {len(result.lines)} files")
    for path in result.failed:
        print(f"   not readable: {path.relative_to(folder)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parents[2])
    below = parser.parse_args().folder
    sys.exit(run(main, below, tuple(sorted(below.rglob("*.py")))))
