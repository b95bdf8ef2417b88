"""What a member does about other histories of its group: `merge`, driven.

Feeds the core with what this member's history says and does, carries out what
it wants, and notifies users of what came of it: of each history that ends, once,
with the commands that were first applied in it. Who was in it is notified when
it gives it up (`member`); the others here, when their ledger names it as merged,
whatever way it came: directly, with another one, or in a snapshot. A member that
is new is not notified of what was merged before it had caught up; one that has
come over from a history that ended is, for it may wait for just that.
"""

from __future__ import annotations

from typing import Final

from ...ids import PeerId
from ..machine.host import Replayed
from ..machine.ledger import MERGED_KEPT_MAX
from ..merge.merge import Merge
from ..merge.view import (
    HandOver,
    HistoriesConflict,
    HistoryAbandoned,
    MergeStarted,
    MergeView,
    ProposeSystemEntry,
    SendMerge,
)
from ..wire import frames
from ..wire.system_entries import SystemEntry
from .context import Context
from .events import HistoriesConflicted, HistoryMerged, Logged, Notify
from .history import FollowedHistory

_KNOWN_KEPT: Final = 2 * MERGED_KEPT_MAX


class Merging:
    """The meeting of histories, as one member sees it.

    Args:
        context: What the pieces of this member share.
        now: Monotonic time in seconds.
    """

    def __init__(self, context: Context, *, now: float) -> None:
        self._context = context
        self._core = Merge(context.me, context.rng, now=now)
        self._seen: object = None
        self._replayed: list[Replayed] = []
        self._merged: tuple[bytes, ...] | None = None
        self._known: dict[bytes, None] = {}
        self._has_come_over = False

    @property
    def keeps_log(self) -> bool:
        """Whether the log must not be cut at the moment."""
        return self._core.keeps_log

    def receive(self, peer: PeerId, data: bytes, *, now: float) -> None:
        """Take in a message of another history's member. Raises `RemoteError`."""
        self._core.receive_message(peer, data, now=now)

    def get_timer(self) -> float:
        """Return when to call `handle_timer`."""
        return self._core.get_timer()

    def handle_timer(self, *, now: float) -> None:
        """Do what is due; then call `look`."""
        self._core.handle_timer(now=now)

    def give_up(self, history: bytes, *, is_merged: bool, now: float) -> None:
        """Begin anew: this member has given up a history.

        Args:
            history: The history; users are notified of its end elsewhere.
            is_merged: Whether all of it is in another one.
            now: Monotonic time in seconds.
        """
        self._note_known(history)
        self._has_come_over = self._has_come_over or is_merged
        self._replayed.clear()
        self._core = Merge(self._context.me, self._context.rng, now=now)

    def look(
        self, history: FollowedHistory, status_count: int, *, now: float
    ) -> tuple[HistoryAbandoned | None, bool]:
        """See to what has changed; return what to give up, and whether anything was done.

        Args:
            history: The history that is followed.
            status_count: Differs when somebody's status does.
            now: Monotonic time in seconds.
        """
        core, raft = self._core, history.raft
        seen = (history, raft.is_leader, raft.leader, raft.configuration_index, status_count)
        failed: list[SystemEntry] = []
        applied: list[SystemEntry] = []
        if history.has_news:
            self._replayed += history.take_replayed()
            failed, applied = history.take_failed_system_entries(), history.take_system_entries()
        if self._context.host.ledger.merged is not self._merged:
            self._note_merged(history)
        if not (failed or applied) and seen == self._seen and core.is_resting:
            return None, False
        self._seen = seen
        for system_entry in failed:
            core.act_failed(system_entry, now=now)
        core.update(self._view(history), now=now)
        for system_entry in applied:
            core.act_applied(system_entry, now=now)
        return self._carry_out(history)

    def _carry_out(self, history: FollowedHistory) -> tuple[HistoryAbandoned | None, bool]:
        has_acted = False
        while (event := self._core.next_event()) is not None:
            has_acted = True
            match event:
                case SendMerge(peer, data):
                    self._context.send(peer, frames.plain(frames.MERGE, data))
                case ProposeSystemEntry(system_entry):
                    history.propose_system_entry(system_entry)
                case HandOver(to):
                    history.raft.transfer_leadership(to)
                case MergeStarted(winner, loser):
                    text = f"history {loser.hex()} goes into {winner.hex()}"
                    self._context.emit(Logged(False, text))
                case HistoryAbandoned(loser, _):
                    if loser == history.id:
                        return event, True
                case HistoriesConflict(other):
                    self._context.emit(Notify(HistoriesConflicted(history.id, other)))
                    text = f"history {other.hex()} cannot be merged: both logs were cut"
                    self._context.emit(Logged(True, text))
        return None, has_acted

    def _view(self, history: FollowedHistory) -> MergeView:
        raft = history.raft
        return MergeView(
            history=history.id,
            is_leader=raft.is_leader,
            has_leader=raft.leader is not None,
            voter_count=len(raft.configuration.voters),
            position_of=lambda: self._context.host.position,
            ledger=self._context.host.ledger,
            log=raft,
            peers=self._context.statuses,
        )

    def _note_merged(self, history: FollowedHistory) -> None:
        """Notify of the histories that the ledger names as merged since it was looked at."""
        is_first = self._merged is None
        self._merged = merged = self._context.host.ledger.merged
        new = [loser for loser in merged if loser not in self._known]
        payloads = self._take_replayed(new)
        for loser in new:
            self._note_known(loser)
            if self._has_come_over or not (is_first or history.is_catching_up):
                commands = tuple(self._context.host.decode_commands(payloads[loser]))
                self._context.emit(
                    Notify(HistoryMerged(history.id, loser, commands, is_loser=False))
                )

    def _take_replayed(self, losers: list[bytes]) -> dict[bytes, list[bytes]]:
        """Return what came of these histories, and keep what came of others.

        What one had itself taken in from another one that ended is that one's, of which
        users were notified before or are notified now.
        """
        payloads: dict[bytes, list[bytes]] = {loser: [] for loser in losers}
        kept = []
        for replayed in self._replayed:
            if replayed.origin in payloads:
                payloads[replayed.origin] += replayed.payloads
            elif replayed.history not in payloads:
                kept.append(replayed)
            elif replayed.origin not in self._known:
                payloads[replayed.history] += replayed.payloads
        self._replayed = kept
        return payloads

    def _note_known(self, history: bytes) -> None:
        self._known[history] = None
        if len(self._known) > _KNOWN_KEPT:
            del self._known[next(iter(self._known))]
