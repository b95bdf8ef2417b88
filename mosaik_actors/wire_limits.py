"""What MessagePack from a peer may be like: how deep, and how hard to hash.

Bytes are looked at before values are built of them (`scan`), because building is
where hostile input hurts:

    * *Depth.* Decoders use the stack, and where that ends depends on who calls. So
      nothing is nested deeper than `NESTING_MAX`, which fits on any stack. The same
      limit holds for encoding: what was encoded can be decoded everywhere.
    * *Collisions.* Python hashes numbers, and what is made of them (tuples, records,
      UUIDs, Decimals), without a secret. A set or mapping of members that were
      chosen to hash alike takes quadratic time: 64 kB of UUIDs took three
      seconds. So the members of those with more than `MEMBERS_UNCHECKED` are
      hashed as a list first. Text and bytes are hashed with a secret: they are not
      checked. No more than a few dozen integers of 64 bits or floats hash alike, but
      their places in a table can be made to collide: see `hash_tables`. Up to
      `NUMBERS_UNCHECKED` that costs little.

A codec makes one `WireLimits` for its type, and looks only for what the type lets
happen: a record without ``Any``, recursion or such sets costs nothing. A look
begins with what C does fast (`_Items`), so that the walk in Python is
for the few items that might break a limit.

msgspec allocates as it reads and not as headers claim, so claims need no check.

One file, because the walk is right only together with what is skipped before it, and with
what a type lets happen.
"""

from __future__ import annotations

import types
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import accumulate, groupby, pairwise
from typing import Any, Final, Literal, Union, get_origin
from uuid import UUID

import msgspec
import msgspec.inspect as mi

from .errors import DecodeError
from .hash_tables import steps_in_table
from .ids import PeerId, UniqueId

NESTING_MAX: Final = 64
MEMBERS_UNCHECKED: Final = 32
NUMBERS_UNCHECKED: Final = 1024
COMPARISONS_PER_MEMBER_MAX: Final = 16
STEPS_PER_KEY_MAX: Final = 48  # of a mapping; keys that follow a rule take up to 36
STEPS_PER_MEMBER_MAX: Final = 32  # of a set; members that follow a rule take up to 21
SHORT_BYTES: Final = NESTING_MAX  # what is no longer can be neither deep nor hard to hash

ANY: Final = object()
"""Stands for the type of members that no type describes."""

_OPENED_EXTENSIONS: Final = (2, 3, 4, 8)  # of the untyped codec: they hold MessagePack
_SET_EXTENSIONS: Final = (3, 4)

# How long a value is by its first byte; 0: that takes a closer look. What is empty is not
# opened, and so not counted as nested.
_STEPS: Final = bytes(
    [*[1] * 0x80, *[1, *[0] * 15] * 2, *range(1, 33)]
    + [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 5, 9, 2, 3, 5, 9, 2, 3, 5, 9]  # 0xc0 to 0xd3
    + [3, 4, 6, 10, 18]  # short extensions: 0xd4 to 0xd8
    + [0] * 7  # long texts, arrays and mappings: 0xd9 to 0xdf
    + [1] * 0x20
)
_STEPS_OPENING: Final = _STEPS[:0xD4] + bytes(5) + _STEPS[0xD9:]  # extensions may hold something
_LENGTH_BYTES: Final = {
    0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4,
    0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4,
}  # fmt: skip
_OPENING: Final = bytes([*range(0x80, 0xA0), *range(0xC7, 0xCA), *range(0xD4, 0xD9)]) + bytes(
    range(0xDC, 0xE0)
)
_NOT_OPENING: Final = bytes(head for head in range(256) if head not in _OPENING)
# Marks the heads of long arrays and mappings: bytes are translated and found ten times faster than
# an expression finds them.
_LONG_HEADS: Final = bytes(0xDC <= head <= 0xDF for head in range(256))

_UNKNOWN: Final = -1

split_array: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
"""Tells the items of an array apart, and reads none of them."""

