"""The parts of one snapshot, fetched from all who have it, and checked as a whole.

Which parts there are shows only in the end: a provider that has made all of
them tells their number and a digest. Until somebody does, more is asked for
than there is, and what lies behind the end comes back empty, with the digest.

    1. Parts are fetched in parallel, the leader last (`fetch_plan`).
    2. When all are here, the digest is awaited of two providers when two
       others than the leader serve, else of one; not longer than for one fetch
       timeout. When they contradict each other, of all.
    3. The digest that most of them tell must be that of what was assembled.
    4. If it is not: the parts of those who tell another digest are fetched
       again from the rest. If nobody does, one provider after the other is
       trusted: all parts that are not its own are fetched again, from it
       alone. One that sent every part and whose digest is another lies.

Invariants:
    * What `assembled` returns has the digest that a provider told, and that
      most of those who told one did.
    * Each step of 4. excludes a provider or trusts one that was not before, so
      it ends: `has_failed` is then true.
    * At most `SNAPSHOT_BYTES_MAX` bytes are held.
"""

from __future__ import annotations

from random import Random
from typing import Final

from ...ids import PeerId
from ..wire.records import PARTS_COUNT_MAX, SnapshotMetadata
from ..wire.sync import (
    ANSWER_BYTES,
    ANSWER_PARTS_MAX,
    SNAPSHOT_BYTES_MAX,
    FetchParts,
    NotHere,
    PartRange,
    PartsDigest,
    SnapshotSummary,
)
from .fetch_plan import IN_FLIGHT_MAX, FetchPlan, FetchRequest, Span, merge

FIRST_ASK_PARTS: Final = 16
ASK_PARTS_MAX: Final = 1024
AHEAD_ASKS: Final = 64
ABSENCES_MAX: Final = 4
TELLERS_WANTED: Final = 2

assert ASK_PARTS_MAX <= ANSWER_PARTS_MAX


