"""Values to bytes and back: MessagePack, validated against a type.

There are two codecs. A *typed* one (records, annotated types) runs on
`msgspec`: it encodes a whole batch in one call and refuses, while decoding,
whatever does not fit the type. An *untyped* one, for ``object`` and ``Any``,
runs on `msgpack` and keeps apart what MessagePack alone cannot tell apart.

What survives a round trip: everything MessagePack has, and integers of any
size, `datetime` and its kin, `UUID`, `Decimal`, sets, frozensets, tuples and
ids. In a field annotated ``Any`` of a typed record the type gives no help, so
sets and tuples come back as lists there, and UUIDs and Decimals as text.

Form of a batch: one byte that says how, then a MessagePack array of items.

    * ``FAST``: plain msgspec.
    * ``WIDE``: an integer of more than 64 bits is somewhere inside. MessagePack
      has no such integers, so they travel as an extension. Only a batch that
      needs it pays for it.
    * ``UNTYPED``: the untyped codec's extensions.

Bytes from a peer are hostile: decoding reads at most what is there, never
nests deeper than `NESTING_MAX`, builds nothing but the types above, and raises
`DecodeError` for all that does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

import msgpack
import msgspec

from .errors import DecodeError, MosaikError
from .ids import PeerId, UniqueId

T = TypeVar("T")

FAST: Final = b"\x00"
WIDE: Final = b"\x01"
UNTYPED: Final = b"\x02"

NESTING_MAX: Final = 64
BIG_INT_BYTES_MAX: Final = 4096

_EXT_BIG_INT: Final = 1
_EXT_TUPLE: Final = 2
_EXT_SET: Final = 3
_EXT_FROZENSET: Final = 4
_EXT_DATETIME: Final = 5
_EXT_DATE: Final = 6
_EXT_TIME: Final = 7
_EXT_TIMEDELTA: Final = 8
_EXT_UUID: Final = 9
_EXT_DECIMAL: Final = 10
_EXT_UNIQUE_ID: Final = 11
_EXT_PEER_ID: Final = 12


class EncodeError(MosaikError, TypeError):
    """A value cannot be encoded as the type asks; `value` is that value."""

    def __init__(self, value: Any, why: str) -> None:
        super().__init__(value, why)
        self.value = value
        self.why = why

    def __str__(self) -> str:
        return self.why


class Codec(Protocol[T]):
    """How values of one type travel. Give your own for a type that needs it."""

    def encode(self, item: T) -> bytes:
        """Return one item as bytes."""

    def decode(self, data: bytes) -> T:
        """Return the item that `encode` made `data` of. Raises `DecodeError`."""

    def encode_batch(self, items: Sequence[T]) -> bytes:
        """Return several items as bytes, in one go."""

    def decode_batch(self, data: bytes, *, count_max: int | None = None) -> list[T]:
        """Return the items that `encode_batch` made `data` of. Raises `DecodeError`."""


class TypedCodec(Codec[T]):
    """The codec of a record or annotated type, on msgspec."""

    def __init__(self, type_: Any) -> None:
        batch: Any = list[type_]
        self._type = type_
        self._batch_type = batch
        self._is_record = isinstance(type_, type) and (
            issubclass(type_, msgspec.Struct) or hasattr(type_, "__dataclass_fields__")
        )
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_ids_as_bytes)
        self._decode_items: Callable[[Any], list[T]] = msgspec.msgpack.Decoder(
            batch, dec_hook=_ids_from_bytes, ext_hook=_no_extension
        ).decode

    def encode(self, item: T) -> bytes:
        """Return one item as bytes. Raises `EncodeError`."""
        return self.encode_batch((item,))

    def decode(self, data: bytes) -> T:
        """Return the item in `data`. Raises `DecodeError`."""
        return _only(self.decode_batch(data))

    def encode_batch(self, items: Sequence[T]) -> bytes:
        """Return several items as bytes. Raises `EncodeError`."""
        if self._is_record:
            for kind in dict.fromkeys(map(type, items)):
                if not issubclass(kind, self._type):
                    raise EncodeError(items, f"expected {_name(self._type)}, got {_name(kind)}")
        try:
            return FAST + self._encoder.encode(items)
        except OverflowError:
            return WIDE + self._encode_wide(items)
        except (TypeError, ValueError, RecursionError) as exc:
            raise EncodeError(items, f"cannot encode {_name(self._type)}: {exc}") from exc

    def decode_batch(self, data: bytes, *, count_max: int | None = None) -> list[T]:
        """Return the items in `data`. Raises `DecodeError`."""
        _check_count(data, count_max)
        form = data[:1]
        if form == FAST:
            try:
                items = self._decode_items(memoryview(data)[1:])
            except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
                raise DecodeError(f"not a batch of {_name(self._type)}: {exc}") from exc
        elif form == WIDE:
            items = self._decode_wide(data[1:])
        else:
            raise DecodeError(f"unknown form of batch {form!r} for {_name(self._type)}")
        return items

    def _encode_wide(self, items: Sequence[T]) -> bytes:
        try:
            plain = msgspec.to_builtins(
                items, builtin_types=(bytes, bytearray), enc_hook=_ids_as_bytes
            )
            return _pack(plain)
        except (TypeError, ValueError, RecursionError) as exc:
            raise EncodeError(items, f"cannot encode {_name(self._type)}: {exc}") from exc

    def _decode_wide(self, data: bytes) -> list[T]:
        plain = _unpack(data)
        try:
            items: list[T] = msgspec.convert(
                plain, self._batch_type, builtin_types=(bytes, bytearray), dec_hook=_ids_from_bytes
            )
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise DecodeError(f"not a batch of {_name(self._type)}: {exc}") from exc
        return items


class UntypedCodec(Codec[Any]):
    """The codec of values that no type describes, on msgpack."""

    def encode(self, item: Any) -> bytes:
        """Return one item as bytes. Raises `EncodeError`."""
        return self.encode_batch((item,))

    def decode(self, data: bytes) -> Any:
        """Return the item in `data`. Raises `DecodeError`."""
        return _only(self.decode_batch(data))

    def encode_batch(self, items: Sequence[Any]) -> bytes:
        """Return several items as bytes. Raises `EncodeError`."""
        try:
            return UNTYPED + _pack(list(items))
        except (TypeError, ValueError, RecursionError) as exc:
            raise EncodeError(items, f"cannot encode: {exc}") from exc

    def decode_batch(self, data: bytes, *, count_max: int | None = None) -> list[Any]:
        """Return the items in `data`. Raises `DecodeError`.

        Batches of typed codecs can be read too: records come as mappings or lists.
        """
        if data[:1] not in (UNTYPED, FAST, WIDE):
            raise DecodeError(f"unknown form of untyped batch {data[:1]!r}")
        _check_count(data, count_max)
        items = _unpack(data[1:])
        if not isinstance(items, list):
            raise DecodeError(f"a batch is a list, got {type(items).__name__}")
        return items


@lru_cache(maxsize=1024)
def codec_for(type_: Any) -> Codec[Any]:
    """Return the codec of a type: untyped for ``object`` and ``Any``, else typed.

    Raises:
        TypeError: msgspec cannot describe the type; the text says which part.
    """
    if type_ is object or type_ is Any:
        return UntypedCodec()
    return TypedCodec(type_)


def _ids_as_bytes(value: Any) -> bytes:
    if isinstance(value, UniqueId | PeerId):
        return bytes(value)
    raise TypeError(f"{type(value).__name__} is not a type that can be sent")


def _ids_from_bytes(type_: type, value: Any) -> Any:
    if type_ in (UniqueId, PeerId) and isinstance(value, bytes):
        return type_(value)
    raise ValueError(f"expected {type_.__name__}, got {type(value).__name__}")


def _no_extension(code: int, _data: memoryview) -> Any:
    raise ValueError(f"unknown extension {code}")


def _check_count(data: bytes, count_max: int | None) -> None:
    """Raise `DecodeError` for a batch of too many items, before any of them is made."""
    if count_max is None:
        return
    head = data[1:6]
    match head[:1]:
        case b"\xdc":
            count = int.from_bytes(head[1:3])
        case b"\xdd":
            count = int.from_bytes(head[1:5])
        case first if first and 0x90 <= first[0] <= 0x9F:
            count = first[0] & 0x0F
        case _:
            return  # no array: decoding says so
    if count > count_max:
        raise DecodeError(f"a batch of {count} items, at most {count_max}")


def _only(items: list[T]) -> T:
    if len(items) != 1:
        raise DecodeError(f"expected one item, got {len(items)}")
    return items[0]


def _name(type_: Any) -> str:
    return getattr(type_, "__qualname__", None) or str(type_)


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, default=_to_extension, strict_types=True)
    return packed


def _to_extension(value: Any) -> Any:
    """Return what MessagePack has no type for as an extension, or as a plain value."""
    kind = type(value)
    writer = _WRITERS.get(kind)
    if writer is not None:
        code, write = writer
        return msgpack.ExtType(code, write(value))
    if isinstance(value, msgspec.Struct) or hasattr(value, "__dataclass_fields__"):
        return msgspec.to_builtins(value, builtin_types=_KEPT_TYPES, enc_hook=lambda v: v)
    for base in _PLAIN_TYPES:
        if isinstance(value, base):
            return base(value)  # subclasses, such as an IntEnum's members or a named tuple
    raise TypeError(f"{kind.__name__} is not a type that can be sent")


def _write_int(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, signed=True)
    if len(data) > BIG_INT_BYTES_MAX:
        raise ValueError(f"an integer of {len(data)} bytes, at most {BIG_INT_BYTES_MAX}")
    return data


def _write_timedelta(value: timedelta) -> bytes:
    return _pack([value.days, value.seconds, value.microseconds])


_WRITERS: Final[dict[type, tuple[int, Callable[[Any], bytes]]]] = {
    int: (_EXT_BIG_INT, _write_int),
    tuple: (_EXT_TUPLE, lambda value: _pack(list(value))),
    set: (_EXT_SET, lambda value: _pack(list(value))),
    frozenset: (_EXT_FROZENSET, lambda value: _pack(list(value))),
    datetime: (_EXT_DATETIME, lambda value: value.isoformat().encode()),
    date: (_EXT_DATE, lambda value: value.isoformat().encode()),
    time: (_EXT_TIME, lambda value: value.isoformat().encode()),
    timedelta: (_EXT_TIMEDELTA, _write_timedelta),
    UUID: (_EXT_UUID, lambda value: value.bytes),
    Decimal: (_EXT_DECIMAL, lambda value: str(value).encode()),
    UniqueId: (_EXT_UNIQUE_ID, bytes),
    PeerId: (_EXT_PEER_ID, bytes),
}

_PLAIN_TYPES: Final[tuple[Any, ...]] = (int, float, str, bytes, list, dict, tuple)
_KEPT_TYPES: Final = (bytes, bytearray, datetime, date, time, timedelta, UUID, Decimal)


def _unpack(data: bytes, depth: int = 0) -> Any:
    """Return the value in `data`, extensions included, or raise `DecodeError`."""
    if depth > NESTING_MAX:
        raise DecodeError(f"nested deeper than {NESTING_MAX}")

    def from_extension(code: int, content: bytes) -> Any:
        return _from_extension(code, content, depth + 1)

    try:
        # timestamp=3: MessagePack's own timestamps, which msgspec writes, as aware datetimes.
        return msgpack.unpackb(data, ext_hook=from_extension, strict_map_key=False, timestamp=3)
    except DecodeError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as exc:
        raise DecodeError(f"not MessagePack: {str(exc) or type(exc).__name__}") from exc


def _from_extension(code: int, data: bytes, depth: int) -> Any:
    reader = _READERS.get(code)
    if reader is None:
        raise DecodeError(f"unknown extension {code}")
    try:
        return reader(data, depth)
    except (ValueError, TypeError, InvalidOperation, OverflowError) as exc:
        raise DecodeError(f"extension {code}: {exc}") from exc


def _read_int(data: bytes, _depth: int) -> int:
    if len(data) > BIG_INT_BYTES_MAX:
        raise ValueError(f"an integer of {len(data)} bytes, at most {BIG_INT_BYTES_MAX}")
    return int.from_bytes(data, signed=True)


def _read_list(data: bytes, depth: int) -> list[Any]:
    items = _unpack(data, depth)
    if not isinstance(items, list):
        raise TypeError(f"expected a list, got {type(items).__name__}")
    return items


def _read_timedelta(data: bytes, depth: int) -> timedelta:
    days, seconds, microseconds = _read_list(data, depth)
    return timedelta(days=days, seconds=seconds, microseconds=microseconds)


_READERS: Final[dict[int, Callable[[bytes, int], Any]]] = {
    _EXT_BIG_INT: _read_int,
    _EXT_TUPLE: lambda data, depth: tuple(_read_list(data, depth)),
    _EXT_SET: lambda data, depth: set(_read_list(data, depth)),
    _EXT_FROZENSET: lambda data, depth: frozenset(_read_list(data, depth)),
    _EXT_DATETIME: lambda data, _depth: datetime.fromisoformat(data.decode()),
    _EXT_DATE: lambda data, _depth: date.fromisoformat(data.decode()),
    _EXT_TIME: lambda data, _depth: time.fromisoformat(data.decode()),
    _EXT_TIMEDELTA: _read_timedelta,
    _EXT_UUID: lambda data, _depth: UUID(bytes=data),
    _EXT_DECIMAL: lambda data, _depth: Decimal(data.decode()),
    _EXT_UNIQUE_ID: lambda data, _depth: UniqueId(data),
    _EXT_PEER_ID: lambda data, _depth: PeerId(data),
}
