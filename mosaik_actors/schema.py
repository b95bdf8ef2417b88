"""What a type's values look like: its name, and a description to compare.

Ids are made from a type's name, which is its module and qualified name, so that
two programs that import the same record meet without further ado. ``__main__``
is left out, and so is ``builtins``: a script's own ``Price`` is ``Price``.

A *schema* describes the type as data: its records, their fields, the fields'
types. Records are numbered in the order in which a walk from the root meets
them, and types name them by number, so that what a class is called does not
matter and recursive types end. The *fingerprint* is the BLAKE3 hash of that,
field names and types only. Equal fingerprints are compatible. Members of a group must
agree on more, or one would decode what another cannot, or decode something else: the
*identity* also has constraints (`msgspec.Meta`), defaults and what records forbid or omit.

Otherwise `check_compatible` asks whether what the producer writes can be read by
the consumer, and names the first field that says no:

    * a field that both have must have the same type; a union may have more
      members at the reader, and so a type may become ``T | None`` there;
    * a field that only the reader has, or only the writer, must be optional
      (have a default) where it is;
    * in records that travel as arrays fields are told apart by their place, so
      only optional ones at the end may differ;
    * what a record says about its form (map or array, its tag) must be the same,
      and a reader that forbids unknown fields gets none.

One file, because each rule is read in two places, where a schema is made and where two are
compared.

Numbers are not widened: an integer that becomes a float is another field.

Schemas come from peers too, so `Schema` is bounded and each pair of records is
compared once.
"""

from __future__ import annotations

import re
import sys
import types
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import UUID

import msgspec
import msgspec.inspect as mi
from blake3 import blake3

from .errors import RemoteError
from .ids import PeerId, UniqueId
from .transport.close import CloseCode
from .wire_limits import inner_types, is_any, parts_of, wire_size_of

RECORDS_MAX = 256
FIELDS_MAX = 1024
TEXT_MAX = 2048
VALUES_MAX = 1024
TYPE_DEPTH_MAX = 32
COMPARISONS_MAX = 20_000
SCHEMA_BYTES_MAX = 48 * 1024

_FIELD_IN_TEXT = re.compile(r"schema mismatch: field (.{1,200}?): the producer has ")

_Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]


class TypeSchema(msgspec.Struct, frozen=True, array_like=True):
    """A type.

    Attributes:
        kind: What it is: ``int``, ``list``, ``union``, ``record``, ...
        args: The types it is made of.
        values: Of a literal or an enumeration: its values, as text.
        record: Of a record: its number.
    """

    kind: _Text
    args: Annotated[tuple[TypeSchema, ...], msgspec.Meta(max_length=FIELDS_MAX)] = ()
    values: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=VALUES_MAX)] = ()
    record: Annotated[int, msgspec.Meta(ge=-1, lt=RECORDS_MAX)] = -1

    def __str__(self) -> str:
        match self.kind:
            case "record":
                return f"{{{self.record}}}"
            case "union":
                return " | ".join(map(str, self.args))
            case "tuple of":
                return f"tuple[{self.args[0]}, ...]" if self.args else "tuple"
        inner = [*map(str, self.args), *self.values]
        return f"{self.kind}[{', '.join(inner)}]" if inner else self.kind


class FieldSchema(msgspec.Struct, frozen=True, array_like=True):
    """One field: the name it travels under, its type, whether it must be there."""

    name: _Text
    type: TypeSchema
    required: bool = True


class RecordSchema(msgspec.Struct, frozen=True, array_like=True):
    """One record.

    Attributes:
        name: What it is called, for people.
        form: How it travels: ``map`` or ``array``, its tag, and its `WIRE_SIZE`.
        fields: Its fields in order.
        omits_defaults: Whether its writer leaves out fields that have their default.
        is_strict: Whether its reader refuses fields it does not know.
    """

    name: _Text
    form: _Text
    fields: Annotated[tuple[FieldSchema, ...], msgspec.Meta(max_length=FIELDS_MAX)]
    omits_defaults: bool = False
    is_strict: bool = False


