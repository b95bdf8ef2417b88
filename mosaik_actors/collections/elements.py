"""The types of what a collection holds: how values travel, compare and sort into bytes.

An `Element` stands for one type parameter, such as the ``K`` of a ``Map[K, V]``.
It answers four questions:

    * *How does a value travel in a command?* Values of described types go as they
      are, and the command's own decoder validates them. What no type describes
      (``Any``, ``object``) goes as bytes, made by the untyped codec, which keeps
      tuples and sets apart from lists where MessagePack alone does not.
    * *Will it arrive?* `prepare` plays the journey before anything is sent, so that
      a value of another type raises where it was written and not on every member.
    * *Can it be a key?* A type whose values have no hash is refused at once. Where
      the type does not say (``tuple``, ``Any``), each value is looked at.
    * *What are its bytes?* `pack` gives the same bytes on every member for equal
      values, which snapshots depend on. Sets are the only values without an order
      of their own; they are written sorted by the bytes of their members.

Values come back as their types say: a ``tuple[int, str]`` as a tuple, a record as a
record. Within a plain ``tuple``, nested tuples come back as lists: say what is in it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgpack
import msgspec
import msgspec.inspect as mi

from ..codec import Codec, EncodeError, UntypedCodec, codec_for
from ..errors import ConfigError, DecodeError, clip
from ..schema import check_sendable, identity, type_name
from ..wire_limits import is_any, parts_of

T = TypeVar("T")

ITEM_BYTES_MAX: Final = 1024 * 1024 + 64 * 1024
"""The largest key, value or other item: 1 MiB of content, and what describes it.

So each fits into one part of a snapshot, and two of them into one command.
"""

_INT_MAX: Final = (1 << 63) - 1

_MUTABLE: Final = (
    mi.ListType,
    mi.SetType,
    mi.DictType,
    mi.TypedDictType,
    mi.ByteArrayType,
    mi.MemoryViewType,
    mi.RawType,
    mi.CollectionType,
)
_SET_TYPES: Final = (mi.SetType, mi.FrozenSetType)

_untyped: Final = UntypedCodec()
_members: Final = codec_for(tuple)  # typed, but encodes anything
# The extension that the untyped codec writes a set as: form, array, head, then the code.
_SET_CODES: Final = {kind: _untyped.encode(kind())[3] for kind in (set, frozenset)}


class Element(Generic[T]):
    """One type parameter of a collection.

    Attributes:
        type: The type itself.
        is_plain: Whether values travel in commands as they are, or as bytes.
        wire: The type of a command's field that carries a value.
        name: The type's qualified name.
        takes_none: Whether None is one of its values.

    Args:
        type_: A record, an annotated or builtin type, or ``Any``.
        is_key: Whether values are keys or members, so that they must be hashable.

    Raises:
        ConfigError: A key of this type can have no hash, or a part of it cannot be sent.
        TypeError: msgspec cannot describe the type.
    """

    __slots__ = (
        "_decode",
        "_decode_batch",
        "_encode_batch",
        "_is_key",
        "_is_surely_hashable",
        "is_plain",
        "name",
        "takes_none",
        "type",
        "wire",
    )

    def __init__(self, type_: Any, *, is_key: bool = False) -> None:
        codec = codec_for(type_)
        self.type = type_
        self.is_plain = not isinstance(codec, UntypedCodec)
        self.wire: Any = type_ if self.is_plain else bytes
        self.name = type_name(type_)
        self._is_key = is_key
        self._is_surely_hashable = False
        self._decode: Callable[[bytes], T] = codec.decode
        self._decode_batch = codec.decode_batch
        self._encode_batch: Callable[[Sequence[Any]], bytes] = _encode_untyped
        if self.is_plain:
            parts = list(parts_of(mi.type_info(type_)))
            _require_known(type_, self.name)
            has_sets = any(isinstance(part, _SET_TYPES) for part in parts)
            self._encode_batch = _SortsSets(codec) if has_sets else codec.encode_batch
            self._is_surely_hashable = is_key and _check_hashable(parts, self.name)
        self.takes_none = self._accepts(None)

    @property
    def is_direct(self) -> bool:
        """Whether `receive` has nothing to do."""
        return self.is_plain and not (self._is_key and not self._is_surely_hashable)

    @property
    def signature(self) -> str:
        """What goes into the group's id: the name, and a hash of all that the type declares."""
        return f"{self.name}:{identity(self.type).hex()[:32]}"

    def prepare(self, value: T) -> Any:
        """Return a value as a command carries it: a copy, of the type that was agreed on.

        Raises:
            EncodeError: It is not of the type, is too large, or cannot be a key.
        """
        if type(value) is self.type and _arrives_as_it_is(value):
            return value
        try:
            data = self._encode_batch((value,))
            arrived = self._decode_batch(data)[0]
        except EncodeError as exc:
            raise EncodeError(value, exc.why) from exc
        except DecodeError as exc:
            # What the value itself is wrong in: of the batch it was sent in no caller knows.
            why = clip(exc.__cause__ or exc).replace("$[0]", "$", 1).removesuffix(" - at `$`")
            raise EncodeError(value, f"not of type {self.name}: {why}") from exc
        if len(data) > ITEM_BYTES_MAX:
            text = f"an item of {len(data)} bytes, {ITEM_BYTES_MAX} at most"
            raise EncodeError(value, text)
        self.require_keys((value,), (arrived,))
        return arrived if self.is_plain else data

    def receive(self, wire: Any) -> T:
        """Return the value that a command carries.

        Raises:
            DecodeError: It is none, or it cannot be a key.
        """
        value: T = wire if self.is_plain else self._decode(wire)
        if self._is_key and not self._is_surely_hashable:
            _hash_of(value)
        return value

    def pack(self, values: Sequence[T]) -> bytes:
        """Return values as bytes: the same for equal values on every member."""
        return self._encode_batch(values)

    def unpack(self, data: bytes) -> list[T]:
        """Return the values that were packed. Raises `DecodeError`."""
        values: list[T] = self._decode_batch(data, count_max=len(data))
        if self._is_key and not self._is_surely_hashable:
            for value in values:
                _hash_of(value)
        return values

    def require_keys(self, values: Sequence[T], arrived: Sequence[T]) -> None:
        """Raise `EncodeError` for a key that would not be found again as what it arrives as."""
        if not self._is_key:
            return
        for value, other in zip(values, arrived, strict=True):
            try:
                is_same = hash(other) == hash(value) and other == value
            except TypeError as exc:
                raise EncodeError(value, f"cannot be a key: {exc}") from exc
            if not is_same:
                text = f"cannot be a key: {value!r} would arrive as {other!r}"
                raise EncodeError(value, text[:500])

    # Helpers.

    def _accepts(self, value: Any) -> bool:
        try:
            return self._decode(self._encode_batch((value,))) is value
        except (EncodeError, DecodeError):
            return False


