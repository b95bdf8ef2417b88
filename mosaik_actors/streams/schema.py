"""What a stream's items look like: its id, its name, and a description to compare.

A stream of type ``T`` gets its id from ``T``'s module and qualified name, so
two programs that import the same record meet without further ado. ``__main__``
is left out, and so is ``builtins``: a script's own ``Price`` is ``Price``.

A *schema* describes the type as data: its records, their fields, the fields'
types. Records are numbered in the order in which a walk from the root meets
them, and a type's text names them by number, so that what a class is called
does not matter and recursive types end. The *fingerprint* is the BLAKE3 hash
of that, field names and types only. Equal fingerprints are compatible;
otherwise `first_difference` looks for the first field in the walk that differs.

Schemas come from peers too, so `Schema` is bounded and `first_difference`
visits each pair of records once.
"""

from __future__ import annotations

import sys
import types
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import msgspec.inspect as mi
from blake3 import blake3

from ..errors import RemoteError
from ..ids import StreamId
from ..transport.close import CloseCode

RECORDS_MAX = 256
FIELDS_MAX = 1024
TEXT_MAX = 2048
SCHEMA_BYTES_MAX = 48 * 1024

_Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]


class FieldSchema(msgspec.Struct, frozen=True, array_like=True):
    """One field: the name it travels under, its type as text, whether it must be there."""

    name: _Text
    type: _Text
    required: bool = True


class RecordSchema(msgspec.Struct, frozen=True, array_like=True):
    """One record: its name for people, how it travels, and its fields in order."""

    name: _Text
    form: _Text
    fields: Annotated[tuple[FieldSchema, ...], msgspec.Meta(max_length=FIELDS_MAX)]


class Schema(msgspec.Struct, frozen=True, array_like=True):
    """A type as data: the root's text, and the records it names as ``{number}``."""

    root: _Text
    records: Annotated[tuple[RecordSchema, ...], msgspec.Meta(max_length=RECORDS_MAX)] = ()


UNTYPED = Schema("any")
"""What a program says that gives no type: anything may come."""


class Difference(msgspec.Struct, frozen=True):
    """The first place where two schemas differ; None: not there at all."""

    field: str
    here: str | None
    there: str | None

    def __str__(self) -> str:
        if self.there is None:
            return f"field {self.field} ({self.here}) is missing there"
        if self.here is None:
            return f"field {self.field} ({self.there}) is unknown here"
        return f"field {self.field} is {self.here} here and {self.there} there"


class SchemaMismatch(RemoteError):
    """Two versions of one stream's record that cannot be read as each other.

    Attributes:
        field: The first field that differs, or "" where only the other side knows it.
    """

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text, CloseCode.STREAM_SCHEMA_MISMATCH)
        self.args = (text, field)
        self.field = field


def stream_name(type_: Any) -> str:
    """Return the name that the id of a stream of `type_` is made from."""
    if type_ is None or type_ is type(None):
        return "None"
    if type_ is Any:
        return "Any"  # a class in some versions of Python, not in others
    if isinstance(type_, type) and not get_args(type_):
        module = type_.__module__
        name = type_.__qualname__
        return name if module in ("__main__", "builtins") else f"{module}.{name}"
    origin, args = get_origin(type_), get_args(type_)
    if origin is Annotated:
        return stream_name(args[0])
    if origin in (Union, types.UnionType):
        return " | ".join(stream_name(arg) for arg in args)
    if isinstance(origin, type) and args:
        inner = ", ".join("..." if arg is ... else stream_name(arg) for arg in args)
        return f"{stream_name(origin)}[{inner}]"
    return str(type_).removeprefix("typing.")


def stream_id_of(type_: Any) -> StreamId:
    """Return the id of a stream of `type_` that was not given another one."""
    return StreamId(stream_name(type_))


def describe(type_: Any) -> Schema:
    """Return the schema of a type.

    A type too large to describe within the limits gets a schema with a root
    only, in which its hash stands for it.
    """
    schema = _Walk().schema(type_)
    data = msgspec.msgpack.encode(schema)
    texts_fit = all(
        len(text) <= TEXT_MAX
        for record in schema.records
        for text in (record.name, *(t for f in record.fields for t in (f.name, f.type)))
    )
    counts_fit = len(schema.records) <= RECORDS_MAX and all(
        len(record.fields) <= FIELDS_MAX for record in schema.records
    )
    if (
        len(data) > SCHEMA_BYTES_MAX
        or not texts_fit
        or not counts_fit
        or len(schema.root) > TEXT_MAX
    ):
        return Schema(f"type too large to describe, hash {fingerprint(schema).hex()}")
    return schema


def fingerprint(schema: Schema) -> bytes:
    """Return the hash of the field names and types of a schema."""
    essence = [
        schema.root,
        [[record.form, [[f.name, f.type] for f in record.fields]] for record in schema.records],
    ]
    return blake3(msgspec.msgpack.encode(essence)).digest()