class Schema(msgspec.Struct, frozen=True, array_like=True):
    """A type as data: the root, and the records it names by number."""

    root: TypeSchema
    records: Annotated[tuple[RecordSchema, ...], msgspec.Meta(max_length=RECORDS_MAX)] = ()


UNTYPED = Schema(TypeSchema("any"))
"""What a program says that gives no type: anything may come."""


class Difference(msgspec.Struct, frozen=True):
    """The first place where two schemas differ; None: not there at all.

    `here` is what is written and `there` who reads it. The text names them by
    their parts, because both sides show it.
    """

    field: str
    here: str | None
    there: str | None

    def __str__(self) -> str:
        return self.text("the producer has", "the consumer expects")

    def text(self, here: str, there: str) -> str:
        """Return the difference in words, with these for the two sides."""
        nothing = "no such field"
        return f"field {self.field}: {here} {self.here or nothing}, {there} {self.there or nothing}"


class SchemaMismatch(RemoteError):
    """Two versions of one record that cannot be read as each other.

    Attributes:
        field: The first field that differs, or "" where only the other side knows it.
    """

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text, CloseCode.STREAM_SCHEMA_MISMATCH)
        self.args = (text, field)
        self.field = field


def type_name(type_: Any) -> str:
    """Return the name of a type, as ids are made from it."""
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
        return type_name(args[0])
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(arg) for arg in args)
    if isinstance(origin, type) and args:
        inner = ", ".join("..." if arg is ... else type_name(arg) for arg in args)
        return f"{type_name(origin)}[{inner}]"
    return str(type_).removeprefix("typing.")


def describe(type_: Any) -> Schema:
    """Return the schema of a type.

    A type too large to describe within the limits gets a schema with a root
    only, in which its hash stands for it.
    """
    schema = _Walk().schema(type_)
    data = msgspec.msgpack.encode(schema)
    try:
        if len(data) <= SCHEMA_BYTES_MAX and _depth(schema) <= TYPE_DEPTH_MAX:
            return msgspec.msgpack.decode(data, type=Schema)  # within all limits
    except msgspec.ValidationError:
        pass
    return Schema(TypeSchema("type too large to describe", values=(fingerprint(schema).hex(),)))


def check_sendable(type_: Any) -> None:
    """Raise `TypeError` if a type is made of classes that nobody can decode; it says where."""
    seen: dict[int, None] = {}
    todo: list[tuple[str, mi.Type]] = [("", mi.type_info(type_))]
    while todo:
        where, part = todo.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = None
        if isinstance(part, mi.Metadata):
            todo.append((where, part.type))
        elif isinstance(part, mi.CustomType) and part.cls not in (object, UniqueId, PeerId):
            raise TypeError(f"{where}{part.cls.__qualname__} is not a type that can be sent")
        record = getattr(getattr(part, "cls", None), "__qualname__", "")
        fields = reversed(getattr(part, "fields", ()))  # the first is looked at first
        todo += [(f"{record}.{field.name}: ", field.type) for field in fields]
        todo += [(where, inner) for inner in inner_types(part)]


def fingerprint(schema: Schema) -> bytes:
    """Return the hash of the field names and types of a schema."""
    essence = [
        schema.root,
        [[record.form, [[f.name, f.type] for f in record.fields]] for record in schema.records],
    ]
    return blake3(msgspec.msgpack.encode(essence)).digest()


def identity(type_: Any) -> bytes:
    """Return the hash of everything that a type declares about what it decodes, and to what."""
    info = mi.type_info(type_)
    details = [_details(part) for part in parts_of(info)]
    return blake3(fingerprint(describe(type_)) + msgspec.msgpack.encode(details)).digest()


def first_difference(here: Schema, there: Schema) -> Difference | None:
    """Return the first field for which what is written here cannot be read there."""
    return _Comparison(here, there).difference()


def check_compatible(here: Schema, there: Schema) -> None:
    """Raise `SchemaMismatch` unless items of this schema can be read as the other."""
    difference = first_difference(here, there)
    if difference is not None:
        raise SchemaMismatch(f"schema mismatch: {difference}", difference.field)


