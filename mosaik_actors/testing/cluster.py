"""A cluster: several whole nodes in one simulation, and what may happen to them.

    async with Cluster(3, seed=7) as cluster:
        producer = cluster.net(0).streams.produce(Price)
        await producer.when().online()
        cluster.partition([0], [1, 2])
        await cluster.sleep(60)
        cluster.heal()

The nodes are the real ones: the same `Network`, actors and cores as on a real
machine. Only what they are given differs: the clock, the randomness, the
network, the disk. Everything comes from one seed.

It runs on a `SimLoop`; `scenario` and `simulate` see to that. Nothing here
waits in real time.

Nodes and their cluster are one file, since they know each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from ..clock import Randomness, set_validation_clock
from ..discovery.config import DiscoveryConfig
from ..errors import ConfigError, MosaikError
from ..ids import NetworkId, PeerId, SecretKey
from ..network import Network
from ..network_secret import SecretSource
from ..streams.config import StreamsConfig
from ..tee.config import TeeConfig
from ..tickets.requirement import Validators
from ..transport.address import PeerAddr, SocketAddr
from ..transport.config import TransportConfig
from ..transport.interface import Endpoint
from .conditions import NetworkConditions
from .disk import SimDisk
from .faults import FaultSchedule
from .history import History
from .loop import SimLoop, context_of
from .nat import NatKind
from .network import PORT, Fidelity, SimNetwork
from .runner import FaultRunner
from .trace import Trace

EPOCH_S = 1_700_000_000.0  # what wall clocks show when a simulation begins
POLL_S = 0.01
BOOTSTRAP_MAX = 8
TASK_END_S = 60.0

Program = Callable[["SimNode"], Coroutine[Any, Any, None]]


class SimClock:
    """A node's clocks. Only the wall clock may be wrong: timers are the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.offset_s = 0.0
        self.drift = 0.0
        self._loop = loop

    def monotonic(self) -> float:
        """Return the simulation's time in seconds."""
        return self._loop.time()

    def wall(self) -> float:
        """Return what the node believes the time to be, in seconds since the Unix epoch."""
        return EPOCH_S + self.offset_s + self._loop.time() * (1 + self.drift)


@dataclass
class _Run:
    """One run of a node, from its start to its end."""

    network: Network
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)


