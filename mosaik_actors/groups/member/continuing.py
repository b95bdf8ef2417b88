"""Going on with what is here, without the voters: where they are gone (`takeover`), or by hand."""

from __future__ import annotations

from ..merge.takeover import ContinueHistory, DropHistory, FollowHistory, SurvivorView, Takeover
from ..raft.log import RaftLog
from ..storage.interface import SaveBatch
from ..wire.configuration import encode_voters, make_voters
from ..wire.group_record import StoredGroup, encode_stored
from ..wire.records import Entry, EntryKind, HardState, SnapshotMetadata
from ..wire.system_entries import ContinueAs, encode_system_entry
from ..wire.types import HISTORY_BYTES
from .context import Context
from .events import GroupTakenOver
from .following import Following
from .history import Begin, FollowedHistory


class Continuing:
    """How one member goes on in a history that continues its own."""

    def __init__(self, context: Context, following: Following) -> None:
        self.takeover = Takeover(context.me, context.consensus, context.settings)
        self._context = context
        self._following = following
        self._seen: object = None

    def look(self, *, is_leaving: bool, now: float) -> None:
        """Go on without the voters of the history when they are gone."""
        history, context = self._following.history, self._context
        if history is None or context.saving.is_stalled:
            return
        raft = history.raft
        shown = (raft.leader, raft.configurations.latest_index, history.sync.is_restoring)
        seen = (history, context.status_count, context.is_observer, shown)
        if seen == self._seen and now < self.takeover.timer_s:
            return
        self._seen = seen
        step = self.takeover.look(self._view(history, is_leaving=is_leaving), now=now)
        if isinstance(step, DropHistory):
            context.warn("the members that had the state are gone: looking for others")
            self._following.give_up()
        elif step is not None and history.is_settled_here:
            self._take_over(history, step)
        elif step is not None:
            self._seen = None  # look again when that is so

    def _view(self, history: FollowedHistory, *, is_leaving: bool) -> SurvivorView:
        raft, context = history.raft, self._context
        leading = None if raft.leader is None else context.statuses.get(raft.leader)
        return SurvivorView(
            history=history.id,
            deciding=raft.deciding,
            commit_index=raft.commit_index,
            is_led=raft.is_leader or (leading is not None and leading.history == history.id),
            is_closed=bool(context.host.ledger.closed_into),
            is_observer=context.is_observer,
            is_non_voting=raft.is_non_voting,
            is_leaving=is_leaving,
            is_restoring=history.sync.is_restoring,
            peers=context.statuses,
        )

    def _take_over(self, history: FollowedHistory, step: ContinueHistory | FollowHistory) -> None:
        context = self._context
        if isinstance(step, FollowHistory):
            followed, position = step.history, step.position
        else:
            followed, position = context.rng.randbytes(HISTORY_BYTES), context.host.position
        context.warn(f"the voters are out of reach: going on from position {position} without them")
        context.notify(GroupTakenOver(followed, history.id, position))
        if isinstance(step, FollowHistory):
            # Of others; it has all that is committed here. Before the log is here up to its commit
            # index, this member is non-voting, whatever the configuration that it has says.
            kept, hard_state = _committed_entries(history), history.raft.hard_state
            self._go_on_as(history, followed, hard_state, kept, (), step.commit_index)
        else:
            self.go_on_alone(history, followed, keeps_tail=history.counts_tail)

    def go_on_alone(self, before: FollowedHistory, history: bytes, *, keeps_tail: bool) -> None:
        """Begin a history of this member alone that continues another.

        It has all that is committed here; then a system entry that says where the two part, and a
        configuration of this member. With `keeps_tail` what is in the log and not known to be
        committed counts as committed, as commands of the new history.
        """
        host, me, raft = self._context.host, self._context.me, before.raft
        kept = raft.log.tail(raft.first_index) if keeps_tail else _committed_entries(before)
        index, term = kept[-1].index if kept else raft.first_index - 1, raft.term + 1
        counts = (host.position, host.ledger.own_count, host.ledger.command_count)
        parting = encode_system_entry(ContinueAs(before.id, history, raft.commit_index, *counts))
        added = (
            Entry(index + 1, term, EntryKind.SYSTEM, parting),
            Entry(index + 2, term, EntryKind.CONFIGURATION, encode_voters(make_voters([me]))),
        )
        hard_state = HardState(term, me, index + 2)
        self._go_on_as(before, history, hard_state, kept, added)

    def _go_on_as(
        self,
        before: FollowedHistory,
        history: bytes,
        hard_state: HardState,
        kept: tuple[Entry, ...],
        added: tuple[Entry, ...],
        join_index: int = 0,
    ) -> None:
        raft = before.raft
        base_index, base_term = raft.log.snapshot_index, raft.log.snapshot_term
        made_with = {
            "hard_state": hard_state,
            "metadata": raft.metadata,
            "log": RaftLog(base_index, base_term, (*kept, *added)),
            "applied_index": raft.applied_index,
        }
        kept_index = kept[-1].index if kept else base_index
        batch = SaveBatch(
            hard_state=hard_state,
            snapshot=self._snapshot_as(before, history, join_index),
            truncate_from=None if kept_index == raft.log.last_index else kept_index + 1,
            entries=added,
        )
        begin = Begin(history, made_with, join_index)
        self._following.go_on(begin, batch, is_founder=bool(added))

    def _snapshot_as(
        self, before: FollowedHistory, history: bytes, join_index: int
    ) -> tuple[SnapshotMetadata, bytes] | None:
        """Return what names another history on the disk until its system entry is applied again."""
        host, raft = self._context.host, before.raft
        if not self._context.is_durable:
            return None
        if not raft.metadata.index:
            root = host.ledger.root
            return raft.metadata, encode_stored(StoredGroup(history, join_index, root=root))
        stored = StoredGroup(history, join_index, parts=tuple(host.snapshot_parts()))
        return raft.metadata_at(raft.applied_index), encode_stored(stored)


def _committed_entries(history: FollowedHistory) -> tuple[Entry, ...]:
    raft = history.raft
    return raft.log.tail(raft.first_index)[: raft.commit_index - raft.first_index + 1]
