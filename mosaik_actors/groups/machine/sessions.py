"""Exactly once: which commands of which client were applied, and what they returned.

A client that gets no answer asks again, perhaps another leader, and both copies
may end up in the log. Each replica therefore remembers, per client, how far it
has applied and what it answered (Raft thesis 6.3). The table is part of the
replicated state: it changes only while entries are applied, in log order, with
nothing but the log's content, and it is part of every snapshot.

    * A client numbers its commands from 1, without a gap. They are applied in
      that order: one that comes too early is refused and may come again. So
      consecutive calls of a client take effect in order, whatever was lost.
    * A repeated command is not applied; its first result is returned, until
      the client says that it has it (`Burst.answered`).
    * Memory is bounded: in clients, and in commands and bytes of results for
      each. A client that is silent for `idle_index_count` log positions, or is
      the longest silent one when there are too many, is forgotten.
    * A forgotten client that comes back must not begin anew, for its repeated
      first command may have been applied. It differs from a new one by
      `Burst.born_index`: where its session began. At or before the last
      activity of any client ever forgotten, it is refused as expired.
      (The thesis registers clients through the log, a round trip that this
      saves.)

Positions in the log are the only clock, for replicas must agree about who is
forgotten.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from ..wire.commands import Burst
from ..wire.types import CLIENT_BYTES

TABLE_BYTES_MAX: Final = 1 << 31
_CLIENTS_MAX: Final = 1 << 20
_RESULTS_MAX: Final = 1 << 20


class Refusal(Enum):
    """Why commands are not applied."""

    NONE = "none"
    GAP = "an earlier command of the client is missing: send it first"
    EXPIRED = "the client is forgotten: whether it was applied is not known"
    ANSWERED = "the client has said that it knows the result"
    OVERFLOW = "too many results of the client wait to be answered"
    CLOSED = "the history is closed: it takes no more commands"


class Answer(msgspec.Struct, frozen=True):
    """What became of one command of a burst.

    Attributes:
        sequence: The command's number.
        result: What the machine returned, encoded; None when it was refused,
            or when the result was too large to be kept for a repetition.
        refusal: Why it was not applied now, nor before.
        is_repeated: Whether it had been applied before.
    """

    sequence: int
    result: bytes | None
    refusal: Refusal = Refusal.NONE
    is_repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Limits that all members of a group must agree on.

    Attributes:
        client_count: Clients remembered.
        result_count: Results kept for one client, not answered yet.
        result_bytes: A result longer than this is not kept for repetitions.
        idle_index_count: Log positions after which a silent client is forgotten.
    """

    client_count: int = 10_000
    result_count: int = 65_536
    result_bytes: int = 64 * 1024
    idle_index_count: int = 10_000_000


class _Session:
    """One client: applied up to `last`, with the results after `last` - len(results)."""

    __slots__ = ("active_index", "last", "results")

    def __init__(self) -> None:
        self.last = 0
        self.active_index = 0
        self.results: deque[bytes | None] = deque()

    def forget(self, answered: int) -> None:
        """Drop the results of commands up to `answered`."""
        results = self.results
        if answered >= self.last:
            results.clear()
            return
        for _ in range(answered - (self.last - len(results))):
            results.popleft()

    def result_of(self, sequence: int) -> Answer:
        """Return the answer to a command that was applied."""
        offset = sequence - (self.last - len(self.results)) - 1
        if offset < 0:
            return Answer(sequence, None, Refusal.ANSWERED, is_repeated=True)
        return Answer(sequence, self.results[offset], is_repeated=True)


