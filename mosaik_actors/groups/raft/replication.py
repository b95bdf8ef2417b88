"""What a leader sends to its followers, and when.

A pass over the followers happens once per `Ready`, not once per proposal, so whatever piled up
since leaves in one message per follower. What is committed travels with the next entries; when none
follow within `commit_delay`, or when somebody elsewhere waits for it, it is published by itself.
Those whose answer a quorum does not need hear of new entries a little later (`lagged_followers`).
"""

from __future__ import annotations

from math import inf

from ...ids import PeerId
from ..wire.raft import Append, Heartbeat, Message, SnapshotOffer
from .lagged_followers import LaggedFollowers
from .progress import FollowerProgress, ProgressState
from .replica import Replica


class Replication:
    """A leader's side of its followers' logs."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        # What is known of each follower, learners included.
        self.progress: dict[PeerId, FollowerProgress] = {}
        # Who hears of entries a little later.
        self.lagged_followers = LaggedFollowers(replica.settings.lagged_delay)
        self.awaited_index = 0  # up to here others wait to hear at once what is committed
        self._shared_place = (-1, -1, -1)
        self._shared: tuple[Append, int]
        self.heartbeat_at_s = replica.now  # when the next heartbeat is due
        self.news_at_s = inf  # when to publish what is committed, `inf` when all know it

    @property
    def timer_s(self) -> float:
        """When there may be something to send."""
        return min(self.heartbeat_at_s, self.news_at_s, self.lagged_followers.timer_s)

    def refresh_members(self) -> None:
        """Take in who is in the configurations that decide."""
        replica, settings = self._replica, self._replica.settings
        before, self.progress = self.progress, {}
        for peer in replica.configurations.members(replica.commit_index):
            if peer != replica.me:
                self.progress[peer] = before.get(peer) or FollowerProgress(
                    replica.log.last_index + 1,
                    replica.now,
                    settings.window_count,
                    settings.window_bytes,
                )
        self._hasten_heartbeat()
        self.lagged_followers.set_members(replica.me, self.progress, replica.deciding)

    def flush(self, *, is_urgent: bool) -> None:
        """Send what has piled up; nobody hears of it later when it is urgent."""
        replica = self._replica
        last_index = replica.log.last_index
        for peer, progress in self.progress.items():
            if progress.state is not ProgressState.REPLICATE:
                self._replicate(peer, progress)
            elif progress.next_index <= last_index and (
                is_urgent or not self._may_wait(peer, progress)
            ):
                self._replicate(peer, progress)
                if progress.next_index > last_index:
                    self.lagged_followers.serve(peer, replica.now)
        if replica.now >= self.lagged_followers.timer_s:
            self.lagged_followers.pass_time(replica.now)
        if self.news_at_s != inf:
            self._tell_commit()

    def heartbeat(self, round_: int) -> None:
        """Notify all that the leader is there, and have them answer for a round, from 1 on."""
        replica = self._replica
        term, commit_index = replica.term, replica.commit_index
        for peer, progress in self.progress.items():
            progress.commit_sent = commit_index
            may_quiesce = self._may_quiesce(peer, progress)
            message = Heartbeat(term, commit_index, round_, progress.match_index, may_quiesce)
            self._send(peer, progress, message)
            progress.may_quiesce = may_quiesce
        settings = replica.settings
        is_alone = not self.progress
        interval_s = settings.quiesced_interval if is_alone else settings.heartbeat_interval
        self.heartbeat_at_s = replica.now + interval_s

    # Quiescence.

    @property
    def is_quiesced(self) -> bool:
        """Whether nobody needs a heartbeat at the moment."""
        return all(progress.liveness is not None for progress in self.progress.values())

    def note_quiesced(self, peer: PeerId, progress: FollowerProgress) -> None:
        """Note that a follower agreed to what was offered it, unless that holds no more."""
        if progress.may_quiesce:
            progress.liveness = self._replica.liveness_of(peer)
            if self.is_quiesced:
                interval_s = self._replica.settings.quiesced_interval
                self.heartbeat_at_s = self._replica.now + interval_s

    def hear_quiesced(self) -> None:
        """Note when quiesced followers were heard; wake those that are not heard any more."""
        replica = self._replica
        for peer, progress in self.progress.items():
            if (liveness := progress.liveness) is None:
                continue
            self._note_heard(progress)
            if not liveness.is_watched or replica.liveness_of(peer) is not liveness:
                self.wake(peer)

    def wake(self, peer: PeerId) -> None:
        """Have a follower hear a heartbeat soon, and answer it."""
        if (progress := self.progress.get(peer)) is not None:
            self._note_heard(progress)
            progress.liveness = None
        self._hasten_heartbeat()

    def part(self) -> None:
        """Have followers that may be quiesced wait for an election from now on: this was the last.

        Without a word they would take the life of this node for that of a leader.
        """
        replica = self._replica
        for peer, progress in self.progress.items():
            if progress.may_quiesce:
                self._send(peer, progress, Heartbeat(replica.term, replica.commit_index, 0))

    def _may_quiesce(self, peer: PeerId, progress: FollowerProgress) -> bool:
        """Return whether nothing is to be done for a follower, and its node shows that it lives."""
        replica = self._replica
        last_index = replica.log.last_index
        return (
            replica.commit_index == last_index == progress.match_index == progress.commit_known
            and progress.state is ProgressState.REPLICATE
            and replica.liveness_of(peer) is not None
        )

    def _send(self, peer: PeerId, progress: FollowerProgress, message: Message) -> None:
        """Send at once. Whatever it is, it wakes a follower that is quiesced."""
        if progress.liveness is not None:
            self._note_heard(progress)
        progress.may_quiesce, progress.liveness = False, None
        self._replica.early_mail.append((peer, message))
        self._hasten_heartbeat()

    def _note_heard(self, progress: FollowerProgress) -> None:
        """Note when a quiesced follower was heard: what counts from now on may take a while."""
        if (liveness := progress.liveness) is not None:
            replica = self._replica
            # The clock is observed when heartbeats leave: once in that time, at least.
            ahead_s = replica.settings.quiesced_interval
            heard_s = replica.inside(liveness.last_heard_at, ahead_s=ahead_s)
            progress.heard_s = max(progress.heard_s, heard_s)

    def _hasten_heartbeat(self) -> None:
        soon_s = self._replica.now + self._replica.settings.heartbeat_interval
        self.heartbeat_at_s = min(self.heartbeat_at_s, soon_s)

    # What is committed, and what was lost.

    def note_news(self, known_index: int) -> None:
        """Have followers that know of `known_index` hear soon, or at once, what is committed."""
        replica = self._replica
        if self.progress:
            is_awaited = known_index < self.awaited_index <= replica.commit_index
            delay_s = 0.0 if is_awaited else replica.settings.commit_delay
            self.news_at_s = min(self.news_at_s, replica.now + delay_s)

    def _tell_commit(self) -> None:
        """Publish what is committed, when it is time, to those who did not hear it with entries."""
        replica = self._replica
        behind = [
            (peer, progress)
            for peer, progress in self.progress.items()
            if progress.commit_sent < replica.commit_index
            and progress.state is ProgressState.REPLICATE
            and not self._hears_later(peer, progress)
        ]
        if behind and replica.now < self.news_at_s:
            return
        for peer, progress in behind:
            progress.commit_sent = replica.commit_index
            self._send(peer, progress, Heartbeat(replica.term, replica.commit_index, 0))
        self.news_at_s = inf

    def _offer_snapshot(self, peer: PeerId, progress: FollowerProgress) -> None:
        replica = self._replica
        progress.wait_for_snapshot(replica.metadata.index)
        self._send(peer, progress, SnapshotOffer(replica.term, replica.metadata))

    def recover(self, peer: PeerId, progress: FollowerProgress, commit_index: int) -> None:
        """Find out what was lost, on the way to a follower or by its restart."""
        replica = self._replica
        if progress.state is ProgressState.PROBE:
            progress.retry()
        elif progress.state is ProgressState.SNAPSHOT:
            self._offer_snapshot(peer, progress)
        elif progress.flight or commit_index < min(replica.commit_index, progress.next_index - 1):
            # An empty message after the last one sent is refused if any was lost,
            # and tells a follower that was restarted how far its log agrees.
            prev_index = progress.next_index - 1
            prev_term = replica.log.term_at(prev_index)
            if prev_term is None:
                self._offer_snapshot(peer, progress)
            else:
                probe = Append(replica.term, prev_index, prev_term, replica.commit_index)
                self._send(peer, progress, probe)

    def _replicate(self, peer: PeerId, progress: FollowerProgress) -> None:
        """Send entries while the window allows."""
        replica = self._replica
        log = replica.log
        while progress.may_send():
            next_index = progress.next_index
            is_probe = progress.state is ProgressState.PROBE
            if next_index > log.last_index and not is_probe:
                break
            prev_term = log.term_at(next_index - 1)
            if prev_term is None:
                self._offer_snapshot(peer, progress)
                break
            message, size_bytes = self._append_after(next_index - 1, prev_term)
            self._send(peer, progress, message)
            progress.commit_sent = replica.commit_index
            progress.sent(next_index - 1 + len(message.entries), size_bytes)

    def _append_after(self, prev_index: int, prev_term: int) -> tuple[Append, int]:
        """Return the entries after a place as a message, and their bytes.

        All followers at the same place get the same one, so it is encoded once.
        """
        replica = self._replica
        place = (prev_index, replica.log.last_index, replica.commit_index)
        if place != self._shared_place:
            entries = replica.log.slice(
                prev_index + 1,
                last_index=replica.log.last_index,
                count_max=replica.settings.append_entries,
                bytes_max=replica.settings.append_bytes,
            )
            append = Append(replica.term, prev_index, prev_term, replica.commit_index, entries)
            self._shared = append, sum([len(entry.data) for entry in entries])
            self._shared_place = place
        return self._shared

    def _may_wait(self, peer: PeerId, progress: FollowerProgress) -> bool:
        """Return whether a follower gets the entries it has not been sent a little later."""
        if progress.next_index <= self.awaited_index:
            return False
        return self.lagged_followers.must_wait(peer, self._replica.now)

    def _hears_later(self, peer: PeerId, progress: FollowerProgress) -> bool:
        """Return whether a follower learns what is committed with entries that are yet to come."""
        if progress.commit_sent < self.awaited_index <= self._replica.commit_index:
            return False
        has_all = progress.next_index > self._replica.log.last_index
        return not has_all and self.lagged_followers.is_waiting(peer)

    @property
    def kept_from_index(self) -> float:
        """The first entry that a follower waits for; the log is not to be compacted beyond it.

        Infinity when nobody waits: those who were sent everything need nothing of the log.
        """
        replica = self._replica
        waiting = [
            progress.next_index
            for peer, progress in self.progress.items()
            if progress.state is ProgressState.REPLICATE
            and progress.next_index <= replica.log.last_index
            and self.lagged_followers.is_on_time(peer, replica.now)
        ]
        return min(waiting, default=inf)
