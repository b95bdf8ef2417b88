"""The content of an entry of commands: command batches, each of one client.

So the price of knowing whose commands they are is paid once per command batch. Only the
machine knows what a command means; here it is bytes.

A payload is what one call to the codec has made: one command, or several that were given
together. It has one number of its client, is applied whole, and says in its head how many
commands it has: the codec writes one byte and then a MessagePack array. Positions count
commands. One whose head cannot be read counts as a single command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from ...wire_limits import split_array
from .raft import ENTRY_BYTES_MAX
from .types import ClientId, Index, Place

PAYLOADS_MAX: Final = 65_536
COMMAND_BATCHES_MAX: Final = 4096

ONE_COMMAND: Final = b"\x91"
"""The head of an array of one, second in the payload of a single command."""

_HEAD_BYTES: Final = {b"\xdc": 2, b"\xdd": 4}  # of the length of an array

_Payloads = Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=PAYLOADS_MAX)]


class CommandBatch(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive payloads of one client, each of one command or several."""

    client: ClientId  # the client's id, drawn at random for each session
    # Committed where the client is when its session began: so a new client is told from one that
    # was forgotten (`sessions`).
    born_index: Index
    first_sequence: Place  # the number of the first payload; a client counts from 1
    answered: Index  # up to here the client has its answers: nobody needs to remember them
    payloads: _Payloads  # the commands, encoded

    @property
    def command_count(self) -> int:
        """How many commands there are in the payloads."""
        return sum(map(count_commands, self.payloads))

    def part(self, start: int, stop: int) -> CommandBatch:
        """Return its commands from `start` on and before `stop`, counted from 0.

        A payload that is cut keeps its number.
        """
        payloads, first_sequence, at = [], self.first_sequence, 0
        for payload in self.payloads:
            end = at + count_commands(payload)
            if end <= start:
                first_sequence += 1
            elif at < stop:
                is_whole = start <= at and end <= stop
                cut = payload if is_whole else cut_payload(payload, max(0, start - at), stop - at)
                payloads.append(cut)
            at = end
        return CommandBatch(
            self.client, self.born_index, first_sequence, self.answered, tuple(payloads)
        )


def count_commands(payload: bytes) -> int:
    """Return how many commands are in a payload, by its head; always the same for the same bytes.

    A payload that could not be decoded may say anything: no more than it has bytes.
    """
    head = payload[1:2]
    if head == ONE_COMMAND:
        return 1
    if size := _HEAD_BYTES.get(head):
        count = int.from_bytes(payload[2 : 2 + size])
    else:
        count = head[0] & 0x0F if b"\x90" <= head <= b"\x9f" else 1
    return count if 0 < count < len(payload) else 1


def cut_payload(payload: bytes, start: int, stop: int) -> bytes:
    """Return some of a payload's commands, as a payload; all of one that cannot be decoded."""
    commands = split_commands(payload)
    return join_commands(payload[:1], commands[start:stop]) if commands else payload


def split_commands(payload: bytes) -> list[bytes]:
    """Return the encoded commands of a payload; none where they cannot be told apart."""
    try:
        return list(map(bytes, split_array(memoryview(payload)[1:])))
    except msgspec.MsgspecError:
        return []


def join_commands(form: bytes, commands: Sequence[bytes]) -> bytes:
    """Return the payload of encoded commands, all of one form."""
    count = len(commands)
    head = bytes((0x90 | count,)) if count < 16 else b"\xdd" + count.to_bytes(4)
    return b"".join([form, head, *commands])


CommandBatches = Annotated[
    tuple[CommandBatch, ...], msgspec.Meta(min_length=1, max_length=COMMAND_BATCHES_MAX)
]
_decoder = BoundedDecoder[tuple[CommandBatch, ...]](CommandBatches, "commands", ENTRY_BYTES_MAX)

encode_command_batches: Callable[[Sequence[CommandBatch]], bytes] = encode
decode_command_batches: Final = _decoder.decode
