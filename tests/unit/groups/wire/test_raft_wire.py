"""Messages: every one survives the wire, and nothing else does."""

import gc
from random import Random

import msgspec
import pytest

from mosaik_actors.errors import RemoteError
from mosaik_actors.groups.raft.config import RaftConfig
from mosaik_actors.groups.raft.raft import Raft
from mosaik_actors.groups.wire.raft import (
    APPEND_ENTRIES_MAX,
    MESSAGE_BYTES_MAX,
    Append,
    Appended,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    Message,
    ReadReply,
    ReadRequest,
    SnapshotOffer,
    TimeoutNow,
    VoteReply,
    VoteRequest,
    decode_message,
    encode_message,
)
from mosaik_actors.groups.wire.records import Entry, EntryKind, SnapshotMetadata
from mosaik_actors.groups.wire.types import INDEX_MAX
from mosaik_actors.wire_encoding import encode

from ..cores import configuration_entry, log_of, peer, voters_of

METADATA = SnapshotMetadata(5, 2, voters_of(0, 1))
MESSAGES: list[Message] = [
    Append(3, 0, 0, 2, (*log_of(1, 1, 3), configuration_entry(4, 3, voters_of(0, 1)))),
    Append(3, 7, 2, 2),
    Appended(3, 9),
    AppendRejected(3, 9, 4, 2),
    Heartbeat(3, 9, 1),
    HeartbeatReply(3, 1, 8),
    VoteRequest(4, 9, 3, is_pre_vote=True, is_transfer=True),
    VoteReply(4, is_granted=True, is_pre_vote=True, commit_index=3, commit_term=2),
    SnapshotOffer(3, METADATA),
    TimeoutNow(3),
    ReadRequest(3, 7),
    ReadReply(3, 7, 9),
    ReadReply(3, 7, None),
]


def name_of(message: Message) -> str:
    return type(message).__name__


@pytest.mark.parametrize("message", MESSAGES, ids=name_of)
def test_message_survives_the_wire(message: Message) -> None:
    assert decode_message(encode_message(message)) == message
    assert decode_message(memoryview(encode_message(message))) == message


BROKEN: list[Message] = [
    Append(3, 1, 1, 0, (Entry(3, 1, EntryKind.NOOP),)),
    Append(3, 0, 0, 0, (Entry(1, 2, EntryKind.NOOP), Entry(2, 1, EntryKind.NOOP))),
    Append(3, 0, 0, 0, (Entry(1, 4, EntryKind.NOOP),)),
    Append(3, 0, 0, 0, (Entry(1, 0, EntryKind.NOOP),)),
    Append(3, 1, 4, 0),
    Append(3, 1, 0, 0),
    Append(3, 0, 1, 0),
    Append(3, 0, 0, 0, (Entry(1, 1, EntryKind.CONFIGURATION, b"?"),)),
    Append(3, INDEX_MAX, 3, 0, (Entry(INDEX_MAX + 1, 3, EntryKind.NOOP),)),
    Append(-1, 0, 0, 0),
    Append(3, 0, 0, 0, tuple(log_of(*[1] * (APPEND_ENTRIES_MAX + 1)))),
    Appended(INDEX_MAX + 1, 0),
    SnapshotOffer(3, SnapshotMetadata(5, 4, voters_of(0))),
    SnapshotOffer(3, SnapshotMetadata(0, 0, voters_of(0))),
    SnapshotOffer(3, SnapshotMetadata(5, 3)),
]


@pytest.mark.parametrize("message", BROKEN, ids=name_of)
def test_message_that_breaks_a_rule_is_refused(message: Message) -> None:
    with pytest.raises(RemoteError):
        decode_message(encode_message(message))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        encode(["unknown", 1]),
        encode(["append", 1]),
        encode(["vote", 1, "yes"]),
        encode(["append", 1, 0, 0, 0, [[1, 1, 7, b""]]]),
        b"\x91" * 2000,
        bytes(MESSAGE_BYTES_MAX + 1),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        decode_message(data)


def test_damaged_messages_are_refused_or_understood() -> None:
    """Whatever comes, the core takes it or raises `RemoteError`, and nothing else."""
    rng = Random(11)
    settings = RaftConfig()
    understood = 0
    for _ in range(4000):
        data = bytearray(encode_message(rng.choice(MESSAGES)))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        raft = Raft(
            peer(0), settings, rng, now=0.0, metadata=SnapshotMetadata(0, 0, voters_of(0, 1, 2))
        )
        try:
            raft.receive_message(peer(1), decode_message(bytes(data)), now=0.0)
        except RemoteError:
            continue
        understood += 1
        while (ready := raft.next_ready()) is not None:
            raft.persisted(ready)
            for _, message in (*ready.early_messages, *ready.messages):
                decode_message(encode_message(message))
    assert understood > 100


def test_only_ids_are_encoded_as_ids() -> None:
    with pytest.raises((NotImplementedError, msgspec.MsgspecError, TypeError)):
        encode(object())


def test_entries_are_nothing_to_the_garbage_collector() -> None:
    assert not any(gc.is_tracked(entry) for entry in log_of(1, 1, 3))
