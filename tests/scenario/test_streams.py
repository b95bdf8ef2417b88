"""Streams through partitions, crashes, pauses and bad weather.

What faults cannot break, checked while they happen: per producer and
subscription the items come in order, none twice, and only items that were
sent. What must hold again when they are over: every consumer gets what every
producer sends.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from mosaik_actors import Backoff, DiscoveryConfig, MosaikError, StreamsConfig, TransportConfig
from mosaik_actors.streams.consuming.session import ReceiverSession
from mosaik_actors.streams.wire import read_data
from mosaik_actors.testing.cluster import Cluster, NodeDown, SimNode
from mosaik_actors.testing.conditions import NetworkConditions, lognormal
from mosaik_actors.testing.faults import FaultPlan
from mosaik_actors.testing.scenario import scenario
from mosaik_actors.transport import memory

NODES = 5
QUICK = TransportConfig(idle_timeout=3.0, keep_alive_interval=0.8)
SETTINGS: dict[str, Any] = {
    "transport": QUICK,
    "discovery": DiscoveryConfig(purge_after=20, announce_interval=4),
    "network": NetworkConditions(latency=lognormal(0.01), jitter=0.005, loss=0.01),
}


class Reading(msgspec.Struct, frozen=True):
    producer: int
    run: int
    number: int


@dataclass
class Seen:
    """What one run of one consumer got, and whether it may have got that."""

    last: dict[tuple[int, int], int] = field(default_factory=dict)
    count: int = 0

    def take(self, reading: Reading) -> None:
        """Take a reading, which must be later than all before it from the same run."""
        key = (reading.producer, reading.run)
        before = self.last.get(key, -1)
        assert reading.number > before, f"got {reading} after number {before}"
        self.last[key] = reading.number
        self.count += 1


@dataclass
class Observations:
    """What all consumers of a scenario got, by node and run."""

    seen: dict[tuple[int, int], Seen] = field(default_factory=dict)
    sent: dict[tuple[int, int], int] = field(default_factory=dict)

    def check(self) -> None:
        """Nobody got what was never sent."""
        for seen in self.seen.values():
            for key, number in seen.last.items():
                assert number <= self.sent[key]


async def produce(node: SimNode, all_seen: Observations) -> None:
    """Send readings for as long as the node lives."""
    key = (node.index, node.run_count)
    producer = node.net.streams.producer(Reading, stream_id="readings")
    number = 0
    while True:
        await producer.when().online()
        try:
            all_seen.sent[key] = number  # before it leaves: it may arrive and the call still fail
            await producer.send(Reading(*key, number))
            number += 1
        except MosaikError:
            pass  # nobody listens any more; wait for the next one
        await asyncio.sleep(0.05)


async def consume(node: SimNode, all_seen: Observations) -> None:
    """Take readings for as long as the node lives, and judge each."""
    seen = all_seen.seen.setdefault((node.index, node.run_count), Seen())
    async for reading in node.net.streams.consumer(Reading, stream_id="readings"):
        seen.take(reading)


def program(all_seen: Observations, node: SimNode) -> Any:
    """Return what a node runs: the first two produce, the others consume."""
    return produce(node, all_seen) if node.index < 2 else consume(node, all_seen)


Runs = Callable[[Observations, SimNode], Any]


async def play(cluster: Cluster, seconds: float, program: Runs = program) -> Observations:
    """Run producers and consumers through the scenario's faults, then demand that all flows."""
    all_seen = Observations()
    tasks: dict[tuple[int, int], asyncio.Task[Any]] = {}

    def keep_programs_running() -> None:
        for node in cluster.nodes:
            key = (node.index, node.run_count)
            if node.is_running and key not in tasks:
                try:
                    tasks[key] = node.spawn(program(all_seen, node))
                except NodeDown:
                    continue

    def raise_what_failed() -> None:
        for (index, _), task in tasks.items():
            error = task.exception() if task.done() and not task.cancelled() else None
            was_killed = not cluster.nodes[index].is_running
            if error is not None and (isinstance(error, AssertionError) or not was_killed):
                raise error

    end = cluster.now + seconds
    while cluster.now < end:
        keep_programs_running()
        raise_what_failed()
        all_seen.check()
        await cluster.sleep(0.25)
    await cluster.calm()
    keep_programs_running()
    await cluster.sleep(1)
    before = {(index, run): dict(seen.last) for (index, run), seen in all_seen.seen.items()}

    def flows() -> bool:
        raise_what_failed()
        for node in cluster.nodes[2:]:
            key = (node.index, node.run_count)
            now, earlier = all_seen.seen[key].last, before.get(key, {})
            for producer in cluster.nodes[:2]:
                run = (producer.index, producer.run_count)
                if now.get(run, -1) <= earlier.get(run, -1):
                    return False
        return True

    await cluster.until(flows, timeout=60, what="readings of all producers at all consumers")
    all_seen.check()
    return all_seen


