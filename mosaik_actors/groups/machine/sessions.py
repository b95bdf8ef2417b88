"""Exactly once: which commands of which client were applied, and what they returned.

A client that gets no answer asks again, perhaps another leader, and both copies may end up in the
log. Each replica therefore remembers, per client, how far it has applied and what it answered (Raft
thesis 6.3). The table is part of the replicated state: it changes only while entries are applied,
in log order, with nothing but the log's content, and it is part of every snapshot.

    * A client numbers its payloads, of one command or several, from 1, without a gap. They
      are applied in that order, each whole: one that comes too early is refused and may come
      again. So consecutive calls of a client take effect in order, whatever was lost.
    * A repeated payload is not applied; its first position and result are returned,
      until the client says that it has them (`CommandBatch.answered`).
    * Memory is bounded: in clients, in payloads for each, and in bytes of results:
      of those the oldest are dropped, and then only the position is known. A client
      that is silent for `idle_index_count` log positions, or is the longest silent one
      when there are too many, is forgotten.
    * A forgotten client that comes back must not begin anew, for its repeated first command may
      have been applied. It differs from a new one by `CommandBatch.born_index`: where its session
      began. At or before the last activity of any client ever forgotten, it is refused as expired.
      (The thesis registers clients through the log, a round trip that this saves.)

Positions in the log are the only clock, for replicas must agree about who is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final

import msgspec

from ...errors import DecodeError
from ...wire_encoding import BoundedDecoder, encode
from ..wire.commands import CommandBatch
from ..wire.types import ClientId

TABLE_BYTES_MAX: Final = 1 << 31
_CLIENTS_MAX: Final = 1 << 20
_RESULTS_MAX: Final = 1 << 20
_KEPT_MAX: Final = 1 << 21
_OVERHEAD_BYTES: Final = 32  # what a result counts for beside its bytes


class Refusal(Enum):
    """Why commands are not applied."""

    NONE = "none"
    GAP = "an earlier command of the client is missing: send it first"
    EXPIRED = "the client is forgotten: whether it was applied is not known"
    ANSWERED = "the client has said that it knows the result"
    OVERFLOW = "too many results of the client wait to be answered"
    CLOSED = "the history is closed: it takes no more commands"


class CommandAnswer(msgspec.Struct, frozen=True):
    """What became of one payload of a command batch."""

    sequence: int  # the payload's number
    position: bytes | None  # where it was applied, encoded; None when it was refused
    refusal: Refusal = Refusal.NONE  # why it was not applied now, nor before
    is_repeated: bool = False  # whether it had been applied before
    # What the machine returned, encoded (see `read_results`); None when it has no results, or this
    # one was too large to be kept, or was dropped for later ones.
    result: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Limits that all members of a group must agree on."""

    client_count: int = 10_000  # clients remembered
    result_count: int = 65_536  # payloads of one client that are remembered, not answered yet
    result_bytes: int = 64 * 1024  # a result longer than this is not kept
    results_bytes: int = 64 * 1024 * 1024  # of all results together; beyond, the oldest are dropped
    idle_index_count: int = 10_000_000  # log positions after which a silent client is forgotten


class Results:
    """What commands returned, by the positions of their payloads, the oldest first.

    Of a payload with one command it is that result, of one with several an array of theirs.
    """

    __slots__ = ("_limits", "_size_bytes", "kept")

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._size_bytes = 0
        self.kept: dict[bytes, bytes] = {}

    def add(self, position: bytes, returned: Sequence[bytes]) -> None:
        """Keep what the commands of a payload returned, but for those that are too large."""
        size_max = self._limits.result_bytes
        if len(returned) == 1:
            (result,) = returned
            if len(result) > size_max:
                return
        else:
            result = encode([one if len(one) <= size_max else None for one in returned])
        self.keep(position, result)

    def keep(self, position: bytes, result: bytes) -> None:
        """Keep what was kept before, of a snapshot."""
        self.kept[position] = result
        self._size_bytes += len(result) + _OVERHEAD_BYTES
        while self._size_bytes > self._limits.results_bytes:
            self._drop(next(iter(self.kept)))

    def forget(self, positions: Iterable[bytes | None]) -> None:
        """Drop what the commands at some positions returned."""
        if self.kept:
            for position in positions:
                if position in self.kept:
                    self._drop(position)

    def _drop(self, position: bytes) -> None:
        self._size_bytes -= len(self.kept.pop(position)) + _OVERHEAD_BYTES


class _Session(msgspec.Struct, array_like=True, eq=False):
    """One client: applied up to `last`, with the positions after `last` - len(positions)."""

    client: ClientId
    active_index: Annotated[int, msgspec.Meta(ge=0)]
    last: Annotated[int, msgspec.Meta(ge=0)] = 0
    positions: Annotated[list[bytes | None], msgspec.Meta(max_length=_RESULTS_MAX)] = msgspec.field(
        default_factory=list
    )

    def forget(self, answered: int, results: Results) -> None:
        """Drop what is known of commands up to `answered`."""
        count = min(answered, self.last) - (self.last - len(self.positions))
        if count > 0:
            results.forget(self.positions[:count])
            del self.positions[:count]

    def answer_of(self, sequence: int) -> CommandAnswer:
        """Return the answer to a command that was applied."""
        offset = sequence - (self.last - len(self.positions)) - 1
        if offset < 0:
            return CommandAnswer(sequence, None, Refusal.ANSWERED, is_repeated=True)
        return CommandAnswer(sequence, self.positions[offset], is_repeated=True)


