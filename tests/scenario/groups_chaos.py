"""The workload of chaos: clients on every node, members that come and go.

Each node runs a member and a client that reads and writes a few keys, strongly,
one call after the other; some commands go in batches or are fed. Everything is
recorded: for the checker of histories, and by name, so that it can be looked up
in the journals at the end.

Members in memory forget everything when they crash, and a group survives that
only while a majority of its voters remembers. So for them crashes, stops and
departures are not drawn from the fault plan: `Churn` chooses the moments, and
takes a member only if then (1) of the voters that any member knows of, with
those who have forgotten added as if they were voters, a majority has the history
and is not catching up, and (2) fewer members than
`initial_voters` are without the history, for so many could begin another one.
Who leaves in order must (3) not be needed either on its own side of a partition: a
leader there removes the voters that it does not hear first, to let the other one go,
and would be left with a majority of two that lacks one if that one then does not
wait any longer. Durable members may crash at any moment, all at once too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from mosaik_actors.errors import Closed, GroupOffline, GroupTerminated, QueryOffline
from mosaik_actors.groups.config import ConsensusConfig, GroupsConfig
from mosaik_actors.groups.machine.machine import Consistency, LeadershipPreference
from mosaik_actors.groups.position import Position
from mosaik_actors.handles.groups import Group
from mosaik_actors.ids import PeerId
from mosaik_actors.testing.cluster import Cluster, NodeDown, SimNode
from mosaik_actors.testing.history import CallId, History
from mosaik_actors.testing.linearizability import check_linearizable
from mosaik_actors.testing.models import MapModel

from .groups_invariants import Witness
from .groups_machines import Get, Journal, Put
from .groups_workload import all_equal, digests_of, join, join_durably, journal_of

KEYS = 5
LOOK_EVERY_S = 0.05

# What happened in all runs of this process, for summaries.
TALLY: Counter[str] = Counter()


@dataclass(slots=True)
class Write:
    """One command, and what its client saw.

    Attributes:
        history: The history at the time of the call.
        position: Where it was applied, when it was acknowledged.
        is_refused: Whether the client was notified that it never takes effect.
        is_certain_history: Whether the member was in the same history before and after.
        result: What `apply` returned for it, as the client saw it; None if it was not.
    """

    put: Put
    history: bytes
    began_s: float
    ended_s: float | None = None
    position: int | None = None
    is_refused: bool = False
    is_certain_history: bool = False
    result: bytes | None = None


@dataclass(slots=True)
class Read:
    """One strong read that was answered, in one history from beginning to end."""

    key: str
    value: int | None
    history: bytes
    began_s: float
    ended_s: float


@dataclass(kw_only=True)
class World:
    """What a chaos scenario shares among its nodes.

    Attributes:
        cluster: The nodes.
        is_durable: Whether logs are on disks.
        machine: The kind of machine.
        consensus: The settings of the group.
        settings: The settings of each member.
        observers: The share of members that only observe, drawn anew at each join.
        has_many_histories: Whether several histories may begin, and merge.
    """

    cluster: Cluster
    is_durable: bool
    machine: type[Journal]
    consensus: ConsensusConfig
    settings: GroupsConfig
    observers: float = 0.2
    has_many_histories: bool = False
    groups: dict[int, Group] = field(default_factory=dict)
    writes: dict[tuple[str, int], Write] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)
    witness: Witness = field(default_factory=Witness)
    is_over: bool = False
    away: set[int] = field(default_factory=set)
    started: dict[int, int] = field(default_factory=dict)
    value: int = 0

    # Members.

    def join(self, node: SimNode, rng: Random) -> Group:
        """Join on a node."""
        # Not so many at once that the others are too few to begin.
        may_observe = node.index >= self.consensus.initial_voters and not self.is_over
        is_observer = may_observe and rng.random() < self.observers
        machine = self.machine(
            LeadershipPreference.OBSERVER if is_observer else LeadershipPreference.NORMAL
        )
        joining = join_durably if self.is_durable else join
        group = joining(node, machine, consensus=self.consensus, settings=self.settings)
        self.groups[node.index] = group
        return group

    async def member(self, node: SimNode) -> None:
        """Be a member for as long as the node runs; join again when the membership ends."""
        name = f"n{node.index} {node.run_count}"
        rng = node.cluster.randomness.branch(f"client {name}")
        for number in range(1_000_000):
            group = self.join(node, rng)
            client = Client(self, group, f"{name} {number}", rng)
            try:
                await client.run()
            except (GroupTerminated, Closed):
                await asyncio.sleep(rng.uniform(0.1, 1.0))
            while node.index in self.away:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def start_programs(self) -> None:
        """Run a member on every node that has been started since the last call."""
        for node in self.cluster.nodes:
            if node.is_running and self.started.get(node.index) != node.run_count:
                try:
                    node.spawn(self.member(node))
                except NodeDown:
                    continue
                self.started[node.index] = node.run_count

    def running(self) -> Iterator[tuple[PeerId, Group]]:
        """Yield the members of the nodes that run."""
        for index, group in self.groups.items():
            if self.cluster.nodes[index].is_running:
                yield self.cluster.nodes[index].peer_id, group

    # The run.

    async def play(self, seconds: float, churn: Churning | None = None) -> None:
        """Let all of it happen for so long, then end the faults and demand that all is well."""
        end = self.cluster.now + seconds
        churning = asyncio.ensure_future(churn.run()) if churn is not None else None
        try:
            while self.cluster.now < end:
                self.start_programs()
                self.witness.look(self.running())
                await self.cluster.sleep(LOOK_EVERY_S)
        finally:
            if churn is not None and churning is not None:
                churning.cancel()
                await asyncio.wait([churning])
                TALLY.update({f"churn: {kind}": count for kind, count in churn.counts.items()})
        await self.settle()
        self.count()

    async def settle(self) -> None:
        """End the faults; wait until every member has the same state; then check everything."""
        self.is_over = True
        await self.cluster.calm()
        self.away.clear()
        self.start_programs()
        await self.cluster.sleep(0.1)
        members = list(range(len(self.cluster.nodes)))
        await self.cluster.until(lambda: all(index in self.groups for index in members))
        await all_equal(self.cluster, self.groups, timeout=60)
        self.witness.look(self.running())

    @property
    def journal(self) -> list[tuple[str, int]]:
        """What was applied, after `settle`."""
        return journal_of(self.groups[0])

    def count(self) -> None:
        """Add what happened to the tally."""
        TALLY["writes acknowledged"] += sum(w.position is not None for w in self.writes.values())
        TALLY["writes refused"] += sum(w.is_refused for w in self.writes.values())
        TALLY["writes"] += len(self.writes)
        TALLY["reads answered"] += len(self.reads)
        TALLY["commands applied"] += len(self.journal)
        TALLY["histories"] += len(self.witness.longest)
        TALLY["looks at a member"] += self.witness.looks

    # What must hold.

    def check_once(self) -> None:
        """What was acknowledged is there once, what was refused is not, nothing is there twice."""
        journal = self.journal
        places = {name: place for place, name in enumerate(journal, 1)}
        assert len(places) == len(journal), "a command was applied twice"
        for name in places:
            assert name in self.writes, f"{name} was never given"
        # The order of a client's commands holds for those it gave in one history; in a merge
        # those of a history that ends come after all that the other one had.
        last: dict[tuple[str, bytes], int] = {}
        for name in journal:
            key = name[0], self.writes[name].history if self.has_many_histories else b""
            assert name[1] > last.get(key, -1), f"{self.writes[name]} after {last[key]}"
            last[key] = name[1]
        for name, write in self.writes.items():
            if write.position is not None:
                assert name in places, f"{name} was acknowledged at {write.position}, and is lost"
            if write.is_refused:
                assert name not in places, f"{name} was refused, and was applied"

    def check_positions(self) -> None:
        """In one history, each command is where its client saw it."""
        places = {name: place for place, name in enumerate(self.journal, 1)}
        for name, write in self.writes.items():
            if write.position:  # what was fed was taken by a leader, which says no place
                assert places[name] == write.position, f"{name} at {places[name]}: {write}"

    def check_results(self) -> None:
        """In one history, each result is that of the one run at its place."""
        digests = digests_of(self.groups[0])
        for name, write in self.writes.items():
            if write.position and write.result is not None:
                TALLY["results"] += 1
                assert write.result == digests[write.position], f"{name}: {write}"

    def check_linearizable(self) -> None:
        """All of it looks like one copy of the data."""
        verdict = check_linearizable(self.cluster.history, MapModel())
        assert verdict.ok, verdict.reason

    def check_linearizable_in(self, history: bytes) -> None:
        """What was read and written in one of several histories looks like one copy of the data.

        Commands of others come into it at an unknown time, or never.
        """
        seen = History()
        for write in self.writes.values():
            operation = MapModel.insert(write.put.key, write.put.value)
            is_answered = write.position is not None and write.is_certain_history
            if is_answered and write.history == history:
                seen.add(write.put.client, operation, write.began_s, write.ended_s)
            elif not write.is_refused:
                seen.add(write.put.client, operation, write.began_s)
        for read in self.reads:
            if read.history == history:
                operation = MapModel.get(read.key)
                seen.add("reader", operation, read.began_s, read.ended_s, result=read.value)
        verdict = check_linearizable(seen, MapModel())
        assert verdict.ok, verdict.reason


class Churning(Protocol):
    """What makes members come and go."""

    counts: dict[str, int]

    async def run(self) -> None:
        """Go on until cancelled."""


class Client:
    """One client of one member: a call after the other, until the membership ends."""

    def __init__(self, world: World, group: Group, name: str, rng: Random) -> None:
        self._world = world
        self._group = group
        self._name = name
        self._rng = rng
        self._number = 0

    async def run(self) -> None:
        """Make calls. Raises `GroupTerminated` in the end."""
        rng = self._rng
        while True:
            await asyncio.sleep(rng.expovariate(1 / 0.1))
            if self._world.is_over:
                # Only to learn that the membership has ended, if it has.
                with suppress(QueryOffline):
                    await self._group.query(Get(), Consistency.WEAK)
                continue
            choice = rng.random()
            if choice < 0.45:
                await self._read()
            elif choice < 0.9:
                await self._write(1)
            elif choice < 0.97:
                await self._write(rng.randint(2, 5))
            else:
                await self._write(1, is_fed=True)

    async def _write(self, count: int, *, is_fed: bool = False) -> None:
        world, history = self._world, self._world.cluster.history
        writes = [self._new_write() for _ in range(count)]
        puts = [write.put for write in writes]
        calls = [self._invoke(MapModel.insert(put.key, put.value)) for put in puts]
        positions: Sequence[int] = ()
        try:
            if is_fed:
                await self._group.feed(puts[0], timeout=1.5)
            elif count == 1:
                positions = [await self._group.execute(puts[0], timeout=1.5)]
            else:
                positions = await self._group.execute_many(puts, timeout=1.5)
        except GroupOffline as error:
            for write, call in zip(writes, calls, strict=True):
                write.is_refused = not error.may_take_effect
                if write.is_refused:
                    history.fail(call, now=world.cluster.now)
            return
        now = world.cluster.now
        for write, call, position in zip(writes, calls, positions, strict=False):
            write.position, write.ended_s = position, now
            write.result = position.result if isinstance(position, Position) else None
            write.is_certain_history = self._group.history == write.history
            history.respond(call, now=now)

    def _new_write(self) -> Write:
        world = self._world
        world.value += 1
        put = Put(self._name, self._number, f"k{self._rng.randrange(KEYS)}", world.value)
        self._number += 1
        write = Write(put, self._group.history, world.cluster.now)
        world.writes[put.client, put.number] = write
        return write

    async def _read(self) -> None:
        world, group = self._world, self._group
        key = f"k{self._rng.randrange(KEYS)}"
        began_s, before = world.cluster.now, group.history
        call = self._invoke(MapModel.get(key))
        try:
            answer = await group.query(Get(key), timeout=1.5)
        except QueryOffline:
            world.cluster.history.fail(call, now=world.cluster.now)
            return
        now = world.cluster.now
        world.cluster.history.respond(call, answer.result, now=now)
        if before and group.history == before:
            world.reads.append(Read(key, answer.result, before, began_s, now))

    def _invoke(self, operation: Any) -> CallId:
        cluster = self._world.cluster
        return cluster.history.invoke(self._name, operation, now=cluster.now)


class Churn:
    """Members that leave, and members in memory that crash or stop, one after the other.

    Attributes:
        counts: What happened how often.
    """

    def __init__(self, world: World) -> None:
        self.counts = {"leave": 0, "crash": 0, "stop": 0, "not safe": 0}
        self._world = world
        self._rng = world.cluster.randomness.branch("churn")

    async def run(self) -> None:
        """Go on until cancelled."""
        world, rng = self._world, self._rng
        kinds = ["leave"] if world.is_durable else ["leave", "crash", "crash", "stop"]
        while True:
            await asyncio.sleep(rng.expovariate(1 / 1.5))
            index, kind = rng.randrange(len(world.cluster.nodes)), rng.choice(kinds)
            node, group = world.cluster.nodes[index], world.groups.get(index)
            if not node.is_running or node.is_paused or group is None:
                continue
            if not self._may_lose(index, is_orderly=kind != "crash"):
                self.counts["not safe"] += 1
                continue
            self.counts[kind] += 1
            if kind == "leave":
                await self._leave(index, group)
            elif kind == "crash":
                await world.cluster.crash(index)
            else:
                await world.cluster.stop(index)
            await asyncio.sleep(rng.expovariate(1 / 1.0))
            world.away.discard(index)
            await world.cluster.start(index)

    async def _leave(self, index: int, group: Group) -> None:
        self._world.cluster.note("note", f"n{index} leaves the group")
        self._world.away.add(index)
        # A node that crashes or is paused meanwhile does not answer.
        await asyncio.wait([asyncio.ensure_future(group.leave())], timeout=4)

    def _may_lose(self, index: int, *, is_orderly: bool) -> bool:
        """See the module's docstring."""
        world = self._world
        if world.is_durable:
            return True
        remembering = {
            node.peer_id: group.history
            for node in world.cluster.nodes
            if node.index != index
            and node.is_running
            and (group := world.groups.get(node.index)) is not None
            and group.history
            and group.why_offline != "catching up with the group"
        }
        leaving = world.groups.get(index)
        forgotten = len(world.cluster.nodes) - len(remembering)
        if forgotten >= world.consensus.initial_voters:
            return False
        for _, group in world.running():
            # Who has forgotten may be about to be promoted by a leader that does not know.
            voters = [
                member.peer_id
                for member in group.members
                if member.is_voter or member.peer_id not in remembering
            ]
            safe = [peer for peer in voters if remembering.get(peer) == group.history]
            if group.history and len(safe) < len(voters) // 2 + 1:
                return False
            side = self._side_of(group) if is_orderly and group is not leaving else []
            near = [peer for peer in voters if peer in side]
            if group.history and near and len([p for p in safe if p in side]) < len(near) // 2 + 1:
                return False
        return bool(remembering)

    def _side_of(self, group: Group) -> list[PeerId]:
        """Return the nodes that a member's node hears, and that hear it."""
        cluster = self._world.cluster
        here = next(index for index, one in self._world.groups.items() if one is group)
        cut = {pair for pairs in cluster.cuts.values() for pair in pairs}
        return [
            node.peer_id
            for node in cluster.nodes
            if node.is_running
            and not node.is_paused
            and not {(here, node.index), (node.index, here)} & cut
        ]
