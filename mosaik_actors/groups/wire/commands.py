"""The content of an entry of commands: command batches of commands of one client each.

A command batch carries consecutive commands of one client, so the price of knowing
whose they are is paid once per command batch. An entry may hold several command batches, of
different clients. Only the machine knows what a command means; here it is
bytes.

A payload is what one call to the codec has made: one command, or several that were given
together. It has one number of its client, is applied whole, and says in its head how many
commands it has: the codec writes one byte and then a MessagePack array. Positions count
commands. One whose head cannot be read counts as a single command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from ...wire_encoding import BoundedDecoder, encode
from .raft import ENTRY_BYTES_MAX
from .types import ClientId, Index, Place

PAYLOADS_MAX: Final = 65_536
COMMAND_BATCHES_MAX: Final = 4096

ONE_COMMAND: Final = b"\x91"
"""The head of an array of one, second in the payload of a single command."""

_HEAD_BYTES: Final = {b"\xdc": 2, b"\xdd": 4}  # of the length of an array
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode

_Payloads = Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=PAYLOADS_MAX)]


class CommandBatch(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive payloads of one client.

    Attributes:
        client: The client's id, drawn at random for each session.
        born_index: A log position that was committed where the client is when
            its session began. It tells a new client from one that was
            forgotten: see `sessions`.
        first_sequence: The number of the first payload; a client counts from 1.
        answered: Every payload up to this number was answered to the client, so
            nobody needs to remember what was answered.
        payloads: The commands, encoded: each of them one command or several.
    """

    client: ClientId
    born_index: Index
    first_sequence: Place
    answered: Index
    payloads: _Payloads

    @property
    def command_count(self) -> int:
        """How many commands there are in the payloads."""
        return sum(map(count_commands, self.payloads))

    def split(self, count: int) -> tuple[CommandBatch, CommandBatch]:
        """Return it in two: the first `count` commands, at least one, and the others, too.

        A payload that is cut has its number in both.
        """
        first: list[bytes] = []
        rest = list(self.payloads)
        while (size := count_commands(rest[0])) <= count:
            first.append(rest.pop(0))
            count -= size
        next_sequence = self.first_sequence + len(first)
        if count:
            begin, rest[0] = split_payload(rest[0], count)
            first.append(begin)
        return (
            CommandBatch(
                self.client, self.born_index, self.first_sequence, self.answered, tuple(first)
            ),
            CommandBatch(self.client, self.born_index, next_sequence, self.answered, tuple(rest)),
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


def split_payload(payload: bytes, count: int) -> tuple[bytes, bytes]:
    """Return a payload in two: its first `count` commands, and the others.

    One that could not be decoded is left whole, and goes to the others.
    """
    form = payload[:1]
    try:
        raws = [bytes(raw) for raw in _split(payload[1:])]
    except msgspec.MsgspecError:
        return b"", payload
    return join_commands(form, raws[:count]), join_commands(form, raws[count:])


def join_commands(form: bytes, commands: Sequence[bytes]) -> bytes:
    """Return the payload of encoded commands, all of one form."""
    count = len(commands)
    head = bytes((0x90 | count,)) if count < 16 else b"\xdd" + count.to_bytes(4)
    return b"".join([form, head, *commands])


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
