"""Input that was made to hurt costs little, whatever the type it is sent as."""

from __future__ import annotations

import gc
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from time import process_time
from tracemalloc import get_traced_memory, start, stop
from typing import Any
from uuid import UUID

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.codec import FAST, UNTYPED, WIDE, EncodeError, codec_for
from mosaik_actors.errors import DecodeError
from mosaik_actors.wire_limits import NESTING_MAX, WireLimits, scan

ALIKE = (1 << 61) - 1  # Python hashes integers modulo this
SECONDS_MAX = 0.25  # 0.05 on an idle machine; what is not bounded takes seconds
BYTES_MAX = 50_000_000


class Node(msgspec.Struct):
    n: int
    next: Node | None = None


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int


@dataclass(frozen=True)
class Place:
    x: int
    y: int


class Price(msgspec.Struct):
    symbol: str
    value: float


class Loose(msgspec.Struct):
    what: Any


def array(members: list[bytes]) -> bytes:
    return b"\xdd" + len(members).to_bytes(4) + b"".join(members)


def mapping(keys: list[bytes]) -> bytes:
    return b"\xdf" + len(keys).to_bytes(4) + b"".join(key + b"\x01" for key in keys)


def extension(code: int, data: bytes) -> bytes:
    return b"\xc9" + len(data).to_bytes(4) + bytes([code]) + data


def colliding_pairs(count: int) -> list[tuple[int, int]]:
    """Return pairs with one hash: what a tuple's hash does with its second half is invertible."""
    first, second, start = 11400714785074694791, 14029467366897019727, 2870177450012600261
    mask = (1 << 64) - 1
    inverse = pow(second, -1, 1 << 64)
    pairs: list[tuple[int, int]] = []
    wanted = x = 0
    while len(pairs) < count:
        filter_group = (start + x * second) & mask
        filter_group = (((filter_group << 31) | (filter_group >> 33)) * first) & mask
        wanted = wanted or filter_group + 7 * second
        y = (wanted - filter_group) * inverse & mask
        if y < ALIKE:
            pairs.append((x, y))
        x += 1
    assert len({hash(pair) for pair in pairs}) == 1
    return pairs


PAIRS = colliding_pairs(3000)
TUPLES = list(map(msgspec.msgpack.encode, PAIRS))
UUIDS = [msgspec.msgpack.encode(UUID(int=ALIKE * (n + 1)).bytes) for n in range(3000)]
RECORDS = [msgspec.msgpack.encode({"x": x, "y": y}) for x, y in PAIRS]
DECIMALS = [msgspec.msgpack.encode(str(ALIKE * (n + 1))) for n in range(3000)]
INTEGERS = [codec_for(int).encode(ALIKE * (n + 100))[2:] for n in range(4000)]
EXTENDED = [extension(2, pair) for pair in TUPLES]
SMALL = array(UUIDS[:31])


@pytest.mark.parametrize(
    ("type_", "form", "body"),
    [
        (set[UUID], FAST, array(UUIDS)),
        (list[frozenset[UUID]], FAST, b"\x91" + array(UUIDS)),
        (list[set[UUID]], FAST, array([SMALL] * 110)),
        (dict[UUID, int], FAST, mapping(UUIDS)),
        (dict[str, dict[UUID, int]], FAST, b"\x81\xa1a" + mapping(UUIDS)),
        (set[tuple[int, int]], FAST, array(TUPLES)),
        (set[tuple[Any, ...]], FAST, array(TUPLES)),
        (dict[tuple[int, int], int], FAST, mapping(TUPLES)),
        (dict, FAST, mapping(TUPLES)),
        (Loose, FAST, b"\x81\xa4what" + mapping(TUPLES)),
        (object, UNTYPED, mapping(EXTENDED)),
        (object, FAST, mapping(TUPLES)),
        (set[Point], FAST, array(RECORDS)),
        (set[Place], FAST, array(RECORDS)),
        (set[Decimal], FAST, array(DECIMALS)),
        (dict[Decimal, int], FAST, mapping(DECIMALS)),
        (set[int], WIDE, array(INTEGERS)),
        (set[int | str], WIDE, array(INTEGERS)),
        (dict[int, int], WIDE, mapping(INTEGERS)),
        (dict[Any, int], WIDE, mapping(INTEGERS)),
        (object, WIDE, mapping(INTEGERS)),
        (object, UNTYPED, mapping(INTEGERS)),
        (object, UNTYPED, extension(3, array(INTEGERS))),
        (object, UNTYPED, extension(4, array(INTEGERS))),
        (Price, WIDE, extension(3, array(INTEGERS))),
        (Price, WIDE, mapping(INTEGERS)),
        (object, UNTYPED, b"\xdd\x00\x00\xff\xff" * 13_000),
        (object, UNTYPED, b"\xdf\xff\xff\xff\xff" * 13_000),
        (list, FAST, b"\xdd\xff\xff\xff\xff" * 13_000),
        (list[list[int]], WIDE, b"\xdd\xff\xff\xff\xff" * 13_000),
        (Node, FAST, b"\x81\xa4next" * 10_000),
        (list, FAST, array([b"\x90"] * 65_000)),
        (list[dict[str, int]], FAST, array([b"\x80"] * 65_000)),
        (list[set[int]], FAST, array([b"\x90"] * 65_000)),
        (object, UNTYPED, array([extension(3, b"\x90")] * 9000)),
        (list[int], WIDE, array([b"\xd4\x01\x01"] * 21_000)),
        (object, UNTYPED, extension(10, b"1" * 65_000)),
        (object, UNTYPED, extension(10, b"1E" + b"9" * 65_000)),
        (object, UNTYPED, mapping([extension(10, b"%dE99999" % n) for n in range(3500)])),
        (Decimal, FAST, msgspec.msgpack.encode("1" * 65_000)),
        (object, UNTYPED, extension(5, b"1" * 65_000)),
        (object, UNTYPED, extension(1, b"\x7f" * 65_000)),
        (float, WIDE, extension(1, b"\x7f" * 4096)),
        (object, UNTYPED, extension(99, b"\x7f" * 65_000)),
    ],
)
def test_what_was_made_to_hurt_costs_little(type_: Any, form: bytes, body: bytes) -> None:
    codec, data = codec_for(type_), form + b"\x91" + body
    assert len(data) < 80_000
    gc.collect()
    gc.freeze()  # what other tests left behind is not searched for garbage in the measured time
    try:
        spent = process_time()
        with suppress(DecodeError):
            codec.decode_batch(data)
        assert process_time() - spent < SECONDS_MAX
    finally:
        gc.unfreeze()
    start()
    with suppress(DecodeError):
        codec.decode_batch(data)
    peak = get_traced_memory()[1]
    stop()
    assert peak < BYTES_MAX


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (set[UUID], {UUID(int=n) for n in range(2000)}),
        (dict[tuple[int, int], int], {(x, y): x for x in range(-40, 40) for y in range(-40, 40)}),
        (dict[tuple[float, ...], str], {(x / 8, 0.0, -1.0): "" for x in range(2000)}),
        (set[Point], {Point(x, y) for x in range(60) for y in range(60)}),
        (frozenset[Decimal], frozenset(Decimal(n) / 8 for n in range(3000))),
        (set[int], {n << 70 for n in range(3000)}),
        (dict[int, int], {n << 64: n for n in range(3000)}),
        (Any, {(n, str(n)): {n, (n, n)} for n in range(1000)}),
        (Any, {frozenset({n, -n, "a"}) for n in range(1000)}),
    ],
)
def test_large_sets_and_mappings_of_others_are_taken(type_: Any, value: Any) -> None:
    codec = codec_for(type_)
    assert codec.decode(codec.encode(value)) == value


