"""Elements: what each type of value needs to travel, to be a key, to have bytes of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaik_actors.codec import EncodeError
from mosaik_actors.collections.elements import Element
from mosaik_actors.errors import ConfigError, DecodeError
from mosaik_actors.ids import UniqueId


class Tree(msgspec.Struct, frozen=True):
    name: str
    branches: tuple[Tree, ...] = ()


class HashedByName(msgspec.Struct):
    name: str

    def __hash__(self) -> int:
        return hash(self.name)


class Quote(msgspec.Struct):
    price: float


def make(type_: Any, *, is_key: bool = False) -> Element[Any]:
    return Element(type_, is_key=is_key)


def test_typed_values_travel_as_they_are_and_others_as_bytes() -> None:
    assert make(int).wire is int
    assert make(int).prepare(5) == 5
    assert make(Any).wire is bytes
    untyped: Element[Any] = make(object)
    assert untyped.receive(untyped.prepare((1, {2}))) == (1, {2})


@pytest.mark.parametrize(
    ("type_", "takes_none", "is_direct"),
    [
        (int, False, True),
        (int | None, True, True),
        (None, True, True),
        (Quote, False, True),
        (tuple[Any, ...], False, False),
        (Decimal, False, False),
        (Any, True, False),
        (object, True, False),
    ],
)
def test_what_a_type_takes(type_: Any, takes_none: bool, is_direct: bool) -> None:
    assert make(type_).takes_none == takes_none
    if type_ is not Quote:
        assert make(type_, is_key=True).is_direct == is_direct


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (int, "1"),
        (int, 1.5),
        (Annotated[int, msgspec.Meta(ge=0)], -1),
        (Quote, {"price": 1.0}),
        (Quote, Quote("dear")),  # type: ignore[arg-type]
        (UniqueId, b"short"),
        (list[int], [1, "2"]),
        (object, object()),
    ],
)
def test_what_would_not_arrive_is_refused_with_the_value(type_: Any, value: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        make(type_).prepare(value)
    assert caught.value.value is value


def test_refusal_speaks_of_the_value_and_not_of_a_batch() -> None:
    with pytest.raises(EncodeError, match=r"^not of type str: Expected `str`, got `int`$"):
        make(str).prepare(2)
    with pytest.raises(EncodeError, match=r"got `int` - at `\$\[1\]`$"):
        make(list[str]).prepare(["a", 2])


def test_value_arrives_as_its_type_says() -> None:
    assert make(float).prepare(1) == 1.0
    assert type(make(float).prepare(1)) is float
    assert make(tuple[int, ...]).prepare((1, 2)) == (1, 2)
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    assert make(datetime).prepare(moment) == moment


@pytest.mark.parametrize("type_", [Tree, HashedByName, Annotated[str, msgspec.Meta(max_length=3)]])
def test_types_with_a_hash_are_keys(type_: Any) -> None:
    assert make(type_, is_key=True).is_direct


def test_recursive_type_is_looked_through_once() -> None:
    element: Element[Tree] = make(Tree, is_key=True)
    tree = Tree("a", (Tree("b"), Tree("c", (Tree("d"),))))
    assert element.prepare(tree) == tree


class Loop(msgspec.Struct, frozen=True):
    inner: list[Loop]


def test_recursive_type_without_a_hash_is_no_key() -> None:
    with pytest.raises(ConfigError, match="Loop cannot be a key: a list has no hash"):
        make(Loop, is_key=True)


def test_type_that_cannot_be_described_is_refused() -> None:
    class Opaque:
        pass

    for type_ in (Opaque, list[Opaque], tuple[int, Opaque]):
        with pytest.raises(ConfigError, match="is not a type that can be sent"):
            make(type_)


def test_nesting_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in (endless, deep):
        for type_ in (Any, list[Any], tuple[set[int], list[Any]]):
            with pytest.raises(EncodeError):
                make(type_).prepare(({1}, value) if type_ not in (Any, list[Any]) else value)


def test_signature_tells_records_of_one_name_apart() -> None:
    one = msgspec.defstruct("Record", [("a", int)])
    other = msgspec.defstruct("Record", [("b", int)])
    assert make(one).signature != make(other).signature
    assert make(one).signature.startswith(make(other).name)


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=3)
        | st.frozensets(st.text(max_size=2) | st.tuples(st.integers()), max_size=4)
        | st.sets(st.text(max_size=2), max_size=4)
    ),
    max_leaves=8,
)


@given(value=NESTED)
def test_untyped_values_come_back_with_their_types(value: Any) -> None:
    element: Element[Any] = make(Any)
    arrived = element.receive(element.prepare(value))
    assert arrived == value
    assert type(arrived) is type(value)
    assert element.pack([arrived]) == element.pack([value])


@given(data=st.binary(max_size=40))
def test_hostile_bytes_raise_nothing_but_decode_errors(data: bytes) -> None:
    element: Element[Any] = make(Any, is_key=True)
    for read in (element.receive, element.unpack):
        try:
            found = read(data)
        except DecodeError:
            continue
        for key in found if read == element.unpack else [found]:
            hash(key)
