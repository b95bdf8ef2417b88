"""Which types can be priorities, and which of their values have a place in the order.

A priority queue is sorted alike on every member, so any two priorities that
get into it must compare. Python's ``<`` promises that only for some types, and
for some of those only with exceptions: NaN is neither less nor more than
anything, and a time with a time zone does not compare with one without.

So a type is looked through once, when the queue is made: one in which two values
might not compare is refused. What remains are single values, for which
`order_of` returns a check, or None when there is nothing to check.

Accepted are numbers (also several kinds, ``int | float``), text, bytes, ids,
dates, times, durations, UUIDs, enumerations of integers or text, and tuples and
records of those; records must say that they are ordered (``order=True``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import msgspec.inspect as mi

from ..errors import ConfigError
from ..ids import PeerId, UniqueId

Check = Callable[[Any], bool]

_NUMBERS: Final = (mi.IntType, mi.FloatType, mi.BoolType, mi.DecimalType)
_PLAIN: Final = (
    mi.IntType,
    mi.BoolType,
    mi.StrType,
    mi.BytesType,
    mi.DateType,
    mi.TimeDeltaType,
    mi.UUIDType,
)


def order_of(type_: Any) -> Check | None:
    """Return what says whether a value of a type has a place in its order.

    None: every value has.

    Raises:
        ConfigError: Values of the type need not compare with each other.
        TypeError: msgspec cannot describe the type.
    """
    try:
        return _check_of(mi.type_info(type_), type_)
    except RecursionError as exc:
        raise ConfigError(f"{_name(type_)} cannot be a priority: it contains itself") from exc


def _check_of(info: mi.Type, type_: Any) -> Check | None:
    match info:
        case mi.Metadata(type=inner):
            return _check_of(inner, type_)
        case mi.FloatType() | mi.DecimalType():
            return _is_no_nan
        case mi.DateTimeType(tz=tz) | mi.TimeType(tz=tz):
            return _is_naive if tz is False else _is_aware
        case mi.TupleType(item_types=members):
            return _check_members([_check_of(member, type_) for member in members])
        case mi.VarTupleType(item_type=item):
            return _check_items(_check_of(item, type_))
        case mi.StructType(cls=cls, fields=fields) if cls.__struct_config__.order:
            return _check_fields(fields, type_)
        case mi.DataclassType(cls=cls, fields=fields) if _is_ordered(cls):
            return _check_fields(fields, type_)
        case mi.NamedTupleType(fields=fields):
            return _check_members([_check_of(field.type, type_) for field in fields])
        case mi.UnionType(types=members) if all(isinstance(m, _NUMBERS) for m in members):
            return _check_any([_check_of(member, type_) for member in members])
    if isinstance(info, _PLAIN) or _is_plain_class(info):
        return None
    raise ConfigError(
        f"{_name(type_)} cannot be a priority: any two values must compare with <, and those of"
        f" {_part_name(info)} need not"
    )


def _is_plain_class(info: mi.Type) -> bool:
    """Return whether all values compare: an id, a fit enumeration, literals of one kind."""
    match info:
        case mi.CustomType(cls=cls):
            return cls in (UniqueId, PeerId)
        case mi.EnumType(cls=cls):
            return issubclass(cls, int | str) and issubclass(cls, enum.Enum)
        case mi.LiteralType(values=values):
            return len({type(value) for value in values}) == 1
    return False


def _is_ordered(dataclass: Any) -> bool:
    return bool(dataclass.__dataclass_params__.order)


def _is_no_nan(value: Any) -> bool:
    """Return whether a number is one; a NaN is not even itself, and a signalling one complains."""
    try:
        return bool(value == value)
    except ArithmeticError:
        return False


def _is_aware(value: Any) -> bool:
    return value.utcoffset() is not None


def _is_naive(value: Any) -> bool:
    return value.utcoffset() is None


def _check_members(checks: list[Check | None]) -> Check | None:
    """Return the check of a tuple with these checks of its members."""
    wanted = [(number, check) for number, check in enumerate(checks) if check is not None]
    if not wanted:
        return None
    return lambda value: all(check(value[number]) for number, check in wanted)


def _check_items(check: Check | None) -> Check | None:
    if check is None:
        return None
    return lambda value: all(map(check, value))


def _check_fields(fields: Iterable[mi.Field], type_: Any) -> Check | None:
    """Return the check of a record with these fields."""
    found = [(field.name, _check_of(field.type, type_)) for field in fields]
    wanted = [(name, check) for name, check in found if check is not None]
    if not wanted:
        return None
    return lambda value: all(check(getattr(value, name)) for name, check in wanted)


def _check_any(checks: list[Check | None]) -> Check | None:
    """Return the check of a number that may be of several kinds."""
    return _is_no_nan if any(checks) else None


def _name(type_: Any) -> str:
    return getattr(type_, "__qualname__", None) or str(type_)


def _part_name(info: mi.Type) -> str:
    cls = getattr(info, "cls", None)
    if isinstance(cls, type):
        hint = " without order=True" if issubclass(cls, msgspec.Struct) else ""
        return f"{cls.__qualname__}{hint}"
    return type(info).__name__.removesuffix("Type").lower()
