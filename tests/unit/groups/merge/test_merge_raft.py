"""Two and three histories merge over real Raft cores, whose leaders are cut off meanwhile."""

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any

import pytest

from mosaik_actors.groups.machine.ledger import Ledger
from mosaik_actors.groups.machine.sessions import Refusal, Sessions
from mosaik_actors.groups.merge.merge import Merge
from mosaik_actors.groups.merge.view import (
    HandOver,
    HistoryAbandoned,
    MergeConfig,
    MergeView,
    ProposeSystemEntry,
    SendMerge,
)
from mosaik_actors.groups.raft.config import RaftConfig
from mosaik_actors.groups.raft.raft import Raft
from mosaik_actors.groups.raft.ready import ProposalOutcome, ProposalVerdict
from mosaik_actors.groups.wire.commands import (
    CommandBatch,
    decode_command_batches,
    encode_command_batches,
)
from mosaik_actors.groups.wire.configuration import make_voters
from mosaik_actors.groups.wire.raft import decode_message, encode_message
from mosaik_actors.groups.wire.records import Entry, EntryKind, SnapshotMetadata, Voters
from mosaik_actors.groups.wire.status import MemberStanding, Status
from mosaik_actors.groups.wire.system_entries import (
    SystemEntry,
    decode_system_entry,
    encode_system_entry,
)
from mosaik_actors.ids import PeerId

RAFT = RaftConfig(heartbeat_interval=0.1, election_timeout=0.4, election_timeout_jitter=0.3)
MERGE = MergeConfig(request_timeout=1.0, patience=0.5, stall=0.6, takeover=0.8, linger=0.5)


def peer(number: int) -> PeerId:
    return PeerId(bytes([number + 1]) * 32)


class Replica:
    """A member of one history: Raft, what it applied, and the core under test."""

    def __init__(self, world: "World", me: PeerId, history: bytes, voters: Voters) -> None:
        self.world, self.me, self.history = world, me, history
        self.client = me[:16]
        self.raft = Raft(
            me, RAFT, world.rng, now=world.now, metadata=SnapshotMetadata(0, 0, voters)
        )
        self.merge = Merge(world.rng, now=world.now, config=MERGE)
        self.voters = voters
        self.ledger, self.sessions = Ledger(history), Sessions()
        self.applied: list[bytes] = []
        self.peers: dict[PeerId, Status] = {}
        self.sent = self.acknowledged = 0
        self.winner = b""

    def pump(self) -> None:
        if self.winner:
            return
        failed: list[SystemEntry] = []
        system_entries: list[SystemEntry] = []
        while (ready := self.raft.next_ready()) is not None:
            self.raft.persisted(ready)
            for to, message in (*ready.early_messages, *ready.messages):
                self.world.send(self, to, "raft", encode_message(message))
            for entry in ready.committed:
                self.apply(entry, system_entries)
            if ready.committed:
                self.raft.applied(ready.committed[-1].index)
            failed += [
                system_entry for outcome in ready.outcomes for system_entry in _failed(outcome)
            ]
        self.look()
        for system_entry in system_entries:
            self.merge.entry_settled(system_entry, is_applied=True, now=self.world.now)
        for system_entry in failed:
            self.merge.entry_settled(system_entry, is_applied=False, now=self.world.now)
        again = False
        while (event := self.merge.next_event()) is not None:
            match event:
                case SendMerge(to, data):
                    self.world.send(self, to, "merge", data)
                case ProposeSystemEntry(system_entry):
                    self.raft.propose(
                        encode_system_entry(system_entry), system_entry, EntryKind.SYSTEM
                    )
                    again = True
                case HandOver(to):
                    self.raft.transfer_leadership(to)
                case HistoryAbandoned(_, winner):
                    self.winner = winner
                    return
        if again:
            self.pump()

    def look(self) -> None:
        self.merge.update(
            MergeView(
                history=self.history,
                is_leader=self.raft.is_leader,
                has_leader=self.raft.leader is not None,
                voter_count=len(self.voters.voters),
                position=lambda: len(self.applied),
                ledger=self.ledger,
                log=self.raft,
                peers=self.peers,
                is_readable=lambda _peer, _payloads: True,
            ),
            now=self.world.now,
        )

    def apply(self, entry: Entry, system_entries: list[SystemEntry]) -> None:
        command_batches: tuple[CommandBatch, ...] = ()
        if entry.kind is EntryKind.COMMANDS and not self.ledger.closed_into:
            command_batches = decode_command_batches(entry.data)
        elif entry.kind is EntryKind.SYSTEM:
            system_entry = decode_system_entry(entry.data)
            system_entries.append(system_entry)
            command_batches = self.ledger.apply(system_entry) or ()
        for command_batch in command_batches:
            for answer in self.sessions.apply(command_batch, entry.index, self.take):
                if answer.refusal is Refusal.NONE and command_batch.client == self.client:
                    self.acknowledged = max(self.acknowledged, answer.sequence)

    def take(self, payloads: Sequence[bytes]) -> list[bytes | None]:
        self.applied += payloads
        return [None] * len(payloads)

    def submit(self) -> None:
        """Send the next command, or those that are not acknowledged once more, to the leader."""
        self.sent += self.sent == self.acknowledged and not self.world.is_calm
        if self.winner or self.sent == self.acknowledged:
            return
        payload = self.client + self.sent.to_bytes(4)
        command_batch = CommandBatch(
            self.client, self.raft.commit_index, self.sent, self.sent - 1, (payload,)
        )
        self.world.send(
            self,
            self.raft.leader or self.me,
            "command batch",
            encode_command_batches([command_batch]),
        )

    def receive(self, sender: PeerId, kind: str, data: bytes) -> None:
        if self.winner:
            return
        if kind == "raft":
            self.raft.receive_message(sender, decode_message(data), now=self.world.now)
        elif kind == "merge":
            self.merge.receive_message(sender, data, now=self.world.now)
        elif self.raft.is_leader:
            self.raft.propose(data)
        self.pump()

    def tick(self) -> None:
        """Do what is due; show the others how things are."""
        if self.winner:
            return
        now = self.world.now
        if now >= self.raft.get_timer():
            self.raft.handle_timer(now=now)
        if now >= self.merge.get_timer():
            self.merge.handle_timer(now=now)
        self.pump()

    def status(self) -> Status:
        raft = self.raft
        return Status(
            standing=MemberStanding.VOTER,
            history=self.history,
            term=raft.term,
            leader=raft.leader,
            commit_index=raft.commit_index,
            first_index=raft.first_index,
            closed_into=self.ledger.closed_into,
            merged=self.ledger.merged,
            position=len(self.applied),
        )


