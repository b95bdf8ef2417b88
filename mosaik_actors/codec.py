"""Values to bytes and back: MessagePack, validated against a type.

There are two codecs. A *typed* one (records, annotated types) runs on
`msgspec`: it encodes a whole batch in one call and refuses, while decoding,
whatever does not fit the type. An *untyped* one, for ``object`` and ``Any``,
keeps apart what MessagePack alone cannot tell apart.

What survives a round trip: everything MessagePack has, and integers of any
size, `datetime` and its kin, `UUID`, `Decimal`, sets, frozensets, tuples and
ids. In a field annotated ``Any`` or ``object`` of a typed record the type gives
no help, so sets and tuples come back as lists there, and UUIDs and Decimals as text.

Form of a batch: one byte that says how, then a MessagePack array of items.

    * ``FAST``: plain msgspec.
    * ``WIDE``: an integer of more than 64 bits is somewhere inside. MessagePack
      has no such integers, so they travel as an extension. Only a batch that
      needs it pays for it. But for these integers it is what msgspec writes, and
      means the same: a value never depends on what it travels with.
    * ``UNTYPED``: the untyped codec's extensions.

A type with a class variable ``WIRE_SIZE`` has a codec that refuses, in both directions,
each item that is not that many bytes of MessagePack; see `SizedCodec`.

One file, because each form is written and read here, and the two must be seen together.

Bytes from a peer are hostile: decoding reads at most what is there, never
nests deeper than `NESTING_MAX`, makes no sets of members that were chosen to
hash alike (`wire_limits`), builds nothing but the types above, and raises
`DecodeError` for all that does not fit, whatever a record's own checks raise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal, Protocol, TypeVar
from uuid import UUID

import msgpack
import msgspec
import msgspec.inspect as mi

from .errors import DecodeError, MosaikError, clip
from .ids import PeerId, UniqueId, id_as_bytes, id_from_bytes
from .wire_limits import ANY, SHORT_BYTES, WireLimits, is_any, parts_of, split_array, wire_size_of

T = TypeVar("T")

CustomHooks = tuple[Callable[[Any], Any], Callable[[type, Any], Any]]

FAST: Final = b"\x00"
WIDE: Final = b"\x01"
UNTYPED: Final = b"\x02"
_FAST_BYTE: Final = FAST[0]
_WIDE_BYTE: Final = WIDE[0]

BIG_INT_BYTES_MAX: Final = 4096
WHY_CHARACTERS_MAX: Final = 1000
TEXT_BYTES_MAX: Final = 64  # of a date or time

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
        why = why if len(why) <= WHY_CHARACTERS_MAX else why[: WHY_CHARACTERS_MAX - 3] + "..."
        super().__init__(why)
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
    """The codec of a record or annotated type, on msgspec.

    Args:
        type_: The type.
        is_ordered: Whether the same value is the same bytes in every process, though
            each has an order of its own for the members of a set. They are sorted then,
            and so are mappings, where the type lets there be sets.
        custom: Hooks of msgspec for what it does not know: to encode, and to decode; those
            of ids by default.

    Attributes:
        decode_short: Decodes one item without form and count, of up to `SHORT_BYTES`. It may
            raise anything: then ask `decode_batch`, which knows the rest. None where that
            has more to look at.
    """

    def __init__(
        self, type_: Any, *, is_ordered: bool = False, custom: CustomHooks | None = None
    ) -> None:
        hooks: CustomHooks = custom or (id_as_bytes, _custom_values)
        self._encode_custom, self._decode_custom = hooks
        self._type = type_
        has_order = not is_ordered or not _may_hold_sets(type_)
        self._order: Literal["deterministic"] | None = None if has_order else "deterministic"
        self._is_record = isinstance(type_, type) and (
            issubclass(type_, msgspec.Struct) or hasattr(type_, "__dataclass_fields__")
        )
        self._encoder = msgspec.msgpack.Encoder(enc_hook=self._encode_custom, order=self._order)
        self._decode_items: Callable[[Any], list[T]] = _fast_decoder(
            list[type_], self._decode_custom
        )
        self.decode_short: Callable[[Any], T] | None = _fast_decoder(type_, self._decode_custom)
        self._batch_type: Any = list[type_]
        self._limits = WireLimits(type_)

    def encode(self, item: T) -> bytes:
        """Return one item as bytes. Raises `EncodeError`."""
        return self.encode_batch((item,))

    def decode(self, data: bytes) -> T:
        """Return the item in `data`. Raises `DecodeError`."""
        return _only(self.decode_batch(data))

    def encode_batch(self, items: Sequence[T]) -> bytes:
        """Return several items as bytes. Raises `EncodeError`."""
        may_nest = self._limits.may_nest
        if self._is_record:
            for kind in dict.fromkeys(map(type, items)):
                if not issubclass(kind, self._type):
                    raise EncodeError(items, f"expected {_name(self._type)}, got {_name(kind)}")
                may_nest |= kind is not self._type  # what a subclass adds, a reader passes over
        try:
            form, batch = FAST, self._encoder.encode(items)
        except OverflowError:
            form, batch = WIDE, self._encode_wide(items)
        except Exception as exc:
            raise EncodeError(items, f"cannot encode {_name(self._type)}: {exc}") from exc
        if may_nest:
            _require_encodable(items, batch, self._limits)
        return form + batch

    def decode_batch(self, data: bytes, *, count_max: int | None = None) -> list[T]:
        """Return the items in `data`. Raises `DecodeError`."""
        if count_max is not None:
            _check_count(data, count_max)
        form, batch = data[0] if data else None, memoryview(data)[1:]
        try:
            if form == _FAST_BYTE:
                if len(batch) > SHORT_BYTES:  # as `check` would find out, for each item
                    self._limits.check(batch, _decode_members)
                return self._decode_items(batch)
            if form == _WIDE_BYTE:
                self._limits.check(batch, _decode_wide_members, is_wide=True)
                items: list[T] = _decode_wide(batch, self._batch_type, self._decode_custom)
                return items
        except DecodeError:
            raise
        except Exception as exc:  # a record's own checks may raise anything
            raise DecodeError(f"not a batch of {_name(self._type)}: {clip(exc)}") from exc
        raise DecodeError(f"unknown form of batch {bytes(data[:1])!r} for {_name(self._type)}")

    def _encode_wide(self, items: Sequence[T]) -> bytes:
        try:
            # Bytes and times are kept: `_widen` writes them as msgspec does.
            plain = msgspec.to_builtins(
                items,
                builtin_types=(bytes, bytearray, memoryview, datetime),
                enc_hook=self._encode_custom,
                order=self._order,
            )
            batch: bytes = msgpack.packb(plain, default=_widen)
        except Exception as exc:
            raise EncodeError(items, f"cannot encode {_name(self._type)}: {exc}") from exc
        return batch


class SizedCodec(TypedCodec[T]):
    """The codec of a type with a `WIRE_SIZE`: each item is that many bytes, or refused."""

    def __init__(self, type_: Any, size: int, *, is_ordered: bool = False) -> None:
        super().__init__(type_, is_ordered=is_ordered)
        self.decode_short = None
        self._size = size

    def encode_batch(self, items: Sequence[T]) -> bytes:
        """Return several items as bytes. Raises `EncodeError`."""
        batch = super().encode_batch(items)
        if why := self._why_refused(batch):
            raise EncodeError(items, why)
        return batch

    def decode_batch(self, data: bytes, *, count_max: int | None = None) -> list[T]:
        """Return the items in `data`. Raises `DecodeError`."""
        items = super().decode_batch(data, count_max=count_max)
        if why := self._why_refused(data):
            raise DecodeError(why)
        return items

    def _why_refused(self, batch: bytes) -> str:
        for raw in split_array(memoryview(batch)[1:]):
            size = len(memoryview(raw))
            if size != self._size:
                return f"{_name(self._type)} is {size} bytes, its WIRE_SIZE is {self._size}"
        return ""


class UntypedCodec(Codec[Any]):
    """The codec of values that no type describes: written by msgpack, read by msgspec."""

    def encode(self, item: Any) -> bytes:
        """Return one item as bytes. Raises `EncodeError`."""
        return self.encode_batch((item,))

    def decode(self, data: bytes) -> Any:
        """Return the item in `data`. Raises `DecodeError`."""
        return _only(self.decode_batch(data))

    def encode_batch(self, items: Sequence[Any]) -> bytes:
        """Return several items as bytes. Raises `EncodeError`."""
        try:
            batch = _pack(list(items))
        except Exception as exc:
            raise EncodeError(items, f"cannot encode: {exc}") from exc
        _require_encodable(items, batch, _untyped_limits)
        return UNTYPED + batch

    def decode_batch(self, data: bytes, *, count_max: int | None = None) -> list[Any]:
        """Return the items in `data`. Raises `DecodeError`.

        Batches of typed codecs can be read too: records come as mappings or lists.
        """
        if data[:1] not in (UNTYPED, FAST, WIDE):
            raise DecodeError(f"unknown form of untyped batch {bytes(data[:1])!r}")
        if count_max is not None:
            _check_count(data, count_max)
        batch = memoryview(data)[1:]
        try:
            _untyped_limits.check(batch, _decode_untyped_members)
            return _decode_untyped(batch)
        except DecodeError:
            raise
        except Exception as exc:
            raise DecodeError(f"not a batch: {clip(exc)}") from exc


@lru_cache(maxsize=1024)
def codec_for(type_: Any) -> Codec[Any]:
    """Return the codec of a type: untyped for ``object`` and ``Any``, else typed.

    Raises:
        TypeError: msgspec cannot describe the type; the text says which part.
    """
    if type_ is object or type_ is Any:
        return UntypedCodec()
    size = wire_size_of(type_)
    return TypedCodec(type_) if size is None else SizedCodec(type_, size)


def ordered_codec_for(type_: Any) -> Codec[Any]:
    """Return a codec like `codec_for`, by which a value is the same bytes in every process.

    Raises:
        TypeError: msgspec cannot describe the type; the text says which part.
    """
    if type_ is object or type_ is Any:
        return codec_for(type_)
    size = wire_size_of(type_)
    if size is not None:
        return SizedCodec(type_, size, is_ordered=True)
    return TypedCodec(type_, is_ordered=True)


def _custom_values(type_: type, value: Any) -> Any:
    """Return what a field holds whose type msgspec does not know (a decoding hook)."""
    if type_ is object:
        return value
    return id_from_bytes(type_, value)


def _no_extension(code: int, _data: memoryview) -> Any:
    raise ValueError(f"unknown extension {code}")


def _only_integers(code: int, data: memoryview) -> int:
    if code != _EXT_BIG_INT:
        raise ValueError(f"unknown extension {code}")
    return _read_int(data)


def _fast_decoder(
    batch_type: Any, decode_custom: Callable[[type, Any], Any] = _custom_values
) -> Callable[[Any], Any]:
    return msgspec.msgpack.Decoder(
        batch_type, dec_hook=decode_custom, ext_hook=_no_extension
    ).decode


_decode_plain: Final = msgspec.msgpack.Decoder(list[Any], ext_hook=_only_integers).decode


def _decode_wide(
    batch: bytes | memoryview,
    batch_type: Any,
    decode_custom: Callable[[type, Any], Any] = _custom_values,
) -> Any:
    return msgspec.convert(
        _decode_plain(batch),
        batch_type,
        builtin_types=(bytes, bytearray),
        dec_hook=decode_custom,
    )


def _decode_members(batch: bytes, type_: Any) -> list[Any]:
    members: list[Any] = _fast_decoder(list[Any if type_ is ANY else type_])(batch)  # type: ignore[misc]
    return members


def _decode_wide_members(batch: bytes, type_: Any) -> list[Any]:
    members: list[Any] = _decode_wide(batch, list[Any if type_ is ANY else type_])  # type: ignore[misc]
    return members


def _require_encodable(items: Sequence[Any], batch: bytes, limits: WireLimits) -> None:
    """Raise `EncodeError` for items that are nested too deep to be decoded everywhere."""
    try:
        limits.check_nesting(batch)
    except DecodeError as exc:
        raise EncodeError(items, f"cannot encode: {exc}") from exc


def _check_count(data: bytes, count_max: int) -> None:
    """Raise `DecodeError` for a batch of too many items, before any of them is made."""
    first = data[1] if len(data) > 1 else 0
    if 0x90 <= first <= 0x9F:
        count = first & 0x0F
    elif first == 0xDC:
        count = int.from_bytes(data[2:4])
    elif first == 0xDD:
        count = int.from_bytes(data[2:6])
    else:
        return  # no array: decoding says so
    if count > count_max:
        raise DecodeError(f"a batch of {count} items, at most {count_max}")


def _only(items: list[T]) -> T:
    if len(items) != 1:
        raise DecodeError(f"expected one item, got {len(items)}")
    return items[0]


def _may_hold_sets(type_: Any) -> bool:
    return any(
        is_any(part) or isinstance(part, mi.SetType | mi.FrozenSetType)
        for part in parts_of(mi.type_info(type_))
    )


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


def _widen(value: Any) -> Any:
    """Return what `msgpack` cannot write as msgspec does: all but the integers it has no room for.

    What remains of typed items when `msgspec.to_builtins` has seen them.
    """
    if isinstance(value, int):
        return msgpack.ExtType(_EXT_BIG_INT, _write_int(value))
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return msgspec.to_builtins(value)
        return msgpack.Timestamp.from_datetime(value)
    raise TypeError(f"{type(value).__name__} is not a type that can be sent")


def _write_int(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, signed=True)
    if len(data) > BIG_INT_BYTES_MAX:
        raise ValueError(f"an integer of {len(data)} bytes, at most {BIG_INT_BYTES_MAX}")
    return data


def _write_set(value: set[Any] | frozenset[Any]) -> bytes:
    """Return the members in the order of their bytes, which is the same in every process."""
    head: bytes = msgpack.Packer().pack_array_header(len(value))
    return head + b"".join(sorted(map(_pack, value)))


def _write_timedelta(value: timedelta) -> bytes:
    return _pack([value.days, value.seconds, value.microseconds])


_WRITERS: Final[dict[type, tuple[int, Callable[[Any], bytes]]]] = {
    int: (_EXT_BIG_INT, _write_int),
    tuple: (_EXT_TUPLE, lambda value: _pack(list(value))),
    set: (_EXT_SET, _write_set),
    frozenset: (_EXT_FROZENSET, _write_set),
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


def _from_extension(code: int, data: memoryview) -> Any:
    """Return the value of an extension of the untyped codec (a hook of msgspec)."""
    make = _CONTAINERS.get(code)
    if make is not None:
        # Here, and not in a reader: what is nested takes one frame of the stack a level.
        return make(_decode_untyped(data))
    reader = _READERS.get(code)
    if reader is None:
        raise DecodeError(f"unknown extension {code}")
    try:
        return reader(data)
    except (ValueError, TypeError, ArithmeticError) as exc:
        raise DecodeError(f"extension {code}: {clip(exc)}") from exc


_decode_untyped: Final[Callable[[Any], list[Any]]] = msgspec.msgpack.Decoder(
    list[Any], ext_hook=_from_extension
).decode
_untyped_limits: Final = WireLimits(ANY)


def _decode_untyped_members(batch: bytes, _type: Any) -> list[Any]:
    return _decode_untyped(batch)


def _read_int(data: memoryview) -> int:
    if len(data) > BIG_INT_BYTES_MAX:
        raise ValueError(f"an integer of {len(data)} bytes, at most {BIG_INT_BYTES_MAX}")
    return int.from_bytes(data, signed=True)


def _read_timedelta(data: memoryview) -> timedelta:
    days, seconds, microseconds = _decode_untyped(data)
    return timedelta(days=days, seconds=seconds, microseconds=microseconds)


def _text(data: memoryview) -> str:
    if len(data) > TEXT_BYTES_MAX:
        raise ValueError(f"a text of {len(data)} bytes, at most {TEXT_BYTES_MAX}")
    return bytes(data).decode()


_CONTAINERS: Final[dict[int, Callable[[list[Any]], Any]]] = {
    _EXT_TUPLE: tuple,
    _EXT_SET: set,
    _EXT_FROZENSET: frozenset,
}

_READERS: Final[dict[int, Callable[[memoryview], Any]]] = {
    _EXT_BIG_INT: _read_int,
    _EXT_DATETIME: lambda data: datetime.fromisoformat(_text(data)),
    _EXT_DATE: lambda data: date.fromisoformat(_text(data)),
    _EXT_TIME: lambda data: time.fromisoformat(_text(data)),
    _EXT_TIMEDELTA: _read_timedelta,
    _EXT_UUID: lambda data: UUID(bytes=bytes(data)),
    _EXT_DECIMAL: lambda data: Decimal(bytes(data).decode()),
    _EXT_UNIQUE_ID: lambda data: UniqueId(bytes(data)),
    _EXT_PEER_ID: lambda data: PeerId(bytes(data)),
}
