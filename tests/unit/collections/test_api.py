"""The handles on simulated nodes: what they promise, each by itself."""

import asyncio
import gc
import logging
import re
import weakref
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast

import msgspec
import pytest

from mosaik_actors import (
    ABSENT,
    Cell,
    Closed,
    CollectionConfig,
    CollectionOffline,
    ConfigError,
    ConsensusConfig,
    EncodeError,
    EntryInserted,
    EntryRemoved,
    EntryUpdated,
    GroupsConfig,
    ItemInserted,
    Map,
    MapReader,
    NetworkDown,
    Once,
    PriorityQueue,
    QueueEvicted,
    Set,
    SetReader,
    SnapshotSync,
    StateReplaced,
    StoreId,
    Vec,
    VecReader,
    Version,
    collection,
)
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario
from mosaik_actors.testing.simlog import SimLog

ONCE = range(1)
ALL: tuple[Any, ...] = (
    Map[str, int],
    Vec[int],
    Set[str],
    Cell[int],
    Once[int],
    PriorityQueue[int, str, int],
)


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int


async def pair(cluster: Cluster, kind: Any, **settings: Any) -> tuple[Any, Any]:
    """Return an online writer at node 0 and an online reader at node 1."""
    writer = kind.writer(cluster.net(0), "store", **settings)
    reader = kind.reader(cluster.net(1), "store", **settings)
    async with asyncio.timeout(30):
        await writer.when().online()
        await reader.when().online()
    return writer, reader


async def three_voters(cluster: Cluster, kind: Any, **settings: Any) -> list[Any]:
    """Return writers at three nodes, each with a vote."""
    handles = [kind.writer(cluster.net(index), "store", **settings) for index in range(3)]
    for handle in handles:
        await handle.when().online()
    await cluster.until(lambda: all(voter_count(handle) == 3 for handle in handles))
    return handles


def voter_count(handle: Any) -> int:
    return sum(member.is_voter for member in handle._replica.group.members)


@pytest.mark.parametrize("kind", [*ALL, MapReader[str, int]])
def test_a_collection_is_not_opened_by_a_call(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"not opened by a call: write") as caught:
        kind(object(), "store")
    name = kind.__name__.replace("Reader", "")
    assert f"{name}.writer(net, store_id), or {name}.reader(net, store_id)" in str(caught.value)


def test_a_collection_without_types_is_not_opened_by_a_call_either() -> None:
    with pytest.raises(TypeError, match=r"write Map\.writer\(net, store_id\)"):
        cast(Any, Map)()


# Every collection, from end to end.


@scenario(nodes=2, seeds=ONCE)
async def test_map_is_a_mapping_at_every_node(cluster: Cluster) -> None:
    writer, reader = await pair(cluster, Map[str, int])
    await writer.insert("b", 2)
    version = await writer.extend({"a": 1, "c": 3})
    await writer.remove("b")
    assert (await writer.remove("b")).took_effect is False
    version = await writer.insert("b", 4)
    await reader.when().reaches(version)
    for one in (writer, reader):
        assert isinstance(one, Mapping)
        assert one == {"a": 1, "c": 3, "b": 4}
        assert list(one.items()) == [("a", 1), ("c", 3), ("b", 4)]
        assert (one["a"], one.get("x"), one.get("x", 7), "c" in one, len(one)) == (
            1, None, 7, True, 3,
        )  # fmt: skip
        with pytest.raises(KeyError):
            one["x"]
    assert (await writer.compare_exchange("a", 1, 5)).took_effect is True
    assert (await writer.compare_exchange("a", 1, 6)).took_effect is False
    assert (await writer.compare_exchange("n", ABSENT, 1)).took_effect is True
    assert (await writer.compare_exchange("n", 1, ABSENT)).took_effect is True
    assert writer == {"a": 5, "c": 3, "b": 4}
    await reader.when().reaches(await writer.clear())
    assert reader == {}


