"""Bencode: the encoding of the Mainline DHT (BEP 3, "bencoding").

Integers, byte strings, lists and dictionaries with byte strings as keys, whose keys are
sorted. `encode` writes the one form a value has. `decode` takes that form only: what is
signed is compared by its bytes, so a value must not have two forms.

Hostile input costs time in proportion to its bytes: nesting is bounded, an announced
length is compared with what is there before anything is built, and digits are counted
before they become a number.
"""

from __future__ import annotations

from typing import Final

from ..errors import DecodeError

Value = int | bytes | list["Value"] | dict[bytes, "Value"]

DEPTH_MAX: Final = 16
DIGITS_MAX: Final = 20

_DIGITS = frozenset(b"0123456789")


def encode(value: Value) -> bytes:
    """Return a value's bytes.

    Raises:
        TypeError: It contains something that bencode has no form for.
    """
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def decode(data: bytes) -> Value:
    """Return the value that `data` is the whole of.

    Raises:
        DecodeError: It is not bencoded, not in the one form, or nested too deeply.
    """
    value, end = _decode(data, 0, DEPTH_MAX)
    if end != len(data):
        raise DecodeError(f"{len(data) - end} bytes follow the value")
    return value


def _encode(value: Value, parts: list[bytes]) -> None:
    match value:
        case bool():
            raise TypeError("bencode has no booleans")
        case int():
            parts.append(b"i%de" % value)
        case bytes():
            parts.append(b"%d:%b" % (len(value), value))
        case list():
            parts.append(b"l")
            for one in value:
                _encode(one, parts)
            parts.append(b"e")
        case dict():
            parts.append(b"d")
            for key in sorted(value):
                _encode(key, parts)
                _encode(value[key], parts)
            parts.append(b"e")
        case _:
            raise TypeError(f"bencode has no {type(value).__name__}")


def _decode(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    if at >= len(data):
        raise DecodeError("the value is cut short")
    if depth == 0:
        raise DecodeError(f"nested deeper than {DEPTH_MAX}")
    head = data[at]
    if head in _DIGITS:
        return _decode_bytes(data, at)
    match head:
        case 0x69:  # i
            return _decode_number(data, at + 1, ord("e"))
        case 0x6C:  # l
            return _decode_list(data, at + 1, depth - 1)
        case 0x64:  # d
            return _decode_dictionary(data, at + 1, depth - 1)
    raise DecodeError(f"byte {head:#04x} begins no value")


def _decode_number(data: bytes, at: int, last: int) -> tuple[int, int]:
    end = data.find(last, at, at + DIGITS_MAX + 2)
    digits = data[at:end].removeprefix(b"-")
    if end < 0 or not 1 <= len(digits) <= DIGITS_MAX or not _DIGITS.issuperset(digits):
        raise DecodeError("a number is cut short, too long, or has no digits")
    if digits[0] == 0x30 and data[at:end] != b"0":
        raise DecodeError("a number begins with a zero")
    return int(data[at:end]), end + 1


def _decode_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    count, at = _decode_number(data, at, ord(":"))
    if count > len(data) - at:
        raise DecodeError(f"{count} bytes are announced, {len(data) - at} are left")
    return data[at : at + count], at + count


def _decode_list(data: bytes, at: int, depth: int) -> tuple[list[Value], int]:
    found: list[Value] = []
    while data[at : at + 1] != b"e":
        value, at = _decode(data, at, depth)
        found.append(value)
    return found, at + 1


def _decode_dictionary(data: bytes, at: int, depth: int) -> tuple[dict[bytes, Value], int]:
    found: dict[bytes, Value] = {}
    last: bytes | None = None
    while data[at : at + 1] != b"e":
        if at >= len(data) or data[at] not in _DIGITS:
            raise DecodeError("a key is no byte string")
        key, at = _decode_bytes(data, at)
        if last is not None and key <= last:
            raise DecodeError("keys are not sorted, or come twice")
        found[key], at = _decode(data, at, depth)
        last = key
    return found, at + 1
