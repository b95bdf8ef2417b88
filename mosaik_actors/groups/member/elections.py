"""When the group had a leader, for people: what is notified, logged and counted."""

from __future__ import annotations

from ...ids import PeerId
from .context import Context
from .events import LeaderElected


class Elections:
    """The leaders of one history."""

    def __init__(self, context: Context, *, now: float) -> None:
        self.count = 0  # leaders that were seen to take over
        self.last_elapsed_s = 0.0  # how long the group was last without one
        self.heard_s = now  # when the leader was last heard of
        self._context = context
        self._lost_at_s: float | None = None

    def note_leader(self, leader: PeerId | None, term: int, *, now: float) -> None:
        """Note that the group has a leader, or has lost it."""
        elapsed_s = 0.0
        if self._lost_at_s is None and self.count:
            self._lost_at_s = self.heard_s
        if leader is not None:
            self.count += 1
            if self._lost_at_s is not None:
                elapsed_s = self.last_elapsed_s = now - self._lost_at_s
            self._lost_at_s = None
            self.heard_s = now
        self._context.notify(LeaderElected(leader, term, elapsed_s))

    def note_stepped_down(self, term: int, why: str, *, now: float) -> None:
        """Note that this member leads no more."""
        self.heard_s = now
        self._context.inform(f"leads no more in term {term}: {why}")
