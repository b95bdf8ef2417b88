"""Values survive the wire, and bytes that are not values are refused."""

import pickle
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.codec import FAST, UNTYPED, WIDE, EncodeError, codec_for
from mosaik_actors.collections.errors import CollectionOffline, NetworkDown
from mosaik_actors.errors import (
    Closed,
    DecodeError,
    Full,
    GroupOffline,
    GroupTerminated,
    Offline,
    ProducerOffline,
    clip,
)
from mosaik_actors.ids import PeerId, SecretKey, UniqueId
from mosaik_actors.streams.producing.encoding import TooLargeError


class Reading(msgspec.Struct, frozen=True):
    who: UniqueId
    peer: PeerId
    value: int
    when: datetime
    exact: Decimal
    key: UUID
    seen: frozenset[int] = frozenset()
    pair: tuple[int, str] = (0, "")


class Color(Enum):
    RED = "red"


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


# What a value travels with.


class Event(msgspec.Struct):
    detail: Any = None
    where: object = None
    more: dict[str, object] = {}


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.binary().map(bytearray)
    | st.datetimes(timezones=st.timezones() | st.none())
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.sampled_from([Color.RED, Point(1, 2.5), READING, (), (1, (2, 3)), {(1, 2): 3}]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(0, 9) | st.dates(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain_values)
def test_a_value_is_decoded_alike_whatever_it_travels_with(value: Any) -> None:
    """Members get the same value in batches of their own: in a command, in a snapshot."""
    codec, huge = codec_for(Event), Event(2**70)
    item = Event(value, value, {"a": value})
    alone = codec.decode(codec.encode(item))
    data = codec.encode_batch([huge, item, huge])
    assert data[:1] == WIDE
    first, beside, last = codec.decode_batch(data)
    assert first == last == huge
    assert repr(beside) == repr(alone)
    # What was decoded once stays as it is.
    for batch in ([alone], [alone, huge]):
        again = codec.decode_batch(codec.encode_batch(batch))[0]
        assert repr(again) == repr(alone)


def test_sets_and_ids_beside_a_big_integer_are_what_they_are_alone() -> None:
    codec = codec_for(dict[str, Any])
    for value in ({1}, frozenset({"a"}), UniqueId("x"), {UniqueId("x"): {2}}):
        alone = codec.decode(codec.encode({"a": value}))
        assert codec.decode(codec.encode({"a": value, "b": 2**70})) == {**alone, "b": 2**70}


def test_big_integers_survive_as_keys_and_in_any() -> None:
    cases: list[tuple[Any, Any]] = [
        (dict[int, Any], {2**70: [2**71, {2**72: -(2**73)}]}),
        (tuple[int, ...], (2**70, 1)),
        (Event, Event({"a": 2**70})),
        (set[int], {2**70, -(2**64)}),
    ]
    for type_, value in cases:
        assert codec_for(type_).decode(codec_for(type_).encode(value)) == value


@pytest.mark.parametrize("error", [AssertionError, KeyError, ZeroDivisionError, RecursionError])
def test_whatever_a_record_raises_itself_is_a_decode_error(error: type[Exception]) -> None:
    refused: list[int] = []

    class Picky(msgspec.Struct):
        n: int

        def __post_init__(self) -> None:
            if self.n in refused:
                raise error("no")

    data = [codec_for(Picky).encode(Picky(n)) for n in (1, 2**70)]
    refused += [1, 2**70]
    for some in data:
        with pytest.raises(DecodeError):
            codec_for(Picky).decode(some)


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (Event, Event(1, "text", {"a": [1]}), Event(1, "text", {"a": [1]})),
        (dict[str, object], {"a": (1,)}, {"a": [1]}),
        (list[object], ["a", 1], ["a", 1]),
        (list[list[object]], [["a"], []], [["a"], []]),
        (object | None, "text", "text"),
        (Event, Event(2**70, (1,)), Event(2**70, [1])),
    ],
)
def test_fields_of_type_object_are_like_those_of_any(type_: Any, value: Any, expected: Any) -> None:
    assert codec_for(type_).decode(codec_for(type_).encode(value)) == expected


# Errors.


def test_errors_hold_a_value_of_any_size_and_do_not_show_it() -> None:
    value = ["x" * 1000] * 3000
    errors: list[Any] = [
        EncodeError(value, "y" * 5_000_000),
        Offline(value, "why"),
        Offline(value),
        ProducerOffline(value),
        GroupOffline(value, "why", True),
        CollectionOffline(value, "why", True),
        GroupTerminated(value, "why"),
        NetworkDown(value, "why"),
        Full(value),
        Closed(value),
        TooLargeError(value, "why"),
    ]
    for error in errors:
        assert len(repr(error)) + len(str(error)) + len(repr(error.args)) < 5000
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
        assert type(again) is type(error)
        assert (again.value, str(again)) == (value, str(error))
        assert again.__dict__ == error.__dict__


def test_text_of_a_value_that_has_none() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise KeyError("no")

    assert clip(1 << 100_000) == "a int without a text: ValueError"
    assert clip(Broken()).endswith("without a text: KeyError")
    assert len(clip("x" * 10_000_000)) == 200
    assert str(Full(1 << 100_000))


def test_what_can_be_sent_is_said_with_what_cannot() -> None:
    class Plain:
        pass

    with pytest.raises(EncodeError, match=r"Plain is not a type that can be sent, expected a msg"):
        codec_for(Plain).encode_batch([Plain()])
