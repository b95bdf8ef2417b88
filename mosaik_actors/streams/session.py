"""The consumer's side of one subscription: what may come, and what was taken.

A pure state machine for one link. `receive_frame` checks each data frame
against the sequence and the window that was granted, so that what the
application gets is every item once and in order; a producer that breaks either
is refused with `RemoteError`. `take` notes what the application took, and says
when an acknowledgement is due: once an eighth of the window is taken. Items that
merely arrived are not acknowledged: a consumer that does not consume stops its
producer.

Half a window would do, and is what producers are ready for (`wire`). But then both
sides fall into step, the one waiting while the other works: the whole window
leaves in one burst, is read in one, and is acknowledged in one. Measured with
windows of 5000 items, that costs up to a quarter of the rate. In small windows at least
`ACK_ITEMS_MIN` items make an acknowledgement, unless half the window is less.
"""

from __future__ import annotations

from ..errors import RemoteError
from .wire import Accepted, may_fly, read_data

ACKS_PER_WINDOW = 8
ACK_ITEMS_MIN = 64


class ReceiverSession:
    """One subscription as its consumer keeps it.

    Attributes:
        expected: The sequence of the next item to arrive.
        taken: The sequence before which the application took everything.
        item_count: Items that arrived.
        byte_count: Bytes of frames that arrived.
    """

    __slots__ = (
        "_ack_bytes", "_ack_items", "_taken_bytes", "_unacked_bytes", "_window_bytes",
        "_window_items", "acked", "byte_count", "expected", "item_count", "taken",
    )  # fmt: skip

    def __init__(self, accepted: Accepted) -> None:
        self.expected = accepted.first_sequence
        self.taken = accepted.first_sequence
        self.acked = accepted.first_sequence
        self.item_count = 0
        self.byte_count = 0
        self._window_items = accepted.window_items
        self._window_bytes = accepted.window_bytes
        share = max(accepted.window_items // ACKS_PER_WINDOW, ACK_ITEMS_MIN)
        self._ack_items = max(1, min(share, accepted.window_items // 2))
        self._ack_bytes = max(1, accepted.window_bytes // ACKS_PER_WINDOW)
        self._taken_bytes = 0
        self._unacked_bytes = 0

    def receive_frame(self, frame: bytes) -> tuple[int, memoryview]:
        """Return (item count, batch) of the next data frame.

        Raises:
            RemoteError: It is no data frame, not the next one, or exceeds the
                window that was granted. Nothing changed.
        """
        first_sequence, item_count, batch = read_data(frame)
        if first_sequence != self.expected:
            raise RemoteError(f"items from {first_sequence} on, expected {self.expected}")
        waiting = self.expected - self.acked
        has_credit = waiting + item_count <= self._window_items and may_fly(
            self._unacked_bytes, len(frame), self._window_bytes
        )
        if waiting and not has_credit:
            raise RemoteError(
                f"{item_count} items ({len(frame)} bytes) on top of {waiting} "
                f"({self._unacked_bytes} bytes), the window is {self._window_items} items "
                f"and {self._window_bytes} bytes"
            )
        self.expected += item_count
        self.item_count += item_count
        self.byte_count += len(frame)
        self._unacked_bytes += len(frame)
        return item_count, batch

    def take(self, item_count: int, byte_count: int) -> bool:
        """Note that the application took a whole frame; return whether an ack is due.

        When it is, call `make_ack` and send it.
        """
        self.taken += item_count
        self._taken_bytes += byte_count
        return self.taken - self.acked >= self._ack_items or self._taken_bytes >= self._ack_bytes

    def make_ack(self) -> int | None:
        """Return the sequence to acknowledge, None when there is nothing new."""
        if self.taken == self.acked:
            return None
        self.acked = self.taken
        self._unacked_bytes -= self._taken_bytes
        self._taken_bytes = 0
        return self.acked
