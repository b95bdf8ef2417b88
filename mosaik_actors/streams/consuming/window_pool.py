"""One window, and the shares that a consumer's subscriptions have of it.

A pure bookkeeper. What may wait for the application of a consumer is bounded by
one window, whatever the number of its producers, and however often they
restart or disconnect it. Three things hold room:

    * a subscription that is being opened: what it asks for;
    * one that stands: its window, or what waits for the application, if that is
      more (after its window was made smaller);
    * one that ended: what of it still waits.

Who wants to subscribe gets room when there is some (`reserve`). Until then those that
stand are asked to make do with less (`next_change`): each with its fair
share, the window divided by the number of all, rounded up to a power of two, so that
a newcomer does not change everybody's share. When there is room to spare they
are asked to take more.

A new subscription gets half of what is free, until the others are known to leave it
more: it cannot be asked to use less while it is being opened, and those that come
next need room as well. While less than half a fair share is free there is none:
a window of a few items would only make its producer wait, and disconnect us again.

Invariants:
    * What is held is at most the window, or `SHARE_ITEMS_MIN` items and
      `SHARE_BYTES_MIN` bytes for each subscription, where that is more. One item
      of any size, and the frame it is in, may exceed a share in bytes.
    * A session has at most one unanswered question about its window.
"""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

from ..config import SHARE_BYTES_MIN, SHARE_ITEMS_MIN
from ..wire import Window
from .session import ReceiverSession


class WindowWanted(msgspec.Struct, frozen=True):
    """Ask the producer of `session` for `window`; the session knows already."""

    session: ReceiverSession
    window: Window


class WindowPool:
    """The window of one consumer."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._least = Window(SHARE_ITEMS_MIN, min(SHARE_BYTES_MIN, window.bytes))
        self._opening: dict[Hashable, Window] = {}
        self._standing: dict[ReceiverSession, None] = {}
        self._ended: dict[ReceiverSession, None] = {}

    @property
    def waiting(self) -> Window:
        """What waits for the application from subscriptions that ended."""
        items = byte_count = 0
        for session in list(self._ended):
            waiting = session.waiting
            items += waiting.items
            byte_count += waiting.bytes
            if not waiting.items:
                del self._ended[session]
        return Window(items, byte_count)

    def reserve(self, key: Hashable, *, waiting_count: int) -> Window | None:
        """Return the window that a new subscription may ask for, None when there is no room.

        Args:
            key: What `open` or `release` is called with in the end.
            waiting_count: How many want to subscribe now, this one among them.
        """
        assert key not in self._opening, f"{key!r} is being opened already"
        fair = self._fair(waiting_count)
        free = self._free(waiting_count)
        enough = Window(fair.items // 2, fair.bytes // 2).at_least(self._least)
        if not enough.fits(free):
            return None
        half = Window(free.items // 2, free.bytes // 2).at_least(self._least)
        window = self._opening[key] = fair.at_most(half)
        return window

    def release(self, key: Hashable) -> None:
        """Take in that a subscription could not be opened, or is not wanted any more."""
        self._opening.pop(key, None)

    def open(self, key: Hashable, session: ReceiverSession) -> None:
        """Take in that a subscription stands."""
        self.release(key)
        self._standing[session] = None

    def end(self, session: ReceiverSession) -> None:
        """Take in that a subscription ended. What waits of it is still counted."""
        session.is_over = True
        del self._standing[session]
        if session.waiting.items:
            self._ended[session] = None

    def next_changes(self, *, waiting_count: int) -> list[WindowWanted]:
        """Return the questions to ask now, with so many waiting to subscribe."""
        fair = self._fair(waiting_count)
        free = self._free(waiting_count)
        wanted: list[WindowWanted] = []
        for session in self._standing:
            if session.asked is not None:
                continue
            window = session.window
            if waiting_count:
                change = window.at_most(fair)
            else:
                room = Window(max(free.items, 0), max(free.bytes, 0))
                grown = Window(window.items + room.items, window.bytes + room.bytes)
                change = grown.at_most(fair).at_most(session.limit).at_least(window)
                if not _is_much_more(change, window):
                    continue
                free = Window(
                    free.items - change.items + window.items,
                    free.bytes - change.bytes + window.bytes,
                )
            if change != window:
                session.ask_window(change)
                wanted.append(WindowWanted(session, change))
        return wanted

    def _fair(self, waiting_count: int) -> Window:
        count = self._count(waiting_count)
        divisor = 1 << (count - 1).bit_length() if count > 1 else 1
        share = Window(self._window.items // divisor, self._window.bytes // divisor)
        return share.at_least(self._least)

    def _free(self, waiting_count: int) -> Window:
        """Return what nobody holds; less than nothing while windows are to shrink."""
        count = self._count(waiting_count)
        least = Window(self._least.items * count, self._least.bytes * count)
        total = self._window.at_least(least)
        held = [*self._opening.values(), *(session.held for session in self._standing)]
        ended = self.waiting
        return Window(
            total.items - ended.items - sum(one.items for one in held),
            total.bytes - ended.bytes - sum(one.bytes for one in held),
        )

    def _count(self, waiting_count: int) -> int:
        return len(self._opening) + len(self._standing) + waiting_count


def _is_much_more(window: Window, than: Window) -> bool:
    """Return whether a larger window is worth a question."""
    return window.items * 2 >= than.items * 3 or window.bytes * 2 >= than.bytes * 3
