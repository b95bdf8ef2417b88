"""Commands and results as bytes: how they are encoded, alone and in runs.

A payload is one command, as the codec of the machine's `Command` encodes a batch of one. Payloads
travel and are ordered alone, but they are encoded and decoded in runs: the codec's price per call
is several times that of one more command in a call.

Invariant: decoding a run gives exactly what decoding each payload alone would. Members see the same
log in different runs, so this must hold for any bytes. The run is therefore first split again at
the boundaries that MessagePack itself sees, and only when these are the payloads' is it decoded as
one; else every payload is decoded alone. (Else two broken payloads could be read as two good ones.)

A result is what `apply` returned for one command. Its bytes are part of the replicated
state, so they depend on the value and its type alone. A value that does not fit the
machine's `Result` is no error of the member: a mark with the name of its class takes
its place, alike everywhere, and whoever wants the result is notified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ...codec import WIDE, Codec, EncodeError, codec_for, ordered_codec_for

COMMAND_BYTES_MAX: Final = 3 * 1024 * 1024
"""A command's largest encoding: below what an entry of Raft may hold."""

POSITION_BYTES: Final = 8

_NO_VALUE: Final = b"\xf0"
_MISMATCH: Final = b"\xf1"
_CLASS_NAME_CHARACTERS: Final = 100

_HEAD_BYTES: Final = 2
_ARRAY_OF_ONE: Final = b"\x91"
_ARRAY_32: Final = b"\xdd"

_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


def encode_position(position: int) -> bytes:
    """Return a position as `Sessions` remembers it."""
    return position.to_bytes(POSITION_BYTES)


def decode_position(data: bytes | None) -> int | None:
    """Return the position of a command that was applied; None when it is not known."""
    if data is None or len(data) != POSITION_BYTES:
        return None
    return int.from_bytes(data)


class AppliedOutcome(msgspec.Struct, frozen=True):
    """What `apply` returned; or the class of a value that is not of the machine's `Result`."""

    value: Any = None
    mismatch: str = ""


class CommandCodec:
    """Encodes and decodes the commands of one machine: of its type `Command`.

    Raises:
        TypeError: No codec can describe the type.
    """

    def __init__(self, type_: Any) -> None:
        self._codec: Codec[Any] = codec_for(type_)

    def encode(self, commands: Sequence[Any]) -> list[bytes]:
        """Return a payload for each command, which decodes to a command again.

        Raises:
            EncodeError: One is not of the type, or too large; `value` is the first such one.
        """
        payloads = _encode_together(self._codec, commands) if len(commands) > 1 else None
        if payloads is None:  # one, or which one it is, and why
            payloads = [self._encode_checked(command) for command in commands]
        for command, payload in zip(commands, payloads, strict=True):
            if len(payload) > COMMAND_BYTES_MAX:
                why = f"a command of {len(payload)} bytes, at most {COMMAND_BYTES_MAX}"
                raise EncodeError(command, why)
        return payloads

    def decode(self, payloads: Sequence[bytes]) -> tuple[list[Any], Exception | None]:
        """Return the commands in payloads, up to the first that could not be decoded, and why.

        Raises nothing.
        """
        commands = self._decode_together(payloads) if len(payloads) > 1 else None
        if commands is not None:
            return commands, None
        commands = []
        for payload in payloads:
            try:
                commands.append(self._codec.decode(payload))
            except Exception as exc:
                return commands, exc
        return commands, None

    def _encode_checked(self, command: Any) -> bytes:
        payload = self._codec.encode(command)
        try:
            self._codec.decode(payload)
        except Exception as exc:  # whatever a record's own checks raise
            raise EncodeError(command, f"not a command of the machine: {exc}") from exc
        return payload

    def _decode_together(self, payloads: Sequence[bytes]) -> list[Any] | None:
        """Return the commands of a run decoded in one call; None when that is not certain."""
        head = payloads[0][:_HEAD_BYTES]
        if head[1:] != _ARRAY_OF_ONE or head[:1] == WIDE:
            return None
        for payload in payloads:
            if not payload.startswith(head):
                return None
        rest = [payload[_HEAD_BYTES:] for payload in payloads]
        body = b"".join([_ARRAY_32, len(payloads).to_bytes(4), *rest])
        try:
            sizes = [len(raw) + _HEAD_BYTES for raw in map(bytes, _split(body))]
            if sizes != [len(payload) for payload in payloads]:
                return None
            return self._codec.decode_batch(head[:1] + body)
        except Exception:  # hostile bytes, or a record's own checks: see which one
            return None


class ResultCodec:
    """Encodes and decodes what a machine's `apply` returns: values of its type `Result`.

    None is always a result, whatever the type says: a command may have none. When the type itself
    is None there are no results at all: they are not wanted (`is_wanted`).

    Raises:
        TypeError: No codec can describe the type.
    """

    def __init__(self, type_: Any) -> None:
        self.is_wanted = type_ is not None
        self._codec: Codec[Any] = ordered_codec_for(type_)

    def encode(self, values: Sequence[Any]) -> tuple[list[bytes], str]:
        """Return each result's bytes, and why the last one that does not fit does not.

        Raises nothing: what does not fit becomes a mark.
        """
        has_none = any(value is None for value in values)
        made = None if has_none else _encode_together(self._codec, values)
        if made is not None:
            return made, ""
        results, why = [], ""
        for value in values:
            if value is None:
                results.append(_NO_VALUE)
                continue
            try:
                data = self._codec.encode(value)
                self._codec.decode(data)
            except Exception as exc:  # whatever a record's own checks raise
                name = type(value).__name__[:_CLASS_NAME_CHARACTERS]
                data, why = _MISMATCH + name.encode(errors="replace"), str(exc)
            results.append(data)
        return results, why

    def decode(self, result: bytes) -> AppliedOutcome:
        """Return what a result's bytes mean; raises nothing for any bytes."""
        if result == _NO_VALUE:
            return AppliedOutcome()
        if result[:1] == _MISMATCH:
            return AppliedOutcome(mismatch=result[1:].decode(errors="replace"))
        try:
            return AppliedOutcome(self._codec.decode(result))
        except Exception:  # a peer's snapshot, of a program that has other checks
            return AppliedOutcome(mismatch="value that could not be decoded")


def _encode_together(codec: Codec[Any], values: Sequence[Any]) -> list[bytes] | None:
    """Return each value's bytes, encoded and checked in one call; None when that fails."""
    try:
        data = codec.encode_batch(values)
        if data[:1] == WIDE:
            return None
        codec.decode_batch(data)
        head = data[:1] + _ARRAY_OF_ONE
        return [head + bytes(raw) for raw in _split(memoryview(data)[1:])]
    except Exception:
        return None