class Sessions:
    """The table of clients of one group; see the module's docstring.

    Args:
        limits: The same for all members.
    """

    def __init__(self, limits: SessionLimits | None = None) -> None:
        self._limits = limits or SessionLimits()
        self._forgotten_index = -1
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def apply(
        self, burst: Burst, index: int, machine: Callable[[Sequence[bytes]], Sequence[bytes | None]]
    ) -> list[Answer]:
        """Apply the commands of a burst that were not applied yet; return what to answer.

        Args:
            burst: The commands.
            index: The entry's place in the log; it never goes down.
            machine: Applies payloads in order and returns as many results. It
                is called at most once, and not when there is nothing to apply.
        """
        self._expire(index)
        session = self._find(burst, index)
        if session is None:
            return _refuse(burst, 0, Refusal.EXPIRED)
        session.active_index = index
        self._sessions.move_to_end(burst.client)
        session.forget(min(burst.answered, session.last))
        repeated = min(len(burst.payloads), max(0, session.last - burst.first_sequence + 1))
        answers = [session.result_of(burst.first_sequence + n) for n in range(repeated)]
        if repeated == len(burst.payloads):
            return answers
        if burst.first_sequence + repeated != session.last + 1:
            return _refuse(burst, 0, Refusal.GAP)
        room = self._limits.result_count - len(session.results)
        fresh = burst.payloads[repeated : repeated + room]
        if fresh:
            self._apply_fresh(session, fresh, machine, answers)
        return answers + _refuse(burst, repeated + len(fresh), Refusal.OVERFLOW)

    def to_bytes(self) -> bytes:
        """Return the table for a snapshot: the same bytes on every replica."""
        rows = tuple(
            _Row(client, session.active_index, session.last, tuple(session.results))
            for client, session in self._sessions.items()
        )
        return encode(_Table(self._forgotten_index, rows))

    @classmethod
    def from_bytes(cls, data: bytes, limits: SessionLimits | None = None) -> Sessions:
        """Return the table of a snapshot. Raises `DecodeError` when it is none."""
        table = _decoder.decode(data)
        sessions = cls(limits)
        sessions._forgotten_index = table.forgotten_index
        for row in table.rows:
            session = _Session()
            session.active_index, session.last = row.active_index, row.last
            session.results.extend(row.results)
            sessions._sessions[row.client] = session
        return sessions

    # Helpers.

    def _apply_fresh(
        self,
        session: _Session,
        payloads: Sequence[bytes],
        machine: Callable[[Sequence[bytes]], Sequence[bytes | None]],
        answers: list[Answer],
    ) -> None:
        results = machine(payloads)
        assert len(results) == len(payloads), f"{len(results)} results of {len(payloads)} commands"
        limit = self._limits.result_bytes
        for result in results:
            session.last += 1
            answers.append(Answer(session.last, result))
            session.results.append(None if result is not None and len(result) > limit else result)

    def _find(self, burst: Burst, index: int) -> _Session | None:
        """Return the client's session, a new one if it may begin, None if it is expired."""
        session = self._sessions.get(burst.client)
        if session is None:
            if burst.born_index <= self._forgotten_index:
                return None
            session = self._sessions[burst.client] = _Session()
            session.active_index = index
            if len(self._sessions) > self._limits.client_count:
                self._forget_oldest()
        return session

    def _expire(self, index: int) -> None:
        floor_index = index - self._limits.idle_index_count
        while self._sessions and next(iter(self._sessions.values())).active_index < floor_index:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, session = self._sessions.popitem(last=False)
        self._forgotten_index = max(self._forgotten_index, session.active_index)


def _refuse(burst: Burst, from_: int, refusal: Refusal) -> list[Answer]:
    first = burst.first_sequence
    return [Answer(first + n, None, refusal) for n in range(from_, len(burst.payloads))]


class _Row(msgspec.Struct, frozen=True, array_like=True):
    client: Annotated[bytes, msgspec.Meta(min_length=CLIENT_BYTES, max_length=CLIENT_BYTES)]
    active_index: Annotated[int, msgspec.Meta(ge=0)]
    last: Annotated[int, msgspec.Meta(ge=0)]
    results: Annotated[tuple[bytes | None, ...], msgspec.Meta(max_length=_RESULTS_MAX)]


class _Table(msgspec.Struct, frozen=True, array_like=True):
    forgotten_index: int
    rows: Annotated[tuple[_Row, ...], msgspec.Meta(max_length=_CLIENTS_MAX)]


_decoder: BoundedDecoder[_Table] = BoundedDecoder(_Table, "a table of sessions", TABLE_BYTES_MAX)
