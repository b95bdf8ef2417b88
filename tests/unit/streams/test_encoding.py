from dataclasses import dataclass, make_dataclass
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.codec import EncodeError, codec_for
from mosaik_actors.errors import DecodeError
from mosaik_actors.ids import UniqueId
from mosaik_actors.streams.producing.encoded import (
    EncodedBatch,
    WholeBatch,
    item_count_of,
    single_items,
)
from mosaik_actors.streams.producing.encoding import (
    BATCH_ITEMS,
    ITEM_BYTES_MAX,
    ItemEncoder,
    TooLargeError,
)
from mosaik_actors.wire_limits import NESTING_MAX


class Reading(msgspec.Struct):
    name: str
    value: int
    id: UniqueId | None = None


class Wider(Reading):
    more: int = 0


# Fields are not checked when an item is encoded, so one may hold something else as well.
Plain: Any = make_dataclass("Plain", [("a", int | str)])


@dataclass
class Loose:
    a: Any


readings = st.builds(Reading, st.text(max_size=20), st.integers(-(2**63), 2**64 - 1))


@given(st.lists(readings, min_size=1, max_size=40))
def test_joined_parts_are_what_the_codec_would_have_made(items: list[Reading]) -> None:
    encoder = ItemEncoder(Reading)
    fast = [encoder.encode_unchecked(item) for item in items]
    assert fast == [encoder.encode(item) for item in items]
    assert encoder.join(fast) == codec_for(Reading).encode_batch(items)


@pytest.mark.parametrize("count", [1, 15, 16, 65535, 65536])
def test_batches_of_every_size_class_are_read_back(count: int) -> None:
    encoder = ItemEncoder(int)
    batch = encoder.join([encoder.encode(n) for n in range(count)])
    assert encoder.codec.decode_batch(batch) == list(range(count))


@given(
    st.lists(st.one_of(st.integers(), st.text(max_size=30)), min_size=1, max_size=60),
    st.integers(1, 10),
    st.integers(1, 100),
)
def test_cutting_keeps_every_item_in_order(items: list[Any], count: int, size: int) -> None:
    encoder = ItemEncoder(int | str)
    entries = [encoder.encode(item) for item in items]
    batches = encoder.batches(entries, frame_items_max=count, frame_bytes_max=size)
    out: list[Any] = []
    for batch in batches:
        decoded = encoder.codec.decode_batch(batch.data, count_max=count)
        assert len(decoded) == batch.item_count <= count
        assert batch.item_count == 1 or len(batch.data) <= size + 4
        out += decoded
    assert out == items


def test_big_integers_travel_in_batches_of_their_own() -> None:
    encoder = ItemEncoder(Plain)
    entry = encoder.encode(Plain(2**100))
    assert isinstance(entry, WholeBatch)
    entries = [encoder.encode(Plain(1)), entry, encoder.encode(Plain(2))]
    batches = encoder.batches(entries, frame_items_max=100, frame_bytes_max=10_000)
    assert [batch.item_count for batch in batches] == [1, 1, 1]
    assert encoder.decode(entry) == Plain(2**100)
    assert encoder.decode(entries[0]) == Plain(1)


def test_ids_and_untyped_values_survive() -> None:
    encoder = ItemEncoder(Reading)
    item = Reading("x", 1, UniqueId("a"))
    assert encoder.decode(encoder.encode_unchecked(item)) == item
    untyped = ItemEncoder(object)
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
        ItemEncoder(type_).encode(wrong)


def test_none_unions_and_subclasses_are_items_too() -> None:
    encoder = ItemEncoder(Reading | None)
    assert encoder.decode(encoder.encode(None)) is None
    reading = ItemEncoder(Reading)
    assert reading.decode(reading.encode(Wider("x", 1, more=5))) == Reading("x", 1)
    assert ItemEncoder(float).encode(3)