@scenario(nodes=NODES, seeds=range(12), faults=FaultPlan(duration=60), **SETTINGS)
async def test_order_holds_and_nothing_comes_twice(cluster: Cluster) -> None:
    all_seen = await play(cluster, 62)
    assert sum(seen.count for seen in all_seen.seen.values()) > 500


@scenario(nodes=NODES, seeds=range(2), fidelity="quic", faults=FaultPlan(duration=30), **SETTINGS)
async def test_order_holds_over_real_quic(cluster: Cluster) -> None:
    await play(cluster, 32)


@scenario(nodes=2, seeds=range(3), **SETTINGS)
async def test_consumer_subscribes_again_after_a_partition(cluster: Cluster) -> None:
    producer = cluster.net(0).streams.produce(Reading)
    consumer = cluster.net(1).streams.consume(Reading)
    await producer.when().online()
    await producer.send(Reading(0, 1, 0))
    assert (await consumer.recv()).number == 0
    # Both sides give the other up, and the producer has nobody left.
    cluster.partition(1)
    await producer.when().offline()
    assert producer.consumers() == []
    # Healed, they find each other again; the next item is the first of a new subscription.
    cluster.heal()
    await producer.when().online()
    await producer.send(Reading(0, 1, 1))
    assert (await consumer.recv()).number == 1


@scenario(nodes=2, seeds=range(3), **SETTINGS)
async def test_restarted_producer_is_picked_up_at_once(cluster: Cluster) -> None:
    consumer = cluster.net(1).streams.consume(Reading)
    first = cluster.net(0).streams.produce(Reading)
    await first.when().online()
    await cluster.restart(0)
    second = cluster.net(0).streams.produce(Reading)
    started = cluster.now
    await second.when().online()
    # Well within the idle timeout: the new run's identity shows that the old one is gone.
    assert cluster.now - started < 2.0
    await second.send(Reading(0, 2, 0))
    assert (await consumer.recv()).run == 2


@scenario(nodes=2, seeds=range(3), **SETTINGS)
async def test_stalled_consumer_is_let_go_or_waited_for(cluster: Cluster) -> None:
    strict = cluster.net(0).streams.producer(Reading, stream_id="strict", buffer_size=10)
    patient = cluster.net(0).streams.producer(
        Reading, stream_id="patient", buffer_size=10, disconnect_lagging=False
    )
    stalled = cluster.net(1).streams.consumer(Reading, stream_id="strict")
    slow = cluster.net(1).streams.consumer(Reading, stream_id="patient")
    await strict.when().online()
    await patient.when().online()
    # One that never takes falls behind its buffer and is disconnected.
    [channel] = strict.consumers()
    sending = asyncio.create_task(strict.send_many(Reading(0, 1, n) for n in range(100_000)))
    await channel.disconnected()
    assert channel.reason is not None
    assert "10413" in str(channel.reason)
    sending.cancel()
    await stalled.close()
    # One that may be waited for makes the sender wait, and gets everything.
    sending = asyncio.create_task(patient.send_many(Reading(0, 1, n) for n in range(5000)))
    await cluster.sleep(5)
    assert not sending.done()
    assert [(await slow.recv()).number for _ in range(5000)] == list(range(5000))
    await sending


WINDOW = 128


