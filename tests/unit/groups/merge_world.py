"""Several histories of one group that meet, in a hostile world of virtual time.

The real cores decide: `Merge`, `Ledger`, `Sessions`. What is modelled is what
lies around them. A history's consensus is one list of committed entries and a
leader that changes: what the old leader had proposed is committed before the
new one's first entry, or never. Members apply late. Messages and statuses are
lost, late, double and out of order; members restart and forget what a core held.

One seed decides all; run it as::

    python -m tests.unit.groups.merge_world FIRST_SEED COUNT
"""

from __future__ import annotations

import heapq
import sys
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from mosaik_actors.groups.machine.ledger import Ledger
from mosaik_actors.groups.machine.sessions import CommandAnswer, Refusal, Sessions
from mosaik_actors.groups.merge.merge import Merge
from mosaik_actors.groups.merge.view import (
    HandOver,
    HistoriesConflict,
    HistoryAbandoned,
    MergeConfig,
    MergeStarted,
    MergeView,
    ProposeSystemEntry,
    SendMerge,
)
from mosaik_actors.groups.wire.commands import (
    CommandBatch,
    decode_command_batches,
    encode_command_batches,
)
from mosaik_actors.groups.wire.records import Entry, EntryKind
from mosaik_actors.groups.wire.status import MERGED_COUNT_MAX, MemberStanding, Status
from mosaik_actors.groups.wire.system_entries import (
    CloseInto,
    FinishMerge,
    SystemEntry,
    decode_system_entry,
    encode_system_entry,
)
from mosaik_actors.ids import PeerId


class Violation(AssertionError):
    """A promise was broken."""


def peer(number: int) -> PeerId:
    return PeerId(bytes([number + 1]) * 32)


@dataclass(frozen=True)
class Options:
    """What a run is made of; rates are per second of virtual time."""

    nodes: int = 6
    histories: int = 3
    fault_s: float = 12.0
    calm_s: float = 90.0
    loss: float = 0.08
    duplicates: float = 0.05
    delay_s: float = 0.03
    command_s: float = 0.08
    elections: float = 0.6
    restarts: float = 0.3
    blocks: float = 0.5
    compactions: float = 0.3
    founders: float = 0.0


