"""What streams say to each other over a link.

The consumer opens a link of `PROTOCOL` with a `Subscribe` as the header; the
producer answers with an `Accepted`, or closes the link with the reason. Then
the producer sends data frames and the consumer acknowledgements:

    data     1 byte 1 | 8 bytes sequence of the first item | 4 bytes count | batch
    ack      1 byte 2 | 8 bytes sequence
    window   1 byte 3 | 4 bytes items | 4 bytes bytes

A consumer divides one window among its producers (`window_pool`), so it changes
a subscription's window now and then, with a window frame. The producer answers
with a window frame too, which says what it took: at most what was asked. In
the order of its data that is the place from which the new window holds. A
consumer that asks for less thus knows when nothing more than that can come.

All numbers are big-endian. A sequence numbers the items of one producer since
it started. An acknowledgement says: every item before this one is taken by the
application, so room for as many is free again. It is due when half a window is
taken at the latest (`session` sends it sooner), so up to half a window may be taken
and not acknowledged; the rules of
credit leave room for that, or a producer and a consumer could wait for each
other (`may_fly`). The batch is the codec's own
format (`codec`); it is looked at by nobody but the decoder of the item's type.

Everything here comes from a peer: it is checked against the limits below, and
what does not fit raises `RemoteError` with the close code for the link.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Annotated, Final, NamedTuple

import msgspec

from ..errors import RemoteError
from ..ids import ID_BYTES, StreamId
from ..schema import Schema
from ..transport.interface import HEADER_BYTES_MAX
from ..wire_encoding import BoundedDecoder
from .config import BUFFER_ITEMS_MAX, SHARE_ITEMS_MIN, WINDOW_BYTES_MAX
from .criteria.criteria import CRITERIA_BYTES_MAX

PROTOCOL: Final = "mosaik/streams/1"
VERSION: Final = 2

SEQUENCE_MAX: Final = (1 << 63) - 1
NAME_CHARACTERS_MAX: Final = 512

_DATA: Final = 1
_ACK: Final = 2
_WINDOW: Final = 3
_DATA_HEADER: Final = struct.Struct(">BQI")
_ACK_FRAME: Final = struct.Struct(">BQ")
ACK_BYTES_MAX: Final = 64  # room for a change of the window, and what a later version may add
_WINDOW_FRAME: Final = struct.Struct(">BII")
DATA_HEADER_BYTES: Final = _DATA_HEADER.size
WINDOW_FRAME_BYTES: Final = _WINDOW_FRAME.size

_Items = Annotated[int, msgspec.Meta(ge=1, le=BUFFER_ITEMS_MAX)]
_WindowItems = Annotated[int, msgspec.Meta(ge=SHARE_ITEMS_MIN, le=BUFFER_ITEMS_MAX)]
_Bytes = Annotated[int, msgspec.Meta(ge=1, le=WINDOW_BYTES_MAX)]


class Window(NamedTuple):
    """What may be on its way to a consumer that its application has not taken."""

    items: int
    bytes: int

    def at_most(self, other: Window) -> Window:
        """Return the smaller of both, in items and in bytes."""
        return Window(min(self.items, other.items), min(self.bytes, other.bytes))

    def at_least(self, other: Window) -> Window:
        """Return the larger of both, in items and in bytes."""
        return Window(max(self.items, other.items), max(self.bytes, other.bytes))

    def fits(self, other: Window) -> bool:
        """Return whether this is no more than `other`, neither in items nor in bytes."""
        return self.items <= other.items and self.bytes <= other.bytes


class Subscribe(msgspec.Struct, frozen=True, kw_only=True):
    """The header of a subscription.

    Attributes:
        stream: The stream's id.
        name: What the consumer calls it, for people.
        schema: What the consumer can read.
        window_items: Items it takes in before its application does. A frame holds
            half the smallest window, so a tiny one would cost all subscribers.
        window_bytes: The same bound in bytes; one frame may always be above it.
        criteria: Which items it wants, as `criteria` encodes it; empty is all.
        version: The version of this protocol.
    """

    stream: Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
    name: Annotated[str, msgspec.Meta(max_length=NAME_CHARACTERS_MAX)]
    schema: Schema
    window_items: _WindowItems
    window_bytes: _Bytes
    criteria: Annotated[bytes, msgspec.Meta(max_length=CRITERIA_BYTES_MAX)] = b""
    version: int = VERSION

    @property
    def stream_id(self) -> StreamId:
        """The stream's id, as an id."""
        return StreamId(self.stream)


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a subscription.

    Attributes:
        first_sequence: The sequence of the first item that will come.
        window_items: The window in force: never above the one asked for.
        window_bytes: The same in bytes.
        start: The start of the producer's node, as its entry has it. A consumer can be
            quicker than gossip and subscribe to a restarted producer before it hears
            of the restart; this tells it that it is already where it should be.
    """

    first_sequence: Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX)]
    window_items: _Items
    window_bytes: _Bytes
    start: Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX)]

    @property
    def window(self) -> Window:
        """The window in force."""
        return Window(self.window_items, self.window_bytes)


_subscribe: BoundedDecoder[Subscribe] = BoundedDecoder(
    Subscribe, "a subscription", HEADER_BYTES_MAX
)
_accepted: BoundedDecoder[Accepted] = BoundedDecoder(
    Accepted, "an answer to a subscription", HEADER_BYTES_MAX
)


def encode(message: Subscribe | Accepted) -> bytes:
    """Return a header or its answer as bytes."""
    return msgspec.msgpack.encode(message)


def decode_subscribe(data: bytes) -> Subscribe:
    """Return the header of a subscription.

    Raises:
        RemoteError: It is not one, or one of a version unknown here; says why.
    """
    header = _subscribe.decode(data)
    if header.version != VERSION:
        raise RemoteError(f"subscription of version {header.version}, this node speaks {VERSION}")
    return header


def decode_accepted(data: bytes) -> Accepted:
    """Return the answer to a subscription. Raises `RemoteError` if it is not one."""
    return _accepted.decode(data)


def may_fly(flight_bytes: int, frame_bytes: int, window_bytes: int) -> bool:
    """Return whether a frame may follow `flight_bytes` that are not acknowledged.

    Below half a window any frame may: what is in flight may all be taken, and no
    acknowledgement be due. So a window is exceeded by one frame at most.
    """
    return flight_bytes < (window_bytes + 1) // 2 or flight_bytes + frame_bytes <= window_bytes


data_header: Final[Callable[[int, int], bytes]] = partial(_DATA_HEADER.pack, _DATA)
"""Returns what goes before a batch: given the sequence of its first item, and how many it has."""


def data_frame(first_sequence: int, item_count: int, *batch: bytes) -> bytes:
    """Return the frame of a batch, which may come in pieces."""
    return b"".join((data_header(first_sequence, item_count), *batch))


def read_data(frame: bytes) -> tuple[int, int, memoryview]:
    """Return (first sequence, item count, batch) of a data frame. Raises `RemoteError`."""
    try:
        kind, first_sequence, item_count = _DATA_HEADER.unpack_from(frame)
    except struct.error:
        text = f"a data frame of {len(frame)} bytes, at least {DATA_HEADER_BYTES}"
        raise RemoteError(text) from None
    if kind != _DATA:
        raise RemoteError(f"a frame of kind {kind}, expected data ({_DATA})")
    if not 1 <= item_count <= BUFFER_ITEMS_MAX or first_sequence + item_count > SEQUENCE_MAX:
        raise RemoteError(f"a data frame of {item_count} items from {first_sequence} on")
    return first_sequence, item_count, memoryview(frame)[DATA_HEADER_BYTES:]


def ack_frame(sequence: int) -> bytes:
    """Return the acknowledgement of all items before `sequence`."""
    return _ACK_FRAME.pack(_ACK, sequence)


def window_frame(window: Window) -> bytes:
    """Return the frame that asks for a window, or says which one was taken."""
    return _WINDOW_FRAME.pack(_WINDOW, window.items, window.bytes)


def is_window(frame: bytes) -> bool:
    """Return whether a frame is about the window; then `read_window` reads it."""
    return len(frame) == WINDOW_FRAME_BYTES and frame[0] == _WINDOW


def read_window(frame: bytes) -> Window:
    """Return what a window frame says. Raises `RemoteError`."""
    _, items, byte_count = _WINDOW_FRAME.unpack(frame)
    if not 1 <= items <= BUFFER_ITEMS_MAX or not 1 <= byte_count <= WINDOW_BYTES_MAX:
        raise RemoteError(f"a window of {items} items and {byte_count} bytes")
    return Window(items, byte_count)


def read_ack(frame: bytes) -> int:
    """Return the sequence of an acknowledgement. Raises `RemoteError`."""
    if len(frame) != _ACK_FRAME.size:
        raise RemoteError(f"an acknowledgement of {len(frame)} bytes, expected {_ACK_FRAME.size}")
    kind, sequence = _ACK_FRAME.unpack(frame)
    if kind != _ACK:
        raise RemoteError(f"a frame of kind {kind}, expected an acknowledgement ({_ACK})")
    return int(sequence)
