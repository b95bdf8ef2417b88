"""The frames of a bond: whose they are, and that hostile ones are refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError, RemoteError
from mosaik_actors.groups.wire import frames
from mosaik_actors.groups.wire.commands import CommandBatch
from mosaik_actors.groups.wire.group_record import StoredGroup, decode_stored, encode_stored
from mosaik_actors.groups.wire.types import CLIENT_BYTES

HISTORY = bytes(range(16))
COMMAND_BATCH = CommandBatch(bytes(CLIENT_BYTES), 3, 1, 0, (b"a", b"b"))


def test_a_frame_names_its_history() -> None:
    frame = frames.with_history(frames.RAFT, HISTORY, b"body")
    assert frame[0] == frames.RAFT
    history, body = frames.split_history(frame)
    assert (history, bytes(body)) == (HISTORY, b"body")


def test_a_frame_too_short_for_a_history_is_refused() -> None:
    with pytest.raises(DecodeError, match="expected a history"):
        frames.split_history(bytes(16))


def test_a_command_batch_is_forwarded_whole() -> None:
    history, body = frames.split_history(frames.encode_forward(HISTORY, COMMAND_BATCH))
    assert history == HISTORY
    assert frames.decode_forward(body) == COMMAND_BATCH


@pytest.mark.parametrize(
    "message", [frames.JoinAccepted(HISTORY, 7), frames.ForwardRefused(HISTORY, bytes(16), 3)]
)
def test_control_frames_survive_a_round_trip(message: frames.Control) -> None:
    assert frames.decode_control(frames.encode_control(message)) == message


@given(st.binary(max_size=200))
def test_hostile_frames_are_refused_and_nothing_else(data: bytes) -> None:
    for decode in (frames.decode_control, frames.split_history, decode_stored):
        with contextlib.suppress(RemoteError):
            decode(data)
    with contextlib.suppress(RemoteError):
        frames.decode_forward(memoryview(data))


def test_what_is_stored_survives_a_round_trip() -> None:
    stored = StoredGroup(HISTORY, 5, b"pledge", (b"one", b"two"))
    assert decode_stored(encode_stored(stored)) == stored
