"""Collections on real QUIC, in one process and between processes."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mosaik_actors import Cell, Map, Network, PriorityQueue, Set, SqliteLog, Vec, collection
from mosaik_actors.testing import TIME_FACTOR

from ..waiting import until
from .collections_worker import LATEST

NETWORK = "collections-e2e"
TIMEOUT_S = 40.0 * TIME_FACTOR
Prices = collection(Map[str, float], "prices")


@asynccontextmanager
async def nodes(count: int) -> AsyncIterator[list[Network]]:
    """Start nodes that find each other on this machine."""
    made: list[Network] = []
    try:
        async with asyncio.timeout(TIMEOUT_S):
            made = await asyncio.gather(*(Network.start(NETWORK) for _ in range(count)))
            yield made
    finally:
        await asyncio.gather(*(net.close() for net in made))


@asynccontextmanager
async def worker(name: str) -> AsyncIterator[tuple[Process, list[dict[str, Any]]]]:
    """Run a worker until the block ends; what it says is in the list, its first line awaited."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.collections_worker", NETWORK, name, stdout=PIPE
    )
    said: list[dict[str, Any]] = []
    assert process.stdout is not None

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            said.append(json.loads(line))  # noqa: PERF401  # one at a time, as they come

    reading: asyncio.Task[None] | None = None
    try:
        said.append(json.loads(await process.stdout.readline()))
        reading = asyncio.create_task(read())
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if reading is not None:
            await reading


async def test_two_writers_and_a_reader() -> None:
    async with nodes(3) as (a, b, c):
        one, two = await asyncio.gather(Prices.online_writer(a), Prices.online_writer(b))
        await asyncio.gather(one.insert("ETH", 3120.5), two.extend({"BTC": 67_000.0, "SOL": 150.0}))
        version = await two.compare_exchange("ETH", 3120.5, 3121.0)
        assert version.took_effect
        reader = await Prices.online_reader(c)
        await reader.when().reaches(version)
        assert reader == {"ETH": 3121.0, "BTC": 67_000.0, "SOL": 150.0}
        assert list(reader) == list(one) == list(two)


async def test_a_reader_of_an_idle_collection_gets_it() -> None:
    async with nodes(2) as (a, b):
        writer = await Set[str].writer(a, "names").__aenter__()
        await writer.when().online()
        version = await writer.extend(f"name {number}" for number in range(30_000))
        reader = Set[str].reader(b, "names")
        await reader.when().online()
        assert reader.version == version
        assert list(reader) == list(writer)


async def test_a_killed_writer_leaves_what_it_wrote() -> None:
    async with nodes(2) as (a, b), worker("killed") as (process, said):
        # Patient: the one that is killed may be the leader.
        one, two = await asyncio.gather(
            *(LATEST.online_writer(net, write_timeout=30) for net in (a, b))
        )
        # All three vote, and that is committed when what comes after it is: two are
        # a majority without the third.
        group = one._replica.group
        await until(lambda: sum(member.is_voter for member in group.members) == 3)
        await one.insert("here", 0)
        await until(lambda: len(said) >= 20)
        process.kill()
        await process.wait()
        # The others go on, and have all that it was told is written.
        version = await two.insert("survivor", 1)
        await one.when().reaches(version)
        wrote = max(line["wrote"] for line in said if "wrote" in line)
        assert one["killed"] >= wrote
        assert one == two


async def test_a_durable_cluster_restarts_with_its_data(tmp_path: Path) -> None:
    jobs = collection(PriorityQueue[int, str, str], "jobs", capacity=1000)

    async def opened(nets: list[Network]) -> list[Any]:
        logs = (SqliteLog(tmp_path / f"{index}.db") for index in range(3))
        pairs = zip(nets, logs, strict=True)
        return await asyncio.gather(*(jobs.online_writer(net, storage=log) for net, log in pairs))

    keys = [f"{index:064x}" for index in range(1, 4)]
    for round_number in range(2):
        nets = await asyncio.gather(*(Network.start(NETWORK, secret_key=key) for key in keys))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                queues = await opened(nets)
                if not round_number:
                    version = await queues[0].extend((n % 7, f"j{n}", str(n)) for n in range(1500))
                    for queue in queues:
                        await queue.when().reaches(version)
                    shown = list(queues[0].iter_desc())
                else:
                    await queues[1].refresh()
                    assert list(queues[1].iter_desc()) == shown
                    assert (await queues[1].remove("j6")).took_effect
        finally:
            await asyncio.gather(*(net.close() for net in nets))


async def test_collections_of_all_sorts_on_one_node() -> None:
    async with nodes(1) as (net,):
        async with Vec[int].writer(net, "v") as vec, Cell[str].writer(net, "c") as cell:
            await vec.when().online()
            await cell.when().online()
            await vec.extend(range(3))
            await cell.set("text")
            assert (vec[-1], cell.get()) == (2, "text")
        assert len(net.groups) == 0
