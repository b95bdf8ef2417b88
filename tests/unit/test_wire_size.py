"""`WIRE_SIZE`: every item of a type takes that many bytes, and a link carries one size."""

from typing import Any, ClassVar

import msgspec
import pytest

from mosaik_actors import EncodeError
from mosaik_actors.codec import SizedCodec, TypedCodec, codec_for, ordered_codec_for
from mosaik_actors.errors import DecodeError
from mosaik_actors.schema import SchemaMismatch, check_compatible, describe, fingerprint
from mosaik_actors.streams.producing.encoding import ItemEncoder
from mosaik_actors.streams.wire import data_frame


class Cell(msgspec.Struct, frozen=True, array_like=True):
    data: bytes
    WIRE_SIZE: ClassVar[int] = 35  # one byte for the array, two for the length of 32 bytes


class Free(msgspec.Struct, frozen=True, array_like=True):
    data: bytes


GOOD = [Cell(bytes([n]) * 32) for n in range(3)]
BAD = [Cell(b""), Cell(bytes(31)), Cell(bytes(33))]


def test_codecs_refuse_other_sizes_in_both_directions() -> None:
    free = codec_for(Free)
    assert type(free) is TypedCodec  # for other types nothing is looked at
    for codec in (codec_for(Cell), ordered_codec_for(Cell)):
        assert isinstance(codec, SizedCodec)
        assert codec.decode_batch(codec.encode_batch(GOOD)) == GOOD
        for bad in BAD:
            with pytest.raises(EncodeError, match="its WIRE_SIZE is 35"):
                codec.encode_batch([*GOOD, bad])
            with pytest.raises(DecodeError, match="its WIRE_SIZE is 35"):
                codec.decode_batch(free.encode_batch([Free(bad.data)]))
    # Two that are wrong do not make up for each other.
    pair = free.encode_batch([Free(bytes(31)), Free(bytes(33))])
    with pytest.raises(DecodeError, match="Cell is 34 bytes"):
        codec_for(Cell).decode_batch(pair)


def test_streams_refuse_other_sizes_one_by_one_and_in_batches() -> None:
    encoder = ItemEncoder(Cell)
    for bad in BAD:
        for encode in (encoder.encode, encoder.encode_unchecked):
            with pytest.raises(EncodeError, match="WIRE_SIZE"):
                encode(bad)
        with pytest.raises(EncodeError, match="WIRE_SIZE"):
            encoder.encode_many([*GOOD, bad])
    free = ItemEncoder(Free)
    parts = [free.encode(Free(one.data)) for one in (*GOOD, *BAD)]
    assert encoder.decode_batch(free.join(parts), len(parts)) == (GOOD, 3)


def test_a_link_carries_one_size() -> None:
    encoder = ItemEncoder(Cell)
    for count in (1, 3):
        sizes = set()
        for first in (0, 1, 255, 1 << 20, 1 << 40):
            items = [Cell(bytes([(first + n) % 256]) * 32) for n in range(count)]
            parts = encoder.encode_many(items)
            [batch] = encoder.batches(parts, frame_items_max=100, frame_bytes_max=60_000)
            sizes.add(len(data_frame(first, count, batch.data)))
        assert len(sizes) == 1


def test_the_size_is_part_of_the_schema() -> None:
    class Wide(msgspec.Struct, frozen=True, array_like=True):
        data: bytes
        WIRE_SIZE: ClassVar[int] = 67

    schemas = [describe(one) for one in (Cell, Wide, Free)]
    assert len({fingerprint(one) for one in schemas}) == 3
    with pytest.raises(SchemaMismatch, match=r"array of 35 bytes.*array of 67 bytes"):
        check_compatible(schemas[0], schemas[1])


@pytest.mark.parametrize("size", [0, -1, 2.0, "32", True])
def test_a_size_is_a_number_of_bytes(size: Any) -> None:
    kind = type("Odd", (Free,), {"WIRE_SIZE": size, "__annotations__": {}})
    with pytest.raises(TypeError, match=r"Odd\.WIRE_SIZE is .*, expected a number of bytes"):
        codec_for(kind)
