"""Bencode: one form for each value, and nothing else is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.dht.bencode import DEPTH_MAX, Value, decode, encode
from mosaik_actors.errors import DecodeError

VALUES: st.SearchStrategy[Value] = st.recursive(
    st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_encoded_comes_back(value: Value) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=60))
def test_what_is_taken_has_one_form(data: bytes) -> None:
    try:
        value = decode(data)
    except DecodeError:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    ("value", "data"),
    [  # the examples of BEP 3
        (b"spam", b"4:spam"),
        (b"", b"0:"),
        (3, b"i3e"),
        (-3, b"i-3e"),
        (0, b"i0e"),
        ([b"spam", b"eggs"], b"l4:spam4:eggse"),
        ({b"cow": b"moo", b"spam": b"eggs"}, b"d3:cow3:moo4:spam4:eggse"),
        ({b"spam": [b"a", b"b"]}, b"d4:spaml1:a1:bee"),
    ],
)
def test_examples_of_the_specification(value: Value, data: bytes) -> None:
    assert encode(value) == data
    assert decode(data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i03e",
        b"i-0e",
        b"ie",
        b"i-e",
        b"i1",
        b"i" + b"9" * 30 + b"e",
        b"04:spam",
        b"5:spam",
        b"99999999999999999999:x",
        b"-1:x",
        b"l",
        b"li1e",
        b"d",
        b"di1ei2ee",
        b"d1:b0:1:a0:e",
        b"d1:a0:1:a0:e",
        b"d1:ae",
        b"i1ei2e",
        b"x",
        b"l" * (DEPTH_MAX + 1) + b"e" * (DEPTH_MAX + 1),
        b"l" * 60_000,
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


@pytest.mark.parametrize("value", [None, "text", True, 1.5])
def test_what_has_no_form_is_not_encoded(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)  # type: ignore[arg-type]
