from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from mosaik_actors.ids import PeerId, StreamId, UniqueId
from mosaik_actors.schema import (
    FieldSchema,
    RecordSchema,
    Schema,
    SchemaMismatch,
    TypeSchema,
    check_compatible,
    check_same,
    check_sendable,
    describe,
    fingerprint,
    first_difference,
    identity,
    mismatch_from,
    type_name,
)
from mosaik_actors.streams.schema import stream_id_of


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


class Handle:
    """What nobody can decode."""


class Owner(msgspec.Struct):
    name: str
    parent: Owner | None
    handle: Handle | None = None


@dataclass
class Plain:
    a: int
    b: Literal["x", "y"]


def test_a_stream_is_named_by_module_and_qualified_name() -> None:
    assert type_name(Price) == f"{__name__}.Price"
    assert stream_id_of(Price) == StreamId(f"{__name__}.Price")


def test_main_and_builtins_are_left_out_of_names() -> None:
    script = type("Price", (msgspec.Struct,), {"__module__": "__main__", "__annotations__": {}})
    assert type_name(script) == "Price"
    assert type_name(int) == "int"
    assert type_name(dict[str, list[int]]) == "dict[str, list[int]]"
    assert type_name(Price | None) == f"{__name__}.Price | None"
    assert type_name(Annotated[int, msgspec.Meta(ge=0)]) == "int"
    assert type_name(Any) == "Any"


def test_a_schema_lists_records_in_the_order_they_are_met() -> None:
    schema = describe(Price)
    assert str(schema.root) == "{0}"
    assert [record.name for record in schema.records] == ["Price", "Venue"]
    assert [(f.name, str(f.type), f.required) for f in schema.records[0].fields] == [
        ("symbol", "str", True),
        ("price", "float", True),
        ("venues", "list[{1}]", True),
        ("side", "Enum['buy', 'sell']", True),
        ("note", "str | none", False),
    ]


def test_recursive_types_end() -> None:
    (tree,) = describe(Tree).records
    assert str(tree.fields[1].type) == "list[{0}]"


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
    assert str(describe(type_).root) == root


def test_what_a_class_is_called_does_not_matter() -> None:
    other = msgspec.defstruct("Other", [("a", int), ("b", Literal["x", "y"])])
    assert fingerprint(describe(Plain)) == fingerprint(describe(other))
    assert first_difference(describe(Plain), describe(other)) is None


@pytest.mark.parametrize(
    ("theirs", "field", "text"),
    [
        (
            [("symbol", str), ("price", int)],
            "Record.price",
            "price: the producer has float, the consumer expects int",
        ),
        (
            [("symbol", str)],
            "Record.price",
            "price: the producer has float, the consumer expects no such field",
        ),
        (
            [("symbol", str), ("price", float), ("qty", int)],
            "Record.qty",
            "qty: the producer has no such field, the consumer expects int",
        ),
        (
            [("symbol", str), ("price", str | None)],
            "Record.price",
            "the consumer expects str | none",
        ),
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
    assert (
        str(difference)
        == "field (the item itself): the producer has Price, the consumer expects int"
    )


def test_the_form_of_a_record_matters() -> None:
    as_map = msgspec.defstruct("R", [("a", int)])
    as_array = msgspec.defstruct("R", [("a", int)], array_like=True)
    with pytest.raises(SchemaMismatch, match="the producer has map, the consumer expects array"):
        check_compatible(describe(as_map), describe(as_array))


def test_a_type_too_large_to_describe_still_has_a_fingerprint() -> None:
    fields: list[Any] = [(f"field_{n}", int) for n in range(5000)]
    huge = msgspec.defstruct("Huge", fields)
    other = msgspec.defstruct("Huge", [*fields, ("more", str)])
    assert describe(huge).records == ()
    assert first_difference(describe(huge), describe(msgspec.defstruct("Huge", fields))) is None
    assert first_difference(describe(huge), describe(other)) is not None


# Evolution: what is written here is read there.


def record(*fields: Any, **options: Any) -> Any:
    return msgspec.defstruct("Record", fields, **options)


OLD = record(("a", int))


class InnerOld(msgspec.Struct):
    x: int


class InnerNew(msgspec.Struct):
    x: int
    y: int = 0


class InnerOther(msgspec.Struct):
    x: str


TAGGED_A = record(("a", int), tag="a")
TAGGED_A_NEW = record(("a", int), ("more", str, ""), tag="a")
TAGGED_A_OTHER = record(("a", str), tag="a")
TAGGED_B = record(("b", int), tag="b")
TAGGED_C = record(("c", int), tag="c")


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        (OLD, record(("a", int), ("b", str, ""))),
        (record(("a", int), ("b", str, "")), OLD),
        (record(("a", int), ("b", int)), record(("b", int), ("a", int))),
        (OLD, record(("a", int | None))),
        (OLD, record(("a", int | str))),
        (record(("v", list[InnerOld])), record(("v", list[InnerNew]))),
        (record(("v", dict[str, InnerNew])), record(("v", dict[str, InnerOld]))),
        (TAGGED_A | TAGGED_B, TAGGED_C | TAGGED_B | TAGGED_A_NEW),
        (TAGGED_A, TAGGED_A_NEW | None),
        (record(("a", int), array_like=True), record(("a", int), ("b", int, 0), array_like=True)),
        (record(("a", int), ("b", int, 0), array_like=True), record(("a", int), array_like=True)),
        (record(("a", int, 0), omit_defaults=True), record(("a", int, 5))),
        (OLD, record(("a", int), forbid_unknown_fields=True)),
        (OLD, Any),
        (Tree, Tree),
    ],
)
def test_evolutions_that_can_be_read(writer: Any, reader: Any) -> None:
    check_compatible(describe(writer), describe(reader))


