"""The canonical encoding of what a deployment's identity is made of.

Every value is one byte that names its kind, the length of its content in eight bytes
(big-endian), and the content. So no value is the beginning of another one, and values
may follow each other without a separator.

    N   None: nothing
    B   a boolean: one byte, 0 or 1
    I   an integer, or a float without a fraction: decimal ASCII digits, ``-`` before a
        negative one. So 3 and 3.0, which Python calls equal, are the same.
    F   any other float: eight bytes (IEEE 754 binary64, big-endian). NaN is refused.
    C   a `Decimal`: its text, after `Decimal.normalize`
    S   text: UTF-8, as it is written (no Unicode normalisation)
    Y   bytes
    T   a `timedelta`: its whole microseconds, as an integer's digits
    D   an id (`UniqueId`, `PeerId`): 32 bytes
    L   a tuple: its members in order
    E   a frozenset: its members' encodings, sorted as bytes
    V   a member of an `Enum`: its name as text, then its value
    R   a record (frozen dataclass or frozen `msgspec.Struct`): for each field, sorted by
        name as UTF-8, the name as text, then the value. Its class's name takes no part.
    A   a validator of tickets: its signature, 32 bytes
    K   a type: the 32-byte fingerprint of its schema, with the `WIRE_SIZE` of its records

Anything else is refused, above all what can change: lists, dicts, sets.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, get_origin

import msgspec

from ..errors import ConfigError
from ..ids import PeerId, UniqueId
from ..schema import describe, fingerprint
from ..tickets.requirement import as_validators, signatures
from ..tickets.validator import TicketValidator

DEPTH_MAX: Final = 32


def encode_value(value: Any) -> bytes:
    """Return a value's canonical encoding.

    Raises:
        ConfigError: It, or a part of it, is of no kind that has one, or can change.
    """
    return _encode(value, 0)


def frame(kind: bytes, content: bytes) -> bytes:
    """Return content with its kind and its length before it."""
    return kind + struct.pack(">Q", len(content)) + content


def encode_validators(validators: Iterable[TicketValidator]) -> bytes:
    """Return a set of validators, in whatever order they are given."""
    return frame(b"E", b"".join(sorted(frame(b"A", one) for one in signatures(validators))))


def _encode(value: Any, depth: int) -> bytes:
    if depth > DEPTH_MAX:
        raise ConfigError(f"nested deeper than {DEPTH_MAX}")
    match value:
        case None:
            return frame(b"N", b"")
        case Enum():
            return frame(b"V", encode_value(value.name) + _encode(value.value, depth + 1))
        case UniqueId() | PeerId():
            return frame(b"D", bytes(value))
        case bool() | int() | float() | Decimal() | str() | bytes() | timedelta():
            kind = next(one for one in _PLAIN if isinstance(value, one))
            return _PLAIN[kind](value)
        case tuple():
            return frame(b"L", b"".join(_encode(member, depth + 1) for member in value))
        case frozenset():
            return frame(b"E", b"".join(sorted(_encode(member, depth + 1) for member in value)))
    if isinstance(value, type) or get_origin(value) is not None:
        return _encode_type(value)
    if isinstance(value, TicketValidator):
        return frame(b"A", signatures(as_validators(value))[0])
    return _encode_fields(_fields_of(value), depth + 1)


def encode_record(fields_: Mapping[str, bytes]) -> bytes:
    """Return a record of fields that are encoded already."""
    names = sorted(fields_, key=str.encode)
    return frame(b"R", b"".join(encode_value(name) + fields_[name] for name in names))


def _encode_fields(pairs: Iterable[tuple[str, Any]], depth: int) -> bytes:
    encoded = {}
    for name, value in pairs:
        try:
            encoded[name] = _encode(value, depth)
        except ConfigError as exc:
            raise ConfigError(f"{name}: {exc}") from None
    return encode_record(encoded)


def _fields_of(value: Any) -> list[tuple[str, Any]]:
    params = getattr(type(value), "__dataclass_params__", None)
    if is_dataclass(value) and params is not None and params.frozen:
        return [(one.name, getattr(value, one.name)) for one in fields(value)]
    if isinstance(value, msgspec.Struct) and value.__struct_config__.frozen:
        return [(name, getattr(value, name)) for name in value.__struct_fields__]
    hint: dict[type, str] = {
        list: "a tuple", set: "a frozenset", dict: "a tuple of pairs", bytearray: "bytes",
    }  # fmt: skip
    wanted = hint.get(type(value), "a value that cannot change and has a canonical encoding")
    raise ConfigError(f"a {type(value).__name__} takes no part in an identity, expected {wanted}")


def _encode_type(type_: Any) -> bytes:
    try:
        return frame(b"K", fingerprint(describe(type_)))
    except TypeError as exc:
        raise ConfigError(f"{type_!r} is no type that can be sent: {exc}") from exc


def _encode_float(value: float) -> bytes:
    if math.isnan(value):
        raise ConfigError("a value is NaN, which equals nothing, not even itself")
    if value.is_integer():
        return _encode_int(int(value))
    return frame(b"F", struct.pack(">d", value))


def _encode_int(value: int) -> bytes:
    return frame(b"I", str(int(value)).encode())


def _encode_decimal(value: Decimal) -> bytes:
    if value.is_nan():
        raise ConfigError("a value is NaN, which equals nothing, not even itself")
    return frame(b"C", str(value.normalize() if value else Decimal(0)).encode())


def _encode_text(value: str) -> bytes:
    try:
        return frame(b"S", value.encode())
    except UnicodeEncodeError:
        raise ConfigError("a text has characters that UTF-8 cannot encode") from None


_PLAIN: Final[dict[type, Callable[[Any], bytes]]] = {  # a bool is an int as well: it comes first
    bool: lambda value: frame(b"B", bytes([value])),
    int: _encode_int,
    float: _encode_float,
    Decimal: _encode_decimal,
    str: _encode_text,
    bytes: lambda value: frame(b"Y", value),
    timedelta: lambda value: frame(b"T", str(value // timedelta(microseconds=1)).encode()),
}
