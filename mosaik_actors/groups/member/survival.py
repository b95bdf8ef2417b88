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
        self._takeover = Takeover(context.me, context.consensus, context.settings)
        self._seen_voters: object = None

    @property
    def is_abandoned(self) -> bool:
        """Whether this member says that the voters are gone."""
        return self._takeover.is_abandoned

    @property
    def timer_s(self) -> float:
        """When to call `look`."""
        return self._takeover.timer_s

    def look(self, *, is_leaving: bool, now: float) -> None:
        """Go on without the voters of the history when they are gone."""
        history, takeover = self._following.history, self._takeover
        if history is None or history.availability.is_stalled:
            return
        raft = history.raft
        seen = (
            history,
            self._context.status_count,
            raft.leader,
            raft.configuration_index,
            history.sync.is_restoring,
            self._context.is_observer,
        )
        if seen == self._seen_voters and now < takeover.timer_s:
            return
        self._seen_voters = seen
        step = takeover.look(self._view(history, is_leaving=is_leaving), now=now)
        if isinstance(step, DropHistory):
            self._context.warn("the members that had the state are gone: looking for others")
            self._following.give_up()
        elif step is not None and history.is_settled_here:
            self._take_over(history, step)
        elif step is not None:
            self._seen_voters = None  # look again when that is so

    def _view(self, history: FollowedHistory, *, is_leaving: bool) -> SurvivorView:
        raft = history.raft
        leading = None if raft.leader is None else self._context.statuses.get(raft.leader)
        return SurvivorView(
            history=history.id,
            deciding=raft.deciding,
            commit_index=raft.commit_index,
            is_led=raft.is_leader or (leading is not None and leading.history == history.id),
            is_closed=self._context.host.ledger.is_closed,
            is_observer=self._context.is_observer,
            is_non_voting=history.raft.is_non_voting,
            is_leaving=is_leaving,
            is_restoring=history.sync.is_restoring,
            peers=self._context.statuses,
        )

    def _take_over(self, history: FollowedHistory, step: ContinueHistory | FollowHistory) -> None:
        """Continue the history, or go on in one that does."""
        context = self._context
        if isinstance(step, FollowHistory):
            followed, position = step.history, step.position
            begin, batch = go_on_in(context, history.raft, followed, step.commit_index)
        else:
            followed = self._context.rng.randbytes(HISTORY_BYTES)
            position = self._context.host.position
            begin, batch = continue_alone(
                context, history.raft, history.id, followed, keeps_tail=history.counts_tail
            )
        text = f"the voters are out of reach: going on from position {position} without them"
        self._context.warn(text)
        self._context.notify(GroupTakenOver(followed, history.id, position))
        self._following.go_on(begin, batch, is_founder=isinstance(step, ContinueHistory))