@pytest.mark.parametrize(
    ("writer", "reader", "field", "text"),
    [
        (
            OLD,
            record(("a", int), ("b", str)),
            "Record.b",
            "b: the producer has no such field, the consumer expects str",
        ),
        (
            record(("a", int), ("b", str)),
            OLD,
            "Record.b",
            "b: the producer has str, the consumer expects no such field",
        ),
        (
            record(("a", int | None)),
            OLD,
            "Record.a",
            "a: the producer has int | none, the consumer expects int",
        ),
        (OLD, record(("a", float)), "Record.a", "the producer has int, the consumer expects float"),
        (
            record(("v", list[InnerOld])),
            record(("v", list[InnerOther])),
            "Record: InnerOld.x",
            "the producer has int, the consumer expects str",
        ),
        (TAGGED_A | TAGGED_B, TAGGED_A, "(the item itself)", "the producer has Record | Record"),
        (
            TAGGED_A | TAGGED_B,
            TAGGED_A_OTHER | TAGGED_B,
            "Record.a",
            "the producer has int, the consumer expects str",
        ),
        (TAGGED_A, TAGGED_B, "Record.(form)", "the producer has map tagged type='a'"),
        (
            record(("a", int), ("b", int), array_like=True),
            record(("b", int), ("a", int), array_like=True),
            "Record.a",
            "preceded by b",
        ),
        (
            record(("a", int), ("b", str, "")),
            record(("a", int), forbid_unknown_fields=True),
            "Record.b",
            "the consumer expects no such field",
        ),
        (
            record(("a", int, 0), omit_defaults=True),
            OLD,
            "Record.a",
            "the producer has it optional, the consumer expects it required",
        ),
    ],
)
def test_evolutions_that_cannot_be_read_name_the_field(
    writer: Any, reader: Any, field: str, text: str
) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        check_compatible(describe(writer), describe(reader))
    assert caught.value.field == field
    assert text in str(caught.value)
    # A peer that is told so by text knows the field as well.
    assert mismatch_from(str(caught.value)).field == field


@pytest.mark.parametrize("writer", [OLD, InnerNew, TAGGED_A, TAGGED_A | TAGGED_B, Price, Tree])
@pytest.mark.parametrize("reader", [OLD, InnerOld, TAGGED_A_NEW, TAGGED_A_OTHER | TAGGED_B, Tree])
def test_what_is_called_compatible_can_be_decoded(writer: Any, reader: Any) -> None:
    """The comparison against the truth: items of one, decoded as the other."""
    samples: list[Any] = [
        OLD(1), InnerNew(1, 2), TAGGED_A(1), TAGGED_B(2), Tree(1, [Tree(2, [])]),
        Price("x", 1.0, [Venue("v")], Side.BUY),
    ]  # fmt: skip
    samples = [item for item in samples if isinstance(item, writer)]
    assert samples
    with suppress(SchemaMismatch):
        check_compatible(describe(writer), describe(reader))
        for item in samples:
            msgspec.msgpack.decode(msgspec.msgpack.encode(item), type=reader)


def test_sharing_a_producer_asks_for_the_same_type() -> None:
    check_same(describe(OLD), describe(record(("a", int))))
    for other in (InnerOld, record(("a", int), ("b", int, 0)), record(("a", int | None))):
        with pytest.raises(SchemaMismatch):
            check_same(describe(OLD), describe(other))


