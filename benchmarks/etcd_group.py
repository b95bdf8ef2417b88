"""A group of etcd: three members on loopback, and one client of the leader, by ``aetcd``.

A command is a put of a counter's value under one key. It is as durable as the members: with
their log synced to disk for each batch, as they come, or with that switched off, as a group in
memory is. Members and client speak plain gRPC.
"""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

from .pysyncobj_group import MEMBERS, READY_WITHIN_S, free_ports

KEY = b"counter"


def measure(
    program: str, *, is_durable: bool, counts: dict[int, int], alone: int
) -> dict[str, float]:
    """Return puts a second by how many are in flight, and the median time of one in us."""
    return asyncio.run(_measure(program, is_durable, counts, alone))


async def _measure(
    program: str, is_durable: bool, counts: dict[int, int], alone: int
) -> dict[str, float]:
    found: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        # In the working folder, as the one for temporary files may be kept in memory.
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd()))
        ports = _start(stack, program, Path(folder), is_durable=is_durable)
        client = await stack.enter_async_context(await _find_leader(ports))
        await _load(client, max(100, min(counts.values()) // 10), min(counts))  # to warm up
        for in_flight, count in counts.items():
            found[str(in_flight)] = await _load(client, count, in_flight)
        samples_s = []
        for number in range(alone):
            began = time.perf_counter()
            await client.put(KEY, b"%d" % number)
            samples_s.append(time.perf_counter() - began)
        found["alone_us"] = median(samples_s) * 1e6
    return found


def _start(stack: AsyncExitStack, program: str, folder: Path, *, is_durable: bool) -> list[int]:
    """Start the members; return the ports that they serve clients on."""
    ports, peer_ports = free_ports(MEMBERS), free_ports(MEMBERS)
    clients, peers = ([f"http://127.0.0.1:{port}" for port in one] for one in (ports, peer_ports))
    for number in range(MEMBERS):
        arguments = {
            "name": f"m{number}",
            "data-dir": str(folder / str(number)),
            "listen-client-urls": clients[number],
            "advertise-client-urls": clients[number],
            "listen-peer-urls": peers[number],
            "initial-advertise-peer-urls": peers[number],
            "initial-cluster": ",".join(f"m{n}={url}" for n, url in enumerate(peers)),
        }
        process = subprocess.Popen(
            [
                program,
                *(f"--{name}={value}" for name, value in arguments.items()),
                f"--unsafe-no-fsync={str(not is_durable).lower()}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
    return ports


async def _find_leader(ports: list[int]) -> Any:
    """Return a client, not connected yet, of the member that leads, when one does."""
    library = importlib.import_module("aetcd")
    async with asyncio.timeout(READY_WITHIN_S):
        while True:
            for number, port in enumerate(ports):
                async with library.Client("127.0.0.1", port, timeout=1) as asked:
                    try:
                        leader = (await asked.status()).leader
                    except library.ClientError:  # it is not up yet
                        continue
                if leader is not None and leader.name == f"m{number}":
                    return library.Client("127.0.0.1", port)
            await asyncio.sleep(0.1)


async def _load(client: Any, count: int, in_flight: int) -> float:
    numbers = iter(range(count))

    async def put() -> None:
        for number in numbers:
            await client.put(KEY, b"%d" % number)

    began = time.perf_counter()
    await asyncio.gather(*(put() for _ in range(in_flight)))
    return count / (time.perf_counter() - began)
