"""Frames on a byte stream, and the control frames that open and close a link.

A pure core: bytes in, frames out. One frame is a four-byte big-endian word and
a payload. The word's low 31 bits are the payload's length; its top bit tells a
control frame from data. Control payloads are MessagePack arrays::

    [0, protocol version, protocol, header]   open, the opener's first frame
    [1, reply]                                 accept, the acceptor's first
    [2, code, text]                            close, either side's last

The network is not named: a connection belongs to one, which both sides have proven
that they belong to (`admission`).

Invariants:
    * No more than one frame's worth of bytes is held back, however slowly the
      bytes come, and a frame's length is checked before its payload is awaited.
      They take at most twice as much memory, in views of what was read with them.
    * Whatever the bytes are, decoding gives frames or raises `DecodeError`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Annotated, Final, cast

import msgspec

from ..errors import DecodeError
from ..peer_text import printable
from ..wire_encoding import BoundedDecoder
from .close import REASON_BYTES_MAX, CloseReason
from .interface import HEADER_BYTES_MAX

WORD_BYTES: Final = 4
CONTROL_BIT: Final = 0x8000_0000
LENGTH_MAX: Final = CONTROL_BIT - 1
CONTROL_BYTES_MAX: Final = HEADER_BYTES_MAX + 1024
PROTOCOL_CHARACTERS_MAX: Final = 128
LINK_VERSION: Final = 2

_WORD: Final = struct.Struct(">I")
encode_word: Final[Callable[[int], bytes]] = _WORD.pack
"""Returns the word that goes before a data frame of so many bytes."""

_Header = Annotated[bytes, msgspec.Meta(max_length=CONTROL_BYTES_MAX)]


class _Open(msgspec.Struct, frozen=True, array_like=True, tag=0):
    version: int
    protocol: Annotated[str, msgspec.Meta(max_length=PROTOCOL_CHARACTERS_MAX)]
    header: _Header


class _Accept(msgspec.Struct, frozen=True, array_like=True, tag=1):
    reply: _Header


class _Close(msgspec.Struct, frozen=True, array_like=True, tag=2):
    code: Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
    text: Annotated[str, msgspec.Meta(max_length=CONTROL_BYTES_MAX)]


_decoder: BoundedDecoder[_Open | _Accept | _Close] = BoundedDecoder(
    _Open | _Accept | _Close, "a control frame", CONTROL_BYTES_MAX
)


class OpenFrame(msgspec.Struct, frozen=True):
    """The opener's first frame."""

    protocol: str
    header: bytes


class AcceptFrame(msgspec.Struct, frozen=True):
    """The acceptor's first frame."""

    reply: bytes


class CloseFrame(msgspec.Struct, frozen=True):
    """The last frame of the side that closes."""

    reason: CloseReason


ControlFrame = OpenFrame | AcceptFrame | CloseFrame


