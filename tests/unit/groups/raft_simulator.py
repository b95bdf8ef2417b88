"""Many Raft cores, a hostile network, and a witness that sees everything.

Cores only: no sockets, no actors, no event loop. One seed decides all: delays,
loss, duplicates, order, partitions one-way and two-way, crashes that lose what
is not saved, slow disks, jumping clocks, compaction, membership churn, clients. What
a write returned, also when it had to be sent again, is that of its one run.

`raft_witness` holds the invariants, `Simulation` the workload; run it as::

    python -m tests.unit.groups.raft_simulator FIRST_SEED COUNT
"""

from __future__ import annotations

import heapq
import sys
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Any

import msgspec

from mosaik_actors.errors import RemoteError
from mosaik_actors.groups.machine.sessions import CommandAnswer, Refusal, SessionLimits
from mosaik_actors.groups.raft.config import RaftConfig
from mosaik_actors.groups.raft.log import RaftLog
from mosaik_actors.groups.raft.raft import Raft
from mosaik_actors.groups.raft.ready import ProposalOutcome, ProposalVerdict, Ready, SnapshotNeeded
from mosaik_actors.groups.wire.commands import CommandBatch, encode_command_batches
from mosaik_actors.groups.wire.configuration import (
    demote,
    make_voters,
    promote,
    remove,
)
from mosaik_actors.groups.wire.raft import (
    Message,
    decode_message,
    encode_message,
)
from mosaik_actors.groups.wire.records import SnapshotMetadata, Voters
from mosaik_actors.ids import PeerId
from mosaik_actors.testing.history import History, Operation
from mosaik_actors.testing.linearizability import check_linearizable
from mosaik_actors.testing.models import Register

from .cores import add_learner
from .raft_witness import Disk, Machine, Violation, Witness


def peer(number: int) -> PeerId:
    """Return the id of the replica with this number; ids are in the order of numbers."""
    return PeerId(bytes([number + 1]) * 32)


class Life:
    """That one run of a replica's node is heard at another, whatever becomes of its messages."""

    def __init__(self, at: Node, of: Node) -> None:
        self._at = at
        self._of = of
        self._life = of.life
        self._heard_at = at.now
        self.is_watched = True

    @property
    def last_heard_at(self) -> float:
        """When it was heard, on the other's clock."""
        is_alive = self._of.is_up and self._of.life == self._life
        if is_alive and (self._of.me, self._at.me) not in self._at.sim.blocked:
            self._at.sim.counts["heard while quiesced"] += 1
            self._heard_at = self._at.now
        return self._heard_at

    def watch(self) -> bool:
        """Look once in a heartbeat's time; return whether it was not heard for long just now."""
        silent_s = self._at.now - self.last_heard_at
        before = self.is_watched
        self.is_watched = silent_s < self._at.sim.settings.election_timeout / 2
        return before and not self.is_watched