def _arrives_as_it_is(value: object) -> bool:
    """Return whether that is certain without playing the journey, as it is for most keys."""
    if type(value) is str:
        return value.isascii() and len(value) < ITEM_BYTES_MAX
    return type(value) is int and -_INT_MAX <= value <= _INT_MAX


def _hash_of(value: object) -> None:
    try:
        hash(value)
    except (TypeError, RecursionError) as exc:
        raise DecodeError(f"not a key: {exc}") from exc


def _require_known(type_: Any, name: str) -> None:
    """Raise `ConfigError` if a type is made of classes that nobody can decode."""
    try:
        check_sendable(type_)
    except TypeError as exc:
        raise ConfigError(f"{name}: {exc}") from exc


def _check_hashable(parts: Iterable[mi.Type], name: str) -> bool:
    """Return whether all values of a type are hashable; raise `ConfigError` if some never are."""
    is_sure = True
    for part in parts:
        if is_any(part) or isinstance(part, mi.DecimalType):  # a signalling NaN has no hash
            is_sure = False
        elif isinstance(part, _MUTABLE) and not isinstance(
            part, mi.FrozenSetType | mi.VarTupleType | mi.TupleType
        ):
            kind = type(part).__name__.removesuffix("Type").lower()
            raise ConfigError(f"{name} cannot be a key: a {kind} has no hash")
        elif not _has_hash(getattr(part, "cls", None)):
            raise ConfigError(
                f"{name} cannot be a key: {part.cls.__qualname__} is not frozen"  # type: ignore[attr-defined]  # the case above
            )
    return is_sure


def _has_hash(cls: Any) -> bool:
    """Return whether a record's class gives its values a hash."""
    if isinstance(cls, type) and issubclass(cls, msgspec.Struct):
        config = cls.__struct_config__
        own = cls.__hash__ is not msgspec.Struct.__hash__
        return bool(config.frozen or not config.eq or own)
    return getattr(cls, "__hash__", None) is not None


class _SortsSets:
    """Encodes values of one type, sets in them sorted."""

    def __init__(self, codec: Codec[Any]) -> None:
        self._encode_batch = codec.encode_batch

    def __call__(self, values: Sequence[Any]) -> bytes:
        try:
            return self._encode_batch([_with_sorted_sets(value) for value in values])
        except RecursionError as exc:
            raise EncodeError(values, f"cannot encode: {exc}") from exc


def _with_sorted_sets(value: Any) -> Any:
    """Return a value to be encoded in which each set is a sorted tuple.

    Records are copied without asking their classes, which might check their fields.
    """
    if isinstance(value, set | frozenset):
        return tuple(sorted(map(_with_sorted_sets, value), key=_members.encode))
    if isinstance(value, tuple):
        return tuple(map(_with_sorted_sets, value))
    if isinstance(value, list):
        return list(map(_with_sorted_sets, value))
    if isinstance(value, dict):
        return {_with_sorted_sets(key): _with_sorted_sets(of) for key, of in value.items()}
    if isinstance(value, msgspec.Struct):
        made: Any = copy.copy(value)
        for name in value.__struct_fields__:
            msgspec.structs.force_setattr(made, name, _with_sorted_sets(getattr(value, name)))
        return made
    if dataclasses.is_dataclass(value):
        made = copy.copy(value)
        for field in dataclasses.fields(value):
            inner = _with_sorted_sets(getattr(value, field.name))
            object.__setattr__(made, field.name, inner)
        return made
    return value


def _encode_untyped(values: Sequence[Any]) -> bytes:
    """Return values of no type as bytes, sets sorted. Raises `EncodeError`."""
    try:
        return _untyped.encode_batch([_extended(value) for value in values])
    except RecursionError as exc:
        raise EncodeError(values, f"cannot encode: {exc}") from exc


def _extended(value: Any) -> Any:
    """Return a value of no type in which each set is the extension that stands for it."""
    kind = type(value)
    if kind in _SET_CODES:
        members = sorted(map(_extended, value), key=_untyped.encode)
        # The batch's first byte is its form; the rest is the array that the extension holds.
        return msgpack.ExtType(_SET_CODES[kind], _untyped.encode_batch(members)[1:])
    if kind in (list, tuple):
        return kind(map(_extended, value))
    if kind is dict:
        return {_extended(key): _extended(inner) for key, inner in value.items()}
    return value
