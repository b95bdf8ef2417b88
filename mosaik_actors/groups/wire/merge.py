"""What members of two histories of one group say to each other.

Three conversations:

    * `MergeRequest`, answered with `MergeAccepted` or `MergeRefused`: between
      the leaders of two open histories.
    * `ReplayQuery`, answered with `ReplayState`: anybody asks anybody of
      another history how much of its own is there.
    * `ReplayCommands`, answered with `ReplayDone` or `ReplayRefused`, and at the
      last `ReplayEnd`, answered with `ReplayState` or `ReplayRefused`: a member
      of a closed history to the leader of an open one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from .raft import MESSAGE_BYTES_MAX
from .system_entries import FinishMerge, Replay
from .types import Index, KnownHistoryId, RequestId

MERGE_BYTES_MAX: Final = MESSAGE_BYTES_MAX


class MergeRefusal(IntEnum):
    """Why something is refused by the receiver."""

    NOT_LEADER = 0  # it does not lead an open history
    BUSY = 1  # its history is about to be merged into another one, or it has too much to do
    SHORTER = 2  # its own history has fewer commands; it will ask by itself
    SAME = 3  # it is of the same history
    FAILED = 4  # it could not commit what was asked for
    GAP = 5  # commands before these are missing there


class MergeRequest(msgspec.Struct, frozen=True, array_like=True, tag="merge?"):
    """Take my history into yours, if yours has more commands."""

    history: KnownHistoryId  # the sender's history, which it leads and has the whole log of
    request_id: RequestId  # 16 random bytes; the answer names them
    command_count: Index  # how many commands that history has


class MergeAccepted(msgspec.Struct, frozen=True, array_like=True, tag="merge"):
    """The receiver's history may be closed: it will be taken in."""

    history: KnownHistoryId  # the sender's history
    request_id: RequestId  # the request's


class MergeRefused(msgspec.Struct, frozen=True, array_like=True, tag="no merge"):
    """The receiver's history is not taken in now."""

    request_id: RequestId
    why: MergeRefusal


class ReplayQuery(msgspec.Struct, frozen=True, array_like=True, tag="state?"):
    """How much of this history is in yours?"""

    history: KnownHistoryId


class ReplayState(msgspec.Struct, frozen=True, array_like=True, tag="state"):
    """How much of a history is in the sender's."""

    history: KnownHistoryId  # the history that was asked about
    here: KnownHistoryId  # the sender's history
    taken: Index  # how many commands of the other one are here
    is_merged: bool  # whether all of it is here, for good


class ReplayCommands(msgspec.Struct, frozen=True, array_like=True, tag="replay"):
    """Put these commands into your history."""

    run: Index  # which attempt of the sender's this belongs to
    system_entry: Replay  # what to put into the log


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


_Merging = MergeRequest | MergeAccepted | MergeRefused
_Replaying = ReplayQuery | ReplayState | ReplayCommands | ReplayDone | ReplayRefused | ReplayEnd
MergeMessage = _Merging | _Replaying

encode_merge: Callable[[MergeMessage], bytes] = encode
decode_merge: Final = BoundedDecoder[MergeMessage](
    MergeMessage, "a message of a merge", MERGE_BYTES_MAX
).decode