@scenario(nodes=2, seeds=ONCE)
async def test_vec_is_a_sequence_at_every_node(cluster: Cluster) -> None:
    writer, reader = await pair(cluster, Vec[int])
    await writer.extend(range(5))
    await writer.push_front(-1)
    await writer.push_back(5)
    await writer.insert(1, 10)
    await writer.swap(0, -1)
    assert list(writer) == [5, 10, 0, 1, 2, 3, 4, -1]
    front, back = await writer.pop_front(), await writer.pop_back()
    assert [change.value for one in (front, back) for change in one.changes] == [5, -1]
    await writer.remove(0)
    assert (await writer.remove(99)).took_effect is False
    await reader.when().reaches(await writer.truncate(4))
    assert isinstance(reader, Sequence)
    reader = cast("VecReader[int]", reader)
    assert reader == [0, 1, 2, 3]
    assert (reader[-1], reader[1:3], reader.index(2), reader.front(), reader.back()) == (
        3, [1, 2], 2, 0, 3,
    )  # fmt: skip
    with pytest.raises(IndexError):
        reader[4]
    with pytest.raises(ValueError, match="0 or more"):
        await writer.truncate(-1)
    await reader.when().reaches(await writer.clear())
    assert reader == []


@scenario(nodes=2, seeds=ONCE)
async def test_set_is_a_set_at_every_node(cluster: Cluster) -> None:
    writer, reader = await pair(cluster, Set[str])
    assert (await writer.insert("b")).took_effect is True
    assert (await writer.insert("b")).took_effect is False
    await writer.extend(["a", "c", "b"])
    await reader.when().reaches(await writer.remove("c"))
    assert isinstance(reader, AbstractSet)
    reader = cast("SetReader[str]", reader)
    assert list(reader) == ["b", "a"]
    assert reader == {"a", "b"}
    assert reader & {"a", "x"} == {"a"}
    assert reader < {"a", "b", "x"}
    assert reader.is_subset(["a", "b", "c"])
    await reader.when().reaches(await writer.clear())
    assert not reader


@scenario(nodes=2, seeds=ONCE)
async def test_cell_is_a_value_at_every_node(cluster: Cluster) -> None:
    writer, reader = await pair(cluster, Cell[Point])
    assert writer.is_empty()
    assert (await writer.compare_exchange(None, Point(0, 0))).took_effect is True
    assert (await writer.compare_exchange(None, Point(1, 1))).took_effect is False
    await writer.set(Point(2, 2))
    await reader.when().reaches(await writer.write(Point(3, 4)))
    assert reader.read() == reader.get() == Point(3, 4)
    await reader.when().reaches(await writer.clear())
    assert reader.is_empty()
    assert reader.read("nothing") == "nothing"


@scenario(nodes=2, seeds=ONCE)
async def test_once_keeps_the_first_value(cluster: Cluster) -> None:
    writer, reader = await pair(cluster, Once[int])
    waiting = asyncio.ensure_future(reader.value())
    await cluster.sleep(1)
    assert not waiting.done()
    assert reader.is_none()
    first, second = await asyncio.gather(writer.write(1), writer.write(2))
    assert (first.took_effect, second.took_effect) == (True, False)
    assert await waiting == 1
    assert (reader.read(), reader.is_some(), await reader.value()) == (1, True, 1)


@scenario(nodes=2, seeds=ONCE)
async def test_priority_queue_is_ordered_at_every_node(cluster: Cluster) -> None:
    writer, reader = await pair(cluster, PriorityQueue[int, str, str], capacity=4)
    await writer.extend([(2, "b", "two"), (1, "a", "one"), (3, "c", "three")])
    assert (await writer.update_priority("a", 9)).took_effect is True
    assert (await writer.update_value("x", "none")).took_effect is False
    assert (await writer.compare_exchange_value("b", "two", "deux")).took_effect is True
    await writer.insert(4, "d", "four")
    await reader.when().reaches(await writer.insert(5, "e", "five"))
    # There was room for four.
    assert list(reader.iter_desc()) == [
        (9, "a", "one"), (5, "e", "five"), (4, "d", "four"), (3, "c", "three"),
    ]  # fmt: skip
    assert (reader.get_max(), reader.min_priority(), reader.get("d"), "b" in reader) == (
        (9, "a", "one"), 3, "four", False,
    )  # fmt: skip
    removed = await writer.remove_range(4, 5, inclusive="both")
    assert [change.key for change in removed.changes] == ["d", "e"]
    await reader.when().reaches(await writer.remove("a"))
    assert len(reader) == 1
    await reader.when().reaches(await writer.clear())
    assert len(reader) == 0