def test_hostile_schemas_take_limited_time() -> None:
    """Unions of many records that all differ in the last place would multiply."""
    types = TypeSchema("union", tuple(TypeSchema("record", record=n) for n in range(100)))
    here, there = (
        Schema(types, tuple(RecordSchema("r", "map", (FieldSchema("f", types), last))
                            for _ in range(100)))
        for last in (FieldSchema("x", TypeSchema("int")), FieldSchema("x", TypeSchema("str")))
    )  # fmt: skip
    assert first_difference(here, there) is not None
    deep = TypeSchema("int")
    for _ in range(3000):
        deep = TypeSchema("list", (deep,))
    assert first_difference(Schema(deep), Schema(TypeSchema("list", (deep,)))) is not None
    number_out_of_range = Schema(TypeSchema("record", record=7))
    assert first_difference(number_out_of_range, Schema(TypeSchema("record", record=8))) is not None


# What members of a group must agree on.


def made(fields: list[Any], **settings: Any) -> Any:
    return msgspec.defstruct("Made", fields, **settings)


def test_everything_that_a_type_declares_is_part_of_its_identity() -> None:
    fields: list[Any] = [("a", int), ("b", int, 1)]
    at_least_0: Any = Annotated[int, msgspec.Meta(ge=0)]
    different = [
        made(fields),
        made([("a", at_least_0), ("b", int, 1)]),
        made([("a", Annotated[int, msgspec.Meta(ge=1)]), ("b", int, 1)]),
        made([("a", int), ("b", at_least_0, 1)]),
        made([("a", int), ("b", int, 2)]),
        made([("a", int), ("b", int)]),
        made([("a", int), ("b", int, msgspec.field(default_factory=int))]),
        made([("a", list[at_least_0]), ("b", int, 1)]),
        made([("a", Annotated[list[int], msgspec.Meta(max_length=3)]), ("b", int, 1)]),
        made([("a", Annotated[str, msgspec.Meta(pattern="^x")]), ("b", int, 1)]),
        made(fields, omit_defaults=True),
        made(fields, forbid_unknown_fields=True),
        made(fields, rename="upper"),
        made(fields, tag="made"),
        made(fields, array_like=True),
    ]
    ids = list(map(identity, different))
    assert len(dict.fromkeys(ids)) == len(ids)
    assert identity(made(fields)) == ids[0]
    assert identity(object) == identity(Any)


DEFAULTS: list[Any] = [frozenset("abcdef"), Side.BUY, StreamId("x"), 1.5, None, (1, b"b")]


def with_defaults() -> Any:
    return made([(f"f{number}", Any, value) for number, value in enumerate(DEFAULTS)])


def test_identity_is_the_same_in_every_process() -> None:
    """Sets are in another order there, and functions at another address."""
    script = f"import {__name__} as t; print(t.identity(t.with_defaults()).hex())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == identity(with_defaults()).hex()


def test_the_difference_of_two_types_that_can_read_each_other_is_named() -> None:
    old, new = made([("a", int)]), made([("a", int), ("b", int, 1)])
    for mine, theirs, text in (
        (old, new, "field Made.b: this type has no such field, the producer in use has int"),
        (new, old, "field Made.b: this type has int, the producer in use has no such field"),
        (made([("b", int), ("a", int)]), made([("a", int), ("b", int)]), "in another order"),
    ):
        with pytest.raises(SchemaMismatch, match=text):
            check_same(describe(mine), describe(theirs))


def test_a_type_of_object_is_any() -> None:
    assert describe(list[object]) == describe(list[Any])
    assert describe(dict[str, object | None]) == describe(dict[str, Any])


@pytest.mark.parametrize(
    ("type_", "why"),
    [
        (Handle, "Handle is not"),
        (complex, "complex is not"),
        (list[Handle], "Handle is not"),
        (Owner, r"Owner\.handle: Handle is not"),
        (dict[str, tuple[int, Owner]], r"Owner\.handle: Handle is not"),
        (Annotated[list[Owner], msgspec.Meta(max_length=3)], r"Owner\.handle: Handle is not"),
    ],
)
def test_a_class_that_cannot_be_sent_is_named_with_its_field(type_: Any, why: str) -> None:
    with pytest.raises(TypeError, match=f"^{why} a type that can be sent$"):
        check_sendable(type_)


@pytest.mark.parametrize(
    "type_", [int, object, Any, UniqueId, dict[PeerId, list[Any]], Tree, Plain, None]
)
def test_what_can_be_sent_is_let_be(type_: Any) -> None:
    check_sendable(type_)
