"""Encoding what is not an application's item, and decoding it within bounds.

Items are `codec`'s. Every frame, header, notice and record is written by `encode` and read by
a `BoundedDecoder` of its type, whose bounds hold before anything is built:

    * Input above `bytes_max` is refused unread.
    * It is decoded straight into its type, by msgspec: nothing is built that the
      type does not name, so the type bounds the nesting, and every count in it has
      a limit of its own (bytes need none: they are no longer than the input).
      Fields that a later version adds are skipped unbuilt. Nothing is allocated
      for what a header claims, only for what has come: with the smallest elements
      some 65 bytes for each byte of input.
    * Whatever the bytes are, the result is the type or a `DecodeError`.

Decoding without a type (``msgpack.unpackb``, ``Any``) gives no such bounds:
msgpack allocates what an array's header claims, at each level of nesting, so
that 64 KB cost 80 MB and 0.1 s. `why_unbounded` finds what in a type is without
a limit; a test asks it about every decoder there is. Untyped values have to be
checked before, with `check_objects`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

import msgspec

from .errors import DecodeError
from .ids import id_as_bytes, id_from_bytes

T = TypeVar("T")

encode = msgspec.msgpack.Encoder(enc_hook=id_as_bytes).encode

_FIXED: Final = (
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.BoolType,
    msgspec.inspect.NoneType,
    msgspec.inspect.EnumType,
    msgspec.inspect.LiteralType,
    msgspec.inspect.BytesType,
    msgspec.inspect.CustomType,  # an id, which checks its own length
)
_LIMITED: Final = (
    msgspec.inspect.StrType,
    msgspec.inspect.ListType,
    msgspec.inspect.SetType,
    msgspec.inspect.FrozenSetType,
    msgspec.inspect.VarTupleType,
    msgspec.inspect.DictType,
)
_WITH_FIELDS: Final = (msgspec.inspect.StructType, msgspec.inspect.NamedTupleType)


class BoundedDecoder(Generic[T]):
    """Decodes one type, within bounds.

    Args:
        kind: The type, possibly a union of tagged structs.
        what: What it is called in errors, such as ``a configuration``.
        bytes_max: Longer input is refused before anything is built.
    """

    made: Final[list[BoundedDecoder[Any]]] = []

    def __init__(self, kind: Any, what: str, bytes_max: int) -> None:
        self.kind = kind
        self.what = what
        self.bytes_max = bytes_max
        self._decode = msgspec.msgpack.Decoder(kind, dec_hook=id_from_bytes).decode
        self.made.append(self)

    def decode(self, data: bytes | memoryview) -> T:
        """Return the value in `data`.

        Raises:
            DecodeError: It is not one, or too long.
        """
        if len(data) > self.bytes_max:
            raise DecodeError(f"{self.what} of {len(data)} bytes, at most {self.bytes_max}")
        try:
            return self._decode(data)  # type: ignore[no-any-return]
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as exc:
            raise DecodeError(f"not {self.what}: {exc}") from exc


def check_objects(data: bytes, *, objects_max: int, depth_max: int) -> None:
    """Check a MessagePack value that no type describes, before it is decoded.

    Builds nothing, and looks at no more than `objects_max` objects.

    Raises:
        DecodeError: There are more objects (a mapping's keys and values count),
            they are nested deeper, or the bytes are not one whole value.
    """
    at, count = 0, 0
    left = [1]  # how many objects are still to come, at each level of nesting
    while left:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        count += 1
        if count > objects_max:
            raise DecodeError(f"more than {objects_max} objects")
        head = data[at : at + 1]
        if not head:
            raise DecodeError("the value is cut off")
        length_bytes, fixed_bytes, per_item = _HEADS[head[0]]
        size = int.from_bytes(data[at + 1 : at + 1 + length_bytes]) if length_bytes else 0
        at += 1 + length_bytes + fixed_bytes
        if not per_item:
            at += size
        elif (items := (size if length_bytes else _fixed_count(head[0])) * per_item) > objects_max:
            raise DecodeError(f"more than {objects_max} objects")
        elif len(left) > depth_max:
            raise DecodeError(f"nested deeper than {depth_max}")
        else:
            left.append(items)
        if at > len(data):
            raise DecodeError("the value is cut off")
    if at != len(data):
        raise DecodeError(f"{len(data) - at} bytes behind the value")


def why_unbounded(kind: Any) -> str:
    """Return what in a type has no limit of its own, for people; empty when all has."""
    return ", ".join(_find_unbounded(msgspec.inspect.type_info(kind), "", []))


def _find_unbounded(kind: Any, path: str, seen: list[type]) -> Iterator[str]:
    is_known = isinstance(kind, _LIMITED + _FIXED + _WITH_FIELDS) or bool(_parts_of(kind))
    if not is_known or (isinstance(kind, _LIMITED) and kind.max_length is None):
        yield f"{path}: {type(kind).__name__}"
    if isinstance(kind, _WITH_FIELDS):
        if kind.cls in seen:
            yield f"{path}: {kind.cls.__name__} within itself"
            return
        seen = [*seen, kind.cls]
    for name, part in _parts_of(kind):
        yield from _find_unbounded(part, f"{path}.{name}", seen)


def _parts_of(kind: Any) -> list[tuple[str, Any]]:
    match kind:
        case msgspec.inspect.Metadata():
            return [("", kind.type)]
        case msgspec.inspect.StructType() | msgspec.inspect.NamedTupleType():
            name = kind.cls.__name__
            return [(f"{name}.{field.name}", field.type) for field in kind.fields]
        case msgspec.inspect.UnionType():
            return [("", one) for one in kind.types]
        case msgspec.inspect.TupleType():
            return [(str(number), one) for number, one in enumerate(kind.item_types)]
        case msgspec.inspect.DictType():
            return [("key", kind.key_type), ("value", kind.value_type)]
        case _ if isinstance(kind, _LIMITED) and hasattr(kind, "item_type"):
            return [("item", kind.item_type)]
    return []


def _fixed_count(head: int) -> int:
    return head & 0x0F


def _make_heads() -> list[tuple[int, int, int]]:
    """Return for each first byte (bytes of length, of fixed content, objects for each count)."""
    heads = [(0, 0, 0)] * 256  # small integers, nil, booleans
    heads[0x80:0x90] = [(0, 0, 2)] * 16
    heads[0x90:0xA0] = [(0, 0, 1)] * 16
    heads[0xA0:0xC0] = [(0, size, 0) for size in range(32)]
    for first, step in ((0xC4, 0), (0xC7, 1), (0xD9, 0)):  # binary, extension, text
        heads[first : first + 3] = [(1, step, 0), (2, step, 0), (4, step, 0)]
    heads[0xCA:0xCC] = [(0, 4, 0), (0, 8, 0)]
    for first in (0xCC, 0xD0):
        heads[first : first + 4] = [(0, size, 0) for size in (1, 2, 4, 8)]
    heads[0xD4:0xD9] = [(0, 1 + size, 0) for size in (1, 2, 4, 8, 16)]
    heads[0xDC:0xE0] = [(2, 0, 1), (4, 0, 1), (2, 0, 2), (4, 0, 2)]
    return heads


_HEADS: Final = _make_heads()
