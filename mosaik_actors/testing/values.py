"""The values in a history: plain, frozen and bounded, so that it can be kept as text.

A value is None, a bool, an int, a finite float, a str, bytes, or a tuple or frozenset of these.
Lists and sets are converted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable
from typing import Any, TypeAlias

from ..errors import MosaikError

NAME_CHARS_MAX = 64
VALUE_SIZE_MAX = 65_536
VALUE_DEPTH_MAX = 16
INT_BITS_MAX = 8_192
_CLIP_CHARS = 60
Value: TypeAlias = Hashable


class HistoryError(MosaikError, ValueError):
    """What was to be recorded makes no sense; the text says what and why."""


def freeze(value: object) -> Value:
    """Return `value` as a history keeps it: immutable, hashable and bounded.

    Raises:
        HistoryError: It is, or contains, something else than the plain values
            of this module's docstring, or is too large.
    """
    frozen, size = _freeze(value, 0)
    if size > VALUE_SIZE_MAX:
        raise HistoryError(f"a value has size {size}, expected {VALUE_SIZE_MAX} at most")
    return frozen


def show(value: object) -> str:
    """Return a value as short text, the same in every process: sets are sorted."""
    return clip(_text(value))


def _text(value: object) -> str:
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(map(_text, value))) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_text, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


def clip(text: str) -> str:
    """Return a text cut to what fits in a line."""
    return text if len(text) <= _CLIP_CHARS else text[: _CLIP_CHARS - 3] + "..."


def check_name(what: str, name: object) -> None:
    """Raise `HistoryError` for what is no name."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX:
        got = clip(repr(name))
        raise HistoryError(f"{what} is {got}, expected a name of 1 to {NAME_CHARS_MAX} characters")


def _freeze(value: object, depth: int) -> tuple[Value, int]:
    if value is None or isinstance(value, bool):
        return value, 1
    if type(value) is int and value.bit_length() <= INT_BITS_MAX:
        return value, 1
    if type(value) is float and math.isfinite(value):
        return value, 1
    if type(value) in (str, bytes):
        return value, 1 + len(value)  # type: ignore[arg-type]  # narrowed by the line above
    if isinstance(value, tuple | list | set | frozenset) and depth < VALUE_DEPTH_MAX:
        if len(value) > VALUE_SIZE_MAX:
            raise HistoryError(f"a value has size {len(value)}, expected {VALUE_SIZE_MAX} at most")
        parts = [_freeze(part, depth + 1) for part in value]
        kind = tuple if isinstance(value, tuple | list) else frozenset
        return kind(part for part, _ in parts), 1 + sum(size for _, size in parts)
    raise HistoryError(
        f"{clip(repr(value))} ({type(value).__name__}) is not a plain value: expected None, bool, "
        "int, finite float, str, bytes, or a tuple or set of these, not nested too deeply"
    )


def to_plain(value: Value) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, tuple):
        return [to_plain(part) for part in value]
    if isinstance(value, frozenset):
        return {"set": sorted((to_plain(part) for part in value), key=json.dumps)}
    return value


def from_plain(plain: Any, depth: int = 0) -> object:
    """Return the value that `to_plain` wrote. Raises `HistoryError`."""
    if depth > VALUE_DEPTH_MAX:
        raise HistoryError(f"a value is nested deeper than {VALUE_DEPTH_MAX}")
    match plain:
        case list():
            return tuple(from_plain(part, depth + 1) for part in plain)
        case {"bytes": str(digits), **rest} if not rest:
            return bytes.fromhex(digits)
        case {"set": list(parts), **rest} if not rest:
            return frozenset(from_plain(part, depth + 1) for part in parts)
        case dict():
            raise HistoryError(f'{clip(repr(plain))} is neither {{"bytes": hex}} nor {{"set": []}}')
    return plain