class SimNode:
    """One node of a cluster: its machine, which stays, and its runs, which come and go.

    Attributes:
        index: Its number in the cluster.
        name: What the trace calls it.
        disk: Its disk, which outlives crashes.
        clock: Its clocks.
        secret: The network's secret or secrets, from its next start on.
        require_ticket: What tickets it requires to be connected, from its next start on.
        is_paused: Whether it stands still at present.
    """

    def __init__(self, cluster: Cluster, index: int) -> None:
        self.cluster = cluster
        self.index = index
        self.name = f"n{index}"
        self.secret_key = SecretKey.from_bytes(cluster.randomness.secret(f"key {index}"))
        self.disk = SimDisk(cluster.randomness.branch(f"disk {index}"))
        self.clock = SimClock(cluster.loop)
        self.secret = cluster.secret
        self.require_ticket = cluster.require_ticket
        self.is_paused = False
        self.run_count = 0
        self._run: _Run | None = None
        self._ending: asyncio.Future[None] | None = None
        self._context = context_of(self)
        self._context.run(set_validation_clock, self.clock.wall)

    @property
    def peer_id(self) -> PeerId:
        """Its identity, the same in every run."""
        return self.secret_key.peer_id

    @property
    def address(self) -> str:
        """Its numeric address, which means something in "quic" only."""
        number = self.index + 1
        return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    @property
    def addr(self) -> PeerAddr:
        """Where others can reach it."""
        return PeerAddr(self.peer_id, ((self.address, PORT),))

    @property
    def is_running(self) -> bool:
        """Whether it is started and has not crashed or stopped."""
        return self._run is not None

    @property
    def net(self) -> Network:
        """Its network handle.

        Raises:
            NodeDown: It does not run at present.
        """
        if self._run is None:
            raise NodeDown(self.index)
        return self._run.network

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as part of this run of the node: it is paused and crashes with it.

        What it raises fails the scenario at the next `Cluster.sleep` or
        `Cluster.until`, or when the node ends.
        """
        if self._run is None:
            coroutine.close()
            raise NodeDown(self.index)
        task = self.cluster.loop.create_task(
            coroutine, name=f"{self.name} {self.run_count}", context=self._context.copy()
        )
        self._run.tasks.append(task)
        return task

    async def start(self) -> None:
        """Start the node; nothing happens when it runs. One that is stopping stops first."""
        while self._ending is not None:
            await asyncio.wait([self._ending])
        if self._run is not None:
            return
        self.cluster.loop.drop_jobs(self)
        self.run_count += 1
        cluster = self.cluster
        network = Network(
            cluster.network_id,
            secret=self.secret,
            secret_key=self.secret_key,
            require_ticket=self.require_ticket,
            bootstrap=cluster.bootstrap_for(self.index),
            tags=cluster.tags_for(self.index),
            discovery=cluster.discovery_config,
            streams=cluster.streams_config,
            transport=cluster.transport_config,
            tee=cluster.tee_for(self.index),
            environment=_NodeEnvironment(self),
        )
        self._run = _Run(network)
        # On a task of the node's own: all that it starts is the node's, and stands still with it.
        opening = cluster.loop.create_task(
            network.__aenter__(), name=f"{self.name} starts", context=self._context.copy()
        )
        try:
            await opening
        except BaseException:
            self._run = None
            raise
        cluster.note(
            "node", f"{self.name} started, run {self.run_count}, peer {self.peer_id.short}"
        )
        if cluster.program is not None:
            self.spawn(cluster.program(self))

    async def stop(self) -> None:
        """Close the node as a program that ends well does; a paused one goes on first."""
        run, self._run = self._run, None
        if run is None:
            return
        self.resume()
        self.cluster.note("node", f"{self.name} stops")
        ended = self._ending = self.cluster.loop.create_future()
        try:
            await _end(run.tasks)
        finally:
            try:
                await run.network.close()
            finally:
                self._ending = None
                ended.set_result(None)
                self.cluster.note("node", f"{self.name} stopped")

    async def crash(self) -> None:
        """End the node without a word; unsynced writes are lost."""
        run, self._run = self._run, None
        if run is None:
            return
        self.cluster.note("fault", f"{self.name} crashes")
        run.network.crash()
        for job in self.cluster.loop.drop_jobs(self):
            self.disk.interrupt(job.run)
        self.disk.crash()
        self.resume()
        await _end(run.tasks)

    def pause(self) -> None:
        """Let the node stand still, as a stopped process or a long collection does.

        Nothing of it happens: no actor, timer or task, its program included.
        What comes for it waits, in "quic" as much as a socket's buffer holds.
        What it had sent before still arrives. Others give it up after their
        idle timeout. Calls that the scenario itself makes on its handles get
        their answers when the node goes on.
        """
        if self._run is not None and not self.is_paused:
            self.is_paused = True
            self.cluster.note("fault", f"{self.name} is paused")
            self.cluster.loop.pause(self)
            self._run.network.suspend()  # whatever the scenario itself has its handles do
            self.cluster.network.set_silent(self.peer_id, True)

    def resume(self) -> None:
        """Let a paused node go on; what came meanwhile is there, and what was due happens."""
        if self.is_paused:
            self.is_paused = False
            self.cluster.note("fault", f"{self.name} goes on")
            if self._run is not None:
                self._run.network.resume()
            self.cluster.loop.resume(self)
            self.cluster.network.set_silent(self.peer_id, False)

    def slow_disk(self, delay_s: float = 0.0) -> None:
        """Let whatever the node does in a thread, such as saving, take so many seconds; 0 ends it.

        A crash finds it before, in the midst of, or after its work.
        """
        self.cluster.note("fault", f"{self.name}'s disk takes {delay_s:g} s")
        self.cluster.loop.set_delay(self, delay_s)

    def fill_disk(self, room_bytes: int | None = 0) -> None:
        """Leave so much room on the node's disk; None ends it."""
        shown = "as much as it wants" if room_bytes is None else f"{room_bytes} bytes"
        self.cluster.note("fault", f"{self.name}'s disk has room for {shown}")
        self.disk.fill(room_bytes)

    def check_tasks(self) -> None:
        """Raise what a task of this run raised by itself."""
        for task in self._run.tasks if self._run is not None else ():
            _check(task)

    def __repr__(self) -> str:
        state = "paused" if self.is_paused else "running" if self.is_running else "down"
        return f"SimNode({self.name}, peer {self.peer_id.short}, {state})"


