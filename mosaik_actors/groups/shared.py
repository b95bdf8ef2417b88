"""What a group's member shows of itself to its handles, and what these put in for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import GroupTerminated
from ..shared_state import SharedState
from ..waiters import MakeFuture, Waiters
from .client.calls import Submission

if TYPE_CHECKING:
    from .member.member import GroupMember


class GroupState(SharedState):
    """What is shown of one member of one group."""

    def __init__(self, make_future: MakeFuture, events_backlog: int) -> None:
        super().__init__(events_backlog)
        self.member: GroupMember | None = None  # the member; None before it has started
        self.submissions: deque[Submission] = deque()  # put in by handles, not taken by the actor
        self.queued_count = 0  # how many commands those are
        self.queued_bytes = 0  # and how many bytes
        self.reads: dict[Any, Callable[[], Any]] = {}  # futures of strong reads, and their answers
        # Set by the actor: takes the submissions without a turn in its mailbox, and returns whether
        # it did. While they come many at a time, those of one turn are taken together.
        self.take_now: Callable[[], bool] = lambda: False
        self.room = Waiters(make_future)  # who waits for room for more commands

    def ended(self, value: Any = None) -> GroupTerminated:
        """Return a new error that says why the member has ended; `value` was not accepted."""
        reason = getattr(self.error, "reason", "") or str(self.error or "not started")
        terminated = GroupTerminated(value, reason)
        terminated.__cause__ = self.error
        return terminated

    def close(self, error: Exception | None = None) -> None:
        """Take in that nothing will change any more. Only the first reason counts."""
        if self.error is None:
            super().close(error)
            self.room.wake_all()

    def end_calls(self) -> None:
        """Notify all calls that wait what became of them: the member has ended."""
        while self.submissions:
            self._fail(self.submissions.popleft().token)
        for event in () if self.member is None else self.member.end():
            if not isinstance(event, Submission):
                self._fail(event.token)
            elif not event.token.done():
                event.token.set_result(event)
        for future in self.reads:
            self._fail(future)
        self.reads.clear()

    def _fail(self, future: Any) -> None:
        if not future.done():
            future.set_exception(self.ended())