def _failed(outcome: ProposalOutcome) -> list[SystemEntry]:
    if outcome.token is None or outcome.verdict is ProposalVerdict.COMMITTED:
        return []
    return [outcome.token]


class World:
    """Histories of so many members each, on a network that loses and delays."""

    def __init__(self, seed: int, sizes: Sequence[int]) -> None:
        self.rng = Random(seed)
        self.now = 0.0
        self.is_calm = False
        self.cut_off: PeerId | None = None
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self.replicas: dict[PeerId, Replica] = {}
        for number, size in enumerate(sizes):
            first = len(self.replicas)
            voters = make_voters([peer(n) for n in range(first, first + size)])
            for me in voters.voters:
                self.replicas[me] = Replica(self, me, bytes([number + 1]) * 16, voters)

    def later(self, delay_s: float, action: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), action, args))

    def send(self, sender: Replica, to: PeerId, kind: str, data: bytes) -> None:
        if self.cut_off in (sender.me, to) and sender.me != to:
            return
        if not self.is_calm and self.rng.random() < 0.03:
            return
        delay_s = 0.02 * self.rng.random()
        self.later(delay_s, self.replicas[to].receive, sender.me, kind, data)

    def every(self, period_s: float, action: Callable[[], None]) -> None:
        action()
        self.later(period_s * (0.5 + self.rng.random()), self.every, period_s, action)

    def tell(self) -> None:
        """Everybody hears of everybody who is in reach."""
        for replica in self.replicas.values():
            replica.peers = {
                other.me: other.status()
                for other in self.replicas.values()
                if other is not replica
                and not other.winner
                and self.cut_off not in (other.me, replica.me)
            }

    def cut_off_a_leader(self) -> None:
        leaders = [r.me for r in self.replicas.values() if r.raft.is_leader and not r.winner]
        is_cut = not self.is_calm and leaders and self.rng.random() < 0.7
        self.cut_off = self.rng.choice(leaders) if is_cut else None

    def run(self) -> list[Replica]:
        """Run until one history is left; return its members."""
        for replica in self.replicas.values():
            self.every(0.02, replica.tick)
            self.every(0.05, replica.submit)
        self.later(1.0, self.every, 0.2, self.tell)
        self.later(1.0, self.every, 1.0, self.cut_off_a_leader)
        while self.now < 60.0:
            self.is_calm = self.now > 8.0
            self.now, _, action, args = heapq.heappop(self._events)
            action(*args)
            left = [r for r in self.replicas.values() if not r.winner]
            if self.is_calm and len({r.history for r in left}) == 1:
                is_through = all(r.acknowledged == r.sent for r in left)
                if is_through and len({r.raft.applied_index for r in left}) == 1:
                    return left
        raise AssertionError(f"not one history: {[r.history[0] for r in left]}")


@pytest.mark.parametrize("sizes", [(1, 1), (3, 1), (3, 3), (3, 3, 3)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_histories_merge_over_raft(seed: int, sizes: Sequence[int]) -> None:
    world = World(seed, sizes)
    left = world.run()
    winner = left[0]
    assert len(winner.ledger.merged) == len(sizes) - 1
    for replica in left:
        assert replica.applied == winner.applied
    for replica in world.replicas.values():
        mine = [c for c in winner.applied if c[:16] == replica.client]
        numbers = [int.from_bytes(command[16:]) for command in mine]
        # In order, each once; all that was acknowledged, and perhaps one that was not.
        assert numbers == list(range(1, len(numbers) + 1))
        assert replica.acknowledged <= len(numbers) <= replica.sent
        assert replica.acknowledged > 0