# Opening.


@scenario(nodes=1, seeds=ONCE)
async def test_handles_of_one_collection_share_a_replica(cluster: Cluster) -> None:
    net = cluster.net(0)
    one, other = Map[str, int].writer(net, "store"), Map[str, int].new(net, "store")
    reader = Map[str, int].reader(net, "store")
    await one.when().online()
    await one.insert("a", 1)
    assert one == other == reader == {"a": 1}
    assert len(net.groups) == 1
    await one.close()
    await other.insert("b", 2)
    await other.close()
    assert reader == {"a": 1, "b": 2}
    with pytest.raises(Closed):
        await other.insert("c", 3)
    assert reader.is_online
    await reader.close()
    await reader.close()
    assert len(net.groups) == 0
    assert reader.why_offline == "closed"


@scenario(nodes=1, seeds=ONCE)
async def test_what_is_agreed_on_is_in_the_groups_id(cluster: Cluster) -> None:
    net = cluster.net(0)
    opened: list[Any] = [
        Map[str, int].writer(net, "store"),
        Map[str, int].writer(net, "other"),
        Map[str, float].writer(net, "store"),
        Map[int, int].writer(net, "store"),
        Map[str, int].writer(net, "store", sync=SnapshotSync(fetch_batch_size=7)),
        Map[str, int].writer(net, "store", consensus=ConsensusConfig(max_voters=3)),
        Set[str].writer(net, "store"),
        Vec[str].writer(net, "store"),
        Cell[str].writer(net, "store"),
        Once[str].writer(net, "store"),
        PriorityQueue[int, str, str].writer(net, "store"),
        PriorityQueue[int, str, str].writer(net, "store", capacity=5),
    ]
    assert len({handle.group_id for handle in opened}) == len(opened)
    same = Map[str, int].reader(net, "store", config=CollectionConfig(changes_backlog=3))
    assert same.group_id == opened[0].group_id
    assert same.store_id == opened[0].store_id


def shown_to(cluster: Cluster, index: int) -> list[str]:
    """Return what the catalog of a node says of the groups of others, ids and names."""
    infos = cluster.net(index).discovery.catalog().values()
    return [f"{group} {name}" for info in infos for group, name in info.groups.items()]


@scenario(nodes=2, seeds=ONCE)
async def test_what_gossip_shows_opens_no_collection(cluster: Cluster) -> None:
    name = "treasury-8d1f"
    kinds: tuple[Any, ...] = (Map[str, int], Once[int])
    stores: list[Any] = [name, StoreId(name), StoreId(name).hex]
    for store, secret in [(one, secret) for one in stores for secret in (None, "of the owner")]:
        owners = [kind.writer(cluster.net(0), store, secret=secret) for kind in kinds]
        await cluster.until(lambda: len(shown_to(cluster, 1)) == len(kinds))
        texts = shown_to(cluster, 1)
        for text in texts:
            # A name makes the key, unless there is a secret: then it may be read.
            assert (name in text) == (store == name and secret is not None)
            assert StoreId(name).short not in text
        for word in {word for text in texts for word in re.split(r"[ =:]+", text)} - {name}:
            for owner, kind in zip(owners, kinds, strict=True):
                guess = kind.reader(cluster.net(1), word)
                assert guess.group_id != owner.group_id
                await guess.close()
        for owner in owners:
            await owner.close()
        await cluster.until(lambda: not shown_to(cluster, 1))


@scenario(nodes=3, seeds=ONCE)
async def test_who_has_another_secret_shares_nothing(cluster: Cluster) -> None:
    declared = collection(Map[str, int], "treasury", secret="of the owner")
    owner = await declared.online_writer(cluster.net(0))
    version = await owner.insert("balance", 7)
    # Text and its bytes are one secret.
    friend = Map[str, int].reader(cluster.net(1), "treasury", secret=b"of the owner")
    await friend.when().reaches(version)
    assert friend == {"balance": 7}
    # The name and another secret, or none, is not enough.
    for secret in (None, "a guess", "of the owner "):
        stranger = declared.writer(cluster.net(2), secret=secret)
        await stranger.when().online()
        assert stranger == {}
        await stranger.clear()
        assert stranger.group_id != owner.group_id
        await stranger.close()
    assert owner == friend == {"balance": 7}
    assert {member.peer_id for member in owner.members} == {
        cluster.net(0).peer_id,
        cluster.net(1).peer_id,
    }


