"""Machines that fail, refuse to be copied, or raise what nobody raises."""

import asyncio
import threading
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from mosaik_actors.errors import GroupTerminated
from mosaik_actors.groups.machine.machine import (
    ApplyContext,
    Consistency,
    QueryAnswer,
    StateMachine,
)
from mosaik_actors.handles.groups import Group
from mosaik_actors.testing.cluster import Cluster
from mosaik_actors.testing.scenario import scenario
from mosaik_actors.testing.simlog import SimLog

from .groups_workload import KEY, SETTINGS

SEEDS = range(2)
LARGE = 1024 * 1024


class Do(msgspec.Struct, frozen=True):
    """A command; `what` says how the machine is to fail."""

    what: str = ""
    ballast: bytes = b""


class Moody(StateMachine):
    """A machine that fails when it is told to."""

    Command = Do
    Query = str
    Answer = int
    signature = "moody"

    def __init__(self) -> None:
        self.count = 0

    def apply(self, command: Do, ctx: ApplyContext) -> None:
        if command.what == "fail":
            raise ValueError("told to fail")
        if command.what == "stop":
            raise StopIteration
        self.count += 1

    def query(self, query: str) -> int:
        if query == "stop":
            return next(iter(()))
        if query == "fail":
            raise KeyError(query)
        return self.count


async def outcomes(calls: Iterable[Any]) -> list[Any]:
    """Return what became of calls; none may hang."""
    async with asyncio.timeout(20):
        return await asyncio.gather(*calls, return_exceptions=True)


async def fail_at_last(group: Group, what: str) -> None:
    """Give the machine much to do, and a command that it fails at; all calls must end."""
    await group.when().online()
    # So much that it is applied in several portions, the failing one in the last.
    calls: list[Any] = [group.execute(Do("", bytes(LARGE)), timeout=15) for _ in range(12)]
    calls += [group.execute(Do(what), timeout=15), group.query("", timeout=15)]
    ended = await outcomes(calls)
    assert isinstance(ended[12], GroupTerminated)
    for outcome in ended:
        assert isinstance(outcome, int | QueryAnswer | GroupTerminated), outcome
    with pytest.raises(GroupTerminated, match="told to fail" if what == "fail" else "Stop"):
        await group.execute(Do())


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_every_call_ends_when_the_machine_fails(cluster: Cluster) -> None:
    await fail_at_last(cluster.nodes[0].net.groups.join(KEY, Moody()), "fail")


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_every_call_ends_when_the_machine_stops_an_iteration(cluster: Cluster) -> None:
    await fail_at_last(cluster.nodes[0].net.groups.join(KEY, Moody()), "stop")


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_every_call_ends_when_the_machine_of_a_durable_member_fails(
    cluster: Cluster,
) -> None:
    node = cluster.nodes[0]
    storage = SimLog(node.disk, "group")
    await fail_at_last(node.net.groups.join(KEY, Moody(), storage=storage), "fail")


@scenario(nodes=1, seeds=SEEDS, **SETTINGS)
async def test_queries_that_fail_harm_nobody(cluster: Cluster) -> None:
    group = cluster.nodes[0].net.groups.join(KEY, Moody())
    await group.when().online()
    for consistency in Consistency:
        with pytest.raises(KeyError):
            await group.query("fail", consistency)
        with pytest.raises(RuntimeError):
            await group.query("stop", consistency)
    assert await group.execute(Do()) == 1
    assert (await group.query("")).result == 1


class Slotted(StateMachine):
    """A machine without a dictionary of attributes."""

    __slots__ = ("count",)
    Command = Do
    signature = "slotted"

    def __init__(self) -> None:
        self.count = 0

    def apply(self, command: Do, ctx: ApplyContext) -> None:
        self.count += 1


class Locked(Moody):
    """A machine that cannot be copied."""

    signature = "locked"

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


async def meet(cluster: Cluster, kind: type[StateMachine]) -> None:
    """Have two histories of two machines merge."""
    # Two histories, each with commands.
    cluster.partition(*range(2))
    groups = [node.net.groups.join(KEY, kind()) for node in cluster.nodes]
    for group in groups:
        await group.when().online()
    for _ in range(3):
        await groups[0].execute(Do())
    await groups[1].execute(Do())
    # They meet: one has to begin anew, and cannot.
    cluster.heal()
    await cluster.until(
        lambda: (
            any(group._state.is_closed for group in groups)
            or groups[0].history == groups[1].history
        ),
        timeout=60,
    )
    if any(group._state.is_closed for group in groups):
        ended = next(group for group in groups if group._state.is_closed)
        with pytest.raises(GroupTerminated, match="reset"):
            await ended.execute(Do())
    left = next(group for group in groups if not group._state.is_closed)
    assert await left.execute(Do(), timeout=20) == 5


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_machine_with_slots_begins_anew_or_says_that_it_cannot(cluster: Cluster) -> None:
    await meet(cluster, Slotted)


@scenario(nodes=2, seeds=SEEDS, **SETTINGS)
async def test_machine_that_cannot_begin_anew_says_so(cluster: Cluster) -> None:
    await meet(cluster, Locked)
