"""What a group knows of itself: replicated state beside the machine's.

It changes only while entries are applied, in log order, with nothing but their
content, and it is part of every snapshot: so it is the same on every member at
the same place in the log. What does not fit the present state is void, alike
everywhere.

Every command has an identity that no merge changes: the history whose log it
was first applied in, its *origin*, and its number there. The ledger counts per
origin how many are here. They always come in order, so the count says which:
a command that arrives a second time, by whatever way, is dropped, also when its
client's session is long forgotten.

Invariants:
    * A history is closed once, into one other; after that nothing changes it.
    * It is closed only if it has accepted no merging history since it asked to be taken
      in: from this follows that histories are never closed in a circle (`merge`).
    * The commands of a history that ended arrive without a gap, and it counts
      as merged only when all of them are here.
    * Of a history that this one continues (`ContinueAs`), the commands up to that
      place are here from the beginning: should it end, those alone that came
      after are taken in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from ..wire.commands import CommandBatch
from ..wire.status import Ancestor
from ..wire.system_entries import (
    FINISHED_WITH_MAX,
    AcceptMerge,
    CloseInto,
    ContinueAs,
    FinishMerge,
    Replay,
    SystemEntry,
    TakeSnapshot,
)
from ..wire.types import HistoryId, Number

MERGING_COUNT_MAX: Final = 64
MERGED_KEPT_MAX: Final = FINISHED_WITH_MAX
COUNTS_KEPT_MAX: Final = 2 * MERGED_KEPT_MAX
ANCESTORS_KEPT_MAX: Final = 2048
LEDGER_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class MergingHistoryAccepted:
    """This history will take in another one."""

    history: bytes


@dataclass(frozen=True, slots=True)
class HistoryClosed:
    """This history ends, and its commands go into another one."""

    into: bytes


@dataclass(frozen=True, slots=True)
class CommandsTaken:
    """Commands of a history that ended are to be applied now.

    Attributes:
        history: The history that ended.
        origin: The history that applied them first.
        command_batches: What of the system entry is new here, in order; perhaps nothing.
    """

    history: bytes
    origin: bytes
    command_batches: tuple[CommandBatch, ...]


@dataclass(frozen=True, slots=True)
class MergeFinished:
    """This history has taken in another one whole."""

    history: bytes
    command_count: int


@dataclass(frozen=True, slots=True)
class HistoryContinued:
    """The log goes on as another history from here."""

    previous: bytes
    history: bytes


LedgerEvent = (
    MergingHistoryAccepted | HistoryClosed | CommandsTaken | MergeFinished | HistoryContinued
)


class Ledger:
    """The ledger of one history.

    Args:
        history: Its id; empty for a member that has none.

    Attributes:
        history: Its id.
        accept_count: How often it has accepted a merging history.
        merging_histories: The histories it has accepted and not taken in whole, in order;
            the latest ones. Some may have gone elsewhere.
        closed_into: Where it was closed into; empty while it is open.
        merged: The histories it has taken in whole, the latest last.
        own_count: How many commands were first applied in this log: by this
            history and those that it continues. The host counts them.
        taken_count: How many were taken in from histories that ended.
        ancestors: The histories that it continues, the latest last.
    """

    __slots__ = (
        "_came_from",
        "_came_through",
        "accept_count",
        "ancestors",
        "closed_into",
        "history",
        "merged",
        "merging_histories",
        "own_count",
        "taken_count",
    )

    def __init__(self, history: bytes = b"") -> None:
        self.history = history
        self.accept_count = 0
        self.merging_histories: tuple[bytes, ...] = ()
        self.closed_into = b""
        self.merged: tuple[bytes, ...] = ()
        self.own_count = 0
        self.taken_count = 0
        self.ancestors: tuple[Ancestor, ...] = ()
        # How many commands are here: of each origin; and of all that was applied
        # in a history that ended, whatever its origin, while it is taken in.
        self._came_from: dict[bytes, int] = {}
        self._came_through: dict[bytes, int] = {}

    @property
    def root(self) -> bytes:
        """The history in which the log begins."""
        return self.ancestors[0].history if self.ancestors else self.history

    @property
    def command_count(self) -> int:
        """How many commands were applied, those taken in included."""
        return self.own_count + self.taken_count

    @property
    def is_closed(self) -> bool:
        """Whether no more commands are applied in this history."""
        return bool(self.closed_into)

    def apply(self, system_entry: SystemEntry) -> LedgerEvent | None:
        """Take in a committed system entry; return what came of it.

        None when it is void or changes nothing.

        Of a `Replay`, apply the command batches of the `CommandsTaken` that is returned,
        not the system entry's own: some of those may be here already.
        """
        if self.is_closed:
            return None
        match system_entry:
            case AcceptMerge(history):
                return self._accept(history)
            case CloseInto():
                return self._close(system_entry)
            case Replay():
                return self._take(system_entry)
            case FinishMerge():
                return self._finish(system_entry)
            case ContinueAs():
                return self._continue_as(system_entry)
            case TakeSnapshot():
                return None

    def has_all_of(self, history: bytes) -> bool:
        """Return whether all that was ever applied in `history` is here: it is merged, or this."""
        return history == self.history or history in self.merged

    def taken_of(self, history: bytes) -> int:
        """Return how many commands of a history are here; 0 once it is merged."""
        return self._came_through.get(history, 0)

    def shared_position(self, history: bytes) -> int | None:
        """Return up to which position another history and this one are the same; None for none."""
        shared = [known.position for known in self.ancestors if known.history == history]
        return shared[-1] if shared else None

    def to_bytes(self) -> bytes:
        """Return it for a snapshot: the same bytes on every member."""
        return encode(
            _Ledger(
                self.history,
                self.accept_count,
                self.merging_histories,
                self.closed_into,
                self.merged,
                tuple(self._came_from.items()),
                tuple(self._came_through.items()),
                self.own_count,
                self.taken_count,
                self.ancestors,
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Ledger:
        """Return the ledger of a snapshot. Raises `DecodeError` when it is none."""
        read = _decoder.decode(data)
        ledger = cls(read.history)
        ledger.accept_count = read.accept_count
        ledger.merging_histories, ledger.closed_into = read.merging_histories, read.closed_into
        ledger.merged = read.merged
        ledger._came_from = dict(read.came_from)
        ledger._came_through = dict(read.came_through)
        ledger.own_count, ledger.taken_count = read.own_count, read.taken_count
        ledger.ancestors = read.ancestors
        return ledger

    # Helpers.

    def _accept(self, history: bytes) -> LedgerEvent | None:
        if self.has_all_of(history):
            return None
        self.accept_count += 1
        others = tuple(
            merging_history
            for merging_history in self.merging_histories
            if merging_history != history
        )
        self.merging_histories = (*others, history)[-MERGING_COUNT_MAX:]
        return MergingHistoryAccepted(history)

    def _close(self, system_entry: CloseInto) -> LedgerEvent | None:
        into, count_max = system_entry.history, system_entry.command_count_max
        if self.has_all_of(into) or system_entry.accept_count != self.accept_count:
            return None
        if count_max is not None and self.command_count > count_max:
            return None
        self.closed_into = into
        return HistoryClosed(into)

    def _take(self, system_entry: Replay) -> LedgerEvent | None:
        """Take in what of a replay is new: it is once for the way it came, once by its origin."""
        if self.has_all_of(system_entry.history):
            return None
        skipped = self.taken_of(system_entry.history) - system_entry.after
        count = system_entry.command_count
        if not 0 <= skipped < count:
            return None
        origin = system_entry.origin or system_entry.history
        _count_up(self._came_through, system_entry.history, system_entry.after + count)
        if self.has_all_of(origin):
            return CommandsTaken(system_entry.history, origin, ())
        skipped = max(skipped, self._came_from.get(origin, 0) - system_entry.origin_after)
        _count_up(self._came_from, origin, system_entry.origin_after + count)
        command_batches = skip_commands(system_entry.command_batches, skipped)
        self.taken_count += sum(batch.command_count for batch in command_batches)
        return CommandsTaken(system_entry.history, origin, command_batches)

    def _finish(self, system_entry: FinishMerge) -> LedgerEvent | None:
        history = system_entry.history
        if self.has_all_of(history) or self.taken_of(history) != system_entry.command_count:
            return None
        known = {*self.merged, self.history}
        whole = [other for other in (*system_entry.merged, history) if other not in known]
        self.merged = (*self.merged, *whole)[-MERGED_KEPT_MAX:]
        for other in whole:
            self._came_from.pop(other, None)
            self._came_through.pop(other, None)
        self.merging_histories = tuple(
            merging_history
            for merging_history in self.merging_histories
            if merging_history not in whole
        )
        return MergeFinished(history, system_entry.command_count)

    def _continue_as(self, system_entry: ContinueAs) -> LedgerEvent | None:
        """Go on as another history; what is here of the one so far is known by its count."""
        previous, history = system_entry.previous, system_entry.history
        if previous != self.history or self.has_all_of(history):
            return None
        known = Ancestor(
            previous, system_entry.index, system_entry.position, system_entry.own_count
        )
        if len(self.ancestors) >= ANCESTORS_KEPT_MAX:
            self.ancestors = (self.ancestors[0], *self.ancestors[2:])
        self.ancestors = (*self.ancestors, known)
        self.history = history
        _count_up(self._came_from, previous, system_entry.own_count)
        _count_up(self._came_through, previous, system_entry.through_count)
        return HistoryContinued(previous, history)


def skip_commands(
    command_batches: tuple[CommandBatch, ...], count: int
) -> tuple[CommandBatch, ...]:
    """Return command batches without their first `count` commands."""
    left: list[CommandBatch] = []
    for command_batch in command_batches:
        skipped = min(count, command_batch.command_count)
        count -= skipped
        if not skipped:
            left.append(command_batch)
        elif skipped < command_batch.command_count:
            left.append(command_batch.split(skipped)[1])
    return tuple(left)


def _count_up(counts: dict[bytes, int], history: bytes, count: int) -> None:
    counts[history] = max(count, counts.get(history, 0))
    if len(counts) > COUNTS_KEPT_MAX:
        del counts[next(iter(counts))]


_Counts = Annotated[tuple[tuple[HistoryId, Number], ...], msgspec.Meta(max_length=COUNTS_KEPT_MAX)]


class _Ledger(msgspec.Struct, frozen=True, array_like=True):
    history: HistoryId
    accept_count: Number
    merging_histories: Annotated[tuple[HistoryId, ...], msgspec.Meta(max_length=MERGING_COUNT_MAX)]
    closed_into: HistoryId
    merged: Annotated[tuple[HistoryId, ...], msgspec.Meta(max_length=MERGED_KEPT_MAX)]
    came_from: _Counts
    came_through: _Counts
    own_count: Number
    taken_count: Number
    ancestors: Annotated[tuple[Ancestor, ...], msgspec.Meta(max_length=ANCESTORS_KEPT_MAX)]


_decoder: BoundedDecoder[_Ledger] = BoundedDecoder(_Ledger, "a ledger", LEDGER_BYTES_MAX)
