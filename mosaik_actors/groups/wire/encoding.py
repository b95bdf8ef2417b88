"""MessagePack for the records of groups: strict both ways.

Ids are not a type MessagePack knows, so each encoder and decoder needs a hook.
What is decoded comes from a peer or a file: whatever does not fit its type
raises `DecodeError`, a `RemoteError`, and nothing else.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ...bounded_decoding import BoundedDecoder

T = TypeVar("T")


def write_id(value: object) -> bytes:
    """Return an id as the bytes it is encoded as (an encoding hook of msgspec)."""
    if isinstance(value, bytes):
        return bytes(value)
    raise NotImplementedError(f"{type(value).__name__} is no part of a record")


def read_id(kind: type, value: object) -> object:
    """Return the id of type `kind` that was encoded as `value` (a decoding hook of msgspec)."""
    if not isinstance(value, bytes):
        raise ValueError(f"an id is bytes, got {type(value).__name__}")
    return kind(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=write_id)
encode = _encoder.encode


class Decoder(BoundedDecoder[T]):
    """Decodes one type of record of groups, within bounds; see `BoundedDecoder`."""

    def __init__(self, kind: object, what: str, bytes_max: int) -> None:
        super().__init__(kind, what, bytes_max, read_id)
