"""Which history a member follows: how it begins, joins, goes on in another one, gives up.

A member is without a history (seeking one, or prepared for one that is about to
begin) or follows one. It joins a history when the leader says so (`JoinAccepted`),
and gives one up only when everything in it is in another one (`merge`), or when its
own part in it counts no more. What it follows is on the disk before it acts on it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ...ids import PeerId
from ..bootstrap.bootstrap import Bootstrap
from ..bootstrap.events import BootstrapStuck, Founded, HistoryDied, SavePrepareVote, SendBootstrap
from ..machine.ledger import Ledger
from ..merge import view
from ..merge.merge import Merge
from ..merge.notices import MergeNotice, MergeNotices
from ..merge.replay import merged_commands
from ..storage.interface import SaveBatch
from ..wire import frames
from ..wire.bootstrap import PrepareVote, decode_prepare_vote, encode_message, encode_prepare_vote
from ..wire.frames import JoinAccepted
from ..wire.group_record import StoredGroup, encode_stored
from ..wire.records import HardState, SnapshotMetadata, Voters
from ..wire.status import MemberStanding, Status
from .context import Context
from .events import GroupTakenOver, HistoriesConflicted, HistoryMerged, StateReplaced
from .history import Begin, FollowedHistory, StoredMember
from .saving import DiskState

_WAITS_S: Final = 5.0  # for the history into which the own one went
_SOUGHT_KEPT: Final = 16


class Following:
    """See the module's docstring."""

    def __init__(self, context: Context, *, now: float) -> None:
        self.history: FollowedHistory | None = None
        self.bootstrap: Bootstrap  # how a history begins
        self.merge = Merge(context.rng, now=now)  # what is done about other histories
        self.now = now  # when the member was last pumped
        self._context = context
        self._notices = MergeNotices()
        self._unread: deque[MergeNotice] = deque()
        self._seen: object = None
        self._went_into = b""
        self._waits_until_s = now
        self._prepare_vote = b""
        self._is_beginning = False
        self._sought: dict[bytes, None] = {}
        context.keeps_log = lambda: self.merge.keeps_log

    @property
    def why_apart(self) -> str:
        """Say which member in reach there is no bond with; empty for none."""
        for peer, why in self._context.mesh.list_apart().items():
            return f"no bond with {peer.short}, which is in reach and may have the history: {why}"
        return ""

    def receive_join_accepted(self, peer: PeerId, message: JoinAccepted, *, now: float) -> None:
        """Join a history that takes this member in, or takes it in anew."""
        followed = self.history
        if followed is not None:
            if followed.id == message.history and followed.raft.has_lost_entries:
                # It was removed, and taken in again: nobody counts on what is here.
                self._drop_history()
                self._join(message, now)
        elif self._may_follow(peer, message.history, now):
            self._join(message, now)

    def note_statuses(self, *, now: float) -> None:
        """Take in who is bonded now, and what they say."""
        statuses = self._context.statuses
        if self.history is None:
            seen = [status.history for status in statuses.values() if status.history]
            self._sought = dict.fromkeys([*self._sought, *seen][-_SOUGHT_KEPT:])
        self.bootstrap.update_peers(statuses, now=now)
        if self.history is not None:
            self.history.peers_changed(now=now)

    def heeds(self, peer: PeerId, status: Status) -> bool:
        """Return whether what a bonded peer says now is more than that the log here goes on."""
        history, before = self.history, self._context.statuses[peer]
        is_apart = history is None or history.id != status.history or history.sync.is_active
        return is_apart or not status.has_only_moved_on(before)

    def begin_from(self, stored: StoredMember, *, now: float) -> None:
        """Go on where a durable member stopped, or look for a history. Called first."""
        self._term, self._vote = stored.hard_state.term, stored.hard_state.vote
        group = stored.group
        self._notices.note_known(stored.merged)
        self.bootstrap = self._new_bootstrap(now, group)
        if group.history:
            raft = {name: getattr(stored, name) for name in ("hard_state", "metadata", "log")}
            self._follow(Begin(group.history, raft, group.join_index), now, is_founder=False)

    def _new_bootstrap(self, now: float, kept: StoredGroup) -> Bootstrap:
        context = self._context
        bootstrap = Bootstrap(
            context.me,
            context.consensus,
            context.rng,
            now=now,
            is_observer=context.is_observer,
            prepare_vote=decode_prepare_vote(kept.prepare_vote) if kept.prepare_vote else None,
            history=kept.history,
            is_apart=lambda: bool(context.mesh.list_apart()),
        )
        bootstrap.update_peers(context.statuses, now=now)
        return bootstrap

    def take_bootstrap(self, *, now: float) -> None:
        """Carry out what the beginning wants."""
        while (event := self.bootstrap.next_event()) is not None:
            match event:
                case SendBootstrap(peer, message):
                    data = encode_message(message)
                    self._context.send(peer, frames.plain(frames.BOOTSTRAP, data))
                case SavePrepareVote(prepare_vote):
                    self._save_prepare_vote(prepare_vote)
                case Founded(history, voters, is_founder):
                    self._begin(history, voters, is_founder)
                case HistoryDied(history):
                    if self.history is not None and self.history.id == history:
                        self.give_up()
                case BootstrapStuck(why):
                    self._context.warn(f"there is no history yet: {self.why_apart or why}")
        followed = self.history
        if followed is not None and followed.raft.log.last_index:
            self.bootstrap.log_began(now=now)

    def _save_prepare_vote(self, prepare_vote: PrepareVote | None) -> None:
        """Save a promise, beside the history if there is one."""
        self._prepare_vote = b"" if prepare_vote is None else encode_prepare_vote(prepare_vote)
        metadata, stored = SnapshotMetadata(), StoredGroup(prepare_vote=self._prepare_vote)
        if (history := self.history) is not None:
            metadata, root = history.raft.metadata, self._context.host.ledger.root
            stored = StoredGroup(history.id, 0, self._prepare_vote, (), root)
        # After a first snapshot there is nothing to change: that was saved without a prepare vote,
        # and none is made in a history.
        snapshot = None if metadata.index else (metadata, encode_stored(stored))
        bootstrap = self.bootstrap  # when it is saved, another history may be looked for
        self._context.saving.add(
            SaveBatch(snapshot=snapshot), lambda: bootstrap.prepare_vote_saved(now=self.now)
        )

    def _join(self, join_accepted: JoinAccepted, now: float) -> None:
        """Follow a history that has taken this member in, unless it has one or has promised."""
        is_free = self.history is None and not self._is_beginning
        if not is_free or self.bootstrap.standing is not MemberStanding.SEEKING:
            return
        self._prepare_vote = b""
        history, index, root = join_accepted.history, join_accepted.index, join_accepted.root
        self._note_taken_over(history)
        self._begin(history, Voters(), is_founder=False, index=index, root=root)
        self.bootstrap.joined(history, now=now)
        self._sought.clear()

    def _note_taken_over(self, history: bytes) -> None:
        """Notify that a history goes on that was without voters while this member waited."""
        for status in self._context.statuses.values():
            for ancestor in status.ancestors:
                if status.history == history and ancestor.history in self._sought:
                    before, position = ancestor.history, ancestor.position
                    self._context.notify(GroupTakenOver(history, before, position))
                    return

    def _may_follow(self, peer: PeerId, history: bytes, now: float) -> bool:
        """Return whether what this member gave up is in a history, or was waited for long enough.

        In another one, its next commands would come before those it gave earlier.
        """
        if now >= self._waits_until_s or history == self._went_into:
            return True
        status = self._context.statuses.get(peer)
        return status is not None and self._went_into in status.merged

    def _begin(
        self, history: bytes, voters: Voters, is_founder: bool, index: int = 0, root: bytes = b""
    ) -> None:
        """Save which history it is, then follow it; `index` and `root` are as in `JoinAccepted`."""
        self._context.host.reset(Ledger(root or history))
        metadata = SnapshotMetadata(0, 0, voters)
        stored = StoredGroup(history, index, self._prepare_vote, (), root)
        batch = SaveBatch(snapshot=(metadata, encode_stored(stored)))
        raft = {"metadata": metadata, "hard_state": HardState(self._term, self._vote)}
        self._follow_when_saved(batch, Begin(history, raft, index), is_founder=is_founder)

    def _follow_when_saved(self, batch: SaveBatch, begin: Begin, *, is_founder: bool) -> None:
        self._is_beginning = True  # until it is saved, nobody can take this member in elsewhere
        self._context.saving.add(
            batch, lambda: self._follow(begin, self.now, is_founder=is_founder)
        )

    def _follow(self, begin: Begin, now: float, *, is_founder: bool) -> None:
        self._is_beginning = False
        self.history = history = FollowedHistory(self._context, begin, now=now)
        history.note_disk(DiskState.FINE, now=now)
        if is_founder:
            history.raft.campaign(now=now)
        else:
            history.campaign_if_alone(now=now)
        history.peers_changed(now=now)
        history.pump(now=now)

    def _abandon(self, history: FollowedHistory, winner: bytes) -> None:
        """Give up a history of which everything is in another one, as soon as it is read."""
        ancestors = self._context.host.ledger.ancestors
        payloads = merged_commands(history.id, history.raft, ancestors=ancestors)
        self._unread.append(MergeNotice(history.id, winner, payloads))

    def give_up(self, *, is_merged: bool = False) -> None:
        """Go back to having no history, and look for one."""
        history = self.history
        assert history is not None, "there is no history to give up"
        self._notices.note_given_up(history.id, is_merged=is_merged)
        self.merge = Merge(self._context.rng, now=self.now)
        self._context.client.change_history()
        self._drop_history()

    def _drop_history(self) -> None:
        """Forget the log and the state, but not the term and the vote."""
        history = self.history
        assert history is not None, "there is no history to drop"
        if self._context.is_durable:
            # What a storage remembers of terms and votes never goes back.
            self._term, self._vote = history.raft.hard_state.term, history.raft.hard_state.vote
        self.history = None
        self._prepare_vote = b""
        self._context.host.reset(Ledger())
        self._context.client.set_leader(False, None, self.now)
        batch = SaveBatch(reset=True, snapshot=(SnapshotMetadata(), encode_stored(StoredGroup())))
        self._context.saving.add(batch, lambda: None)
        self.bootstrap = self._new_bootstrap(self.now, StoredGroup())
        self._context.notify(StateReplaced(0))

    def go_on(self, begin: Begin, batch: SaveBatch, *, is_founder: bool) -> None:
        """Follow a history that continues the one so far, as soon as that is saved."""
        self.history = None
        self._follow_when_saved(batch, begin, is_founder=is_founder)

    # Other histories.

    def get_timer(self) -> float:
        """Return when to look at others again, or to go on with a notice."""
        return self.now if self._unread else self.merge.get_timer()

    def meet_others(self, *, now: float) -> None:
        """See to other histories in sight; give this one up when all of it is in another."""
        history = self.history
        if history is None:
            return
        has_more = history.commands.has_more(now=now)
        has_acted = self._look_at_others(history, now)
        if self.history is history and (has_more or has_acted):
            history.pump(now=now)

    def _look_at_others(self, history: FollowedHistory, now: float) -> bool:
        """Return whether anything was done."""
        merge, raft = self.merge, history.raft
        count = self._context.status_count
        seen = (history, raft.is_leader, raft.leader, raft.configurations.latest_index, count)
        news = history.take_news()
        self._unread += self._notices.take(
            history.id,
            self._context.host.ledger.merged,
            news.replayed,
            is_told=not history.availability.is_catching_up,
        )
        if not (news.failed or news.applied) and seen == self._seen and merge.is_resting:
            return False
        self._seen = seen
        for system_entry in news.failed:
            merge.entry_settled(system_entry, is_applied=False, now=now)
        merge.update(self._merge_view(history), now=now)
        for system_entry in news.applied:
            merge.entry_settled(system_entry, is_applied=True, now=now)
        return self._carry_out_merge(history)

    def _carry_out_merge(self, history: FollowedHistory) -> bool:
        has_acted = False
        while (event := self.merge.next_event()) is not None:
            has_acted = True
            match event:
                case view.SendMerge(peer, data):
                    self._context.send(peer, frames.plain(frames.MERGE, data))
                case view.ProposeSystemEntry(system_entry):
                    history.propose_system_entry(system_entry)
                case view.HandOver(to):
                    history.raft.transfer_leadership(to)
                case view.MergeStarted(winner, loser):
                    self._context.inform(f"history {loser.hex()} goes into {winner.hex()}")
                case view.HistoryAbandoned(loser, winner):
                    if loser == history.id:
                        self._abandon(history, winner)
                        break
                case view.HistoriesConflict(other):
                    self._context.notify(HistoriesConflicted(history.id, other))
                    text = f"history {other.hex()} cannot be merged: both logs were compacted"
                    self._context.warn(text)
        return has_acted

    def _merge_view(self, history: FollowedHistory) -> view.MergeView:
        raft, host = history.raft, self._context.host
        return view.MergeView(
            history=history.id,
            is_leader=raft.is_leader,
            has_leader=raft.leader is not None,
            voter_count=len(raft.configuration.voters),
            position=lambda: host.position,
            ledger=host.ledger,
            log=raft,
            peers=self._context.statuses,
            is_readable=history.commands.is_readable,
        )

    def read_notices(self) -> None:
        """Go on with the first notice; when it is done it leaves, and an own history that ended."""
        if not self._unread or not self._unread[0].read(self._context.host.codec.decode):
            return
        notice = self._unread.popleft()
        loser, winner, commands = notice.loser, notice.winner, tuple(notice.commands)
        is_loser = self.history is not None and self.history.id == loser
        if is_loser:
            self._went_into, self._waits_until_s = winner, self.now + _WAITS_S
            self.give_up(is_merged=True)
        self._context.notify(HistoryMerged(winner, loser, commands, is_loser=is_loser))