def check_same(here: Schema, there: Schema) -> None:
    """Raise `SchemaMismatch` unless two schemas have the same fields."""
    if fingerprint(here) == fingerprint(there):
        return
    words = ("this type has", "the producer in use has")
    difference = first_difference(here, there)
    if difference is None:
        words = (words[1], words[0])
        difference = first_difference(there, here)
    if difference is None:  # each can read the other, and they are two types all the same
        words = ("this type has", "the producer in use has")
        difference = _unequal_field(here, there)
    if difference is None:
        raise SchemaMismatch("schema mismatch: fields in another order")
    raise SchemaMismatch(f"schema mismatch: {difference.text(*words)}", difference.field)


def mismatch_from(text: str) -> SchemaMismatch:
    """Return the mismatch that a peer told us about, with the field that its text names."""
    found = _FIELD_IN_TEXT.match(text)
    return SchemaMismatch(text, found[1] if found is not None else "")


def readable(schema: Schema, type_: TypeSchema) -> str:
    """Return a type as text, with the records' names in place of their numbers."""
    text = str(type_)
    if len(text) > TEXT_MAX:
        text = text[: TEXT_MAX - 3] + "..."
    for number, record in enumerate(schema.records):
        if "{" not in text or len(text) > TEXT_MAX:
            break
        text = text.replace(f"{{{number}}}", record.name)
    return text


def _unequal_field(here: Schema, there: Schema) -> Difference | None:
    """Return the first field that only one of two schemas has, or of another type in each."""
    for one, other in zip(here.records, there.records, strict=False):
        mine, theirs = ({f.name: f for f in record.fields} for record in (one, other))
        for name in dict.fromkeys((*mine, *theirs)):
            left = readable(here, mine[name].type) if name in mine else None
            right = readable(there, theirs[name].type) if name in theirs else None
            if left != right:
                return Difference(f"{one.name}.{name}", left, right)
    return None


_CONSTRAINTS = (
    "gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "tz",
)  # fmt: skip


def _details(part: mi.Type) -> list[Any]:
    """Return what one part of a type declares beside its kind and its fields' names and types."""
    found: list[Any] = [[name, getattr(part, name, None)] for name in _CONSTRAINTS]
    fields: tuple[mi.Field, ...] | None = getattr(part, "fields", None)
    if fields is None:
        return [pair for pair in found if pair[1] is not None]
    cls: Any = getattr(part, "cls", None)
    config = getattr(get_origin(cls) or cls, "__struct_config__", None)
    return [
        bool(config is not None and config.omit_defaults),
        bool(getattr(part, "forbid_unknown_fields", False)),
        [[f.encode_name, f.required, _default(f)] for f in fields],
    ]


def _default(field: mi.Field) -> Any:
    """Return a field's default as something to hash, the same in every process."""
    if field.default is not msgspec.NODEFAULT:
        return _plain(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        factory = field.default_factory
        module = getattr(factory, "__module__", "")
        return ["made by", "" if module == "__main__" else module, _qualname(factory)]
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return [_qualname(type(value)), value.name]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(msgspec.msgpack.encode(_plain(member)) for member in value)]
    if isinstance(value, list | tuple):
        return ["list", *map(_plain, value)]
    if isinstance(value, dict):
        return ["dict", *[[_plain(key), _plain(of)] for key, of in value.items()]]
    if isinstance(value, msgspec.Struct):
        fields = [_plain(getattr(value, name)) for name in value.__struct_fields__]
        return [_qualname(type(value)), *fields]
    if isinstance(value, int | float | Decimal | UUID | date | time | timedelta | type(None)):
        return [_qualname(type(value)), repr(value)]
    if isinstance(value, str | bytes):
        return bytes(value) if isinstance(value, bytes) else str(value)
    return [_qualname(type(value))]


def _qualname(thing: Any) -> str:
    name: str = getattr(thing, "__qualname__", type(thing).__qualname__)
    return name.rpartition("<locals>.")[2]


