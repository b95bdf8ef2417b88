"""Messages between two histories: what is accepted from a peer, and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError
from mosaik_actors.groups.wire.commands import CommandBatch
from mosaik_actors.groups.wire.merge import (
    MergeAccepted,
    MergeMessage,
    MergeRefusal,
    MergeRefused,
    MergeRequest,
    ReplayCommands,
    ReplayDone,
    ReplayEnd,
    ReplayQuery,
    ReplayRefused,
    ReplayState,
    decode_merge,
    encode_merge,
)
from mosaik_actors.groups.wire.system_entries import FinishMerge, Replay
from mosaik_actors.wire_encoding import encode

ID = b"h" * 16
SYSTEM = Replay(ID, (CommandBatch(b"c" * 16, 0, 1, 0, (b"x", b"y")),), 3, b"o" * 16, 2, b"h" * 16)
MESSAGES: list[MergeMessage] = [
    MergeRequest(ID, b"r" * 16, 7),
    MergeAccepted(ID, b"r" * 16),
    MergeRefused(b"r" * 16, MergeRefusal.SHORTER),
    ReplayQuery(ID),
    ReplayState(ID, b"w" * 16, 5, False),
    ReplayCommands(1, SYSTEM),
    ReplayDone(1, 5),
    ReplayRefused(1, MergeRefusal.GAP),
    ReplayEnd(1, FinishMerge(ID, 5, (b"m" * 16,))),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_message_survives_the_wire(message: MergeMessage) -> None:
    data = encode_merge(message)
    assert decode_merge(data) == message
    assert decode_merge(memoryview(data)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_message_that_is_cut_short_is_refused(message: MergeMessage) -> None:
    data = encode_merge(message)
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            decode_merge(data[:length])


@pytest.mark.parametrize(
    "fields",
    [
        ["merge?", b"short", b"r" * 16, 1],
        ["merge?", ID, b"r" * 16, -1],
        ["merge?", ID, b"r" * 16, 1 << 63],
        ["no merge", b"r" * 16, 99],
        ["state", ID, ID, 1, 1],
        ["replay", 1, ["replay", ID, [], 0, b"", 0]],
        ["replay", 1, ["replay", ID, [[b"c" * 16, 0, 0, 0, [b"x"]]], 0, b"", 0]],
        ["replay", 1, ["replay", ID, [[b"c" * 16, 0, 1, 0, [b"x"]]], -1, b"", 0]],
        ["end", 1, ["finish", ID, 1, [b"short"]]],
        ["merge", "text", b"r" * 16],
        ["unknown"],
    ],
)
def test_message_with_a_wrong_field_is_refused(fields: list[object]) -> None:
    with pytest.raises(DecodeError):
        decode_merge(encode(fields))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = decode_merge(data)
    except DecodeError:
        return
    assert decode_merge(encode_merge(message)) == message
