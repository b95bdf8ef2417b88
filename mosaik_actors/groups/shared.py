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
    """What is shown of one member of one group.

    Args:
        make_future: Makes the futures of who waits for room.
        events_backlog: Events kept for readers that are slow to take them.

    Attributes:
        member: The member; None before it has started.
        submissions: Commands that handles have put in and the actor has not taken.
        queued_count: How many commands those are.
        queued_bytes: And how many bytes.
        reads: The futures of strong reads, each with what answers it when it may be.
        take_now: Set by the actor: takes the submissions without a turn in its mailbox,
            and returns whether it did. It does not while they come many at a time, for
            then those of one turn are taken together.
        room: Who waits for room for more commands.
    """

    def __init__(self, make_future: MakeFuture, events_backlog: int) -> None:
        super().__init__(events_backlog)
        self.member: GroupMember | None = None
        self.submissions: deque[Submission] = deque()
        self.queued_count = 0
        self.queued_bytes = 0
        self.reads: dict[Any, Callable[[], Any]] = {}
        self.take_now: Callable[[], bool] = _not_now
        self.room = Waiters(make_future)

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


def _not_now() -> bool:
    return False
