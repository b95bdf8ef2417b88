"""Snapshots in parts, made one at a time: the form they have, and who is taking one.

A snapshot is a header, which says how many items follow, and then parts. A part
holds items as columns (all keys, then all values: that decodes fastest) in a few
blocks, at most `PART_BYTES` and the agreed number of items; only an item larger
than that has a longer part, for itself. Where parts end depends on the items and
nothing else, so equal states give equal bytes on every member.

The items come from a `SnapshotIterator`, which a container makes when a snapshot is taken
and which shows that moment however much is changed while it is read. The
container knows its iterators by an `ActiveIterators`, weakly: a snapshot may be
dropped half read.

`Rows` is the form of one part. Commands that carry many items use it, too.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar

import msgspec

from ..codec import EncodeError
from ..errors import DecodeError
from ..groups.wire.records import PART_BYTES_MAX
from ..wire_encoding import BoundedDecoder, encode
from .elements import ITEM_BYTES_MAX, Element

C = TypeVar("C")

PART_BYTES: Final = 256 * 1024
FORMAT: Final = 1
COLUMNS_MAX: Final = 3
BLOCKS_MAX: Final = 64
FIRST_BLOCK: Final = 16

Columns = Sequence[list[Any]]

_Block = Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=COLUMNS_MAX)]
_Blocks = Annotated[tuple[_Block, ...], msgspec.Meta(max_length=BLOCKS_MAX)]
_blocks: BoundedDecoder[tuple[tuple[bytes, ...], ...]] = BoundedDecoder(
    _Blocks, "items", PART_BYTES_MAX
)


class _Header(msgspec.Struct, frozen=True, array_like=True):
    """What comes before the items: the form's number, and how many items follow."""

    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)]
    item_count: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


_header: BoundedDecoder[_Header] = BoundedDecoder(_Header, "the header of a snapshot", 64)


class Rows:
    """Items of one collection as bytes: as many columns as it has elements.

    Args:
        elements: The types of the columns, such as those of keys and values.
    """

    __slots__ = ("_elements",)

    def __init__(self, *elements: Element[Any]) -> None:
        assert 0 < len(elements) <= COLUMNS_MAX
        self._elements = elements

    def pack(self, columns: Columns, items_max: int, start: int = 0) -> tuple[bytes, int]:
        """Return items of columns from `start` as bytes, and where the next piece starts.

        They are as many as fit into `items_max` and `PART_BYTES`, but one at least.

        Raises:
            EncodeError: An item is not of its type.
        """
        # Blocks double until one does not fit, then halve: that takes twice the
        # work of a single one at most, whatever the items' sizes.
        limit = min(len(columns[0]), start + items_max)
        blocks: list[Sequence[bytes]] = []
        size, taken = 0, start
        step, is_growing = FIRST_BLOCK, True
        while taken < limit and step:
            stop = min(taken + step, limit)
            block = self._pack_block(columns, taken, stop)
            length = sum(map(len, block))
            if size + length > PART_BYTES and (blocks or stop - taken > 1):
                step, is_growing = min(step, stop - taken) // 2, False
                continue
            blocks.append(block)
            size, taken = size + length, stop
            step = step * 2 if is_growing else step // 2
            if size >= PART_BYTES:
                break
        return encode(blocks), taken

    def unpack(self, data: bytes) -> list[list[Any]]:
        """Return the columns that were packed.

        Raises:
            DecodeError: They are none.
        """
        columns: list[list[Any]] = [[] for _ in self._elements]
        for block in _blocks.decode(data):
            if len(block) != len(columns):
                raise DecodeError(f"items of {len(block)} columns, expected {len(columns)}")
            for column, element, packed in zip(columns, self._elements, block, strict=True):
                column += element.unpack(packed)
            lengths = list(map(len, columns))
            if len(set(lengths)) != 1:
                raise DecodeError(f"columns of different lengths {lengths}")
        return columns

    def require_arrival(self, columns: Columns, data: bytes) -> None:
        """Raise `EncodeError` unless `data`, packed from `columns`, arrives as that."""
        if len(data) > ITEM_BYTES_MAX:  # longer than a part: a single item
            raise EncodeError(
                [column[0] for column in columns],
                f"an item of {len(data)} bytes, {ITEM_BYTES_MAX} at most",
            )
        try:
            arrived = self.unpack(data)
        except DecodeError as exc:
            raise EncodeError(columns, f"items of another type: {exc}") from exc
        for element, sent, received in zip(self._elements, columns, arrived, strict=True):
            element.require_keys(sent, received)

    # Helpers.

    def _pack_block(self, columns: Columns, start: int, stop: int) -> list[bytes]:
        return [
            element.pack(column[start:stop])
            for element, column in zip(self._elements, columns, strict=True)
        ]


class SnapshotIterator(Protocol):
    """Reads through the items of one moment, in order."""

    def take(self, count: int, /) -> Columns:
        """Return the next items as columns: `count` of them, fewer only at the end."""


class ColumnsIterator:
    """Reads through columns that nobody changes."""

    __slots__ = ("_columns", "_start")

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._start = 0

    def take(self, count: int, /) -> Columns:
        """Return the next items as columns."""
        start, self._start = self._start, self._start + count
        return [column[start : start + count] for column in self._columns]


def write_parts(
    rows: Rows, iterator: SnapshotIterator, item_count: int, items_max: int
) -> Iterator[bytes]:
    """Iterate over the parts of a snapshot, each made when it is asked for.

    Args:
        rows: The form of the items.
        iterator: Where they come from.
        item_count: How many it has.
        items_max: The most items in a part, the same on every member.
    """
    yield encode(_Header(FORMAT, item_count))
    columns: Columns = iterator.take(items_max)
    while columns[0]:
        data, taken = rows.pack(columns, items_max)
        yield data
        fresh = iterator.take(taken)
        columns = [column[taken:] + more for column, more in zip(columns, fresh, strict=True)]


def read_parts(rows: Rows, parts: Iterable[bytes]) -> Iterator[list[list[Any]]]:
    """Iterate over the items of a snapshot: the columns of one part after the other.

    Raises:
        DecodeError: The parts are no snapshot, or not all of one.
    """
    remaining = iter(parts)
    first = next(remaining, None)
    if first is None:
        raise DecodeError("a snapshot without a header")
    expected, count = _header.decode(first).item_count, 0
    for part in remaining:
        columns = rows.unpack(part)
        count += len(columns[0])
        if count > expected:
            break
        yield columns
    if count != expected:
        raise DecodeError(f"a snapshot of {count} items or more, expected {expected}")


class ActiveIterators(Generic[C]):
    """The iterators that are looking at a container, held weakly.

    Attributes:
        refs: Their weak references, oldest first; empty when nobody looks. To be
            read only; it is there because asking it is what every change pays.
    """

    __slots__ = ("refs",)

    def __init__(self) -> None:
        self.refs: list[weakref.ref[C]] = []

    def add(self, iterator: C) -> None:
        """Know an iterator until it is dropped."""
        self.refs.append(weakref.ref(iterator, self.refs.remove))

    def __iter__(self) -> Iterator[C]:
        for ref in self.refs:
            iterator = ref()
            if iterator is not None:
                yield iterator