class Node:
    """One replica: a core, a disk, a machine, and a clock of its own."""

    def __init__(self, sim: Simulation, me: PeerId, metadata: SnapshotMetadata | None) -> None:
        self.sim = sim
        self.me = me
        self.disk = Disk()
        self.first_metadata = metadata or SnapshotMetadata()
        self.clock_offset_s = 0.0
        self.clock_rate = sim.rng.uniform(0.9, 1.1)
        self.is_up = False
        self.life = 0
        self.disk_delay_s = 0.0
        self.raft: Raft
        self.machine: Machine
        self.start()

    @property
    def now(self) -> float:
        return self.sim.now * self.clock_rate + self.clock_offset_s

    def set_clock_rate(self, rate: float) -> None:
        """Let the clock run faster or slower from now on."""
        self.clock_offset_s += self.sim.now * (self.clock_rate - rate)
        self.clock_rate = rate
        self.arm()

    # Life.

    def start(self) -> None:
        """Begin with what the disk has."""
        self.life += 1
        self.is_up = True
        self.queue: list[Ready] = []
        self.is_saving = False
        self.wanted: SnapshotMetadata | None = None
        self.installed: bytes = b""
        self.commit_seen = 0
        self.was_leader = False
        self.waiting: dict[Any, Callable[[CommandAnswer | ProposalVerdict], None]] = {}
        self.reading: dict[Any, Callable[[int | None], None]] = {}
        self.committed_at: dict[
            int, list[tuple[Any, Callable[[CommandAnswer | ProposalVerdict], None]]]
        ] = {}
        self.answers: dict[tuple[bytes, int], CommandAnswer] = {}
        self.timer_generation = 0
        self.lives: dict[tuple[PeerId, int], Life] = {}
        metadata = self.first_metadata
        self.machine = Machine(self.sim.limits)
        stored = self.disk.stored
        if stored.snapshot is not None:
            metadata, data = stored.snapshot
            self.machine = Machine.from_bytes(data, self.sim.limits)
            self.sim.witness.saw_restored(self.machine)
        self.raft = Raft(
            self.me,
            self.sim.settings,
            self.sim.rng,
            now=self.now,
            hard_state=stored.hard_state,
            metadata=metadata,
            log=RaftLog(*stored.base, stored.entries),
            liveness_of=self.liveness_of,
        )
        self.commit_seen = self.raft.commit_index
        self.pump()
        if not self.sim.seed % 3:
            self.watch(self.life)

    def watch(self, life: int) -> None:
        """Have the replica look at nodes that have fallen silent."""
        if life != self.life:
            return
        fallen = [each for each in self.lives.values() if each.watch()]
        if fallen:
            self.sim.counts["fell silent while quiesced"] += 1
            self.raft.recheck_quiescence(now=self.now)
            self.pump()
        self.sim.later(self.sim.settings.heartbeat_interval, self.watch, life)

    def liveness_of(self, other: PeerId) -> Life | None:
        """Return what shows that another replica lives, in every third run."""
        node = self.sim.nodes.get(other)
        if self.sim.seed % 3 or node is None or not node.is_up:
            return None
        if (node.raft.leader, node.raft.term) != (self.raft.leader, self.raft.term):
            return None
        return self.lives.setdefault((other, node.life), Life(self, node))

    def crash(self) -> None:
        """Lose everything but the disk; a batch under way may have made it there, or not."""
        self.is_up = False
        self.life += 1
        made_it = self.sim.rng.randint(0, len(self.queue))
        for ready in self.queue[:made_it]:
            self.disk.save(ready, self.snapshot_of(ready))

    def snapshot_of(self, ready: Ready) -> bytes:
        """Return the machine's state that a new mark stands for."""
        return self.installed if ready.metadata is not None else b""

    # Pending I/O.

    def pump(self) -> None:
        """Do all pending I/O there are; then arm the timer."""
        sim = self.sim
        while self.is_up:
            ready = self.raft.next_ready()
            if ready is None:
                self.check_has_said_all()
                if not self.queue or self.is_saving:
                    break
                self.finish(self.queue[0])
                continue
            self.check()
            first = ready.entries[0].index if ready.entries else 0
            if first:
                sim.witness.saw_entries(self.raft.term_at(first - 1), ready.entries)
            for to, message in ready.early_messages:
                sim.transmit(self.me, to, message)
            self.queue.append(ready)
            if self.disk_delay_s and ready.must_save and not self.is_saving:
                self.is_saving = True
                sim.later(self.disk_delay_s * sim.rng.random() * 2, self.saved, self.life)
        self.arm()

    def saved(self, life: int) -> None:
        """The disk is done with the oldest batch."""
        if life != self.life:
            return
        self.is_saving = False
        self.finish(self.queue[0])
        if self.queue and self.disk_delay_s:
            self.is_saving = True
            self.sim.later(self.disk_delay_s * self.sim.rng.random() * 2, self.saved, self.life)
        self.pump()

    def finish(self, ready: Ready) -> None:
        """Do steps 2 to 6 of the oldest `Ready`."""
        self.disk.save(ready, self.snapshot_of(ready))
        del self.queue[0]
        self.raft.persisted(ready)
        self.check()
        for to, message in ready.messages:
            self.sim.transmit(self.me, to, message)
        for entry in ready.committed:
            answers = self.machine.apply(entry)
            self.sim.witness.saw_applied(self.machine, entry)
            self.answers.update(answers)
            for token, answered in self.committed_at.pop(entry.index, ()):
                answered(self.answers[token[:2]])
        if ready.committed:
            self.raft.applied(ready.committed[-1].index)
        for outcome in ready.outcomes:
            self.saw_outcome(outcome)
        for read in ready.reads:
            told = self.reading.pop(read.request_id)
            if read.index is not None and read.index > self.machine.applied_index:
                raise Violation(f"read at {read.index}, applied {self.machine.applied_index}")
            told(None if read.index is None else 1)
        for event in ready.events:
            if isinstance(event, SnapshotNeeded):
                self.sim.later(0.02, self.fetch, self.life, event.metadata.index)

    def saw_outcome(self, outcome: ProposalOutcome) -> None:
        token = outcome.token
        if token is None or token not in self.waiting:
            return
        answered = self.waiting.pop(token)
        if outcome.verdict is ProposalVerdict.COMMITTED:
            if outcome.index <= self.machine.applied_index:
                answered(self.answers[token[:2]])
            else:
                self.committed_at.setdefault(outcome.index, []).append((token, answered))
        else:
            answered(outcome.verdict)

    def check_has_said_all(self) -> None:
        """Have the role look once more: without an input it has nothing to add."""
        raft = self.raft
        raft.role.flush()
        added = (*raft.early_mail, *raft.mail, *raft.events, *raft.proposals.outcomes)
        if added:
            raise Violation(f"{self.me.short} had not said all: {added}")

    def check(self) -> None:
        """Let the witness look at this replica."""
        witness = self.sim.witness
        raft = self.raft
        if raft.is_leader:
            witness.saw_leader(raft)
            if not self.was_leader:
                self.sim.counts["elections"] += 1
                witness.saw_new_leader(raft)
        self.was_leader = raft.is_leader
        if raft.has_lost_entries:
            raise Violation(f"{self.me.short} believes to have lost what it saved")
        if raft.commit_index < self.commit_seen:
            raise Violation(f"{self.me.short} took back its commit index")
        if raft.commit_index > self.commit_seen:
            self.sim.saw_commit(raft, self.commit_seen)
            self.commit_seen = raft.commit_index

    # Inputs.

    def receive(self, sender: PeerId, data: bytes) -> None:
        if self.is_up:
            self.raft.receive_message(sender, decode_message(data), now=self.now)
            self.check()
            self.pump()

    def arm(self) -> None:
        if not self.is_up:
            return
        self.timer_generation += 1
        wait_s = max(0.0, (self.raft.get_timer() - self.now) / self.clock_rate)
        self.sim.later(min(wait_s, 5.0) + 1e-6, self.timer, self.life, self.timer_generation)

    def timer(self, life: int, generation: int) -> None:
        if life == self.life and generation == self.timer_generation:
            self.raft.handle_timer(now=self.now)
            self.check()
            self.pump()

    def compact(self) -> None:
        """Snapshot the machine and cut the log, when nothing is under way."""
        index = self.machine.applied_index
        if self.is_up and not self.queue and index > self.raft.metadata.index:
            self.installed = self.machine.to_bytes()
            self.raft.compact(
                self.raft.metadata_at(index), keep_count=self.sim.rng.choice((0, 0, 3))
            )
            self.sim.counts["compactions"] += 1
            self.pump()

    def fetch(self, life: int, index: int) -> None:
        """Get a snapshot from any replica that has one, with some entries after it."""
        if life != self.life or self.raft.is_leader or self.raft.commit_index >= index:
            return
        sim = self.sim
        holders = [
            node
            for node in sim.nodes.values()
            if node.is_up
            and node.disk.snapshot
            and node.disk.snapshot[0].index >= index
            and node.raft.metadata == node.disk.snapshot[0]
        ]
        if self.queue or not holders:
            sim.later(0.05, self.fetch, life, index)
            return
        holder = sim.rng.choice(holders)
        assert holder.disk.snapshot is not None
        metadata, data = holder.disk.snapshot
        entries = holder.raft.entries(metadata.index + 1, count_max=3, bytes_max=1 << 20)
        self.machine = Machine.from_bytes(data, sim.limits)
        self.installed = data
        if self.raft.install(metadata, entries):
            sim.counts["installs"] += 1
        sim.witness.saw_restored(self.machine)
        self.check()
        self.pump()

    def catch_up(self, other: Node) -> None:
        """Fetch committed entries from another replica, as state sync will."""
        raft = self.raft
        if not (self.is_up and other.is_up) or raft.is_leader or self.queue:
            return
        entries = other.raft.entries(raft.commit_index + 1, count_max=10, bytes_max=1 << 20)
        if entries and raft.install(None, entries):
            self.sim.counts["ranges"] += 1
            self.check()
            self.pump()


