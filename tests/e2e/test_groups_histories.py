"""Histories over real QUIC: two that meet, one begun by hand, and one whose disk is full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mosaik_actors import (
    ConfigError,
    ConsensusConfig,
    Consistency,
    Group,
    GroupOffline,
    GroupTerminated,
    HistoryMerged,
    Network,
    SecretKey,
    SqliteLog,
    StateReplaced,
    StorageMismatch,
)
from mosaik_actors.testing import TIME_FACTOR
from tests.waiting import until

from .groups_worker import Append, Entries

KEY = "histories"


@asynccontextmanager
async def nodes(*names: str) -> AsyncIterator[list[Network]]:
    """Start nodes that know of nobody."""
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(20 * TIME_FACTOR):
            yield [
                await stack.enter_async_context(
                    Network("histories", secret_key=SecretKey.from_seed(name), rendezvous=False)
                )
                for name in names
            ]


async def append(group: Group, source: str, numbers: Iterable[int]) -> list[Append]:
    """Append one by one: histories are compared by entries of the log, which may hold many."""
    entries = [Append(source, number) for number in numbers]
    for entry in entries:
        await group.execute(entry)
    return entries


async def test_two_histories_that_meet_keep_everything_once_and_in_order() -> None:
    async with nodes("left", "right") as (left, right):
        groups = [net.groups.join(KEY, Entries()) for net in (left, right)]
        # Neither knows of the other, so each begins on its own.
        for group in groups:
            await group.when().online()
        assert groups[0].history != groups[1].history
        told: list[list[object]] = [[], []]

        async def watch(index: int) -> None:
            async for event in groups[index].events():
                told[index].append(event)

        watching = [asyncio.create_task(watch(index)) for index in range(2)]
        longer = await append(groups[0], "left", range(40))
        shorter = await append(groups[1], "right", range(10))

        # They meet, while both go on.
        right.discovery.dial(left.addr)
        await until(lambda: groups[0].history == groups[1].history)
        for group in groups:
            await group.when().online()
        position = await groups[1].execute(Append("right", 10))
        await groups[0].when().committed().reaches(position)

        for group in groups:
            held = (await group.query(None)).result
            assert held == [*longer, *shorter, Append("right", 10)]
        [merged] = [event for event in told[1] if isinstance(event, HistoryMerged)]
        assert merged.is_loser
        assert list(merged.commands) == shorter
        assert StateReplaced(0) in told[1]
        await until(lambda: any(isinstance(event, HistoryMerged) for event in told[0]))
        [merged] = [event for event in told[0] if isinstance(event, HistoryMerged)]
        assert (merged.is_loser, list(merged.commands)) == (False, shorter)
        for group in groups:
            await group.leave()
        await asyncio.gather(*watching)


async def test_a_survivor_goes_on_alone_when_it_is_told_to() -> None:
    async with nodes("a", "b", "c") as nets:
        consensus = ConsensusConfig(initial_voters=3)
        for net in nets[1:]:
            net.discovery.dial(nets[0].addr)
        groups = [net.groups.join(KEY, Entries(), consensus=consensus) for net in nets]
        for group in groups:
            await group.when().online()
        entries = await append(groups[0], "a", range(10))
        survivor = groups[0]
        with pytest.raises(ConfigError, match="the group is online"):
            await survivor.force_new_group()

        for net in nets[1:]:
            net.crash()
        await survivor.when().offline()
        no_majority = "no leader: a majority of the voters is not in reach"
        await until(lambda: survivor.why_offline == no_majority)
        with pytest.raises(GroupOffline) as caught:
            await survivor.execute(Append("a", 10), timeout=0.2)
        assert not caught.value.may_take_effect

        await survivor.force_new_group()
        await survivor.when().online()
        assert await survivor.execute(Append("a", 10)) == 11
        assert (await survivor.query(None)).result == [*entries, Append("a", 10)]


async def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    async with nodes("a") as (net,):
        storage = TightLog(tmp_path / "a.log")
        group = net.groups.join(KEY, Entries(), storage=storage)
        await group.when().online()
        entries = await append(group, "a", range(10))

        storage.limit_to(storage.path.stat().st_size)
        large = [Append("large" * 2000, number) for number in range(20)]
        executing = asyncio.create_task(group.execute_many(large, timeout=60))
        await group.when().offline()
        assert group.why_offline == "the disk takes nothing"
        assert (await group.query(None, Consistency.WEAK)).result == entries
        assert not executing.done()

        # Room is made: it goes on by itself, with what it had been given.
        storage.limit_to(1 << 30)
        await executing
        assert (await group.query(None)).result == [*entries, *large]


class TightLog(SqliteLog):
    """A log on a disk that is full for a while."""

    def limit_to(self, size_bytes: int) -> None:
        assert self._connection is not None
        with self._calls:
            self._connection.execute(f"PRAGMA max_page_count={size_bytes // 4096}").fetchall()


async def test_a_durable_log_of_a_node_without_a_key_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it keeps could not be opened again; who finds that out at the next start has lost it."""
    async with Network("app") as net, nodes("a") as (lasting,):
        lasting.groups.join(KEY, Entries(), storage=SqliteLog(tmp_path / "a.log"), name="a")
        net.groups.join(KEY, Entries(), storage=SqliteLog(tmp_path / "b.log"), name="b")
        net.groups.join("another", Entries(), name="c")
    warned = [text for text in caplog.messages if "give Network a secret_key" in text]
    assert [text.partition(" has ")[0] for text in warned] == ["group b"]


async def test_the_log_of_another_node_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    async with nodes("a") as (net,):
        group = net.groups.join(KEY, Entries(), storage=SqliteLog(path))
        await group.when().online()
        await append(group, "a", range(3))
    async with nodes("b") as (net,):
        group = net.groups.join(KEY, Entries(), storage=SqliteLog(path))
        with pytest.raises(GroupTerminated, match="peer") as caught:
            await group.when().online()
        assert isinstance(caught.value.__cause__, StorageMismatch)
    async with nodes("a") as (net,):
        group = net.groups.join(KEY, Entries(), storage=SqliteLog(path))
        await group.when().online()
        assert group.committed == 3
