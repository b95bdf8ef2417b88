"""The leader: it orders proposals, replicates them, and knows what is committed.

It begins its term with an entry of its own, empty (Raft thesis 6.4 and 5.4.2 of the paper): only
with an entry of the current term can it commit what came before (3.6.2), answer strong reads (6.4),
or change the configuration (the correction to chapter 4, raft-dev 2015).

Its own log counts towards a quorum as far as it is *saved*, like everybody else's. It sends in
parallel with its own disk (10.2.1). It steps down when it has not heard a quorum for an election
timeout (6.2), so a leader that was cut off says so instead of keeping its callers waiting.

What it sends to whom, and when, is in `replication`.
"""

from __future__ import annotations

from math import inf
from typing import Any

from ...errors import RemoteError
from ...ids import PeerId
from ..wire.configuration import IllegalChange, check_change, encode_voters
from ..wire.raft import (
    Appended,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    Message,
    ReadReply,
    ReadRequest,
    TimeoutNow,
)
from ..wire.records import Entry, EntryKind, Voters
from .log import ENTRY_OVERHEAD_BYTES, cost_of
from .progress import FollowerProgress, ProgressState
from .quorum import agreed
from .read_index import PendingRead, ReadQueue
from .ready import ConfigurationKnown, ReadState, Reason
from .replica import LEADER, Replica, Role
from .replication import Replication