class History:
    """One history: what is committed, who leads, what is proposed."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.id = bytes([number]) * 16
        self.entries: list[Entry] = []
        self.term = 1
        self.leader: Node | None = None
        self.proposed: list[tuple[EntryKind, bytes, SystemEntry | None]] = []
        self.closed_into = b""
        self.may_compact = False
        self.is_committing = False

    @property
    def members(self) -> list[Node]:
        return [node for node in self.world.nodes if node.log is self]

    def propose(
        self, node: Node, kind: EntryKind, data: bytes, system_entry: SystemEntry | None
    ) -> None:
        """Take in a proposal, of the leader or of one that has been replaced and does not know."""
        if node is not self.leader:
            if system_entry is not None:
                self.world.soon(node.act_failed, node.life, system_entry)
            return
        self.proposed.append((kind, data, system_entry))
        if not self.is_committing:
            self.is_committing = True
            self.world.soon(self.commit)

    def commit(self) -> None:
        self.is_committing = False
        self._commit(self.world.rng.randint(1, max(1, len(self.proposed))))
        if self.proposed:
            self.is_committing = True
            self.world.soon(self.commit)

    def elect(self, node: Node | None) -> None:
        """Change the leader: some of what was proposed makes it, the rest never will."""
        rng = self.world.rng
        self._commit(rng.randint(0, len(self.proposed)))
        old, failed = self.leader, self.proposed
        self.proposed = []
        for _, _, system_entry in failed:
            if old is not None and system_entry is not None:
                self.world.later(rng.random(), old.act_failed, old.life, system_entry)
        self.term += 1
        self.leader = node
        if old is not None:
            # The old one may not know for a while.
            self.world.later(rng.random() * 2, old.lost_leadership, old.life)
        if node is not None:
            node.leads_term = self.term
            self.entries.append(Entry(len(self.entries) + 1, self.term, EntryKind.NOOP))
        self.world.counts["elections"] += 1

    def _commit(self, number: int) -> None:
        for kind, data, _ in self.proposed[:number]:
            self.entries.append(Entry(len(self.entries) + 1, self.term, kind, data))
        del self.proposed[:number]
        for node in self.members:
            node.apply_soon()


class Node:
    """One member: its log as far as it has it, what it has applied, its core and its client."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.me = peer(number)
        self.client = bytes([number + 1]) * 16
        self.life = 0
        self.log: History | None = None
        self.leads_term = 0
        self.commit_index = 0
        self.first_index = 1
        self.ledger = Ledger()
        self.sessions = Sessions()
        self.applied: list[bytes] = []
        self.peers: dict[PeerId, Status] = {}
        self.submitted = 0
        self.acknowledged = 0
        self.is_applying = False
        self.timer_number = 0
        self.merge = self._make()

    def _make(self) -> Merge:
        return Merge(self.world.rng, now=self.world.now, config=self.world.config)

    # Life.

    def begin(self, log: History | None) -> None:
        """Begin a history, or none."""
        self.log = log
        self.leads_term = 0
        self.commit_index, self.first_index = 0, 1
        self.ledger = Ledger(log.id if log is not None else b"")
        self.sessions = Sessions()
        self.applied = []
        self.pump()

    def join(self) -> None:
        """Follow an open history, with its log or from a snapshot."""
        world = self.world
        open_ = [log for log in world.histories if not log.closed_into and log.members]
        if self.log is not None:
            return
        log = world.rng.choice(open_) if open_ else None
        if log is None:
            world.soon(self.join)
            return
        holder = world.rng.choice(log.members)
        self.begin(log)
        if world.rng.random() < 0.5 or holder.first_index > 1:
            self.sessions = Sessions.from_bytes(holder.sessions.to_bytes())
            self.ledger = Ledger.from_bytes(holder.ledger.to_bytes())
            self.applied = list(holder.applied)
            self.commit_index = holder.commit_index
            self.first_index = holder.commit_index + 1
            done = [int.from_bytes(data[16:]) for data in self.applied if data[:16] == self.client]
            self.acknowledged = max(done, default=self.acknowledged)
        world.counts["joins"] += 1
        self.apply_soon()

    def restart(self) -> None:
        """Forget what is not durable: all that the core held."""
        self.life += 1
        if self.log is not None and self.log.leader is self:
            self.log.elect(None)
        self.leads_term = 0
        self.is_applying = False
        self.peers.clear()
        self.merge = self._make()
        self.apply_soon()
        if self.log is None:
            self.world.soon(self.join)
        self.world.counts["restarts"] += 1
        self.pump()

    # Its log.

    @property
    def is_leader(self) -> bool:
        """Whether it takes itself for the leader."""
        return self.log is not None and bool(self.leads_term)

    def term_at(self, index: int) -> int | None:
        raise NotImplementedError("terms are not looked at")

    def entries(self, first_index: int, *, count_max: int, bytes_max: int) -> tuple[Entry, ...]:
        if self.log is None or first_index < self.first_index:
            return ()
        last_index = min(self.commit_index, first_index + count_max - 1)
        return tuple(self.log.entries[first_index - 1 : last_index])

    def compact(self) -> None:
        if self.log is not None and self.log.may_compact and not self.merge.keeps_log:
            self.first_index = self.commit_index + 1
            self.world.counts["compactions"] += 1

    def lost_leadership(self, life: int) -> None:
        if life == self.life and self.log is not None and self.log.leader is not self:
            self.leads_term = 0
            self.pump()

    def act_failed(self, life: int, system_entry: SystemEntry) -> None:
        if life == self.life:
            self.merge.entry_settled(system_entry, is_applied=False, now=self.world.now)
            self.pump()

    def apply_soon(self) -> None:
        if not self.is_applying:
            self.is_applying = True
            self.world.soon(self.apply, self.life)

    def apply(self, life: int) -> None:
        """Apply some of what is committed."""
        if life != self.life:
            return
        self.is_applying = False
        log = self.log
        if log is None or self.commit_index >= len(log.entries):
            return
        stop = self.world.rng.randint(self.commit_index + 1, len(log.entries))
        batch = log.entries[self.commit_index : stop]
        self.commit_index = stop
        system_entries = [
            system_entry
            for entry in batch
            if (system_entry := self.apply_entry(log, entry)) is not None
        ]
        for system_entry in system_entries:
            if self.log is log:
                self.merge.entry_settled(system_entry, is_applied=True, now=self.world.now)
        self.pump()
        self.apply_soon()

    def apply_entry(self, log: History, entry: Entry) -> SystemEntry | None:
        if entry.kind is EntryKind.COMMANDS:
            if not self.ledger.closed_into:
                for command_batch in decode_command_batches(entry.data):
                    self.answered(
                        command_batch, self.sessions.apply(command_batch, entry.index, self.run)
                    )
        elif entry.kind is EntryKind.SYSTEM:
            system_entry = decode_system_entry(entry.data)
            taken = self.ledger.apply(system_entry)
            for command_batch in taken or ():
                answers = self.sessions.apply(command_batch, entry.index, self.run)
                if any(a.refusal is not Refusal.NONE or a.is_repeated for a in answers):
                    raise Violation(f"a replayed command was refused: {answers}")
                self.answered(command_batch, answers)
            if taken is not None and isinstance(system_entry, CloseInto):
                log.closed_into = system_entry.history
                self.world.saw_closed(log)
            elif taken is not None and isinstance(system_entry, FinishMerge):
                self.world.counts["merges seen"] += 1
            return system_entry
        return None

    def run(self, payloads: Sequence[bytes]) -> list[bytes | None]:
        self.applied += payloads
        return [None] * len(payloads)

    # Its client.

    def answered(self, command_batch: CommandBatch, answers: Sequence[CommandAnswer]) -> None:
        if command_batch.client == self.client:
            for answer in answers:
                if answer.refusal is Refusal.NONE:
                    self.acknowledged = max(self.acknowledged, answer.sequence)

    def submit(self) -> None:
        if self.submitted - self.acknowledged < 5:
            self.submitted += 1
            self.resend()

    def resend(self) -> None:
        """Send everything that is not acknowledged to whoever seems to lead."""
        log, rng = self.log, self.world.rng
        if log is None or self.acknowledged == self.submitted:
            return
        first = self.acknowledged + 1
        payloads = tuple(
            self.client + number.to_bytes(4) for number in range(first, self.submitted + 1)
        )
        command_batch = CommandBatch(
            self.client, self.commit_index, first, self.acknowledged, payloads
        )
        leaders = [node for node in log.members if node.is_leader]
        if leaders and not self.world.is_lost():
            self.world.soon(rng.choice(leaders).propose, log, command_batch)

    def propose(self, log: History, command_batch: CommandBatch) -> None:
        if self.log is log and self.is_leader and not self.ledger.closed_into:
            log.propose(self, EntryKind.COMMANDS, encode_command_batches([command_batch]), None)

    # Its core.

    def status(self) -> Status:
        log = self.log
        if log is None:
            return Status()
        leader = self.me if self.is_leader else None
        if leader is None and log.leader is not None:
            leader = log.leader.me
        return Status(
            standing=MemberStanding.VOTER,
            history=log.id,
            term=self.leads_term or log.term,
            leader=leader,
            commit_index=self.commit_index,
            first_index=self.first_index,
            closed_into=self.ledger.closed_into,
            merged=self.ledger.merged[-MERGED_COUNT_MAX:],
            position=len(self.applied),
        )

    def receive(self, sender: PeerId, data: bytes) -> None:
        self.merge.receive_message(sender, data, now=self.world.now)
        self.pump()

    def receive_status(self, sender: PeerId, status: Status | None) -> None:
        if status is None:
            self.peers.pop(sender, None)
        else:
            self.peers[sender] = status
        self.pump()

    def pump(self) -> None:
        """Do what the core wants, then arm its timer."""
        self.view()
        while (event := self.merge.next_event()) is not None:
            match event:
                case SendMerge(to, data):
                    self.world.transmit(self, to, data)
                case ProposeSystemEntry(system_entry):
                    if self.log is not None:
                        self.log.propose(
                            self, EntryKind.SYSTEM, encode_system_entry(system_entry), system_entry
                        )
                case HandOver(to):
                    self.world.counts["handovers"] += 1
                    transfer_target = self.world.node_of(to)
                    if (
                        self.log is not None
                        and self.log.leader is self
                        and transfer_target.log is self.log
                    ):
                        self.log.elect(transfer_target)
                case HistoryAbandoned(loser, winner):
                    self.world.saw_abandoned(self, loser, winner)
                    self.begin(None)
                    self.world.later(self.world.rng.random(), self.join)
                    return
                case MergeStarted():
                    self.world.counts["merge started"] += 1
                case HistoriesConflict():
                    self.world.counts["conflicts"] += 1
        self.arm()

    def view(self) -> None:
        log = self.log
        self.merge.update(
            MergeView(
                history=log.id if log is not None else b"",
                is_leader=self.is_leader,
                has_leader=log is not None and log.leader is not None,
                voter_count=len(log.members) if log is not None else 0,
                position=lambda: len(self.applied),
                ledger=self.ledger,
                log=self,
                peers=self.peers,
                is_readable=lambda _peer, _payloads: True,
            ),
            now=self.world.now,
        )

    def arm(self) -> None:
        self.timer_number += 1
        due_s = self.merge.get_timer()
        if due_s < float("inf"):
            wait_s = max(0.0, due_s - self.world.now) + 1e-4
            self.world.later(wait_s, self.timer, self.life, self.timer_number)

    def timer(self, life: int, number: int) -> None:
        if life == self.life and number == self.timer_number:
            self.merge.handle_timer(now=self.world.now)
            self.pump()


