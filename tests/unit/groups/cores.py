"""A few cores side by side, moved by hand: no loss unless a test cuts a link."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from mosaik_actors.groups.raft.config import RaftConfig
from mosaik_actors.groups.raft.log import RaftLog
from mosaik_actors.groups.raft.raft import Raft
from mosaik_actors.groups.raft.ready import Event, ProposalOutcome, ReadState, Ready
from mosaik_actors.groups.wire.configuration import encode_voters, make_voters
from mosaik_actors.groups.wire.raft import Message, decode_message, encode_message
from mosaik_actors.groups.wire.records import Entry, EntryKind, HardState, SnapshotMetadata, Voters
from mosaik_actors.ids import PeerId

E = TypeVar("E", bound=Event)


def peer(number: int) -> PeerId:
    """Return the id of the replica with this number; ids are in the order of numbers."""
    return PeerId(bytes([number + 1]) * 32)


def add_learner(current: Voters, peer: PeerId) -> Voters:
    """Return `current` with one more learner."""
    return make_voters(current.voters, (*current.learners, peer))


def voters_of(*numbers: int, learners: Sequence[int] = ()) -> Voters:
    return make_voters(map(peer, numbers), map(peer, learners))


def log_of(*terms: int) -> list[Entry]:
    """Return a log with an entry of each of these terms; its content names its place."""
    return [
        Entry(index, term, EntryKind.COMMANDS, f"{index}/{term}".encode())
        for index, term in enumerate(terms, 1)
    ]


def configuration_entry(index: int, term: int, voters: Voters) -> Entry:
    return Entry(index, term, EntryKind.CONFIGURATION, encode_voters(voters))


class Life:
    """When one replica's node was heard last at another, as a test says."""

    def __init__(self, last_heard_at: float) -> None:
        self.last_heard_at = last_heard_at
        self.is_watched = True


