"""The content of an entry of commands: command batches of commands of one client each.

A command batch carries consecutive commands of one client, so the price of knowing
whose they are is paid once per command batch. An entry may hold several command batches, of
different clients. Only the machine knows what a command means; here it is
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from .raft import ENTRY_BYTES_MAX
from .types import ClientId, Index, Place

COMMANDS_MAX: Final = 65_536
COMMAND_BATCHES_MAX: Final = 4096

_Payloads = Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=COMMANDS_MAX)]


class CommandBatch(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive commands of one client.

    Attributes:
        client: The client's id, drawn at random for each session.
        born_index: A log position that was committed where the client is when
            its session began. It tells a new client from one that was
            forgotten: see `sessions`.
        first_sequence: The number of the first command; a client counts from 1.
        answered: Every command up to this number was answered to the client, so
            nobody needs to remember what was answered.
        payloads: The commands, encoded.
    """

    client: ClientId
    born_index: Index
    first_sequence: Place
    answered: Index
    payloads: _Payloads

    def part(self, start: int, stop: int) -> CommandBatch:
        """Return its commands from `start` on and before `stop`, counted from 0."""
        return CommandBatch(
            self.client,
            self.born_index,
            self.first_sequence + start,
            self.answered,
            self.payloads[start:stop],
        )


_CommandBatches = Annotated[
    tuple[CommandBatch, ...], msgspec.Meta(min_length=1, max_length=COMMAND_BATCHES_MAX)
]
_decoder: BoundedDecoder[tuple[CommandBatch, ...]] = BoundedDecoder(
    _CommandBatches, "commands", ENTRY_BYTES_MAX
)


def encode_command_batches(command_batches: Sequence[CommandBatch]) -> bytes:
    """Return command batches as the content of an entry."""
    return encode(command_batches)


def decode_command_batches(data: bytes) -> tuple[CommandBatch, ...]:
    """Return the command batches in an entry. Raises `DecodeError` when there are none."""
    return _decoder.decode(data)
