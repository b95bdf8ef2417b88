"""What members of two histories of one group say to each other.

MessagePack arrays with a tag. Three conversations:

    * `MergeRequest`, answered with `MergeAccepted` or `MergeRefused`: between
      the leaders of two open histories.
    * `ReplayQuery`, answered with `ReplayState`: anybody asks anybody of
      another history how much of its own is there.
    * `ReplayCommands`, answered with `ReplayDone` or `ReplayRefused`, and at the
      last `ReplayEnd`, answered with `ReplayState` or `ReplayRefused`: a member
      of a closed history to the leader of an open one.

Bytes come from a peer: `decode_merge` builds nothing beyond the limits of the
types and raises `DecodeError` for whatever is not a message of this protocol.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from .raft import MESSAGE_BYTES_MAX
from .system_entries import FinishMerge, Replay
from .types import Index, KnownHistoryId, RequestId

MERGE_BYTES_MAX: Final = MESSAGE_BYTES_MAX


class MergeRefusal(IntEnum):
    """Why something is refused.

    NOT_LEADER: the receiver does not lead an open history.
    BUSY: its history is about to be merged into another one itself, or it has
        too much to do.
    SHORTER: its own history has fewer commands; it will ask by itself.
    SAME: it is of the same history.
    FAILED: it could not commit what was asked for.
    GAP: commands before these are missing there.
    """

    NOT_LEADER = 0
    BUSY = 1
    SHORTER = 2
    SAME = 3
    FAILED = 4
    GAP = 5


class MergeRequest(msgspec.Struct, frozen=True, array_like=True, tag="merge?"):
    """Take my history into yours, if yours has more commands.

    Attributes:
        history: The sender's history, which it leads and has the whole log of.
        request_id: 16 random bytes; the answer names them.
        command_count: How many commands that history has.
    """

    history: KnownHistoryId
    request_id: RequestId
    command_count: Index


class MergeAccepted(msgspec.Struct, frozen=True, array_like=True, tag="merge"):
    """The receiver's history may be closed: it will be taken in.

    Attributes:
        history: The sender's history.
        request_id: The request's.
    """

    history: KnownHistoryId
    request_id: RequestId


class MergeRefused(msgspec.Struct, frozen=True, array_like=True, tag="no merge"):
    """The receiver's history is not taken in now."""

    request_id: RequestId
    why: MergeRefusal


class ReplayQuery(msgspec.Struct, frozen=True, array_like=True, tag="state?"):
    """How much of this history is in yours?"""

    history: KnownHistoryId


class ReplayState(msgspec.Struct, frozen=True, array_like=True, tag="state"):
    """How much of a history is in the sender's.

    Attributes:
        history: The history that was asked about.
        here: The sender's history.
        taken: How many commands of the other one are here.
        is_merged: Whether all of it is here, for good.
    """

    history: KnownHistoryId
    here: KnownHistoryId
    taken: Index
    is_merged: bool


class ReplayCommands(msgspec.Struct, frozen=True, array_like=True, tag="replay"):
    """Put these commands into your history.

    Attributes:
        run: Which attempt of the sender's this belongs to.
        system_entry: What to put into the log.
    """

    run: Index
    system_entry: Replay


class ReplayDone(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """The commands up to `upto` of the receiver's history are applied here."""

    run: Index
    upto: Index


class ReplayRefused(msgspec.Struct, frozen=True, array_like=True, tag="not done"):
    """This attempt leads nowhere: begin another one."""

    run: Index
    why: MergeRefusal


class ReplayEnd(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """That was all: note that the sender's history is merged."""

    run: Index
    system_entry: FinishMerge


MergeMessage = (
    MergeRequest
    | MergeAccepted
    | MergeRefused
    | ReplayQuery
    | ReplayState
    | ReplayCommands
    | ReplayDone
    | ReplayRefused
    | ReplayEnd
)

_decoder: BoundedDecoder[MergeMessage] = BoundedDecoder(
    MergeMessage, "a message of a merge", MERGE_BYTES_MAX
)


def encode_merge(message: MergeMessage) -> bytes:
    """Return a message as bytes."""
    return encode(message)


def decode_merge(data: bytes | memoryview) -> MergeMessage:
    """Return the message in `data`. Raises `DecodeError` when there is none."""
    return _decoder.decode(data)