@scenario(nodes=2, seeds=ONCE)
async def test_readers_do_not_vote(cluster: Cluster) -> None:
    writer, reader = await pair(cluster, Map[str, int])
    roles = {
        member.peer_id: (member.role, member.is_voter) for member in writer._replica.group.members
    }
    assert roles[cluster.net(0).peer_id] == ("leader", True)
    assert roles[cluster.net(1).peer_id] == ("observer", False)
    assert not hasattr(reader, "insert")
    assert issubclass(Map, MapReader)
    assert type(writer).__name__ == "Map[str, int]"
    assert type(reader).__name__ == "MapReader[str, int]"


@scenario(nodes=2, seeds=ONCE)
async def test_a_writer_beside_a_reader_votes(cluster: Cluster) -> None:
    reader = Map[str, int].reader(cluster.net(0), "store")
    await cluster.sleep(5)
    # Nobody is there who votes.
    assert not reader.is_online
    writer = Map[str, int].writer(cluster.net(0), "store")
    await writer.when().online()
    await writer.insert("a", 1)
    other = Map[str, int].writer(cluster.net(1), "store")
    await other.when().online()
    version = await other.insert("a", 2)
    await reader.when().reaches(version)
    assert reader == writer == other == {"a": 2}
    assert voter_count(other) == 1


@scenario(nodes=1, seeds=ONCE)
async def test_what_is_closed_is_forgotten(cluster: Cluster) -> None:
    """Handles of a closed network keep nothing alive, whether they were closed or not."""
    counts = await collection(Map[str, int], "counts").online_writer(cluster.net(0))
    await counts.insert("a", 1)
    machine = weakref.ref(counts._machine)
    await cluster.stop(0)
    del counts
    gc.collect()
    assert machine() is None


@scenario(nodes=2, seeds=ONCE)
async def test_a_reader_of_another_type_says_why_it_waits_in_vain(cluster: Cluster) -> None:
    reader = Map[str, int].reader(cluster.net(1), "prices")
    assert "prices" not in (reader.why_offline or "")
    writer = Map[str, float].writer(cluster.net(0), "prices")
    await writer.when().online()
    await cluster.until(lambda: "prices" in (reader.why_offline or ""))
    peer = cluster.net(0).peer_id.short
    why = f"is Map[str, int] here and Map[str, float] at peer {peer}: they are two collections"
    assert why in str(reader.why_offline)
    assert "no history yet" in str(reader.why_offline)
    with pytest.raises(CollectionOffline) as caught:
        await reader.refresh()
    assert why in str(caught.value)
    assert writer.why_offline is None
    # Nobody else opens what is meant, but the one who misled is gone.
    await writer.close()
    await cluster.until(lambda: why not in str(reader.why_offline))


@scenario(nodes=2, seeds=ONCE)
async def test_another_type_of_the_same_store_is_warned_of_once(cluster: Cluster) -> None:
    seen: list[str] = []

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    handler = Seen()
    logger = logging.getLogger("mosaik_actors.actors.collection")
    logger.addHandler(handler)
    try:
        mine = Map[str, int].writer(cluster.net(0), "prices")
        Map[str, float].writer(cluster.net(1), "prices")
        Map[str, int].writer(cluster.net(1), "others")
        await cluster.until(lambda: len(seen) == 2)
        cluster.net(1).discovery.add_tags("busy")
        await cluster.sleep(5)
        await mine.close()
        cluster.net(1).discovery.add_tags("busier")
        await cluster.sleep(5)
    finally:
        logger.removeHandler(handler)
    assert len(seen) == 2
    peer = cluster.net(1).peer_id.short
    assert any(f"is Map[str, int] here and Map[str, float] at peer {peer}" in text for text in seen)


