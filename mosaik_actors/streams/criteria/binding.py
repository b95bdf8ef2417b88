"""Criteria against a type: are its fields there, and may they be compared with these values?

`bind` answers with what travels, `compile_criteria` with a function that judges items.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
import msgspec.inspect as mi

from ...ids import id_from_bytes
from .criteria import Criteria, CriteriaError, check_size
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


def bind(criteria: Criteria, type_: Any) -> Criteria:
    """Return criteria with the field names that travel, checked against a type.

    Raises:
        CriteriaError: A field is unknown, a value is not of its type, or to judge
            an item would cost too much.
    """
    check_size(criteria.node)
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
