"""What replicas of a group say to each other.

MessagePack arrays with a tag. The link says who sent a message, so no message
does. Every message carries the sender's term, and a higher one makes the
receiver a follower in it (Raft thesis 3.3); a pre-vote carries the term its
sender would stand in (9.6) and makes nobody anything.

    * `Append`, `Appended`, `AppendRejected`: replication (3.5), also the probe
      for where two logs agree. A rejection carries a hint (end of 3.5).
    * `Heartbeat`, `HeartbeatReply`: the leader is there, a read round (6.4),
      and how far is committed. Round 0 wants no reply.
    * `VoteRequest`, `VoteReply`: elections and pre-votes (3.4, 9.6).
    * `SnapshotOffer`: what the receiver needs is compacted away (chapter 5).
      The snapshot itself does not travel here.
    * `TimeoutNow`: stand for election at once (leadership transfer, 3.10).
    * `ReadRequest`, `ReadReply`: a strong read of a peer that does not lead.

Bytes come from a peer: `decode_message` builds nothing beyond the limits below
and raises `RemoteError` for whatever is not a message of this protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """Entries for the follower's log, all after a place where the logs agree.

    Attributes:
        term: The leader's term.
        prev_index: The place before the entries.
        prev_term: The term there.
        commit_index: How far the leader's log is committed.
        entries: The entries, without a gap; none in a mere probe.
    """

    term: Term
    prev_index: Index
    prev_term: Term
    commit_index: Index
    entries: _Entries = ()


class Appended(msgspec.Struct, frozen=True, array_like=True, tag="appended"):
    """The sender's log agrees with the leader's, and is saved, up to `match_index`."""

    term: Term
    match_index: Index


class AppendRejected(msgspec.Struct, frozen=True, array_like=True, tag="rejected"):
    """The sender's log does not agree at `rejected_index`.

    Attributes:
        term: The sender's term; above the leader's when that is why.
        rejected_index: The `prev_index` that was refused.
        hint_index: The last place where the logs may agree.
        hint_term: The term there in the sender's log.
    """

    term: Term
    rejected_index: Index
    hint_index: Index
    hint_term: Term


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag="heartbeat"):
    """The leader is there.

    Attributes:
        term: The leader's term.
        commit_index: How far the leader's log is committed.
        round: The read round that a reply confirms; 0 wants no reply.
        counted_index: Up to here the leader counts the log as saved by the receiver.
        may_quiesce: Nothing is pending: the receiver may take the heartbeats of the leader's
            node for those of the leader, until it gets the next message from it.
    """

    term: Term
    commit_index: Index
    round: Number
    counted_index: Index = 0
    may_quiesce: bool = False


class HeartbeatReply(msgspec.Struct, frozen=True, array_like=True, tag="alive"):
    """The sender follows the leader of this term.

    Attributes:
        term: The term.
        round: The heartbeat's.
        commit_index: How far the sender knows the log to be committed. One that
            was restarted knows less than it was sent before.
        is_quiesced: It does what `Heartbeat.may_quiesce` allows.
    """

    term: Term
    round: Number
    commit_index: Index
    is_quiesced: bool = False


class VoteRequest(msgspec.Struct, frozen=True, array_like=True, tag="vote?"):
    """The sender stands for election, or asks whether it would be worth it.

    Attributes:
        term: The term to lead in.
        last_index: The sender's last entry.
        last_term: That entry's term.
        is_pre_vote: Whether it only asks.
        is_transfer: Whether the leader itself wants it to win.
    """

    term: Term
    last_index: Index
    last_term: Term
    is_pre_vote: bool = False
    is_transfer: bool = False


class VoteReply(msgspec.Struct, frozen=True, array_like=True, tag="vote"):
    """The answer to a `VoteRequest`.

    Attributes:
        term: The requested term when granted, else the sender's own.
        is_granted: Whether the sender votes for the candidate.
        is_pre_vote: Whether it answers a pre-vote.
        commit_index: How far the sender knows the log to be committed.
        commit_term: The term there. A candidate that has the same entry has
            the same log up to it, and may learn so that a configuration is
            committed: then it need not ask those that were replaced.
    """

    term: Term
    is_granted: bool
    is_pre_vote: bool = False
    commit_index: Index = 0
    commit_term: Term = 0


class SnapshotOffer(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """The entries that the receiver needs next are only in a snapshot, at `metadata` or later."""

    term: Term
    metadata: SnapshotMetadata


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, tag="timeout"):
    """The leader asks the receiver to take over at once."""

    term: Term


class ReadRequest(msgspec.Struct, frozen=True, array_like=True, tag="read?"):
    """The sender wants to read; `number` is its own for this read."""

    term: Term
    number: Number


class ReadReply(msgspec.Struct, frozen=True, array_like=True, tag="read"):
    """The answer to a `ReadRequest`.

    Attributes:
        term: The leader's term.
        number: The reader's number.
        index: The reader must have applied up to here; None if it is refused.
    """

    term: Term
    number: Number
    index: Index | None


Message = (
    Append
    | Appended
    | AppendRejected
    | Heartbeat
    | HeartbeatReply
    | VoteRequest
    | VoteReply
    | SnapshotOffer
    | TimeoutNow
    | ReadRequest
    | ReadReply
)

FROM_LEADERS: Final = (Append, Heartbeat, SnapshotOffer)
"""What only the leader of its term sends."""

_decoder: BoundedDecoder[Message] = BoundedDecoder(Message, "a message of Raft", MESSAGE_BYTES_MAX)


def encode_message(message: Message) -> bytes:
    """Return a message as bytes."""
    return encode(message)


def decode_message(data: bytes | memoryview) -> Message:
    """Return the message in `data`.

    Raises:
        RemoteError: It is none, or breaks a rule that holds for every message
            whatever the receiver's state: a log with gaps or falling terms, an
            entry of a term after the message's, no configuration where there
            should be one.
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
            raise DecodeError(
                f"entry {entry.index} of term {entry.term}, expected {index} of {term} "
                f"to {term_max}"
            )
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
        raise DecodeError(
            f"snapshot at {metadata.index} of term {metadata.term}, at most {term_max}"
        )
    decode_voters(encode(metadata.configuration))


def _check_place(index: int, term: int) -> None:
    if (index == 0) != (term == 0):
        raise DecodeError(f"index {index} of term {term}: only index 0 has term 0")
