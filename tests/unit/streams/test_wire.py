from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.errors import RemoteError
from mosaik_actors.ids import StreamId
from mosaik_actors.schema import describe
from mosaik_actors.streams import wire


def subscribe(**changes: object) -> dict[str, object]:
    header = wire.Subscribe(
        stream=bytes(StreamId("s")),
        name="s",
        schema=describe(int),
        window_items=64,
        window_bytes=1000,
    )
    return {**msgspec.to_builtins(header, builtin_types=(bytes,)), **changes}


def test_a_header_survives_the_way() -> None:
    header = wire.decode_subscribe(msgspec.msgpack.encode(subscribe()))
    assert header.stream_id == StreamId("s")
    assert header.schema == describe(int)
    assert wire.decode_subscribe(wire.encode(header)) == header


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stream": b"short"}, "stream"),
        ({"name": "x" * 1000}, "name"),
        ({"window_items": 0}, "window_items"),
        ({"window_items": 15}, "window_items"),
        ({"window_items": 1 << 40}, "window_items"),
        ({"window_bytes": -1}, "window_bytes"),
        ({"schema": ["x" * 5000, []]}, "schema"),
        ({"schema": ["{0}", [["r", "map", []]] * 1000]}, "schema"),
        ({"version": 3}, "version 3, this node speaks 2"),
    ],
)
def test_a_header_out_of_bounds_is_refused_with_the_reason(
    changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(RemoteError, match=reason) as caught:
        wire.decode_subscribe(msgspec.msgpack.encode(subscribe(**changes)))
    assert caught.value.close_code == 400


def test_a_header_from_a_newer_peer_may_have_more_fields() -> None:
    data = msgspec.msgpack.encode(subscribe(filter={"symbol": "ETH"}))
    assert wire.decode_subscribe(data).name == "s"


def test_an_answer_survives_the_way() -> None:
    answer = wire.Accepted(start=1, first_sequence=7, window_items=5, window_bytes=9)
    assert wire.decode_accepted(wire.encode(answer)) == answer


@given(st.integers(0, 1 << 60), st.integers(1, 1 << 24), st.binary(max_size=50))
def test_data_frames_survive_the_way(first: int, count: int, batch: bytes) -> None:
    got_first, got_count, got_batch = wire.read_data(wire.data_frame(first, count, batch))
    assert (got_first, got_count, bytes(got_batch)) == (first, count, batch)


@given(st.integers(0, (1 << 64) - 1))
def test_acknowledgements_survive_the_way(sequence: int) -> None:
    assert wire.read_ack(wire.ack_frame(sequence)) == sequence


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (wire.read_data, wire.read_ack, wire.decode_subscribe, wire.decode_accepted):
        with suppress(RemoteError):
            read(data)


@given(st.binary(max_size=40), st.integers(0, 300), st.integers(0, 255))
def test_a_damaged_header_is_read_or_refused(tail: bytes, at: int, value: int) -> None:
    data = bytearray(msgspec.msgpack.encode(subscribe()) + tail)
    data[at % len(data)] = value
    with suppress(RemoteError):
        wire.decode_subscribe(bytes(data))


def test_frames_that_claim_the_impossible_are_refused() -> None:
    for frame in (
        wire.data_frame(0, 0, b""),
        wire.data_frame(0, 1 << 30, b""),
        wire.data_frame((1 << 64) - 1, 5, b""),
        wire.ack_frame(5) + b"x",
        b"",
    ):
        with pytest.raises(RemoteError):
            wire.read_data(frame)
    with pytest.raises(RemoteError, match="kind 1"):
        wire.read_ack(b"\x01" + bytes(8))
