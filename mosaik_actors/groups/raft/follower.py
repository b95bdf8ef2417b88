"""The follower: it obeys the leader of its term, and watches for its silence.

Learners are followers that are in nobody's count; they never stand for
election, but they do vote when asked: a learner may have been promoted without
having heard of it yet (Raft thesis 4.2.1 and 4.1: who answers does not depend
on the answerer's configuration, only who counts does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import RemoteError
from ...ids import PeerId
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
from .ready import ReadState, Reason, SnapshotNeeded

if TYPE_CHECKING:
    from .state import RaftState


class Follower:
    """The role of a replica that does not lead and does not want to.

    Args:
        state: What the roles share.
        first_number: Where the numbers of its reads begin. They must never
            repeat, even after a restart: a late answer would be taken for
            that of another read.
    """

    name = "follower"

    def __init__(self, state: RaftState, first_number: int) -> None:
        self._state = state
        self._number = first_number
        self._asked: dict[int, Any] = {}
        self._learned: list[tuple[int, Any]] = []
        self._offered_index = 0

    # From the leader.

    def receive_append(self, sender: PeerId, message: Append) -> None:
        """Check where the logs agree, take the entries in, answer when saved (3.5)."""
        state = self._state
        self._hear(sender)
        log = state.log
        term = log.term_at(message.prev_index)
        if term is None and message.prev_index < log.snapshot_index:
            # What is compacted is committed, so the leader has the same.
            entries = [entry for entry in message.entries if entry.index > log.snapshot_index]
            if entries and message.entries[-len(entries) - 1].term != log.snapshot_term:
                raise RemoteError(f"entry {log.snapshot_index} is not of term {log.snapshot_term}")
            if not entries:
                state.send(sender, Appended(state.term, state.commit_index))
                return
        elif term != message.prev_term:
            state.send(sender, self._rejection(message))
            return
        else:
            entries = list(message.entries)
        state.merge(entries, state.agreed_index)
        match_index = message.prev_index + len(message.entries)
        state.agreed_index = max(state.agreed_index, match_index)
        state.commit(min(message.commit_index, state.agreed_index))
        state.send(sender, Appended(state.term, match_index))

    def receive_heartbeat(self, sender: PeerId, message: Heartbeat) -> None:
        """Stay a follower, and learn what is committed of the part that agrees."""
        state = self._state
        if state.lacks(message.counted_index):
            state.lose_entries(sender, message.counted_index)
            return
        self._hear(sender)
        state.commit(min(message.commit_index, state.agreed_index))
        if message.round:
            state.send(sender, HeartbeatReply(state.term, message.round, state.commit_index))

    def receive_snapshot_offer(self, sender: PeerId, message: SnapshotOffer) -> None:
        """Tell the caller, once, that a snapshot is needed; or the leader, that it is not."""
        state = self._state
        self._hear(sender)
        if message.metadata.index <= state.commit_index:
            state.send(sender, Appended(state.term, state.commit_index))
        elif message.metadata.index > self._offered_index:
            self._offered_index = message.metadata.index
            state.events.append(SnapshotNeeded(message.metadata, sender))

    def receive_timeout_now(self, sender: PeerId, message: TimeoutNow) -> None:
        """Stand for election at once, without asking first (3.10)."""
        if sender == self._state.leader and self._state.may_stand:
            self._state.become_candidate(is_transfer=True)

    def receive_read_reply(self, sender: PeerId, message: ReadReply) -> None:
        """Learn up to where a read must see, or that it is refused."""
        if message.number not in self._asked or sender != self._state.leader:
            return
        request_id = self._asked.pop(message.number)
        if message.index is None:
            self._state.reads.append(ReadState(request_id, None))
        else:
            self._learned.append((message.index, request_id))

    # From the caller.

    def propose(self, token: Any) -> None:
        """Refuse: only the leader takes proposals."""
        self._state.refuse(token, Reason.NOT_LEADER)

    def read(self, request_id: Any) -> None:
        """Ask the leader; fail at once when there is none or too much waits."""
        state = self._state
        waiting = len(self._asked) + len(self._learned)
        if state.leader is None or waiting >= state.settings.reads_count:
            state.reads.append(ReadState(request_id, None))
            return
        self._number += 1
        self._asked[self._number] = request_id
        state.send(state.leader, ReadRequest(state.term, self._number))

    # Time and endings.

    @property
    def timer_s(self) -> float:
        """When to call `handle_timer`."""
        return self._state.election_at_s

    def handle_timer(self) -> None:
        """The leader is silent: stand for election, or if that may not be, wait for another."""
        state = self._state
        if state.now < state.election_at_s:
            return
        if state.may_stand:
            state.become_pre_candidate()
            return
        state.postpone_election()
        state.set_leader(None)
        self.fail_reads()

    def handle_saved(self) -> None:
        """Nothing waits for the disk: answers are held back with their batch."""

    def flush(self) -> None:
        """Serve the reads whose index is committed here by now."""
        if not self._learned:
            return
        state = self._state
        left = []
        for index, request_id in self._learned:
            if index <= state.commit_index:
                state.reads.append(ReadState(request_id, index))
            else:
                left.append((index, request_id))
        self._learned = left

    def leave(self) -> None:
        """End the role: reads that were not answered fail."""
        self.fail_reads()

    def fail_reads(self) -> None:
        """Fail the reads that no leader has answered."""
        for request_id in self._asked.values():
            self._state.reads.append(ReadState(request_id, None))
        self._asked = {}
        for _, request_id in self._learned:
            self._state.reads.append(ReadState(request_id, None))
        self._learned = []

    # Helpers.

    def _hear(self, leader: PeerId) -> None:
        state = self._state
        state.set_leader(leader)
        state.leader_heard_s = state.now
        state.postpone_election()

    def _rejection(self, message: Append) -> AppendRejected:
        """Return a refusal with the last place where the logs may agree (end of 3.5)."""
        log = self._state.log
        hint_index = log.last_with_term_at_most(message.prev_term, message.prev_index)
        hint_index = max(hint_index, self._state.commit_index)
        hint_term = log.term_at(hint_index) or 0
        return AppendRejected(self._state.term, message.prev_index, hint_index, hint_term)
