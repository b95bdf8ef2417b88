"""Playing a fault schedule on a cluster.

Each fault begins at its time and is undone after its length. Faults may
overlap: cuts add up, the weather and a clock are as the latest fault has them,
and a node that is down stays down until the fault that took it down is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from .conditions import NetworkConditions
from .faults import Fault, FaultKind, FaultSchedule, weather_of


class FaultyNode(Protocol):
    """A node to which faults may happen."""

    @property
    def index(self) -> int:
        """Its number."""

    def slow_disk(self, seconds: float, /) -> None:
        """Let each save take that much longer from now on."""

    def fill_disk(self, bytes_left: int | None, /) -> None:
        """Let the disk have room for so many bytes more; None is no limit."""


class FaultyCluster(Protocol):
    """Nodes to which faults may happen, and the network between them.

    Attributes:
        cuts: By whom each cut was made: the pairs (sender, receiver) that are cut.
    """

    cuts: dict[str, dict[tuple[int, int], None]]

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where the time of the schedule runs."""

    @property
    def nodes(self) -> Sequence[FaultyNode]:
        """The nodes by number."""

    @property
    def conditions(self) -> NetworkConditions:
        """How the network is at present."""

    async def start(self, *indexes: int) -> None:
        """Start nodes that are down."""

    async def stop(self, *indexes: int) -> None:
        """Stop nodes in an orderly way."""

    async def crash(self, *indexes: int) -> None:
        """Stop nodes at once."""

    def pause(self, *indexes: int) -> None:
        """Let nodes do nothing until `resume`."""

    def resume(self, *indexes: int) -> None:
        """Let nodes go on."""

    def skew(self, index: int, offset: float = 0.0, drift: float = 0.0) -> None:
        """Set how wrong a node's wall clock is."""

    def set_conditions(self, conditions: NetworkConditions) -> None:
        """Set how the network is from now on."""

    def apply_cuts(self) -> None:
        """Let the network have exactly the cuts in `cuts`."""

    def note(self, kind: str, text: str) -> None:
        """Write into the trace."""


class FaultRunner:
    """The faults of one run.

    Args:
        cluster: What they happen to.
        schedule: What happens when, counted from now.
    """

    def __init__(self, cluster: FaultyCluster, schedule: FaultSchedule) -> None:
        self._cluster = cluster
        self._usual = cluster.conditions
        self._in_force: dict[int, Fault] = {}
        self._tasks = [
            cluster.loop.create_task(self._play(fault), name=f"fault {fault.number}")
            for fault in schedule
        ]

    async def stop(self) -> None:
        """Undo what is in force and play nothing more; nodes that are down are started.

        Raises:
            Exception: What playing a fault raised, such as a node that did not start.
        """
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for fault in list(self._in_force.values()):
            await self._undo(fault)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _play(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at)
        self._in_force[fault.number] = fault
        await self._begin(fault)
        await asyncio.sleep(fault.length)
        await self._undo(fault)

    async def _begin(self, fault: Fault) -> None:
        cluster = self._cluster
        match fault.kind:
            case "crash":
                await cluster.crash(*fault.nodes)
            case "stop":
                await cluster.stop(*fault.nodes)
            case "pause":
                cluster.pause(*fault.nodes)
            case "partition" | "one_way":
                self._cut(fault)
            case "skew":
                cluster.skew(fault.nodes[0], **fault.settings)
            case "weather":
                cluster.set_conditions(weather_of(fault, self._usual))
            case "slow_disk":
                cluster.nodes[fault.nodes[0]].slow_disk(fault.settings["delay"])
            case "full_disk":
                cluster.nodes[fault.nodes[0]].fill_disk(0)

    async def _undo(self, fault: Fault) -> None:
        cluster = self._cluster
        if fault.kind in ("crash", "stop"):
            await cluster.start(*fault.nodes)  # first: when cancelled here, `stop` does it again
        self._in_force.pop(fault.number, None)
        match fault.kind:
            case "pause":
                cluster.resume(*fault.nodes)
            case "partition" | "one_way":
                cluster.cuts.pop(f"fault {fault.number}", None)
                cluster.note("fault", f"{fault.kind} #{fault.number} is over")
                cluster.apply_cuts()
            case "skew":
                cluster.skew(fault.nodes[0], **self._skew_now(fault.nodes[0]))
            case "weather":
                cluster.set_conditions(self._weather_now())
            case "slow_disk":
                still = self._latest("slow_disk", fault.nodes[0])
                cluster.nodes[fault.nodes[0]].slow_disk(still.settings["delay"] if still else 0.0)
            case "full_disk":
                still = self._latest("full_disk", fault.nodes[0])
                cluster.nodes[fault.nodes[0]].fill_disk(0 if still else None)

    def _cut(self, fault: Fault) -> None:
        cluster = self._cluster
        inside = fault.nodes
        if fault.kind == "one_way":
            pairs = [(inside[0], inside[1])]
        else:
            outside = [node.index for node in cluster.nodes if node.index not in inside]
            pairs = [(one, two) for one in inside for two in outside]
            pairs += [(two, one) for one, two in pairs]
        cluster.cuts[f"fault {fault.number}"] = dict.fromkeys(pairs)
        cluster.note("fault", str(fault))
        cluster.apply_cuts()

    def _skew_now(self, index: int) -> dict[str, Any]:
        still = self._latest("skew", index)
        return still.settings if still else {}

    def _latest(self, kind: FaultKind, index: int) -> Fault | None:
        """Return the latest fault in force of a kind, at a node."""
        faults = [
            fault
            for fault in self._in_force.values()
            if fault.kind == kind and fault.nodes == (index,)
        ]
        return faults[-1] if faults else None

    def _weather_now(self) -> NetworkConditions:
        weather = [fault for fault in self._in_force.values() if fault.kind == "weather"]
        return weather_of(weather[-1], self._usual) if weather else self._usual
