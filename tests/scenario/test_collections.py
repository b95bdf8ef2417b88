"""Collections as nodes come, go, restart and meet: one script for each."""

import asyncio
from collections.abc import MutableMapping, MutableSequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from mosaik_actors import (
    Cell,
    CollectionOffline,
    ConsensusConfig,
    EntryInserted,
    GroupsConfig,
    Map,
    Once,
    PriorityQueue,
    Set,
    SnapshotSync,
    StateReplaced,
    Vec,
    collection,
)
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.conditions import NetworkConditions
from mosaik_actors.testing.scenario import scenario
from mosaik_actors.testing.simlog import SimLog

from .groups_workload import SETTINGS

SEEDS = range(3)
SLOW = NetworkConditions(latency=0.02, jitter=0.01, loss=0.02)
CUTS_OFTEN = GroupsConfig(compact_entries=30, keep_entries=5)
SMALL_PARTS = SnapshotSync(fetch_batch_size=20)
Counts = collection(Map[str, int], "counts")
Snapped = collection(Map[str, int], "counts", sync=SMALL_PARTS, groups=CUTS_OFTEN)


class Line(msgspec.Struct, frozen=True):
    who: str
    text: str


async def online(*handles: Any) -> None:
    async with asyncio.timeout(30):
        for handle in handles:
            await handle.when().online()


def voters_of(handle: Any) -> int:
    return sum(member.is_voter for member in handle._replica.group.members)


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_reader_before_any_writer(cluster: Cluster) -> None:
    # A reader never begins a history: it waits.
    reader = Counts.reader(cluster.net(0))
    await cluster.sleep(20)
    assert not reader.is_online
    assert reader == {}
    changes = reader.changes()
    # A writer comes, and the reader is with it.
    writer = await Counts.online_writer(cluster.net(1))
    version = await writer.insert("a", 1)
    await reader.when().reaches(version)
    assert reader == {"a": 1}
    await reader.when().online()
    found = [await anext(changes)]
    if isinstance(found[0], StateReplaced):
        assert found[0].position <= version
    else:
        assert found == [EntryInserted("a", 1, 1)]


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_reader_and_then_a_writer_on_one_node(cluster: Cluster) -> None:
    reader = Counts.reader(cluster.net(0))
    await cluster.sleep(5)
    assert not reader.is_online
    writer = Counts.writer(cluster.net(0))
    await online(writer, reader)
    await writer.insert("a", 1)
    assert reader == {"a": 1}
    assert voters_of(reader) == 1


@scenario(nodes=1, seeds=range(1), **SETTINGS)
async def test_operators_that_cannot_wait_say_what_to_write_instead(cluster: Cluster) -> None:
    """`m["a"] = 1` is what comes to mind, and cannot be awaited."""
    shared: Any = Map[str, int].writer(cluster.net(0), "map")
    items: Any = Vec[int].writer(cluster.net(0), "vec")
    with pytest.raises(TypeError, match=r"write `await m\.insert\(key, value\)`"):
        shared["a"] = 1
    with pytest.raises(TypeError, match=r"write `await m\.remove\(key\)`"):
        del shared["a"]
    with pytest.raises(TypeError, match=r"write .*`await v\.insert\(i, value\)`"):
        items[0] = 1
    with pytest.raises(TypeError, match=r"write `await v\.remove\(i\)`"):
        del items[0]
    assert not isinstance(shared, MutableMapping)
    assert not isinstance(items, MutableSequence)


