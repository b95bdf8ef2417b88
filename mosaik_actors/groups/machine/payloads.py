"""Commands as bytes: how a machine's commands are encoded, alone and in runs.

A payload is one command, as the codec of the machine's `Command` encodes a
batch of one. Payloads travel and are ordered alone, but they are encoded and
decoded in runs: the codec's price per call is several times that of one more
command in a call.

Invariant: decoding a run gives exactly what decoding each payload alone would.
Members see the same log in different runs, so this must hold for any bytes. The
run is therefore first split again at the boundaries that MessagePack itself
sees, and only when these are the payloads' is it decoded as one; else every
payload is decoded alone. (Else two broken payloads could be read as two good ones.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ...codec import WIDE, Codec, EncodeError, codec_for

COMMAND_BYTES_MAX: Final = 3 * 1024 * 1024
"""A command's largest encoding: below what an entry of Raft may hold."""

POSITION_BYTES: Final = 8

_HEAD_BYTES: Final = 2
_ARRAY_OF_ONE: Final = b"\x91"
_ARRAY_32: Final = b"\xdd"

_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


def encode_position(position: int) -> bytes:
    """Return a position as the result of a command, which `Sessions` remembers."""
    return position.to_bytes(POSITION_BYTES)


def decode_position(result: bytes | None) -> int | None:
    """Return the position that is a command's result; None when it is not one."""
    if result is None or len(result) != POSITION_BYTES:
        return None
    return int.from_bytes(result)


@dataclass(slots=True)
class Decoded:
    """What a run of payloads means.

    Attributes:
        commands: One for each payload, up to the first that could not be decoded.
        error: Why that one could not be; None when all could.
    """

    commands: list[Any]
    error: Exception | None = None


class CommandCodec:
    """Encodes and decodes the commands of one machine.

    Args:
        type_: The machine's `Command`.

    Raises:
        TypeError: No codec can describe the type.
    """

    def __init__(self, type_: Any) -> None:
        self._codec: Codec[Any] = codec_for(type_)

    def encode(self, commands: Sequence[Any]) -> list[bytes]:
        """Return a payload for each command.

        What is returned decodes to a command again: so a command that was
        accepted takes effect.

        Raises:
            EncodeError: One of them is not of the type, or too large; `value` is
                the first such one. Nothing is returned of the others.
        """
        if len(commands) == 1:
            payloads = [self._encode_checked(commands[0])]
        else:
            payloads = self._encode_run(commands)
        for command, payload in zip(commands, payloads, strict=True):
            if len(payload) > COMMAND_BYTES_MAX:
                raise EncodeError(
                    command, f"a command of {len(payload)} bytes, at most {COMMAND_BYTES_MAX}"
                )
        return payloads

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """Return what payloads mean, each on its own, up to the first that could not be decoded.

        Raises nothing for any bytes.
        """
        commands = self._decode_together(payloads) if len(payloads) > 1 else None
        return self._decode_alone(payloads) if commands is None else Decoded(commands)

    # Helpers.

    def _encode_checked(self, command: Any) -> bytes:
        payload = self._codec.encode(command)
        try:
            self._codec.decode(payload)
        except Exception as exc:  # whatever a record's own checks raise
            raise EncodeError(command, f"not a command of the machine: {exc}") from exc
        return payload

    def _encode_run(self, commands: Sequence[Any]) -> list[bytes]:
        """Encode all in one call and split the result; one by one when that fails."""
        try:
            data = self._codec.encode_batch(commands)
            if data[:1] != WIDE:
                self._codec.decode_batch(data)
                head = data[:1] + _ARRAY_OF_ONE
                return [head + bytes(raw) for raw in _split(memoryview(data)[1:])]
        except Exception:  # which one it is, and why, is found below
            pass
        return [self._encode_checked(command) for command in commands]

    def _decode_together(self, payloads: Sequence[bytes]) -> list[Any] | None:
        """Return the commands of a run decoded in one call; None when that is not certain."""
        head = payloads[0][:_HEAD_BYTES]
        if head[1:] != _ARRAY_OF_ONE or head[:1] == WIDE:
            return None
        for payload in payloads:
            if not payload.startswith(head):
                return None
        body = b"".join(
            [_ARRAY_32, len(payloads).to_bytes(4), *[payload[_HEAD_BYTES:] for payload in payloads]]
        )
        try:
            sizes = [len(raw) + _HEAD_BYTES for raw in map(bytes, _split(body))]
            if sizes != [len(payload) for payload in payloads]:
                return None
            return self._codec.decode_batch(head[:1] + body)
        except Exception:  # hostile bytes, or a record's own checks: see which one
            return None

    def _decode_alone(self, payloads: Sequence[bytes]) -> Decoded:
        decoded = Decoded([])
        for payload in payloads:
            try:
                decoded.commands.append(self._codec.decode(payload))
            except Exception as exc:
                decoded.error = exc
                break
        return decoded
