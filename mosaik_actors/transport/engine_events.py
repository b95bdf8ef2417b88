"""The events of an engine, for the connection above it, whatever carries the bytes."""

from __future__ import annotations

import msgspec

from .close import CloseCode, CloseReason
from .frames import clip_text
from .proven_peer import ProvenPeer

_IDLE_TEXT = "Idle timeout"  # the reason that aioquic and the core of qh3 give


class HandshakeDone(msgspec.Struct, frozen=True):
    """Both sides have proven who they are.

    Attributes:
        peer: Who is at the other end.
        binding: What tells this connection from all others, the same at both ends.
    """

    peer: ProvenPeer
    binding: bytes


class StreamData(msgspec.Struct, frozen=True):
    """Bytes of a stream, in order. `is_end`: no more will come."""

    stream_id: int
    data: bytes | memoryview
    is_end: bool


class StreamAborted(msgspec.Struct, frozen=True):
    """The peer gave up a stream with a code: it sends no more (`is_reset`), or hears no more."""

    stream_id: int
    code: int
    is_reset: bool


class CidIssued(msgspec.Struct, frozen=True):
    """Datagrams to this connection id belong to this connection from now on."""

    cid: bytes


class CidRetired(msgspec.Struct, frozen=True):
    """Datagrams to this connection id belong to nobody any more."""

    cid: bytes


class ConnectionEnded(msgspec.Struct, frozen=True):
    """The connection is over."""

    reason: CloseReason


EngineEvent = HandshakeDone | StreamData | StreamAborted | CidIssued | CidRetired | ConnectionEnded


def reason_of_end(code: int, text: str, *, is_application: bool) -> CloseReason:
    """Return QUIC's word for the end of a connection in ours.

    Args:
        code: The error code that the end came with.
        text: What was said with it.
        is_application: Whether the code is one of the application's own, and not of QUIC.
    """
    if is_application:
        return CloseReason(code, clip_text(text), remote=True)
    if text == _IDLE_TEXT:
        return CloseReason(CloseCode.UNEXPECTED_CLOSE, "idle timeout", remote=True)
    why = f"QUIC error 0x{code:x}" + (f": {clip_text(text)}" if text else "")
    return CloseReason(CloseCode.UNEXPECTED_CLOSE, why, remote=True)