class PartsFetch:
    """Fetches the parts of one snapshot.

    Args:
        metadata: Where it stands.
        request_id: Its id.
        rng: Draws the numbers of requests.
        fetch_timeout: Seconds until a request counts as lost.
        now: Monotonic time in seconds.

    Attributes:
        metadata: Where it stands.
        request_id: Its id.
        rejected_count: How many answers, or parts in the end, were wrong.
        has_failed: It cannot be fetched from anybody any more.
    """

    def __init__(
        self,
        metadata: SnapshotMetadata,
        request_id: bytes,
        rng: Random,
        *,
        fetch_timeout: float,
        now: float,
    ) -> None:
        self.metadata = metadata
        self.request_id = request_id
        self.rejected_count = 0
        self.has_failed = False
        self._timeout_s = fetch_timeout
        self._plan = FetchPlan(rng, timeout_s=fetch_timeout)
        self._leader: PeerId | None = None
        self._absences: dict[PeerId, int] = {}
        self._parts: dict[int, tuple[PeerId, bytes]] = {}
        self._held: list[Span] = []
        self._bytes_count = 0
        self._told: dict[PeerId, SnapshotSummary] = {}
        self._trusted: PeerId | None = None
        self._was_trusted: list[PeerId] = []
        self._complete_s: float | None = None
        self._digest = PartsDigest(metadata)
        self._digested_count = 0
        self._now = now

    @property
    def part_count(self) -> int:
        """How many parts are here."""
        return len(self._parts)

    @property
    def whole(self) -> SnapshotSummary | None:
        """What most tell that the whole is; None while nobody does."""
        votes: dict[SnapshotSummary, int] = {}
        for whole in self._told.values():
            votes[whole] = votes.get(whole, 0) + 1
        # The first of equals; a dict keeps the order in which they told.
        return max(votes, key=votes.__getitem__, default=None)

    # What is put in.

    def set_sources(self, peers: list[PeerId], leader: PeerId | None, *, now: float) -> None:
        """Say who may have it, and who leads."""
        self._now = now
        self._leader = leader
        self._plan.set_sources(dict.fromkeys(peers, (0, PARTS_COUNT_MAX)), leader)
        for peer, count in self._absences.items():
            if count >= ABSENCES_MAX:
                self._plan.exclude(peer)

    def receive_parts(self, peer: PeerId, answer: PartRange, *, now: float) -> bool:
        """Take in an answer; return whether anything came of it."""
        self._now = now
        ask = self._plan.answered(peer, answer.number, now=now)
        if ask is None:
            return False
        if not self._is_sound(ask, answer):
            self.reject(peer, now=now)
            return False
        has_changed = answer.whole is not None and self._told.get(peer) != answer.whole
        if answer.whole is not None:
            self._told[peer] = answer.whole
        if answer.parts or has_changed:
            self._plan.served(peer)
        else:
            self._plan.rest(peer, now=now)  # it is still busy making them, or has no more
        return self._keep(peer, ask.first, answer.parts) or has_changed

    def receive_not_here(self, peer: PeerId, answer: NotHere, *, now: float) -> None:
        """Take in that a peer does not have it, or not yet."""
        self._now = now
        if self._plan.answered(peer, answer.number, now=now) is None:
            return
        count = ABSENCES_MAX if answer.is_final else self._absences.get(peer, 0) + 1
        self._absences[peer] = count
        if count >= ABSENCES_MAX:
            self._plan.exclude(peer)
        else:
            self._plan.rest(peer, now=now)

    def reject(self, peer: PeerId, *, now: float) -> None:
        """Note that what a peer sent was wrong; if it was asked something, that was the answer."""
        self._now = now
        self.rejected_count += 1
        self._told.pop(peer, None)
        self._plan.give_up(peer)
        self._plan.strike(peer, now=now)

    def time_out(self, *, now: float) -> None:
        """Give up requests that took too long."""
        self._now = now
        self._plan.time_out(now=now)

    # What comes out.

    def next_requests(self) -> list[tuple[PeerId, FetchParts]]:
        """Return what to ask whom, and count it as asked."""
        self._look_around()
        asks = [] if self.has_failed else self._ask_for_digest() + self._ask_for_parts()
        return [
            (ask.peer, FetchParts(ask.number, self.request_id, ask.first, ask.count))
            for ask in asks
        ]

    def assembled(self) -> tuple[bytes, ...] | None:
        """Return the parts, once they are complete and right; None before."""
        if not self._is_complete:
            self._complete_s = None
            return None
        if self._complete_s is None:
            self._complete_s = self._now
        if not self._is_decided:
            return None
        whole = self.whole
        assert whole is not None, "complete, and nobody told how many parts there are"
        if self._digest_of(whole.part_count) == whole.digest:
            return tuple(self._parts[number][1] for number in range(whole.part_count))
        self._distrust(whole)
        return None

    def get_timer(self) -> float | None:
        """Return when to call `time_out`, then `assembled` and `next_requests`; None for never."""
        due = self._plan.get_timer(now=self._now)
        if self._complete_s is not None and not self.has_failed:
            until_s = self._complete_s + self._timeout_s
            due = until_s if due is None else min(due, until_s)
        return due

    # Asking.

    def _ask_for_parts(self) -> list[FetchRequest]:
        whole = self.whole
        count_max = self._ask_count
        if whole is None:
            # Nobody knows the end: not too far beyond what is here.
            begin = self._held[0][1] + 1 if self._held and not self._held[0][0] else 0
            last = min(begin + AHEAD_ASKS * count_max, PARTS_COUNT_MAX) - 1
        else:
            last = whole.part_count - 1
        return self._plan.next_asks(
            (0, last),
            self._held,
            count_max=count_max,
            asks_max=IN_FLIGHT_MAX,
            now=self._now,
            only=None if self._trusted is None else (self._trusted,),
        )

    def _ask_for_digest(self) -> list[FetchRequest]:
        """Ask those who told nothing yet, one after the other: in the end, or when in dispute."""
        whole = self.whole
        if whole is None or not (self._is_complete or self._is_disputed) or self._is_decided:
            return []
        end = max(told.part_count for told in self._told.values())
        return self._plan.next_asks(
            (end, end), (), count_max=1, asks_max=1, now=self._now, only=self._tellers_left()
        )

    @property
    def _ask_count(self) -> int:
        """How many parts to ask for at once: what fits into one answer, as far as is known."""
        if not self._parts:
            return FIRST_ASK_PARTS
        mean = self._bytes_count // len(self._parts) + 1
        return min(ASK_PARTS_MAX, max(1, ANSWER_BYTES // mean))

    # What arrives.

    def _is_sound(self, ask: FetchRequest, answer: PartRange) -> bool:
        if len(answer.parts) > ask.count:
            return False
        if answer.whole is None:
            return True
        # Who has made all of them has those asked for, up to the end and no more.
        end = answer.whole.part_count
        return ask.first + len(answer.parts) <= end if answer.parts else ask.first >= end

    def _keep(self, peer: PeerId, first: int, parts: tuple[bytes, ...]) -> bool:
        if self._trusted is not None and peer != self._trusted:
            return False
        kept = False
        for number, part in enumerate(parts, first):
            if number not in self._parts:
                if self._bytes_count + len(part) > SNAPSHOT_BYTES_MAX:
                    self.has_failed = True
                    break
                self._parts[number] = (peer, part)
                self._bytes_count += len(part)
                kept = True
        if kept:
            self._held = merge([*self._held, (first, first + len(parts) - 1)])
            self._digest_more()
        return kept

    def _digest_more(self) -> None:
        """Digest what has come in order: in small portions as it comes, not all in the end."""
        while (known := self._parts.get(self._digested_count)) is not None:
            self._digest.add(known[1])
            self._digested_count += 1

    def _digest_of(self, part_count: int) -> bytes:
        if self._digested_count == part_count:
            return self._digest.digest()
        digest = PartsDigest(self.metadata)
        for number in range(part_count):
            digest.add(self._parts[number][1])
        return digest.digest()

    # Judging.

    @property
    def _is_complete(self) -> bool:
        whole = self.whole
        if whole is None:
            return False
        if not whole.part_count:
            return True
        return (
            bool(self._held)
            and self._held[0][0] == 0
            and (self._held[0][1] >= whole.part_count - 1)
        )

    @property
    def _votes(self) -> int:
        """How many tell what most tell."""
        whole = self.whole
        return 0 if whole is None else list(self._told.values()).count(whole)

    @property
    def _is_disputed(self) -> bool:
        """Whether those who told contradict each other, and no side has the majority."""
        return bool(self._told) and 2 * self._votes <= len(self._told)

    @property
    def _is_decided(self) -> bool:
        """Whether enough have told what the whole is, or nobody else will."""
        if self._complete_s is not None and self._now >= self._complete_s + self._timeout_s:
            return True
        is_enough = self._votes >= TELLERS_WANTED and not self._is_disputed
        return is_enough or not self._tellers_left()

    def _tellers_left(self) -> list[PeerId]:
        """Return who could still tell: the leader only if the others contradict each other."""
        left = [peer for peer in self._plan.usable(now=self._now) if peer not in self._told]
        return left if self._is_disputed else [peer for peer in left if peer != self._leader]

    def _distrust(self, whole: SnapshotSummary) -> None:
        """Drop what may be wrong, so that it is fetched again from those who are left."""
        self.rejected_count += 1
        self._complete_s = self._trusted = None
        if self._exclude([peer for peer, told in self._told.items() if told != whole]):
            return
        senders = list(dict.fromkeys(peer for peer, _ in self._parts.values()))
        if not whole.part_count or (len(senders) == 1 and senders[0] in self._told):
            # What they tell is not what they sent.
            self._exclude(senders if whole.part_count else list(self._told))
            return
        for peer in self._plan.usable(now=self._now):
            if peer in self._told and peer not in self._was_trusted:
                self._trusted = peer
                self._was_trusted.append(peer)
                self._drop([other for other in senders if other != peer])
                return
        self.has_failed = True

    def _exclude(self, peers: list[PeerId]) -> bool:
        """Believe some peers nothing at all; return whether parts were theirs."""
        for peer in peers:
            self._told.pop(peer, None)
            self._absences[peer] = ABSENCES_MAX
            self._plan.exclude(peer)
        return self._drop(peers)

    def _drop(self, peers: list[PeerId]) -> bool:
        """Forget the parts of some peers; return whether there were any."""
        kept = {n: known for n, known in self._parts.items() if known[0] not in peers}
        had_any = len(kept) < len(self._parts)
        self._parts = kept
        self._held = merge((number, number) for number in kept)
        self._bytes_count = sum(len(part) for _, part in kept.values())
        self._digest = PartsDigest(self.metadata)
        self._digested_count = 0
        self._digest_more()
        return had_any

    def _look_around(self) -> None:
        """Trust nobody in particular when that one cannot serve; fail when nobody can."""
        if self._trusted is not None and self._trusted not in self._plan.usable(now=self._now):
            self._trusted = None
        if self._plan.is_hopeless:
            self.has_failed = True
