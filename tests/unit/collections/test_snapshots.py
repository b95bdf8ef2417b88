"""Parts of snapshots: their limits, that equal items give equal bytes, and what is no part."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaik_actors.codec import EncodeError
from mosaik_actors.collections.elements import ITEM_BYTES_MAX, Element
from mosaik_actors.collections.insertion import InsertionOrder
from mosaik_actors.collections.snapshots import (
    PART_BYTES,
    ActiveIterators,
    Columns,
    ColumnsIterator,
    Rows,
    read_parts,
    write_parts,
)
from mosaik_actors.errors import DecodeError

PAIRS = Rows(Element(str, is_key=True), Element(int))
TEXTS = Rows(Element(str))


def write(rows: Rows, columns: Columns, items_max: int) -> list[bytes]:
    return list(write_parts(rows, ColumnsIterator(columns), len(columns[0]), items_max))


def read(rows: Rows, parts: list[bytes]) -> list[list[Any]]:
    whole: list[list[Any]] = []
    for columns in read_parts(rows, parts):
        whole = [a + b for a, b in zip(whole, columns, strict=True)] if whole else columns
    return whole


@given(pairs=st.lists(st.tuples(st.text(max_size=5), st.integers())), items_max=st.integers(1, 40))
def test_what_is_written_is_read(pairs: list[tuple[str, int]], items_max: int) -> None:
    columns: Columns = [[key for key, _ in pairs], [value for _, value in pairs]]
    parts = write(PAIRS, columns, items_max)
    assert len(parts) == 1 + -(-len(pairs) // items_max)
    assert read(PAIRS, parts) == (columns if pairs else [])


@given(sizes=st.lists(st.integers(0, 200_000), max_size=30), items_max=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_parts_keep_their_limits_whatever_the_items_sizes(sizes: list[int], items_max: int) -> None:
    texts = ["x" * size for size in sizes]
    parts = write(TEXTS, [texts], items_max)
    assert read(TEXTS, parts) == ([texts] if texts else [])
    for part in parts[1:]:
        (found,) = TEXTS.unpack(part)
        assert 0 < len(found) <= items_max
        assert len(part) <= PART_BYTES + 200


def test_part_is_filled_before_the_next_one_begins() -> None:
    parts = write(TEXTS, [["x" * 1000] * 1000], 2000)
    assert all(len(part) > PART_BYTES * 0.9 for part in parts[1:-1])
    assert len(parts) == 5


def test_item_larger_than_a_part_has_one_for_itself() -> None:
    texts = ["a", "b" * 600_000, "c"]
    parts = write(TEXTS, [texts], 100)
    assert [TEXTS.unpack(part) for part in parts[1:]] == [[["a"]], [["b" * 600_000]], [["c"]]]


@given(
    items=st.lists(st.tuples(st.text(max_size=3), st.integers()), unique_by=lambda item: item[0]),
    pieces=st.lists(st.integers(1, 9), min_size=1),
)
def test_parts_do_not_depend_on_how_the_items_came(
    items: list[tuple[str, int]], pieces: list[int]
) -> None:
    at_once: InsertionOrder[str, int] = InsertionOrder()
    at_once.put_many([key for key, _ in items], [value for _, value in items])
    slowly: InsertionOrder[str, int] = InsertionOrder()
    for number, (key, value) in enumerate(items):
        for _ in range(pieces[number % len(pieces)]):
            slowly.put(key, 0)
            slowly.remove(key)
        slowly.put(key, value)
    both = [list(write_parts(PAIRS, kept.look(), len(items), 4)) for kept in (at_once, slowly)]
    assert both[0] == both[1]


def test_parts_are_made_when_they_are_asked_for() -> None:
    asked: list[int] = []

    class Counting(ColumnsIterator):
        def take(self, count: int, /) -> Columns:
            asked.append(count)
            return super().take(count)

    parts = write_parts(TEXTS, Counting([["x"] * 10]), 10, 4)
    next(parts)
    assert asked == []
    next(parts)
    assert asked == [4]
    next(parts)
    assert asked == [4, 4]


# What is no part.


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not items"),
        (b"\x91\x91\xc4\x02\x00\x90", "1 columns, expected 2"),
        (b"\x91\x92\xc4\x03\x00\x91\xa0\xc4\x02\x00\x90", "different lengths"),
        (b"\x91\x92\xc4\x03\x00\x91\x01\xc4\x03\x00\x91\x01", "not a batch"),
        (b"\x91\x92\xc4\x06\x00\xdd\xff\xff\xff\xff\xc4\x02\x00\x90", "at most"),
        (b"\x91\x94" + b"\xc4\x02\x00\x90" * 4, "not items"),
        (msgspec.msgpack.encode([[b"\x00\x90", b"\x00\x90"]] * 65), "not items"),
        (b"\xc1", "not items"),
    ],
)
def test_other_bytes_are_no_items(data: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        PAIRS.unpack(data)


@given(data=st.binary(max_size=80), position=st.integers(0, 200), mask=st.integers(1, 255))
@settings(max_examples=300)
def test_hostile_bytes_raise_nothing_but_decode_errors(
    data: bytes, position: int, mask: int
) -> None:
    any_rows = Rows(Element(object, is_key=True), Element(tuple[float, frozenset[str]]))
    good, _ = any_rows.pack([[(1, "a"), frozenset([2])], [(1.0, frozenset()), (2.0, "b")]], 9)
    spoilt = bytearray(good)
    spoilt[position % len(spoilt)] ^= mask
    for hostile in (data, bytes(spoilt), good[: position % len(good)]):
        try:
            first, second = any_rows.unpack(hostile)
        except DecodeError:
            continue
        assert len(first) == len(second)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([], "without a header"),
        ([b"\x92\x02\x00"], "header"),
        ([b"\x92\x01\x01"], "of 0 items"),
        ([b"\x92\x01\xd0\xff"], "header"),
        ([b"\x92\x01\x01", *write(TEXTS, [["a", "b"]], 9)[1:]], "expected 1"),
    ],
)
def test_other_parts_are_no_snapshot(parts: list[bytes], why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        read(TEXTS, parts)


def test_snapshot_with_too_much_is_refused_before_the_rest_is_read() -> None:
    def endless() -> Iterator[bytes]:
        header, *rest = write(TEXTS, [["a"]], 9)
        yield header
        while True:
            yield from rest

    with pytest.raises(DecodeError, match="2 items or more, expected 1"):
        for _ in read_parts(TEXTS, endless()):
            pass


def test_item_that_is_too_large_is_refused_by_the_writer() -> None:
    data, _ = TEXTS.pack([["x" * ITEM_BYTES_MAX]], 9)
    with pytest.raises(EncodeError, match="at most"):
        TEXTS.require_arrival([["x" * ITEM_BYTES_MAX]], data)


# Who looks on.


class Looker:
    pass


def test_active_iterators_are_forgotten_when_they_are_dropped() -> None:
    active_iterators: ActiveIterators[Looker] = ActiveIterators()
    first, second = Looker(), Looker()
    active_iterators.add(first)
    active_iterators.add(second)
    assert list(active_iterators) == [first, second]
    del first
    assert list(active_iterators) == [second]
    del second
    assert list(active_iterators) == []
    assert active_iterators.refs == []


def test_taking_a_snapshot_copies_no_items() -> None:
    """So it takes microseconds: 8 bytes a chunk of 1,024 keys, and the last chunk."""
    kept: InsertionOrder[int, int] = InsertionOrder()
    kept.put_many(range(200_000), range(200_000))
    gc.collect()
    tracemalloc.start()
    try:
        iterator = kept.look()
        assert tracemalloc.get_traced_memory()[0] < 20_000
        before = tracemalloc.get_traced_memory()[0]
        for key in range(100):
            kept.put(key, -1)
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()
    assert iterator.take(3) == ([0, 1, 2], [0, 1, 2])
