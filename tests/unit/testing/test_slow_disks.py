"""Disks that are slow or full: work in threads that takes its time, and faults that make it so."""

import asyncio
import errno
from random import Random

import pytest

from mosaik_actors.errors import ConfigError
from mosaik_actors.testing.cluster import Cluster, SimNode
from mosaik_actors.testing.disk import SimDisk
from mosaik_actors.testing.faults import DISK_KINDS, Fault, FaultPlan, FaultSchedule
from mosaik_actors.testing.loop import SimLoop, context_of
from mosaik_actors.testing.loop import run as run_loop
from mosaik_actors.testing.scenario import simulate


def the_loop() -> SimLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    return loop


def test_function_with_a_delay_runs_halfway_and_answers_at_the_end() -> None:
    async def main() -> None:
        loop = the_loop()
        ran: list[float] = []

        def work() -> int:
            ran.append(loop.time())
            return 7

        loop.set_delay(None, 2.0)
        answer = asyncio.ensure_future(asyncio.to_thread(work))
        await asyncio.sleep(0.5)
        assert ran == []
        assert await answer == 7
        assert ran == [1.0]
        assert loop.time() == 2.0
        # Without a delay it runs at once, as before.
        loop.set_delay(None, 0)
        assert await asyncio.to_thread(loop.time) == 2.0

    run_loop(main())


def test_what_a_slow_function_raises_comes_at_the_end() -> None:
    async def main() -> None:
        loop = the_loop()
        loop.set_delay(None, 1.0)
        with pytest.raises(KeyError):
            await asyncio.to_thread(dict[str, int]().__getitem__, "absent")
        assert loop.time() == 1.0

    run_loop(main())


def test_dropped_jobs_that_have_not_run_are_handed_out() -> None:
    async def main() -> None:
        loop = the_loop()
        ran: list[str] = []
        loop.set_delay(None, 2.0)
        early = asyncio.ensure_future(asyncio.to_thread(ran.append, "early"))
        await asyncio.sleep(1.5)
        late = asyncio.ensure_future(asyncio.to_thread(ran.append, "late"))
        await asyncio.sleep(0.1)
        (job,) = loop.drop_jobs(None)
        await asyncio.sleep(10)
        # The first had run already; neither is ever answered.
        assert ran == ["early"]
        assert not early.done()
        assert not late.done()
        job.run()
        job.run()
        assert ran == ["early", "late"]
        for call in (early, late):
            call.cancel()

    run_loop(main())


def test_owners_have_delays_of_their_own() -> None:
    async def main() -> None:
        loop = the_loop()
        loop.set_delay("slow", 3.0)

        async def work() -> float:
            await asyncio.to_thread(lambda: None)
            return loop.time()

        slow = loop.create_task(work(), context=context_of("slow"))
        quick = loop.create_task(work(), context=context_of("quick"))
        assert await quick == 0
        assert await slow == 3

    run_loop(main())


def test_interrupted_write_is_seen_by_nobody_or_torn() -> None:
    lengths = set()
    for seed in range(30):
        disk = SimDisk(Random(seed))
        file = disk.open("log")
        file.append(b"safe")
        file.sync()

        def write(file: object = file) -> None:
            file.append(b"0123456789")  # type: ignore[attr-defined]
            file.sync()  # type: ignore[attr-defined]

        with pytest.raises(OSError, match="error") as caught:
            disk.interrupt(write)
        assert caught.value.errno == errno.EIO
        disk.crash()
        found = disk.open("log").read()
        assert found == b"safe0123456789"[: len(found)]
        lengths.add(len(found))
        # Only that sync failed.
        file.append(b"x")
        file.sync()
    assert lengths <= set(range(4, 15))
    assert len(lengths) > 5


def test_crash_finds_a_node_in_the_midst_of_its_write() -> None:
    async def main() -> None:
        async with Cluster(1, seed=3) as cluster:
            node = cluster.nodes[0]
            node.slow_disk(1.0)

            def save(text: bytes) -> None:
                node.disk.open("log").append(text)
                node.disk.open("log").sync()

            node.spawn(asyncio.to_thread(save, b"one"))
            await cluster.sleep(1.2)
            node.spawn(asyncio.to_thread(save, b"two"))
            await cluster.sleep(0.1)
            await cluster.crash(0)
            await cluster.sleep(5)
            assert node.disk.open("log").read() in (b"one", b"onet", b"onetw", b"onetwo")
            # The next run's disk is as slow as it was set.
            await cluster.start(0)
            node.spawn(asyncio.to_thread(save, b"three"))
            await cluster.sleep(0.4)
            assert not node.disk.open("log").read().endswith(b"three")
            await cluster.sleep(0.2)
            assert node.disk.open("log").read().endswith(b"three")

    simulate(main())


def test_faults_of_disks_begin_and_end() -> None:
    async def main() -> None:
        async with Cluster(1, seed=1) as cluster:
            node = cluster.nodes[0]
            cluster.play(
                FaultSchedule(
                    (
                        Fault(0, 1.0, 10.0, "full_disk", (0,)),
                        Fault(1, 2.0, 2.0, "full_disk", (0,)),
                        Fault(2, 1.0, 10.0, "slow_disk", (0,), {"delay": 2.0}),
                        Fault(3, 3.0, 2.0, "slow_disk", (0,), {"delay": 4.0}),
                    )
                )
            )
            await cluster.sleep(0.5)
            assert room(node) is None
            assert await took(cluster, node) == 0
            await cluster.sleep(1.0)
            assert room(node) == 0
            assert await took(cluster, node) == 2.0
            assert await took(cluster, node) == 4.0
            # The later ones are over, the earlier ones go on.
            assert room(node) == 0
            assert await took(cluster, node) == 2.0
            await cluster.calm()
            assert room(node) is None
            assert await took(cluster, node) == 0

    simulate(main())


def room(node: SimNode) -> int | None:
    """Return how much room there is on a node's disk."""
    return node.disk.room_bytes


async def took(cluster: Cluster, node: SimNode) -> float:
    """Return how long a function in a thread takes on a node."""
    began = cluster.now
    await node.spawn(asyncio.to_thread(lambda: None))
    return round(cluster.now - began, 6)


def test_faults_of_disks_are_drawn_when_asked_for() -> None:
    plan = FaultPlan(duration=500, interval=1, kinds=DISK_KINDS, disk_delay_max=0.2)
    schedule = plan.draw(Random(1), 3)
    assert {fault.kind for fault in schedule} == set(DISK_KINDS)
    delays = [fault.settings["delay"] for fault in schedule if fault.kind == "slow_disk"]
    assert all(0 < delay <= 0.2 for delay in delays)
    assert not {fault.kind for fault in FaultPlan().draw(Random(1), 3)} & set(DISK_KINDS)
    with pytest.raises(ConfigError, match="disk_delay_max"):
        FaultPlan(disk_delay_max=0)
