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

from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from .commands import CommandBatches
from .raft import ENTRY_BYTES_MAX
from .types import REQUEST_BYTES, HistoryId, Index, KnownHistoryId, RequestId

FINISHED_WITH_MAX: Final = 4096


class TakeSnapshot(msgspec.Struct, frozen=True, array_like=True, tag="cut"):
    """Every member takes a snapshot of the state at this very entry."""

    request_id: RequestId  # 16 random bytes by which those who asked know it


class AcceptMerge(msgspec.Struct, frozen=True, array_like=True, tag="accept"):
    """This history will take in `history`."""

    history: KnownHistoryId  # the merging history
    # The request that it answers; another request needs another system entry.
    request_id: RequestId = bytes(REQUEST_BYTES)


class CloseInto(msgspec.Struct, frozen=True, array_like=True, tag="close"):
    """This history ends here: no command after this entry is applied, all go into `history`."""

    history: KnownHistoryId  # where the commands go
    # How many histories this one had ever accepted when it asked; void when there is one more.
    accept_count: Index = 0
    # Void when it has more commands by then: `history` has those already, and no more could be
    # replayed. None for any number.
    command_count_max: Index | None = None


class Replay(msgspec.Struct, frozen=True, array_like=True, tag="replay"):
    """Commands that were applied in `history`, applied here once more and only once."""

    history: KnownHistoryId  # the history that ended
    command_batches: CommandBatches  # in a row, in the order in which they were applied there
    after: Index = 0  # how many commands were applied there before them
    # The history that applied them first, where `history` itself had taken them in; else empty.
    origin: HistoryId = b""
    origin_after: Index = 0  # how many commands of its own clients `origin` had applied before them
    # The history with whose end users are notified of them: the first one to be merged that had
    # them, itself or from a history that it continues. Empty for `history`.
    holder: HistoryId = b""

    @property
    def command_count(self) -> int:
        """How many commands these are."""
        return sum(command_batch.command_count for command_batch in self.command_batches)


class FinishMerge(msgspec.Struct, frozen=True, array_like=True, tag="finish"):
    """Everything that was ever applied in `history` is here now."""

    history: KnownHistoryId  # the history that ended
    command_count: Index  # that were applied there, all told; void when not as many are here
    # The histories that had been taken in there, whole: they are now here.
    merged: Annotated[tuple[KnownHistoryId, ...], msgspec.Meta(max_length=FINISHED_WITH_MAX)] = ()


class ContinueAs(msgspec.Struct, frozen=True, array_like=True, tag="continue"):
    """This log goes on as another history: the voters of the one so far are out of reach."""

    previous: KnownHistoryId  # the history so far, which others may go on with as well
    history: KnownHistoryId  # the history from here on
    index: Index  # up to here the log is committed in `previous`, so both have it
    position: Index  # how many commands are applied up to there
    own_count: Index  # how many of them were first applied in `previous`
    through_count: Index  # how many a `Replay` of `previous` would have brought up to there


SystemEntry = TakeSnapshot | AcceptMerge | CloseInto | Replay | FinishMerge | ContinueAs

encode_system_entry: Callable[[SystemEntry], bytes] = encode
decode_system_entry: Final = BoundedDecoder[SystemEntry](
    SystemEntry, "a system entry", ENTRY_BYTES_MAX
).decode