_PLAIN_TYPES: Final[dict[type[mi.Type], Any]] = {
    mi.NoneType: None,
    mi.BoolType: bool,
    mi.IntType: int,
    mi.FloatType: float,
    mi.StrType: str,
    mi.BytesType: bytes,
    mi.DateType: date,
    mi.TimeType: time,
    mi.DateTimeType: datetime,
    mi.TimeDeltaType: timedelta,
    mi.UUIDType: UUID,
    mi.DecimalType: Decimal,
}
_NUMBERS: Final = (int, float, datetime, time, timedelta)
_HASHED_SAFELY: Final = (None, bool, str, bytes, date)


class Large(msgspec.Struct, frozen=True):
    """An array, set or mapping of many members.

    Attributes:
        kind: ``array``, ``set`` (of the untyped codec) or ``map``.
        members: Each of them, encoded; of a mapping its keys.
    """

    kind: str
    members: list[bytes]


class WireLimits:
    """Checks the batches of one type.

    Args:
        type_: What the items are; `ANY` for those of the untyped codec.

    Attributes:
        may_nest: Whether items may be nested without end, as far as the type says.
    """

    __slots__ = (
        "_is_untyped",
        "_key_types",
        "_member_types",
        "_unchecked",
        "_wide_member_types",
        "may_nest",
    )

    def __init__(self, type_: Any) -> None:
        self._is_untyped = type_ is ANY
        self._key_types: list[Any] = []
        self._member_types: list[Any] = []
        self._wide_member_types: list[Any] = []
        self._unchecked = NUMBERS_UNCHECKED
        self.may_nest = True
        if self._is_untyped:
            self._add(self._key_types, ANY, MEMBERS_UNCHECKED)
            return
        parts = list(parts_of(mi.type_info(type_)))
        self.may_nest = (
            len(parts) > NESTING_MAX  # no path is longer, unless a record is within itself
            or any(is_any(part) or isinstance(part, mi.RawType) for part in parts)
            or _is_recursive(mi.type_info(type_))
        )
        for part in parts:
            if is_any(part):
                self._add(self._key_types, ANY, MEMBERS_UNCHECKED)
            elif isinstance(part, mi.DictType):
                self._add(self._key_types, _type_of(part.key_type), _unchecked(part.key_type))
            elif isinstance(part, mi.SetType | mi.FrozenSetType):
                member = _type_of(part.item_type)
                self._wide_member_types.append(member)
                self._add(self._member_types, member, _unchecked(part.item_type))

    def check_nesting(self, batch: bytes | memoryview) -> None:
        """Raise `DecodeError` if an item of an array of items is nested too deep."""
        if len(batch) > SHORT_BYTES:
            self._check_nesting(_Items(batch))

    def _check_nesting(self, items: _Items) -> None:
        for item in items.that_may_nest():
            scan(item, opens=self._is_untyped)

    def check(
        self,
        batch: memoryview,
        decode: Callable[[bytes, Any], list[Any]],
        *,
        is_wide: bool = False,
    ) -> None:
        """Raise `DecodeError` for an array of items that must not be decoded.

        Args:
            batch: The array.
            decode: Decodes an array of members of a type, or raises anything.
            is_wide: Whether integers may be of any size in it.
        """
        if len(batch) <= SHORT_BYTES:
            return
        key_types = [*self._key_types, ANY] if is_wide else self._key_types
        member_types = self._wide_member_types if is_wide else self._member_types
        unchecked = MEMBERS_UNCHECKED if is_wide else self._unchecked
        has_sets = bool(key_types or member_types)
        if not has_sets and not self.may_nest:
            return
        items = _Items(batch)
        if has_sets:
            for item in items.with_large(unchecked):
                self._check_sets(item, key_types, member_types, decode, unchecked)
        if self.may_nest:
            self._check_nesting(items)

    def _check_sets(
        self,
        item: bytes,
        key_types: list[Any],
        member_types: list[Any],
        decode: Callable[[bytes, Any], list[Any]],
        unchecked: int,
    ) -> None:
        set_types = [ANY] if self._is_untyped else []
        by_kind = {"map": key_types, "set": set_types, "array": member_types}
        wanted = [kind for kind, known in by_kind.items() if known]
        for large in scan(item, wanted, members_unchecked=unchecked, opens=self._is_untyped):
            for type_ in by_kind[large.kind]:
                _check_members(large, type_, decode)

    def _add(self, known: list[Any], type_: Any, unchecked: int | None) -> None:
        if unchecked is not None and type_ not in known:
            known.append(type_)
            self._unchecked = min(self._unchecked, unchecked)


