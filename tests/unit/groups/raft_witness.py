"""What a replica saves, what it applies to, and a witness that compares them all.

The witness knows nothing of how the core works: it looks at what replicas
save, send, commit and apply, and compares that with what it saw before.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from zlib import crc32

import msgspec

from mosaik_actors.groups.machine.payloads import encode_position
from mosaik_actors.groups.machine.sessions import CommandAnswer, SessionLimits, Sessions
from mosaik_actors.groups.raft.raft import Raft
from mosaik_actors.groups.raft.ready import Ready
from mosaik_actors.groups.storage.interface import LogState, Stored
from mosaik_actors.groups.wire.commands import decode_command_batches
from mosaik_actors.groups.wire.configuration import decode_voters
from mosaik_actors.groups.wire.raft import Message, VoteReply, VoteRequest
from mosaik_actors.groups.wire.records import Entry, EntryKind, SnapshotMetadata, Voters
from mosaik_actors.ids import PeerId

Snapshot = tuple[SnapshotMetadata, bytes]


class Violation(AssertionError):
    """An invariant does not hold. The text says which, when and where."""


class Disk:
    """What a replica has saved: the model that every storage follows, with its rules."""

    def __init__(self) -> None:
        self._state = LogState()

    @property
    def stored(self) -> Stored:
        """What is there after a crash."""
        return self._state.stored

    @property
    def snapshot(self) -> Snapshot | None:
        return self._state._snapshot

    def save(self, ready: Ready, snapshot: bytes) -> None:
        """Do step 2 of a `Ready`."""
        if ready.must_save:
            self._state.apply(ready.to_batch(snapshot))

    def holds(self, index: int, term: int) -> bool:
        """Return whether an entry is saved, in the log or in the snapshot."""
        base_index = self._state.shape.base[0]
        entries = self._state._entries
        offset = index - base_index - 1
        return offset < 0 or (offset < len(entries) and entries[offset].term == term)


class Machine:
    """A register behind sessions; it remembers what it applied, to be caught at errors.

    A write returns what it replaced. What is kept of that is part of the state, as in `Host`.
    """

    def __init__(self, limits: SessionLimits) -> None:
        self.value: int | None = None
        self.applied_index = 0
        self.count = 0
        self.chain = 0
        self.seen: set[tuple[bytes, int]] = set()
        self.sessions = Sessions(limits)
        self._limits = limits

    def apply(self, entry: Entry) -> dict[tuple[bytes, int], CommandAnswer]:
        """Apply one entry; return what became of each command in it."""
        if entry.index != self.applied_index + 1:
            raise Violation(f"applied {entry.index} after {self.applied_index}")
        self.applied_index = entry.index
        answers: dict[tuple[bytes, int], CommandAnswer] = {}
        if entry.kind is EntryKind.COMMANDS:
            returned: dict[bytes, bytes] = {}
            for command_batch in decode_command_batches(entry.data):
                write = partial(self._write, returned)
                for answer in self.sessions.apply(command_batch, entry.index, write):
                    answers[(command_batch.client, answer.sequence)] = answer
            for position, result in returned.items():
                self.sessions.results.add(position, [result])
        kept = self.sessions.results.kept
        for key, answer in answers.items():
            known = kept.get(answer.position or b"")
            answers[key] = msgspec.structs.replace(answer, result=known)
        state = f"{entry.index} {self.value} {sorted(kept.items())}"
        self.chain = crc32(entry.data, crc32(state.encode(), self.chain))
        return answers

    def _write(self, returned: dict[bytes, bytes], payloads: Sequence[bytes]) -> list[bytes]:
        positions = []
        for payload in payloads:
            client, sequence, value, _ = msgspec.msgpack.decode(payload)
            if (client, sequence) in self.seen:
                raise Violation(f"command {sequence} of {client.hex()} applied twice")
            self.seen.add((client, sequence))
            self.count += 1
            positions.append(encode_position(self.count))
            returned[positions[-1]] = msgspec.msgpack.encode(self.value)
            self.value = value
        return positions

    def to_bytes(self) -> bytes:
        seen = sorted(self.seen)
        return msgspec.msgpack.encode(
            (self.value, self.applied_index, self.count, self.chain, seen, self.sessions.to_bytes())
        )

    @classmethod
    def from_bytes(cls, data: bytes, limits: SessionLimits) -> Machine:
        machine = cls(limits)
        read = msgspec.msgpack.decode(data)
        machine.value, machine.applied_index, machine.count, machine.chain, seen, sessions = read
        machine.seen = {(bytes(client), sequence) for client, sequence in seen}
        machine.sessions = Sessions.from_bytes(sessions, limits)
        return machine


class Witness:
    """The invariants, checked from outside after every step."""

    def __init__(self) -> None:
        self.leaders: dict[int, PeerId] = {}
        self.entries: dict[tuple[int, int], tuple[int, EntryKind, bytes]] = {}
        self.committed: list[int] = [0]
        self.committed_in: list[int] = [0]  # the term of the leader that committed it
        self.configurations: list[Voters] = []
        self.chains: dict[int, int] = {}
        self.votes: dict[tuple[PeerId, int], PeerId] = {}
        self.not_taken: set[bytes] = set()
        self.data: dict[int, bytes] = {}

    def saw_message(self, sender: PeerId, to: PeerId, message: Message) -> None:
        """A replica votes once in a term (thesis 3.4), itself included."""
        if isinstance(message, VoteReply) and message.is_granted and not message.is_pre_vote:
            self._saw_vote(sender, message.term, to)
        elif isinstance(message, VoteRequest) and not message.is_pre_vote:
            self._saw_vote(sender, message.term, sender)

    def _saw_vote(self, voter: PeerId, term: int, candidate: PeerId) -> None:
        if self.votes.setdefault((voter, term), candidate) != candidate:
            raise Violation(f"{voter.short} voted twice in term {term}")

    def saw_entries(self, prev_term: int | None, entries: Sequence[Entry]) -> None:
        """Log Matching: an index and a term name one entry and all before it (3.5)."""
        for entry in entries:
            known = self.entries.get((entry.index, entry.term))
            if known is None:
                before = prev_term if prev_term is not None else -1
                self.entries[(entry.index, entry.term)] = (before, entry.kind, entry.data)
            elif (prev_term is not None and known[0] not in (-1, prev_term)) or known[1:] != (
                entry.kind,
                entry.data,
            ):
                raise Violation(f"two entries at index {entry.index} of term {entry.term}")
            prev_term = entry.term

    def saw_leader(self, raft: Raft) -> None:
        """Election Safety (3.4), and Leader Completeness (3.6.3) when it is new."""
        known = self.leaders.setdefault(raft.term, raft.me)
        if known != raft.me:
            raise Violation(f"two leaders in term {raft.term}: {known.short}, {raft.me.short}")

    def saw_new_leader(self, raft: Raft) -> None:
        # Votes may come late: who wins a term that is over lacks what a later one committed,
        # and can commit nothing.
        for index in range(raft.first_index, len(self.committed)):
            is_owed = self.committed_in[index] < raft.term
            if is_owed and raft.term_at(index) != self.committed[index]:
                raise Violation(f"{raft.me.short} leads term {raft.term} without entry {index}")

    def saw_commit(self, raft: Raft, before: int, disks: dict[PeerId, Disk]) -> None:
        """Committed is final, and saved by a majority of the voters, old and new."""
        for index in range(before + 1, raft.commit_index + 1):
            term = raft.term_at(index)
            if index < len(self.committed):
                if term is not None and term != self.committed[index]:
                    raise Violation(
                        f"index {index} committed in terms {self.committed[index]}, {term}"
                    )
                continue
            if term is None:
                raise Violation(f"index {index} committed and compacted unseen")
            self._check_saved(raft, index, term, disks)
            self.committed.append(term)
            self.committed_in.append(raft.term)
            _, kind, data = self.entries[(index, term)]
            if kind is EntryKind.CONFIGURATION:
                self.configurations.append(decode_voters(data))
            if data and data in self.not_taken:
                raise Violation(f"entry {index} was committed after it was said not to be taken")
            self.data[index] = data

    def _check_saved(self, raft: Raft, index: int, term: int, disks: dict[PeerId, Disk]) -> None:
        for voters in {self.configurations[-1].voters, raft.configuration.voters}:
            holders = sum(disks[voter].holds(index, term) for voter in voters)
            if 2 * holders <= len(voters):
                raise Violation(
                    f"{raft.me.short} committed {index} saved by {holders} of {len(voters)} voters"
                )

    def saw_applied(self, machine: Machine, entry: Entry) -> None:
        """State Machine Safety (3.6.3): all apply the same, and end up the same."""
        if entry.index >= len(self.committed) or self.committed[entry.index] != entry.term:
            raise Violation(f"applied {entry.index} of term {entry.term}, not committed")
        if self.chains.setdefault(entry.index, machine.chain) != machine.chain:
            raise Violation(f"two states after entry {entry.index}")

    def saw_restored(self, machine: Machine) -> None:
        if machine.applied_index and self.chains.get(machine.applied_index) != machine.chain:
            raise Violation(f"restored another state at {machine.applied_index}")
