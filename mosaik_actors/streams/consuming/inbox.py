"""What arrived for a consumer and its application has not yet taken.

The actor puts in one chunk per frame; the handle takes items one by one or
many at a time. A chunk's items lie in reverse, so that taking one is a pop.
When the last item of a chunk is taken, the session it came from hears of it,
and if that makes an acknowledgement due, `on_ack_due` notifies the actor: one
message per eighth of a window, none per item.

Bounded by the sessions' windows: a producer that was not acknowledged sends no
more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from ...errors import Empty
from ...waiters import MakeFuture, Waiters
from .session import ReceiverSession

PAUSE_ITEMS = 512


class _Chunk(msgspec.Struct, eq=False):
    """The items of one frame, and how much they weigh in their session."""

    session: ReceiverSession
    items: list[Any]
    item_count: int
    byte_count: int


class Inbox:
    """The buffer between the consumer actor and `recv`.

    Args:
        on_ack_due: Called with a session that has something to acknowledge.
        make_future: Returns what a receiver awaits.
        resume: Lets the receiver that awaits such a one go on before it returns.

    Attributes:
        items: The current chunk's items, last first; empty when there are none,
            and while a pause is due. Whoever takes the last one calls `pop`.
        is_pause_due: Many items were taken in a row: the receiver lets the event
            loop have a turn, then calls `resume`.
        receivers: Who waits for items.
        is_closed: Nothing more will come.
    """

    __slots__ = (
        "_chunk", "_chunks", "_resume_one", "_taken_in_a_row", "is_closed", "is_pause_due", "items",
        "on_ack_due", "receivers",
    )  # fmt: skip

    def __init__(
        self,
        *,
        on_ack_due: Callable[[ReceiverSession], None],
        make_future: MakeFuture,
        resume: Callable[[Any], bool],
    ) -> None:
        self.items: list[Any] = []
        self.is_pause_due = False
        self.receivers = Waiters(make_future)
        self.is_closed = False
        self._resume_one = resume
        self.on_ack_due = on_ack_due
        self._taken_in_a_row = 0
        self._chunk: _Chunk | None = None
        self._chunks: deque[_Chunk] = deque()

    def put(
        self, session: ReceiverSession, items: list[Any], item_count: int, byte_count: int
    ) -> None:
        """Add the items of one frame of `item_count`, and take the list over.

        Then let the `receivers` go on: by `resume_receivers` right from the loop, else `wake`.

        There may be fewer items than the frame had: those left out count as taken
        with the others.
        """
        if not items:
            if session.take(item_count, byte_count):
                self.on_ack_due(session)
            return
        if item_count > 1:
            items.reverse()
        chunk = _Chunk(session, items, item_count, byte_count)
        if self._chunk is None:
            self._chunk = chunk
            self._taken_in_a_row = 0
            self.is_pause_due = False
            self.items = items
        else:
            self._chunks.append(chunk)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take."""
        return self._chunk is None

    @property
    def item_count(self) -> int:
        """How many items wait to be taken."""
        if self._chunk is None:
            return 0
        return len(self._chunk.items) + sum(len(chunk.items) for chunk in self._chunks)

    def resume(self) -> None:
        """Go on after a pause, or after waiting."""
        self._taken_in_a_row = 0
        self.is_pause_due = False
        self.items = self._chunk.items if self._chunk is not None else []

    def pop(self) -> Any:
        """Take one item. Raises `Empty`."""
        if self.is_pause_due:
            self.resume()
        if not self.items:
            raise Empty
        item = self.items.pop()
        if not self.items:
            self._finish_chunk()
        return item

    def resume_receivers(self) -> None:
        """Let those who wait now go on before this returns, while there is something to take.

        They may do anything meanwhile, such as wait again.
        """
        waiting = self.receivers.waiting
        left = len(waiting)
        while left > 0 and waiting and self._chunk is not None:
            left -= 1
            self._resume_one(waiting.popleft())

    def pop_many(self, limit: int) -> list[Any]:
        """Take up to `limit` items; none when nothing is there."""
        taken: list[Any] = []
        while not self.is_empty and len(taken) < limit:
            if self.is_pause_due:
                self.resume()
            items = self.items
            if len(items) <= limit - len(taken):
                items.reverse()
                if taken:
                    taken += items
                else:
                    taken = items.copy()
                items.clear()
                self._finish_chunk()
            else:
                keep = len(items) - (limit - len(taken))
                some = items[keep:]
                some.reverse()
                taken += some
                del items[keep:]
        return taken

    def close(self) -> None:
        """Take in that nothing more will come. What is there can still be taken."""
        self.is_closed = True
        self.receivers.wake_all()

    def _finish_chunk(self) -> None:
        chunk = self._chunk
        assert chunk is not None, "a chunk is finished once"
        self._taken_in_a_row += chunk.item_count
        self._chunk = self._chunks.popleft() if self._chunks else None
        self.is_pause_due = self._chunk is not None and self._taken_in_a_row >= PAUSE_ITEMS
        is_ready = self._chunk is not None and not self.is_pause_due
        self.items = self._chunk.items if self._chunk is not None and is_ready else []
        if chunk.session.take(chunk.item_count, chunk.byte_count):
            self.on_ack_due(chunk.session)
