"""Going on without the voters of a history when they are gone: `takeover`, driven."""

from __future__ import annotations

from ..merge.takeover import ContinueHistory, DropHistory, FollowHistory, SurvivorView, Takeover
from ..wire.types import HISTORY_BYTES
from .context import Context
from .continuing import continue_alone, go_on_in
from .events import GroupTakenOver
from .following import Following
from .history import FollowedHistory


class Survival:
    """What one member does when the voters of its history are out of reach."""

    def __init__(self, context: Context, following: Following) -> None:
        self._context = context
        self._following = following
        self.takeover = Takeover(context.me, context.consensus, context.settings)
        self._seen_voters: object = None

    def look(self, *, is_leaving: bool, now: float) -> None:
        """Go on without the voters of the history when they are gone."""
        history, context = self._following.history, self._context
        if history is None or context.saving.is_stalled:
            return
        raft = history.raft
        shown = (raft.leader, raft.configuration_index, history.sync.is_restoring)
        seen = (history, context.status_count, context.is_observer, shown)
        if seen == self._seen_voters and now < self.takeover.timer_s:
            return
        self._seen_voters = seen
        step = self.takeover.look(self._view(history, is_leaving=is_leaving), now=now)
        if isinstance(step, DropHistory):
            context.warn("the members that had the state are gone: looking for others")
            self._following.give_up()
        elif step is not None and history.is_settled_here:
            self._take_over(history, step)
        elif step is not None:
            self._seen_voters = None  # look again when that is so

    def _view(self, history: FollowedHistory, *, is_leaving: bool) -> SurvivorView:
        raft, context = history.raft, self._context
        leading = None if raft.leader is None else context.statuses.get(raft.leader)
        return SurvivorView(
            history=history.id,
            deciding=raft.deciding,
            commit_index=raft.commit_index,
            is_led=raft.is_leader or (leading is not None and leading.history == history.id),
            is_closed=context.host.ledger.is_closed,
            is_observer=context.is_observer,
            is_non_voting=raft.is_non_voting,
            is_leaving=is_leaving,
            is_restoring=history.sync.is_restoring,
            peers=context.statuses,
        )

    def _take_over(self, history: FollowedHistory, step: ContinueHistory | FollowHistory) -> None:
        """Continue the history, or go on in one that does."""
        context, raft = self._context, history.raft
        if isinstance(step, FollowHistory):
            followed, position = step.history, step.position
            begin, batch = go_on_in(context, raft, followed, step.commit_index)
        else:
            followed, position = context.rng.randbytes(HISTORY_BYTES), context.host.position
            begin, batch = continue_alone(
                context, raft, history.id, followed, keeps_tail=history.counts_tail
            )
        context.warn(f"the voters are out of reach: going on from position {position} without them")
        context.notify(GroupTakenOver(followed, history.id, position))
        self._following.go_on(begin, batch, is_founder=isinstance(step, ContinueHistory))
