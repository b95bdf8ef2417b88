"""Handles, whatever they are of: how they are waited for, and how they end with their node."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec
import pytest

from mosaik_actors import (
    Closed,
    CollectionConfig,
    ConfigError,
    GroupTerminated,
    Jwt,
    Map,
    Network,
    NetworkDown,
    Once,
    collection,
    stream,
)
from mosaik_actors.groups.member.events import LeaderElected, MembersChanged
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.disk import SimDisk
from mosaik_actors.testing.scenario import scenario
from mosaik_actors.testing.simlog import SimLog

from .groups_machines import Get, Journal, Put

SEEDS = range(1)

Call = Callable[[], Coroutine[Any, Any, Any]]


class Tick(msgspec.Struct, frozen=True):
    number: int


class Handles:
    """One handle of each kind at one node, and all that can be awaited there."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.producer = net.streams.produce(Tick)
        self.consumer = net.streams.consume(Tick, stream_id="silent")
        self.group = net.groups.join("group", Journal())
        self.map = Map[str, int].writer(net, "map")
        self.once = Once[int].reader(net, "once")
        self.second_producer = net.streams.produce(Tick)
        self.second_map = Map[str, int].reader(net, "map")

    async def online(self) -> None:
        await self.group.when().online()
        await self.map.when().online()

    def calls(self) -> dict[str, tuple[Call, type[Exception]]]:
        """Return what waits for ever if nothing happens, and how it ends with the node."""
        group, here, net = self.group, self.map, self.net

        async def wait(waiting: Any) -> None:
            await waiting

        async def end(iterator: AsyncIterator[Any]) -> None:
            async for _ in iterator:
                pass
            raise StopAsyncIteration

        def waits(made: Any) -> Call:
            return lambda: wait(made)

        calls: dict[str, tuple[Call, type[Exception]]] = {
            "producer online": (waits(self.producer.when().online()), Closed),
            "producer subscribed": (waits(self.producer.when().subscribed().minimum_of(2)), Closed),
            "send": (lambda: self.producer.send(Tick(1)), Closed),
            "send_many": (lambda: self.producer.send_many([Tick(1)]), Closed),
            "consumer online": (waits(self.consumer.when().online()), Closed),
            "recv": (self.consumer.recv, Closed),
            "recv_many": (self.consumer.recv_many, Closed),
            "consumer": (lambda: end(self.consumer), StopAsyncIteration),
            "leader changed": (waits(group.when().leader_changed()), GroupTerminated),
            "group offline": (waits(group.when().offline().unmet()), GroupTerminated),
            "reaches": (waits(group.when().committed().reaches(99)), GroupTerminated),
            "advanced": (waits(group.when().log().advanced()), GroupTerminated),
            "execute": (lambda: group.execute(Put("a", 1), timeout=600), GroupTerminated),
            "query": (lambda: group.query(Get("a"), timeout=600), GroupTerminated),
            "events": (lambda: end(group.events()), StopAsyncIteration),
            "map reaches": (waits(here.when().reaches(99)), NetworkDown),
            "updated": (waits(here.when().updated()), NetworkDown),
            "insert": (lambda: here.insert("a", 1), NetworkDown),
            "refresh": (here.refresh, NetworkDown),
            "changes": (lambda: end(here.changes()), StopAsyncIteration),
            "value": (self.once.value, NetworkDown),
            "watch": (lambda: end(net.discovery.watch()), StopAsyncIteration),
            "discovery events": (lambda: end(net.discovery.events()), StopAsyncIteration),
        }
        return calls


ANSWERED = frozenset(
    ["group offline", "insert", "refresh", "execute", "query", "advanced", "updated"]
)
"""What returns while the node is there; the others wait."""


async def outcome(call: Call) -> Any:
    try:
        async with asyncio.timeout(30):
            return await call()
    except Exception as error:
        return type(error)


