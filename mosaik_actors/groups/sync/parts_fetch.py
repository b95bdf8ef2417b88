"""The parts of one snapshot, fetched from all who have it, and checked as a whole.

Which parts there are shows only in the end: a provider that has made all of them says their number
and a digest. Until somebody does, more is asked for than there is, and what lies behind the end
comes back empty, with the digest.

    1. Parts are fetched in parallel, the leader last (`fetch_plan`).
    2. When all are here, they must have the digest that was announced.
    3. If not, or if two announce different ones, all is fetched anew from one peer alone, the
       leader rather than another. Members do not lie, so something broke; that is counted
       (`mismatch_count`), and said in the log. If that fails too, this snapshot is given up.

Invariants:
    * What `assembled` returns has the digest that a provider announced.
    * It is fetched anew once, so it ends: `has_failed` is then true.
    * At most `SNAPSHOT_BYTES_MAX` bytes are held.
"""

from __future__ import annotations

from random import Random
from typing import Final

from ...ids import PeerId
from ..wire import sync as wire
from ..wire.records import PARTS_COUNT_MAX, SnapshotMetadata
from .fetch_plan import FetchPlan, FetchRequest, Span, merge

FIRST_ASK_PARTS: Final = 16
ASK_PARTS_MAX: Final = 1024
AHEAD_ASKS: Final = 64

_ALL: Final = (0, PARTS_COUNT_MAX)

assert ASK_PARTS_MAX <= wire.ANSWER_PARTS_MAX


class PartsFetch:
    """Fetches the parts of one snapshot.

    Attributes:
        plan: Whom it asks: what is late, when, and who sent what cannot be decoded.
        whole: What it is as a whole, once somebody has said; None before.
        mismatch_count: How often what was fetched, or announced, did not fit together.
        has_failed: It cannot be fetched from anybody any more.
    """

    def __init__(
        self, metadata: SnapshotMetadata, request_id: bytes, rng: Random, *, fetch_timeout: float
    ) -> None:
        self.metadata = metadata
        self.request_id = request_id
        self.whole: wire.SnapshotSummary | None = None
        self.mismatch_count = 0
        self.has_failed = False
        self.plan = FetchPlan(rng, timeout_s=fetch_timeout)
        self._leader: PeerId | None = None
        self._only: PeerId | None = None  # from whom alone it is fetched
        self._drop_all()

    def _drop_all(self) -> None:
        self.whole = None
        self._parts: dict[int, bytes] = {}
        self._held: list[Span] = []
        self._bytes_count = 0
        self._digest = wire.PartsDigest(self.metadata)
        self._digested_count = 0  # so many are here from the first on, without a gap

    # What is put in.

    def set_sources(self, peers: list[PeerId], leader: PeerId | None) -> None:
        """Say who may have it, and who leads."""
        self._leader = leader
        if self._only is not None:
            self.has_failed |= self._only not in peers
            peers = [self._only]
        self.plan.set_sources(dict.fromkeys(peers, _ALL), leader)

    def receive(self, peer: PeerId, answer: wire.PartRange | wire.NotHere, *, now: float) -> bool:
        """Take in an answer; return whether anything came of it."""
        ask = self.plan.answered(peer, answer.number, now=now)
        if ask is None:
            return False
        if isinstance(answer, wire.NotHere):
            self.plan.lacks(peer, is_final=answer.is_final, now=now)
            return False
        if not self._is_sound(ask, answer):
            self.plan.strike(peer, now=now)
            return False
        is_news = answer.whole is not None and self.whole is None
        if is_news:
            self.whole = answer.whole
        elif answer.whole not in (None, self.whole):
            self._begin_anew(now)
            return False
        if answer.parts or is_news:
            self.plan.served(peer)
        else:
            self.plan.rest(peer, now=now)  # it is still busy making them, or has no more
        return self._keep(ask.first, answer.parts) or is_news

    # What comes out.

    def next_requests(self, *, now: float) -> list[tuple[PeerId, wire.FetchParts]]:
        """Return what to ask whom, and count it as asked."""
        self.has_failed |= self.plan.is_hopeless
        if self.has_failed:
            return []
        count_max = self._ask_count
        if self.whole is None:
            # Nobody knows the end: not too far beyond what is here.
            end = min(self._digested_count + AHEAD_ASKS * count_max, PARTS_COUNT_MAX)
        else:
            end = self.whole.part_count
        asks = self.plan.next_asks((0, end - 1), self._held, count_max=count_max, now=now)
        return [
            (ask.peer, wire.FetchParts(ask.number, self.request_id, ask.first, ask.count))
            for ask in asks
        ]

    def assembled(self, *, now: float) -> tuple[bytes, ...] | None:
        """Return the parts, once they are complete and right; None before."""
        whole = self.whole
        if whole is None or self._digested_count < whole.part_count:
            return None
        if self._digested_count == whole.part_count and self._digest.digest() == whole.digest:
            return tuple(self._parts[number] for number in range(whole.part_count))
        self._begin_anew(now)
        return None

    @property
    def _ask_count(self) -> int:
        """How many parts to ask for at once: what fits into one answer, as far as is known."""
        if not self._parts:
            return FIRST_ASK_PARTS
        mean = self._bytes_count // len(self._parts) + 1
        return min(ASK_PARTS_MAX, max(1, wire.ANSWER_BYTES // mean))

    def _is_sound(self, ask: FetchRequest, answer: wire.PartRange) -> bool:
        if len(answer.parts) > ask.count:
            return False
        if answer.whole is None:
            return True
        # Who has made all of them has those asked for, up to the end and no more.
        end = answer.whole.part_count
        return ask.first + len(answer.parts) <= end if answer.parts else ask.first >= end

    def _keep(self, first: int, parts: tuple[bytes, ...]) -> bool:
        """Keep the parts that are new; return whether any are."""
        new = {n: part for n, part in enumerate(parts, first) if n not in self._parts}
        self._bytes_count += sum(map(len, new.values()))
        if self._bytes_count > wire.SNAPSHOT_BYTES_MAX:
            self.has_failed = True
            return False
        self._parts |= new
        self._held = merge([*self._held, (first, first + len(parts) - 1)])
        # What has come in order is digested in small portions as it comes, not all in the end.
        while (known := self._parts.get(self._digested_count)) is not None:
            self._digest.add(known)
            self._digested_count += 1
        return bool(new)

    def _begin_anew(self, now: float) -> None:
        """Drop all that is here, and fetch it from one peer alone; the second time give up."""
        self.mismatch_count += 1
        usable = self.plan.usable(now=now)
        if self._only is not None or not usable:
            self.has_failed = True
            return
        self._only = self._leader if self._leader in usable else usable[0]
        # What the one is asked already is of use; what others still answer no longer fits.
        self.plan.set_sources({self._only: _ALL}, self._leader)
        self._drop_all()