class World:
    """One run: see the module's docstring."""

    config = MergeConfig(
        request_timeout=1.0, patience=0.5, stall=0.6, takeover=0.8, lost=2.0, linger=1.0, window=3
    )

    def __init__(self, seed: int, options: Options | None = None) -> None:
        self.options = options or Options()
        self.rng = Random(seed)
        self.now = 0.0
        self.is_calm = False
        self.counts: Tally[str] = Tally()
        self.blocked: set[tuple[PeerId, PeerId]] = set()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self.histories: list[History] = []
        self.nodes = [Node(self, number) for number in range(self.options.nodes)]
        for number, node in enumerate(self.nodes):
            if number < self.options.histories:
                self.found(node)
            else:
                node.begin(self.rng.choice(self.histories))
        if self.rng.random() < 0.5:
            self.rng.choice(self.histories).may_compact = True
        self._begin_with_commands()

    def found(self, node: Node) -> None:
        log = History(self, len(self.histories) + 1)
        self.histories.append(log)
        node.begin(log)
        log.elect(node)

    def node_of(self, me: PeerId) -> Node:
        return next(node for node in self.nodes if node.me == me)

    def _begin_with_commands(self) -> None:
        """Let each history live alone for a while."""
        until_s = self.rng.random() * 2
        while self.now < until_s:
            self.later(0.02, self.rng.choice(self.nodes).submit)
            self._step()

    # Time and network.

    def later(self, delay_s: float, action: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), action, args))

    def soon(self, action: Callable[..., None], *args: Any) -> None:
        self.later(self.rng.random() * self.options.delay_s, action, *args)

    def is_lost(self) -> bool:
        return not self.is_calm and self.rng.random() < self.options.loss

    def transmit(self, sender: Node, to: PeerId, data: bytes) -> None:
        if (sender.me, to) in self.blocked or self.is_lost():
            return
        copies = 1 + (not self.is_calm and self.rng.random() < self.options.duplicates)
        for _ in range(copies):
            slow = 20 if not self.is_calm and self.rng.random() < 0.05 else 1
            delay_s = self.options.delay_s * (0.2 + self.rng.random()) * slow
            self.later(delay_s, self.node_of(to).receive, sender.me, data)

    def heartbeat(self, node: Node) -> None:
        for other in self.nodes:
            if other is node:
                continue
            is_cut = (node.me, other.me) in self.blocked
            self.soon(other.receive_status, node.me, None if is_cut else node.status())
        node.resend()
        node.apply_soon()
        self.later(0.15 + 0.1 * self.rng.random(), self.heartbeat, node)

    # What must never happen.

    def saw_closed(self, log: History) -> None:
        """Closing goes in no circle."""
        into, seen = log.closed_into, [log.id]
        while into:
            if into in seen:
                raise Violation(f"closed in a circle: {[h[0] for h in seen]}")
            seen.append(into)
            into = next(h.closed_into for h in self.histories if h.id == into)

    def saw_abandoned(self, node: Node, loser: bytes, winner: bytes) -> None:
        """What was applied in a history is in the winner's log when it is given up."""
        self.counts["abandoned"] += 1
        log = next(log for log in self.histories if log.id == winner)
        here = set(self.state_of(log))
        missing = [command for command in self.applied_in(loser) if command not in here]
        if missing:
            raise Violation(f"{len(missing)} commands of {loser[0]} are not in {winner[0]}")

    def applied_in(self, history: bytes) -> list[bytes]:
        return self.state_of(next(log for log in self.histories if log.id == history))

    def state_of(self, log: History) -> list[bytes]:
        """Return what a member that has applied all of a log holds."""
        reader = Node.__new__(Node)
        reader.world, reader.client = self, b""
        reader.ledger, reader.sessions, reader.applied = Ledger(log.id), Sessions(), []
        for entry in log.entries:
            if entry.kind is EntryKind.COMMANDS and not reader.ledger.closed_into:
                for command_batch in decode_command_batches(entry.data):
                    reader.sessions.apply(command_batch, entry.index, reader.run)
            elif entry.kind is EntryKind.SYSTEM:
                for command_batch in reader.ledger.apply(decode_system_entry(entry.data)) or ():
                    reader.sessions.apply(command_batch, entry.index, reader.run)
        return reader.applied

    # The run.

    def run(self) -> Tally[str]:
        """Run with faults, then without; check everything; return what happened.

        Raises:
            Violation: A promise was broken, or the histories did not become one.
        """
        options = self.options
        for node in self.nodes:
            self.later(self.rng.random() * 0.2, self.heartbeat, node)
            self.later(0.0, self._client, node)
        for rate, fault in (
            (options.elections, self._elect),
            (options.restarts, self._restart),
            (options.blocks, self._block),
            (options.compactions, self._compact),
            (options.founders, self._found),
        ):
            self._often(rate, fault)
        while self.now < options.fault_s:
            self._step()
        self._calm_down()
        until_s = self.now + options.calm_s
        while not self.is_one():
            if self.now > until_s:
                raise Violation(f"not one history after {options.calm_s} s: {self.where()}")
            self._step()
        self.check()
        self.counts["commands"] += sum(node.acknowledged for node in self.nodes)
        self.counts["histories"] += len(self.histories)
        return self.counts

    def is_one(self) -> bool:
        logs = {node.log for node in self.nodes}
        log = self.nodes[0].log
        return (
            len(logs) == 1
            and log is not None
            and all(node.commit_index == len(log.entries) for node in self.nodes)
            and all(node.acknowledged == node.submitted for node in self.nodes)
        )

    def where(self) -> list[str]:
        return [
            f"{node.me[0]} in {node.log.id[0] if node.log else None} closed into "
            f"{node.ledger.closed_into[:1].hex()}, {node.acknowledged} of {node.submitted}"
            for node in self.nodes
        ]

    def check(self) -> None:
        """Every acknowledged command is there, once, in its client's order, on every member."""
        first = self.nodes[0].applied
        for node in self.nodes:
            if node.applied != first:
                raise Violation("members hold different states")
            mine = [int.from_bytes(data[16:]) for data in first if data[:16] == node.client]
            if mine != list(range(1, node.submitted + 1)):
                raise Violation(f"client {node.me[0]} sent {node.submitted}, applied are {mine}")

    def _step(self) -> None:
        due_s, _, action, args = heapq.heappop(self._events)
        self.now = max(self.now, due_s)
        self.counts["steps"] += 1
        action(*args)

    def _client(self, node: Node) -> None:
        if not self.is_calm:
            node.submit()
            self.later(self.options.command_s * 2 * self.rng.random(), self._client, node)

    def _often(self, rate: float, fault: Callable[[], None]) -> None:
        if rate:
            self.later(self.rng.expovariate(rate), self._fault, rate, fault)

    def _fault(self, rate: float, fault: Callable[[], None]) -> None:
        if not self.is_calm:
            fault()
            self._often(rate, fault)

    def _elect(self) -> None:
        log = self.rng.choice(self.histories)
        log.elect(self.rng.choice([None, *log.members]))

    def _restart(self) -> None:
        self.rng.choice(self.nodes).restart()

    def _block(self) -> None:
        one, other = self.rng.sample(self.nodes, 2)
        pair = (one.me, other.me)
        self.blocked.add(pair)
        self.later(self.rng.random() * 3, self.blocked.discard, pair)

    def _compact(self) -> None:
        self.rng.choice(self.nodes).compact()

    def _found(self) -> None:
        """A member that seeks a history begins one."""
        seeking = [node for node in self.nodes if node.log is None]
        if seeking and len(self.histories) < 200:
            self.found(self.rng.choice(seeking))
            self.counts["founded late"] += 1

    def _calm_down(self) -> None:
        """Stop all faults; each history that has lost its leader elects one."""
        self.is_calm = True
        self.blocked.clear()
        self._keep_leaders()

    def _keep_leaders(self) -> None:
        for log in self.histories:
            if log.members and (log.leader is None or log.leader.log is not log):
                log.elect(self.rng.choice(log.members))
        self.later(0.5, self._keep_leaders)


def main(arguments: Sequence[str]) -> int:
    """Run many seeds and print what happened; for long runs by hand."""
    first, number = (int(a) for a in arguments)
    total: Tally[str] = Tally()
    for seed in range(first, first + number):
        try:
            total += World(seed, options_of(seed)).run()
        except AssertionError as error:
            total["violations"] += 1
            print(f"seed {seed}: {type(error).__name__}: {error}")  # noqa: T201
    print(", ".join(f"{name} {total[name]:,}" for name in sorted(total)))  # noqa: T201
    return bool(total["violations"])


def options_of(seed: int) -> Options:
    """Return the options of a seed: two to five histories, with or without late founders."""
    rng = Random(seed)
    histories = rng.randint(2, 5)
    return Options(
        histories=histories,
        nodes=histories + rng.randint(0, 3),
        founders=rng.choice((0.0, 0.0, 2.0)),
        loss=rng.choice((0.0, 0.05, 0.2)),
        command_s=rng.choice((0.02, 0.08, 0.5)),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
