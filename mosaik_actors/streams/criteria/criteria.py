"""Criteria: which items of a stream a consumer wants, as data that a producer can judge.

    where(Price.symbol == "ETH/USDC") & (Price.qty > 10)          # Price is a Record
    where(lambda price: (price.symbol == "ETH/USDC") & (price.qty > 10))
    where(Price).symbol.in_(["ETH/USDC", "BTC/USDC"])

All three make the same `Criteria`: a small tree of comparisons. Python gives
``Price.symbol`` of a plain struct or dataclass to nobody else to interpret, so
the first form needs a class that derives from `Record`; the other two work with
every type, also with items that are no records (``where(lambda n: n > 5)``).

A tree travels in the header of a subscription as nested MessagePack lists, and
is bounded in bytes, nodes and depth. `bind` checks it against a type and
returns it with the names and values that travel; `compile_criteria` makes a
function of it out of closures (see `judges`), whose cost is bounded. Nothing from
the wire is executed: operators come from a fixed table, names must be fields of
the producer's type.

What a comparison means: it holds or it does not. A field that is not there (the
optional record around it is None, another member of a union) and values that
cannot be compared make it not hold; its negation then holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, get_origin, overload
from uuid import UUID

import msgspec
import msgspec.inspect as mi

from ...errors import ConfigError, DecodeError, RemoteError
from ...ids import id_as_bytes, id_from_bytes
from ...wire_encoding import check_objects
from .judges import (
    COST_MAX,
    JOINTS,
    NEGATION,
    ORDER,
    Judge,
    Leaf,
    Node,
    Terms,
    build,
    simplified,
    total_cost,
)

CRITERIA_BYTES_MAX: Final = 8 * 1024
NODES_MAX: Final = 256
DEPTH_MAX: Final = 16
VALUES_MAX: Final = 256
PATH_STEPS_MAX: Final = 16
NESTING_MAX: Final = 2 * DEPTH_MAX  # of lists: those of nodes, and of the values in them

_OPERATORS: Final = ("==", "!=", *ORDER, "in", "contains", "startswith", "none")
_ORDERED_TYPES: Final = (
    mi.IntType, mi.FloatType, mi.DecimalType, mi.StrType, mi.BytesType,
    mi.DateTimeType, mi.DateType, mi.TimeType, mi.TimeDeltaType, mi.AnyType,
)  # fmt: skip
_MAY_RAISE: Final = (
    mi.AnyType, mi.CustomType, mi.DateTimeType, mi.TimeType,
)  # fmt: skip
_CLASSES: Final[dict[type[mi.Type], type]] = {
    mi.DateTimeType: datetime,
    mi.DateType: date,
    mi.TimeType: time,
    mi.TimeDeltaType: timedelta,
    mi.UUIDType: UUID,
    mi.DecimalType: Decimal,
}


class CriteriaError(ConfigError):
    """Criteria that do not fit the type of the items; `field` is the one they fail at."""

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.args = (text, field)
        self.field = field

    def __str__(self) -> str:
        return str(self.args[0])


class Criteria:
    """Which items are wanted. Combine with ``&``, ``|`` and ``~``; made by `where`."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def __and__(self, other: Criteria | Field | int) -> Criteria:
        return _joined("&", self, other)

    def __rand__(self, other: Criteria | Field | int) -> Criteria:
        return _joined("&", _as_criteria(other), self)

    def __or__(self, other: Criteria | Field | int) -> Criteria:
        return _joined("|", self, other)

    def __ror__(self, other: Criteria | Field | int) -> Criteria:
        return _joined("|", _as_criteria(other), self)

    def __invert__(self) -> Criteria:
        return Criteria((NEGATION, self.node))

    def __bool__(self) -> bool:
        raise TypeError("criteria are combined with &, | and ~, not with and, or, not")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Criteria) and self.node == other.node

    def __hash__(self) -> int:
        return hash(self.node)

    def __repr__(self) -> str:
        return f"where({_readable(self.node)})"