@scenario(nodes=2, seeds=SEEDS)
async def test_what_waits_at_a_node_that_crashes_ends_with_its_error(cluster: Cluster) -> None:
    handles = Handles(cluster.net(0))
    await handles.online()
    calls = handles.calls()
    waiting = {name: asyncio.ensure_future(outcome(call)) for name, (call, _) in calls.items()}
    await asyncio.sleep(0)  # calls are under way, some of them in mailboxes
    await cluster.crash(0)
    before = cluster.now
    await asyncio.gather(*waiting.values())
    assert cluster.now == before  # at once
    ended = {name: task.result() for name, task in waiting.items() if name not in ANSWERED}
    assert ended == {name: error for name, (_, error) in calls.items() if name not in ANSWERED}
    # What is called after that ends alike, also when the node is there again.
    await cluster.start(0)
    again = {name: await outcome(call) for name, (call, _) in calls.items()}
    assert again == {name: error for name, (_, error) in calls.items()}
    assert not handles.producer.is_online
    assert not handles.consumer.producers()
    for make in (lambda: handles.net.streams.produce(Tick), lambda: handles.net.groups.join("k")):
        with pytest.raises(Closed):
            make()
    with pytest.raises(NetworkDown):
        Map[str, int].writer(handles.net, "other")
    # Nor does closing what is gone take long.
    for close in (handles.producer.close, handles.consumer.close, handles.group.leave):
        await asyncio.wait_for(close(), 1)
    await asyncio.wait_for(handles.map.close(), 1)


@scenario(nodes=2, seeds=SEEDS)
async def test_calls_that_are_under_way_end_when_the_node_crashes(cluster: Cluster) -> None:
    handles = Handles(cluster.net(0))
    await handles.online()
    group = handles.group
    durable = cluster.net(0).groups.join(
        "durable", Journal(), storage=SimLog(cluster.nodes[0].disk, "log")
    )
    await durable.when().online()
    cluster.nodes[0].slow_disk(100.0)
    calls = [
        asyncio.ensure_future(outcome(lambda: durable.execute(Put("a", 1), timeout=600))),
        asyncio.ensure_future(outcome(lambda: durable.query(Get("a"), timeout=600))),
        asyncio.ensure_future(outcome(durable.leave)),
    ]
    await cluster.sleep(0.1)
    late = asyncio.ensure_future(outcome(lambda: group.query(Get("a"), timeout=600)))
    await asyncio.sleep(0)
    await cluster.crash(0)
    before = cluster.now
    assert await asyncio.gather(*calls[:1], late) == [GroupTerminated] * 2
    await asyncio.gather(*calls)
    assert cluster.now == before


@scenario(nodes=2, seeds=SEEDS)
async def test_channels_of_a_crashed_node_end(cluster: Cluster) -> None:
    producer = cluster.net(0).streams.produce(Tick)
    consumer = cluster.net(1).streams.consume(Tick)
    await producer.when().online()
    await consumer.when().online()
    (channel,) = consumer.producers()
    ended = asyncio.ensure_future(channel.disconnected())
    await asyncio.sleep(0)
    await cluster.crash(1)
    async with asyncio.timeout(0.1):
        await ended
    assert not channel.is_connected
    assert not consumer.producers()
    assert consumer.when().unsubscribed().is_met


@scenario(nodes=2, seeds=SEEDS)
async def test_what_waits_at_a_node_that_closes_ends_too(cluster: Cluster) -> None:
    handles = Handles(cluster.net(0))
    await handles.online()
    calls = {name: call for name, call in handles.calls().items() if name not in ANSWERED}
    waiting = {name: asyncio.ensure_future(outcome(call)) for name, (call, _) in calls.items()}
    dial = cluster.net(0).discovery.dial(cluster.nodes[1].addr)
    await asyncio.sleep(0)
    await cluster.stop(0)
    ended = {name: task.result() for name, task in waiting.items() if task.done()}
    assert ended == {name: error for name, (_, error) in calls.items()}
    assert dial.done()
    assert not dial.cancelled()


@scenario(nodes=1, seeds=SEEDS)
async def test_a_closed_handle_ends_its_own_waits_and_not_those_of_others(
    cluster: Cluster,
) -> None:
    handles = Handles(cluster.net(0))
    await handles.online()
    first, second = handles.producer, handles.second_producer
    mine = [asyncio.create_task(w) for w in (handles.map.when().updated(), first.when().online())]
    other = asyncio.create_task(handles.second_map.when().updated())
    going_on = asyncio.create_task(second.when().online())
    await cluster.sleep(0.1)
    await handles.map.close()
    await first.close()
    for task in mine:
        with pytest.raises(Closed):
            await task
    assert not handles.map.when().online().is_met
    assert handles.map.when().offline().is_met
    assert handles.second_map.when().online().is_met
    await cluster.sleep(0.1)
    assert not other.done()
    assert not going_on.done()
    for task in (other, going_on):
        task.cancel()