class _Comparison:
    """Whether what one schema writes can be read by another one."""

    def __init__(self, here: Schema, there: Schema) -> None:
        self._here = here
        self._there = there
        self._compared: dict[tuple[int, int], Difference | None] = {}
        self._count = 0

    def difference(self) -> Difference | None:
        try:
            return self._types("(the item itself)", self._here.root, self._there.root)
        except RecursionError:
            return Difference("(the item itself)", "of limited depth", "nested too deep")

    def _types(self, field: str, mine: TypeSchema, theirs: TypeSchema) -> Difference | None:
        """Compare two types; a difference inside of a record is named by its own field."""
        self._count += 1
        if self._count > COMPARISONS_MAX:
            return Difference("(the item itself)", "of limited size", "too large to compare")
        if theirs.kind == "any":
            return None
        if "union" in (mine.kind, theirs.kind):
            return self._unions(field, mine, theirs)
        same = (
            mine.kind == theirs.kind
            and mine.values == theirs.values
            and len(mine.args) == len(theirs.args)
        )
        if not same:
            return self._differ(field, mine, theirs)
        if mine.kind == "record":
            return self._records(field, mine, theirs)
        for one, other in zip(mine.args, theirs.args, strict=True):
            found = self._types(field, one, other)
            if found is not None:
                # The type as a whole says more than the part of it that differs.
                return self._differ(field, mine, theirs) if found.field == field else found
        return None

    def _unions(self, field: str, mine: TypeSchema, theirs: TypeSchema) -> Difference | None:
        """Require that each member here can be read as some member there."""
        there = theirs.args if theirs.kind == "union" else (theirs,)
        for member in mine.args if mine.kind == "union" else (mine,):
            within: Difference | None = None
            for other in there:
                found = self._types(field, member, other)
                if found is None:
                    break
                if found.field != field and self._have_same_form(member, other):
                    within = found
            else:
                return within or self._differ(field, mine, theirs)
        return None

    def _have_same_form(self, mine: TypeSchema, theirs: TypeSchema) -> bool:
        one, other = _record(self._here, mine), _record(self._there, theirs)
        return one is not None and other is not None and one.form == other.form

    def _records(self, field: str, mine: TypeSchema, theirs: TypeSchema) -> Difference | None:
        one, other = _record(self._here, mine), _record(self._there, theirs)
        if one is None or other is None:
            return self._differ(field, mine, theirs)
        pair = (mine.record, theirs.record)
        if pair in self._compared:
            return self._compared[pair]
        self._compared[pair] = None  # while it is compared: what refers to itself adds nothing
        found = self._fields(one, other)
        if found is None:
            return None
        difference = found.difference
        if not found.is_inner:
            name = one.name if mine.record == 0 else f"{self._here.records[0].name}: {one.name}"
            field_name = f"{name}.{difference.field}"
            difference = Difference(field_name, difference.here, difference.there)
        self._compared[pair] = difference
        return difference

    def _fields(self, one: RecordSchema, other: RecordSchema) -> _Found | None:
        if one.form != other.form:
            return _Found(Difference("(form)", one.form, other.form))
        if one.form.startswith("array"):
            for mine, theirs in zip(one.fields, other.fields, strict=False):
                if mine.name != theirs.name:
                    text = f"it preceded by {theirs.name}"
                    return _Found(Difference(mine.name, "it in this place", text))
        theirs_by_name = {f.name: f for f in other.fields}
        for mine in one.fields:
            reader = theirs_by_name.pop(mine.name, None)
            if reader is None:
                if mine.required or other.is_strict:
                    return _Found(Difference(mine.name, readable(self._here, mine.type), None))
                continue
            if one.omits_defaults and not mine.required and reader.required:
                return _Found(Difference(mine.name, "it optional", "it required"))
            found = self._types(mine.name, mine.type, reader.type)
            if found is not None:
                return _Found(found, is_inner=found.field != mine.name)
        for theirs in theirs_by_name.values():
            if theirs.required:
                text = readable(self._there, theirs.type)
                return _Found(Difference(theirs.name, None, text))
        return None

    def _differ(self, field: str, mine: TypeSchema, theirs: TypeSchema) -> Difference:
        here, there = readable(self._here, mine), readable(self._there, theirs)
        return Difference(field, here, there)