# Depth.


def chain(depth: int) -> Node:
    node = Node(0)
    for n in range(1, depth):
        node = Node(n, node)
    return node


def nested(depth: int, make: Any = lambda inner: [inner]) -> Any:
    value: Any = 7
    for _ in range(depth):
        value = make(value)
    return value


def on_a_deep_stack(frames: int, call: Any) -> Any:
    return call() if not frames else on_a_deep_stack(frames - 1, call)


@pytest.mark.parametrize(
    ("type_", "make"),
    [
        (Node, chain),
        (Any, nested),
        (object, lambda depth: nested(depth, lambda inner: (inner,))),
        (object, lambda depth: nested(depth, lambda inner: {"a": inner})),
        (list, nested),
        (Loose, lambda depth: Loose(nested(depth - 1))),
        (list[Node], lambda depth: [chain(depth - 1)]),
    ],
)
def test_depth_has_one_limit_on_any_stack(type_: Any, make: Any) -> None:
    codec = codec_for(type_)
    deepest = make(NESTING_MAX)
    data = codec.encode_batch([deepest, deepest])
    for frames in (0, 300):
        assert on_a_deep_stack(frames, lambda: codec.decode_batch(data)) == [deepest, deepest]
        for depth in (NESTING_MAX + 1, 300, 900):
            too_deep = make(depth)
            with pytest.raises(EncodeError):
                on_a_deep_stack(frames, lambda deep=too_deep: codec.encode(deep))


@pytest.mark.parametrize("form", [FAST, WIDE])
def test_what_is_nested_too_deep_is_not_decoded(form: bytes) -> None:
    deepest = b"\x91" * NESTING_MAX + b"\x07"
    assert codec_for(list).decode(form + b"\x91" + deepest) == nested(NESTING_MAX)
    with pytest.raises(DecodeError, match="nested deeper than 64"):
        codec_for(list).decode(form + b"\x91\x91" + deepest)


def test_depth_in_what_a_subclass_adds_is_seen_where_it_is_encoded() -> None:
    class Base(msgspec.Struct):
        n: int

    class More(Base):
        extra: Any = None

    assert codec_for(Base).encode(More(1, nested(NESTING_MAX - 1)))
    with pytest.raises(EncodeError, match="nested deeper"):
        codec_for(Base).encode(More(1, nested(NESTING_MAX)))


def test_types_without_end_are_told_from_others() -> None:
    assert not WireLimits(Price).may_nest
    assert not WireLimits(dict[str, list[Price]]).may_nest
    for type_ in (Node, list[Node], Loose, dict[str, object], list, msgspec.Raw):
        assert WireLimits(type_).may_nest


# The walk.


@given(
    st.recursive(
        st.none() | st.integers(-(2**63), 2**63) | st.text() | st.binary() | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.integers(0, 99), inner),
    )
)
def test_walk_finds_the_end_of_whatever_is_encoded(value: Any) -> None:
    data = msgpack.packb(value)
    scan(data, nesting_max=1000)
    with pytest.raises(DecodeError):
        scan(data[:-1] if len(data) > 1 else b"", nesting_max=1000)
    with pytest.raises(DecodeError):
        scan(data + b"\x00", nesting_max=1000)


def test_walk_returns_large_containers_with_all_their_members() -> None:
    value = {"a": [*range(50), 7], "b": [1, 2], "c": dict.fromkeys(range(40), "x")}
    found = scan(msgpack.packb(value), ("array", "map"))
    assert [(large.kind, len(large.members)) for large in found] == [("array", 51), ("map", 40)]
    assert found[1].members == [bytes([n]) for n in range(40)]
    assert scan(msgpack.packb(value), ("set",)) == []