def scan(
    data: bytes,
    wanted: Collection[str] = (),
    *,
    nesting_max: int = NESTING_MAX,
    members_unchecked: int = MEMBERS_UNCHECKED,
    opens: bool = False,
) -> list[Large]:
    """Walk over one value; return its large containers, inner ones first.

    Args:
        data: The value, encoded.
        wanted: Which kinds of containers to return.
        nesting_max: How many containers may be within each other.
        members_unchecked: Containers of no more members are not returned.
        opens: Whether the untyped codec's extensions are containers too.

    Raises:
        DecodeError: It is no MessagePack, or nested too deep.
    """
    found: list[Large] = []
    outer: list[tuple[int, list[int] | None, str, int]] = []
    # The container that the walk is in: values left, their places, what it is, where it ends.
    left, marks, kind, end = 1, None, "", len(data)
    at = 0
    steps = _STEPS_OPENING if opens else _STEPS
    try:
        while True:
            while not left:
                if marks is not None:
                    found.append(_large(data, kind, marks, at))
                if end not in (_UNKNOWN, at):
                    raise DecodeError("not MessagePack: an extension or value of another length")
                if not outer:
                    return found
                left, marks, kind, end = outer.pop()
            left -= 1
            if marks is not None:
                marks.append(at)
            head = data[at]
            step = steps[head]
            if step:
                at += step
                continue
            opened: _Opened | None
            if head < 0x90:
                at, opened = at + 1, (2 * (head & 0x0F), "map", _UNKNOWN)
            elif head < 0xA0:
                at, opened = at + 1, (head & 0x0F, "array", _UNKNOWN)
            elif 0xD4 <= head <= 0xD8 and data[at + 1] not in _OPENED_EXTENSIONS:
                at += _STEPS[head]
                continue
            else:
                at, opened = _open(data, at, opens)
            if opened is not None:
                outer.append((left, marks, kind, end))
                if len(outer) > nesting_max:
                    raise DecodeError(f"nested deeper than {NESTING_MAX}")
                left, kind, end = opened
                marks = [] if left > members_unchecked and kind in wanted else None
    except IndexError:
        raise DecodeError("not MessagePack: it ends within a value") from None


_Opened = tuple[int, str, int]  # values, kind, end


def _open(data: bytes, at: int, opens: bool) -> tuple[int, _Opened | None]:
    """Return where to go on at a long or composed value, and what was opened if anything was."""
    head = data[at]
    if 0xD4 <= head <= 0xD8:
        length, at = 1 << (head - 0xD4), at + 1
    elif head in _LENGTH_BYTES:
        size = _LENGTH_BYTES[head]
        length, at = int.from_bytes(data[at + 1 : at + 1 + size]), at + 1 + size
    else:
        raise DecodeError(f"not MessagePack: a byte {head:#x}")
    if head >= 0xDC:
        kind, count = ("map", 2 * length) if head >= 0xDE else ("array", length)
        return at, (count, kind, _UNKNOWN)
    if 0xC7 <= head <= 0xC9 or 0xD4 <= head <= 0xD8:
        code, at = data[at], at + 1
        if opens and code in _OPENED_EXTENSIONS:
            end = at + length
            at, count = _array_in(data, at)
            return at, (count, "set" if code in _SET_EXTENSIONS else "array", end)
    return at + length, None


def _array_in(data: bytes, at: int) -> tuple[int, int]:
    """Return where the values of the array in an extension begin, and how many there are."""
    head = data[at]
    if 0x90 <= head < 0xA0:
        return at + 1, head & 0x0F
    if head in (0xDC, 0xDD):
        size = _LENGTH_BYTES[head]
        return at + 1 + size, int.from_bytes(data[at + 1 : at + 1 + size])
    raise DecodeError("an extension without the array that it should hold")