@scenario(nodes=2, seeds=ONCE)
async def test_a_declaration_opens_both_sides(cluster: Cluster) -> None:
    counts = collection(Map[str, int], "counts")
    writer = await counts.online_writer(cluster.net(0))
    version = await writer.insert("a", 1)
    reader = await counts.as_reader().online_reader(cluster.net(1))
    await reader.when().reaches(version)
    assert reader == {"a": 1}
    # Cancelled while it waits, nothing stays open.
    alone = collection(Map[str, int], "alone", consensus=ConsensusConfig(initial_voters=3))
    before = len(cluster.net(0).groups)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(alone.online_writer(cluster.net(0)), 3)
    assert len(cluster.net(0).groups) == before


# Writing.


@scenario(nodes=2, seeds=ONCE)
async def test_versions_count_and_wait(cluster: Cluster) -> None:
    writer, reader = await pair(cluster, Map[str, int])
    assert writer.version == 0
    first, second = await writer.insert("a", 1), await writer.insert("b", 2)
    assert (first, second) == (1, 2)
    assert isinstance(first, Version)
    assert writer.version == second
    assert writer.when().reaches(second).is_met
    # Others may only have the bare number.
    await reader.when().reaches(int(second))
    assert reader.version == second
    assert not reader.when().reaches(3).is_met
    unmet = reader.when().reaches(3).unmet()
    await unmet


@scenario(nodes=1, seeds=ONCE)
async def test_calls_take_effect_in_the_order_they_are_made(cluster: Cluster) -> None:
    async with Vec[int].writer(cluster.net(0), "store") as vec:
        await vec.when().online()
        versions = await asyncio.gather(*(vec.push_back(number) for number in range(300)))
        assert versions == list(range(1, 301))
        assert vec == list(range(300))
    assert len(cluster.net(0).groups) == 0


@scenario(nodes=2, seeds=ONCE)
async def test_extend_takes_any_number_of_any_size(cluster: Cluster) -> None:
    writer, reader = await pair(cluster, Vec[bytes])
    before = writer.version
    assert await writer.extend([]) == before
    small = [b"x"] * 45_000
    large = [bytes([number]) * 200_000 for number in range(20)]
    version = await writer.extend([*small, *large])
    assert len(writer) == 45_020
    assert version >= 45_000 // 2000 + 20
    await reader.when().reaches(version)
    assert reader == [*small, *large]


@scenario(nodes=1, seeds=ONCE)
async def test_what_is_of_another_type_is_not_written(cluster: Cluster) -> None:
    wrong: Any = "no number"
    async with Map[str, int].writer(cluster.net(0), "store") as counts:
        await counts.when().online()
        with pytest.raises(EncodeError):
            await counts.insert("a", wrong)
        pairs = [(str(number), number) for number in range(5000)]
        with pytest.raises(EncodeError):
            await counts.extend([*pairs, ("last", wrong)])
        assert counts == {}
        assert counts.version == 0


@scenario(nodes=3, seeds=ONCE)
async def test_offline_writes_come_back(cluster: Cluster) -> None:
    handles = await three_voters(cluster, Map[str, int], write_timeout=0.5)
    cluster.partition(0, 1, 2)
    alone = handles[0]
    await alone.when().offline()
    assert not alone.is_online
    with pytest.raises(CollectionOffline) as caught:
        await alone.insert("a", 1)
    assert caught.value.value == ("a", 1)
    assert not caught.value.may_take_effect
    pairs = [(str(number), number) for number in range(5000)]
    with pytest.raises(CollectionOffline) as caught:
        await alone.extend(pairs)
    assert caught.value.value == pairs
    # Reads go on.
    assert alone == {}
    cluster.heal()
    await alone.when().online()
    await alone.insert("a", 1)


@scenario(nodes=3, seeds=ONCE)
async def test_extend_says_what_is_left_when_it_is_cut_off(cluster: Cluster) -> None:
    handles = await three_voters(cluster, Vec[int], write_timeout=0.5)
    items = list(range(120_000))
    updated = handles[0].when().updated()
    sent = asyncio.ensure_future(handles[0].extend(items))
    await updated
    cluster.partition(0, 1, 2)
    with pytest.raises(CollectionOffline) as caught:
        await sent
    rest = caught.value.value
    done = len(items) - len(rest)
    assert 0 < done < len(items)
    assert rest == items[done:]
    assert handles[0][:done] == items[:done]
    # What is left can be written later, if it is known not to be.
    cluster.heal()
    await handles[0].when().online()
    if caught.value.may_take_effect:
        await handles[0].push_back(-1)  # in order after all that may have been on its way
        rest = items[len(handles[0]) - 1 :]
    await handles[0].extend(rest)
    assert [item for item in handles[0] if item >= 0] == items


