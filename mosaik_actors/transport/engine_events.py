"""What an engine tells the connection above it, whatever carries the bytes."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from .close import CloseReason
from .identity import ProvenPeer


@dataclass(frozen=True, slots=True)
class HandshakeDone:
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


@dataclass(frozen=True, slots=True)
class StreamAborted:
    """The peer gave up a stream with a code: it sends no more (`is_reset`), or hears no more."""

    stream_id: int
    code: int
    is_reset: bool


@dataclass(frozen=True, slots=True)
class CidIssued:
    """Datagrams to this connection id belong to this connection from now on."""

    cid: bytes


@dataclass(frozen=True, slots=True)
class CidRetired:
    """Datagrams to this connection id belong to nobody any more."""

    cid: bytes


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """The connection is over."""

    reason: CloseReason


EngineEvent = HandshakeDone | StreamData | StreamAborted | CidIssued | CidRetired | ConnectionEnded
