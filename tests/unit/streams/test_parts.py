from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.codec import EncodeError, codec_for
from mosaik_actors.ids import UniqueId
from mosaik_actors.streams.parts import ITEM_BYTES_MAX, PartEncoder, TooLargeError, WholeBatch


class Reading(msgspec.Struct):
    name: str
    value: int
    id: UniqueId | None = None


class Wider(Reading):
    more: int = 0


@dataclass
class Plain:
    a: Any


readings = st.builds(Reading, st.text(max_size=20), st.integers(-(2**63), 2**64 - 1))


@given(st.lists(readings, min_size=1, max_size=40))
def test_joined_parts_are_what_the_codec_would_have_made(items: list[Reading]) -> None:
    encoder = PartEncoder(Reading)
    fast = [encoder.encode_unchecked(item) for item in items]
    assert fast == [encoder.encode(item) for item in items]
    assert encoder.join(fast) == codec_for(Reading).encode_batch(items)


@pytest.mark.parametrize("count", [1, 15, 16, 65535, 65536])
def test_batches_of_every_size_class_are_read_back(count: int) -> None:
    encoder = PartEncoder(int)
    batch = encoder.join([encoder.encode(n) for n in range(count)])
    assert encoder.codec.decode_batch(batch) == list(range(count))


@given(
    st.lists(st.one_of(st.integers(), st.text(max_size=30)), min_size=1, max_size=60),
    st.integers(1, 10),
    st.integers(1, 100),
)
def test_cutting_keeps_every_item_in_order(items: list[Any], count: int, size: int) -> None:
    encoder = PartEncoder(int | str)
    parts = [encoder.encode(item) for item in items]
    batches = encoder.batches(parts, frame_items_max=count, frame_bytes_max=size)
    out: list[Any] = []
    for batch in batches:
        decoded = encoder.codec.decode_batch(batch.data, count_max=count)
        assert len(decoded) == batch.item_count <= count
        assert batch.item_count == 1 or len(batch.data) <= size + 4
        out += decoded
    assert out == items


def test_big_integers_travel_in_batches_of_their_own() -> None:
    encoder = PartEncoder(Plain)
    part = encoder.encode(Plain(2**100))
    assert isinstance(part, WholeBatch)
    parts = [encoder.encode(Plain(1)), part, encoder.encode(Plain(2))]
    batches = encoder.batches(parts, frame_items_max=100, frame_bytes_max=10_000)
    assert [batch.item_count for batch in batches] == [1, 1, 1]
    assert encoder.decode(part) == Plain(2**100)
    assert encoder.decode(parts[0]) == Plain(1)


def test_ids_and_untyped_values_survive() -> None:
    encoder = PartEncoder(Reading)
    item = Reading("x", 1, UniqueId("a"))
    assert encoder.decode(encoder.encode_unchecked(item)) == item
    untyped = PartEncoder(object)
    value = {"a": (1, {2}), "b": 2**70}
    assert untyped.decode(untyped.encode_unchecked(value)) == value


@pytest.mark.parametrize(
    ("type_", "wrong"),
    [
        (Reading, 5),
        (int, "x"),
        (float, "x"),
        (Reading | None, 5),
        (dict[str, int], []),
        (None, 1),
        (int, True),
    ],
)
def test_an_item_of_another_type_is_refused_where_it_is_sent(type_: Any, wrong: Any) -> None:
    with pytest.raises(EncodeError, match="expected"):
        PartEncoder(type_).encode(wrong)


def test_none_unions_and_subclasses_are_items_too() -> None:
    encoder = PartEncoder(Reading | None)
    assert encoder.decode(encoder.encode(None)) is None
    reading = PartEncoder(Reading)
    assert reading.decode(reading.encode(Wider("x", 1, more=5))) == Reading("x", 1)
    assert PartEncoder(float).encode(3)


def test_what_cannot_be_encoded_says_so() -> None:
    with pytest.raises(EncodeError, match="Plain"):
        PartEncoder(Plain).encode(Plain(object()))


def test_an_item_above_the_frame_limit_is_refused() -> None:
    encoder = PartEncoder(bytes)
    encoder.encode(bytes(ITEM_BYTES_MAX - 5))
    with pytest.raises(TooLargeError, match="split it") as caught:
        encoder.encode(bytes(ITEM_BYTES_MAX))
    assert len(caught.value.value) == ITEM_BYTES_MAX


def test_the_limit_is_the_transports_if_that_is_smaller() -> None:
    encoder = PartEncoder(bytes, frame_bytes_max=1024)
    with pytest.raises(TooLargeError, match="at most 1003"):
        encoder.encode(bytes(1024))
    assert PartEncoder(bytes, frame_bytes_max=1 << 30).encode(bytes(ITEM_BYTES_MAX - 5))
