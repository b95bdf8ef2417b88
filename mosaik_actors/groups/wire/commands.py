"""The content of an entry of commands: command batches, each of one client.

So the price of knowing whose commands they are is paid once per command batch. Only the
machine knows what a command means; here it is bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from .raft import ENTRY_BYTES_MAX
from .types import ClientId, Index, Place

COMMANDS_MAX: Final = 65_536
COMMAND_BATCHES_MAX: Final = 4096

_Payloads = Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=COMMANDS_MAX)]


class CommandBatch(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive commands of one client."""

    client: ClientId  # the client's id, drawn at random for each session
    # Committed where the client is when its session began: so a new client is told from one that
    # was forgotten (`sessions`).
    born_index: Index
    first_sequence: Place  # the number of the first command; a client counts from 1
    answered: Index  # up to here the client has its answers: nobody needs to remember them
    payloads: _Payloads  # the commands, encoded

    def part(self, start: int, stop: int) -> CommandBatch:
        """Return its commands from `start` on and before `stop`, counted from 0."""
        return CommandBatch(
            self.client,
            self.born_index,
            self.first_sequence + start,
            self.answered,
            self.payloads[start:stop],
        )


CommandBatches = Annotated[
    tuple[CommandBatch, ...], msgspec.Meta(min_length=1, max_length=COMMAND_BATCHES_MAX)
]
_decoder = BoundedDecoder[tuple[CommandBatch, ...]](CommandBatches, "commands", ENTRY_BYTES_MAX)

encode_command_batches: Callable[[Sequence[CommandBatch]], bytes] = encode
decode_command_batches: Final = _decoder.decode
