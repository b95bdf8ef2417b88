"""The follower: it obeys the leader of its term, and watches for its silence.

Learners are followers that are in nobody's count; they never stand for election, but they do vote
when asked: a learner may have been promoted without having heard of it yet (Raft thesis 4.2.1 and
4.1: who answers does not depend on the answerer's configuration, only who counts does).
"""

from __future__ import annotations

from math import inf
from typing import Any

from ...errors import RemoteError
from ...ids import PeerId
from ..wire.raft import (
    Append,
    Appended,
    AppendRejected,
    Heartbeat,
    HeartbeatReply,
    Message,
    ReadReply,
    ReadRequest,
    SnapshotOffer,
    TimeoutNow,
)
from .quiescence import DOUBT_FACTOR
from .ready import ReadState, SnapshotNeeded
from .replica import FOLLOWER, Replica, Role

_NUMBER_BITS = 62


class Follower(Role):
    """The role of a replica that does not lead and does not want to."""

    name = FOLLOWER

    def __init__(self, replica: Replica) -> None:
        super().__init__(replica)
        # Numbers of reads never repeat, even after a restart: a late answer would be taken for
        # that of another read.
        self._number = replica.rng.getrandbits(_NUMBER_BITS)
        self._asked: dict[int, Any] = {}
        self._offered_index = 0
        self._quiesced_until_s = 0.0

    # From the leader.

    def receive(self, sender: PeerId, message: Message) -> None:
        """Take in what a leader sends."""
        if isinstance(message, Append):
            self._receive_append(sender, message)
        elif isinstance(message, Heartbeat):
            self._receive_heartbeat(sender, message)
        elif isinstance(message, SnapshotOffer):
            self._receive_snapshot_offer(sender, message)
        elif isinstance(message, TimeoutNow):
            # Stand for election at once, without asking first (3.10).
            if sender == self._replica.leader and self._replica.may_stand:
                self._replica.become_candidate(is_transfer=True)
        elif isinstance(message, ReadReply):
            self._receive_read_reply(sender, message)

    def _receive_append(self, sender: PeerId, message: Append) -> None:
        """Check where the logs agree, take the entries in, answer when saved (3.5)."""
        replica = self._replica
        self._hear(sender)
        log, entries = replica.log, message.entries
        term = log.term_at(message.prev_index)
        if term is None and message.prev_index < log.snapshot_index:
            # What is compacted is committed, so the leader has the same.
            entries = tuple([entry for entry in entries if entry.index > log.snapshot_index])
            if entries and message.entries[-len(entries) - 1].term != log.snapshot_term:
                raise RemoteError(f"entry {log.snapshot_index} is not of term {log.snapshot_term}")
            if not entries:
                replica.send(sender, Appended(replica.term, replica.commit_index))
                return
        elif term != message.prev_term:
            # With the last place where the logs may agree (end of 3.5).
            hint_index = log.last_with_term_at_most(message.prev_term, message.prev_index)
            hint_index = max(hint_index, replica.commit_index)
            hint = (hint_index, log.term_at(hint_index) or 0)
            replica.send(sender, AppendRejected(replica.term, message.prev_index, *hint))
            return
        replica.merge(entries, replica.agreed_index)
        match_index = message.prev_index + len(message.entries)
        replica.agreed_index = max(replica.agreed_index, match_index)
        replica.commit(min(message.commit_index, replica.agreed_index))
        replica.send(sender, Appended(replica.term, match_index))

    def _receive_heartbeat(self, sender: PeerId, message: Heartbeat) -> None:
        """Stay a follower, and learn what is committed of the part that agrees."""
        replica = self._replica
        if replica.lacks(message.counted_index):
            replica.lose_entries(sender, message.counted_index)
            return
        self._hear(sender)
        replica.commit(min(message.commit_index, replica.agreed_index))
        is_like_leader = replica.log.last_index == replica.commit_index == message.commit_index
        if message.may_quiesce and is_like_leader:
            self.liveness = replica.liveness_of(sender)
            doubt_s = DOUBT_FACTOR * replica.settings.quiesced_interval
            self._quiesced_until_s = replica.now + doubt_s
            self.recheck_quiescence()
        if message.round:
            is_quiesced = self.liveness is not None
            reply = HeartbeatReply(replica.term, message.round, replica.commit_index, is_quiesced)
            replica.send(sender, reply)

    def _receive_snapshot_offer(self, sender: PeerId, message: SnapshotOffer) -> None:
        """Notify the caller, once, that a snapshot is needed; or the leader, that it is not."""
        replica = self._replica
        self._hear(sender)
        if message.metadata.index <= replica.commit_index:
            replica.send(sender, Appended(replica.term, replica.commit_index))
        elif message.metadata.index > self._offered_index:
            self._offered_index = message.metadata.index
            replica.events.append(SnapshotNeeded(message.metadata, sender))

    def _receive_read_reply(self, sender: PeerId, message: ReadReply) -> None:
        """Learn up to where a read must see, or that it is refused."""
        if message.number not in self._asked or sender != self._replica.leader:
            return
        request_id = self._asked.pop(message.number)
        self._replica.reads.append(ReadState(request_id, message.index))

    # From the caller.

    def read(self, request_id: Any) -> None:
        """Ask the leader; fail at once when there is none or too much waits."""
        replica = self._replica
        waiting = len(self._asked) + len(replica.reads)
        if replica.leader is None or waiting >= replica.settings.reads_count:
            super().read(request_id)
            return
        self._number += 1
        self._asked[self._number] = request_id
        replica.send(replica.leader, ReadRequest(replica.term, self._number))

    # Time and endings.

    def handle_timer(self) -> None:
        """The leader is silent: stand for election, or if that may not be, wait for another."""
        replica = self._replica
        self.recheck_quiescence()
        if replica.now < replica.election_at_s:
            return
        if replica.may_stand:
            replica.become_pre_candidate()
            return
        self.liveness = None
        replica.postpone_election()
        replica.set_leader(None)
        self.leave()

    def recheck_quiescence(self) -> None:
        """Wait for an election from when the leader, or its node, was heard last."""
        replica, liveness = self._replica, self.liveness
        if liveness is None or replica.leader is None:
            return
        heard_s = replica.inside(liveness.last_heard_at)
        replica.leader_heard_s = max(replica.leader_heard_s, heard_s)
        until_s = replica.leader_heard_s + replica.election_wait_s
        if replica.liveness_of(replica.leader) is not liveness:
            self.liveness = None
        elif liveness.is_watched:
            until_s = inf  # there is nothing to look for
        replica.election_at_s = min(until_s, self._quiesced_until_s)

    def leave(self) -> None:
        """Fail the reads that were not answered: the leader is gone, or the role ends."""
        for request_id in self._asked.values():
            self._replica.reads.append(ReadState(request_id, None))
        self._asked = {}

    # Helpers.

    def _hear(self, leader: PeerId) -> None:
        replica = self._replica
        self.liveness = None
        replica.set_leader(leader)
        replica.leader_heard_s = replica.now
        replica.postpone_election()