# Following.


@scenario(nodes=2, seeds=ONCE)
async def test_changes_come_one_by_one_with_their_versions(cluster: Cluster) -> None:
    writer, reader = await pair(cluster, Map[str, int])
    here, there = writer.changes(), reader.changes()
    await writer.extend([("a", 1), ("b", 2)])
    await writer.insert("a", 3)
    await writer.remove("missing")
    await writer.remove("b")
    wanted = [
        EntryInserted("a", 1, 1),
        EntryInserted("b", 2, 1),
        EntryUpdated("a", 3, 1, 2),
        EntryRemoved("b", 2, 4),
    ]
    for changes in (here, there):
        assert [await anext(changes) for _ in wanted] == wanted
    # They end with the handle.
    waiting = asyncio.ensure_future(anext(here))
    await asyncio.sleep(0)
    await writer.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


@scenario(nodes=1, seeds=ONCE)
async def test_a_slow_reader_is_told_to_read_anew(cluster: Cluster) -> None:
    async with Vec[int].writer(cluster.net(0), "store", changes_backlog=10) as vec:
        await vec.when().online()
        changes = vec.changes()
        await vec.extend(range(11))
        await vec.push_back(11)
        first = await anext(changes)
        assert first == StateReplaced(position=2)
        assert await anext(changes) == ItemInserted(11, 11, 2)
        await vec.push_back(12)
        assert await anext(changes) == ItemInserted(12, 12, 3)
    assert [change async for change in changes] == []


@scenario(nodes=1, seeds=ONCE)
async def test_who_stops_following_costs_nothing_more(cluster: Cluster) -> None:
    async with Map[str, int].writer(cluster.net(0), "store") as counts:
        await counts.when().online()
        changes = counts.changes()
        await counts.insert("a", 1)
        async for change in changes:
            assert isinstance(change, EntryInserted)
            break
        del changes
        gc.collect()
        assert counts._machine.on_change is None


@scenario(nodes=2, seeds=ONCE)
async def test_updates_are_waited_for(cluster: Cluster) -> None:
    writer, reader = await pair(cluster, Map[str, int])
    updated = reader.when().updated()
    waiting = asyncio.ensure_future(updated._wait())
    await cluster.sleep(1)
    assert not waiting.done()
    await writer.insert("a", 1)
    assert await waiting == 1
    await writer.insert("a", 2)
    assert await updated == 2
    assert reader["a"] == 2


# Ending.


@scenario(nodes=2, seeds=ONCE)
async def test_everything_says_so_when_the_network_is_down(cluster: Cluster) -> None:
    net = cluster.net(0)
    handles = [kind.writer(net, "store") for kind in ALL]
    counts: Any = handles[0]
    await counts.when().online()
    await counts.insert("a", 1)
    once: Any = handles[4]
    waiting = [
        asyncio.ensure_future(one)
        for one in (
            once.value(),
            counts.when().reaches(99)._wait(),
            counts.when().updated()._wait(),
        )
    ]
    changes = counts.changes()
    ended = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    await cluster.stop(0)
    for one in waiting:
        with pytest.raises(NetworkDown):
            await one
    with pytest.raises(StopAsyncIteration):
        await ended
    with pytest.raises(NetworkDown) as caught:
        await counts.insert("b", 2)
    assert caught.value.value == ("b", 2)
    with pytest.raises(NetworkDown) as caught:
        await counts.extend([("b", 2)])
    assert caught.value.value == [("b", 2)]
    assert counts == {"a": 1}
    await counts.when().offline()
    for handle in handles:
        await handle.close()
    with pytest.raises(NetworkDown):
        Map[str, int].writer(net, "store")