@scenario(nodes=2, seeds=SEEDS)
async def test_waits_of_all_handles_behave_alike(cluster: Cluster) -> None:
    a, b = cluster.net(0), cluster.net(1)
    producer, consumer = a.streams.produce(Tick), b.streams.consume(Tick)
    groups = [net.groups.join("group", Journal()) for net in (a, b)]
    maps = [Map[str, int].writer(net, "map") for net in (a, b)]
    handles = [producer, consumer, *groups, *maps]
    readies = [handle.when().online() for handle in handles]  # type: ignore[attr-defined]
    for ready in readies:
        await ready
        assert ready.is_met
        assert not ready.unmet().is_met
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ready, 1)
    # Each comes back once for each time that it is online again.
    leads = [False, False, *(group.is_leader for group in groups)]
    leads += [one._replica.group.is_leader for one in maps]
    following = [index for index, is_leader in enumerate(leads) if not is_leader]
    handles = [handles[index] for index in following]
    again = [asyncio.create_task(readies[index]) for index in following]

    async def lose(handle: Any, task: asyncio.Task[Any]) -> None:
        await handle.when().offline()
        assert not task.done()

    # All at once: a group whose only voter is lost may be online again before the next is offline.
    cluster.partition(0)
    async with asyncio.timeout(120):
        await asyncio.gather(*map(lose, handles, again))
    cluster.heal()
    async with asyncio.timeout(120):
        await asyncio.gather(*again)


@scenario(nodes=1, seeds=SEEDS)
async def test_a_loop_over_a_wait_lets_the_node_go_on(cluster: Cluster) -> None:
    group = cluster.net(0).groups.join("group", Journal())
    rounds = 0

    async def loop() -> None:
        nonlocal rounds
        ready = group.when().online()
        while True:
            await ready
            rounds += 1

    looping = asyncio.ensure_future(loop())
    await cluster.sleep(5)
    assert (rounds, looping.done()) == (1, False)
    looping.cancel()


# Joining while leaving.


def storage_of(disk: SimDisk, is_durable: bool) -> SimLog | None:
    return SimLog(disk, "log") if is_durable else None


@pytest.mark.parametrize("is_durable", [False, True])
@pytest.mark.parametrize("is_alone", [False, True])
def test_who_joins_while_a_leave_is_under_way_gets_a_member_that_works(
    is_durable: bool, is_alone: bool
) -> None:
    @scenario(nodes=2, seeds=SEEDS)
    async def rejoin(cluster: Cluster) -> None:
        net, disk = cluster.net(0), cluster.nodes[0].disk
        if not is_alone:
            other = cluster.net(1).groups.join("group", Journal())
            await other.when().online()
        for turns in (0, 1, 2, 3, 5, 8, 13, 21, 60):
            group = net.groups.join("group", Journal(), storage=storage_of(disk, is_durable))
            await group.when().online()
            await group.execute(Put("a", turns))
            leaving = asyncio.create_task(group.leave())
            for _ in range(turns):
                await asyncio.sleep(0)
            again = net.groups.join("group", Journal(), storage=storage_of(disk, is_durable))
            assert again is not group
            assert net.groups.join("group", Journal()) is again
            # Nothing waits for ever, whenever it is asked.
            position, _ = await asyncio.gather(
                again.execute(Put("b", turns), timeout=30), again.query(Get("a"), timeout=30)
            )
            await again.when().online()
            assert leaving.done()
            assert position == again.committed
            await again.leave()

    rejoin.scenario.check(0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_collection_is_opened_again_while_its_last_handle_closes(is_durable: bool) -> None:
    @scenario(nodes=2, seeds=SEEDS)
    async def reopen(cluster: Cluster) -> None:
        net, disk, kind = cluster.net(0), cluster.nodes[0].disk, Map[str, int]
        other = kind.writer(cluster.net(1), "map")
        await other.when().online()
        for turns in (0, 1, 2, 3, 5, 8, 13, 21, 60):
            storage = storage_of(disk, is_durable)
            here = kind.writer(net, "map", storage=storage)
            await here.when().online()
            closing = asyncio.create_task(here.close())
            for _ in range(turns):
                await asyncio.sleep(0)
            again = kind.writer(net, "map", storage=storage)
            version = await again.insert("a", turns)
            await again.when().reaches(version)
            await closing
            await other.when().reaches(version)
            assert again["a"] == other["a"] == turns
            await again.close()

    reopen.scenario.check(0)  # type: ignore[attr-defined]


@scenario(nodes=1, seeds=SEEDS)
async def test_calls_of_a_member_that_starts_late_end_in_their_time(cluster: Cluster) -> None:
    net, node = cluster.net(0), cluster.nodes[0]
    group = net.groups.join("group", Journal(), storage=SimLog(node.disk, "log"))
    await group.when().online()
    node.slow_disk(5.0)
    writing = asyncio.ensure_future(outcome(lambda: group.execute(Put("a", 1), timeout=20)))
    await cluster.sleep(0.1)
    leaving = asyncio.ensure_future(group.leave())
    again = net.groups.join("group", Journal(), storage=SimLog(node.disk, "log"))
    before = cluster.now
    async with asyncio.timeout(1.5):
        assert await outcome(lambda: again.execute(Put("b", 1), timeout=1)) is not None
    assert await outcome(lambda: again.query(Get("a"), timeout=1)) is not None
    assert cluster.now - before <= 2.1
    node.slow_disk(0.0)
    await leaving
    await writing
    await again.when().online()


# Iterators.


@scenario(nodes=2, seeds=SEEDS)
async def test_events_of_a_group_begin_with_the_call_and_survive_a_timeout(
    cluster: Cluster,
) -> None:
    group = cluster.net(0).groups.join("group", Journal())
    events = group.events()
    await group.when().online()
    seen = [await anext(events)]
    while True:
        try:
            seen.append(await asyncio.wait_for(anext(events), 1))
        except TimeoutError:
            break
    assert any(isinstance(event, LeaderElected) for event in seen)
    cluster.net(1).groups.join("group", Journal())
    async with asyncio.timeout(60):
        while not isinstance(event := await anext(events), MembersChanged):
            pass
    assert event.learners or len(event.voters) == 2
    await group.leave()
    assert [event async for event in events][-1:] != [None]
    del events
    gc.collect()
    assert not group._state.is_watched


@scenario(nodes=1, seeds=SEEDS)
async def test_changes_may_be_shared_by_tasks_and_waits_for_them_may_time_out(
    cluster: Cluster,
) -> None:
    counts = Map[str, int].writer(cluster.net(0), "map")
    await counts.when().online()
    changes: Any = counts.changes()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(changes), 1)
    both = [asyncio.ensure_future(anext(changes)) for _ in range(2)]
    await cluster.sleep(0.1)
    await counts.insert("a", 1)
    await cluster.sleep(0.1)
    await counts.insert("b", 2)
    async with asyncio.timeout(5):
        first, second = await asyncio.gather(*both)
    assert {first.key, second.key} == {"a", "b"}
    await counts.insert("c", 3)
    await counts.close()
    assert [change.version async for change in changes] == [3]  # what was left, then the end


