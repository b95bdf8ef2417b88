"""MessagePack for the records of groups: strict both ways.

Ids are not a type MessagePack knows, so each encoder and decoder needs a hook.
What is decoded comes from a peer or a file: whatever does not fit its type
raises `DecodeError`, a `RemoteError`, and nothing else.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from ..errors import DecodeError

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


class Decoder(Generic[T]):
    """Decodes one type of record.

    Args:
        kind: The type, possibly a union of tagged structs.
        what: What it is called in errors, such as ``a configuration``.
        bytes_max: Longer input is refused before anything is built.
    """

    def __init__(self, kind: object, what: str, bytes_max: int) -> None:
        self._decode = msgspec.msgpack.Decoder(kind, dec_hook=read_id).decode
        self._what = what
        self._bytes_max = bytes_max

    def decode(self, data: bytes | memoryview) -> T:
        """Return the record in `data`.

        Raises:
            DecodeError: It is not one, or too long.
        """
        if len(data) > self._bytes_max:
            raise DecodeError(f"{self._what} of {len(data)} bytes, {self._bytes_max} at most")
        try:
            return self._decode(data)  # type: ignore[no-any-return]
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as exc:
            raise DecodeError(f"not {self._what}: {exc}") from exc