def _large(data: bytes, kind: str, marks: list[int], end: int) -> Large:
    spans = list(pairwise([*marks, end]))
    members = spans[::2] if kind == "map" else spans
    return Large(kind, [data[start:stop] for start, stop in members])


def _check_members(large: Large, type_: Any, decode: Callable[[bytes, Any], list[Any]]) -> None:
    """Raise `DecodeError` if members of a type would take long to be put in a set or mapping."""
    count = len(large.members)
    if count <= MEMBERS_UNCHECKED:
        return
    try:
        values = decode(b"".join([b"\xdd", count.to_bytes(4), *large.members]), type_)
        hashes = [hash(_frozen(value)) for value in values]
    except Exception:  # they are not of this type, so they become no members of it
        return
    by_member = dict(zip(large.members, hashes, strict=True))  # each once
    comparisons = 0
    for _, alike in groupby(sorted(by_member.values())):
        same_count = sum(1 for _ in alike)
        comparisons += same_count * (same_count - 1) // 2
    if comparisons > COMPARISONS_PER_MEMBER_MAX * len(by_member):
        raise DecodeError(f"{count} members of a set or mapping were made to hash alike")
    if count > NUMBERS_UNCHECKED:
        is_set = large.kind != "map"
        steps_max = (STEPS_PER_MEMBER_MAX if is_set else STEPS_PER_KEY_MAX) * count
        if steps_in_table(hashes, is_set=is_set, steps_max=steps_max) > steps_max:
            raise DecodeError(f"{count} members of a set or mapping were made to collide")


def _frozen(value: Any) -> Any:
    """Return a member as a mapping has it as a key: arrays that no type describes as tuples."""
    return tuple(map(_frozen, value)) if type(value) in (list, tuple) else value


def _first_large(
    data: bytes, long_heads: bytes, unchecked: int, start: int, end: int
) -> int | None:
    """Return where an array or mapping of more members than that may begin, within `end`."""
    at = long_heads.find(1, start, end)
    while at >= 0:
        size = 2 if data[at] in (0xDC, 0xDE) else 4
        if unchecked < int.from_bytes(data[at + 1 : at + 1 + size]) < end - at:
            return at
        at = long_heads.find(1, at + 1, end)
    return None


def opening_count(data: bytes) -> int:
    """Return how many bytes could open a container: nothing is nested deeper than that."""
    return len(data.translate(None, _NOT_OPENING))