# Tickets.


@scenario(nodes=1, seeds=SEEDS)
async def test_only_validators_are_taken_for_required_tickets(cluster: Cluster) -> None:
    """To ignore what is given there would let everybody in."""
    net, kind = cluster.net(0), Map[str, int]
    doors: list[Callable[[Any], object]] = [
        lambda tickets: Network("n", require_ticket=tickets),
        lambda tickets: net.streams.producer(Tick, require_ticket=tickets),
        lambda tickets: net.streams.consumer(Tick, require_ticket=tickets),
        lambda tickets: stream(Tick, require_ticket=tickets),
        lambda tickets: stream(Tick, producer={"require_ticket": tickets}),
        lambda tickets: stream(Tick, consumer={"require_ticket": tickets}),
        lambda tickets: stream.producer_only(Tick, require_ticket=tickets),
        lambda tickets: stream.consumer_only(Tick, require_ticket=tickets),
        lambda tickets: net.groups.join("k", require_ticket=tickets),
        lambda tickets: CollectionConfig(require_ticket=tickets),
        lambda tickets: kind.writer(net, "m", require_ticket=tickets),
        lambda tickets: kind.reader(net, "m", require_ticket=tickets),
        lambda tickets: collection(kind, "m", require_ticket=tickets),
        lambda tickets: collection.reader_only(kind, "m", require_ticket=tickets),
        lambda tickets: collection(kind, "m").writer(net, require_ticket=tickets),
    ]
    for door in doors:
        for given in (object(), [object()], "a name", [Jwt], None):
            with pytest.raises(ConfigError, match="require_ticket"):
                door(given)
        door(())


@scenario(nodes=2, seeds=range(1))
async def test_a_group_shows_others_the_name_that_is_meant_for_them(cluster: Cluster) -> None:
    mine = cluster.net(0).groups.join("key", name="till 7", shown_name="a till")
    usual = cluster.net(0).groups.join("other key", name="till 8")
    catalog = cluster.net(1).discovery.catalog
    await cluster.until(lambda: any(len(info.groups) == 2 for info in catalog().values()))
    (info,) = catalog().values()
    assert dict(info.groups.items()) == {mine.id: "a till", usual.id: "till 8"}
    assert repr(mine).startswith("Group(till 7, ")
