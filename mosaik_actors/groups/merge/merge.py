"""Two histories of one group meet: one goes on, the other's commands are replayed into it.

With `initial_voters == 1` members that start apart each begin a history. When members of both are
bonded, the shorter one is taken into the longer one. Everything that decides is a system entry,
committed in a log:

    shorter history S                      longer history L
    MergeRequest              ------->
                                           AcceptMerge(S), committed
                              <-------     MergeAccepted
    CloseInto(L), committed
    ReplayCommands ...        ------->     Replay(S, ...), committed
                              <-------     ReplayDone
    ReplayEnd                 ------->     FinishMerge(S), committed
    abandoned by each member  <-------     a status that names S as merged, or ReplayState

**Nothing acknowledged vanishes.** A client of S learns results from a member of S that has applied
the command. `CloseInto` is the last entry that is applied in S: what was acknowledged lies before
it, in a log that is committed and does not change any more. `FinishMerge` is void unless the log of
L holds as many commands of S as were applied in it, without a gap; how many that is, only who has
read S up to its `CloseInto` can say. And S is abandoned only on the word of a member that has
*applied* `FinishMerge`, so it is committed. If L is closed into a third history itself, what L had
taken in is replayed with the rest of L's log, and what is not yet in L goes to the third one
directly.

**Exactly once.** The ledger drops what it has, whatever way it comes again. A client's order is
kept along every log, and a log is replayed in order.

**No circle.** Histories closed into each other in a circle would all have ended. A `CloseInto` is
void when its history has accepted any merging history between the request, in which it read its
count of merging histories, and the entry (`accept_count`). Each request needs an `AcceptMerge` of
its own, after it was sent. So take a circle: S1 closed into S2, S2 into S3, ... Sn into S1. S2
accepted S1 after S1's request, and before S2's own request (else S2's `CloseInto` is void, or the
`AcceptMerge` is). So S1's last request was sent before S2's, that before S3's, ... and Sn's before
S1's, which cannot be. This needs no leader to remember anything; that a leader accepts nobody while
it asks, and asks again after a random wait, only makes it likely that they agree soon.

**Which one goes on.** The one of higher rank (`view.rank_of`). When neither can be replayed, both
stay, and `HistoriesConflict` says so, loudly. Nothing has to be replayed of a history that another
one continues (`takeover`), or that continues it, when it has nothing of its own beyond the place
where they part: then it ends with its `CloseInto`, which is void if it has anything by then.

What it cannot do: if everybody with the whole log of a closed history is gone for good, what was
not replayed by then is gone. While `Merge.keeps_log` is true a member must not compact its log.
"""

from __future__ import annotations

from collections import deque
from math import inf
from random import Random

from ...ids import PeerId
from ..wire import merge as wire
from ..wire.system_entries import AcceptMerge, CloseInto, FinishMerge, Replay, SystemEntry
from .asking import Asking, MergePhase
from .hosting import Hosting
from .replay import is_whole
from .sending import Sending
from .view import (
    HistoryAbandoned,
    MergeConfig,
    MergeEvent,
    MergeStarted,
    MergeView,
    Other,
    is_contained,
    others_of,
    to_peer,
)

STARTED_KEPT = 64


