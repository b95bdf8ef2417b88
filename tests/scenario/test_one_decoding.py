"""Members decode what was committed alike, or end: no command is passed over."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest

from mosaik_actors import (
    ConsensusConfig,
    Consistency,
    GroupKey,
    GroupsConfig,
    GroupTerminated,
    Map,
    NetworkDown,
    SnapshotSync,
    StateMachine,
    Vec,
)
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario

from .groups_workload import SETTINGS

KEY = GroupKey("one decoding")
ONE_VOTER = ConsensusConfig(initial_voters=1)
CUTS_OFTEN = GroupsConfig(compact_entries=30, keep_entries=5)
SMALL_PARTS = SnapshotSync(fetch_batch_size=20)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Event(msgspec.Struct):
    name: str
    detail: Any = None


def amount_type(refused: int | None, error: type[Exception] = KeyError) -> Any:
    """Return one version of a record, of which only the own check differs."""

    class Amount(msgspec.Struct):
        value: int

        def __post_init__(self) -> None:
            if self.value == refused:
                raise error("unlucky")

    Amount.__qualname__ = "Amount"
    return Amount


def sum_machine(amount: Any) -> StateMachine:
    class Sum(StateMachine):
        Command = amount
        Query = None
        Answer = int
        signature = "sum"

        def __init__(self) -> None:
            self.values: list[int] = []

        def apply(self, command: Any, ctx: object) -> None:
            self.values.append(command.value)

        def query(self, query: None) -> int:
            return sum(self.values)

    return Sum()


async def online(*handles: Any) -> None:
    async with asyncio.timeout(30):
        for handle in handles:
            await handle.when().online()


@scenario(nodes=3, seeds=(1,), **SETTINGS)
async def test_a_joiner_by_snapshot_has_what_those_with_the_log_have(cluster: Cluster) -> None:
    settings: Any = {"sync": SMALL_PARTS, "groups": CUTS_OFTEN}
    kinds: tuple[Any, ...] = (
        Map[str, Event],
        Vec[Event],
        Map[str, dict[str, object]],
        Map[str, Any],
    )
    values: list[Any] = [Event("noon", (NOON, {1})), Event("big", 2**70), Event("x", (1, (2,)))]
    plain: list[Any] = [{"a": (NOON, b"x")}, {"a": 2**70}, {"a": {1: (2,)}}]
    for kind in kinds:
        writer = kind.writer(cluster.net(0), "kinds", **settings)
        await online(writer)
        some = values if kind in kinds[:2] else plain
        for number in range(60):
            value = some[number % 3]
            if kind is kinds[1]:
                version = await writer.push_back(value)
            else:
                version = await writer.insert(str(number % 9), value)
        joined = kind.reader(cluster.net(1), "kinds", **settings)
        await online(joined)
        async with asyncio.timeout(30):
            await joined.when().reaches(version)
        if kind is kinds[1]:
            assert repr(list(joined)) == repr(list(writer))
        else:
            assert repr(dict(joined)) == repr(dict(writer))
        await joined.close()
        await writer.close()


@scenario(nodes=2, seeds=(1,), **SETTINGS)
async def test_other_constraints_make_another_collection_and_say_so(cluster: Cluster) -> None:
    strict = Annotated[int, msgspec.Meta(ge=0)]
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler, logger = Handler(logging.WARNING), logging.getLogger("mosaik_actors")
    logger.addHandler(handler)
    try:
        one = Map[str, int].writer(cluster.net(0), "balance")
        other = Map[str, strict].writer(cluster.net(1), "balance")
        await online(one, other)
        assert one.group_id != other.group_id
        await one.insert("a", -7)
        await cluster.until(lambda: any("constraints" in text for text in said))
        assert other == {}
    finally:
        logger.removeHandler(handler)


@scenario(nodes=2, seeds=(1,), **SETTINGS)
async def test_a_command_that_cannot_be_decoded_ends_only_that_member(cluster: Cluster) -> None:
    for error in (KeyError, AssertionError, ValueError):
        key = GroupKey(f"one decoding {error}")
        lenient = cluster.net(0).groups.join(
            key, sum_machine(amount_type(None)), consensus=ONE_VOTER
        )
        await online(lenient)
        strict = cluster.net(1).groups.join(
            key, sum_machine(amount_type(13, error)), consensus=ONE_VOTER
        )
        assert strict.id == lenient.id
        await online(strict)
        await lenient.execute(lenient_amount(lenient, 5))
        position = await lenient.execute(lenient_amount(lenient, 13))
        with pytest.raises(GroupTerminated, match=f"command {position} could not be decoded"):
            await strict.query(None, Consistency.STRONG)
        assert (await lenient.query(None)).result == 18


def lenient_amount(group: Any, value: int) -> Any:
    return group.machine.Command(value)


@scenario(nodes=3, seeds=(1,), **SETTINGS)
async def test_a_value_that_cannot_be_decoded_ends_the_replica(cluster: Cluster) -> None:
    settings: Any = {"sync": SMALL_PARTS, "groups": CUTS_OFTEN}
    old, new = amount_type(None), amount_type(13)
    kinds: Any = Map  # of types that are made here
    writer = kinds[str, old].writer(cluster.net(0), "amounts", **settings)
    await online(writer)
    await writer.insert("a", old(1))
    reader = kinds[str, new].reader(cluster.net(1), "amounts", **settings)
    assert reader.group_id == writer.group_id
    await online(reader)
    # From the log, and in a command that carries many.
    version = await writer.extend({"b": old(2), "c": old(13)})
    with pytest.raises(NetworkDown, match=r"could not be decoded|machine failed"):
        async with asyncio.timeout(30):
            await reader.when().reaches(version)
    # From a snapshot.
    for number in range(100):
        version = await writer.insert("d", old(number + 20))
    late = kinds[str, new].reader(cluster.net(2), "amounts", **settings)
    with pytest.raises(NetworkDown, match="snapshots could not be restored"):
        async with asyncio.timeout(60):
            await late.when().reaches(version)


@scenario(nodes=2, seeds=(1,), **SETTINGS)
async def test_a_leader_takes_in_no_command_that_it_cannot_decode(cluster: Cluster) -> None:
    """It would end every member; here it ends none, and the others go on."""
    strict = cluster.net(0).groups.join(KEY, sum_machine(amount_type(13)), consensus=ONE_VOTER)
    await online(strict)
    lenient = cluster.net(1).groups.join(KEY, sum_machine(amount_type(None)), consensus=ONE_VOTER)
    await online(lenient)
    waiting = asyncio.ensure_future(lenient.execute(lenient_amount(lenient, 13)))
    await cluster.sleep(2)
    assert not waiting.done()
    position = await strict.execute(lenient_amount(strict, 5))
    assert (await strict.query(None)).result == 5
    assert position == 1
    waiting.cancel()
    await asyncio.wait([waiting])


@scenario(nodes=2, seeds=(1,), **SETTINGS)
async def test_values_of_one_mebibyte_fit_a_collection(cluster: Cluster) -> None:
    mebibyte = b"x" * (1 << 20)
    one = Map[str, bytes].writer(cluster.net(0), "large")
    other = Map[str, bytes].writer(cluster.net(1), "large")
    await online(one, other)
    await other.insert("a", mebibyte)
    await other.extend({"b": mebibyte})
    done = await other.compare_exchange("a", mebibyte, mebibyte[:-1] + b"y")
    assert done.took_effect
    await one.when().reaches(int(done))
    assert {key: len(value) for key, value in one.items()} == {"a": 1 << 20, "b": 1 << 20}
