"""The numbered payloads of one client: which are sent, and which are answered.

    _floor ... base ... next_sent ... next_number
    answered  | sent    | not sent   | not numbered yet

A payload gets its number just before it is first sent. `go_back` moves
`next_sent` back, to send once more what may be lost.

Invariants:
    * `base` <= `next_sent` <= `next_number`, after every `settle`.
    * `sent_bytes` and `unsent_bytes` are those of the payloads kept.
    * No more than `SENT_PAYLOADS_MAX` payloads and, but for the last command batch,
      `SENT_BYTES_MAX` bytes are sent and not answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..wire.commands import PAYLOADS_MAX

COMMAND_BATCH_BYTES: Final = 256 * 1024
"""Bytes of commands in one command batch; one payload always fits. Small commands in so many
bytes, some 30,000, are applied in milliseconds: an entry stops the loop until it is applied."""

SENT_PAYLOADS_MAX: Final = 32_768
SENT_BYTES_MAX: Final = 8 * 1024 * 1024
"""What may be on its way: beyond, commands wait without a number."""


class ClientWindow:
    """The numbered commands of one client, from number 1 on."""

    __slots__ = (
        "_floor", "_head", "_payloads", "base", "next_number", "next_sent", "sent_bytes",
        "unsent_bytes",
    )  # fmt: skip

    def __init__(self) -> None:
        # The payloads from number `_floor` on, after `_head` that are done with.
        self._payloads: list[bytes] = []
        self._head = 0
        self._floor = 1
        # The first command that is not answered. The owner counts it up, and then calls `settle`.
        self.base = 1
        self.next_sent = 1  # the next command to send
        self.next_number = 1  # the number of the next command that gets one
        self.sent_bytes = 0  # bytes of what is sent and not settled
        self.unsent_bytes = 0  # bytes of what is to be sent, once more or at all

    @property
    def count(self) -> int:
        """Commands that are numbered and not answered."""
        return self.next_number - self.base

    @property
    def byte_count(self) -> int:
        """The same in bytes."""
        return self.sent_bytes + self.unsent_bytes

    @property
    def has_unsent(self) -> bool:
        """Whether there are numbered commands to send."""
        return self.next_sent < self.next_number

    @property
    def may_send(self) -> bool:
        """Whether more may be on its way."""
        return self.next_sent - self.base < SENT_PAYLOADS_MAX and self.sent_bytes < SENT_BYTES_MAX

    @property
    def may_number(self) -> bool:
        """Whether the next command batches would send more at once, without crowding the way."""
        return (
            self.unsent_bytes < COMMAND_BATCH_BYTES
            and self.count < SENT_PAYLOADS_MAX
            and self.sent_bytes + self.unsent_bytes < SENT_BYTES_MAX
        )

    def add(self, payloads: Sequence[bytes], byte_count: int) -> int:
        """Number commands; return the number of the last."""
        self._payloads += payloads
        self.unsent_bytes += byte_count
        self.next_number += len(payloads)
        return self.next_number - 1

    def take(self) -> tuple[int, tuple[bytes, ...]]:
        """Return the number and the payloads of the next command batch; they count as sent."""
        first, payloads = self.next_sent, self._payloads
        begin = first - self._floor + self._head
        room = min(PAYLOADS_MAX, SENT_PAYLOADS_MAX - (first - self.base))
        end = min(begin + room, len(payloads))
        byte_count = self.unsent_bytes
        if byte_count > COMMAND_BATCH_BYTES:
            end, byte_count = _fitting(payloads, begin, end)
        elif end < len(payloads):
            byte_count = sum(map(len, payloads[begin:end]))
        self.next_sent = first + end - begin
        self.sent_bytes += byte_count
        self.unsent_bytes -= byte_count
        return first, tuple(payloads[begin:end])

    def go_back(self, sequence: int) -> None:
        """Send everything from a number on again, as far as it was sent."""
        if sequence < self.next_sent:
            offset = self._head - self._floor
            again = self._payloads[sequence + offset : self.next_sent + offset]
            byte_count = sum(map(len, again))
            self.sent_bytes -= byte_count
            self.unsent_bytes += byte_count
            self.next_sent = sequence

    def settle(self) -> bool:
        """Drop what is answered; return whether there was anything."""
        count = self.base - self._floor
        if not count:
            return False
        begin, end = self._head, self._head + count
        # After going back, answers may come to what was not sent again yet.
        sent_end = min(begin + self.next_sent - self._floor, end)
        self.sent_bytes -= sum(map(len, self._payloads[begin:sent_end]))
        self.unsent_bytes -= sum(map(len, self._payloads[sent_end:end]))
        self.next_sent = max(self.next_sent, self.base)
        self._floor, self._head = self.base, end
        if end * 2 >= len(self._payloads):
            del self._payloads[:end]
            self._head = 0
        return True


def _fitting(payloads: list[bytes], begin: int, end: int) -> tuple[int, int]:
    """Return where a command batch from `begin` ends, and its bytes; one payload always fits."""
    byte_count = len(payloads[begin])
    for offset in range(begin + 1, end):
        size = len(payloads[offset])
        if byte_count + size > COMMAND_BATCH_BYTES:
            return offset, byte_count
        byte_count += size
    return end, byte_count
