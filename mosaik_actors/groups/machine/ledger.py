"""What a group knows of itself: replicated state beside the machine's.

It changes only while entries are applied, in log order, with nothing but their content, and it is
part of every snapshot: so it is the same on every member at the same place in the log. What does
not fit the present state is void, alike everywhere.

Every command has an identity that no merge changes: the history whose log it was first applied in,
its *origin*, and its number there. The ledger counts per origin how many are here. They always come
in order, so the count says which: a command that arrives a second time, by whatever way, is
dropped, also when its client's session is long forgotten.

Invariants:
    * A history is closed once, into one other; after that nothing changes it.
    * It is closed only if it has accepted no merging history since it asked to be taken
      in: from this follows that histories are never closed in a circle (`merge`).
    * The commands of a history that ended arrive without a gap, and it counts
      as merged only when all of them are here.
    * Of a history that this one continues (`ContinueAs`), the commands up to that place are here
      from the beginning: should it end, those alone that came after are taken in.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from ...errors import DecodeError
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


_Counts = Annotated[tuple[tuple[HistoryId, Number], ...], msgspec.Meta(max_length=COUNTS_KEPT_MAX)]


class Ledger(msgspec.Struct, array_like=True, eq=False):
    """The ledger of one history; what it is encoded as is the same on every member."""

    history: HistoryId = b""  # its id; empty for a member that has none
    accept_count: Number = 0  # how often it has accepted a merging history
    # The histories it has accepted and not taken in whole, in order; the latest ones. Some may have
    # gone elsewhere.
    merging_histories: Annotated[
        tuple[HistoryId, ...], msgspec.Meta(max_length=MERGING_COUNT_MAX)
    ] = ()
    closed_into: HistoryId = b""  # where it was closed into; empty while it is open
    # The histories it has taken in whole, the latest last.
    merged: Annotated[tuple[HistoryId, ...], msgspec.Meta(max_length=MERGED_KEPT_MAX)] = ()
    came_from: _Counts = ()  # how many commands are here, of each origin
    # How many of all that was applied in a history that ended, whatever its origin, while it is
    # taken in.
    came_through: _Counts = ()
    # How many commands were first applied in this log: by this history and those that it continues.
    # The host counts them.
    own_count: Number = 0
    taken_count: Number = 0  # how many were taken in from histories that ended
    # The histories that it continues, the latest last.
    ancestors: Annotated[tuple[Ancestor, ...], msgspec.Meta(max_length=ANCESTORS_KEPT_MAX)] = ()

    @property
    def root(self) -> bytes:
        """The history in which the log begins."""
        return self.ancestors[0].history if self.ancestors else self.history

    @property
    def command_count(self) -> int:
        """How many commands were applied, those taken in included."""
        return self.own_count + self.taken_count

    def apply(self, system_entry: SystemEntry) -> tuple[CommandBatch, ...] | None:
        """Take in a committed system entry; return None when it is void or changes nothing.

        Of a `Replay`, apply the command batches that are returned, not the system entry's own:
        some of those may be here already, perhaps all. Others return none.
        """
        if self.closed_into:
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
        return dict(self.came_through).get(history, 0)

    def shared_position(self, history: bytes) -> int | None:
        """Return up to which position another history and this one are the same; None for none."""
        shared = [known.position for known in self.ancestors if known.history == history]
        return shared[-1] if shared else None

    def to_bytes(self) -> bytes:
        """Return it for a snapshot: the same bytes on every member."""
        return encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Ledger:
        """Return the ledger of a snapshot. Raises `DecodeError` when it is none of ours."""
        ledger = _decoder.decode(data)
        ledger.came_from = tuple(dict(ledger.came_from).items())
        ledger.came_through = tuple(dict(ledger.came_through).items())
        if ledger.to_bytes() != data:
            raise DecodeError("a ledger is not written as it should be")
        return ledger

    # Helpers.

    def _accept(self, history: bytes) -> tuple[CommandBatch, ...] | None:
        if self.has_all_of(history):
            return None
        self.accept_count += 1
        others = [other for other in self.merging_histories if other != history]
        self.merging_histories = (*others, history)[-MERGING_COUNT_MAX:]
        return ()

    def _close(self, system_entry: CloseInto) -> tuple[CommandBatch, ...] | None:
        into, count_max = system_entry.history, system_entry.command_count_max
        if self.has_all_of(into) or system_entry.accept_count != self.accept_count:
            return None
        if count_max is not None and self.command_count > count_max:
            return None
        self.closed_into = into
        return ()

    def _take(self, system_entry: Replay) -> tuple[CommandBatch, ...] | None:
        """Take in what of a replay is new: it is once for the way it came, once by its origin."""
        if self.has_all_of(system_entry.history):
            return None
        skipped = self.taken_of(system_entry.history) - system_entry.after
        count = system_entry.command_count
        if not 0 <= skipped < count:
            return None
        origin = system_entry.origin or system_entry.history
        through_count = system_entry.after + count
        self.came_through = _count_up(self.came_through, system_entry.history, through_count)
        if self.has_all_of(origin):
            return ()
        skipped = max(skipped, dict(self.came_from).get(origin, 0) - system_entry.origin_after)
        self.came_from = _count_up(self.came_from, origin, system_entry.origin_after + count)
        command_batches = skip_commands(system_entry.command_batches, skipped)
        self.taken_count += sum(batch.command_count for batch in command_batches)
        return command_batches

    def _finish(self, system_entry: FinishMerge) -> tuple[CommandBatch, ...] | None:
        history = system_entry.history
        if self.has_all_of(history) or self.taken_of(history) != system_entry.command_count:
            return None
        known = {*self.merged, self.history}
        whole = [other for other in (*system_entry.merged, history) if other not in known]
        self.merged = (*self.merged, *whole)[-MERGED_KEPT_MAX:]
        self.came_from = tuple(one for one in self.came_from if one[0] not in whole)
        self.came_through = tuple(one for one in self.came_through if one[0] not in whole)
        self.merging_histories = tuple(h for h in self.merging_histories if h not in whole)
        return ()

    def _continue_as(self, system_entry: ContinueAs) -> tuple[CommandBatch, ...] | None:
        """Go on as another history; what is here of the one so far is known by its count."""
        previous, history = system_entry.previous, system_entry.history
        if previous != self.history or self.has_all_of(history):
            return None
        own_count, through_count = system_entry.own_count, system_entry.through_count
        if len(self.ancestors) >= ANCESTORS_KEPT_MAX:
            self.ancestors = (self.ancestors[0], *self.ancestors[2:])
        known = Ancestor(previous, system_entry.index, system_entry.position, own_count)
        self.ancestors = (*self.ancestors, known)
        self.history = history
        self.came_from = _count_up(self.came_from, previous, own_count)
        self.came_through = _count_up(self.came_through, previous, through_count)
        return ()


def skip_commands(
    command_batches: tuple[CommandBatch, ...], count: int
) -> tuple[CommandBatch, ...]:
    """Return command batches without their first `count` commands."""
    left: list[CommandBatch] = []
    for batch in command_batches:
        skipped = min(count, batch.command_count)
        count -= skipped
        if not skipped:
            left.append(batch)
        elif skipped < batch.command_count:
            left.append(batch.part(skipped, batch.command_count))
    return tuple(left)


def _count_up(known: _Counts, history: bytes, count: int) -> _Counts:
    counts = dict(known)
    counts[history] = max(count, counts.get(history, 0))
    return tuple(counts.items())[-COUNTS_KEPT_MAX:]


_decoder: BoundedDecoder[Ledger] = BoundedDecoder(Ledger, "a ledger", LEDGER_BYTES_MAX)