class _Items:
    """The items of an array, told apart when there is need to."""

    __slots__ = ("_data", "_head_bytes", "_items")

    def __init__(self, batch: bytes | memoryview) -> None:
        self._data = bytes(batch)
        self._head_bytes = {0xDC: 3, 0xDD: 5}.get(batch[0], 1)
        self._items: list[bytes] | None = None

    def with_large(self, unchecked: int) -> Iterator[bytes]:
        """Yield the items that may have an array or mapping of more members than that."""
        data = self._data
        long_heads = data.translate(_LONG_HEADS)
        at = _first_large(data, long_heads, unchecked, self._head_bytes, len(data))
        if at is None:
            return
        items = self._told_apart()
        ends = list(accumulate(map(len, items), initial=self._head_bytes))
        while at is not None and at < ends[-1]:
            number = bisect_right(ends, at) - 1
            end = ends[number + 1]
            if _first_large(data, long_heads, unchecked, at, end) is not None:
                yield items[number]
            at = _first_large(data, long_heads, unchecked, end, len(data))

    def that_may_nest(self) -> Iterator[bytes]:
        """Yield the items with bytes enough that could open a container.

        Counts them for several items at once, so many that half the limit is expected.
        """
        count = opening_count(self._data)
        if count <= NESTING_MAX:
            return
        items = self._told_apart()
        at_once = max(NESTING_MAX * len(items) // (2 * count), 1)
        for start in range(0, len(items), at_once):
            some = items[start : start + at_once]
            if at_once == 1 or opening_count(b"".join(some)) > NESTING_MAX:
                for item in some:
                    if len(item) > SHORT_BYTES and opening_count(item) > NESTING_MAX:
                        yield item

    def _told_apart(self) -> list[bytes]:
        if self._items is None:
            try:
                self._items = list(map(bytes, split_array(self._data)))
            except RecursionError:
                raise DecodeError(f"nested deeper than {NESTING_MAX}") from None
            except (msgspec.MsgspecError, ValueError) as exc:
                raise DecodeError(f"not a batch: {exc}") from exc
        return self._items


def parts_of(info: mi.Type) -> Iterator[mi.Type]:
    """Iterate over all types that a type is made of, each record once."""
    seen: dict[Any, None] = {}
    todo = [info]
    while todo:
        part = todo.pop()
        if isinstance(part, mi.Metadata):
            todo.append(part.type)
            continue
        fields = getattr(part, "fields", None)
        if fields is not None:
            cls = getattr(part, "cls", None)
            if cls in seen:
                continue
            seen[cls] = None
            todo.extend(field.type for field in fields)
        yield part
        todo.extend(inner_types(part))


def inner_types(part: mi.Type) -> list[mi.Type]:
    """Return the types that a type which is no record is made of."""
    inner = [*getattr(part, "types", ()), *getattr(part, "item_types", ())]
    names = ("item_type", "key_type", "value_type")
    return inner + [found for name in names if (found := getattr(part, name, None)) is not None]


def is_any(part: mi.Type) -> bool:
    """Return whether a type says nothing: ``Any`` or ``object``."""
    return isinstance(part, mi.AnyType) or (isinstance(part, mi.CustomType) and part.cls is object)


def wire_size_of(type_: Any) -> int | None:
    """Return the bytes that each item of a type takes, as its ``WIRE_SIZE`` says; None if any.

    Raises:
        TypeError: Its ``WIRE_SIZE`` is no number of bytes.
    """
    size = getattr(get_origin(type_) or type_, "WIRE_SIZE", None)
    if size is None or (type(size) is int and size > 0):
        return size
    name = getattr(type_, "__qualname__", str(type_))
    raise TypeError(f"{name}.WIRE_SIZE is {size!r}, expected a number of bytes")


def _is_recursive(info: mi.Type) -> bool:
    """Return whether a record may be within a record of its own type."""
    within: list[Any] = []
    done: list[Any] = []

    def visit(part: mi.Type) -> bool:
        if isinstance(part, mi.Metadata):
            return visit(part.type)
        fields = getattr(part, "fields", None)
        if fields is None:
            return any(map(visit, inner_types(part)))
        cls = getattr(part, "cls", None)
        if cls in within:
            return True
        if cls in done:
            return False
        within.append(cls)
        found = any(visit(field.type) for field in fields)
        done.append(within.pop())
        return found

    return visit(info)


def _unchecked(info: mi.Type) -> int | None:
    """Return how many different values of a type may be in a set unchecked, None: any number."""
    match info:
        case mi.Metadata(type=inner):
            return _unchecked(inner)
        case mi.UnionType(types=members):
            limits = [limit for limit in map(_unchecked, members) if limit is not None]
            return min(limits, default=None)
        case mi.CustomType(cls=cls) if cls in (UniqueId, PeerId):
            return None
        case mi.EnumType() | mi.LiteralType():
            return None
    plain = _PLAIN_TYPES.get(type(info), UUID)
    if plain in _HASHED_SAFELY:
        return None
    return NUMBERS_UNCHECKED if plain in _NUMBERS else MEMBERS_UNCHECKED


def _type_of(info: mi.Type) -> Any:
    """Return the type that a description is of, without what it says of single values."""
    match info:
        case mi.Metadata(type=inner):
            return _type_of(inner)
        case mi.UnionType(types=members):
            return Union[tuple(map(_type_of, members))]  # noqa: UP007  # members are computed
        case mi.LiteralType(values=values):
            return Literal[tuple(values)]
        case mi.TupleType(item_types=members):
            return types.GenericAlias(tuple, tuple(map(_type_of, members)))
        case mi.VarTupleType(item_type=member):
            return types.GenericAlias(tuple, (_type_of(member), ...))
        case mi.FrozenSetType(item_type=member) | mi.SetType(item_type=member):
            return types.GenericAlias(frozenset, (_type_of(member),))
        case _ if is_any(info):
            return Any
    return _PLAIN_TYPES.get(type(info)) or getattr(info, "cls", Any)