class Cores:
    """Replicas 0 to n-1, all voters of the first configuration unless told otherwise."""

    def __init__(
        self,
        count: int,
        *,
        voters: Voters | None = None,
        logs: Sequence[Sequence[Entry]] | None = None,
        states: Sequence[HardState] | None = None,
        settings: RaftConfig | None = None,
        join_indexes: Sequence[int] = (),
    ) -> None:
        self.now = 0.0
        self.join_indexes = join_indexes or [0] * count
        self.settings = settings or RaftConfig()
        self.metadata = SnapshotMetadata(0, 0, voters or voters_of(*range(count)))
        self.rafts: list[Raft] = []
        self.saved = list(states) if states else [HardState()] * count
        self.mail: list[tuple[int, int, Message]] = []
        self.sent: list[tuple[int, int, Message]] = []
        self.cut: set[tuple[int, int]] = set()
        self.held: dict[int, list[Ready]] = {}
        self.lives: dict[tuple[int, int], Life] = {}
        self.applied: list[list[Entry]] = [[] for _ in range(count)]
        self.events: list[list[Event]] = [[] for _ in range(count)]
        self.outcomes: list[list[ProposalOutcome]] = [[] for _ in range(count)]
        self.reads: list[list[ReadState]] = [[] for _ in range(count)]
        for number in range(count):
            self.rafts.append(
                self._make(
                    number,
                    self.saved[number],
                    logs[number] if logs else (),
                )
            )

    def _make(self, number: int, hard_state: HardState, entries: Sequence[Entry]) -> Raft:
        return Raft(
            peer(number),
            self.settings,
            Random(number),
            now=self.now,
            hard_state=hard_state,
            metadata=self.metadata,
            log=RaftLog(self.metadata.index, self.metadata.term, entries),
            join_index=self.join_indexes[number],
            liveness_of=lambda other: self.lives.get((number, bytes(other)[0] - 1)),
        )

    # Moving.

    def pump(self, number: int) -> None:
        """Do all pending I/O of a replica; while its disk is held, only what may leave at once."""
        raft = self.rafts[number]
        while (ready := raft.next_ready()) is not None:
            self._post(number, ready.early_messages)
            if number in self.held:
                self.held[number].append(ready)
            else:
                self._finish(number, ready)

    def hold_disk(self, number: int) -> None:
        self.held[number] = []

    def release_disk(self, number: int) -> None:
        for ready in self.held.pop(number):
            self._finish(number, ready)

    def settle(self) -> None:
        """Deliver until nothing moves."""
        for number in range(len(self.rafts)):
            self.pump(number)
        while self.mail:
            self.deliver()

    def deliver(self) -> None:
        """Deliver what is on its way, and no more."""
        mail, self.mail = self.mail, []
        for sender, to, message in mail:
            if (sender, to) not in self.cut:
                self.give(sender, to, message)

    def give(self, sender: int, to: int, message: Message) -> None:
        """Hand one message to a replica."""
        decoded = decode_message(encode_message(message))
        self.rafts[to].receive_message(peer(sender), decoded, now=self.now)
        self.pump(to)

    def time_out(self, number: int) -> None:
        """Let time pass until the replica's timer is due; only that replica notices."""
        raft = self.rafts[number]
        self.now = max(self.now, raft.get_timer())
        raft.handle_timer(now=self.now)
        self.pump(number)

    def elect(self, number: int) -> None:
        """Let a replica be elected."""
        self.time_out(number)
        self.settle()
        assert self.rafts[number].is_leader, f"{number} is {self.rafts[number].role.name}"

    def beat(self, number: int) -> None:
        """Let the leader send a heartbeat and everybody answer."""
        self.time_out(number)
        self.settle()

    def note_alive(self, *numbers: int) -> None:
        """Have the nodes of replicas be heard by all others at this moment."""
        for number in numbers:
            for other in range(len(self.rafts)):
                life = self.lives.setdefault((other, number), Life(self.now))
                life.last_heard_at, life.is_watched = self.now, True

    def note_silent(self) -> None:
        """Have replicas look at the nodes that they have not heard for most of a timeout."""
        patience_s = 0.8 * self.settings.election_timeout
        for (at, _), life in self.lives.items():
            if life.is_watched and self.now - life.last_heard_at >= patience_s:
                life.is_watched = False
                self.rafts[at].recheck_quiescence(now=self.now)

    def isolate(self, *numbers: int) -> None:
        """Cut replicas off from the others, both ways."""
        for one in numbers:
            for other in range(len(self.rafts)):
                if other not in numbers:
                    self.cut |= {(one, other), (other, one)}

    def heal(self) -> None:
        self.cut.clear()

    def restart(self, number: int, *, entries: Sequence[Entry] | None = None) -> None:
        """Start a replica anew from what it had saved, which here is everything."""
        kept = self.log(number) if entries is None else entries
        self.rafts[number] = self._make(number, self.saved[number], kept)
        self.applied[number] = []

    # Looking.

    def log(self, number: int) -> list[Entry]:
        return list(self.rafts[number].log.tail(self.rafts[number].first_index))

    def terms(self, number: int) -> list[int]:
        return [entry.term for entry in self.log(number)]

    def events_of(self, number: int, kind: type[E]) -> list[E]:
        return [event for event in self.events[number] if isinstance(event, kind)]

    def sent_of(self, number: int, kind: type) -> list[Message]:
        return [m for sender, _, m in self.sent if sender == number and isinstance(m, kind)]

    def _finish(self, number: int, ready: Ready) -> None:
        self.saved[number] = ready.hard_state or self.saved[number]
        self.rafts[number].persisted(ready)
        self._post(number, ready.messages)
        self.applied[number] += ready.committed
        if ready.committed:
            self.rafts[number].applied(ready.committed[-1].index)
        self.outcomes[number] += ready.outcomes
        self.reads[number] += ready.reads
        self.events[number] += ready.events

    def _post(self, number: int, messages: Sequence[tuple[PeerId, Message]]) -> None:
        for to, message in messages:
            posted = (number, bytes(to)[0] - 1, message)
            self.sent.append(posted)
            if posted[1] < len(self.rafts):
                self.mail.append(posted)
