"""Bytes become frames, however they are cut, or are refused."""

from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.errors import DecodeError
from mosaik_actors.transport.close import REASON_BYTES_MAX, CloseCode, CloseReason
from mosaik_actors.transport.frames import (
    CONTROL_BIT,
    CONTROL_BYTES_MAX,
    AcceptFrame,
    CloseFrame,
    FrameDecoder,
    OpenFrame,
    encode_control,
    encode_word,
)


def on_the_wire(frame: bytes | OpenFrame | AcceptFrame | CloseFrame) -> bytes:
    return encode_word(len(frame)) + frame if isinstance(frame, bytes) else encode_control(frame)


shown = st.text(st.characters(categories=["L", "N"]), max_size=20)
frames = st.one_of(
    st.binary(max_size=64),
    st.builds(OpenFrame, st.text(max_size=20), st.binary(max_size=50)),
    st.builds(AcceptFrame, st.binary(max_size=50)),
    st.builds(
        CloseFrame,
        st.builds(CloseReason, st.sampled_from(CloseCode), shown, st.just(True)),
    ),
)


@given(st.lists(frames, max_size=12), st.data())
def test_frames_survive_any_cutting(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(on_the_wire, sent))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    decoder = FrameDecoder(64)
    received = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += decoder.receive_data(stream[start:stop])
    assert received == sent
    assert not decoder.is_inside_frame


def test_large_frame_is_joined_once_it_is_whole() -> None:
    decoder = FrameDecoder(1 << 20)
    payload = bytes(range(256)) * 4096
    stream = on_the_wire(payload)
    for start in range(0, len(stream) - 1000, 1000):
        assert decoder.receive_data(stream[start : start + 1000]) == []
    assert decoder.is_inside_frame
    rest = len(stream) - len(range(0, len(stream) - 1000, 1000)) * 1000
    assert decoder.receive_data(stream[-rest:]) == [payload]


def test_what_waits_holds_no_more_than_twice_its_bytes() -> None:
    """A view keeps all of what it looks at."""
    read = bytearray(1000)  # what came from the socket
    for taken, is_copied in ((400, True), (600, False)):
        decoder = FrameDecoder(1 << 20)
        view = memoryview(read)[:taken]
        assert decoder.receive_data(encode_word(10_000)) == []
        assert decoder.receive_data(view) == []
        assert decoder.held_bytes == taken + 4
        view.release()
        if is_copied:
            read.append(0)  # which nothing looks at any more
        else:
            with pytest.raises(BufferError):
                read.append(0)


@pytest.mark.parametrize(
    "stream",
    [
        encode_word(65),
        encode_word(CONTROL_BIT - 1),
        (CONTROL_BIT | (CONTROL_BYTES_MAX + 1)).to_bytes(4),
        (CONTROL_BIT | 1).to_bytes(4) + b"\xc1",
        *(
            (CONTROL_BIT | len(payload)).to_bytes(4) + payload
            for payload in map(
                msgpack.packb,
                [
                    7,
                    [],
                    [9],
                    [0, 2, "p"],
                    [0, 1, "p", b""],
                    [0, 2, "p" * 129, b""],
                    [1, "text"],
                    [2, -1, ""],
                    [2, 2**62, ""],
                    [2, 200, b"bytes"],
                ],
            )
        ),
    ],
)
def test_bad_frames_are_refused(stream: bytes) -> None:
    with pytest.raises(DecodeError):
        FrameDecoder(64).receive_data(stream)


@given(st.binary(max_size=300))
def test_random_bytes_are_frames_or_refused(stream: bytes) -> None:
    decoder = FrameDecoder(64)
    with suppress(DecodeError):
        decoder.receive_data(stream)


def test_newer_peer_may_append_to_a_control_frame() -> None:
    payload = msgpack.packb([1, b"reply", "what a later version adds"])
    stream = (CONTROL_BIT | len(payload)).to_bytes(4) + payload
    assert FrameDecoder(64).receive_data(stream) == [AcceptFrame(b"reply")]


def test_close_text_is_cut_to_its_limit() -> None:
    stream = encode_control(CloseFrame(CloseReason(400, "ü" * 1000)))
    [frame] = FrameDecoder(64).receive_data(stream)
    assert isinstance(frame, CloseFrame)
    assert len(frame.reason.text.encode()) <= REASON_BYTES_MAX
    assert set(frame.reason.text) == {"ü"}


def test_header_above_the_limit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode_control(OpenFrame("p", bytes(CONTROL_BYTES_MAX)))