class Sessions:
    """The table of clients of one group; see the module's docstring."""

    def __init__(self, limits: SessionLimits | None = None) -> None:
        self._limits = limits or SessionLimits()
        # What commands returned. The owner adds to it, at the same places of the log on all
        # members, and fills the answers in by it.
        self.results = Results(self._limits)
        self._forgotten_index = -1
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def apply(
        self,
        command_batch: CommandBatch,
        index: int,
        machine: Callable[[Sequence[bytes]], Sequence[bytes | None]],
    ) -> list[CommandAnswer]:
        """Apply the commands of a command batch that were not applied yet; return what to answer.

        `index` is the entry's place in the log; it never goes down. `machine` takes payloads to be
        applied, in order, and returns as many positions. It is called at most once, and not when
        there is nothing to apply.
        """
        self._expire(index)
        session = self._find(command_batch, index)
        if session is None:
            return refuse(command_batch, 0, Refusal.EXPIRED)
        session.active_index = index
        self._sessions.move_to_end(command_batch.client)
        session.forget(command_batch.answered, self.results)
        first, payloads = command_batch.first_sequence, command_batch.payloads
        repeated = min(len(payloads), max(0, session.last - first + 1))
        answers = [session.answer_of(first + n) for n in range(repeated)] if repeated else []
        if repeated == len(payloads):
            return answers
        if first + repeated != session.last + 1:
            return refuse(command_batch, 0, Refusal.GAP)
        room = self._limits.result_count - len(session.positions)
        fresh = payloads[repeated : repeated + room]
        if fresh:
            positions = machine(fresh)
            count = len(positions)
            assert count == len(fresh), f"{count} positions of {len(fresh)} commands"
            answers += [CommandAnswer(n, at) for n, at in enumerate(positions, session.last + 1)]
            session.last += count
            session.positions += positions
        taken = repeated + len(fresh)
        if taken < len(payloads):
            answers += refuse(command_batch, taken, Refusal.OVERFLOW)
        return answers

    def to_bytes(self) -> bytes:
        """Return the table for a snapshot: the same bytes on every replica."""
        rows = tuple(self._sessions.values())
        kept = tuple(self.results.kept.items())
        # A table without results is written as it was before there were any.
        table = (self._forgotten_index, rows)
        return encode((*table, kept) if kept else table)

    @classmethod
    def from_bytes(cls, data: bytes, limits: SessionLimits | None = None) -> Sessions:
        """Return the table of a snapshot. Raises `DecodeError` when it is none of ours."""
        table = _decoder.decode(data)
        sessions = cls(limits)
        sessions._forgotten_index = table.forgotten_index
        sessions._sessions.update((session.client, session) for session in table.rows)
        for position, result in table.results:
            sessions.results.keep(position, result)
        if sessions.to_bytes() != data:
            raise DecodeError("a table of sessions is not written as it should be")
        if len(sessions) > sessions._limits.client_count:
            limit = sessions._limits.client_count
            raise DecodeError(f"{len(sessions)} clients in a snapshot, at most {limit}")
        return sessions

    # Helpers.

    def _find(self, command_batch: CommandBatch, index: int) -> _Session | None:
        """Return the client's session, a new one if it may begin, None if it is expired."""
        session = self._sessions.get(command_batch.client)
        if session is None:
            if command_batch.born_index <= self._forgotten_index:
                return None
            session = _Session(command_batch.client, index)
            self._sessions[command_batch.client] = session
            if len(self._sessions) > self._limits.client_count:
                self._forget_oldest()
        return session

    def _expire(self, index: int) -> None:
        floor_index = index - self._limits.idle_index_count
        while self._sessions and next(iter(self._sessions.values())).active_index < floor_index:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, session = self._sessions.popitem(last=False)
        self.results.forget(session.positions)
        self._forgotten_index = max(self._forgotten_index, session.active_index)


def read_results(result: bytes, count: int) -> Sequence[bytes | None]:
    """Return what each command of a payload of `count` returned, of an answer's `result`.

    Nothing where that is not known: both may be of a peer's snapshot.
    """
    if count == 1:
        return (result,)
    try:
        results = _results_decoder.decode(result)
    except DecodeError:
        return ()
    return results if len(results) == count else ()


def refuse(command_batch: CommandBatch, from_: int, refusal: Refusal) -> list[CommandAnswer]:
    """Return the answers to the commands of a batch from one on, which are not applied."""
    first = command_batch.first_sequence
    return [
        CommandAnswer(first + n, None, refusal) for n in range(from_, len(command_batch.payloads))
    ]


class _Table(msgspec.Struct, frozen=True, array_like=True):
    forgotten_index: int
    rows: Annotated[tuple[_Session, ...], msgspec.Meta(max_length=_CLIENTS_MAX)]
    results: Annotated[tuple[tuple[bytes, bytes], ...], msgspec.Meta(max_length=_KEPT_MAX)] = ()


_results_decoder: BoundedDecoder[tuple[bytes | None, ...]] = BoundedDecoder(
    Annotated[tuple[bytes | None, ...], msgspec.Meta(max_length=_RESULTS_MAX)],
    "results",
    TABLE_BYTES_MAX,
)
_decoder: BoundedDecoder[_Table] = BoundedDecoder(_Table, "a table of sessions", TABLE_BYTES_MAX)
