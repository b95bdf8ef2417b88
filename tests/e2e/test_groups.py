"""Groups over real QUIC between real processes, which are really killed.

Each worker appends numbered entries and prints what was acknowledged. Whatever
happens, the entries that survive hold each acknowledged one, once, at the
position that was acknowledged, and each worker's in the order it appended them.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from mosaik_actors.testing import TIME_FACTOR

from .command import is_alive

TIMEOUT_S = 20.0
Fact = dict[str, Any]


class Worker:
    """One member in a process of its own."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.facts: list[Fact] = []
        self._process = process
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def peer(self) -> str:
        return str(self.latest("peer"))

    @property
    def acked(self) -> dict[int, int]:
        """The entries that were acknowledged, each with its position."""
        found = {}
        for fact in self.facts:
            if "acked" in fact:
                last, position = fact["acked"], fact["position"]
                found[last] = position
        return found

    @property
    def dump_count(self) -> int:
        return sum("entries" in fact for fact in self.facts)

    def latest(self, name: str) -> Any:
        """Return what it last said of something; None if it has not."""
        return next((fact[name] for fact in reversed(self.facts) if name in fact), None)

    def order(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())

    async def until(self, holds: Callable[[Worker], object]) -> None:
        """Wait until what it has said makes a condition true."""
        async with asyncio.timeout(TIMEOUT_S * TIME_FACTOR):
            while not holds(self):
                assert not self._reading.done(), f"{self.name} has ended: {self.facts[-5:]}"
                self._news.clear()
                await self._news.wait()

    async def until_more_is_acked(self, count: int = 5) -> None:
        enough = len(self.acked) + count
        await self.until(lambda one: len(one.acked) >= enough)

    async def stop_load(self) -> None:
        self.order("stop")
        await self.until(lambda one: one.latest("stopped"))

    async def entries(self) -> list[list[Any]]:
        """Return what the group holds, by a strong query of this member."""
        count = self.dump_count
        self.order("dump")
        await self.until(lambda one: one.dump_count > count)
        return list(self.latest("entries"))

    async def kill(self) -> None:
        """End it without a chance to say anything."""
        self._process.kill()
        await self.ended()

    async def interrupt(self) -> int:
        """Send what Ctrl-C sends, and return its exit code."""
        self._process.send_signal(signal.SIGINT)
        return await self.ended()

    async def ended(self) -> int:
        async with asyncio.timeout(TIMEOUT_S * TIME_FACTOR):
            await self._reading
            return await self._process.wait()

    async def abandon(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.facts.append(json.loads(line))
            self._news.set()
        self._news.set()


class Workers:
    """Starts members, and sees to it that none outlives the test.

    Attributes:
        carriers: What may carry the connections of some, by name, such as ``tcp,quic``.
    """

    def __init__(self, stack: AsyncExitStack) -> None:
        self.carriers: dict[str, str] = {}
        self._stack = stack

    async def start(self, name: str, log: Path | None = None) -> Worker:
        carriers = self.carriers.get(name, "")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.e2e.groups_worker",
            name,
            "memory" if log is None else str(log),
            stdin=PIPE,
            stdout=PIPE,
            limit=16 * 1024 * 1024,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "GROUPS_WORKER_CARRIERS": carriers},
        )
        worker = Worker(name, process)
        self._stack.push_async_callback(worker.abandon)
        return worker

    async def start_group(self, names: str, folder: Path | None = None) -> list[Worker]:
        """Start members and wait until all of them vote."""
        logs = [None if folder is None else folder / f"{name}.log" for name in names]
        started = [await self.start(name, log) for name, log in zip(names, logs, strict=True)]
        for worker in started:
            await worker.until(lambda one: one.latest("online"))
            await worker.until(lambda one: has_voters(one, started))
        return started


@asynccontextmanager
async def workers() -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        yield Workers(stack)


def has_voters(worker: Worker, expected: Iterable[Worker]) -> bool:
    """Return whether a worker knows exactly these as voters."""
    return set(worker.latest("voters") or ()) == {one.latest("peer") for one in expected}


