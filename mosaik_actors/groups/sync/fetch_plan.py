"""Who is asked for which range: a fetch that is shared out over several peers.

Used for entries of a log and for parts of a snapshot alike; here both are numbers. A pure state
machine: the caller says what is missing, sends what `next_asks` returns, and reports what came
of it.

Rules:
    * One request at most is in flight to a peer. Who answers sooner is asked again sooner, so
      faster peers get more.
    * What is missing is shared evenly, in pieces that get smaller towards the end, so that all
      finish at about the same time.
    * The leader has enough to do: it is asked only for what no other peer can serve at present.
    * When nothing is left to ask for and one peer holds up all the rest, another one that is idle
      is asked for the same.
    * A peer whose request is lost, refused or timed out rests, each time for longer; one whose
      answers were wrong `STRIKES_MAX` times rests for very long. Others have its range.
    * A late answer is still taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Final

from ...ids import PeerId

Span = tuple[int, int]
"""First and last number of a range; both belong to it."""

IN_FLIGHT_MAX: Final = 64
REST_S: Final = 0.5
REST_MAX_S: Final = 10.0
STRIKES_MAX: Final = 3
STRUCK_OUT_S: Final = 60.0
ABSENCES_MAX: Final = 4
PIECES_PER_SPAN: Final = 16
HEDGE_FACTOR: Final = 4.0
HEDGE_MIN_S: Final = 0.25
_AVERAGE_WEIGHT: Final = 0.25


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """A request to send: numbers `first` to `last` from `peer`."""

    peer: PeerId
    number: int
    first: int
    last: int

    @property
    def count(self) -> int:
        """How many are asked for."""
        return self.last - self.first + 1


@dataclass(slots=True)
class _Source:
    """A peer that may be asked."""

    peer: PeerId
    span: Span
    is_leader: bool = False
    ask: FetchRequest | None = None
    late: FetchRequest | None = None
    asked_s: float = 0.0
    answer_s: float = 0.0
    rest_until_s: float = 0.0
    failure_count: int = 0
    strike_count: int = 0
    absence_count: int = 0


class FetchPlan:
    """The requests of one fetch. Each ``now`` is monotonic time in seconds."""

    def __init__(self, rng: Random, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._number = rng.getrandbits(62)  # so no answer to an earlier fetch is one to this
        self._sources: dict[PeerId, _Source] = {}
        self._hedge_at_s: float | None = None

    # Who can be asked.

    def set_sources(self, spans: Mapping[PeerId, Span], leader: PeerId | None) -> None:
        """Say who has what; whoever is missing is forgotten, with what it was asked."""
        self._sources = {peer: self._source(peer) for peer in spans}
        for peer, source in self._sources.items():
            source.span, source.is_leader = spans[peer], peer == leader

    def set_span(self, peer: PeerId, span: Span) -> None:
        """Correct what one peer has, as its answer says."""
        self._source(peer).span = span

    @property
    def is_hopeless(self) -> bool:
        """Whether all are excluded or struck out, and so nobody will be asked for long."""
        return bool(self._sources) and all(
            source.ask is None
            and (source.rest_until_s == inf or source.strike_count >= STRIKES_MAX)
            for source in self._sources.values()
        )

    @property
    def spans(self) -> list[Span]:
        """What the peers have, each of them."""
        return [source.span for source in self._sources.values()]

    def usable(self, *, now: float) -> list[PeerId]:
        """Return those that may be asked, whether or not they are just now: the leader last."""
        return [source.peer for source in self._awake(now)]

    @property
    def in_flight(self) -> list[FetchRequest]:
        """The requests that wait for an answer."""
        return [s.ask for s in self._sources.values() if s.ask is not None]

    def _source(self, peer: PeerId) -> _Source:
        """Return what is known of a peer; of one that is gone, what nobody keeps."""
        return self._sources.get(peer) or _Source(peer, (0, 0))

    def _awake(self, now: float) -> list[_Source]:
        found = [source for source in self._sources.values() if source.rest_until_s <= now]
        return sorted(found, key=_rank)

    def next_asks(
        self,
        wanted: Span,
        held: Iterable[Span],
        *,
        count_max: int,
        asks_max: int = IN_FLIGHT_MAX,
        now: float,
    ) -> list[FetchRequest]:
        """Return what to ask now of all that is wanted and not held, and count it as asked.

        In `asks_max` requests at most, for `count_max` numbers each.
        """
        self._hedge_at_s = None
        sources = self._awake(now)
        asks_max = min(asks_max, IN_FLIGHT_MAX - len(self.in_flight))
        missing = subtract([wanted], held)
        free = subtract(missing, [(ask.first, ask.last) for ask in self.in_flight])
        others = merge(source.span for source in sources if not source.is_leader)
        size = _piece_size(free, len(sources), count_max)
        asks: list[FetchRequest] = []
        idle: list[_Source] = []
        for source in sources:
            if source.ask is not None:
                continue
            if len(asks) >= asks_max:
                break
            left = subtract(free, others) if source.is_leader else free
            found = _first_within(left, source.span)
            if found is None:
                idle.append(source)
                continue
            span = (found[0], min(found[1], found[0] + size - 1))
            free = subtract(free, [span])
            asks.append(self._ask(source, span, now))
        if missing and not free and len(asks) < asks_max:
            asks += self._hedge(missing[0][0], idle, others, now)
        return asks

    def _ask(self, source: _Source, span: Span, now: float) -> FetchRequest:
        self._number += 1
        source.ask = ask = FetchRequest(source.peer, self._number, *span)
        source.asked_s = now
        return ask

    def _hedge(
        self, blocked: int, idle: Sequence[_Source], others: Sequence[Span], now: float
    ) -> list[FetchRequest]:
        """Ask a second peer for what all the rest waits for, when the first takes long."""
        busy = [ask for ask in self.in_flight if ask.first <= blocked <= ask.last]
        able = [s for s in idle if s.span[0] <= blocked <= s.span[1]]
        if any(first <= blocked <= last for first, last in others):
            able = [s for s in able if not s.is_leader]
        if len(busy) != 1 or not able:
            return []
        known = [s.answer_s for s in self._sources.values() if s.answer_s]
        patience_s = max(HEDGE_MIN_S, HEDGE_FACTOR * min(known, default=0.0))
        at_s = self._sources[busy[0].peer].asked_s + patience_s
        if now < at_s:
            self._hedge_at_s = at_s
            return []
        return [self._ask(able[0], (blocked, min(busy[0].last, able[0].span[1])), now)]

    # What came of it.

    def answered(self, peer: PeerId, number: int, *, now: float) -> FetchRequest | None:
        """Take in that an answer came; return the request it answers, None when it answers none."""
        source = self._source(peer)
        ask, late = source.ask, source.late
        if ask is not None and ask.number == number:
            source.ask = None
            weight = _AVERAGE_WEIGHT if source.answer_s else 1.0
            source.answer_s += weight * (now - source.asked_s - source.answer_s)
            return ask
        if late is not None and late.number == number:
            source.late = None
            source.rest_until_s = min(source.rest_until_s, now)
            return late
        return None

    def served(self, peer: PeerId) -> None:
        """Note that an answer was of use."""
        self._source(peer).failure_count = 0

    def rest(self, peer: PeerId, *, now: float) -> None:
        """Leave a peer alone for a while: it could not serve."""
        source = self._source(peer)
        if source.rest_until_s < inf:
            source.failure_count += 1
            pause_s = min(REST_MAX_S, self._timeout_s, REST_S * 2.0 ** (source.failure_count - 1))
            source.rest_until_s = now + pause_s

    def strike(self, peer: PeerId, *, now: float) -> None:
        """Note that something that a peer answered was wrong."""
        self.rest(peer, now=now)
        source = self._source(peer)
        source.strike_count += 1
        if source.strike_count % STRIKES_MAX == 0:
            source.rest_until_s = max(source.rest_until_s, now + STRUCK_OUT_S)

    def strike_unread(self, peer: PeerId, *, now: float) -> None:
        """Note that what a peer sent cannot be read: it was the answer that it owed longest."""
        source = self._source(peer)
        if source.late is not None:
            source.late = None
        else:
            source.ask = None
        self.strike(peer, now=now)

    def lacks(self, peer: PeerId, *, is_final: bool, now: float) -> None:
        """Note that a peer does not have it, or not yet: then it is asked a few times more.

        After that it is not asked again in this fetch, as long as it stays.
        """
        source = self._source(peer)
        source.absence_count += 1
        if is_final or source.absence_count >= ABSENCES_MAX:
            source.ask = source.late = None
            source.rest_until_s = inf
        else:
            self.rest(peer, now=now)

    def time_out(self, *, now: float) -> None:
        """Give up requests that took too long; their ranges are free for others."""
        for source in self._sources.values():
            if source.ask is not None and source.asked_s + self._timeout_s <= now:
                source.late, source.ask = source.ask, None
                source.answer_s = max(source.answer_s, self._timeout_s)
                self.rest(source.peer, now=now)

    def get_timer(self, *, now: float) -> float | None:
        """Return when `time_out` and then `next_asks` may have something to do."""
        due = [] if self._hedge_at_s is None else [self._hedge_at_s]
        for source in self._sources.values():
            if source.ask is not None:
                due.append(source.asked_s + self._timeout_s)
            elif now < source.rest_until_s < inf:
                due.append(source.rest_until_s)
        return min(due, default=None)


def _rank(source: _Source) -> tuple[bool, int, float, PeerId]:
    return (source.is_leader, source.strike_count, source.answer_s, source.peer)


def _piece_size(free: Sequence[Span], source_count: int, count_max: int) -> int:
    total = sum(last - first + 1 for first, last in free)
    share = -(-total // max(1, source_count))
    return min(count_max, max(share, count_max // PIECES_PER_SPAN, 1))


def _first_within(spans: Sequence[Span], limit: Span) -> Span | None:
    for first, last in spans:
        common = (max(first, limit[0]), min(last, limit[1]))
        if common[0] <= common[1]:
            return common
    return None


def merge(spans: Iterable[Span]) -> list[Span]:
    """Return the same numbers in as few spans as possible, in order."""
    merged: list[Span] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        elif first <= last:
            merged.append((first, last))
    return merged


def subtract(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """Return what of `spans`, which are in order, is not in `taken`."""
    left: list[Span] = []
    holes = merge(taken)
    for first, last in spans:
        for hole_first, hole_last in holes:
            if hole_last < first:
                continue
            if hole_first > last:
                break
            if first < hole_first:
                left.append((first, hole_first - 1))
            first = hole_last + 1
        if first <= last:
            left.append((first, last))
    return left