@dataclass(frozen=True)
class Options:
    """What a run is made of; rates are per second of virtual time."""

    nodes: int = 5
    voters: int = 3
    fault_s: float = 5.0
    calm_s: float = 30.0
    clients: int = 3
    loss: float = 0.05
    duplicates: float = 0.05
    delay_s: float = 0.02
    crashes: float = 0.8
    partitions: float = 0.8
    clock_jumps: float = 0.4
    slow_clocks: float = 0.3
    slow_disks: float = 0.6
    changes: float = 1.5
    transfers: float = 0.3
    compactions: float = 2.0
    ranges: float = 1.0
    sessions: int = 100
    steps_max: int = 40_000


class ExchangedRegister(Register):
    """A register of which a write returns what it replaced."""

    def apply(self, state: Any, operation: Operation) -> tuple[Any, Any]:
        """Return the state after an operation, and what it returned."""
        after, result = super().apply(state, operation)
        return after, state if operation.name == "write" else result


class Simulation:
    """One run: see the module's docstring."""

    settings = RaftConfig(
        heartbeat_interval=0.1,
        election_timeout=0.4,
        election_timeout_jitter=0.3,
        append_entries=4,
        window_count=4,
        uncommitted_count=64,
        apply_count=5,
    )

    def __init__(self, seed: int, options: Options | None = None) -> None:
        self.seed = seed
        if seed % 2:  # what may wait for company leaves at once in every other run
            self.settings = replace(self.settings, commit_delay=0.01, lagged_delay=0.02)
        self.options = options or Options()
        self.rng = Random(seed)
        self.now = 0.0
        self.limits = SessionLimits(client_count=self.options.sessions)
        self.witness = Witness()
        self.history = History()
        self.counts: Tally[str] = Tally()
        self.blocked: set[tuple[PeerId, PeerId]] = set()
        self.is_calm = False
        self.values = count(1)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        ids = [peer(number) for number in range(self.options.nodes)]
        first = make_voters(ids[: self.options.voters])
        self.witness.configurations.append(first)
        self.nodes: dict[PeerId, Node] = {}
        for me in ids:
            metadata = SnapshotMetadata(0, 0, first) if me in first.voters else None
            self.nodes[me] = Node(self, me, metadata)
        self.clients = [Client(self, number) for number in range(self.options.clients)]

    # Time and network.

    def later(self, delay_s: float, action: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), action, args))

    def transmit(self, sender: PeerId, to: PeerId, message: Message) -> None:
        """Send a message through the weather, as bytes."""
        self.witness.saw_message(sender, to, message)
        options, rng = self.options, self.rng
        if (sender, to) in self.blocked or to not in self.nodes:
            return
        data = encode_message(message)
        copies = 1
        if not self.is_calm:
            if rng.random() < options.loss:
                return
            copies += rng.random() < options.duplicates
        for _ in range(copies):
            delay_s = options.delay_s * (0.2 + rng.random())
            if not self.is_calm and rng.random() < 0.05:
                delay_s *= 10
            self.later(delay_s, self.nodes[to].receive, sender, data)

    def saw_commit(self, raft: Raft, before: int) -> None:
        disks = {me: node.disk for me, node in self.nodes.items()}
        self.witness.saw_commit(raft, before, disks)

    # The run.

    def run(self) -> Tally[str]:
        """Run with faults, then without; check everything; return what happened.

        Raises:
            Violation: An invariant broke, or the group did not recover.
        """
        options = self.options
        for rate, fault in (
            (options.crashes, self._crash),
            (options.partitions, self._partition),
            (options.clock_jumps, self._jump),
            (options.slow_clocks, self._slow_clock),
            (options.slow_disks, self._slow_disk),
            (options.changes, self._change),
            (options.transfers, self._transfer),
            (options.compactions, self._compact),
            (options.ranges, self._range),
        ):
            self._plan(rate, fault)
        for client in self.clients:
            self.later(self.rng.random(), client.begin)
        self._run_until(options.fault_s)
        self._calm_down()
        while not self._is_settled():
            if self.now > options.fault_s + options.calm_s:
                raise Violation(f"no recovery {options.calm_s} s after the last fault")
            self._run_until(self.now + 0.2)
        verdict = check_linearizable(self.history, ExchangedRegister())
        if not verdict.ok:
            raise Violation(f"history: {verdict.reason}")
        self.counts["operations"] = len(self.history)
        self.counts["answered"] = sum(c.outcome.value == "ok" for c in self.history.calls)
        self.counts["committed"] = len(self.witness.committed) - 1
        self.counts["seeds"] = 1
        return self.counts

    def _run_until(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            self.now, _, action, args = heapq.heappop(self._events)
            action(*args)
            self.counts["steps"] += 1
            if self.counts["steps"] > self.options.steps_max:
                raise Violation(f"more than {self.options.steps_max} steps")
        self.now = max(self.now, until_s)

    def _calm_down(self) -> None:
        self.is_calm = True
        self.blocked.clear()
        for node in self.nodes.values():
            node.disk_delay_s = 0.0
            if not node.is_up:
                node.start()

    def _is_settled(self) -> bool:
        """Return whether all clients are done and all members agree."""
        if any(client.is_busy for client in self.clients):
            return False
        leader = self.leader()
        if leader is None or leader.raft.is_configuration_pending:
            return False
        members = leader.raft.configuration
        applied = leader.machine.applied_index
        return all(
            self.nodes[me].machine.applied_index == applied == leader.raft.log.last_index
            for me in (*members.voters, *members.learners)
        )

    def leader(self) -> Node | None:
        """Return the replica that leads the highest term."""
        leaders = [n for n in self.nodes.values() if n.is_up and n.raft.is_leader]
        return max(leaders, key=lambda n: n.raft.term, default=None)

    # Faults.

    def _plan(self, rate: float, fault: Callable[[], None]) -> None:
        if rate:
            self.later(self.rng.expovariate(rate), self._strike, rate, fault)

    def _strike(self, rate: float, fault: Callable[[], None]) -> None:
        if not self.is_calm:
            fault()
            self._plan(rate, fault)

    def _any(self) -> Node:
        return self.rng.choice(list(self.nodes.values()))

    def _crash(self) -> None:
        rng = self.rng
        victims = list(self.nodes.values()) if rng.random() < 0.1 else [self._any()]
        for node in victims:
            if node.is_up:
                self.counts["crashes"] += 1
                node.crash()
                self.later(rng.random() * 0.8, self._restart, node, node.life)

    def _restart(self, node: Node, life: int) -> None:
        if not node.is_up and node.life == life:
            node.start()

    def _partition(self) -> None:
        rng = self.rng
        self.counts["partitions"] += 1
        ids = list(self.nodes)
        if rng.random() < 0.5:
            leader = self.leader()
            side = [leader.me if leader else ids[0]]
        else:
            side = rng.sample(ids, rng.randint(1, len(ids) - 1))
        others = [me for me in ids if me not in side]
        pairs = [(a, b) for a in side for b in others]
        if rng.random() < 0.6:
            pairs += [(b, a) for a, b in pairs]
        self.blocked.update(pairs)
        self.later(rng.random() * 2, self.blocked.difference_update, pairs)

    def _jump(self) -> None:
        node = self._any()
        self.counts["clock jumps"] += 1
        node.clock_offset_s += self.rng.choice((-3.0, -0.3, 0.3, 3.0)) * self.rng.random()
        node.arm()

    def _slow_clock(self) -> None:
        """Nearly stop the leader's clock, so that it misses its own time limits."""
        node = self.leader() or self._any()
        self.counts["slow clocks"] += 1
        node.set_clock_rate(0.05)
        self.later(3 * self.rng.random(), node.set_clock_rate, self.rng.uniform(0.9, 1.1))

    def _slow_disk(self) -> None:
        node = self._any()
        self.counts["slow disks"] += 1
        node.disk_delay_s = self.rng.choice((0.01, 0.05, 0.2))
        self.later(self.rng.random(), setattr, node, "disk_delay_s", 0.0)

    def _change(self) -> None:
        leader = self.leader()
        if leader is None:
            return
        rng = self.rng
        current = leader.raft.configuration
        outside = [me for me in self.nodes if me not in (*current.voters, *current.learners)]
        choices: list[Voters] = []
        if outside:
            choices += [add_learner(current, rng.choice(outside))] * 2
        if current.learners:
            choices += [promote(current, rng.choice(current.learners))] * 3
            choices.append(remove(current, rng.choice(current.learners)))
        if len(current.voters) > 1:
            choices.append(remove(current, rng.choice(current.voters)))
            choices.append(demote(current, rng.choice(current.voters)))
        if leader.raft.change_configuration(rng.choice(choices)):
            self.counts["changes"] += 1
        leader.pump()

    def _transfer(self) -> None:
        leader = self.leader()
        if leader is not None:
            to = self.rng.choice(leader.raft.configuration.voters)
            self.counts["transfers"] += leader.raft.transfer_leadership(to)
            leader.pump()

    def _compact(self) -> None:
        self._any().compact()

    def _range(self) -> None:
        self._any().catch_up(self._any())


class Client:
    """Writes and reads one register, one call at a time, and asks again when in doubt."""

    def __init__(self, sim: Simulation, number: int) -> None:
        self.sim = sim
        self.name = f"client {number}"
        self.is_busy = False
        self._rng = Random(f"{sim.seed} {number}")
        self._attempt = 0
        self._new_session()

    def _new_session(self) -> None:
        self._id = self._rng.randbytes(16)
        self._born = max(node.raft.commit_index for node in self.sim.nodes.values())
        self._sequence = 0

    def begin(self) -> None:
        """Make the next call, unless it is over."""
        if self.sim.is_calm:
            return
        self.is_busy = True
        self._until_s = self.sim.now + 1.5
        self._undecided: set[int] = set()
        if self._rng.random() < 0.5:
            self._call = self.sim.history.invoke(self.name, Register.read(), now=self.sim.now)
            self._try(self._read)
        else:
            self._sequence += 1
            self._value = next(self.sim.values)
            operation = Register.write(self._value)
            self._call = self.sim.history.invoke(self.name, operation, now=self.sim.now)
            self._try(self._write)

    def _try(self, attempt: Callable[[Node, int], None]) -> None:
        self._attempt += 1
        number = self._attempt
        up = [node for node in self.sim.nodes.values() if node.is_up]
        leaders = [node for node in up if node.raft.is_leader]
        if up:
            pool = leaders if leaders and self._rng.random() < 0.7 else up
            attempt(self._rng.choice(pool), number)
        self.sim.later(0.1 + 0.3 * self._rng.random(), self._again, attempt, number)

    def _again(self, attempt: Callable[[Node, int], None], number: int) -> None:
        """The attempt took too long: make another, or give up."""
        if number != self._attempt:
            return
        if self.sim.now < self._until_s:
            self._try(attempt)
            return
        history, now = self.sim.history, self.sim.now
        if self._undecided:
            history.give_up(self._call, now=now)
        else:
            history.fail(self._call, now=now)
        self._new_session()
        self._end()

    def _end(self) -> None:
        self._attempt += 1
        self.is_busy = False
        self.sim.later(self._rng.random() * 0.05, self.begin)

    def _read(self, node: Node, number: int) -> None:
        request = (self.name, number)
        call = self._call

        def told(index: int | None) -> None:
            if number == self._attempt and call == self._call and index is not None:
                self._respond(node.machine.value)

        node.reading[request] = told
        node.raft.read(request)
        node.pump()

    def _write(self, node: Node, number: int) -> None:
        token = (self._id, self._sequence, number)
        payload = msgspec.msgpack.encode((self._id, self._sequence, self._value, number))
        command_batch = CommandBatch(
            self._id, self._born, self._sequence, self._sequence - 1, (payload,)
        )
        data = encode_command_batches([command_batch])
        undecided, call = self._undecided, self._call
        undecided.add(number)

        def answered(answer: CommandAnswer | ProposalVerdict) -> None:
            if answer is ProposalVerdict.NOT_TAKEN:
                self.sim.witness.not_taken.add(data)
                undecided.discard(number)
            elif (
                isinstance(answer, CommandAnswer)
                and answer.refusal is Refusal.NONE
                and self.is_busy
                and call == self._call
            ):
                if answer.result is None:
                    raise Violation(f"the result of {self._id.hex()} {answer.sequence} is lost")
                self._respond(msgspec.msgpack.decode(answer.result))

        node.waiting[token] = answered
        node.raft.propose(data, token)
        node.pump()

    def _respond(self, result: Any) -> None:
        self.sim.history.respond(self._call, result, now=self.sim.now)
        self._end()


def main(arguments: Sequence[str]) -> int:
    """Run many seeds and print what happened; for long runs by hand."""
    first, number = (int(a) for a in arguments)
    total: Tally[str] = Tally()
    for seed in range(first, first + number):
        try:
            total += Simulation(seed).run()
        except (AssertionError, RemoteError) as error:
            total["violations"] += 1
            print(f"seed {seed}: {type(error).__name__}: {error}")  # noqa: T201
    print(", ".join(f"{name} {total[name]:,}" for name in sorted(total)))  # noqa: T201
    return bool(total["violations"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
