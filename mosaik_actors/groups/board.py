"""What a group shows of itself to its handles, and who waits for what.

The replica actor writes, the handles read. Every change is shown to whoever
waits before the next one comes, so that nothing short is missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..waiters import FutureLike, MakeFuture, Waiters

if TYPE_CHECKING:
    from .member import Member
    from .member_events import GroupEvent


class GroupBoard:
    """What is shown of one member of one group.

    Args:
        events_backlog: Events kept for each reader that is slow to take them.

    Attributes:
        member: The member; None before it has started.
        submissions: Commands that handles have put in and the actor has not taken.
        queued_count: How many commands those are.
        queued_bytes: And how many bytes.
        take_now: Set by the actor: takes the submissions without a turn in its mailbox,
            and returns whether it did. It does not while they come many at a time, for
            then those of one turn are taken together.
        room: Who waits for room for more commands.
        error: Why the member has ended; None while it has not.
    """

    def __init__(self, make_future: MakeFuture, events_backlog: int) -> None:
        self.member: Member | None = None
        self.submissions: deque[Any] = deque()
        self.queued_count = 0
        self.queued_bytes = 0
        self.take_now: Callable[[], bool] = _not_now
        self.room = Waiters(make_future)
        self.error: Exception | None = None
        self._make_future = make_future
        self._backlog = events_backlog
        self._waits: dict[int, tuple[Callable[[], bool], FutureLike]] = {}
        self._wait_number = 0
        self._readers: dict[int, deque[GroupEvent]] = {}
        self._reader_room: dict[int, Waiters] = {}

    @property
    def is_closed(self) -> bool:
        """Whether nothing changes any more."""
        return self.error is not None

    @property
    def is_watched(self) -> bool:
        """Whether anybody waits for anything to be the case."""
        return bool(self._waits)

    def changed(self) -> None:
        """Look who has waited for what is the case now."""
        for number, (holds, future) in list(self._waits.items()):
            if self.is_closed or holds():
                del self._waits[number]
                if not future.done():
                    future.set_result(None)

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds` has been true, or the member has ended. May be cancelled."""
        if self.is_closed or holds():
            return
        self._wait_number += 1
        number = self._wait_number
        future = self._make_future()
        self._waits[number] = (holds, future)
        try:
            await future
        finally:
            self._waits.pop(number, None)

    # Events.

    def tell(self, event: GroupEvent) -> None:
        """Put an event before every reader; the oldest goes when one is too slow."""
        for number, waiting in self._readers.items():
            waiting.append(event)
            self._reader_room[number].wake_all()

    def add_reader(self) -> int:
        """Return the number of a new reader, who sees the events from now on."""
        self._wait_number += 1
        self._readers[self._wait_number] = deque(maxlen=self._backlog)
        self._reader_room[self._wait_number] = Waiters(self._make_future)
        return self._wait_number

    def remove_reader(self, number: int) -> None:
        """Forget a reader; may be repeated."""
        self._readers.pop(number, None)
        self._reader_room.pop(number, None)

    async def next_event(self, number: int) -> GroupEvent | None:
        """Return a reader's next event, None when there will be no more."""
        waiting = self._readers[number]
        while not waiting:
            if self.is_closed:
                return None
            await self._reader_room[number].wait()
        return waiting.popleft()

    def close(self, error: Exception) -> None:
        """Take in that nothing will change any more. Only the first reason counts."""
        if self.error is None:
            self.error = error
            self.changed()
            self.room.wake_all()
            for waiters in self._reader_room.values():
                waiters.wake_all()


def _not_now() -> bool:
    return False