class Merge:
    """What one member does when another history of its group is in sight.

    Call `update` whenever something it looks at may have changed, then drain `next_event` and
    re-read `get_timer`. Each ``now`` is monotonic time in seconds, on the same clock.
    """

    def __init__(self, rng: Random, *, now: float, config: MergeConfig | None = None) -> None:
        self._rng = rng
        self._config = config or MergeConfig()
        self._now = now
        self._events: deque[MergeEvent] = deque()
        self._view: MergeView | None = None  # None while there is no history
        self._others: dict[bytes, Other] = {}
        self._begin(b"")

    def _begin(self, history: bytes) -> None:
        """Begin anew, with another history or none."""
        emit = self._events.append
        self._history = history
        self._asking = Asking(self._rng, self._config, emit)
        self._hosting = Hosting(self._config, self._asking, emit)
        self._sending = Sending(self._rng, self._config, emit)
        self._started: deque[bytes] = deque(maxlen=STARTED_KEPT)
        self._query_at_s = self._now
        self.winner = b""  # the history that has everything of this member's, once that is known
        self._linger_until_s = 0.0
        self._is_abandoned = False

    @property
    def keeps_log(self) -> bool:
        """Whether the log must not be compacted now: it may have to be replayed, or is being."""
        view = self._view
        if view is None or not is_whole(view.log):
            return False
        is_needed = bool(view.ledger.closed_into) or self._asking.phase is not MergePhase.IDLE
        return is_needed or self._asking.expects_merge(now=self._now)

    @property
    def is_resting(self) -> bool:
        """Whether there is nothing to do until something that `update` looks at changes."""
        return not self._others and not self._events and self._is_at_rest

    def update(self, view: MergeView, *, now: float) -> None:
        """Take in how things stand.

        `view.ledger`, `view.log`, `view.peers` and the position are read later as well, so they
        should be the living ones, or `update` be called when they change.
        """
        self._now = now
        self._view = view if view.history else None
        if view.history != self._history:
            self._begin(view.history)
        self._look()

    def receive_message(self, peer: PeerId, data: bytes | memoryview, *, now: float) -> None:
        """Take in a message of a bonded peer. Raises `DecodeError` when it is none.

        Messages may be lost, come twice, late or in another order.
        """
        message = wire.decode_merge(data)
        self._now = now
        view = self._view
        if view is None:
            return
        match message:
            case wire.MergeRequest():
                self._hosting.receive_request(peer, message, view, now=now)
            case wire.MergeAccepted():
                self._asking.receive_accepted(message, view, now=now)
            case wire.MergeRefused():
                self._asking.receive_refused(message, now=now)
            case wire.ReplayQuery():
                self._hosting.receive_query(peer, message, view)
            case wire.ReplayState():
                self._receive_state(peer, message, view)
            case wire.ReplayDone():
                self._sending.receive_done(message, now=now)
            case wire.ReplayRefused():
                self._sending.receive_refused(message, now=now)
            case wire.ReplayCommands() | wire.ReplayEnd():
                self._hosting.receive_replay(peer, message, view)
        self._look()

    def entry_settled(self, system_entry: SystemEntry, *, is_applied: bool, now: float) -> None:
        """Note what became of a system entry of this history.

        It was applied here, and the view's ledger has it; or one that was proposed here is not in
        the log, or not known to be.
        """
        self._now = now
        view = self._view
        if view is None:
            return
        if is_applied:
            self._note_started(system_entry, view)
        match system_entry:
            case AcceptMerge():
                self._hosting.accept_settled(system_entry, view, is_applied=is_applied)
            case CloseInto():
                self._asking.close_settled(system_entry, now=now)
            case Replay() | FinishMerge():
                self._hosting.replay_settled(system_entry, view)
            case _:
                return
        self._look()

    def get_timer(self) -> float:
        """Return when to call `handle_timer`; infinity for never."""
        if self._is_abandoned or self.is_resting:
            return inf  # at rest nothing is looked at: a time from before would stay due
        timer_s = min(self._asking.timer_s, self._sending.timer_s)
        if self._wants_to_know:
            timer_s = min(timer_s, self._query_at_s)
        if self.winner:
            timer_s = min(timer_s, self._linger_until_s)
        return timer_s

    def handle_timer(self, *, now: float) -> None:
        """Do what is due. Too early does no harm."""
        self._now = now
        self._look()

    def next_event(self) -> MergeEvent | None:
        """Return the next thing to do or to publish, None when there is nothing."""
        return self._events.popleft() if self._events else None

    def _look(self) -> None:
        view, now = self._view, self._now
        if view is None or self._is_abandoned:
            return
        before, self._others = self._others, others_of(view)
        if not self._others and not before and self._is_at_rest:
            return  # as almost always
        self._hosting.look(view)
        self._asking.look(view, self._others, now=now)
        self._sending.look(view, self._others, now=now)
        self._ask_around(view)
        into = self._others.get(view.ledger.closed_into)
        if into is not None and is_contained(view, into):
            self._found_merged(into.history, view)
            # Nobody but this history's own members can tell those who lag behind.
            if _has_laggards(view) and now < self._linger_until_s:
                return
        for status in view.peers.values():
            if view.history in status.merged and status.history != view.history:
                self._found_merged(status.history, view)
        self._abandon_when_due(view)

    @property
    def _is_at_rest(self) -> bool:
        is_idle = self._asking.phase is MergePhase.IDLE and self._hosting.is_idle
        return is_idle and self._view is not None and self._view.is_open and not self.winner

    def _note_started(self, system_entry: SystemEntry, view: MergeView) -> None:
        """Publish that a merge has begun: once in the history that ends, once in the other."""
        if isinstance(system_entry, CloseInto) and system_entry.history == view.ledger.closed_into:
            winner, loser = system_entry.history, view.history
        elif isinstance(system_entry, Replay | FinishMerge):
            winner, loser = view.history, system_entry.history
        else:
            return
        if loser not in self._started:
            self._started.append(loser)
            self._events.append(MergeStarted(winner, loser))

    # Whether this history is merged.

    @property
    def _wants_to_know(self) -> bool:
        """Whether this history may be merged somewhere without anybody telling."""
        view = self._view
        if view is None or not self._others or self.winner:
            return False
        return bool(view.ledger.closed_into) or not view.has_leader

    def _ask_around(self, view: MergeView) -> None:
        """Ask one member of each other history in sight: a status names the latest merges only."""
        if self._now < self._query_at_s or not self._wants_to_know:
            return
        self._query_at_s = self._now + self._config.takeover * (0.5 + self._rng.random())
        query = wire.ReplayQuery(view.history)
        for other in self._others.values():
            self._events.append(to_peer(other.leader or other.member, query))

    def _receive_state(self, peer: PeerId, message: wire.ReplayState, view: MergeView) -> None:
        if message.history != view.history or message.here == view.history:
            return
        if message.is_merged:
            self._found_merged(message.here, view)
        else:
            self._sending.receive_state(peer, message, view, now=self._now)

    def _found_merged(self, winner: bytes, view: MergeView) -> None:
        """Note that everything is in another history."""
        if not self.winner:
            self.winner = winner
            is_needed = self._sending.has_sent or _has_laggards(view)
            self._linger_until_s = self._now + (self._config.linger if is_needed else 0.0)

    def _abandon_when_due(self, view: MergeView) -> None:
        """Abandon this history, the one who replayed it a little later than the others.

        The other history may have fewer voters than this one had: until some of this one's members
        vote there, more crashes than were survived here must not lose what was acknowledged here.
        """
        if not self.winner:
            return
        other = self._others.get(self.winner)
        voter_count = 0 if other is None else other.voter_count
        if self._now >= self._linger_until_s or voter_count >= view.voter_count:
            self._is_abandoned = True
            self._events.append(HistoryAbandoned(view.history, self.winner))


def _has_laggards(view: MergeView) -> bool:
    """Return whether a bonded member of this history does not know yet that it is closed."""
    statuses = view.peers.values()
    return any(s.history == view.history and not s.closed_into for s in statuses)
