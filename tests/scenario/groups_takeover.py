"""The workload of takeovers: writers in memory come and go at will, observers stay.

The first nodes only observe and never crash, but may be cut off, stand still and
lose messages as all may. The others write; all of them crash or stop, one after the
other and all at once, as often as the chance has it. So again and again nobody is left
but observers, and what they have applied is all that there is.

`Churn` waits with that until the observers are in one history, with whole states:
one that is just moving from a history to another has neither.

What must hold is less than of a group that keeps its majority, and exact:

* What an observer has applied is never lost, nor applied twice; and it keeps its
  place at every observer, except when two histories were merged: then its own was
  the one that ended, and it was notified.
* What was refused never takes effect.
* All members of one history agree, and in the end all are in one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mosaik_actors.groups.machine.machine import LeadershipPreference
from mosaik_actors.groups.member.events import GroupTakenOver, HistoryMerged
from mosaik_actors.handles.groups import Group
from mosaik_actors.testing.cluster import SimNode

from .groups_chaos import LOOK_EVERY_S, TALLY, World
from .groups_workload import collect, join, journal_of

OBSERVERS = 2


@dataclass(kw_only=True)
class SurvivorWorld(World):
    """What a takeover scenario shares among its nodes.

    Attributes:
        applied: What any observer has ever applied.
        events: What each observer saw.
    """

    applied: dict[tuple[str, int], None] = field(default_factory=dict)
    events: dict[int, list[Any]] = field(default_factory=dict)
    _seen: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    _merges: dict[int, int] = field(default_factory=dict)

    def join(self, node: SimNode, rng: Random) -> Group:
        """Join on a node: as an observer on the first ones."""
        is_observer = node.index < OBSERVERS
        preference = LeadershipPreference.OBSERVER if is_observer else LeadershipPreference.NORMAL
        group = join(
            node, self.machine(preference), consensus=self.consensus, settings=self.settings
        )
        self.groups[node.index] = group
        if is_observer:
            self.events[node.index] = []
            node.spawn(collect(group, self.events[node.index]))
        return group

    async def watch(self) -> None:
        """Look at the observers again and again, until cancelled."""
        while True:
            for index in range(OBSERVERS):
                if index in self.groups:
                    self.look_at(index)
            await asyncio.sleep(LOOK_EVERY_S)

    def look_at(self, index: int) -> None:
        """Note what an observer has applied; it keeps that, unless its history was merged."""
        journal = journal_of(self.groups[index])
        merges = sum(isinstance(e, HistoryMerged) and e.is_loser for e in self.events[index])
        before = self._seen.get(index, [])
        if journal[: len(before)] != before:
            assert merges > self._merges.get(index, 0), (
                f"n{index} had {len(before)} commands and has others now, in {len(journal)}"
            )
            self._merges[index] = merges
        self._seen[index] = list(journal)
        self.applied.update(dict.fromkeys(journal))

    def may_lose_writers(self) -> bool:
        """Return whether the observers have all that is not to be lost."""
        groups = [self.groups[index] for index in range(OBSERVERS) if index in self.groups]
        histories = {group.history for group in self.groups.values()}
        return (
            len(groups) == OBSERVERS
            and len(histories) == 1
            and all(group.history and group.is_online for group in groups)
        )

    def check_kept(self) -> None:
        """All that an observer ever applied is there once; what was refused is not."""
        journal = self.journal
        there = set(journal)
        assert len(there) == len(journal), "a command was applied twice"
        for name in journal:
            assert name in self.writes, f"{name} was never given"
        for name in self.applied:
            assert name in there, f"{name} was applied at an observer, and is lost"
        for name, write in self.writes.items():
            assert not (write.is_refused and name in there), f"{name} was refused, and was applied"
        told = [event for events in self.events.values() for event in events]
        TALLY["takeovers"] += len(
            {event.history for event in told if isinstance(event, GroupTakenOver)}
        )


class WriterChurn:
    """Writers that crash and stop, alone or all at once.

    Attributes:
        counts: What happened how often.
    """

    def __init__(self, world: SurvivorWorld) -> None:
        self.counts = {"crash": 0, "stop": 0, "not safe": 0}
        self._world = world
        self._rng = world.cluster.randomness.branch("churn")

    async def run(self) -> None:
        """Go on until cancelled."""
        world, rng, cluster = self._world, self._rng, self._world.cluster
        writers = range(OBSERVERS, len(cluster.nodes))
        while True:
            await asyncio.sleep(rng.expovariate(1 / 1.0))
            if not world.may_lose_writers():
                self.counts["not safe"] += 1
                continue
            gone = list(writers) if rng.random() < 0.6 else [rng.choice(writers)]
            kind = rng.choice(["crash", "crash", "stop"])
            self.counts[kind] += len(gone)
            await (cluster.crash if kind == "crash" else cluster.stop)(*gone)
            for index in gone:
                await asyncio.sleep(rng.expovariate(1 / 0.7))
                await cluster.start(index)
