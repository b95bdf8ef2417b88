from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from mosaik_actors.ids import StreamId
from mosaik_actors.streams.schema import (
    SchemaMismatch,
    check_compatible,
    describe,
    fingerprint,
    first_difference,
    stream_id_of,
    stream_name,
)


class Side(Enum):
    BUY = "buy"
    SELL = "sell"


class Venue(msgspec.Struct):
    name: str
    fee: float = 0.0


class Price(msgspec.Struct):
    symbol: str
    price: float
    venues: list[Venue]
    side: Side
    note: str | None = None


class Tree(msgspec.Struct):
    value: int
    children: list[Tree]


@dataclass
class Plain:
    a: int
    b: Literal["x", "y"]


def test_a_stream_is_named_by_module_and_qualified_name() -> None:
    assert stream_name(Price) == f"{__name__}.Price"
    assert stream_id_of(Price) == StreamId(f"{__name__}.Price")


def test_main_and_builtins_are_left_out_of_names() -> None:
    script = type("Price", (msgspec.Struct,), {"__module__": "__main__", "__annotations__": {}})
    assert stream_name(script) == "Price"
    assert stream_name(int) == "int"
    assert stream_name(dict[str, list[int]]) == "dict[str, list[int]]"
    assert stream_name(Price | None) == f"{__name__}.Price | None"
    assert stream_name(Annotated[int, msgspec.Meta(ge=0)]) == "int"
    assert stream_name(Any) == "Any"


def test_a_schema_lists_records_in_the_order_they_are_met() -> None:
    schema = describe(Price)
    assert schema.root == "{0}"
    assert [record.name for record in schema.records] == ["Price", "Venue"]
    assert [(f.name, f.type, f.required) for f in schema.records[0].fields] == [
        ("symbol", "str", True),
        ("price", "float", True),
        ("venues", "list[{1}]", True),
        ("side", "Enum['buy', 'sell']", True),
        ("note", "str | none", False),
    ]


def test_recursive_types_end() -> None:
    (tree,) = describe(Tree).records
    assert tree.fields[1].type == "list[{0}]"


@pytest.mark.parametrize(
    ("type_", "root"),
    [
        (int, "int"),
        (object, "any"),
        (Any, "any"),
        (dict[str, set[int]], "dict[str, set[int]]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[int, str], "tuple[int, str]"),
        (frozenset[bytes], "set[bytes]"),
        (Plain | None, "{0} | none"),
    ],
)
def test_types_without_records_are_described_by_text(type_: Any, root: str) -> None:
    assert describe(type_).root == root


def test_what_a_class_is_called_does_not_matter() -> None:
    other = msgspec.defstruct("Other", [("a", int), ("b", Literal["x", "y"])])
    assert fingerprint(describe(Plain)) == fingerprint(describe(other))
    assert first_difference(describe(Plain), describe(other)) is None


@pytest.mark.parametrize(
    ("theirs", "field", "text"),
    [
        ([("symbol", str), ("price", int)], "Record.price", "price is float here and int there"),
        ([("symbol", str)], "Record.price", "price (float) is missing there"),
        (
            [("symbol", str), ("price", float), ("qty", int)],
            "Record.qty",
            "qty (int) is unknown here",
        ),
        ([("price", float), ("symbol", str)], "Record.symbol", "preceded by price"),
        ([("symbol", str), ("price", float | None)], "Record.price", "float | none there"),
    ],
)
def test_the_first_field_that_differs_is_named(theirs: Any, field: str, text: str) -> None:
    ours = msgspec.defstruct("Record", [("symbol", str), ("price", float)])
    there = msgspec.defstruct("Newer", theirs)
    with pytest.raises(SchemaMismatch) as caught:
        check_compatible(describe(ours), describe(there))
    assert caught.value.field == field
    assert text in str(caught.value)
    assert caught.value.close_code == 10409


def test_a_difference_in_a_nested_record_is_named_with_its_way() -> None:
    inner = msgspec.defstruct("Venue", [("name", str), ("fee", int)])
    newer = msgspec.defstruct(
        "Price",
        [("symbol", str), ("price", float), ("venues", list[inner]), ("side", Side),  # type: ignore[valid-type]
         ("note", str | None)],
    )  # fmt: skip
    difference = first_difference(describe(Price), describe(newer))
    assert difference is not None
    assert difference.field == "Price: Venue.fee"


def test_other_kinds_of_item_differ_as_a_whole() -> None:
    difference = first_difference(describe(Price), describe(int))
    assert str(difference) == "field (the item itself) is Price here and int there"


def test_the_form_of_a_record_matters() -> None:
    as_map = msgspec.defstruct("R", [("a", int)])
    as_array = msgspec.defstruct("R", [("a", int)], array_like=True)
    with pytest.raises(SchemaMismatch, match="map here and array there"):
        check_compatible(describe(as_map), describe(as_array))


def test_a_type_too_large_to_describe_still_has_a_fingerprint() -> None:
    fields: list[Any] = [(f"field_{n}", int) for n in range(5000)]
    huge = msgspec.defstruct("Huge", fields)
    other = msgspec.defstruct("Huge", [*fields, ("more", str)])
    assert describe(huge).records == ()
    assert first_difference(describe(huge), describe(msgspec.defstruct("Huge", fields))) is None
    assert first_difference(describe(huge), describe(other)) is not None