def check(entries: list[list[Any]], everybody: Iterable[Worker]) -> None:
    """Nothing acknowledged is lost, doubled, moved or out of order."""
    held = [tuple(entry) for entry in entries]
    assert len(set(held)) == len(held), "an entry was applied twice"
    for name in {worker.name for worker in everybody}:
        numbers = [number for source, number in held if source == name]
        assert numbers == sorted(numbers), f"the entries of {name} are out of order"
    for worker in everybody:
        assert worker.acked, f"nothing of {worker.name} was acknowledged"
        for last, position in worker.acked.items():
            assert held[position - 1] == (worker.name, last)


def leader_of(members: list[Worker]) -> Worker:
    [found] = [one for one in members if one.peer == members[0].latest("leader")]
    return found


@pytest.mark.parametrize(
    ("carriers", "ways"),
    [
        pytest.param({}, {"unix"}, id="unix"),
        pytest.param(dict.fromkeys("abc", "quic"), {"quic"}, id="quic"),
        pytest.param(
            {"a": "unix,tcp", "b": "unix,quic", "c": "tcp,quic"},
            {"unix", "tcp", "quic"},
            id="another for each pair",
        ),
    ],
)
async def test_a_killed_leader_loses_nothing_that_was_acknowledged(
    carriers: dict[str, str], ways: set[str]
) -> None:
    async with workers() as run:
        run.carriers = carriers
        members = await run.start_group("abc")
        for member in members:
            member.order("ways")
            await member.until(lambda one: len(one.latest("ways") or ()) == 2)
        assert {way for member in members for way in member.latest("ways").values()} == ways
        for member in members:
            member.order("load")
        for member in members:
            await member.until_more_is_acked()

        leader = leader_of(members)
        survivors = [member for member in members if member is not leader]
        await leader.kill()

        # The others elect one of themselves and go on, with what all had acknowledged.
        for member in survivors:
            await member.until_more_is_acked()
            assert member.latest("leader") != leader.peer
        for member in survivors:
            await member.stop_load()
        first, second = [await member.entries() for member in survivors]
        check(first, members)
        assert first == second


async def test_a_killed_member_without_a_disk_comes_back_as_a_new_one() -> None:
    async with workers() as run:
        members = await run.start_group("abc")
        members[0].order("load")
        await members[0].until_more_is_acked()
        killed = next(member for member in members[1:] if member is not leader_of(members))
        await killed.kill()

        # The same identity without its memory: it is removed, taken in anew, and votes again.
        back = await run.start(killed.name)
        await back.until(lambda one: one.latest("online"))
        await back.until(lambda one: has_voters(one, members))
        await members[0].stop_load()
        check(await back.entries(), members[:1])


async def test_all_durable_members_are_killed_at_once_and_lose_nothing(tmp_path: Path) -> None:
    async with workers() as run:
        first_life = await run.start_group("abc", tmp_path)
        for member in first_life:
            member.order("load")
        for member in first_life:
            await member.until_more_is_acked()
        await asyncio.gather(*(member.kill() for member in first_life))

        second_life = [await run.start(name, tmp_path / f"{name}.log") for name in "abc"]
        dumps = []
        for member in second_life:
            await member.until(lambda one: one.latest("online"))
            dumps.append(await member.entries())
        assert dumps[0] == dumps[1] == dumps[2]
        check(dumps[0], first_life)


async def test_ctrl_c_of_the_leader_hands_over_and_leaves_nothing_behind(
    runtime_dir: Path,
) -> None:
    async with workers() as run:
        members = await run.start_group("abc")
        leader = leader_of(members)
        others = [member for member in members if member is not leader]
        others[0].order("load")
        await others[0].until_more_is_acked()
        family = [leader.pid, *(p.pid for p in psutil.Process(leader.pid).children(recursive=True))]

        assert await leader.interrupt() == 0
        assert leader.latest("interrupted")
        assert not any(is_alive(pid) for pid in family)

        # It was removed before it went; the voters are one, for two bear no more than one.
        await others[0].until_more_is_acked()
        for member in others:
            await member.until(lambda one: leader.peer not in one.latest("voters"))
        await others[0].stop_load()
        assert not any("unknown" in fact for fact in others[0].facts)
        check(await others[1].entries(), [others[0]])
        for member in others:
            assert await member.interrupt() == 0
        assert not [path for path in runtime_dir.rglob("*") if path.is_file()]