class FrameDecoder:
    """Cuts a byte stream into frames.

    Args:
        frame_bytes_max: The largest data frame taken in, in bytes; may be
            changed at any time.

    Attributes:
        held_bytes: How many bytes wait for the rest of their frame.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self.held_bytes = 0
        self._chunks: list[bytes | memoryview] = []
        self._word = b""  # of the frame that `_chunks` are the begin of; or a part of it

    @property
    def is_inside_frame(self) -> bool:
        """Whether the stream, ending here, would end inside a frame."""
        return self.held_bytes > 0

    def clear(self) -> None:
        """Drop what waits for the rest of its frame: the stream is over."""
        self._chunks.clear()
        self._word = b""
        self.held_bytes = 0

    def receive_data(self, data: bytes | memoryview) -> list[bytes | ControlFrame]:
        """Take in the next bytes of the stream and return the frames they complete.

        Raises:
            DecodeError: A frame is too large or a control frame is malformed.
                The stream cannot be read any further.
        """
        if self.held_bytes:
            return self._go_on(data)
        frames: list[bytes | ControlFrame] = []
        start, end = 0, len(data)
        while end - start >= WORD_BYTES:
            (word,) = _WORD.unpack_from(data, start)
            length = word & LENGTH_MAX
            if length > self.frame_bytes_max or word != length:
                self._check_length(word)
            stop = start + WORD_BYTES + length
            if stop > end:
                break
            payload = bytes(data[start + WORD_BYTES : stop])
            frame = decode_control(payload) if word & CONTROL_BIT else payload
            if stop == end and not frames:  # alone, as mostly where frames are small
                return [frame]
            frames.append(frame)
            start = stop
        if start < end:
            self.held_bytes = end - start
            self._word = bytes(data[start : start + WORD_BYTES])
            self._chunks = [_to_keep(data[start + WORD_BYTES :])]
        return frames

    def _go_on(self, data: bytes | memoryview) -> list[bytes | ControlFrame]:
        """Take in more of a frame whose begin is here; its bytes are joined once."""
        taken = WORD_BYTES - len(self._word)
        if taken:
            self._word += data[:taken]
            if len(self._word) < WORD_BYTES:
                self.held_bytes += len(data)
                return []
        word = int.from_bytes(self._word)
        missing = self._check_length(word) - max(self.held_bytes - WORD_BYTES, 0)
        stop = taken + missing
        if stop > len(data):
            self.held_bytes += len(data)
            self._chunks.append(_to_keep(data[taken:]))
            return []
        payload = b"".join((*self._chunks, data[taken:stop]))
        self.clear()
        frame = decode_control(payload) if word & CONTROL_BIT else payload
        return [frame, *self.receive_data(memoryview(data)[stop:])]

    def _check_length(self, word: int) -> int:
        """Return how long the payload is that a word announces."""
        length = word & LENGTH_MAX
        limit = self.frame_bytes_max if word == length else CONTROL_BYTES_MAX
        if length > limit:
            raise DecodeError(f"a frame of {length} bytes, at most {limit}")
        return length


def _to_keep(data: bytes | memoryview) -> bytes | memoryview:
    """Return bytes that wait for more: as they are, unless most of what they are in is not kept."""
    if isinstance(data, memoryview) and 2 * len(data) < len(cast(bytes, data.obj)):
        return bytes(data)
    return data


def encode_control(frame: ControlFrame) -> bytes:
    """Return a control frame with its word, ready to send."""
    match frame:
        case OpenFrame(protocol, header):
            parts: _Open | _Accept | _Close = _Open(LINK_VERSION, protocol, header)
        case AcceptFrame(reply):
            parts = _Accept(reply)
        case CloseFrame(reason):
            parts = _Close(int(reason.code), clip_text(reason.text))
    payload = msgspec.msgpack.encode(parts)
    if len(payload) > CONTROL_BYTES_MAX:
        raise ValueError(f"a link header of {len(payload)} bytes, at most {CONTROL_BYTES_MAX}")
    return (CONTROL_BIT | len(payload)).to_bytes(WORD_BYTES) + payload


def decode_control(payload: bytes) -> ControlFrame:
    """Return the control frame in `payload`. Raises `DecodeError`."""
    match _decoder.decode(payload):
        case _Open(version, protocol, header):
            if version != LINK_VERSION:
                raise DecodeError(f"link version {version}, expected {LINK_VERSION}")
            return OpenFrame(protocol, header)
        case _Accept(reply):
            return AcceptFrame(reply)
        case _Close(code, text):
            return CloseFrame(CloseReason(code, clip_text(text), remote=True))


def clip_text(text: str) -> str:
    """Return `text` cut to what a close reason may take on the wire, fit to be shown.

    It comes from a peer and goes to logs and terminals: no line breaks, no escapes.
    """
    text = printable(text[:REASON_BYTES_MAX])
    data = text.encode()
    if len(data) > REASON_BYTES_MAX:
        text = data[:REASON_BYTES_MAX].decode(errors="ignore")
    return text