class Field:
    """A field of the items, or a field of a field; comparing it makes `Criteria`.

    A field that has the name of a method here is reached by ``field["in_"]``,
    and so are the values of a dictionary.
    """

    __slots__ = ("_path",)

    def __init__(self, path: tuple[str, ...] = ()) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__"):
            raise AttributeError(name)
        return Field((*self._path, name))

    def __getitem__(self, name: str) -> Field:
        if not isinstance(name, str):
            raise TypeError(f"a field is named by a text, got {name!r}")
        return Field((*self._path, name))

    def __eq__(self, other: object) -> Criteria:  # type: ignore[override]
        return self._compared("==", other)

    def __ne__(self, other: object) -> Criteria:  # type: ignore[override]
        return self._compared("!=", other)

    def __lt__(self, other: Any) -> Criteria:
        return self._compared("<", other)

    def __le__(self, other: Any) -> Criteria:
        return self._compared("<=", other)

    def __gt__(self, other: Any) -> Criteria:
        return self._compared(">", other)

    def __ge__(self, other: Any) -> Criteria:
        return self._compared(">=", other)

    __hash__ = None  # type: ignore[assignment]

    def in_(self, values: Iterable[Any]) -> Criteria:
        """Return whether it is one of these values."""
        return self._compared("in", list(values))

    def contains(self, value: Any) -> Criteria:
        """Return whether the text, list, set or dictionary has `value` in it.

        Looks at the first 4,096 characters of a text and 512 elements of a list; where
        there are several in one set of criteria, they share these equally.
        """
        return self._compared("contains", value)

    def startswith(self, value: str | bytes) -> Criteria:
        """Return whether the text begins with `value`."""
        return self._compared("startswith", value)

    def is_none(self) -> Criteria:
        """Return whether it is None, or not there at all."""
        return Criteria(("none", self._path, None))

    def __and__(self, other: Criteria | Field | int) -> Criteria:
        return _as_criteria(self) & other

    def __or__(self, other: Criteria | Field | int) -> Criteria:
        return _as_criteria(self) | other

    def __invert__(self) -> Criteria:
        return ~_as_criteria(self)

    def __bool__(self) -> bool:
        raise TypeError("a field has no truth of its own here: compare it, and use &, | and ~")

    def __repr__(self) -> str:
        return ".".join(("item", *self._path))

    def _compared(self, op: str, value: Any) -> Criteria:
        if isinstance(value, Field):
            raise TypeError("a field is compared with a value, not with another field")
        return Criteria((op, self._path, _travelling(value)))


class RecordMeta(msgspec.StructMeta):
    """The class of `Record` classes: their fields, looked up on the class, make criteria.

    Instances are not touched: reading a field of one costs what it always did.
    """

    def __getattribute__(cls, name: str) -> Any:  # noqa: N805  # of classes
        if not name.startswith("_") and name in type.__getattribute__(cls, "__struct_fields__"):
            return Field((name,))
        return super().__getattribute__(name)


if TYPE_CHECKING:
    # To a type checker a Record is a Struct, so that ``frozen=True`` and its like are understood.
    Record = msgspec.Struct
else:

    class Record(msgspec.Struct, metaclass=RecordMeta):
        """A `msgspec.Struct` whose fields can be named on the class: ``where(Price.qty > 10)``."""


# A type checker sees the fields of a Record as what they are in an instance, and so a
# comparison as a bool, and the negation of one as an int.
@overload
def where(target: type) -> Field: ...  # type: ignore[overload-overlap]  # not called as one
@overload
def where(target: Criteria | Field | int) -> Criteria: ...
@overload
def where(target: Callable[[Any], Any]) -> Criteria: ...
def where(target: Any) -> Any:
    """Return criteria.

    Args:
        target: Criteria (``Price.qty > 10``, where ``Price`` is a `Record`); or a
            function that gets a stand-in for the item and returns criteria; or a
            type, and then the result has its fields as attributes.

    Raises:
        TypeError: It is none of these. A plain class's ``Price.symbol == "x"`` is
            simply False, which is said here.
    """
    if isinstance(target, type) or get_origin(target) is not None:
        return Field()
    if callable(target) and not isinstance(target, Criteria | Field):
        return _as_criteria(target(Field()))
    return _as_criteria(target)


def encode_criteria(criteria: Criteria) -> bytes:
    """Return criteria as they travel. Raises `CriteriaError` if there are too many."""
    _check_size(criteria.node)
    data = msgspec.msgpack.encode(criteria.node)
    if len(data) > CRITERIA_BYTES_MAX:
        raise CriteriaError(f"criteria of {len(data)} bytes, at most {CRITERIA_BYTES_MAX}")
    try:
        check_objects(data, objects_max=CRITERIA_BYTES_MAX, depth_max=NESTING_MAX)
    except DecodeError as exc:
        raise CriteriaError(f"criteria of {exc}") from exc
    return data


