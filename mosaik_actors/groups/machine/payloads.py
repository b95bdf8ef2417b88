"""Commands and results as bytes: how they are encoded, alone and in runs.

A payload is a batch as the codec of the machine's `Command` encodes it: of the one command of a
call, or of many that were given in one call, at most `PAYLOAD_COMMANDS` and, but for a single
larger one, `PAYLOAD_BYTES`. It is encoded, ordered, applied and decoded whole: the codec's price
per call is several times that of one more command in a call. For the same reason payloads of single
commands are decoded in runs.

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
from ...errors import DecodeError
from ..wire.commands import ONE_COMMAND, count_commands, join_commands, split_commands

COMMAND_BYTES_MAX: Final = 3 * 1024 * 1024
"""A command's largest encoding: below what an entry of Raft may hold."""

PAYLOAD_COMMANDS: Final = 1024
PAYLOAD_BYTES: Final = 128 * 1024
"""Beyond either, what is given in one call goes into several payloads."""

PEER_COMMANDS_MAX: Final = 16 * PAYLOAD_COMMANDS
"""Commands in a payload that a leader takes in from another member."""

PEER_BATCH_COMMANDS_MAX: Final = 256 * 1024
"""Commands in all payloads that it takes in at once: an entry stops every member until it is
applied. A client's command batches have as many bytes, and a command has one at least."""

POSITION_BYTES: Final = 8
COUNT_BYTES: Final = 4

_NO_VALUE: Final = b"\xf0"
_MISMATCH: Final = b"\xf1"
_CLASS_NAME_CHARACTERS: Final = 100

_HEAD_BYTES: Final = 2


def encode_position(position: int, count: int = 1) -> bytes:
    """Return the position of a payload's first command, and how many it has, for `Sessions`."""
    data = position.to_bytes(POSITION_BYTES)
    return data if count == 1 else data + count.to_bytes(COUNT_BYTES)


def decode_positions(data: bytes | None) -> range | None:
    """Return the positions of a payload that was applied; None when they are not known."""
    if data is None:
        return None
    if len(data) == POSITION_BYTES:
        position = int.from_bytes(data)
        return range(position, position + 1)
    if len(data) == POSITION_BYTES + COUNT_BYTES:
        position = int.from_bytes(data[:POSITION_BYTES])
        return range(position, position + int.from_bytes(data[POSITION_BYTES:]))
    return None


class AppliedOutcome(msgspec.Struct, frozen=True):
    """What `apply` returned; or the class of a value that is not of the machine's `Result`."""

    value: Any = None
    mismatch: str = ""


