"""One member of a group in a process of its own, told what to do line by line.

Each line on standard input is ``[name, {arguments}]``, each line on standard
output what came of it; a line on standard error is a mistake. Killing the
process is the caller's way to see what the others do.
"""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from mosaik_actors import Group, Network, SecretKey, SqliteLog, StateMachine
from mosaik_actors.errors import GroupOffline

from .told import obey


class Add(msgspec.Struct, frozen=True):
    """Add to the counter."""

    amount: int


class Counter(StateMachine):
    """The smallest machine there is, so that what is measured is the group."""

    Command = Add
    Query = None
    Answer = int

    def __init__(self) -> None:
        self.value = 0

    def apply(self, command: Add, ctx: Any) -> None:  # noqa: D102  # as declared
        self.value += command.amount

    def query(self, query: None) -> int:  # noqa: D102  # as declared
        return self.value


class Member:
    """The node, and what it can be told."""

    def __init__(self) -> None:
        self._net: Network
        self._group: Group
        self._steady: asyncio.Task[list[tuple[float, float]]] | None = None

    async def start(self, network: str) -> None:
        """Start a node."""
        self._net = await Network.start(network, secret_key=SecretKey.generate())

    async def join(self, log: str = "") -> dict[str, Any]:
        """Join the group; return how long it took to be online, in seconds."""
        began = time.monotonic()
        storage = SqliteLog(Path(log)) if log else None
        self._group = self._net.groups.join("benchmark", Counter(), storage=storage)
        await self._group.when().online()
        return {"s": time.monotonic() - began}

    async def state(self) -> dict[str, Any]:
        """Return what this member sees."""
        group = self._group
        metrics = group.metrics
        return {
            "is_leader": group.is_leader,
            "voters": sum(member.is_voter for member in group.members),
            "committed": group.committed,
            "served": 0 if metrics is None else metrics.served_bytes,
            "elections": 0 if metrics is None else metrics.elections,
        }

    async def load(self, count: int, in_flight: int) -> dict[str, Any]:
        """Execute `count` commands, `in_flight` at a time; return how many per second."""
        left = count

        async def execute() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await self._group.execute(Add(1), timeout=30)

        gc.collect()
        began, cpu_began = time.perf_counter(), time.process_time()
        await asyncio.gather(*(execute() for _ in range(in_flight)))
        elapsed_s = time.perf_counter() - began
        return {
            "per_s": count / elapsed_s,
            "cpu_us": (time.process_time() - cpu_began) / count * 1e6,
        }

    async def feed(self, count: int, at_once: int) -> dict[str, Any]:
        """Feed `count` commands, so many in a call; return how many were applied per second."""
        group, commands = self._group, [Add(1)] * at_once
        gc.collect()
        goal = group.committed + count
        began, cpu_began = time.perf_counter(), time.process_time()
        for _ in range(0, count, at_once):
            await group.feed_many(commands, timeout=30)
        await group.when().committed().reaches(goal)
        elapsed_s = time.perf_counter() - began
        return {
            "per_s": count / elapsed_s,
            "cpu_us": (time.process_time() - cpu_began) / count * 1e6,
        }

    async def one_by_one(self, count: int) -> dict[str, Any]:
        """Execute commands one at a time; return the median and the 99th percentile in ms."""
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            await self._group.execute(Add(1), timeout=30)
            taken.append((time.perf_counter() - began) * 1e3)
        taken.sort()
        return {"median_ms": median(taken), "p99_ms": taken[int(count * 0.99)]}

    async def fill(self, count: int) -> dict[str, Any]:
        """Execute many commands quickly."""
        for _ in range(0, count, 1000):
            await self._group.execute_many([Add(1)] * min(1000, count), timeout=30)
        return {"committed": self._group.committed}

    async def steady(self, per_s: float) -> dict[str, Any]:
        """Begin to execute commands at a steady rate, in the background."""
        self._steady = asyncio.create_task(self._execute_steadily(1 / per_s))
        return {}

    async def end_steady(self) -> dict[str, Any]:
        """End that; return when commits came back (monotonic) and how many calls failed."""
        assert self._steady is not None, "steady comes first"
        self._steady.cancel()
        commits = await self._steady
        return {"commits": [at for at, _ in commits]}

    async def _execute_steadily(self, interval_s: float) -> list[tuple[float, float]]:
        commits: list[tuple[float, float]] = []
        calls: set[asyncio.Task[None]] = set()

        async def call() -> None:
            began = time.monotonic()
            try:
                await self._group.execute(Add(1), timeout=10)
            except GroupOffline:
                return
            commits.append((time.monotonic(), began))

        next_at = time.monotonic()
        try:
            while True:
                task = asyncio.create_task(call())
                calls.add(task)
                task.add_done_callback(calls.discard)
                next_at += interval_s
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))
        except asyncio.CancelledError:
            return commits

    async def wait_committed(self, position: int) -> dict[str, Any]:
        """Wait until this member has applied so many commands."""
        await self._group.when().committed().reaches(position)
        return {"at": time.monotonic()}

    async def leave(self) -> dict[str, Any]:
        """Leave the group; return when that began and ended."""
        began = time.monotonic()
        await self._group.leave()
        return {"began": began, "ended": time.monotonic()}

    async def stop(self) -> dict[str, Any]:
        """Close the node."""
        await self._net.close()
        return {}


if __name__ == "__main__":
    asyncio.run(obey(Member()))
