"""Items to bytes, one at a time, and many of them to one batch.

A batch is MessagePack: a header with the count, then the items one after the
other. So an item can be encoded when it is handed over, at the cost of one call
into msgspec (about 0.1 us), and the batch of a burst is a join. Compared with
keeping the items and encoding the burst later, that raises what is wrong with
an item where it was sent, knows its size before anything leaves, sends what
the item was at that moment even if it is changed afterwards, and lets each
burst, and later each filter, pick among entries that were encoded once.

An item whose *field* holds something of another type can be encoded and not be
decoded. Finding that out at the producer takes a decode per item, so it is done
there only with ``validate``; otherwise the consumer leaves out such an item,
and only that (`decode_batch`).

Items handed over together are encoded together where they may be, up to
`BATCH_ITEMS` by one call into msgspec, which takes half the time of a call per item
(`encoded`).

What a join makes is what the codec's ``encode_batch`` would have made of the
items; a test holds the two together. An item that only the codec's wider
format can carry (integers of more than 64 bits) is a `WholeBatch` of its own.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from ...codec import FAST, UNTYPED, WIDE, Codec, EncodeError, TypedCodec, codec_for
from ...errors import DecodeError, RemoteError
from ...ids import PeerId, UniqueId
from ...transport.interface import FRAME_BYTES_MAX
from ...wire_encoding import encode as encode_any
from ...wire_limits import (
    NESTING_MAX,
    SHORT_BYTES,
    WireLimits,
    opening_count,
    split_array,
    wire_size_of,
)
from ..wire import DATA_HEADER_BYTES
from .encoded import EncodedBatch, EncodedItem, WholeBatch, array_header
from .fanout import Batch

OVERHEAD_BYTES = DATA_HEADER_BYTES + 8  # 8: the batch's own header
ITEM_BYTES_MAX = FRAME_BYTES_MAX - OVERHEAD_BYTES

BATCH_ITEMS = 128
BATCH_ITEMS_MIN = 8
BATCH_BYTES = 64 * 1024  # about; larger items gain nothing by company
BATCH_BYTES_MAX = 4 * BATCH_BYTES  # more is slow to cut

_ONE = b"\x91"  # MessagePack: an array of one


class TooLargeError(EncodeError, ValueError):
    """One item is larger than a frame may be; nothing was sent."""


class ItemEncoder:
    """Encodes items of one type.

    Args:
        type_: What the items are.
        frame_bytes_max: What the transport carries; more than `FRAME_BYTES_MAX`
            is not made use of, because consumers count on it.
        validate: Whether each item is decoded once to see that it can be.

    Attributes:
        record_class: The class whose instances need no further check, or None.
        encode_unchecked: Encodes an item of that class, fast. It may raise
            anything: then ask `encode`, which knows the rest.
        type: What the items are.
        one_head: What comes before an item to make it a batch of one.
        codec: The codec that decodes the batches.
        item_bytes_max: The largest item.
    """

    def __init__(
        self, type_: Any, frame_bytes_max: int = FRAME_BYTES_MAX, *, validate: bool = False
    ) -> None:
        self.item_bytes_max = min(frame_bytes_max, FRAME_BYTES_MAX) - OVERHEAD_BYTES
        self.codec: Codec[Any] = codec_for(type_)
        self._decode_short = self.codec.decode_short if isinstance(self.codec, TypedCodec) else None
        self.type = type_
        self._accepted = _classes_of(type_)
        untyped = type_ is object or type_ is Any
        self._form = UNTYPED if untyped else FAST
        self.one_head = self._form + _ONE
        self.record_class: type | None = None
        self.encode_unchecked: Callable[[Any], EncodedItem] = self.encode
        if not untyped:
            if self._accepted is not None and len(self._accepted) == 1:
                self.record_class = self._accepted[0]
            self._encode_any = encode_any
            self._limits = WireLimits(type_)
            may_nest = self._limits.may_nest
            self.encode_unchecked = self._encode_nested if may_nest else self._encode_any
        self._validate = validate
        self._checks_each = validate or wire_size_of(type_) is not None
        if self._checks_each:
            self.encode_unchecked = self.encode
        self._checked_classes: dict[type, str] = {}

    def check(self, item: Any) -> None:
        """Raise `EncodeError` when `item` is plainly not of the type."""
        accepted = self._accepted
        if accepted is None:
            return
        # To Python a bool is an int; to whoever decodes it, it is not.
        if not isinstance(item, accepted) or (type(item) is bool and bool not in accepted):
            name = getattr(self.type, "__qualname__", None) or str(self.type)
            raise EncodeError(item, f"expected {name}, got {type(item).__qualname__}")
        if type(item) not in accepted and isinstance(item, msgspec.Struct):
            self._check_subclass(item)

    def encode(self, item: Any) -> EncodedItem:
        """Return an item, encoded.

        Raises:
            EncodeError: It is not of the type, or has something in it that
                cannot be encoded.
            TooLargeError: It is larger than a frame may be.
        """
        self.check(item)
        batch = self.codec.encode_batch((item,))
        joins = batch[:1] == self._form and batch[1:2] == _ONE
        entry: EncodedItem = batch[2:] if joins else WholeBatch(batch)
        self.check_size(item, len(entry))
        if self._validate:
            try:
                self.codec.decode_batch(batch, count_max=1)
            except DecodeError as exc:
                raise EncodeError(item, str(exc)) from exc
        return entry

    def encode_many(self, items: Sequence[Any]) -> list[EncodedItem | EncodedBatch]:
        """Return items as entries, in order: as encoded batches where they may be.

        Raises:
            EncodeError, TooLargeError: As for `encode`, for the first item it holds for.
        """
        plain = None if self._checks_each else self.record_class
        if plain is not None and list(map(type, items)).count(plain) == len(items):
            with suppress(Exception):
                return self._encode_batches(items)
        return list(map(self.encode, items))

    def _encode_nested(self, item: Any) -> EncodedItem:
        """Return an item, encoded; raise `DecodeError` if it is nested too deep."""
        entry = self._encode_any(item)
        if len(entry) > NESTING_MAX and opening_count(entry) > NESTING_MAX:
            self._limits.check_nesting(_ONE + entry)
        return entry

    def _encode_batches(self, items: Sequence[Any]) -> list[EncodedItem | EncodedBatch]:
        """Return items of the record class as entries, or raise anything: then ask `encode`."""
        encode = self._encode_any
        entries: list[EncodedItem | EncodedBatch] = []
        # The first item stands for all; where it misleads, only time is lost.
        batch_items = min(BATCH_ITEMS, BATCH_BYTES // max(len(encode(items[0])), 1)) if items else 0
        may_nest = self._limits.may_nest
        if batch_items < BATCH_ITEMS_MIN:
            entries += map(self.encode_unchecked, items)
        else:
            for start in range(0, len(items), batch_items):
                some = items[start : start + batch_items]
                head_bytes = 1 if len(some) < 16 else 3  # of a MessagePack array
                data = encode(some)
                if may_nest:
                    self._limits.check_nesting(data)
                batch = EncodedBatch(data[head_bytes:], len(some))
                entries += (batch,) if len(batch) <= BATCH_BYTES_MAX else batch.items()
        if entries and max(map(len, entries)) > self.item_bytes_max:
            raise ValueError("one item may be too large")
        return entries

    def check_size(self, item: Any, byte_count: int) -> None:
        """Raise `TooLargeError` when an item of `byte_count` bytes fits in no frame."""
        if byte_count > self.item_bytes_max:
            raise TooLargeError(
                item,
                f"an item of {byte_count} bytes, at most {self.item_bytes_max}: "
                "split it, or send a reference to it",
            )

    def join(self, entries: Sequence[EncodedItem | EncodedBatch]) -> bytes:
        """Return the batch of single items. Raises `TypeError` if an entry is anything else."""
        head = self._form + array_header(len(entries))
        return b"".join((head, *entries))  # type: ignore[arg-type]  # it raises, as promised

    def batches(
        self,
        entries: Sequence[EncodedItem | EncodedBatch],
        *,
        frame_items_max: int,
        frame_bytes_max: int,
    ) -> list[Batch]:
        """Return entries as batches, cut at a count and at a size.

        An item above the size gets a batch of its own.
        """
        batches: list[Batch] = []
        if entries:
            first = entries[0]
            if len(entries) == 1 and type(first) is bytes:  # of a stream with few items, as mostly
                return [Batch(1, (self.one_head, first))]
            if isinstance(first, EncodedBatch):
                return self._cut(entries, frame_items_max, frame_bytes_max)
            if len(first) * min(len(entries), frame_items_max) > 2 * frame_bytes_max:
                # As it seems, more than a frame: what is joined would be cut again.
                return self._cut(entries, frame_items_max, frame_bytes_max)
        for start in range(0, len(entries), frame_items_max):
            some = entries[start : start + frame_items_max]
            try:
                data = self.join(some)
            except TypeError:
                # What follows may be encoded batches, which hold more items than one.
                rest = entries[start:]
                return batches + self._cut(rest, frame_items_max, frame_bytes_max)
            if len(data) <= frame_bytes_max:
                batches.append(Batch(len(some), (data,)))
            else:
                batches += self._cut(some, frame_items_max, frame_bytes_max)
        return batches

    def _cut(
        self, entries: Sequence[EncodedItem | EncodedBatch], items_max: int, bytes_max: int
    ) -> list[Batch]:
        filling = _Filling(self._form, items_max, bytes_max)
        for entry in entries:
            if isinstance(entry, WholeBatch):
                filling.finish_batch()
                filling.batches.append(Batch(1, (entry.data,)))
            elif isinstance(entry, EncodedBatch):
                filling.add_batch(entry)
            else:
                filling.add(entry, 1)
        filling.finish_batch()
        return filling.batches

    def decode_batch(self, data: bytes, item_count: int) -> tuple[list[Any], int]:
        """Return the items of a batch that are of the type, and how many are not.

        Raises:
            RemoteError: It is no batch of `item_count` items.
        """
        if (
            item_count == 1
            and self._decode_short is not None
            and data[:2] == self.one_head
            and len(data) <= SHORT_BYTES
        ):
            try:
                return [self._decode_short(data[2:])], 0
            except Exception:
                pass  # why, is found out below
        try:
            items, bad_count = self.codec.decode_batch(data, count_max=item_count), 0
        except DecodeError as exc:
            items, bad_count = self._decode_each(data, item_count, exc)
        if len(items) + bad_count != item_count:
            raise RemoteError(f"{len(items) + bad_count} items in a frame of {item_count}")
        return items, bad_count

    def decode(self, entry: EncodedItem) -> Any:
        """Return the item that was encoded."""
        batch = entry.data if isinstance(entry, WholeBatch) else self.join((entry,))
        return self.codec.decode_batch(batch, count_max=1)[0]

    def _check_subclass(self, item: msgspec.Struct) -> None:
        """Raise `EncodeError` for a subclass that a reader of the stream's type cannot read."""
        cls = type(item)
        if cls not in self._checked_classes:
            self._checked_classes[cls] = self._why_unreadable(cls)
        why = self._checked_classes[cls]
        if why:
            raise EncodeError(item, why)

    def _why_unreadable(self, cls: type[msgspec.Struct]) -> str:
        for base in self._accepted or ():
            if not issubclass(base, msgspec.Struct) or not issubclass(cls, base):
                continue
            ours, theirs = base.__struct_config__, cls.__struct_config__
            if ours.tag != theirs.tag or ours.tag_field != theirs.tag_field:
                return f"{cls.__qualname__} has another tag than {base.__qualname__}"
            if ours.array_like != theirs.array_like:
                return f"{cls.__qualname__} travels in another form than {base.__qualname__}"
            if ours.forbid_unknown_fields and cls.__struct_fields__ != base.__struct_fields__:
                return f"{base.__qualname__} forbids the fields that {cls.__qualname__} adds"
        return ""

    def _decode_each(
        self, data: bytes, item_count: int, error: DecodeError
    ) -> tuple[list[Any], int]:
        """Decode item by item a batch that cannot be decoded as a whole."""
        if item_count == 1 and data[:1] == WIDE:
            return [], 1
        form = bytes(data[:1])
        if form == WIDE:
            raise error
        try:
            raw_items = split_array(memoryview(data)[1:])
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise error from None
        items: list[Any] = []
        for raw in raw_items[:item_count]:
            with suppress(DecodeError):
                items += self.codec.decode_batch(form + _ONE + bytes(raw), count_max=1)
        return items, len(raw_items) - len(items)


