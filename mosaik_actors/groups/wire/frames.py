"""What travels over a bond, and whose it is: one byte in front of each frame."""

from __future__ import annotations

from typing import Final

import msgspec

from ...errors import DecodeError
from ...wire_encoding import BoundedDecoder, encode
from .commands import CommandBatch
from .raft import ENTRY_BYTES_MAX
from .types import HISTORY_BYTES, ClientId, HistoryId, Index, KnownHistoryId

PROTOCOL: Final = "mosaik/groups/3"  # of the links that bonds are made of

MESH: Final = 0  # the bond's own frames (`mesh`)
# After these, the history's id: Raft of one history never sees a message of another.
RAFT: Final = 1
FORWARD: Final = 2  # commands for the leader
SYNC_ASK: Final = 3
SYNC_ANSWER: Final = 4
# These belong to no history.
MERGE: Final = 5  # between the leaders of two histories
BOOTSTRAP: Final = 6  # between members that have no history yet
CONTROL: Final = 7  # the rest, see `Control`
# The sender's process lives; nothing follows, and no member sees it (`mesh.peer_heartbeats`).
PEER_HEARTBEAT: Final = 8

CONTROL_BYTES_MAX: Final = 4096

_BODY: Final = 1 + HISTORY_BYTES


class JoinAccepted(msgspec.Struct, frozen=True, array_like=True, tag="join_accepted"):
    """The receiver is in the configuration now: it may follow this history."""

    history: KnownHistoryId
    # Where the log says so: before, the receiver may read of an earlier self, and must not vote.
    index: Index
    root: HistoryId = b""  # as in `StoredGroup`


class Admitted(msgspec.Struct, frozen=True, array_like=True, tag="admitted"):
    """The leader has done for the receiver what it will: it votes, or is not to vote for now."""

    history: KnownHistoryId
    # The configuration of which that is so. It is committed, and known to be at so many voters that
    # the crash of one does not take that away.
    index: Index


class ForwardRefused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """A forwarded command batch is not in the log, and will not be: send it again later."""

    history: KnownHistoryId
    client: ClientId
    first_sequence: Index


Control = JoinAccepted | Admitted | ForwardRefused

_control_decoder = BoundedDecoder[Control](Control, "a control frame", CONTROL_BYTES_MAX)
# Decodes the body of a FORWARD frame.
decode_forward: Final = BoundedDecoder[CommandBatch](
    CommandBatch, "a command batch of commands", ENTRY_BYTES_MAX
).decode


def with_history(kind: int, history: bytes, body: bytes) -> bytes:
    """Return a frame of a kind that names the history it belongs to."""
    return bytes((kind,)) + history + body


def plain(kind: int, body: bytes) -> bytes:
    """Return a frame of a kind that belongs to no history."""
    return bytes((kind,)) + body


def split_history(frame: bytes) -> tuple[bytes, memoryview]:
    """Return the history's id and the body of a frame that names one. Raises `DecodeError`."""
    if len(frame) < _BODY:
        raise DecodeError(f"a frame of {len(frame)} bytes, expected a history's id")
    return frame[1:_BODY], memoryview(frame)[_BODY:]


def encode_control(message: Control) -> bytes:
    """Return a control frame."""
    return plain(CONTROL, encode(message))


def decode_control(frame: bytes) -> Control:
    """Return what a control frame says. Raises `DecodeError`."""
    return _control_decoder.decode(memoryview(frame)[1:])


def encode_forward(history: bytes, command_batch: CommandBatch) -> bytes:
    """Return a frame with a command batch for the leader."""
    return with_history(FORWARD, history, encode(command_batch))
