"""Which followers hear of new entries at once, and which a moment later.

A leader needs a quorum, not everybody. Those that make it are sent new entries at once; each of the
others, the lagged followers, at most once per `lagged_delay`. So while commands come one after the
other, each costs two datagrams and not two for each follower, and a lagged follower takes few large
messages instead of many small ones. After a calm moment everybody hears at once.

This is the thrifty sending of EPaxos (Moraru and others, SOSP 2013),
with the difference that nobody is left out. A lagged follower that agrees to an entry
before it is committed was needed: it takes the place of one that was slow. So
whoever is quick makes the quorum, and one that stalls costs a command
`lagged_delay` once or twice. Learners, which no quorum needs, are lagged followers always.

Nothing here decides anything: when a message leaves is not Raft's concern.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from ...ids import PeerId
from .quorum import Configurations, agreed


class LaggedFollowers:
    """The order in which the followers of one leader hear of entries.

    A lagged follower is sent nothing for `delay_s` after it was sent something; 0: nobody waits.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._order: list[PeerId] = []
        self._pressed: frozenset[PeerId] = frozenset()
        self._counts_own = True
        self._due_s: dict[PeerId, float] = {}
        self._served_s: dict[PeerId, float] = {}
        # When a lagged follower is due, or when one was that has been served since; `inf` when none
        # waits. Call `pass_time` then.
        self.timer_s = inf

    def set_members(
        self, me: PeerId, followers: Collection[PeerId], deciding: Configurations
    ) -> None:
        """Take in who follows, and who decides. What waits goes on waiting."""
        self._me = me
        self._deciding = deciding
        voters = dict.fromkeys(peer for voters in deciding for peer in voters if peer in followers)
        known = [peer for peer in self._order if peer in voters]
        self._order = [*known, *(peer for peer in voters if peer not in known)]
        for times in (self._due_s, self._served_s):
            for peer in [peer for peer in times if peer not in followers]:
                del times[peer]
        self._choose()

    def note_needed(self, peer: PeerId) -> None:
        """A follower agreed to what was not committed before: it is one of the quick."""
        if peer not in self._pressed and peer in self._order:
            self._order.remove(peer)
            self._order.insert(0, peer)
            self._choose()

    def count_own(self, *, is_quick: bool) -> None:
        """Take in whether the leader's own save came in time for the last commit.

        When it did not, its own disk is the slow one, and a quorum is made without it.
        """
        if is_quick != self._counts_own:
            self._counts_own = is_quick
            self._choose()

    def must_wait(self, peer: PeerId, now: float) -> bool:
        """Return whether a follower for which there are new entries gets them later."""
        if peer in self._pressed or not self._delay_s:
            return False
        due_s = self._due_s.get(peer)
        if due_s is None:
            due_s = self._served_s.get(peer, -inf) + self._delay_s
            if now < due_s:
                self._due_s[peer] = due_s
                self.timer_s = min(self.timer_s, due_s)
        return now < due_s

    def is_waiting(self, peer: PeerId) -> bool:
        """Return whether a follower that has not been sent everything gets it later."""
        return peer in self._due_s

    def is_on_time(self, peer: PeerId, now: float) -> bool:
        """Return whether a follower waits by our choice: it is not due yet."""
        return now < self._due_s.get(peer, -inf)

    def hurry(self, peer: PeerId) -> None:
        """Somebody waits for what this follower gets: let it wait no longer."""
        if peer in self._due_s:
            self._due_s[peer] = -inf

    def serve(self, peer: PeerId, now: float) -> None:
        """A follower was sent all there is."""
        self._due_s.pop(peer, None)
        self._served_s[peer] = now

    def pass_time(self, now: float) -> None:
        """Those that were due have been seen to; no timer is needed for them any more."""
        late = [due_s for due_s in self._due_s.values() if due_s > now]
        self.timer_s = min(late, default=inf)

    def _choose(self) -> None:
        """Find how many of the order make a quorum."""
        reached: dict[PeerId, float] = {self._me: 1} if self._counts_own else {}
        for peer in self._order:
            if agreed(self._deciding, reached) == 1:
                break
            reached[peer] = 1
        self._pressed = frozenset(reached)
        for peer in self._pressed:
            self._due_s.pop(peer, None)