def decode_criteria(data: bytes) -> Criteria:
    """Return the criteria that a peer sent. Raises `RemoteError` if they are none."""
    if len(data) > CRITERIA_BYTES_MAX:
        raise RemoteError(f"criteria of {len(data)} bytes, at most {CRITERIA_BYTES_MAX}")
    try:
        check_objects(data, objects_max=CRITERIA_BYTES_MAX, depth_max=NESTING_MAX)
        node = _checked(msgspec.msgpack.decode(data), depth=1)
        _check_size(node)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise RemoteError(f"not criteria: {exc}") from exc
    return Criteria(node)


def bind(criteria: Criteria, type_: Any) -> Criteria:
    """Return criteria with the field names that travel, checked against a type.

    Raises:
        CriteriaError: A field is unknown, a value is not of its type, or to judge
            an item would cost too much.
    """
    _check_size(criteria.node)
    bound = Criteria(_Binder(type_, by_own_name=True).bound(criteria.node))
    if type_ not in (Any, object):  # what an untyped one costs depends on the producer's type
        compile_criteria(bound, type_)
    return bound


def compile_criteria(criteria: Criteria, type_: Any) -> Judge:
    """Return a function that judges an item of `type_`; it does not raise.

    Raises:
        CriteriaError: As `bind`, about the names that travel; or to judge an item
            would cost more than `COST_MAX`.
    """
    return _Binder(type_, by_own_name=False).compiled(criteria.node)


def _joined(joint: str, one: Criteria, other: Criteria | Field | int) -> Criteria:
    nodes: list[Any] = []
    for node in (one.node, _as_criteria(other).node):
        nodes += node[1:] if node[0] == joint else [node]
    return Criteria((joint, *nodes))


def _as_criteria(value: Any) -> Criteria:
    if isinstance(value, Criteria):
        return value
    if isinstance(value, Field):
        return value._compared("==", True)
    if isinstance(value, bool):
        raise TypeError(
            f"a comparison gave {value} instead of criteria: the class is a plain one. Derive it "
            'from mosaik_actors.Record, or write where(lambda item: item.symbol == "x")'
        )
    raise TypeError(f"expected criteria, got {type(value).__name__}")


def _travelling(value: Any) -> Any:
    """Return a value in the form in which it travels, as a hashable one."""
    try:
        plain = msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=id_as_bytes)
        msgspec.msgpack.encode(plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise CriteriaError(f"{value!r} cannot be compared with: {exc}") from exc
    return _frozen(plain)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        raise CriteriaError("a field cannot be compared with a record or a dictionary")
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple | set) else value


def _checked(node: Any, depth: int) -> Node:
    """Return a node from the wire, or raise ValueError."""
    if not isinstance(node, list) or len(node) < 2 or depth > DEPTH_MAX:
        raise ValueError("a node is no list, too short, or nested too deep")
    head = node[0]
    if head in JOINTS:
        return (head, *(_checked(one, depth + 1) for one in node[1:]))
    if head == NEGATION and len(node) == 2:
        return (head, _checked(node[1], depth + 1))
    if head not in _OPERATORS or len(node) != 3 or not isinstance(node[1], list):
        raise ValueError(f"unknown operator {str(head)[:20]!r}")
    if not all(isinstance(step, str) for step in node[1]):
        raise ValueError("a path is made of texts")
    try:
        return (head, tuple(node[1]), _frozen(node[2]))
    except CriteriaError as exc:
        raise ValueError(str(exc)) from exc


def _check_size(node: Node, depth: int = 1) -> int:
    """Return how many nodes there are. Raises `CriteriaError` if too many or too deep."""
    if depth > DEPTH_MAX:
        raise CriteriaError(f"criteria nested deeper than {DEPTH_MAX}")
    if node[0] in JOINTS or node[0] == NEGATION:
        count = 1 + sum(_check_size(one, depth + 1) for one in node[1:])
    else:
        count = 1
        if len(node[1]) > PATH_STEPS_MAX:
            raise CriteriaError(f"a path of {len(node[1])} steps, at most {PATH_STEPS_MAX}")
        if isinstance(node[2], tuple) and len(node[2]) > VALUES_MAX:
            raise CriteriaError(f"a list of {len(node[2])} values, at most {VALUES_MAX}")
    if count > NODES_MAX:
        raise CriteriaError(f"criteria of more than {NODES_MAX} comparisons")
    return count


