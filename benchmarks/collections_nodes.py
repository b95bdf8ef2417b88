"""One node with a replicated map in a process of its own, told what to do line by line.

Each line on standard input is ``[name, {arguments}]``, each line on standard
output what came of it.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

from mosaik_actors import Map, MapReader, Network

from .told import obey

STORE = "benchmark"


def pairs(start: int, stop: int) -> list[tuple[str, int]]:
    """Return string keys with integers."""
    return [(f"key-{number:08d}", number) for number in range(start, stop)]


class MapNode:
    """The node, and what it can be told."""

    def __init__(self) -> None:
        self._net: Network
        self._map: MapReader[str, int]
        self._steady: asyncio.Task[None] | None = None

    async def start(self, network: str) -> None:
        """Start a node."""
        self._net = await Network.start(network)

    async def open(self, is_writer: bool) -> dict[str, Any]:
        """Open the map and wait until it is online."""
        kind = Map[str, int]
        self._map = (kind.writer if is_writer else kind.reader)(self._net, STORE)
        await self._map.when().online()
        return {}

    async def peers(self, count: int) -> dict[str, Any]:
        """Wait until so many others are known."""
        async for catalog in self._net.discovery.watch():
            if len(catalog) >= count:
                break
        return {}

    async def state(self) -> dict[str, Any]:
        """Return what this node sees."""
        group = self._map._replica.group
        return {
            "is_leader": group.is_leader,
            "voters": sum(member.is_voter for member in group.members),
            "length": len(self._map),
            "version": int(self._map.version),
        }

    async def load(self, count: int, in_flight: int, start: int = 0) -> dict[str, Any]:
        """Insert `count` keys, `in_flight` at a time; return how many per second."""
        left = iter(pairs(start, start + count))
        writer = self._writer

        async def insert() -> None:
            for key, value in left:
                await writer.insert(key, value)

        gc.collect()
        began, cpu_began = time.perf_counter(), time.process_time()
        await asyncio.gather(*(insert() for _ in range(in_flight)))
        elapsed_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        return {"per_s": count / elapsed_s, "cpu_us": cpu_s / count * 1e6}

    async def extend(self, start: int, stop: int) -> dict[str, Any]:
        """Write many keys at once; return how long that took."""
        items = pairs(start, stop)
        began = time.perf_counter()
        version = await self._writer.extend(items)
        return {"s": time.perf_counter() - began, "version": int(version)}

    async def gets(self, count: int) -> dict[str, Any]:
        """Return nanoseconds per read of the map, and of a dict of the same."""
        plain = dict(self._map)
        keys = list(plain)
        return {
            "ns": min(_per_read_ns(self._map.get, keys, count) for _ in range(7)),
            "dict_ns": min(_per_read_ns(plain.get, keys, count) for _ in range(7)),
        }

    async def steady(self, per_s: float) -> dict[str, Any]:
        """Write at a steady rate, in the background."""
        self._steady = asyncio.create_task(self._write_steadily(1 / per_s))
        return {}

    async def end_steady(self) -> dict[str, Any]:
        """End that."""
        assert self._steady is not None, "steady comes first"
        self._steady.cancel()
        await asyncio.wait([self._steady])
        return {}

    async def arrive(self, length: int) -> dict[str, Any]:
        """Open a reader; return how long it takes until it has so many keys and is online."""
        began = time.perf_counter()
        self._map = Map[str, int].reader(self._net, STORE)
        updated = self._map.when().updated()
        while len(self._map) < length:
            await updated
        await self._map.when().online()
        return {"s": time.perf_counter() - began}

    async def gaps(self, seconds: float) -> dict[str, Any]:
        """Return the longest time by which a timer of 2 ms was late, in ms."""
        longest, last, end = 0.0, time.perf_counter(), time.perf_counter() + seconds
        while last < end:
            await asyncio.sleep(0.002)
            now = time.perf_counter()
            longest, last = max(longest, now - last - 0.002), now
        return {"ms": longest * 1e3}

    @property
    def _writer(self) -> Map[str, int]:
        assert isinstance(self._map, Map), "it was opened for reading"
        return self._map

    async def _write_steadily(self, interval_s: float) -> None:
        number = 0
        while True:
            await self._writer.insert(f"steady-{number % 1000}", number)
            number += 1
            await asyncio.sleep(interval_s)


def _per_read_ns(get: Any, keys: list[str], count: int) -> float:
    chosen = [keys[number * 7919 % len(keys)] for number in range(count)]
    began = time.perf_counter()
    for key in chosen:
        get(key)
    return (time.perf_counter() - began) / count * 1e9


if __name__ == "__main__":
    asyncio.run(obey(MapNode()))
