"""Whole members side by side, without actors or links: their cores, moved by a queue.

Frames take a millisecond, links are pairs of numbers, a save is done as soon as
it is asked for unless a test holds it back. Time is virtual.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Any

from mosaik_actors.groups.client.calls import Submission
from mosaik_actors.groups.client.client import CommandClient, SubmissionFailed
from mosaik_actors.groups.client.reads import ReadFailed, ReadGranted
from mosaik_actors.groups.config import ConsensusConfig, GroupsConfig
from mosaik_actors.groups.machine.host import Host
from mosaik_actors.groups.machine.machine import StateMachine
from mosaik_actors.groups.member.context import MemberSpec
from mosaik_actors.groups.member.events import FramesOut, Logged, MemberLeft, Notify, SaveWanted
from mosaik_actors.groups.member.history import StoredMember
from mosaik_actors.groups.member.member import GroupMember
from mosaik_actors.groups.mesh.bond import AcceptLink, CloseLink, DialWanted
from mosaik_actors.groups.mesh.key import GroupKey
from mosaik_actors.groups.storage.interface import LogOwner, SaveBatch, Stored
from mosaik_actors.groups.sync.settings import LogReplaySync, SnapshotSync
from mosaik_actors.groups.wire.types import CLIENT_BYTES
from mosaik_actors.ids import GroupId, NetworkId, PeerId
from mosaik_actors.testing.disk import SimDisk
from mosaik_actors.testing.simlog import SimLog
from mosaik_actors.transport.address import PeerAddr
from mosaik_actors.transport.close import CloseCode, CloseReason

GROUP = GroupId("a group")
NETWORK = NetworkId("a network")
DELAY_S = 0.001
GONE = CloseReason(CloseCode.UNEXPECTED_CLOSE, "the other end is gone")


def peer(number: int) -> PeerId:
    """Return the id of the member with this number; ids are in the order of numbers."""
    return PeerId(bytes([number + 1]) * 32)


class Node:
    """One member, its links, its disk, and what it told."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.peer = peer(number)
        self.disk = SimDisk(Random(number))
        self.storage: SimLog | None = None
        self.life = 0
        self.is_running = False
        self.links: dict[int, tuple[int, int]] = {}
        self.link_count = 0
        self.member: GroupMember
        self.machine: StateMachine
        self.client: CommandClient
        self.closed: list[tuple[int, CloseReason]] = []
        self.logged: list[str] = []
        self.told: list[Any] = []
        self.outcomes: dict[Any, Submission | SubmissionFailed] = {}
        self.reads: dict[Any, bool] = {}
        self.holds_saves = False
        self.held: list[SaveBatch] = []
        self.bytes_out = 0
        self.clock_lag_s = 0.0
        self.paused_s: float | None = None
        self.arrived: list[Callable[[], None]] = []
        self.has_left = False

    @property
    def now(self) -> float:
        """What its clock shows: it is paused while the node does."""
        return self.world.now - self.clock_lag_s

    def pump(self, step: Callable[..., object] | None = None, *args: Any) -> None:
        """Take a step of the member and do what it wants."""
        now = self.now
        if step is not None:
            step(*args, now=now)
        self.member.pump(now=now)
        events = self.member.events
        while events:
            self._take(events.popleft())
        self.world.arm(self)

    def new_link(self, other: int, other_link: int) -> int:
        self.link_count += 1
        self.links[self.link_count] = (other, other_link)
        return self.link_count

    def save_held(self) -> None:
        """Carry out what a test held back."""
        self.holds_saves = False
        held, self.held = self.held, []
        for batch in held:
            self._save(batch)

    def _take(self, event: Any) -> None:
        world = self.world
        match event:
            case FramesOut(link_id, frames):
                self.bytes_out += sum(map(len, frames))
                world.send(self, link_id, frames)
            case DialWanted(wanted, _, token, header, _):
                world.dial(self, wanted, token, header)
            case AcceptLink(link_id, reply):
                world.accept(self, link_id, reply)
            case CloseLink(link_id, reason):
                self.closed.append((link_id, reason))
                world.close(self, link_id, reason)
            case SaveWanted(batch):
                if self.holds_saves:
                    self.held.append(batch)
                else:
                    self._save(batch)
            case Submission() | SubmissionFailed():
                self.outcomes[event.token] = event
            case ReadGranted(token):
                self.reads[token] = True
            case ReadFailed(token):
                self.reads[token] = False
            case Logged(_, text):
                self.logged.append(text)
            case Notify(told):
                self.told.append(told)
            case MemberLeft():
                self.has_left = True
            case _:
                pass

    def _save(self, batch: SaveBatch) -> None:
        assert self.storage is not None, "saved without a disk"
        self.storage.save(batch)
        self.world.later(self, lambda: self.pump(self.member.saved))