class NodeDown(MosaikError):
    """A node that does not run was asked for something; `index` is its number."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index

    def __str__(self) -> str:
        return f"node {self.index} does not run: start or restart it first"


class _NodeEnvironment:
    """What one run of a simulated node is given."""

    has_machine = False

    def __init__(self, node: SimNode) -> None:
        cluster = node.cluster
        self.clock = node.clock
        seed = cluster.randomness.secret(f"run {node.index} {node.run_count}")
        self.randomness = Randomness(seed)
        self._node = node

    async def open_endpoint(
        self,
        network_id: NetworkId,
        secret_key: SecretKey,
        bind: Sequence[SocketAddr],
        config: TransportConfig,
        secrets: Sequence[bytes],
    ) -> Endpoint:
        """Return a presence on the simulated network; `bind` means nothing there."""
        node = self._node
        return await node.cluster.network.open_endpoint(
            node.name,
            node.address,
            network_id,
            secret_key,
            config,
            self.clock,
            self.randomness,
            node.cluster.nat_of(node.index),
            secrets,
        )


class Cluster:
    """Several nodes on one simulated network.

    Args:
        nodes: How many; all are started on entry unless `starts` says otherwise.
        seed: What every decision in the simulation comes from.
        fidelity: "link" carries links directly, for many nodes; "quic" carries
            the datagrams of real QUIC endpoints.
        network: How its paths are.
        network_id: The network's name.
        secret: The network's secret or secrets; each node has its own `secret`, which
            may be changed and holds from the node's next start on.
        require_ticket: What tickets the nodes require to be connected; each node has its
            own, likewise.
        program: What each node runs from every start on: ``async def main(node)``.
        tags: The nodes' tags: the same for all, or a function of the index.
        starts: Whether entering starts the nodes.
        bootstrap: Whom a node knows at its start: "all" (up to eight others) or
            "first" (node 0).
        nat: The kind of NAT that each node is behind, by index ("quic" only).
        discovery: The settings of discovery.
        streams: The settings of streams.
        transport: The settings of the transport.
        tee: The trusted domain that each node runs in, by index; None for none.
        traces_messages: Whether every delivery goes into the trace; without, a
            large simulation is faster and its digest says less.

    Attributes:
        nodes: The nodes, by index.
        trace: What happened.
        history: For the clients' calls, to be checked for linearizability.
        cuts: Which node does not reach which, by who cut them off.
    """

    def __init__(
        self,
        nodes: int = 3,
        *,
        seed: int = 0,
        fidelity: Fidelity = "link",
        network: NetworkConditions | None = None,
        network_id: NetworkId | str = "simulation",
        secret: SecretSource | Sequence[SecretSource] | None = None,
        require_ticket: Validators = (),
        program: Program | None = None,
        tags: Iterable[str] | Callable[[int], Iterable[str]] = (),
        starts: bool = True,
        bootstrap: str = "all",
        nat: Callable[[int], NatKind | None] | None = None,
        discovery: DiscoveryConfig | None = None,
        streams: StreamsConfig | None = None,
        transport: TransportConfig | None = None,
        tee: Callable[[int], TeeConfig | None] | None = None,
        traces_messages: bool = True,
    ) -> None:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, SimLoop):
            raise ConfigError("a Cluster runs on a SimLoop: use @scenario, or simulate(main())")
        if nodes < 1:
            raise ConfigError(f"nodes is {nodes}, expected 1 or more")
        if bootstrap not in ("all", "first"):
            raise ConfigError(f"bootstrap is {bootstrap!r}, expected 'all' or 'first'")
        self.loop = loop
        self.seed = seed
        self.randomness = Randomness(f"cluster {seed}".encode())
        self.trace = Trace()
        self.history = History()
        self.network_id = NetworkId(network_id)
        conditions = network or NetworkConditions()
        self.network = SimNetwork(
            loop,
            Randomness(self.randomness.secret("network")),
            self.trace,
            conditions,
            fidelity,
        )
        self.network.traces_messages = traces_messages
        self.program = program
        self.discovery_config = discovery
        self.streams_config = streams
        self.transport_config = transport
        self._tee = tee
        self._tags = tags
        self._nat = nat
        self._starts = starts
        self._bootstrap = bootstrap
        self.cuts: dict[str, dict[tuple[int, int], None]] = {}
        self._applied_cuts: dict[tuple[int, int], None] = {}
        self._faults: FaultRunner | None = None
        self.secret = secret
        self.require_ticket = require_ticket
        set_validation_clock(SimClock(loop).wall)
        self.nodes = [SimNode(self, index) for index in range(nodes)]

    async def __aenter__(self) -> Self:
        if self._starts:
            for node in self.nodes:
                await node.start()
        return self

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        faults, self._faults = self._faults, None
        failures: list[Exception] = []
        try:
            if faults is not None:
                await faults.stop()
        except Exception as failure:
            failures.append(failure)
        self.heal()
        for node in self.nodes:
            node.resume()
        for node in self.nodes:
            try:
                await node.stop()
            except Exception as failure:
                failures.append(failure)
        if failures and error is None:
            raise failures[0]

    # Nodes.

    def net(self, index: int) -> Network:
        """Return a node's network handle. Raises `NodeDown`."""
        return self.nodes[index].net

    @property
    def running(self) -> list[int]:
        """The indexes of the nodes that run."""
        return [node.index for node in self.nodes if node.is_running]

    async def start(self, *indexes: int) -> None:
        """Start nodes that do not run."""
        for index in indexes:
            await self.nodes[index].start()

    async def stop(self, *indexes: int) -> None:
        """Close nodes as programs that end well do."""
        for index in indexes:
            await self.nodes[index].stop()

    async def crash(self, *indexes: int) -> None:
        """End nodes without a word; what they have not synced is lost."""
        for index in indexes:
            await self.nodes[index].crash()

    async def restart(self, *indexes: int) -> None:
        """Start nodes again with what their disks hold, crashing those that run."""
        for index in indexes:
            await self.nodes[index].crash()
            await self.nodes[index].start()

    def pause(self, *indexes: int) -> None:
        """Let nodes stand still."""
        for index in indexes:
            self.nodes[index].pause()

    def resume(self, *indexes: int) -> None:
        """Let paused nodes go on."""
        for index in indexes:
            self.nodes[index].resume()

    def skew(self, index: int, offset: float = 0.0, drift: float = 0.0) -> None:
        """Set a node's wall clock off by `offset` seconds, and `drift` seconds more per second."""
        clock = self.nodes[index].clock
        clock.offset_s, clock.drift = offset, drift
        self.note("fault", f"n{index}'s clock is off by {offset:g} s, drifts by {drift:g}")

    # The network.

    def partition(self, *groups: Iterable[int] | int) -> None:
        """Let nothing pass between groups of nodes. Nodes in no group are one more group.

        Args:
            groups: Each an index or several: ``partition([0, 1], [2])`` or ``partition(2)``.
        """
        sides = [[group] if isinstance(group, int) else list(group) for group in groups]
        named = {index for side in sides for index in side}
        sides.append([node.index for node in self.nodes if node.index not in named])
        for number, side in enumerate(sides):
            for other in sides[:number] + sides[number + 1 :]:
                self._own_cuts.update(dict.fromkeys((one, two) for one in side for two in other))
        shown = " | ".join(" ".join(f"n{index}" for index in side) for side in sides if side)
        self.note("fault", f"partition {shown}")
        self.apply_cuts()

    def cut(self, sender: int, receiver: int, *, one_way: bool = True) -> None:
        """Let nothing pass from one node to another, nor back unless `one_way`."""
        self._own_cuts[sender, receiver] = None
        if not one_way:
            self._own_cuts[receiver, sender] = None
        arrow = ">" if one_way else "|"
        self.note("fault", f"cut n{sender} {arrow} n{receiver}")
        self.apply_cuts()

    def heal(self) -> None:
        """Undo all partitions and cuts, those of a fault schedule too."""
        if self.cuts:
            self.cuts.clear()
            self.note("fault", "healed")
            self.apply_cuts()

    @property
    def _own_cuts(self) -> dict[tuple[int, int], None]:
        return self.cuts.setdefault("scenario", {})

    @property
    def conditions(self) -> NetworkConditions:
        """How the network is at present."""
        return self.network.conditions

    def set_conditions(self, conditions: NetworkConditions) -> None:
        """Change how all paths are from now on."""
        self.note("fault", f"conditions: {_shown(conditions)}")
        self.network.set_conditions(conditions)

    def apply_cuts(self) -> None:
        """Bring the network in line with partitions and cuts."""
        before = self._applied_cuts
        after = {pair: None for pairs in self.cuts.values() for pair in pairs}
        self._applied_cuts = after
        changed = [pair for pair in [*before, *after] if (pair in before) != (pair in after)]
        for one, other in dict.fromkeys((min(pair), max(pair)) for pair in changed):
            there, back = (one, other) in after, (other, one) in after
            self.network.set_cuts(self.nodes[one].peer_id, self.nodes[other].peer_id, there, back)

    # Faults from a schedule.

    def play(self, schedule: FaultSchedule) -> None:
        """Let the faults of a schedule happen, counted from now, until `calm`."""
        if len(schedule):
            self._faults = FaultRunner(self, schedule)

    async def calm(self) -> None:
        """End all faults, the schedule's and one's own, and start all nodes that are down."""
        faults, self._faults = self._faults, None
        if faults is not None:
            await faults.stop()
        self.heal()
        for node in self.nodes:
            node.resume()
            await node.start()
        self.note("note", "calm")

    # Time.

    @property
    def now(self) -> float:
        """The simulation's time in seconds."""
        return self.loop.time()

    async def sleep(self, seconds: float) -> None:
        """Let the simulation go on for so many seconds.

        Raises:
            Exception: What a node's program raised.
        """
        await asyncio.sleep(seconds)
        self.check_programs()

    async def until(
        self, condition: Callable[[], object], *, timeout: float = 60.0, what: str = ""
    ) -> None:
        """Let the simulation go on until `condition` holds.

        Raises:
            TimeoutError: It does not within `timeout` simulated seconds.
            Exception: What a node's program raised.
        """
        deadline = self.now + timeout
        while not condition():
            self.check_programs()
            if self.now >= deadline:
                raise TimeoutError(f"{what or 'the condition'} did not come true in {timeout:g} s")
            await asyncio.sleep(POLL_S)

    def check_programs(self) -> None:
        """Raise what a program, or another task of a node that runs, raised by itself."""
        for node in self.nodes:
            node.check_tasks()

    def note(self, kind: str, text: str) -> None:
        """Put a line into the trace: "fault", "node" or, for a scenario's own, "note"."""
        self.trace.add(self.now, kind, text)

    # What nodes ask.

    def bootstrap_for(self, index: int) -> list[PeerAddr]:
        """Return whom a node knows at its start."""
        if self._bootstrap == "first":
            return [self.nodes[0].addr] if index else []
        others = [node for node in self.nodes if node.index != index]
        return [node.addr for node in others[:BOOTSTRAP_MAX]]

    def tags_for(self, index: int) -> list[str]:
        """Return a node's tags."""
        return list(self._tags(index) if callable(self._tags) else self._tags)

    def tee_for(self, index: int) -> TeeConfig | None:
        """Return the trusted domain that a node runs in."""
        return self._tee(index) if self._tee is not None else None

    def nat_of(self, index: int) -> NatKind | None:
        """Return the kind of NAT that a node is behind."""
        return self._nat(index) if self._nat is not None else None


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel the tasks of a node's run and wait until they are done.

    Raises:
        Exception: What one raised by itself before; or on its way out, unless
            it is the library's: a program may well meet `Closed` when its node ends.
    """
    current = asyncio.current_task()
    ended = [task for task in tasks if task.done()]
    mine = [task for task in tasks if task is not current and not task.done()]
    for task in mine:
        task.cancel()
    if mine:
        _, left = await asyncio.wait(mine, timeout=TASK_END_S)
        if left:
            raise TimeoutError(
                f"a task of node {min(task.get_name() for task in left)} was cancelled "
                f"and does not end within {TASK_END_S:g} simulated seconds"
            )
    for task in ended:
        _check(task)
    for task in mine:
        if not task.cancelled() and not isinstance(task.exception(), MosaikError):
            _check(task)


def _check(task: asyncio.Task[Any]) -> None:
    error = task.exception() if task.done() and not task.cancelled() else None
    if error is not None:
        raise error


def _shown(conditions: NetworkConditions) -> str:
    plain = NetworkConditions()
    changed = [
        f"{name}={_text(getattr(conditions, name))}"
        for name in conditions.__dataclass_fields__
        if getattr(conditions, name) != getattr(plain, name)
    ]
    return ", ".join(changed) or "calm"


def _text(value: Any) -> str:
    """Return a setting as text that is the same in every process."""
    return getattr(value, "__qualname__", None) or str(value)