def test_what_cannot_be_encoded_says_so() -> None:
    with pytest.raises(EncodeError, match="Plain"):
        ItemEncoder(Plain).encode(Plain(object()))


def test_an_item_above_the_frame_limit_is_refused() -> None:
    encoder = ItemEncoder(bytes)
    encoder.encode(bytes(ITEM_BYTES_MAX - 5))
    with pytest.raises(TooLargeError, match="split it") as caught:
        encoder.encode(bytes(ITEM_BYTES_MAX))
    assert len(caught.value.value) == ITEM_BYTES_MAX


def test_the_limit_is_the_transports_if_that_is_smaller() -> None:
    encoder = ItemEncoder(bytes, frame_bytes_max=1024)
    with pytest.raises(TooLargeError, match="at most 1003"):
        encoder.encode(bytes(1024))
    assert ItemEncoder(bytes, frame_bytes_max=1 << 30).encode(bytes(ITEM_BYTES_MAX - 5))


def batch_of(items: list[Any], type_: Any = Plain) -> EncodedBatch:
    (batch,) = ItemEncoder(type_).encode_many(items)
    assert isinstance(batch, EncodedBatch)
    return batch


@given(st.lists(st.integers(0, 2**40), max_size=400), st.booleans())
def test_items_encoded_together_are_the_same_bytes_as_one_by_one(
    numbers: list[int], as_tuple: bool
) -> None:
    encoder = ItemEncoder(Plain)
    items = [Plain(n) for n in numbers]
    entries = encoder.encode_many(tuple(items) if as_tuple else items)
    assert single_items(entries) == [encoder.encode(item) for item in items]
    assert sum(map(item_count_of, entries)) == len(items)
    assert len(entries) <= len(items) / BATCH_ITEMS + 1


@given(
    st.lists(st.text(max_size=40), min_size=8, max_size=60), st.integers(0, 70), st.integers(0, 900)
)
def test_a_run_is_cut_between_two_items(texts: list[str], items_max: int, bytes_max: int) -> None:
    batch = batch_of([Plain(text) for text in texts])
    whole = batch.items()
    head, tail = batch.cut(items_max, bytes_max)
    cut = [entry.items() if entry is not None else [] for entry in (head, tail)]
    assert cut[0] + cut[1] == whole
    assert len(cut[0]) <= items_max
    assert sum(map(len, cut[0])) <= bytes_max
    if cut[1]:  # one more would not have fitted
        assert len(cut[0]) == items_max or sum(map(len, [*cut[0], cut[1][0]])) > bytes_max
    for entry, items in zip((head, tail), cut, strict=True):
        assert entry is None or (entry.item_count, len(entry)) == (len(items), sum(map(len, items)))


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=8),
    st.integers(1, 200),
    st.integers(30, 2000),
    st.integers(0, 10**6),
)
def test_runs_and_single_items_share_batches_within_both_limits(
    sizes: list[int], count: int, size: int, seed: int
) -> None:
    rng = Random(seed)
    encoder = ItemEncoder(Plain)
    entries: list[Any] = []
    items: list[Any] = []
    for length in sizes:
        some = [Plain(rng.choice([1, "x" * 50, 2**70])) for _ in range(length)]
        plain = [item for item in some if item.a != 2**70]
        for chunk in (plain, some[:3]):
            entries += encoder.encode_many(chunk)
            items += chunk
    batches = encoder.batches(entries, frame_items_max=count, frame_bytes_max=size)
    out: list[Any] = []
    for batch in batches:
        decoded = encoder.codec.decode_batch(batch.data, count_max=count)
        assert len(decoded) == batch.item_count <= count
        assert batch.item_count == 1 or len(batch.data) <= size
        out += decoded
    assert out == items


def test_frames_are_not_small_because_runs_do_not_fit_them() -> None:
    encoder = ItemEncoder(Plain)
    entries = encoder.encode_many([Plain(n) for n in range(5000)])
    for count in (10, 100, 200, 512, 1024):
        batches = encoder.batches(entries, frame_items_max=count, frame_bytes_max=10**6)
        assert len(batches) <= 2 * 5000 / count + 1


