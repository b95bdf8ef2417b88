"""Values survive the wire, and bytes that are not values are refused."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.codec import FAST, UNTYPED, WIDE, EncodeError, codec_for
from mosaik_actors.errors import DecodeError
from mosaik_actors.ids import PeerId, SecretKey, UniqueId


class Reading(msgspec.Struct, frozen=True):
    who: UniqueId
    peer: PeerId
    value: int
    when: datetime
    exact: Decimal
    key: UUID
    seen: frozenset[int] = frozenset()
    pair: tuple[int, str] = (0, "")


@dataclass(frozen=True)
class Point:
    x: int
    y: float


READING = Reading(
    who=UniqueId("who"),
    peer=SecretKey.from_seed("seed").peer_id,
    value=7,
    when=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    exact=Decimal("1.10"),
    key=UUID(int=99),
    seen=frozenset({1, 2}),
    pair=(1, "one"),
)

untyped_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**300), max_value=2**300)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC) | st.none())
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.binary(min_size=32, max_size=32).map(UniqueId)
    | st.binary(min_size=32, max_size=32).map(PeerId),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(st.integers() | st.text(), max_size=4)
        | st.frozensets(st.integers() | st.tuples(st.integers()), max_size=4)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_typed_record_survives() -> None:
    codec = codec_for(Reading)
    assert codec.decode(codec.encode(READING)) == READING


def test_batch_is_one_array_behind_one_byte() -> None:
    codec = codec_for(Point)
    data = codec.encode_batch([Point(1, 2.0), Point(3, 4.0)])
    assert data[:1] == FAST
    assert msgpack.unpackb(data[1:]) == [{"x": 1, "y": 2.0}, {"x": 3, "y": 4.0}]
    assert codec.decode_batch(data) == [Point(1, 2.0), Point(3, 4.0)]


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**100, -(10**100)])
def test_big_integers_survive_in_typed_records(value: int) -> None:
    codec = codec_for(Reading)
    reading = msgspec.structs.replace(READING, value=value)
    data = codec.encode_batch([READING, reading])
    assert data[:1] == WIDE
    assert codec.decode_batch(data) == [READING, reading]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (int, 2**70),
        (set[int], {1, 2}),
        (tuple[int, ...], (1, 2)),
        (str | None, None),
        (bytes, b""),
        (timedelta, timedelta(seconds=1.5)),
        (date, date(2026, 1, 1)),
        (time, time(1, 2)),
        (UniqueId, UniqueId("x")),
        (dict[str, list[Point]], {"a": [Point(1, 2.0)]}),
    ],
)
def test_plain_types_survive(type_: Any, value: Any) -> None:
    codec = codec_for(type_)
    got = codec.decode(codec.encode(value))
    assert got == value
    assert type(got) is type(value)


@given(untyped_values)
def test_untyped_values_survive(value: Any) -> None:
    codec = codec_for(object)
    got = codec.decode(codec.encode(value))
    assert got == value
    assert type(got) is type(value)


def test_the_untyped_codec_reads_what_typed_ones_wrote() -> None:
    huge = msgspec.structs.replace(READING, value=2**70)
    for reading in (READING, huge):
        (got,) = codec_for(object).decode_batch(codec_for(Reading).encode_batch([reading]))
        assert got["who"] == bytes(reading.who)
        assert got["value"] == reading.value
        assert got["exact"] == str(reading.exact)
        assert sorted(got["seen"]) == [1, 2]
    (got,) = codec_for(object).decode_batch(codec_for(Reading).encode_batch([READING]))
    assert got["when"] == READING.when


def test_value_of_another_type_is_refused_with_the_value() -> None:
    for type_, wrong in ((Point, READING), (Point, {"x": 1, "y": 1.0}), (object, object())):
        with pytest.raises(EncodeError) as caught:
            codec_for(type_).encode_batch([wrong])
        assert caught.value.value == [wrong]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x09",
        FAST,
        FAST + b"\xc1",
        FAST + msgpack.packb([{"x": "one", "y": 1.0}]),
        FAST + msgpack.packb([{"x": 1}]),
        FAST + msgpack.packb([msgpack.ExtType(1, b"\x01")]),
        WIDE + msgpack.packb([{"x": msgpack.ExtType(1, bytes(5000)), "y": 1.0}]),
        WIDE + msgpack.packb(7),
        UNTYPED + msgpack.packb([]),
    ],
)
def test_bad_typed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        codec_for(Point).decode_batch(data)


@given(st.binary(max_size=200))
def test_random_bytes_are_values_or_refused(data: bytes) -> None:
    for type_ in (Reading, Point, object):
        for form in (FAST, WIDE, UNTYPED):
            with suppress(DecodeError):
                codec_for(type_).decode_batch(form + data)


def test_nesting_bomb_is_refused() -> None:
    deep_lists = UNTYPED + b"\x91" * 100_000 + b"\xc0"
    with pytest.raises(DecodeError):
        codec_for(object).decode(deep_lists)
    nested: Any = msgpack.ExtType(2, msgpack.packb([]))
    for _ in range(100):
        nested = msgpack.ExtType(2, msgpack.packb([nested]))
    with pytest.raises(DecodeError):
        codec_for(object).decode(UNTYPED + msgpack.packb([nested]))


def test_batch_above_the_limit_is_refused() -> None:
    for type_, item in ((Point, Point(1, 1.0)), (object, 1)):
        codec = codec_for(type_)
        assert codec.decode_batch(codec.encode_batch([item] * 3), count_max=3) == [item] * 3
        with pytest.raises(DecodeError, match="at most 2"):
            codec.decode_batch(codec.encode_batch([item] * 3), count_max=2)


@pytest.mark.parametrize("form", [FAST, UNTYPED])
@pytest.mark.parametrize("head", [b"\xdd\x00\x3d\x09\x00", b"\xdc\xff\xff", b"\x9f"])
def test_batch_of_too_many_is_refused_before_it_is_decoded(form: bytes, head: bytes) -> None:
    """What follows the head is missing, so decoding would fail with another text."""
    with pytest.raises(DecodeError, match="items, at most 1"):
        codec_for(Point if form == FAST else object).decode_batch(form + head, count_max=1)