def _readable(node: Node) -> str:
    head = node[0]
    if head in JOINTS:
        return f" {head} ".join(f"({_readable(one)})" for one in node[1:])
    if head == NEGATION:
        return f"~({_readable(node[1])})"
    name = ".".join(("item", *node[1]))
    return f"{name} is None" if head == "none" else f"{name} {head} {node[2]!r}"


class _Binder:
    """Checks criteria against one type, and turns them into something that type understands."""

    def __init__(self, type_: Any, *, by_own_name: bool) -> None:
        try:
            self._roots = _members(mi.type_info(Any if type_ is object else type_))
        except (TypeError, NotImplementedError) as exc:
            raise CriteriaError(f"criteria need a type of items: {exc}") from exc
        self._name = getattr(type_, "__qualname__", None) or str(type_)
        self._by_own_name = by_own_name

    def bound(self, node: Node) -> Node:
        head = node[0]
        if head in JOINTS or head == NEGATION:
            return (head, *map(self.bound, node[1:]))
        path, _, infos, _ = self._resolved(node[1])
        self._value(head, path, node[2], infos)
        return (head, path, node[2])

    def compiled(self, node: Node) -> Judge:
        node = simplified(node)
        terms = Terms(node)
        leaves = {key: self._leaf(one) for key, one in terms.leaves.items()}
        cost = total_cost(terms, leaves)
        if cost > COST_MAX:
            raise CriteriaError(
                f"criteria that cost as much as {cost} plain comparisons, at most {COST_MAX}"
            )
        return build(node, terms, leaves)

    def _leaf(self, node: Node) -> Leaf:
        head, path, value = node
        _, steps, infos, may_miss = self._resolved(path)
        converted = self._value(head, path, value, infos)
        may_raise = _may_raise(head, infos)
        may_miss |= head not in ("==", "!=", "in") and any(
            isinstance(info, mi.NoneType) for info in infos
        )
        return Leaf(head, path, steps, converted, may_miss=may_miss, may_raise=may_raise)

    def _resolved(
        self, path: tuple[str, ...]
    ) -> tuple[tuple[str, ...], list[tuple[bool, str]], list[mi.Type], bool]:
        """Return the path as it travels, how to read it, its types, whether it may be missing."""
        infos, names, steps, may_miss = self._roots, [], [], False
        for index, step in enumerate(path):
            found = [one for one in (self._field(info, step) for info in infos) if one is not None]
            if not found:
                self._raise_unknown(path[: index + 1], infos)
            names.append(found[0][0])
            steps.append(found[0][1])
            may_miss |= len(found) < len(infos) or steps[-1][0]
            infos = [member for one in found for member in _members(one[2])]
        return tuple(names), steps, infos, may_miss

    def _field(self, info: mi.Type, step: str) -> tuple[str, tuple[bool, str], mi.Type] | None:
        """Return (name that travels, how to read it, type) of a field, None if there is none."""
        if isinstance(info, mi.AnyType):
            return step, (True, step), info  # a key of a dictionary; never an attribute
        if isinstance(info, mi.DictType) and isinstance(info.key_type, mi.StrType):
            return step, (True, step), info.value_type
        for one in getattr(info, "fields", ()):
            if step == (one.name if self._by_own_name else one.encode_name):
                return one.encode_name, (isinstance(info, mi.TypedDictType), one.name), one.type
        return None

    def _raise_unknown(self, path: tuple[str, ...], infos: list[mi.Type]) -> None:
        known = [
            one.name if self._by_own_name else one.encode_name
            for info in infos
            for one in getattr(info, "fields", ())
        ]
        has = f"it has {', '.join(known[:12])}" if known else "it has no fields"
        where_ = ".".join((self._name, *path[:-1]))
        text = f"no field {path[-1]!r} in {where_}; {has}"
        raise CriteriaError(text, ".".join((self._name, *path)))

    def _value(self, op: str, path: tuple[str, ...], value: Any, infos: list[mi.Type]) -> Any:
        """Return the value to compare with, as the field's type has it."""
        if op == "none":
            return None
        if op == "in":
            values = value if isinstance(value, tuple) else (value,)
            converted = [self._converted(op, path, one, infos) for one in values]
            if any(isinstance(one, tuple | list | frozenset) for one in converted):
                return tuple(converted)  # the item's own may be long: to hash it would cost that
            return frozenset(converted)
        if op == "contains":
            infos = [inner for info in infos for inner in _inner(info)]
        elif op == "startswith":
            infos = [one for one in infos if isinstance(one, mi.StrType | mi.BytesType)]
        elif op in ORDER:
            infos = [one for one in infos if isinstance(one, _ORDERED_TYPES)]
        return self._converted(op, path, value, infos)

    def _converted(self, op: str, path: tuple[str, ...], value: Any, infos: list[mi.Type]) -> Any:
        for info in infos:
            try:
                return _convert(value, info)
            except ValueError:
                continue
        name = ".".join((self._name, *path))
        wants = " | ".join(dict.fromkeys(map(_type_name, infos))) or "something else"
        raise CriteriaError(f"{name} {op} {value!r}: the type there is {wants}", name)


