"""One subscriber's place in a producer's stream: what it may get, and how far behind it is.

A part of `fanout`, which says what the words mean. What there is for it waits in its backlog,
as references to frames that all subscribers share, until its window and the rates let it go.

Invariant: ``acked <= sent``, and `behind_items` never goes down but by `acknowledge`.

Clock: monotonic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any

from ...errors import RemoteError
from ..wire import Window, may_fly
from .limits import Throttle


class Subscription:
    """One subscriber's place in the stream."""

    __slots__ = (
        "_ends",
        "_throttles",
        "acked",
        "backlog",
        "backlog_items",
        "behind_bytes",
        "blocking_since",
        "filter_group",
        "flight_bytes",
        "freed_bytes",
        "freed_items",
        "key",
        "narrows_at",
        "sent",
        "suspected_at",
        "turn",
        "wanted",
        "window_bytes",
        "window_items",
    )  # fmt: skip

    def __init__(
        self,
        key: Any,
        first_sequence: int,
        window_items: int,
        window_bytes: int,
        filter_group: Hashable = None,
        throttles: tuple[Throttle, ...] = (),
    ) -> None:
        self.key = key
        self.filter_group = filter_group
        self.window_items = window_items
        self.window_bytes = window_bytes
        self.wanted = Window(window_items, window_bytes)  # new frames are cut for this one
        self.narrows_at: int | None = None  # the sequence from which `wanted` is in force
        self.sent = first_sequence
        self.acked = first_sequence
        self.flight_bytes = 0
        self.backlog: deque[tuple[int, bytes]] = deque()
        self.backlog_items = 0
        self.behind_bytes = 0
        self.blocking_since: float | None = None
        self.suspected_at: float | None = None
        self.freed_items = 0  # since `blocking_since`
        self.freed_bytes = 0
        self._ends: deque[tuple[int, int]] = deque()
        self.turn = 0
        self._throttles = throttles

    @property
    def behind_items(self) -> int:
        """Items published that this subscriber's application has not taken."""
        return self.sent - self.acked + self.backlog_items

    @property
    def is_throttled(self) -> bool:
        """Whether what waits for this subscriber waits for a rate, not for itself."""
        if not self._throttles or not self.backlog:
            return False
        item_count, frame = self.backlog[0]
        return self._has_credit(item_count, len(frame))

    def offer(self, frames: Sequence[tuple[int, bytes]], into: list[bytes], now: float) -> None:
        """Take in new frames; append to `into` those to be written now."""
        for item_count, frame in frames:
            self.behind_bytes += len(frame)
            if not self.backlog and self._may_send(item_count, len(frame), now):
                self._send(item_count, frame, into)
            else:
                self.backlog.append((item_count, frame))
                self.backlog_items += item_count

    def send_lone(self, byte_count: int) -> bool:
        """Send a frame of one item if it plainly may leave; return whether it does.

        For where there are no rates. What is within the window is within the buffer.
        """
        sent = self.sent + 1
        if (
            self.backlog
            or sent - self.acked > self.window_items
            or self.flight_bytes + byte_count > self.window_bytes
        ):
            return False
        self.sent = sent
        self.behind_bytes += byte_count
        self.flight_bytes += byte_count
        self._ends.append((sent, byte_count))
        return True

    def acknowledge(self, sequence: int) -> None:
        """Free what comes before `sequence`; then `release` what may be written now."""
        if not self.acked <= sequence <= self.sent:
            raise RemoteError(f"acknowledged {sequence}, expected {self.acked} to {self.sent}")
        self.freed_items += sequence - self.acked
        self.acked = sequence
        ends = self._ends
        while ends and ends[0][0] <= sequence:
            freed = ends.popleft()[1]
            self.flight_bytes -= freed
            self.freed_bytes += freed
            self.behind_bytes -= freed

    def release(self, into: list[bytes], now: float, frames_max: int | None = None) -> None:
        """Append to `into` what waited and may be written now, at most `frames_max` frames."""
        while self.backlog and (frames_max is None or len(into) < frames_max):
            item_count, frame = self.backlog[0]
            if not self._may_send(item_count, len(frame), now):
                return
            self.backlog.popleft()
            self.backlog_items -= item_count
            self._send(item_count, frame, into)

    def opens_at(self) -> float | None:
        """Return when a rate lets the next frame pass; None when none holds it back."""
        if not self.is_throttled:
            return None
        return max(throttle.opens_at() for throttle in self._throttles)

    def narrow(self) -> bool:
        """Put the wanted window into force if its time has come; return whether it was put."""
        if self.narrows_at is None or self.sent < self.narrows_at:
            return False
        self.narrows_at = None
        self.window_items, self.window_bytes = self.wanted
        return True

    def note_progress(self) -> None:
        """Take in that it holds nobody up at this moment."""
        self.blocking_since = None
        self.suspected_at = None

    def note_blocking(self, *, now: float) -> None:
        """Take in that it holds the others up from now on."""
        self.blocking_since = now
        self.freed_items = 0
        self.freed_bytes = 0

    def _has_credit(self, item_count: int, byte_count: int) -> bool:
        if not self._ends:
            return True  # nothing in flight: one frame may always go, however large
        has_items = self.sent + item_count - self.acked <= self.window_items
        return has_items and may_fly(self.flight_bytes, byte_count, self.window_bytes)

    def _may_send(self, item_count: int, byte_count: int, now: float) -> bool:
        if not self._has_credit(item_count, byte_count):
            return False
        # No `all`: without rates, which is usual, this costs one look.
        for throttle in self._throttles:  # noqa: SIM110
            if not throttle.is_open(now=now):
                return False
        return True

    def _send(self, item_count: int, frame: bytes, into: list[bytes]) -> None:
        for throttle in self._throttles:
            throttle.take(item_count, len(frame))
        self.sent += item_count
        self.flight_bytes += len(frame)
        self._ends.append((self.sent, len(frame)))
        into.append(frame)