@scenario(nodes=5, seeds=SEEDS, network=SLOW, **SETTINGS)
async def test_late_readers_arrive_while_writes_go_on(cluster: Cluster) -> None:
    writers = [Snapped.writer(cluster.net(index)) for index in range(3)]
    await online(*writers)
    await writers[0].extend({f"old {number}": number for number in range(300)})
    for number in range(60):
        await writers[number % 3].insert(f"k{number}", number)

    async def go_on(writer: Any, name: str) -> None:
        for number in range(10_000):
            await writer.insert(f"{name} {number % 50}", number)
            await asyncio.sleep(0.02)

    tasks = [asyncio.ensure_future(go_on(one, f"w{n}")) for n, one in enumerate(writers)]
    readers = [Snapped.reader(cluster.net(index)) for index in (3, 4)]
    await online(*readers)
    for reader in readers:
        assert len(reader) >= 360
    # Both follow what goes on.
    before = [reader.version for reader in readers]
    await cluster.sleep(2)
    for reader, version in zip(readers, before, strict=True):
        assert reader.version > version + 50
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    last = await writers[1].insert("last", 0)
    for one in (*writers, *readers):
        await one.when().reaches(last)
        assert list(one.items()) == list(writers[0].items())


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_writes_made_while_one_joins_are_there_when_they_return(cluster: Cluster) -> None:
    first = await Snapped.online_writer(cluster.net(0))
    await first.extend({f"k{number}": number for number in range(5000)})
    # It writes before it has anything.
    joiner = Snapped.writer(cluster.net(1), write_timeout=20)
    versions = await asyncio.gather(*(joiner.insert(f"new {n}", n) for n in range(100)))
    assert versions == sorted(versions)
    assert [joiner[f"new {n}"] for n in range(100)] == list(range(100))
    assert len(joiner) == 5100
    await first.when().reaches(versions[-1])
    assert list(first.items()) == list(joiner.items())


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_all_order_is_kept_through_a_snapshot(cluster: Cluster) -> None:
    """Insertion order, also of what was removed and came back, at who has seen none of it."""
    net = cluster.net(0)
    settings: Any = {"sync": SMALL_PARTS, "groups": CUTS_OFTEN}
    handles: list[Any] = [
        Map[int, str].writer(net, "map", **settings),
        Set[int].writer(net, "set", **settings),
        Vec[int].writer(net, "vec", **settings),
        PriorityQueue[int, int, str].writer(net, "queue", **settings),
        Cell[str].writer(net, "cell", **settings),
        Once[str].writer(net, "once", **settings),
    ]
    await online(*handles)
    a_map, a_set, a_vec, a_queue, a_cell, a_once = handles
    numbers = [number * 7919 % 1000 for number in range(1000)]
    await a_map.extend((number, str(number)) for number in numbers)
    await a_set.extend(numbers)
    await a_vec.extend(numbers)
    await a_queue.extend((number % 10, number, str(number)) for number in numbers)
    await a_once.write("first")
    for number in range(0, 200, 2):
        await a_map.remove(number)
        await a_set.remove(number)
        await a_vec.push_front(number)
        await a_queue.update_priority(number, 10)
        await a_cell.write(str(number))
        await a_once.write("later")
    await a_map.extend((number, "back") for number in range(0, 100, 2))
    await a_set.extend(range(0, 100, 2))
    readers: list[Any] = [
        type(one).reader(cluster.net(1), one.store_id, **settings) for one in handles
    ]
    await online(*readers)
    for writer, reader in zip(handles, readers, strict=True):
        await reader.when().reaches(writer.version)
    assert list(readers[0].items()) == list(a_map.items())
    assert list(readers[1]) == list(a_set)
    assert readers[2] == a_vec
    assert list(readers[3].iter_desc()) == list(a_queue.iter_desc())
    assert (readers[4].read(), readers[5].read()) == ("198", "first")


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_in_memory_it_lives_as_long_as_any_writer(cluster: Cluster) -> None:
    handles = [await Counts.online_writer(cluster.net(index)) for index in range(3)]
    await handles[0].insert("a", 1)
    await cluster.until(lambda: all(voters_of(handle) == 3 for handle in handles))
    # One after the other closes it and opens it again: somebody always has it.
    for index in range(3):
        await handles[index].close()
        handles[index] = Counts.writer(cluster.net(index))
        await online(handles[index])
        assert handles[index]["a"] == 1
        await cluster.until(lambda: all(voters_of(handle) == 3 for handle in handles))
    # All close it, and it is gone: what is opened next is another one.
    for handle in handles:
        await handle.close()
    again = await Counts.online_writer(cluster.net(1))
    assert again == {}
    await again.insert("b", 2)
    assert again == {"b": 2}


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_a_durable_cluster_restarts_with_its_data(cluster: Cluster) -> None:
    def opened(index: int) -> Map[str, int]:
        node = cluster.nodes[index]
        return Snapped.writer(node.net, storage=SimLog(node.disk, "counts"))

    handles = [opened(index) for index in range(3)]
    await online(*handles)
    await cluster.until(lambda: all(voters_of(handle) == 3 for handle in handles))
    for number in range(100):
        await handles[number % 3].insert(f"k{number}", number)
    await handles[0].remove("k7")
    shown = list(handles[0].items())
    # All machines lose power at once.
    await cluster.crash(0, 1, 2)
    await cluster.start(0, 1, 2)
    handles = [opened(index) for index in range(3)]
    await online(*handles)
    for handle in handles:
        await handle.refresh()
        assert list(handle.items()) == shown
        assert handle.version == 101
    assert await handles[2].insert("after", 1) == 102
    # A handle that is closed keeps its place: it comes back with its data.
    await handles[1].close()
    handles[1] = opened(1)
    await online(handles[1])
    assert await handles[1].insert("again", 2) == 103


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_one_durable_node_alone_restarts_with_its_data(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    jobs = collection(PriorityQueue[int, str, Line], "jobs", capacity=50)
    queue = await jobs.online_writer(node.net, storage=SimLog(node.disk, "jobs"))
    await queue.extend((n % 5, f"j{n}", Line("me", str(n))) for n in range(80))
    shown = list(queue.iter_desc())
    await cluster.restart(0)
    queue = await jobs.online_writer(node.net, storage=SimLog(node.disk, "jobs"))
    assert list(queue.iter_desc()) == shown
    assert len(queue) == 50


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_extreme_batches(cluster: Cluster) -> None:
    writers = [
        Map[bytes, bytes].writer(cluster.net(index), "blobs", write_timeout=20)
        for index in range(2)
    ]
    await online(*writers)
    # Many tiny ones, few huge ones, all sizes mixed, from two nodes at once.
    tiny = {number.to_bytes(4): b"" for number in range(60_000)}
    huge = {b"huge %d" % number: bytes([number]) * 900_000 for number in range(6)}
    mixed = {b"mixed %d" % number: b"x" * (number**3 % 50_021) for number in range(300)}
    versions = await asyncio.gather(
        writers[0].extend(tiny), writers[1].extend(huge), writers[1].extend(mixed)
    )
    for writer in writers:
        await writer.when().reaches(max(versions))
        assert dict(writer) == {**tiny, **huge, **mixed}
    reader = Map[bytes, bytes].reader(cluster.net(2), "blobs")
    await online(reader)
    assert list(reader.items()) == list(writers[0].items())


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_a_minority_reads_and_cannot_write(cluster: Cluster) -> None:
    only = ConsensusConfig(initial_voters=1, max_voters=1)
    writers = [
        Counts.writer(cluster.net(index), consensus=only, write_timeout=1.0) for index in range(2)
    ]
    await online(*writers)
    version = await writers[1].insert("a", 1)
    await writers[0].when().reaches(version)
    cluster.partition(0, 1)
    await cluster.until(lambda: not all(writer.is_online for writer in writers))
    cut_off = next(writer for writer in writers if not writer.is_online)
    assert cut_off == {"a": 1}
    with pytest.raises(CollectionOffline) as caught:
        await cut_off.insert("b", 2)
    assert caught.value.value == ("b", 2)
    with pytest.raises(CollectionOffline):
        await cut_off.refresh()
    assert cut_off == {"a": 1}


# Two rooms that began apart.


@scenario(nodes=4, seeds=range(6), **SETTINGS)
async def test_two_rooms_meet_and_nothing_is_lost(cluster: Cluster) -> None:
    room = collection(Vec[Line], "room")
    cluster.partition([0, 1], [2, 3])
    handles = [room.writer(cluster.net(index)) for index in range(4)]
    await online(*handles)
    reading = [handle.changes() for handle in handles]
    said: list[Line] = []
    versions = []
    for number in range(10):
        for index, handle in enumerate(handles):
            line = Line(f"n{index}", f"{number}")
            versions.append(await handle.push_back(line))
            said.append(line)
    assert len(handles[1]) == len(handles[3]) == 20
    assert versions[0].history != versions[-1].history
    # They meet.
    cluster.heal()
    # Each version of either room is waited for rightly, at every node.
    for handle in handles:
        for version in versions:
            await handle.when().reaches(version)
        assert set(said) <= set(handle)
    last = await handles[0].push_back(Line("n0", "hello all"))
    for handle in handles:
        await handle.when().reaches(last)
        assert list(handle) == list(handles[0])
    assert len(handles[0]) == 41
    # Everybody's lines are in the order in which they were typed.
    for index in range(4):
        mine = [line.text for line in handles[0] if line.who == f"n{index}"]
        assert mine[:10] == [str(number) for number in range(10)]
    # Those who follow changes can tell where to read anew, and end with the same.
    for handle, changes in zip(handles, reading, strict=True):
        assert await followed(handle, changes, last) == list(handle)


async def followed(handle: Vec[Line], changes: Any, until: int) -> list[Line]:
    """Return the list as one has it that keeps it by the changes alone, up to a version."""
    lines: list[Line] = []
    seen = 0
    while seen < until:
        change = await anext(changes)
        if isinstance(change, StateReplaced):
            lines, seen = list(handle), change.position
        elif change.version > seen:
            lines.insert(change.index, change.value)
            seen = change.version
    return lines


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_of_two_onces_that_meet_one_stays(cluster: Cluster) -> None:
    cluster.partition(0, 1)
    handles = [Once[int].writer(cluster.net(index), "leader") for index in range(2)]
    await online(*handles)
    for index, handle in enumerate(handles):
        assert (await handle.write(index)).took_effect
    cluster.heal()
    await cluster.until(lambda: handles[0].read() == handles[1].read() is not None)
    await online(*handles)
    value = handles[0].read()
    assert value in (0, 1)
    await cluster.sleep(5)
    assert handles[0].read() == handles[1].read() == value


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_an_outcome_across_a_merge_is_never_made_up(cluster: Cluster) -> None:
    """Whoever asks while two histories meet is told what happened, or that it is unknown."""
    cluster.partition(0, 1)
    handles = [Map[str, int].writer(cluster.net(index), "seats") for index in range(2)]
    await online(*handles)
    for index, handle in enumerate(handles):
        await handle.extend((f"n{index} {number}", index) for number in range(20))
    cluster.heal()
    told: list[tuple[str, int, bytes, bool | None]] = []

    async def take(index: int) -> None:
        for number in range(200):
            seat = f"seat {number}"
            with suppress(CollectionOffline):
                version = await handles[index].compare_exchange(seat, None, index)
                told.append((seat, index, version.history, version.took_effect))
            await asyncio.sleep(0.01)

    await asyncio.gather(take(0), take(1))
    await online(*handles)
    await handles[0].refresh()
    history = handles[0].version.history
    assert {one[2] for one in told} > {history}, "nobody asked before they met"
    # In the history that goes on, who hears that it has a seat has it, and nobody else was.
    seated = [one for one in told if one[2] == history and one[3]]
    assert len(seated) > 20
    assert len({seat for seat, *_ in seated}) == len(seated)
    for seat, index, _, _ in seated:
        assert handles[0][seat] == index
    # And who hears that it has none has none.
    for seat, index, where, took_effect in told:
        if where == history and took_effect is False:
            assert handles[0][seat] != index


@scenario(nodes=4, seeds=SEEDS, **SETTINGS)
async def test_the_only_writer_of_a_collection_in_memory_restarts(cluster: Cluster) -> None:
    """Crashed or closed, the same node or another one: what readers have is gone on with."""
    readers = [Counts.reader(cluster.net(index)) for index in (0, 1)]
    writer = Counts.writer(cluster.net(2))
    await online(writer, *readers)
    versions = [await writer.insert(f"k{number}", number) for number in range(20)]
    for reader in readers:
        await reader.when().reaches(versions[-1])
    changes = readers[0].changes()
    for end, index in ((cluster.crash, 2), (cluster.stop, 3), (cluster.crash, 2)):
        # The last one goes, and comes back; or another one takes its place.
        await end(2)
        await cluster.start(2)
        writer = Counts.writer(cluster.net(index))
        await online(writer, *readers)
        versions.append(await writer.insert(f"n{len(versions)}", 0))
        assert versions[-1] == versions[-2] + 1
        for reader in readers:
            await reader.when().reaches(versions[-1])
            assert reader == writer
        assert writer.version == versions[-1]
        if index == 3:
            await writer.close()
            await cluster.stop(3)
            await cluster.start(3)
    # The reader saw nothing but what was written, and none of it twice.
    for version in versions[-3:]:
        change = await anext(aiter(changes))
        assert isinstance(change, EntryInserted), change
        assert change.version == version
    # A version of the first writer's still says the same.
    await readers[1].when().reaches(versions[3])


@scenario(nodes=3, seeds=SEEDS, **SETTINGS)
async def test_the_only_writer_closes_right_after_its_last_write(cluster: Cluster) -> None:
    """What it was told is written is with the readers, who go on with that."""
    readers = [Counts.reader(cluster.net(index)) for index in (0, 1)]
    for round_ in range(3):
        writer = Counts.writer(cluster.net(2))
        await online(writer, *readers)
        for number in range(20):
            version = await writer.insert(f"{round_} {number}", number)
        # The handle is closed, the node is closed, the handle again: at that very moment.
        await (cluster.stop(2) if round_ == 1 else writer.close())
        for reader in readers:
            assert reader.version == version
            assert len(reader) == 20 * (round_ + 1)
        if round_ == 1:
            await cluster.start(2)


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_durable_reader_goes_on_with_what_is_on_its_disk(cluster: Cluster) -> None:
    """It restarts with the writer in memory; the disk does not say how much it had applied."""
    for life in range(3):
        reader = Counts.reader(cluster.net(0), storage=SimLog(cluster.nodes[0].disk, "counts"))
        writer = Counts.writer(cluster.net(1))
        await online(writer, reader)
        assert len(writer) == 10 * life
        for number in range(10):
            version = await writer.insert(f"{life} {number}", number)
        await reader.when().reaches(version)
        await cluster.crash(0, 1)
        await cluster.start(0)
        await cluster.start(1)