@scenario(nodes=1, seeds=ONCE)
async def test_a_collection_can_be_opened_again(cluster: Cluster) -> None:
    net = cluster.net(0)
    first = Map[str, int].writer(net, "store")
    await first.when().online()
    await first.insert("a", 1)
    closing = asyncio.ensure_future(first.close())
    await asyncio.sleep(0)
    # It starts when the other is closed. Nobody else had it, so it is empty.
    second = Map[str, int].writer(net, "store")
    await second.when().online()
    assert closing.done()
    assert second == {}


@scenario(nodes=1, seeds=ONCE)
async def test_handles_that_share_a_replica_must_not_ask_for_another(cluster: Cluster) -> None:
    net, kind = cluster.net(0), Map[str, int]
    log, other_log = SimLog(cluster.nodes[0].disk, "one"), SimLog(cluster.nodes[0].disk, "other")
    mine = GroupsConfig(replace_after=3.0)
    for first in (kind.writer, kind.reader):
        async with first(net, "store"):
            for settings, text in (
                ({"storage": other_log}, "storage"),
                ({"groups": mine}, r"groups=None.*replace_after=3\.0"),
                ({"sync": SnapshotSync(snapshot_ttl=7.0)}, r"sync=Snap.*snapshot_ttl=7\.0"),
            ):
                with pytest.raises(ConfigError, match=text):
                    kind.writer(net, "store", **cast("Any", settings))
    # The same once more is fine, and so is asking for nothing.
    async with kind.writer(net, "store", storage=log, groups=mine) as writer:
        kind.writer(net, "store", storage=log, groups=mine)
        reader = kind.reader(net, "store", changes_backlog=1)
        await writer.when().online()
        # What is each handle's own is taken from each.
        changes, all_changes = reader.changes(), writer.changes()
        await writer.extend({"a": 1, "b": 2})
        assert isinstance(await anext(changes), StateReplaced)
        assert await anext(all_changes) == EntryInserted("a", 1, 1)


@scenario(nodes=1, seeds=ONCE)
async def test_a_full_queue_says_who_had_to_go(cluster: Cluster) -> None:
    async with PriorityQueue[int, str, int].writer(cluster.net(0), "q", capacity=2) as queue:
        await queue.when().online()
        await queue.extend([(5, "five", 0), (7, "seven", 0)])
        # The lowest is the one that is put in: it does not stay.
        refused = await queue.insert(1, "one", 0)
        assert refused.took_effect is False
        assert not queue.contains_key("one")
        taken = await queue.insert(6, "six", 0)
        assert taken.took_effect is True
        assert taken.changes is not None
        assert taken.changes[1] == QueueEvicted("five", 5, 0, 3)
    async with PriorityQueue[int, str, int].writer(cluster.net(0), "unbounded") as queue:
        await queue.when().online()
        assert (await queue.insert(1, "one", 0)).took_effect is None


@scenario(nodes=3, seeds=ONCE)
async def test_a_new_group_is_forced_when_the_voters_are_gone(cluster: Cluster) -> None:
    handles = await three_voters(cluster, Map[str, int])
    survivor = handles[0]
    version = await survivor.insert("a", 1)
    with pytest.raises(ConfigError, match="online"):
        await survivor.force_new_group()
    await asyncio.gather(cluster.crash(1), cluster.crash(2))
    await survivor.when().offline()
    metrics = survivor.metrics
    assert metrics is not None
    assert metrics.position == version
    await survivor.force_new_group()
    await survivor.when().online()
    me = cluster.net(0).peer_id
    assert [member.peer_id for member in survivor.members if member.is_voter] == [me]
    await survivor.insert("b", 2)
    assert survivor == {"a": 1, "b": 2}
    await survivor.close()
    with pytest.raises(Closed):
        await survivor.force_new_group()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.kind)
def test_a_machine_begins_anew_in_place(kind: Any) -> None:
    """What was handed out before goes on reading the machine: so a merge needs no new handles."""
    machine = kind.machine_class(*kind.types, store_id="store")
    view = machine.view
    filled = kind.machine_class(*kind.types, store_id="store")
    empty = list(filled.snapshot())
    told: list[Any] = []
    machine.on_change = told.extend
    machine.reset()
    assert machine.view is view
    assert list(machine.snapshot()) == empty
    assert len(told) == 1