class _Filling:
    """Batches that are being filled with entries, one after the other."""

    def __init__(self, form: bytes, items_max: int, bytes_max: int) -> None:
        self.batches: list[Batch] = []
        self._form = form
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._data: list[bytes] = []
        self._item_count = 0
        self._byte_count = OVERHEAD_BYTES

    def add(self, data: bytes, item_count: int) -> None:
        """Put items into the batch, or into the next one if they do not fit."""
        if not self._fits(item_count, len(data)):
            self.finish_batch()
        self._data.append(data)
        self._item_count += item_count
        self._byte_count += len(data)

    def add_batch(self, batch: EncodedBatch) -> None:
        """Put in several items, cut only where that saves half a batch or more."""
        rest: EncodedBatch | None = batch
        while rest is not None:
            if (
                not self._fits(rest.item_count, len(rest))
                and 2 * self._item_count >= self._items_max
            ):
                self.finish_batch()
            head, tail = rest.cut(
                self._items_max - self._item_count, self._bytes_max - self._byte_count
            )
            if head is not None:
                self.add(head.data, head.item_count)
            elif self._data:
                self.finish_batch()
            else:  # an item that is larger than a batch should be
                first, *others = rest.items()
                self.add(first, 1)
                tail = EncodedBatch(b"".join(others), len(others)) if others else None
            rest = tail

    def finish_batch(self) -> None:
        """Begin the next batch."""
        if self._data:
            head = self._form + array_header(self._item_count)
            self.batches.append(Batch(self._item_count, (head, *self._data)))
        self._data = []
        self._item_count = 0
        self._byte_count = OVERHEAD_BYTES

    def _fits(self, item_count: int, byte_count: int) -> bool:
        if not self._data:
            return True
        return (
            self._item_count + item_count <= self._items_max
            and self._byte_count + byte_count <= self._bytes_max
        )


def _classes_of(type_: Any) -> tuple[type, ...] | None:
    """Return the classes an item of the type may have, None when that says nothing."""
    if type_ is None or type_ is type(None):
        return (type(None),)
    origin = get_origin(type_)
    if origin is Annotated:
        return _classes_of(get_args(type_)[0])
    if origin in (Union, types.UnionType):
        members = [_classes_of(arg) for arg in get_args(type_)]
        return None if None in members else tuple(c for m in members if m for c in m)
    if origin in (dict, list):
        return (origin,)
    if type_ is float:
        return (float, int)
    if type_ is object or not isinstance(type_, type):
        return None
    if issubclass(type_, msgspec.Struct) or hasattr(type_, "__dataclass_fields__"):
        return (type_,)
    return (type_,) if type_ in (int, str, bytes, bool, dict, list, UniqueId, PeerId) else None