class _Found(msgspec.Struct, frozen=True):
    """A difference within a record; an inner one already has its full name."""

    difference: Difference
    is_inner: bool = False


def _record(schema: Schema, type_: TypeSchema) -> RecordSchema | None:
    """Return the record a type names; None if a peer's schema has none of that number."""
    if type_.kind == "record" and 0 <= type_.record < len(schema.records):
        return schema.records[type_.record]
    return None


def _depth(schema: Schema) -> int:
    """Return how deep the types of a schema are nested."""

    def depth(type_: TypeSchema) -> int:
        return 1 + max(map(depth, type_.args), default=0)

    fields = (f.type for record in schema.records for f in record.fields)
    return max(map(depth, (schema.root, *fields)))


class _Walk:
    """One walk over a type, which numbers the records as it meets them."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._records: list[RecordSchema | None] = []

    def schema(self, type_: Any) -> Schema:
        if type_ is object:
            return UNTYPED
        root = self._type(mi.type_info(type_))
        return Schema(root, tuple(record for record in self._records if record is not None))

    def _type(self, info: mi.Type) -> TypeSchema:
        match info:
            case mi.StructType(cls=cls, fields=fields):
                tag = "" if info.tag is None else f" tagged {info.tag_field}={info.tag!r}"
                form = ("array" if info.array_like else "map") + tag
                config = (get_origin(cls) or cls).__struct_config__  # a generic one, perhaps
                omits = config.omit_defaults and not info.array_like
                return self._record(cls, form, fields, omits, info.forbid_unknown_fields)
            case (
                mi.DataclassType(cls=cls, fields=fields) | mi.TypedDictType(cls=cls, fields=fields)
            ):
                # A TypedDict's writer may leave out what is not required.
                return self._record(cls, "map", fields, isinstance(info, mi.TypedDictType))
            case mi.NamedTupleType(cls=cls, fields=fields):
                return self._record(cls, "array", fields)
            case _ if is_any(info):
                return TypeSchema("any")
            case mi.UnionType(types=members) if any(map(is_any, members)):
                return TypeSchema("any")
            case mi.UnionType(types=members):
                return self._of("union", *members)
            case mi.SetType(item_type=item) | mi.FrozenSetType(item_type=item):
                return self._of("set", item)
            case mi.VarTupleType(item_type=item):
                return self._of("tuple of", item)
            case mi.CollectionType(item_type=item):
                return self._of("list", item)
            case mi.TupleType(item_types=members):
                return self._of("tuple", *members)
            case mi.DictType(key_type=key, value_type=value):
                return self._of("dict", key, value)
            case mi.LiteralType(values=values):
                return TypeSchema("Literal", values=tuple(map(repr, values)))
            case mi.EnumType(cls=cls):
                return TypeSchema("Enum", values=tuple(repr(member.value) for member in cls))
            case mi.CustomType(cls=cls):
                return TypeSchema(cls.__qualname__)
            case mi.Metadata(type=inner):
                return self._type(inner)
            case _:
                return TypeSchema(type(info).__name__.removesuffix("Type").lower())

    def _of(self, kind: str, *members: mi.Type) -> TypeSchema:
        return TypeSchema(kind, tuple(map(self._type, members)))

    def _record(
        self,
        cls: Any,
        form: str,
        fields: tuple[mi.Field, ...],
        omits_defaults: bool = False,
        is_strict: bool = False,
    ) -> TypeSchema:
        number = self._numbers.get(cls)
        if number is None:
            size = wire_size_of(cls)
            form += "" if size is None else f" of {size} bytes"
            number = self._numbers[cls] = len(self._records)
            self._records.append(None)
            described = tuple(
                FieldSchema(f.encode_name, self._type(f.type), f.required) for f in fields
            )
            name = sys.intern(getattr(cls, "__qualname__", str(cls)).rpartition("<locals>.")[2])
            self._records[number] = RecordSchema(name, form, described, omits_defaults, is_strict)
        return TypeSchema("record", record=number)
