"""The leader: it orders proposals, replicates them, and knows what is committed.

It begins its term with an entry of its own, empty (Raft thesis 6.4 and 5.4.2 of
the paper): only with an entry of the current term can it commit what came
before (3.6.2), answer strong reads (6.4), or change the configuration (the
correction to chapter 4, raft-dev 2015).

Its own log counts towards a quorum as far as it is *saved*, like everybody
else's. It sends in parallel with its own disk (10.2.1). It steps down when it
has not heard a quorum for an election timeout (6.2), so a leader that was cut
off says so instead of keeping its callers waiting.

A pass over the followers happens once per `Ready`, not once per proposal, so
whatever piled up since leaves in one message per follower. What is committed
travels with the next entries; when none follow within `commit_delay`, or when
somebody elsewhere waits for it, it is told by itself. Those whose answer a quorum
does not need hear of new entries a little later (`lagged_followers`).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from ...errors import RemoteError
from ...ids import PeerId
from ..wire.configuration import IllegalChange, check_change, encode_voters
from ..wire.raft import (
    Append,
    Appended,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    ReadReply,
    ReadRequest,
    SnapshotOffer,
    TimeoutNow,
)
from ..wire.records import Entry, EntryKind, Voters
from .lagged_followers import LaggedFollowers
from .log import ENTRY_OVERHEAD_BYTES, cost_of
from .progress import FollowerProgress, ProgressState
from .quorum import agreed
from .read_index import PendingRead, ReadQueue
from .ready import ConfigurationKnown, ReadState, Reason, TransferEnded

if TYPE_CHECKING:
    from .state import RaftState


class Leader:
    """The role of the replica that was elected.

    Attributes:
        progress: What it knows of each follower, learners included.
        first_index: The entry its term begins with.
        transfer_to: Who is to take over, None when nobody is.
        known_index: Up to here another voter knows as well what is committed; what
            was committed when the term began counts as known.
    """

    name = "leader"

    def __init__(self, state: RaftState) -> None:
        self._state = state
        self.progress: dict[PeerId, FollowerProgress] = {}
        self.first_index = state.log.last_index + 1
        self.transfer_to: PeerId | None = None
        self.known_index = state.commit_index
        self._transfer_until_s = 0.0
        self._is_transfer_sent = False
        self._reads = ReadQueue(state.settings.reads_count)
        self._request_ids: dict[int, Any] = {}
        self._read_number = 0
        self._heartbeat_at_s = state.now
        self._news_at_s = inf
        self._lagged_followers = LaggedFollowers(state.settings.lagged_delay)
        self._awaited_index = 0
        self._saved_index = -1
        self._quorum_until_s = state.now
        self._uncommitted_bytes = 0
        self._refresh_members()
        self._append(EntryKind.NOOP, b"")

    # From the caller.

    def propose(self, data: bytes, token: Any, kind: EntryKind, is_awaited: bool) -> bool:
        """Append one entry; return whether it is taken.

        When others wait for it (`is_awaited`), they are told at once when it is committed.
        """
        state = self._state
        settings = state.settings
        if self.transfer_to is not None:
            state.refuse(token, Reason.TRANSFERRING)
        elif len(data) > settings.entry_bytes:
            state.refuse(token, Reason.TOO_LARGE)
        elif (
            state.proposal_count >= settings.uncommitted_count
            or self._uncommitted_bytes + len(data) > settings.uncommitted_bytes
            or state.log.size_bytes + len(data) > settings.log_bytes
        ):
            state.refuse(token, Reason.FULL)
        else:
            index = self._append(kind, data)
            state.note_proposal(index, token)
            if is_awaited:
                self._awaited_index = index
            return True
        return False

    def change_configuration(self, target: Voters, token: Any) -> bool:
        """Append a configuration if it is legal now; return whether it is taken."""
        state = self._state
        reason = self._why_not(target)
        if reason is not None:
            state.refuse(token, reason)
            return False
        index = self._append(EntryKind.CONFIGURATION, encode_voters(target))
        state.note_proposal(index, token)
        self._awaited_index = index  # by those whom it leaves out: afterwards they hear nothing
        self._refresh_members()
        return True

    def transfer(self, to: PeerId) -> bool:
        """Take no more proposals, bring `to` up to date, then let it stand (3.10)."""
        state = self._state
        voters = state.configurations.latest.voters
        if self.transfer_to is not None or to == state.me or to not in voters:
            return False
        self.transfer_to = to
        self._is_transfer_sent = False
        self._transfer_until_s = state.now + state.settings.election_timeout
        return True

    def read(self, request_id: Any) -> None:
        """Take in a strong read of this replica itself."""
        self._read_number += 1
        if self._reads.add(PendingRead(self._state.me, self._read_number)):
            self._request_ids[self._read_number] = request_id
        else:
            self._state.reads.append(ReadState(request_id, None))

    # From followers.

    def receive_appended(self, sender: PeerId, message: Appended) -> None:
        """A follower agrees and has saved: more is committed, perhaps, and more may leave."""
        progress = self._hear(sender)
        if progress is None:
            return
        if message.match_index > self._state.log.last_index:
            raise RemoteError(
                f"agrees up to {message.match_index}, the log ends at {self._state.log.last_index}"
            )
        if progress.accept(message.match_index):
            if message.match_index > self._state.commit_index:
                self._lagged_followers.note_needed(sender)
            self._advance_commit()
        if progress.commit_sent < self._state.commit_index:
            self._note_news(progress.commit_sent)

    def receive_append_rejected(self, sender: PeerId, message: AppendRejected) -> None:
        """Find a place where the logs may agree, from both sides' terms (end of 3.5)."""
        progress = self._hear(sender)
        if progress is None:
            return
        log = self._state.log
        agrees_index = log.last_with_term_at_most(message.hint_term, message.hint_index)
        progress.reject(message.rejected_index, agrees_index + 1)

    def receive_heartbeat_reply(self, sender: PeerId, message: HeartbeatReply) -> None:
        """A follower still follows: confirm reads, and send again what may be lost."""
        progress = self._hear(sender)
        if progress is None:
            return
        if message.round > self._reads.round + 1:
            raise RemoteError(f"answers round {message.round} of {self._reads.round}")
        progress.round = max(progress.round, message.round)
        self._confirm_reads()
        progress.commit_known = message.commit_index
        self._advance_known()
        self._recover(sender, progress, message.commit_index)

    def receive_read_request(self, sender: PeerId, message: ReadRequest) -> None:
        """Take in a strong read of a follower or a learner."""
        self._lagged_followers.hurry(sender)  # it answers when it has what is committed now
        if not self._reads.add(PendingRead(sender, message.number)):
            self._state.send(sender, ReadReply(self._state.term, message.number, None))

    def handle_saved(self) -> None:
        """The own disk caught up: that may commit something."""
        saved_index = self._state.durability.saved_index()
        if saved_index != self._saved_index:
            self._saved_index = saved_index
            self._advance_commit()

    # Time and endings.

    @property
    def hears_quorum_until_s(self) -> float:
        """When this leader must step down unless it hears from a quorum."""
        state = self._state
        heard: dict[PeerId, float] = {peer: p.heard_s for peer, p in self.progress.items()}
        heard[state.me] = state.now
        configurations = state.deciding
        return agreed(configurations, heard) + state.settings.election_timeout

    @property
    def timer_s(self) -> float:
        """When to call `handle_timer`."""
        # What was heard since only makes the last of these later; it is looked at when due.
        until_s = min(
            self._heartbeat_at_s,
            self._news_at_s,
            self._quorum_until_s,
            self._lagged_followers.timer_s,
        )
        return until_s if self.transfer_to is None else min(until_s, self._transfer_until_s)

    def handle_timer(self) -> None:
        """Send heartbeats, step down without a quorum, end a transfer that takes too long."""
        state = self._state
        self._quorum_until_s = self.hears_quorum_until_s
        if state.now >= self._quorum_until_s:
            state.become_follower(state.term, None, "heard no quorum")
            return
        if self.transfer_to is not None and state.now >= self._transfer_until_s:
            state.events.append(TransferEnded(self.transfer_to))
            self.transfer_to = None
        if state.now >= self._heartbeat_at_s:
            self._heartbeat()

    def flush(self) -> None:
        """Send what has piled up; called once before each `Ready`."""
        state = self._state
        if state.commit_index >= self.first_index and self._reads.start_round(state.commit_index):
            self._heartbeat()
            self._confirm_reads()
        last_index = state.log.last_index
        for peer, progress in self.progress.items():
            if progress.state is not ProgressState.REPLICATE:
                self._replicate(peer, progress)
            elif progress.next_index <= last_index and not self._may_wait(peer, progress):
                self._replicate(peer, progress)
                if progress.next_index > last_index:
                    self._lagged_followers.serve(peer, state.now)
        self._lagged_followers.pass_time(state.now)
        if self._news_at_s < inf:
            self._tell_commit()
        self._continue_transfer()

    def leave(self) -> None:
        """End the role: no read that waits may be answered any more."""
        for read in self._reads.drain():
            self._answer_read(read, None)

    # Replication.

    def _append(self, kind: EntryKind, data: bytes) -> int:
        state = self._state
        index = state.log.last_index + 1
        state.append(Entry(index, state.term, kind, data))
        self._uncommitted_bytes += len(data) + ENTRY_OVERHEAD_BYTES
        return index

    def _replicate(self, peer: PeerId, progress: FollowerProgress) -> None:
        """Send entries while the window allows."""
        state = self._state
        log = state.log
        settings = state.settings
        while progress.may_send():
            next_index = progress.next_index
            is_probe = progress.state is ProgressState.PROBE
            if next_index > log.last_index and not is_probe:
                break
            prev_term = log.term_at(next_index - 1)
            if prev_term is None:
                self._offer_snapshot(peer, progress)
                break
            entries = log.slice(
                next_index,
                last_index=log.last_index,
                count_max=settings.append_entries,
                bytes_max=settings.append_bytes,
            )
            state.early_mail.append(
                (peer, Append(state.term, next_index - 1, prev_term, state.commit_index, entries))
            )
            progress.commit_sent = state.commit_index
            size_bytes = sum([len(entry.data) for entry in entries])
            progress.sent(next_index - 1 + len(entries), size_bytes)

    def _may_wait(self, peer: PeerId, progress: FollowerProgress) -> bool:
        """Return whether a follower gets the entries it has not been sent a little later."""
        is_awaited = progress.next_index <= self._awaited_index
        if is_awaited or self.transfer_to is not None:
            return False
        return self._lagged_followers.must_wait(peer, self._state.now)

    def _hears_later(self, peer: PeerId, progress: FollowerProgress) -> bool:
        """Return whether a follower learns what is committed with entries that are yet to come."""
        if progress.commit_sent < self._awaited_index <= self._state.commit_index:
            return False
        has_all = progress.next_index > self._state.log.last_index
        return not has_all and self._lagged_followers.is_waiting(peer)

    @property
    def kept_from_index(self) -> float:
        """The first entry that a follower waits for; the log is not to be cut before it.

        Infinity when nobody waits: those who were sent everything need nothing of the log.
        """
        state = self._state
        waiting = [
            progress.next_index
            for peer, progress in self.progress.items()
            if progress.state is ProgressState.REPLICATE
            and progress.next_index <= state.log.last_index
            and self._lagged_followers.is_on_time(peer, state.now)
        ]
        return min(waiting, default=inf)

    def _note_news(self, known_index: int) -> None:
        """Have followers that know of `known_index` told soon, or at once, what is committed."""
        state = self._state
        if self.progress:
            is_awaited = known_index < self._awaited_index <= state.commit_index
            delay_s = 0.0 if is_awaited else state.settings.commit_delay
            self._news_at_s = min(self._news_at_s, state.now + delay_s)

    def _tell_commit(self) -> None:
        """Tell what is committed, when it is time, to those who did not hear it with entries."""
        state = self._state
        behind = [
            (peer, progress)
            for peer, progress in self.progress.items()
            if progress.commit_sent < state.commit_index
            and progress.state is ProgressState.REPLICATE
            and not self._hears_later(peer, progress)
        ]
        if behind and state.now < self._news_at_s:
            return
        for peer, progress in behind:
            progress.commit_sent = state.commit_index
            state.early_mail.append((peer, Heartbeat(state.term, state.commit_index, 0)))
        self._news_at_s = inf

    def _offer_snapshot(self, peer: PeerId, progress: FollowerProgress) -> None:
        state = self._state
        progress.wait_for_snapshot(state.metadata.index)
        state.early_mail.append((peer, SnapshotOffer(state.term, state.metadata)))

    def _recover(self, peer: PeerId, progress: FollowerProgress, commit_index: int) -> None:
        """Find out what was lost, on the way to a follower or by its restart."""
        state = self._state
        if progress.state is ProgressState.PROBE:
            progress.retry()
        elif progress.state is ProgressState.SNAPSHOT:
            self._offer_snapshot(peer, progress)
        elif progress.flight_count or commit_index < min(
            state.commit_index, progress.next_index - 1
        ):
            # An empty message after the last one sent is refused if any was lost,
            # and tells a follower that was restarted how far its log agrees.
            prev_index = progress.next_index - 1
            prev_term = state.log.term_at(prev_index)
            if prev_term is None:
                self._offer_snapshot(peer, progress)
            else:
                probe = Append(state.term, prev_index, prev_term, state.commit_index)
                state.early_mail.append((peer, probe))

    def _advance_commit(self) -> None:
        """Commit what a quorum has saved, if it is of this term (3.6.2)."""
        state = self._state
        while True:
            saved: dict[PeerId, float] = {
                peer: progress.match_index for peer, progress in self.progress.items()
            }
            saved[state.me] = state.durability.saved_index()
            index = int(agreed(state.deciding, saved))
            if index <= state.commit_index or state.log.term_at(index) != state.term:
                return
            before = state.commit_index
            was_pending = state.configurations.is_pending(before)
            state.commit(index)
            self._lagged_followers.count_own(is_quick=index <= saved[state.me])
            self._release(before, index)
            self._note_news(before)
            if was_pending and not state.configurations.is_pending(index):
                self._finish_change()
            if state.role is not self or not was_pending:
                return  # only another configuration could let more be committed

    def _release(self, before: int, index: int) -> None:
        log = self._state.log
        if index == log.last_index:
            self._uncommitted_bytes = 0
            return
        first = max(before + 1, self.first_index)
        for at in range(first, index + 1):
            self._uncommitted_bytes -= cost_of(log.entry_at(at))

    def _advance_known(self) -> None:
        """Note how far another voter knows what is committed: a crash of one leaves the other.

        Where a change is not known to be committed, the old voters are needed as well as
        the new ones (`quorum`). If only the leader knew, its crash could stop the rest.
        """
        state = self._state
        voters = state.configurations.latest.voters
        known = [self.progress[peer].commit_known for peer in voters if peer in self.progress]
        index = min(state.commit_index, max(known, default=state.commit_index))
        if index > self.known_index:
            before = state.configurations.final(self.known_index)[0]
            self.known_index = index
            at = state.configurations.final(index)[0]
            if at > before:
                state.events.append(ConfigurationKnown(at))

    # Membership.

    def _why_not(self, target: Voters) -> Reason | None:
        state = self._state
        current = state.configurations.latest
        if self.transfer_to is not None:
            return Reason.TRANSFERRING
        if state.configurations.is_pending(state.commit_index):
            return Reason.PENDING
        if state.commit_index < self.first_index:
            return Reason.TOO_EARLY
        try:
            check_change(current, target)
        except IllegalChange:
            return Reason.ILLEGAL
        floor_index = state.commit_index - state.settings.promotion_lag
        for peer in target.voters:
            if peer in current.voters or peer == state.me:
                continue
            progress = self.progress[peer]
            if progress.state is not ProgressState.REPLICATE or progress.match_index < floor_index:
                return Reason.BEHIND
        return None

    def _refresh_members(self) -> None:
        state = self._state
        members = state.configurations.members(state.commit_index)
        before, self.progress = self.progress, {}
        for peer in members:
            if peer != state.me:
                self.progress[peer] = before.get(peer) or FollowerProgress(
                    state.log.last_index + 1,
                    now=state.now,
                    window_count=state.settings.window_count,
                    window_bytes=state.settings.window_bytes,
                )
        self._lagged_followers.set_members(state.me, self.progress, state.deciding)
        self._quorum_until_s = self.hears_quorum_until_s

    def _finish_change(self) -> None:
        """A configuration is committed: let those go that it leaves out, perhaps oneself."""
        state = self._state
        before = list(self.progress)
        self._refresh_members()
        for peer in before:
            if peer not in self.progress:
                state.send(peer, Heartbeat(state.term, state.commit_index, 0))
        self._heartbeat()  # and hear at once who knows
        self._advance_known()
        if state.me not in state.configurations.latest.voters:
            self._hand_over()

    def _hand_over(self) -> None:
        """Step down after the own removal, and let the most complete voter stand (4.2.2)."""
        state = self._state
        for peer in self.progress:
            state.send(peer, Heartbeat(state.term, state.commit_index, 0))
        voters = [peer for peer in state.configurations.latest.voters if peer in self.progress]
        transfer_target = max(voters, key=lambda peer: self.progress[peer].match_index)
        state.send(transfer_target, TimeoutNow(state.term))
        state.become_follower(state.term, None, "removed from the voters")

    def resign(self, why: str) -> None:
        """Step down, and let the most complete voter stand, if one is heard."""
        state = self._state
        recently_s = state.now - state.settings.election_timeout
        voters = [
            (progress.match_index, peer)
            for peer in state.configurations.latest.voters
            if (progress := self.progress.get(peer)) and progress.heard_s > recently_s
        ]
        if voters:
            state.early_mail.append((max(voters)[1], TimeoutNow(state.term)))
        state.become_follower(state.term, None, why)

    # Transfer.

    def _continue_transfer(self) -> None:
        if self.transfer_to is None or self._is_transfer_sent:
            return
        state = self._state
        progress = self.progress.get(self.transfer_to)
        if progress is not None and progress.match_index == state.log.last_index:
            self._is_transfer_sent = True
            state.early_mail.append((self.transfer_to, TimeoutNow(state.term)))

    # Reads and heartbeats.

    def _heartbeat(self) -> None:
        """Tell everybody that the leader is there; rounds begin at 1."""
        state = self._state
        term, commit_index, round_ = state.term, state.commit_index, self._reads.round + 1
        for peer, progress in self.progress.items():
            progress.commit_sent = commit_index
            message = Heartbeat(term, commit_index, round_, progress.match_index)
            state.early_mail.append((peer, message))
        self._heartbeat_at_s = state.now + state.settings.heartbeat_interval

    def _confirm_reads(self) -> None:
        """Answer the reads of the rounds that a quorum has answered (6.4)."""
        state = self._state
        if not len(self._reads):
            return
        rounds: dict[PeerId, float] = {peer: p.round for peer, p in self.progress.items()}
        rounds[state.me] = self._reads.round + 1
        confirmed = int(agreed(state.deciding, rounds)) - 1
        for read, index in self._reads.confirm(confirmed):
            self._answer_read(read, index)

    def _answer_read(self, read: PendingRead, index: int | None) -> None:
        state = self._state
        if read.reader == state.me:
            state.reads.append(ReadState(self._request_ids.pop(read.number), index))
        else:
            state.send(read.reader, ReadReply(state.term, read.number, index))

    def _hear(self, sender: PeerId) -> FollowerProgress | None:
        progress = self.progress.get(sender)
        if progress is not None:
            progress.heard_s = self._state.now
        return progress
