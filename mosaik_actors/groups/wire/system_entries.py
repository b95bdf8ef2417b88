"""What a group decides about itself: the content of entries of kind SYSTEM.

System entries are ordered, committed and applied with everything else, so every member
comes to the same conclusion at the same place in the log. They change the
`ledger`, or tell every member to do one thing at the same index.

Whoever proposes a system entry may be wrong about the state it will be applied to: a
leader that was replaced, a message that took its time. So a system entry names what it
stands on (`CloseInto.accept_count`, `Replay.after`, `FinishMerge.command_count`),
and the ledger finds it void, alike on every member, when that is not so.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from .commands import COMMAND_BATCHES_MAX, CommandBatch
from .raft import ENTRY_BYTES_MAX
from .types import REQUEST_BYTES, HistoryId, Index, KnownHistoryId, RequestId

FINISHED_WITH_MAX: Final = 4096


class TakeSnapshot(msgspec.Struct, frozen=True, array_like=True, tag="cut"):
    """Every member takes a snapshot of the state at this very entry.

    Attributes:
        request_id: 16 random bytes by which those who asked know it.
    """

    request_id: RequestId


class AcceptMerge(msgspec.Struct, frozen=True, array_like=True, tag="accept"):
    """This history will take in `history`.

    Attributes:
        history: The merging history.
        request_id: The request that it answers; another request needs another system entry.
    """

    history: KnownHistoryId
    request_id: RequestId = bytes(REQUEST_BYTES)


class CloseInto(msgspec.Struct, frozen=True, array_like=True, tag="close"):
    """This history ends here: no command after this entry is applied, all go into `history`.

    Attributes:
        history: Where the commands go.
        accept_count: How many merging histories this history had accepted, ever, when it
            asked to be taken in. Void when it has accepted another since.
        command_count_max: How many commands it may have by then, when `history` has those
            already and no more could be replayed; void when it has more. None for any number.
    """

    history: KnownHistoryId
    accept_count: Index = 0
    command_count_max: Index | None = None


class Replay(msgspec.Struct, frozen=True, array_like=True, tag="replay"):
    """Commands that were applied in `history`, applied here once more and only once.

    Attributes:
        history: The history that ended.
        command_batches: Commands in a row, in the order in which they were applied there.
        after: How many commands were applied there before them.
        origin: The history that applied them first, when `history` itself had
            taken them in from another one; empty for `history`.
        origin_after: How many commands of its own clients `origin` had applied
            before them.
    """

    history: KnownHistoryId
    command_batches: Annotated[
        tuple[CommandBatch, ...], msgspec.Meta(min_length=1, max_length=COMMAND_BATCHES_MAX)
    ]
    after: Index = 0
    origin: HistoryId = b""
    origin_after: Index = 0

    @property
    def command_count(self) -> int:
        """How many commands these are."""
        return sum(command_batch.command_count for command_batch in self.command_batches)


class FinishMerge(msgspec.Struct, frozen=True, array_like=True, tag="finish"):
    """Everything that was ever applied in `history` is here now.

    Attributes:
        history: The history that ended.
        command_count: How many commands were applied there, all told. Void
            when not as many are here.
        merged: The histories that had been taken in there, whole: they are now here.
    """

    history: KnownHistoryId
    command_count: Index
    merged: Annotated[tuple[KnownHistoryId, ...], msgspec.Meta(max_length=FINISHED_WITH_MAX)] = ()


class ContinueAs(msgspec.Struct, frozen=True, array_like=True, tag="continue"):
    """This log goes on as another history: the voters of the one so far are out of reach.

    Attributes:
        previous: The history so far, which others may go on with as well.
        history: The history from here on.
        index: Up to here the log is committed in `previous`, so both have it.
        position: How many commands are applied up to there.
        own_count: How many of them were first applied in `previous`.
        through_count: How many a `Replay` of `previous` would have brought up to there.
    """

    previous: KnownHistoryId
    history: KnownHistoryId
    index: Index
    position: Index
    own_count: Index
    through_count: Index


SystemEntry = TakeSnapshot | AcceptMerge | CloseInto | Replay | FinishMerge | ContinueAs

_decoder: BoundedDecoder[SystemEntry] = BoundedDecoder(
    SystemEntry, "a system entry", ENTRY_BYTES_MAX
)


def encode_system_entry(system_entry: SystemEntry) -> bytes:
    """Return a system entry as the content of an entry."""
    return encode(system_entry)


def decode_system_entry(data: bytes) -> SystemEntry:
    """Return the system entry in an entry. Raises `DecodeError` when there is none."""
    return _decoder.decode(data)
