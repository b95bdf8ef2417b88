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

The window may change while the subscription stands (`ask_window`). Until the
producer answered, both windows are in force, so what is `held` for it is the larger
one. What waits when the link ends still waits for the application: the session is
`is_over` then and remains until `waiting` is nothing.
"""

from __future__ import annotations

from ...errors import RemoteError
from ..config import BUFFER_ITEMS_MAX, WINDOW_BYTES_MAX
from ..wire import DATA_HEADER_BYTES, Accepted, Window, may_fly, read_data

ACKS_PER_WINDOW = 8
ACK_ITEMS_MIN = 64


class ReceiverSession:
    """One subscription as its consumer keeps it.

    Attributes:
        expected: The sequence of the next item to arrive.
        taken: The sequence before which the application took everything.
        item_count: Items that arrived.
        byte_count: Bytes of frames that arrived.
        window: What the producer was granted.
        asked: The window that was asked for and not answered yet, None when there is none.
        limit: The most the producer takes, as far as that is known.
        is_over: The link ended: nothing more comes, and nothing is acknowledged.
    """

    __slots__ = (
        "_ack_bytes", "_ack_items", "_taken_bytes", "_unacked_bytes", "acked", "asked",
        "byte_count", "expected", "first", "is_over", "item_count", "limit", "taken", "window",
    )  # fmt: skip

    def __init__(self, accepted: Accepted, asked: Window | None = None) -> None:
        self.first = self.expected = self.taken = self.acked = accepted.first_sequence
        self.item_count = 0
        self.byte_count = 0
        self.asked: Window | None = None
        self.limit = Window(BUFFER_ITEMS_MAX, WINDOW_BYTES_MAX)
        self.is_over = False
        self._taken_bytes = 0
        self._unacked_bytes = 0
        self._enter_window(accepted.window, asked or accepted.window)

    @property
    def waiting(self) -> Window:
        """What arrived and the application has not taken."""
        return Window(self.expected - self.taken, self._unacked_bytes - self._taken_bytes)

    @property
    def held(self) -> Window:
        """The most that may wait for the application, now or later, without another grant."""
        if self.is_over:
            return self.waiting
        held = self.window.at_least(self.waiting)
        return held if self.asked is None else held.at_least(self.asked)

    @property
    def has_progressed(self) -> bool:
        """Whether the application took more than the window held twice over: it does consume."""
        taken_bytes = self.byte_count - self.waiting.bytes
        return (
            self.taken - self.first > 2 * self.window.items or taken_bytes > 2 * self.window.bytes
        )

    def ask_window(self, window: Window) -> None:
        """Take in that the producer is asked for another window; one question at a time."""
        assert self.asked is None, "the producer has not answered yet"
        self.asked = window

    def receive_window(self, window: Window) -> None:
        """Take in the producer's answer. Send `make_ack` then: the last one may be overdue.

        Raises:
            RemoteError: Nobody asked, or it takes more than was asked for.
        """
        asked = self.asked
        if asked is None or not window.fits(asked):
            raise RemoteError(f"a window of {window}, asked for {asked}")
        self.asked = None
        self._enter_window(window, asked)

    def _enter_window(self, window: Window, asked: Window) -> None:
        self.window = window
        self.limit = Window(
            window.items if window.items < asked.items else self.limit.items,
            window.bytes if window.bytes < asked.bytes else self.limit.bytes,
        )
        share = max(window.items // ACKS_PER_WINDOW, ACK_ITEMS_MIN)
        self._ack_items = max(1, min(share, window.items // 2))
        self._ack_bytes = max(1, window.bytes // ACKS_PER_WINDOW)

    def receive_frame(self, frame: bytes) -> tuple[int, memoryview]:
        """Return (item count, batch) of the next data frame.

        Raises:
            RemoteError: It is no data frame, not the next one, or exceeds the
                window that was granted. Nothing changed.
        """
        first_sequence, item_count, batch = read_data(frame)
        if first_sequence != self.expected:
            raise RemoteError(f"items from {first_sequence} on, expected {self.expected}")
        frame_bytes = DATA_HEADER_BYTES + batch.nbytes
        waiting = self.expected - self.acked
        items_max, bytes_max = self.window
        if waiting and (
            waiting + item_count > items_max or self._unacked_bytes + frame_bytes > bytes_max
        ):
            self._check_credit(waiting, item_count, frame_bytes)
        self.expected += item_count
        self.item_count += item_count
        self.byte_count += frame_bytes
        self._unacked_bytes += frame_bytes
        return item_count, batch

    def _check_credit(self, waiting: int, item_count: int, frame_bytes: int) -> None:
        """Raise `RemoteError` for a frame that may not follow what waits."""
        window = self.window if self.asked is None else self.window.at_least(self.asked)
        if waiting + item_count > window.items or not may_fly(
            self._unacked_bytes, frame_bytes, window.bytes
        ):
            raise RemoteError(
                f"{item_count} items ({frame_bytes} bytes) on top of {waiting} "
                f"({self._unacked_bytes} bytes), the window is {window.items} items "
                f"and {window.bytes} bytes"
            )

    def take(self, item_count: int, byte_count: int) -> bool:
        """Note that the application took a whole frame; return whether the owner must know.

        Then call `make_ack` and send it. Of a session that is over it is always
        known: there is room for somebody else.
        """
        self.taken += item_count
        self._taken_bytes += byte_count
        return (
            self.is_over
            or self.taken - self.acked >= self._ack_items
            or self._taken_bytes >= self._ack_bytes
        )

    def make_ack(self) -> int | None:
        """Return the sequence to acknowledge, None when there is nothing new."""
        if self.taken == self.acked:
            return None
        self.acked = self.taken
        self._unacked_bytes -= self._taken_bytes
        self._taken_bytes = 0
        return self.acked