class World:
    """Members 0 to n-1, all of which know of each other.

    Args:
        count: How many there may be; `start` starts them.
        machine: Makes a member's machine.
        is_durable: Whether they have disks.
        consensus: What they agree on.
        settings: Their own settings.
    """

    def __init__(
        self,
        count: int,
        machine: Callable[[], StateMachine],
        *,
        is_durable: bool = False,
        consensus: ConsensusConfig | None = None,
        settings: GroupsConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.now = 0.0
        self.consensus = consensus or ConsensusConfig()
        self.settings = settings or GroupsConfig()
        self._machine = machine
        self._is_durable = is_durable
        self.seed = seed
        self._queue: list[tuple[float, int, Node, int, Callable[[], None]]] = []
        self._number = 0
        self._tokens: dict[tuple[int, int], int] = {}
        self._timers: dict[int, float] = {}
        self.cuts: dict[tuple[int, int], None] = {}
        self.nodes = [Node(self, number) for number in range(count)]

    # Members.

    def start(self, *numbers: int, is_observer: bool = False) -> None:
        for number in numbers:
            node = self.nodes[number]
            node.life += 1
            rng = Random(f"{self.seed} {number} {node.life}")
            node.machine = machine = self._machine()
            stored = Stored()
            if self._is_durable:
                node.storage = SimLog(node.disk, "log")
                node.storage.open(LogOwner(GROUP, node.peer))
                stored = node.storage.load()
            node.client = CommandClient(
                rng.randbytes(CLIENT_BYTES),
                pending_commands=65_536,
                pending_bytes=64 << 20,
                resend_s=1.0,
                rng=rng,
            )
            spec = MemberSpec(
                me=node.peer,
                network_id=NETWORK,
                group_id=GROUP,
                key=GroupKey("key"),
                consensus=self.consensus,
                settings=self.settings,
                host=Host(machine, group_id=GROUP, network_id=NETWORK),
                client=node.client,
                sync=SnapshotSync() if machine.has_snapshot() else LogReplaySync(),
                is_durable=self._is_durable,
                is_observer=is_observer,
                factor=1.0,
                allow=lambda _peer: None,
            )
            kept = StoredMember.of(stored)
            for _ in kept.restore(spec.host):
                pass
            node.member = GroupMember(spec, rng, now=node.now, stored=kept)
            node.is_running, node.has_left = True, False
            self._advertise()
            node.pump()

    def crash(self, *numbers: int) -> None:
        for number in numbers:
            node = self.nodes[number]
            node.is_running = False
            node.life += 1
            node.held.clear()
            node.holds_saves = False
            if node.storage is not None:
                node.disk.crash()
            for link_id in list(node.links):
                self.close(node, link_id, GONE)
        self._advertise()

    def _advertise(self) -> None:
        for node in self.nodes:
            others = {
                other.peer: PeerAddr(other.peer)
                for other in self.nodes
                if other is not node and other.is_running
            }
            if node.is_running:
                node.pump(
                    lambda others=others, *, now, n=node: n.member.mesh.receive_peers(
                        others, now=now
                    )
                )

    def pause(self, number: int) -> None:
        """Have a node stand still, its clock as well, as a virtual machine does."""
        self.nodes[number].paused_s = self.now

    def resume(self, number: int) -> None:
        """Have it go on as if nothing had happened, with all that has arrived meanwhile."""
        node = self.nodes[number]
        assert node.paused_s is not None, f"node {number} does not stand still"
        node.clock_lag_s += self.now - node.paused_s
        node.paused_s = None
        arrived, node.arrived = node.arrived, []
        for do in arrived:
            do()
        self.arm(node)

    def cut(self, one: int, other: int) -> None:
        """Lose whatever goes between two members."""
        self.cuts[one, other] = self.cuts[other, one] = None

    def heal(self) -> None:
        self.cuts.clear()

    # Links.

    def later(self, node: Node, do: Callable[[], None], delay_s: float = DELAY_S) -> None:
        self._number += 1
        heappush(self._queue, (self.now + delay_s, self._number, node, node.life, do))

    def dial(self, node: Node, wanted: PeerId, token: int, header: bytes) -> None:
        other = next(o for o in self.nodes if o.peer == wanted)
        if not other.is_running or (node.number, other.number) in self.cuts:
            self.later(node, lambda: node.pump(node.member.mesh.receive_failed, token, GONE))
            return
        mine = node.new_link(other.number, 0)
        theirs = other.new_link(node.number, mine)
        node.links[mine] = (other.number, theirs)
        self._tokens[node.number, mine] = token
        offer = other.member.mesh.receive_offer
        self.later(other, lambda: other.pump(offer, theirs, node.peer, header))

    def accept(self, node: Node, link_id: int, reply: bytes) -> None:
        if link_id not in node.links:
            return
        number, theirs = node.links[link_id]
        other = self.nodes[number]
        token = self._tokens.get((number, theirs))
        if token is None:
            return  # a test's own link
        opened = other.member.mesh.receive_opened
        self.later(other, lambda: other.pump(opened, theirs, token, reply))

    def send(self, node: Node, link_id: int, frames: Sequence[bytes]) -> None:
        if link_id not in node.links:
            return
        number, theirs = node.links[link_id]
        other = self.nodes[number]
        if (node.number, number) not in self.cuts:
            self.later(other, lambda: self._deliver(other, theirs, frames))

    def _deliver(self, node: Node, link_id: int, frames: Sequence[bytes]) -> None:
        if link_id in node.links:
            node.pump(node.member.receive_frames, link_id, frames)

    def close(self, node: Node, link_id: int, reason: CloseReason) -> None:
        if (ends := node.links.pop(link_id, None)) is None:
            return
        other = self.nodes[ends[0]]
        self.later(other, lambda: self._closed(other, ends[1], reason))

    def _closed(self, node: Node, link_id: int, reason: CloseReason) -> None:
        if node.links.pop(link_id, None) is not None:
            token = self._tokens.get((node.number, link_id))
            if token is not None:
                node.pump(node.member.mesh.receive_failed, token, reason)
            node.pump(node.member.mesh.receive_closed, link_id, reason)

    # Time.

    def arm(self, node: Node) -> None:
        due_s = node.member.get_timer()
        if due_s is None:
            self._timers.pop(node.number, None)
        else:
            self._timers[node.number] = max(due_s + node.clock_lag_s, self.now)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self._run(self.now + seconds, lambda: False)

    def until(self, holds: Callable[[], bool], limit_s: float = 30.0) -> None:
        """Let time pass until something is so."""
        self._run(self.now + limit_s, holds)
        if not holds():
            raise TimeoutError(f"not within {limit_s} s: {[n.logged[-2:] for n in self.nodes]}")

    def _run(self, until_s: float, holds: Callable[[], bool]) -> None:
        while not holds():
            timers = [
                (timer_s, number)
                for number, timer_s in self._timers.items()
                if self.nodes[number].is_running and self.nodes[number].paused_s is None
            ]
            timer_s, number = min(timers, default=(until_s + 1, -1))
            queue_s = self._queue[0][0] if self._queue else until_s + 1
            if min(timer_s, queue_s) > until_s:
                self.now = until_s
                return
            if queue_s <= timer_s:
                self.now, _, node, life, do = heappop(self._queue)
                if node.life != life:
                    continue
                if node.paused_s is None:
                    do()
                else:
                    node.arrived.append(do)
            else:
                self.now = max(self.now, timer_s)
                node = self.nodes[number]
                self.now += 1e-6
                node.pump(node.member.handle_timer)

    # What tests look at.

    def leader(self) -> Node | None:
        led = [n for n in self.nodes if n.is_running and n.member.is_leader]
        return max(led, key=lambda n: n.member.history.raft.term, default=None)  # type: ignore[union-attr]

    def submit(self, number: int, *commands: Any, token: Any = None, timeout_s: float = 5.0) -> Any:
        node = self.nodes[number]
        self._number += 1
        token = token or f"call {self._number}"
        payloads = node.member.host.codec.encode(commands)
        size_bytes = sum(map(len, payloads))
        call = Submission(payloads, len(commands), size_bytes, token, timeout_s, waits=True)
        node.member.client.submit(call, now=node.now)
        node.pump()
        return token

    def execute(self, number: int, *commands: Any, limit_s: float = 10.0) -> Submission:
        """Execute commands; return what came of them, positions as a list. It must be success."""
        token = self.submit(number, *commands, timeout_s=limit_s)
        node = self.nodes[number]
        self.until(lambda: token in node.outcomes, limit_s + 1)
        outcome = node.outcomes[token]
        assert isinstance(outcome, Submission), outcome
        outcome.positions = list(outcome.positions)
        return outcome

    def form(self, *numbers: int, voters: int = 3) -> Node:
        """Start members and wait until so many vote; return the leader."""
        self.start(*numbers)
        self.until(lambda: self.voters_seen(numbers) == [voters] * len(numbers))
        self.run(0.5)
        leader = self.leader()
        assert leader is not None
        return leader

    def voters_seen(self, numbers: Sequence[int]) -> list[int]:
        """Return how many voters each member sees, those without a history none."""
        histories = [self.nodes[n].member.history for n in numbers]
        return [0 if h is None else len(h.raft.configuration.voters) for h in histories]