class Leader(Role):
    """The role of the replica that was elected."""

    name = LEADER

    def __init__(self, replica: Replica) -> None:
        super().__init__(replica)
        self.replication = Replication(replica)  # what it sends to whom
        self.first_index = replica.log.last_index + 1  # the entry its term begins with
        self.transfer_to: PeerId | None = None  # who is to take over, None when nobody is
        # Up to here another voter knows as well what is committed; what was committed when the term
        # began counts as known.
        self.known_index = replica.commit_index
        self._transfer_until_s = 0.0
        self._is_transfer_sent = False
        self._reads = ReadQueue(replica.settings.reads_count)
        self._saved_index = -1
        self._quorum_until_s = replica.now
        self._uncommitted_bytes = 0
        self._refresh_members()
        self._append(EntryKind.NOOP, b"")

    @property
    def progress(self) -> dict[PeerId, FollowerProgress]:
        """What it knows of each follower, learners included."""
        return self.replication.progress

    # From the caller.

    def propose(self, data: bytes, token: Any, kind: EntryKind, is_awaited: bool) -> bool:
        """Append one entry; return whether it is taken."""
        replica = self._replica
        settings = replica.settings
        if self.transfer_to is not None:
            return replica.proposals.refuse(token, Reason.TRANSFERRING)
        if len(data) > settings.entry_bytes:
            return replica.proposals.refuse(token, Reason.TOO_LARGE)
        if (
            len(replica.proposals) >= settings.uncommitted_count
            or self._uncommitted_bytes + len(data) > settings.uncommitted_bytes
            or replica.log.size_bytes + len(data) > settings.log_bytes
        ):
            return replica.proposals.refuse(token, Reason.FULL)
        index = self._append(kind, data)
        replica.proposals.note(index, replica.term, token)
        if is_awaited:
            self.replication.awaited_index = index
        return True

    def change_configuration(self, target: Voters, token: Any) -> bool:
        """Append a configuration if it is legal now; return whether it is taken."""
        replica = self._replica
        reason = self._why_not(target)
        if reason is not None:
            return replica.proposals.refuse(token, reason)
        index = self._append(EntryKind.CONFIGURATION, encode_voters(target))
        replica.proposals.note(index, replica.term, token)
        # Those whom it leaves out hear nothing afterwards.
        self.replication.awaited_index = index
        self._refresh_members()
        return True

    def transfer(self, to: PeerId) -> bool:
        """Take no more proposals, bring `to` up to date, then let it stand (3.10)."""
        replica = self._replica
        voters = replica.configurations.latest.voters
        if self.transfer_to is not None or to == replica.me or to not in voters:
            return False
        self.transfer_to = to
        self._is_transfer_sent = False
        self._transfer_until_s = replica.now + replica.settings.election_timeout
        return True

    def note_candidate(self, sender: PeerId) -> None:
        """One that asks for votes does not hear this leader."""
        self.replication.wake(sender)

    def recheck_quiescence(self) -> None:
        """Wake those whose life is not to be relied on, and see how long a quorum is heard."""
        replica = self._replica
        self.replication.hear_quiesced()
        heard: dict[PeerId, float] = {
            peer: inf if p.liveness is not None and p.liveness.is_watched else p.heard_s
            for peer, p in self.progress.items()
        }
        heard[replica.me] = inf
        heard_s = agreed(replica.deciding, heard)
        self._quorum_until_s = heard_s + replica.settings.election_timeout

    def read(self, request_id: Any) -> None:
        """Take in a strong read of this replica itself."""
        if not self._reads.add(PendingRead(self._replica.me, request_id)):
            super().read(request_id)

    # From followers.

    def receive(self, sender: PeerId, message: Message) -> None:
        """Take in what followers answer, and what anybody asks."""
        progress = self.replication.progress.get(sender)
        if isinstance(message, ReadRequest):
            self._receive_read_request(sender, message)
        elif progress is None:
            return
        elif isinstance(message, Appended):
            self._receive_appended(sender, progress, message)
        elif isinstance(message, AppendRejected):
            self._receive_append_rejected(progress, message)
        elif isinstance(message, HeartbeatReply):
            self._receive_heartbeat_reply(sender, progress, message)

    def _receive_appended(
        self, sender: PeerId, progress: FollowerProgress, message: Appended
    ) -> None:
        """A follower agrees and has saved: more is committed, perhaps, and more may leave."""
        progress.heard_s = self._replica.now
        if message.match_index > self._replica.log.last_index:
            last_index = self._replica.log.last_index
            raise RemoteError(f"agrees up to {message.match_index}, the log ends at {last_index}")
        if progress.accept(message.match_index):
            if message.match_index > self._replica.commit_index:
                self.replication.lagged_followers.note_needed(sender)
            self._advance_commit()
        if progress.commit_sent < self._replica.commit_index:
            self.replication.note_news(progress.commit_sent)

    def _receive_append_rejected(self, progress: FollowerProgress, message: AppendRejected) -> None:
        """Find a place where the logs may agree, from both sides' terms (end of 3.5)."""
        progress.heard_s = self._replica.now
        log = self._replica.log
        agrees_index = log.last_with_term_at_most(message.hint_term, message.hint_index)
        progress.reject(message.rejected_index, agrees_index + 1)

    def _receive_heartbeat_reply(
        self, sender: PeerId, progress: FollowerProgress, message: HeartbeatReply
    ) -> None:
        """A follower still follows: confirm reads, and send again what may be lost."""
        progress.heard_s = self._replica.now
        if message.round > self._reads.round + 1:
            raise RemoteError(f"answers round {message.round} of {self._reads.round}")
        progress.round = max(progress.round, message.round)
        self._confirm_reads()
        progress.commit_known = message.commit_index
        self._advance_known()
        if message.is_quiesced:
            self.replication.note_quiesced(sender, progress)
        elif progress.liveness is not None:
            self.replication.wake(sender)
        self.replication.recover(sender, progress, message.commit_index)

    def _receive_read_request(self, sender: PeerId, message: ReadRequest) -> None:
        """Take in a strong read of a follower or a learner."""
        # It answers when it has what is committed now.
        self.replication.lagged_followers.hurry(sender)
        if not self._reads.add(PendingRead(sender, message.number)):
            self._replica.send(sender, ReadReply(self._replica.term, message.number, None))

    def handle_saved(self) -> None:
        """The own disk caught up: that may commit something."""
        saved_index = self._replica.durability.saved_index()
        if saved_index != self._saved_index:
            self._saved_index = saved_index
            self._advance_commit()

    # Time and endings.

    @property
    def timer_s(self) -> float:
        """When to call `handle_timer`."""
        # What was heard since only makes the last of these later; it is looked at when due.
        until_s = min(self.replication.timer_s, self._quorum_until_s)
        return until_s if self.transfer_to is None else min(until_s, self._transfer_until_s)

    def handle_timer(self) -> None:
        """Send heartbeats, step down without a quorum, end a transfer that takes too long."""
        replica = self._replica
        self.recheck_quiescence()
        if replica.now >= self._quorum_until_s:
            replica.become_follower(replica.term, None, "heard no quorum")
            return
        if self.transfer_to is not None and replica.now >= self._transfer_until_s:
            self.transfer_to = None
        if replica.now >= self.replication.heartbeat_at_s:
            self.replication.heartbeat(self._reads.round + 1)

    def flush(self) -> None:
        """Send what has piled up; called once before each `Ready`."""
        replica = self._replica
        has_committed = replica.commit_index >= self.first_index
        if has_committed and self._reads.start_round(replica.commit_index):
            self.replication.heartbeat(self._reads.round + 1)
            self._confirm_reads()
        self.replication.flush(is_urgent=self.transfer_to is not None)
        if self.transfer_to is not None:
            self._continue_transfer(self.transfer_to)

    def leave(self) -> None:
        """End the role: no read that waits may be answered any more."""
        self.replication.part()
        for read in self._reads.drain():
            self._answer_read(read, None)

    # The log.

    def _append(self, kind: EntryKind, data: bytes) -> int:
        replica = self._replica
        index = replica.log.last_index + 1
        replica.append(Entry(index, replica.term, kind, data))
        self._uncommitted_bytes += len(data) + ENTRY_OVERHEAD_BYTES
        return index

    def _advance_commit(self) -> None:
        """Commit what a quorum has saved, if it is of this term (3.6.2)."""
        replica = self._replica
        while True:
            saved: dict[PeerId, float] = {
                peer: progress.match_index for peer, progress in self.replication.progress.items()
            }
            saved[replica.me] = replica.durability.saved_index()
            index = int(agreed(replica.deciding, saved))
            if index <= replica.commit_index or replica.log.term_at(index) != replica.term:
                return
            before = replica.commit_index
            was_pending = replica.configurations.is_pending(before)
            replica.commit(index)
            self.replication.lagged_followers.count_own(is_quick=index <= saved[replica.me])
            self._release(before, index)
            self.replication.note_news(before)
            if was_pending and not replica.configurations.is_pending(index):
                self._finish_change()
            if replica.role is not self or not was_pending:
                return  # only another configuration could let more be committed

    def _release(self, before: int, index: int) -> None:
        log = self._replica.log
        if index == log.last_index:
            self._uncommitted_bytes = 0
            return
        for at in range(max(before + 1, self.first_index), index + 1):
            self._uncommitted_bytes -= cost_of(log.entry_at(at))

    def _advance_known(self) -> None:
        """Note how far another voter knows what is committed: a crash of one leaves the other.

        Where a change is not known to be committed, the old voters are needed as well as
        the new ones (`quorum`). If only the leader knew, its crash could stop the rest.
        """
        replica = self._replica
        voters = replica.configurations.latest.voters
        known = [self.progress[peer].commit_known for peer in voters if peer in self.progress]
        index = min(replica.commit_index, max(known, default=replica.commit_index))
        if index > self.known_index:
            before = replica.configurations.final(self.known_index)[0]
            self.known_index = index
            if replica.configurations.final(index)[0] > before:
                replica.events.append(ConfigurationKnown())

    # Membership.

    def _why_not(self, target: Voters) -> Reason | None:
        replica = self._replica
        current = replica.configurations.latest
        if self.transfer_to is not None:
            return Reason.TRANSFERRING
        if replica.is_configuration_pending:
            return Reason.PENDING
        if replica.commit_index < self.first_index:
            return Reason.TOO_EARLY
        try:
            check_change(current, target)
        except IllegalChange:
            return Reason.ILLEGAL
        floor_index = replica.commit_index - replica.settings.promotion_lag
        for peer in target.voters:
            if peer in current.voters or peer == replica.me:
                continue
            progress = self.progress[peer]
            if progress.state is not ProgressState.REPLICATE or progress.match_index < floor_index:
                return Reason.BEHIND
        return None

    def _refresh_members(self) -> None:
        self.replication.refresh_members()
        self.recheck_quiescence()

    def _finish_change(self) -> None:
        """A configuration is committed: let those go that it leaves out, perhaps oneself."""
        replica = self._replica
        before = list(self.progress)
        self._refresh_members()
        for peer in before:
            if peer not in self.progress:
                replica.send(peer, Heartbeat(replica.term, replica.commit_index, 0))
        self.replication.heartbeat(self._reads.round + 1)  # and hear at once who knows
        self._advance_known()
        if replica.me not in replica.configurations.latest.voters:
            self._hand_over()

    def _hand_over(self) -> None:
        """Step down after the own removal, and let the most complete voter stand (4.2.2)."""
        replica = self._replica
        for peer in self.progress:
            replica.send(peer, Heartbeat(replica.term, replica.commit_index, 0))
        voters = [peer for peer in replica.configurations.latest.voters if peer in self.progress]
        transfer_target = max(voters, key=lambda peer: self.progress[peer].match_index)
        replica.send(transfer_target, TimeoutNow(replica.term))
        replica.become_follower(replica.term, None, "removed from the voters")

    def resign(self, why: str) -> None:
        """Step down, and let the most complete voter stand, if one is heard."""
        replica = self._replica
        self.replication.hear_quiesced()
        recently_s = replica.now - replica.settings.election_timeout
        voters = [
            (progress.match_index, peer)
            for peer in replica.configurations.latest.voters
            if (progress := self.progress.get(peer)) and progress.heard_s > recently_s
        ]
        if voters:
            replica.early_mail.append((max(voters)[1], TimeoutNow(replica.term)))
        replica.become_follower(replica.term, None, why)

    # Transfer.

    def _continue_transfer(self, to: PeerId) -> None:
        if self._is_transfer_sent:
            return
        replica = self._replica
        progress = self.progress.get(to)
        if progress is not None and progress.match_index == replica.log.last_index:
            self._is_transfer_sent = True
            replica.early_mail.append((to, TimeoutNow(replica.term)))

    # Reads and heartbeats.

    def _confirm_reads(self) -> None:
        """Answer the reads of the rounds that a quorum has answered (6.4)."""
        replica = self._replica
        if not len(self._reads):
            return
        rounds: dict[PeerId, float] = {peer: p.round for peer, p in self.progress.items()}
        rounds[replica.me] = self._reads.round + 1
        confirmed = int(agreed(replica.deciding, rounds)) - 1
        for read, index in self._reads.confirm(confirmed):
            self._answer_read(read, index)

    def _answer_read(self, read: PendingRead, index: int | None) -> None:
        replica = self._replica
        if read.reader == replica.me:
            replica.reads.append(ReadState(read.request_id, index))
        else:
            replica.send(read.reader, ReadReply(replica.term, read.request_id, index))