@scenario(
    nodes=4, seeds=range(3), streams=StreamsConfig(window_items=WINDOW, lag_grace=0.2), **SETTINGS
)
async def test_what_waits_in_a_slow_consumer_stays_within_its_window(cluster: Cluster) -> None:
    async def produce(i: int) -> None:
        while True:
            producer = cluster.net(i).streams.producer(Reading, buffer_size=50)
            try:
                while True:
                    await producer.send_many([Reading(i, 0, n) for n in range(20)])
                    await cluster.sleep(0.01)
            except MosaikError:
                await cluster.sleep(0.05)  # it is being restarted

    consumer = cluster.net(0).streams.consume(Reading)
    producing = [asyncio.create_task(produce(i)) for i in (1, 2, 3)]
    await consumer.when().online()
    # The application takes 20 items a second; one of the producers restarts again and again.
    for _ in range(10):
        for _ in range(40):
            await consumer.recv()
            await cluster.sleep(0.05)
            inbox = consumer._inbox
            chunks = [chunk for chunk in (inbox._chunk, *inbox._chunks) if chunk is not None]
            assert sum(len(chunk.items) for chunk in chunks) <= WINDOW
        await cluster.restart(3)
    for task in producing:
        task.cancel()
    await asyncio.wait(producing)


TRYING_ALWAYS = StreamsConfig(backoff=Backoff(initial=0.05, max=0.05))


@scenario(nodes=2, seeds=range(2), fidelity="quic", streams=TRYING_ALWAYS, **SETTINGS)
async def test_refusals_name_no_producer_that_left_the_catalog(cluster: Cluster) -> None:
    producer = cluster.net(1).streams.produce(Reading)
    consumer = cluster.net(0).streams.consume(Reading)
    await producer.when().online()
    await cluster.crash(1)
    # While it is in the catalog it is tried, in vain; the last attempt ends after it is gone.
    await cluster.until(lambda: bool(consumer.refusals()), timeout=60, what="a failed attempt")
    await cluster.until(lambda: not cluster.net(0).discovery.catalog(), timeout=60, what="purge")
    await cluster.sleep(30)
    assert consumer.refusals() == {}


# A test of the tests: a broken variant must be caught, and the real one must not be.


@contextmanager
def network_that_repeats_itself() -> Iterator[None]:
    """Deliver every hundredth chunk of frames twice, as a broken transport might."""
    real = memory._deliver
    count = 0

    def deliver(link: memory.MemoryLink, frames: list[Any]) -> None:
        nonlocal count
        count += 1
        real(link, frames)
        data = [frame for frame in frames if type(frame) is bytes]
        if count % 100 == 0 and data and link.protocol.startswith("mosaik/streams"):
            link.other = None if not link.is_open else link.other
            if link.is_open:
                real(link, list(data))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_deliver", deliver)
        yield


@contextmanager
def session_without_deduplication() -> Iterator[None]:
    """Let a consumer's session believe whatever sequence a frame names."""

    def receive_frame(self: ReceiverSession, frame: bytes) -> tuple[int, memoryview]:
        _, item_count, batch = read_data(frame)
        self.expected += item_count
        return item_count, batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReceiverSession, "receive_frame", receive_frame)
        yield


def test_session_withstands_a_network_that_repeats_itself() -> None:
    made = test_order_holds_and_nothing_comes_twice.scenario  # type: ignore[attr-defined]
    with network_that_repeats_itself():
        assert made.run(0).error is None


def test_scenario_catches_a_session_without_deduplication() -> None:
    made = test_order_holds_and_nothing_comes_twice.scenario  # type: ignore[attr-defined]
    with network_that_repeats_itself(), session_without_deduplication():
        report = made.run(0)
    assert isinstance(report.error, AssertionError)
    assert "after number" in str(report.error)
    assert report.timeline


@scenario(nodes=2, seeds=range(1), transport=QUICK)
async def test_five_hundred_streams_on_one_node_are_not_refused(cluster: Cluster) -> None:
    """One link each, below `links_max`; all fit into one entry, and nothing counts as a flood."""
    a, b = cluster.net(0), cluster.net(1)
    producers = [a.streams.produce(Reading, stream_id=f"s{number}") for number in range(500)]
    consumers = [b.streams.consume(Reading, stream_id=f"s{number}") for number in range(500)]
    await cluster.until(lambda: all(producer.is_online for producer in producers))
    for number, producer in enumerate(producers):
        await producer.send(Reading(number, 0, 0))
    received = [await consumer.recv() for consumer in consumers]
    assert [reading.producer for reading in received] == list(range(500))
    assert not any(consumer.refusals() for consumer in consumers)
    for net in (a, b):
        assert not net.standings()
        counters = net.status().transport.counters
        assert (counters["links_refused"], counters["violations"]) == (0, 0)