class CommandCodec:
    """Encodes and decodes the commands of one machine: of its type `Command`.

    Raises `TypeError`: no codec can describe the type.
    """

    def __init__(self, type_: Any) -> None:
        self._codec: Codec[Any] = codec_for(type_)

    def encode(self, commands: Sequence[Any]) -> list[bytes]:
        """Return the payloads of commands, which decode to them again.

        Raises `EncodeError`: one is not of the type, or too large; `value` is the first such one.
        """
        if len(commands) == 1:
            payload = self._encode_checked(commands[0])
            _check_size(commands[0], len(payload))
            return [payload]
        payloads = []
        for at in range(0, len(commands), PAYLOAD_COMMANDS):
            payloads += self._encode_run(commands[at : at + PAYLOAD_COMMANDS])
        return payloads

    def decode(
        self, payloads: Sequence[bytes], *, is_cut_up: bool = True
    ) -> tuple[list[Any], Exception | None]:
        """Return the commands in payloads, up to the first that could not be decoded, and why.

        Raises nothing. Those before it in the same payload take a call each; without `is_cut_up`
        they are left out.
        """
        commands = self._decode_together(payloads) if len(payloads) > 1 else None
        if commands is not None:
            return commands, None
        commands = []
        for payload in payloads:
            error: Exception | None = None
            try:
                more = self._codec.decode_batch(payload)
                if not more:
                    raise DecodeError("a payload without commands")
            except Exception as exc:
                more, error = [], exc
                if is_cut_up and count_commands(payload) > 1 and (cut := _cut_up(payload)):
                    more, error = self.decode(cut)  # which one it is
            commands += more
            if error is not None:
                return commands, error
        return commands, None

    def check_counts(self, payloads: Sequence[bytes]) -> None:
        """Raise `DecodeError` if payloads, one or all, would hold everything up for too long."""
        counts = list(map(count_commands, payloads))
        if (count := max(counts, default=0)) > PEER_COMMANDS_MAX:
            raise DecodeError(f"a payload of {count} commands, at most {PEER_COMMANDS_MAX}")
        if (count := sum(counts)) > PEER_BATCH_COMMANDS_MAX:
            raise DecodeError(f"{count} commands at once, at most {PEER_BATCH_COMMANDS_MAX}")

    def _encode_checked(self, command: Any) -> bytes:
        payload = self._codec.encode_batch((command,))
        try:
            self._codec.decode_batch(payload)
        except Exception as exc:  # whatever a record's own checks raise
            raise EncodeError(command, f"not a command of the machine: {exc}") from exc
        return payload

    def _encode_run(self, commands: Sequence[Any]) -> list[bytes]:
        """Return the payloads of several commands, encoded and checked in one call."""
        try:
            data = self._codec.encode_batch(commands)
            self._codec.decode_batch(data)
        except Exception:  # which one it is, and why
            payloads = [self._encode_checked(command) for command in commands]
            for command, payload in zip(commands, payloads, strict=True):
                _check_size(command, len(payload))
            return payloads
        if len(data) <= PAYLOAD_BYTES:
            return [data]
        return _cut(data, commands)

    def _decode_together(self, payloads: Sequence[bytes]) -> list[Any] | None:
        """Return the commands of a run decoded in one call; None when that is not certain."""
        head = payloads[0][:_HEAD_BYTES]
        if head[1:] != ONE_COMMAND or head[:1] == WIDE:
            return None
        for payload in payloads:
            if not payload.startswith(head):
                return None
        commands = [payload[_HEAD_BYTES:] for payload in payloads]
        run = join_commands(head[:1], commands)
        if split_commands(run) != commands:
            return None
        try:
            return self._codec.decode_batch(run)
        except Exception:  # hostile bytes, or a record's own checks: see which one
            return None


class ResultCodec:
    """Encodes and decodes what a machine's `apply` returns: values of its type `Result`.

    None is always a result, whatever the type says: a command may have none. When the type itself
    is None there are no results at all: they are not wanted (`is_wanted`). Raises `TypeError`: no
    codec can describe the type.
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
        return _cut_up(data)
    except Exception:
        return None


def _cut_up(payload: bytes) -> list[bytes]:
    """Return a payload for each command in one; none when they cannot be told apart."""
    head = payload[:1] + ONE_COMMAND
    return [head + command for command in split_commands(payload)]


def _cut(data: bytes, commands: Sequence[Any]) -> list[bytes]:
    """Return the payloads of a batch that is too long for one. Raises `EncodeError`."""
    form, payloads = data[:1], []
    waiting: list[bytes] = []
    size_bytes = 0
    for command, raw in zip(commands, split_commands(data), strict=True):
        _check_size(command, _HEAD_BYTES + len(raw))
        if waiting and size_bytes + len(raw) > PAYLOAD_BYTES:
            payloads.append(join_commands(form, waiting))
            waiting, size_bytes = [], 0
        waiting.append(raw)
        size_bytes += len(raw)
    return [*payloads, join_commands(form, waiting)]


def _check_size(command: Any, size_bytes: int) -> None:
    if size_bytes > COMMAND_BYTES_MAX:
        text = f"a command of {size_bytes} bytes, at most {COMMAND_BYTES_MAX}"
        raise EncodeError(command, text)