def test_large_items_are_parts_of_their_own() -> None:
    encoder = ItemEncoder(bytes)
    items = [bytes(50_000)] * 10
    assert encoder.encode_many(items) == [encoder.encode(item) for item in items]


def test_an_item_that_grows_among_small_ones_is_still_checked() -> None:
    encoder = ItemEncoder(bytes, frame_bytes_max=1024)
    small = [b"x"] * 20
    with pytest.raises(TooLargeError) as caught:
        encoder.encode_many([*small, bytes(2000), *small])
    assert caught.value.value == bytes(2000)
    long = encoder.encode_many([*small, *[bytes(900)] * 20])
    assert single_items(long) == [encoder.encode(i) for i in [*small, *[bytes(900)] * 20]]


@pytest.mark.parametrize(
    "items",
    [
        [Plain(1), Plain(object()), Plain(2)],
        [Plain(1), "another type", Plain(2)],
    ],
)
def test_one_item_that_cannot_be_encoded_fails_all_and_is_named(items: list[Any]) -> None:
    with pytest.raises(EncodeError):
        ItemEncoder(Plain).encode_many(items)


def test_what_only_goes_one_by_one_is_not_made_a_run() -> None:
    wide = ItemEncoder(Plain).encode_many([Plain(1), Plain(2**100)])
    assert [type(entry) for entry in wide] == [bytes, WholeBatch]
    assert ItemEncoder(Reading).encode_many([]) == []
    for encoder in (ItemEncoder(Plain | None), ItemEncoder(Plain, validate=True)):
        entries = encoder.encode_many([Plain(1)] * 20)
        assert [type(entry) for entry in entries] == [bytes] * 20
    mixed = ItemEncoder(Reading).encode_many([Reading("a", 1), Wider("b", 2)] * 10)
    assert [type(entry) for entry in mixed] == [bytes] * 20


def test_items_nested_about_as_deep_as_the_stack_can_be_told_apart() -> None:
    """Finding the ends of items takes more stack here than encoding them did."""

    def nested(depth: int) -> list[Any]:
        value: list[Any] = []
        for _ in range(depth):
            value = [value]
        return value

    depth = 20
    while True:
        try:
            batch = batch_of([Plain(nested(depth))] * 8)
        except (AssertionError, EncodeError, ValueError, RecursionError):
            break
        assert [len(item) for item in batch.items()] == [len(batch) // 8] * 8
        assert batch.items() == batch._items_deep()
        depth += 20
    deepest = batch_of([Plain(nested(depth - 20))] * 8)

    def further_down(frames: int) -> list[bytes]:
        return further_down(frames - 1) if frames else deepest.items()

    assert further_down(60) == deepest._items_deep()


def test_items_nested_too_deep_are_refused_by_every_way_to_encode() -> None:
    def nested(depth: int) -> Loose:
        value: Any = None
        for _ in range(depth):
            value = [value]
        return Loose(value)

    encoder = ItemEncoder(Loose)
    deepest, too_deep = nested(NESTING_MAX - 1), nested(NESTING_MAX)
    assert encoder.encode_unchecked(deepest) == encoder.encode(deepest)
    with pytest.raises(EncodeError):
        encoder.encode(too_deep)
    with pytest.raises(DecodeError):  # then `encode` is asked, which says the same
        encoder.encode_unchecked(too_deep)
    with pytest.raises(EncodeError):
        encoder.encode_many([deepest, too_deep] * 20)
    # One that came all the same is left out, and only that.
    entries = [encoder.encode(deepest), b"\x81\xa1a" + b"\x91" * NESTING_MAX + b"\xc0"]
    assert encoder.decode_batch(encoder.join(entries), 2) == ([deepest], 1)
