"""What an auctioneer has heard and the auction does not know yet: no message is lost with a leader.

Every auctioneer hears every message. The leader submits at once; the others wait for a moment,
and submit what the auction does not know by then. So a leader that is killed with messages in
hand loses none that another auctioneer has heard, and otherwise each is submitted once.

A pure state machine; `now` is monotonic, in seconds. A message is kept until it is known to be
in the auction or refused for good, or its own time is over. At most `messages_max` are kept;
beyond, new ones are dropped and counted: who sent them sends again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .messages import Submission

AGAIN_S = 0.25


class Waiting(msgspec.Struct):
    """A message, when it is to be submitted, and until when it is worth it."""

    message: Submission
    due: float
    until: float


class Inbox:
    """Messages by their ids. See the module."""

    def __init__(self, *, grace_s: float = 0.5, messages_max: int = 10_000) -> None:
        self.grace_s = grace_s
        self.messages_max = messages_max
        self.waiting: dict[str, Waiting] = {}
        self.dropped = 0

    def receive(
        self, number: str, message: Submission, *, now: float, until: float, is_leader: bool
    ) -> None:
        """Take in a message. One that is there already changes nothing."""
        if number in self.waiting:
            return
        if len(self.waiting) >= self.messages_max:
            self.dropped += 1
            return
        self.waiting[number] = Waiting(message, now if is_leader else now + self.grace_s, until)

    def hurry(self, *, now: float) -> None:
        """Make all due: this auctioneer leads now."""
        for one in self.waiting.values():
            one.due = min(one.due, now)

    def due(self, limit: int, *, now: float) -> list[tuple[str, Submission]]:
        """Return what is to be submitted, the oldest first; `settle` or `postpone` each."""
        for number in [n for n, one in self.waiting.items() if one.until < now]:
            del self.waiting[number]
        found = [(n, one.message) for n, one in self.waiting.items() if one.due <= now]
        return found[:limit]

    def settle(self, numbers: Sequence[str]) -> None:
        """Forget messages that the auction knows, or has refused for good."""
        for number in numbers:
            self.waiting.pop(number, None)

    def postpone(self, numbers: Sequence[str], *, now: float) -> None:
        """Submit messages again in a moment: the group was offline, or the refusal may pass."""
        for number in numbers:
            self.waiting[number].due = now + AGAIN_S

    def get_timer(self) -> float | None:
        """Return when the next message is due; None without any."""
        return min((one.due for one in self.waiting.values()), default=None)
