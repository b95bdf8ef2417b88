"""What arrived for a consumer and its application has not yet taken.

The actor puts in one chunk per frame; the handle takes items one by one or
many at a time. A chunk's items lie in reverse, so that taking one is a pop.
When the last item of a chunk is taken, the session it came from hears of it,
and if that makes an acknowledgement due, `on_ack_due` tells the actor: one
message per half window, none per item.

Bounded by the sessions' windows: a producer that was not acknowledged sends no
more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ..errors import Empty
from .session import ReceiverSession
from .waiters import MakeFuture, Waiters


class _Chunk:
    """The items of one frame, and how much they weigh in their session."""

    __slots__ = ("byte_count", "item_count", "items", "session")

    def __init__(self, session: ReceiverSession, items: list[Any], byte_count: int) -> None:
        self.session = session
        self.items = items
        self.item_count = len(items)
        self.byte_count = byte_count


class Inbox:
    """The buffer between the consumer actor and `recv`.

    Attributes:
        items: The current chunk's items, last first. Never empty while anything
            is there. Whoever pops the last one calls `pop` for it instead.
        taken_since_pause: Items taken by a receiver that did not have to wait;
            it lets the event loop have a turn when they get many.
        receivers: Who waits for items.
        is_closed: Nothing more will come.
    """

    __slots__ = (
        "_chunk", "_chunks", "is_closed", "items", "on_ack_due", "receivers", "taken_since_pause",
    )  # fmt: skip

    def __init__(
        self, *, on_ack_due: Callable[[ReceiverSession], None], make_future: MakeFuture
    ) -> None:
        self.items: list[Any] = []
        self.taken_since_pause = 0
        self.receivers = Waiters(make_future)
        self.is_closed = False
        self.on_ack_due = on_ack_due
        self._chunk: _Chunk | None = None
        self._chunks: deque[_Chunk] = deque()

    def put(self, session: ReceiverSession, items: list[Any], byte_count: int) -> None:
        """Add the items of one frame. Takes the list over."""
        item_count = len(items)
        items.reverse()
        chunk = _Chunk(session, items, byte_count)
        if self._chunk is None:
            self._chunk = chunk
            self.items = items
        else:
            self._chunks.append(chunk)
        if self.receivers:
            self.receivers.wake(item_count)

    def pop(self) -> Any:
        """Take one item. Raises `Empty`."""
        if not self.items:
            raise Empty
        item = self.items.pop()
        if not self.items:
            self._finish_chunk()
        return item

    def pop_many(self, limit: int) -> list[Any]:
        """Take up to `limit` items; none when nothing is there."""
        taken: list[Any] = []
        while self.items and len(taken) < limit:
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
        self.taken_since_pause += chunk.item_count
        self._chunk = self._chunks.popleft() if self._chunks else None
        self.items = self._chunk.items if self._chunk is not None else []
        if chunk.session.take(chunk.item_count, chunk.byte_count):
            self.on_ack_due(chunk.session)