def _members(info: mi.Type) -> list[mi.Type]:
    if isinstance(info, mi.Metadata):
        return _members(info.type)
    if isinstance(info, mi.UnionType):
        return [member for one in info.types for member in _members(one)]
    return [info]


def _may_raise(op: str, infos: list[mi.Type]) -> bool:
    """Return whether a comparison may fail, which costs several times what one costs else."""
    if op == "none":
        return False
    classes = {type(info) for info in infos} - {mi.NoneType}
    if op in ("==", "!="):
        return not classes.isdisjoint((mi.CustomType, mi.AnyType))
    if classes <= {mi.IntType, mi.FloatType}:
        return False
    return len(classes) > 1 or not classes.isdisjoint(_MAY_RAISE)


def _inner(info: mi.Type) -> list[mi.Type]:
    """Return what `contains` may ask a type for."""
    match info:
        case mi.StrType() | mi.BytesType() | mi.AnyType():
            return [info]
        case mi.TupleType(item_types=members):
            return [one for member in members for one in _members(member)]
        case mi.DictType(key_type=key):
            return _members(key)
    item = getattr(info, "item_type", None)
    return [] if item is None else _members(item)


def _type_name(info: mi.Type) -> str:
    cls = getattr(info, "cls", None)
    return cls.__qualname__ if cls is not None else type(info).__name__.removesuffix("Type").lower()


def _convert(value: Any, info: mi.Type) -> Any:
    """Return a travelled value as `info` has it, or raise ValueError."""
    kind = type(value)
    match info:
        case mi.AnyType():
            return value
        case mi.NoneType():
            fits = value is None
        case mi.BoolType():
            fits = kind is bool
        case mi.IntType() | mi.FloatType():
            fits = kind in (int, float)
        case mi.StrType():
            fits = kind is str
        case mi.BytesType():
            fits = kind is bytes
        case mi.LiteralType(values=values):
            fits = value in values
        case mi.DecimalType() if kind in (int, str):
            return Decimal(value) if kind is int else _via_msgspec(value, Decimal)
        case mi.EnumType(cls=cls) | mi.CustomType(cls=cls):
            return _via_msgspec(value, cls)
        case mi.TupleType(item_types=members) if kind is tuple and len(value) == len(members):
            return tuple(map(_convert_any, value, map(_members, members)))
        case mi.CollectionType(item_type=item) if kind is tuple:
            items = [_convert_any(one, _members(item)) for one in value]
            return _collection(info, items)
        case _ if type(info) in _CLASSES:
            return _via_msgspec(value, _CLASSES[type(info)])
        case _:
            fits = False
    if not fits:
        raise ValueError("of another type")
    return value


def _convert_any(value: Any, infos: list[mi.Type]) -> Any:
    for info in infos:
        try:
            return _convert(value, info)
        except ValueError:
            continue
    raise ValueError("of another type")


def _collection(info: mi.CollectionType, items: list[Any]) -> Any:
    if isinstance(info, mi.SetType | mi.FrozenSetType):
        return frozenset(items)
    return tuple(items) if isinstance(info, mi.VarTupleType) else items


def _via_msgspec(value: Any, cls: Any) -> Any:
    try:
        return msgspec.convert(value, cls, builtin_types=(bytes,), dec_hook=id_from_bytes)
    except (msgspec.MsgspecError, TypeError, ValueError) as exc:
        raise ValueError(str(exc)) from exc
