"""How a member leaves: it stays while it is needed, but not longer than it may.

One that does not mean to come back has itself removed from the voters; one that
comes back with its log only hands over leadership (Raft thesis 3.10 and 4.2.2).

Where nobody is left who may vote, a leader that does not come back stays until all
members here know what it has committed: they go on with that (`takeover`).
"""

from __future__ import annotations

from math import inf

from .context import Context
from .history import FollowedHistory


class Leaving:
    """Whether one member is about to leave, and whether the others need it."""

    def __init__(self) -> None:
        self.has_begun = False  # whether it is to leave
        self.is_done = False  # whether it has left
        self.is_final = False  # whether it has itself removed before
        self.until_s: float | None = None  # when it goes whatever the others do

    def begin(self, *, until_s: float, is_final: bool) -> None:
        """Leave as soon as the others can do without it, by `until_s` at the latest."""
        self.has_begun = True
        self.is_final = is_final
        self.until_s = until_s

    def is_needed(self, context: Context, history: FollowedHistory | None) -> bool:
        """Return whether others should take over before this member goes, and can."""
        if history is None:
            return False
        if not history.pending_io.is_idle:
            return True
        bonded = context.statuses.items()
        here = {peer: said for peer, said in bonded if said.history == history.id}
        staying = {peer: said for peer, said in here.items() if not said.is_leaving}
        transfer_targets = [peer for peer, status in staying.items() if not status.is_observer]
        if not transfer_targets:
            # Until they know all that this one, as their leader, has committed.
            progress = history.raft.progress
            knows = [progress[peer].commit_known for peer in staying if peer in progress]
            return self.is_final and min(knows, default=inf) < history.raft.commit_index
        if self.is_final:
            # Also of the learners: the leader may be about to promote this one.
            is_named = history.voter_changes.is_named(context.me)
            return is_named or history.raft.is_configuration_pending
        voters = history.raft.configuration.voters
        could_lead = any(peer in voters for peer in transfer_targets)
        return history.raft.leader == context.me and could_lead
