"""What replicas of a group say to each other.

The link says who sent a message, so no message does. Every message carries the sender's term,
and a higher one makes the receiver a follower in it (Raft thesis 3.3); a pre-vote carries the
term its sender would stand in (9.6) and makes nobody anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec

from ...errors import DecodeError
from ...wire_encoding import BoundedDecoder, encode
from .configuration import decode_voters
from .records import Entry, EntryKind, SnapshotMetadata
from .types import INDEX_MAX, Index, Number, Term

ENTRY_BYTES_MAX: Final = 15 * 1024 * 1024
APPEND_ENTRIES_MAX: Final = 4096
APPEND_BYTES_MAX: Final = 8 * 1024 * 1024
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024

_Entries = Annotated[tuple[Entry, ...], msgspec.Meta(max_length=APPEND_ENTRIES_MAX)]


class Append(msgspec.Struct, frozen=True, array_like=True, tag="append"):
    """Entries for the follower's log, after a place where the logs agree (Raft thesis 3.5)."""

    term: Term  # the leader's term
    prev_index: Index  # the place before the entries
    prev_term: Term  # the term there
    commit_index: Index  # how far the leader's log is committed
    entries: _Entries = ()  # the entries, without a gap; none in a mere probe


class Appended(msgspec.Struct, frozen=True, array_like=True, tag="appended"):
    """The sender's log agrees with the leader's, and is saved, up to `match_index`."""

    term: Term
    match_index: Index


class AppendRejected(msgspec.Struct, frozen=True, array_like=True, tag="rejected"):
    """The sender's log does not agree at `rejected_index`; with a hint (end of 3.5)."""

    term: Term  # the sender's term; above the leader's when that is why
    rejected_index: Index  # the `prev_index` that was refused
    hint_index: Index  # the last place where the logs may agree
    hint_term: Term  # the term there in the sender's log


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag="heartbeat"):
    """The leader is there; also a read round (6.4)."""

    term: Term  # the leader's term
    commit_index: Index  # how far the leader's log is committed
    round: Number  # the read round that a reply confirms; 0 wants no reply
    counted_index: Index = 0  # up to here the leader counts the log as saved by the receiver
    # Nothing is pending: until its next message, the heartbeats of the leader's node stand for it.
    may_quiesce: bool = False


class HeartbeatReply(msgspec.Struct, frozen=True, array_like=True, tag="alive"):
    """The sender follows the leader of this term."""

    term: Term
    round: Number  # the heartbeat's
    commit_index: Index  # as the sender knows: after a restart less than it was sent before
    is_quiesced: bool = False  # it does what `Heartbeat.may_quiesce` allows


class VoteRequest(msgspec.Struct, frozen=True, array_like=True, tag="vote?"):
    """The sender stands for election (3.4), or asks whether it would be worth it (9.6)."""

    term: Term  # the term to lead in
    last_index: Index  # the sender's last entry
    last_term: Term  # that entry's term
    is_pre_vote: bool = False  # whether it only asks
    is_transfer: bool = False  # whether the leader itself wants it to win


class VoteReply(msgspec.Struct, frozen=True, array_like=True, tag="vote"):
    """The answer to a `VoteRequest`."""

    term: Term  # the requested term when granted, else the sender's own
    is_granted: bool  # whether the sender votes for the candidate
    is_pre_vote: bool = False  # whether it answers a pre-vote
    commit_index: Index = 0  # how far the sender knows the log to be committed
    # The term there. A candidate that has the same entry has the same log up to it, and may learn
    # so that a configuration is committed: then it need not ask those that were replaced.
    commit_term: Term = 0


class SnapshotOffer(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """What the receiver needs next is only in a snapshot, at `metadata` or later (chapter 5).

    The snapshot itself does not travel here.
    """

    term: Term
    metadata: SnapshotMetadata


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, tag="timeout"):
    """The leader asks the receiver to stand for election at once (leadership transfer, 3.10)."""

    term: Term


class ReadRequest(msgspec.Struct, frozen=True, array_like=True, tag="read?"):
    """The sender, which does not lead, wants a strong read; `number` is its own for it."""

    term: Term
    number: Number


class ReadReply(msgspec.Struct, frozen=True, array_like=True, tag="read"):
    """The answer to a `ReadRequest`."""

    term: Term  # the leader's term
    number: Number  # the reader's number
    index: Index | None  # the reader must have applied up to here; None if it is refused


_Replication = Append | Appended | AppendRejected | Heartbeat | HeartbeatReply | SnapshotOffer
_Election = VoteRequest | VoteReply | TimeoutNow
Message = _Replication | _Election | ReadRequest | ReadReply

FROM_LEADERS: Final = (Append, Heartbeat, SnapshotOffer)
"""What only the leader of its term sends."""

_decoder = BoundedDecoder[Message](Message, "a message of Raft", MESSAGE_BYTES_MAX)

encode_message: Callable[[Message], bytes] = encode


def decode_message(data: bytes | memoryview) -> Message:
    """Return the message in `data`.

    Raises `DecodeError` where it is none, or breaks a rule that holds for every message whatever
    the receiver's state: a log with gaps or falling terms, an entry of a term after the message's,
    no configuration where there should be one.
    """
    message = _decoder.decode(data)
    if isinstance(message, Append):
        _check_place(message.prev_index, message.prev_term)
        if message.prev_term > message.term:
            raise DecodeError(f"term {message.prev_term} in a message of term {message.term}")
        check_entries(message.entries, message.prev_index, message.prev_term, message.term)
    elif isinstance(message, SnapshotOffer):
        check_metadata(message.metadata, message.term)
    return message


def check_entries(
    entries: Sequence[Entry], prev_index: int, prev_term: int, term_max: int = INDEX_MAX
) -> None:
    """Raise `DecodeError` unless `entries` continue a log after the given place."""
    index, term = prev_index, prev_term
    for entry in entries:
        index += 1
        if entry.index != index or not term <= entry.term <= term_max or not entry.term:
            expected = f"expected {index} of {term} to {term_max}"
            raise DecodeError(f"entry {entry.index} of term {entry.term}, {expected}")
        term = entry.term
        if len(entry.data) > ENTRY_BYTES_MAX:
            raise DecodeError(f"entry of {len(entry.data)} bytes, {ENTRY_BYTES_MAX} at most")
        if entry.kind is EntryKind.CONFIGURATION:
            decode_voters(entry.data)
    if index > INDEX_MAX:
        raise DecodeError(f"index {index}, expected {INDEX_MAX} at most")


def check_metadata(metadata: SnapshotMetadata, term_max: int = INDEX_MAX) -> None:
    """Raise `DecodeError` unless `metadata` can be that of a snapshot."""
    _check_place(metadata.index, metadata.term)
    if not 0 < metadata.index <= INDEX_MAX or metadata.term > term_max:
        text = f"snapshot at {metadata.index} of term {metadata.term}, at most {term_max}"
        raise DecodeError(text)
    decode_voters(encode(metadata.configuration))


def _check_place(index: int, term: int) -> None:
    if (index == 0) != (term == 0):
        raise DecodeError(f"index {index} of term {term}: only index 0 has term 0")
