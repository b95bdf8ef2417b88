"""What bounds decoding: of every decoder there is, and of values without a type."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Annotated, Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mosaik_actors
from mosaik_actors.errors import DecodeError
from mosaik_actors.wire_encoding import BoundedDecoder, check_objects, why_unbounded

PACKAGE = Path(mosaik_actors.__file__).parent
# A type within itself is bounded by msgspec's own limit of nesting; the parts have limits.
NESTED = {"a subscription"}


def every_decoder() -> list[BoundedDecoder[Any]]:
    for module in pkgutil.walk_packages(mosaik_actors.__path__, "mosaik_actors."):
        if ".cli" not in module.name:
            importlib.import_module(module.name)
    return [one for one in BoundedDecoder.made if one.what != "a test"]


def test_every_decoder_has_a_limit_for_everything() -> None:
    decoders = every_decoder()
    assert len(decoders) > 20
    found = {one.what: why_unbounded(one.kind) for one in decoders if one.what not in NESTED}
    assert {what: why for what, why in found.items() if why} == {}
    nested = [why_unbounded(one.kind) for one in decoders if one.what in NESTED]
    assert all(re.fullmatch(r"(\S+: TypeSchema within itself(, )?)+", why) for why in nested)


def test_only_the_codec_decodes_without_a_type() -> None:
    """`msgpack.unpackb` allocates what headers claim; `decode` of bytes without a type is `Any`."""
    untyped = re.compile(r"msgpack\.(unpackb|unpack|Unpacker)\(|msgpack\.decode\(\w+\)")
    found = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if "testing" not in path.parts and untyped.search(path.read_text())
    ]
    # `runs` takes apart what this node has encoded, and builds nothing; `criteria` checks before.
    assert [one for one in found if not one.startswith("codec")] == [
        "streams/criteria/criteria.py",
        "streams/producing/encoded.py",
    ]


class Inner(msgspec.Struct):
    texts: list[Annotated[str, msgspec.Meta(max_length=3)]]


class Outer(msgspec.Struct, array_like=True):
    inner: tuple[Inner, int]
    anything: Any = None
    raw: msgspec.Raw = msgspec.Raw()
    table: Annotated[dict[str, bytes] | None, "a note"] = None


def test_what_has_no_limit_is_found_wherever_it_is() -> None:
    assert why_unbounded(Outer).split(", ") == [
        ".Outer.inner.0.Inner.texts: ListType",
        ".Outer.anything: AnyType",
        ".Outer.raw: RawType",
        ".Outer.table.: DictType",
        ".Outer.table..key: StrType",
    ]


def test_decoder_refuses_what_is_long_or_does_not_fit_with_one_error() -> None:
    decoder: BoundedDecoder[Inner] = BoundedDecoder(Inner, "a test", 20)
    assert decoder.decode(b"\x81\xa5texts\x91\xa1x") == Inner(["x"])
    for data in (b"", b"\xc1", b"\x81\xa5texts\x91\xa4long", bytes(21), b"\xdd\xff\xff\xff\xff"):
        with pytest.raises(DecodeError, match=r"a test of 21 bytes, at most 20|not a test"):
            decoder.decode(data)


def count_objects(value: Any) -> tuple[int, int]:
    """Return (how many objects, how deep), the slow and obvious way."""
    if isinstance(value, dict):
        parts = [count_objects(part) for pair in value.items() for part in pair]
    elif isinstance(value, list):
        parts = [count_objects(part) for part in value]
    else:
        return 1, 0
    return 1 + sum(n for n, _ in parts), 1 + max((depth for _, depth in parts), default=0)


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(max_size=300) | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary())
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=18),
    max_leaves=60,
)


@given(values)
@settings(max_examples=40, deadline=None)
def test_objects_are_counted_as_by_the_decoder(value: Any) -> None:
    data: bytes = msgpack.packb(value)
    count, depth = count_objects(value)
    check_objects(data, objects_max=count, depth_max=depth)
    if count > 1:
        with pytest.raises(DecodeError, match="more than"):
            check_objects(data, objects_max=count - 1, depth_max=depth)
        with pytest.raises(DecodeError, match=r"deeper|more than"):
            check_objects(data, objects_max=count, depth_max=depth - 1)
    with pytest.raises(DecodeError):
        check_objects(data[:-1], objects_max=count, depth_max=depth)
    with pytest.raises(DecodeError, match="1 bytes behind"):
        check_objects(data + b"\xc0", objects_max=count, depth_max=depth)


@given(st.binary(max_size=200))
def test_what_passes_is_one_value_that_msgpack_decodes_too(data: bytes) -> None:
    try:
        check_objects(data, objects_max=100, depth_max=8)
    except DecodeError:
        return
    try:
        msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError):
        assert b"\xc1" in data or max(data) > 0x7F  # an undefined byte, a text that is none
