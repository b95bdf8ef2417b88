"""Machines that remember everything they were given, so that tests can compare.

A journal is a map of keys to values, and the list of all commands that made
it: who gave the command and its number there. Two members agree up to a
position when their journals do; a rolling digest makes that one comparison.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, ClassVar

import msgspec

from mosaik_actors.groups.machine.machine import ApplyContext, LeadershipPreference, StateMachine


class Put(msgspec.Struct, frozen=True):
    """Give a key a value. `client` and `number` say which command of whom it is."""

    client: str
    number: int
    key: str = "k"
    value: int = 0


class Get(msgspec.Struct, frozen=True):
    """Ask for a key's value; None for a key that has none."""

    key: str = "k"


class Journal(StateMachine):
    """A map and its journal; without snapshots, so the log is replayed."""

    Command = Put
    Query = Get
    Answer = int | None
    Result: ClassVar[Any] = bytes

    def __init__(self, preference: LeadershipPreference = LeadershipPreference.NORMAL) -> None:
        self.leadership_preference = preference
        self.values: dict[str, int] = {}
        self.journal: list[tuple[str, int]] = []
        self.digests: list[bytes] = [b""]

    def apply(self, command: Put, ctx: ApplyContext) -> bytes:
        """Note the command and store the value; return what tells this very run of it."""
        self.note(command.client, command.number)
        self.values[command.key] = command.value
        # Positions are dense and start at 1, whatever the log holds beside commands.
        assert ctx.index == len(self.journal), f"position {ctx.index} at {len(self.journal)}"
        assert ctx.log_position > 0
        assert ctx.committed >= ctx.index, "nothing is applied before it is committed"
        return self.digests[-1]

    def note(self, client: str, number: int) -> None:
        """Append to the journal and go on with the digest."""
        self.journal.append((client, number))
        step = self.digests[-1] + f"{client} {number}".encode()
        self.digests.append(blake2b(step, digest_size=8).digest())

    def query(self, query: Get) -> int | None:
        """Return the key's value."""
        return self.values.get(query.key)

    def numbers_of(self, client: str) -> list[int]:
        """Return the numbers of a client's commands, as they were applied."""
        return [number for who, number in self.journal if who == client]


PART_COUNT = 20  # commands in one part, few so that small snapshots have several


class SavedJournal(Journal):
    """A journal with snapshots."""

    def snapshot(self) -> Iterable[bytes]:
        """Return the values, then the journal in parts."""
        pieces = [
            self.journal[start : start + PART_COUNT]
            for start in range(0, len(self.journal), PART_COUNT)
        ]
        return [msgspec.msgpack.encode(part) for part in (sorted(self.values.items()), *pieces)]

    def restore(self, parts: Iterable[bytes]) -> Iterable[None]:  # type: ignore[override]
        """Take them in, one part at a time."""
        pieces = iter(parts)
        self.values = dict(msgspec.msgpack.decode(next(pieces), type=list[tuple[str, int]]))
        self.journal, self.digests = [], [b""]
        for piece in pieces:
            for client, number in msgspec.msgpack.decode(piece, type=list[tuple[str, int]]):
                self.note(client, number)
            yield


class PlainJournal(Journal):
    """A journal whose results nobody wants."""

    signature = f"{__name__}.Journal"
    Result = None


class SavedPlainJournal(SavedJournal):
    """The same, with snapshots."""

    signature = f"{__name__}.SavedJournal"
    Result = None


WITH_RESULTS_EVERY = 3  # seeds; those that once failed go without, and keep their course


def journal_for(seed: int, *, is_saved: bool) -> type[Journal]:
    """Return the machine of a seed of chaos: with results for one seed of three."""
    has_results = seed % WITH_RESULTS_EVERY == 0
    if is_saved:
        return SavedJournal if has_results else SavedPlainJournal
    return Journal if has_results else PlainJournal


def take_variant(name: str) -> None:
    """Give all journals other signatures, and so all their groups another course."""
    for kind in (Journal, SavedJournal, PlainJournal, SavedPlainJournal):
        kind.signature = f"{kind.__name__} {name}"
