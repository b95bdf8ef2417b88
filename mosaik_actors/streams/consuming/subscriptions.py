"""Which producers a consumer subscribes to, and when it tries again.

A pure state machine. Its inputs are what the catalog says and what became
of its links; it answers with what to do (`next_event`) and when to be woken
(`get_timer`). Each producer is in one of these states:

    WAITING   to be subscribed to at `retry_at`, or never (`retry_at` None)
    SYNCING   it did not know us: our entries are being exchanged
    OPENING   the link is being opened
    ACTIVE    subscribed

    WAITING -> OPENING -> ACTIVE -> WAITING -> ...
          |       `-> SYNCING -> OPENING
          `-> SYNCING -> WAITING

Rules:
    * A producer is tried as soon as the catalog shows it.
    * After a failure it is tried again after `Backoff.delay_s`, until
      `attempts_max` failures in a row; then only when it restarts, moves, or
      stops and starts to produce. A subscription that ends sooner than the wait
      before it was long counts as a failure too: who accepts and then breaks a
      rule, again and again, is asked less and less often. So does one that ended
      because we were too slow, however long it lasted, unless the application took
      a good part of it: each return holds the producer up for everybody else.
    * A producer that does not know us (401) is synced with first and tried
      again at once, but only once in a row.
    * A producer that does not allow us is synced with and tried again at once when
      our own tickets are other ones.
    * A producer that restarted (another start in its version) is tried at once;
      a link to its former life is dropped. A link that was quicker than gossip and
      leads to its present life already is kept, with the items in it.
    * A producer that is not allowed (any more) is dropped. One that merely left
      the catalog keeps its link until that ends: there may be items in it. Nor is an
      attempt given up for that: the first entry of a node that restarted names no
      streams yet, and the attempt may lead to them already.

With a `Preference` only the best `count` producers are subscribed to:
    * One is tried only while fewer than `count` of those that are subscribed or
      about to be are as good as it is. One that fails is passed over until its
      retry is due.
    * A subscription stands until another producer has been better by `margin`
      for `patience` seconds; measurements waver, and moving costs a gap.
    * The new subscription is opened first and the worst one dropped in the same
      step, so there are never more than `count`, and a failed move costs nothing.

Clock: monotonic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from random import Random
from typing import Final

import msgspec

from ...ids import PeerId
from ...transport.address import PeerAddr
from ...transport.close import CloseCode, CloseReason
from ..config import Backoff
from .preference import Preference, Rank, is_better

_RESTARTED: Final = CloseReason(CloseCode.CANCELLED, "the producer restarted")
NOT_WANTED: Final = CloseReason(CloseCode.CANCELLED, "not wanted any more")


class ProducerCandidate(msgspec.Struct, frozen=True):
    """A producer that the catalog shows.

    Attributes:
        addr: Where it is.
        start: The moment its node started.
        allowed: Whether the consumer's own requirements let it in.
        why_not: With what reason a subscription ends that stands when they do not.
        rank: How good the consumer's preference finds it: less is better, None
            is worse than everything.
    """

    addr: PeerAddr
    start: int
    allowed: bool = True
    rank: Rank = None
    why_not: CloseReason = NOT_WANTED


class SubscriptionWanted(msgspec.Struct, frozen=True):
    """Open a link to `addr`; answer with `receive_opened` or `receive_failed` and `attempt`."""

    addr: PeerAddr
    attempt: int


class SyncWanted(msgspec.Struct, frozen=True):
    """Exchange entries with `addr`, then call `receive_synced`, whether it worked or not."""

    addr: PeerAddr


class SubscriptionDropped(msgspec.Struct, frozen=True):
    """Close the link to `peer_id`, with `reason`; it is forgotten already."""

    peer_id: PeerId
    reason: CloseReason


class ProducerGivenUp(msgspec.Struct, frozen=True):
    """`peer_id` is not tried any more until it restarts, moves or produces anew."""

    peer_id: PeerId
    failures: int


SubscriptionsEvent = SubscriptionWanted | SyncWanted | SubscriptionDropped | ProducerGivenUp


# A producer that goes on to restart elsewhere while it is tried must not be dialled without end.
TRIED_AT_ONCE_MAX: Final = 2


class SubscriptionState(Enum):
    """What the consumer is doing about one producer."""

    WAITING = "waiting"
    SYNCING = "syncing"
    OPENING = "opening"
    ACTIVE = "active"


_ALLOWED_FROM = {
    SubscriptionState.WAITING: {
        SubscriptionState.WAITING,
        SubscriptionState.SYNCING,
        SubscriptionState.OPENING,
        SubscriptionState.ACTIVE,
    },
    SubscriptionState.SYNCING: {SubscriptionState.OPENING, SubscriptionState.WAITING},
    SubscriptionState.OPENING: {
        SubscriptionState.WAITING,
        SubscriptionState.SYNCING,
        SubscriptionState.ACTIVE,
    },
    SubscriptionState.ACTIVE: {SubscriptionState.OPENING},
}


class _Producer:
    __slots__ = (
        "attempts", "better_since", "candidate", "failures", "is_refused", "lags", "listed", "lot",
        "opened_at", "reached_start", "retry_at", "state", "waited_s", "was_synced",
    )  # fmt: skip

    def __init__(self, candidate: ProducerCandidate, now: float, lot: float = 0.0) -> None:
        self.candidate = candidate
        self.lot = lot  # decides between equals, so that not all consumers choose the same one
        self.better_since: float | None = None
        self.state = SubscriptionState.WAITING
        self.listed = True
        self.retry_at: float | None = now
        self.failures = 0
        self.is_refused = False  # it did not let us in, for what our entry said
        self.lags = False  # it found us too slow, and we have not done better since
        self.attempts: dict[int, int] = {}  # to the start that the catalog showed then
        self.reached_start = candidate.start  # what the producer itself said
        self.opened_at = now
        self.waited_s = 0.0
        self.was_synced = False

    def become(self, state: SubscriptionState) -> None:
        assert self.state in _ALLOWED_FROM[state], f"{self.state} does not become {state}"
        self.state = state


class Subscriptions:
    """The producers of one consumer."""

    def __init__(self, backoff: Backoff, rng: Random, preference: Preference | None = None) -> None:
        self._backoff = backoff
        self._rng = rng
        self._preference = preference
        self._wanted_at: float | None = None
        self._producers: dict[PeerId, _Producer] = {}
        self._events: deque[SubscriptionsEvent] = deque()
        self._attempt_count = 0

    def state_of(self, peer_id: PeerId) -> SubscriptionState | None:
        """Return what is being done about a producer, None when it is unknown."""
        producer = self._producers.get(peer_id)
        return producer.state if producer is not None else None

    def receive_catalog(
        self, candidates: Mapping[PeerId, ProducerCandidate], *, now: float
    ) -> None:
        """Take in all producers that the catalog shows at this moment. May be repeated."""
        for peer_id, producer in list(self._producers.items()):
            if peer_id not in candidates:
                producer.listed = False
                if producer.state not in (SubscriptionState.OPENING, SubscriptionState.ACTIVE):
                    self._forget(peer_id)
        for peer_id, candidate in candidates.items():
            known = self._producers.get(peer_id)
            if not candidate.allowed:
                if known is not None:
                    self._drop(peer_id, candidate.why_not)
            elif known is None:
                self._producers[peer_id] = self._make(candidate, now)
            else:
                self._update(peer_id, known, candidate, now)
        self.handle_timer(now=now)

    def receive_opened(self, peer_id: PeerId, attempt: int, start: int, *, now: float) -> bool:
        """Take in that a link was opened; return whether it is still wanted.

        Args:
            peer_id: The producer.
            attempt: Which attempt opened it.
            start: When the producer's node started, as it says itself.
            now: Monotonic time in seconds.
        """
        if not self.is_opening(peer_id, attempt):
            return False
        producer = self._producers[peer_id]
        if producer.attempts[attempt] != producer.candidate.start != start:
            # It answered just before it went down.
            self._end_attempt(peer_id, attempt, now)
            return False
        producer.become(SubscriptionState.ACTIVE)
        producer.reached_start = start
        producer.opened_at = now
        producer.was_synced = False
        if self._preference is not None:
            self._drop_surplus(self._preference)
            self._choose(self._preference, now)
        return True

    def receive_failed(
        self, peer_id: PeerId, attempt: int, reason: CloseReason, *, now: float
    ) -> None:
        """Take in that a link could not be opened."""
        if not self.is_opening(peer_id, attempt):
            return
        producer = self._producers[peer_id]
        producer.is_refused = reason.remote and reason.code == CloseCode.STREAM_NOT_ALLOWED
        if len(producer.attempts) > 1 or producer.attempts[attempt] != producer.candidate.start:
            self._end_attempt(peer_id, attempt, now)
            return
        if not producer.listed:
            self._forget(peer_id)
            return
        if reason.code == CloseCode.UNKNOWN_PEER and reason.remote and not producer.was_synced:
            producer.was_synced = True
            producer.become(SubscriptionState.SYNCING)
            self._events.append(SyncWanted(producer.candidate.addr))
            return
        producer.was_synced = False
        self._retry_later(peer_id, producer, now)
        self.handle_timer(now=now)  # with a preference it may be another one's turn

    def _end_attempt(self, peer_id: PeerId, attempt: int, now: float) -> None:
        """Go on without an attempt that says nothing about the producer as it is now."""
        producer = self._producers[peer_id]
        del producer.attempts[attempt]
        if producer.attempts:
            return
        if producer.listed:
            self._producers[peer_id] = self._make(producer.candidate, now)
            self.handle_timer(now=now)
        else:
            self._forget(peer_id)

    def is_opening(self, peer_id: PeerId, attempt: int) -> bool:
        """Return whether the link of this attempt is still wanted."""
        producer = self._producers.get(peer_id)
        return (
            producer is not None
            and producer.state is SubscriptionState.OPENING
            and attempt in producer.attempts
        )

    def receive_closed(
        self,
        peer_id: PeerId,
        *,
        now: float,
        was_too_slow: bool = False,
        was_refused: bool = False,
        has_progressed: bool = False,
    ) -> None:
        """Take in that the link of an active subscription ended.

        Args:
            peer_id: The producer.
            now: Monotonic time in seconds.
            was_too_slow: Whether the producer ended it because we took too little.
            was_refused: Whether it ended it because we are not allowed any more.
            has_progressed: Whether the application took a good part of it.
        """
        producer = self._producers.get(peer_id)
        if producer is None or producer.state is not SubscriptionState.ACTIVE:
            return
        producer.is_refused = was_refused
        if has_progressed:
            producer.lags = False
        elif was_too_slow:
            producer.lags = True
        if not producer.lags and now - producer.opened_at > producer.waited_s:
            producer.failures = 0
        if producer.listed:
            self._retry_later(peer_id, producer, now)
        else:
            del self._producers[peer_id]
        self.handle_timer(now=now)

    def receive_own_change(self, *, now: float) -> None:
        """Take in that the own entry shows other tickets: who refused us is tried again.

        It is synced with first, so that it knows of them.
        """
        for producer in self._producers.values():
            if producer.is_refused and producer.state is SubscriptionState.WAITING:
                producer.is_refused = False
                producer.failures = 0
                producer.become(SubscriptionState.SYNCING)
                self._events.append(SyncWanted(producer.candidate.addr))

    def receive_synced(self, peer_id: PeerId, *, now: float) -> None:
        """Take in that the exchange of entries ended, one way or the other."""
        producer = self._producers.get(peer_id)
        if producer is not None and producer.state is SubscriptionState.SYNCING:
            producer.become(SubscriptionState.WAITING)
            producer.retry_at = now
            self.handle_timer(now=now)

    def get_timer(self) -> float | None:
        """Return when to call `handle_timer`, None for never."""
        if self._preference is not None:
            return self._wanted_at
        return min(
            (
                producer.retry_at
                for producer in self._producers.values()
                if producer.state is SubscriptionState.WAITING and producer.retry_at is not None
            ),
            default=None,
        )

    def handle_timer(self, *, now: float) -> None:
        """Try those whose time has come."""
        if self._preference is not None:
            self._choose(self._preference, now)
            return
        for producer in self._producers.values():
            due = producer.retry_at
            if producer.state is SubscriptionState.WAITING and due is not None and due <= now:
                self._open(producer)

    def next_event(self) -> SubscriptionsEvent | None:
        """Return the next thing to do, None when there is nothing."""
        return self._events.popleft() if self._events else None

    def _make(self, candidate: ProducerCandidate, now: float) -> _Producer:
        lot = self._rng.random() if self._preference is not None else 0.0
        return _Producer(candidate, now, lot)

    def _open(self, producer: _Producer) -> None:
        producer.attempts = {}
        producer.retry_at = None
        producer.better_since = None
        producer.become(SubscriptionState.OPENING)
        self._try(producer)

    def _try(self, producer: _Producer) -> None:
        self._attempt_count += 1
        producer.attempts[self._attempt_count] = producer.candidate.start
        self._events.append(SubscriptionWanted(producer.candidate.addr, self._attempt_count))

    def _choose(self, preference: Preference, now: float) -> None:
        """Open what the preference wants now; note when it may want something else."""
        self._wanted_at = None
        waiting = [p for p in self._producers.values() if p.state is SubscriptionState.WAITING]
        rivals = [p for p in self._producers.values() if p.state is not SubscriptionState.WAITING]
        for producer in sorted(waiting, key=_order):
            stronger = sum(not self._beats(producer, rival, preference) for rival in rivals)
            if producer.retry_at is None or stronger >= preference.count:
                producer.better_since = None
                continue
            due = producer.retry_at
            if len(rivals) >= preference.count:
                # Somebody would have to go for it: not before it has been better for a while,
                # and one at a time.
                if len(rivals) > preference.count:
                    continue
                if producer.better_since is None:
                    producer.better_since = now
                due = max(due, producer.better_since + preference.patience)
            if due <= now:
                self._open(producer)
                rivals.append(producer)
            elif self._wanted_at is None or due < self._wanted_at:
                self._wanted_at = due

    @staticmethod
    def _beats(producer: _Producer, rival: _Producer, preference: Preference) -> bool:
        return is_better(_rank(producer), _rank(rival), preference.margin)

    def _drop_surplus(self, preference: Preference) -> None:
        """Drop the worst subscription when there is one more than wanted."""
        active = [(i, p) for i, p in self._producers.items() if p.state is SubscriptionState.ACTIVE]
        if len(active) <= preference.count:
            return
        peer_id, worst = max(active, key=lambda one: _order(one[1]))
        reason = CloseReason(CloseCode.CANCELLED, "another producer is preferred")
        self._events.append(SubscriptionDropped(peer_id, reason))
        if not worst.listed:
            self._forget(peer_id)
            return
        # Not a failure: it may be the best one again at any time.
        worst.become(SubscriptionState.WAITING)
        worst.failures = 0
        worst.retry_at = worst.opened_at

    def _update(
        self, peer_id: PeerId, producer: _Producer, candidate: ProducerCandidate, now: float
    ) -> None:
        before = producer.candidate
        producer.candidate = candidate
        producer.listed = True
        if candidate.start != before.start:
            if producer.state is SubscriptionState.OPENING:
                # It may lead to the new life; the answer will say so. Or to nobody.
                if candidate.addr != before.addr and len(producer.attempts) < TRIED_AT_ONCE_MAX:
                    self._try(producer)
                return
            if (
                producer.state is SubscriptionState.ACTIVE
                and producer.reached_start == candidate.start
            ):
                return  # to end it would lose what the new one has sent already
            self._drop(peer_id, _RESTARTED)
            self._producers[peer_id] = self._make(candidate, now)
        elif producer.state is SubscriptionState.WAITING and candidate.addr != before.addr:
            producer.failures = 0
            producer.retry_at = now

    def _retry_later(self, peer_id: PeerId, producer: _Producer, now: float) -> None:
        producer.become(SubscriptionState.WAITING)
        producer.failures += 1
        if self._backoff.is_exhausted(producer.failures):
            producer.retry_at = None
            self._events.append(ProducerGivenUp(peer_id, producer.failures))
        else:
            producer.waited_s = self._backoff.delay_s(producer.failures, self._rng)
            producer.retry_at = now + producer.waited_s

    def _drop(self, peer_id: PeerId, reason: CloseReason) -> None:
        if self._producers[peer_id].state is SubscriptionState.ACTIVE:
            self._events.append(SubscriptionDropped(peer_id, reason))
        self._forget(peer_id)

    def _forget(self, peer_id: PeerId) -> None:
        # An answer to a running attempt finds another attempt or none, and is ignored.
        del self._producers[peer_id]


def _order(producer: _Producer) -> tuple[bool, Rank, float]:
    """Return what sorts producers from best to worst."""
    rank = _rank(producer)
    return (rank is None, 0.0 if rank is None else rank, producer.lot)


def _rank(producer: _Producer) -> Rank:
    """Return a producer's rank; one that left the catalog is about to go."""
    return producer.candidate.rank if producer.listed else None