def first_difference(here: Schema, there: Schema) -> Difference | None:
    """Return the first field that differs between two schemas, None if none does."""
    if fingerprint(here) == fingerprint(there):
        return None
    if here.root != there.root:
        return Difference(
            "(the item itself)", readable(here, here.root), readable(there, there.root)
        )
    for number, (mine, theirs) in enumerate(zip(here.records, there.records, strict=False)):
        found = _record_difference(here, mine, there, theirs)
        if found is not None:
            name = mine.name if number == 0 else f"{here.records[0].name}: {mine.name}"
            return Difference(f"{name}.{found.field}", found.here, found.there)
    return Difference("(the records)", str(len(here.records)), str(len(there.records)))


def check_compatible(here: Schema, there: Schema) -> None:
    """Raise `SchemaMismatch` unless items of one schema can be read as the other."""
    difference = first_difference(here, there)
    if difference is not None:
        raise SchemaMismatch(f"schema mismatch: {difference}", difference.field)


def readable(schema: Schema, text: str) -> str:
    """Return a type's text with the records' names in place of their numbers."""
    for number, record in enumerate(schema.records):
        if "{" not in text:
            break
        text = text.replace(f"{{{number}}}", record.name)
    return text


def _record_difference(
    here: Schema, mine: RecordSchema, there: Schema, theirs: RecordSchema
) -> Difference | None:
    if mine.form != theirs.form:
        return Difference("(form)", mine.form, theirs.form)
    ours_by_name = {f.name: f for f in mine.fields}
    theirs_by_name = {f.name: f for f in theirs.fields}
    for field in mine.fields:
        other = theirs_by_name.get(field.name)
        if other is None:
            return Difference(field.name, readable(here, field.type), None)
        if other.type != field.type:
            return Difference(field.name, readable(here, field.type), readable(there, other.type))
    for field in theirs.fields:
        if field.name not in ours_by_name:
            return Difference(field.name, None, readable(there, field.type))
    for field, other in zip(mine.fields, theirs.fields, strict=True):
        if field.name != other.name:
            return Difference(field.name, "in this place", f"preceded by {other.name}")
    return None


class _Walk:
    """One walk over a type, which numbers the records as it meets them."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._records: list[RecordSchema | None] = []

    def schema(self, type_: Any) -> Schema:
        if type_ is object:
            return UNTYPED
        root = self._text(mi.type_info(type_))
        return Schema(root, tuple(record for record in self._records if record is not None))

    def _text(self, info: mi.Type) -> str:
        match info:
            case mi.StructType(cls=cls, fields=fields):
                tag = "" if info.tag is None else f" tagged {info.tag_field}={info.tag!r}"
                form = ("array" if info.array_like else "map") + tag
                return self._record(cls, form, fields)
            case (
                mi.DataclassType(cls=cls, fields=fields) | mi.TypedDictType(cls=cls, fields=fields)
            ):
                return self._record(cls, "map", fields)
            case mi.NamedTupleType(cls=cls, fields=fields):
                return self._record(cls, "array", fields)
            case mi.UnionType(types=members):
                return " | ".join(self._text(member) for member in members)
            case mi.SetType(item_type=item) | mi.FrozenSetType(item_type=item):
                return f"set[{self._text(item)}]"
            case mi.VarTupleType(item_type=item):
                return f"tuple[{self._text(item)}, ...]"
            case mi.CollectionType(item_type=item):
                return f"list[{self._text(item)}]"
            case mi.TupleType(item_types=members):
                return f"tuple[{', '.join(self._text(member) for member in members)}]"
            case mi.DictType(key_type=key, value_type=value):
                return f"dict[{self._text(key)}, {self._text(value)}]"
            case mi.LiteralType(values=values):
                return f"Literal[{', '.join(map(repr, values))}]"
            case mi.EnumType(cls=cls):
                return f"Enum[{', '.join(repr(member.value) for member in cls)}]"
            case mi.CustomType(cls=cls):
                return cls.__qualname__
            case mi.Metadata(type=inner):
                return self._text(inner)
            case _:
                return type(info).__name__.removesuffix("Type").lower()

    def _record(self, cls: Any, form: str, fields: tuple[mi.Field, ...]) -> str:
        number = self._numbers.get(cls)
        if number is None:
            number = self._numbers[cls] = len(self._records)
            self._records.append(None)
            described = tuple(
                FieldSchema(f.encode_name, self._text(f.type), f.required) for f in fields
            )
            name = sys.intern(getattr(cls, "__qualname__", str(cls)).rpartition("<locals>.")[2])
            self._records[number] = RecordSchema(name, form, described)
        return f"{{{number}}}"
