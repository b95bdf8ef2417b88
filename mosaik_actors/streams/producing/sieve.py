"""Sorts a producer's items by what its subscribers' criteria want.

A *lane* is one set of criteria and all subscribers that have it. An item is
judged once per lane, before it is encoded; it then travels to the producer
actor as a `SortedPart`, which names the lanes that want it. What no lane and no
unfiltered subscriber wants is never encoded.

While nobody filters, none of this is on an item's way.

One item of `MEASURED_EACH` is judged with the clock at hand, and stands for the
others: who subscribed to a lane pays for it in equal shares (see `criteria_budget`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...errors import RemoteError
from ...ids import PeerId
from ...transport.close import CloseCode
from ..criteria.criteria import compile_criteria, decode_criteria
from .runs import Part, Run

LANES_MAX = 256
MEASURED_EACH = 61  # a prime: items that repeat after a round number are all seen
MEASURED_MAX_S = 0.001  # longer: this process stood still
SETTLED_EACH_S = 0.02  # of judging


class TooManyCriteria(RemoteError):
    """A producer judges for as many different criteria as it may."""

    def __init__(self) -> None:
        super().__init__(
            f"there are {LANES_MAX} different criteria already", CloseCode.STREAM_NO_CAPACITY
        )


class Lane:
    """One set of criteria: who has the same is in the same lane."""

    __slots__ = ("judge", "key", "spent_s", "subscribers")

    def __init__(self, key: bytes, judge: Callable[[Any], bool]) -> None:
        self.key = key
        self.judge = judge
        self.spent_s = 0.0
        self.subscribers: dict[PeerId, int] = {}  # with how often each has subscribed


class SortedPart:
    """An encoded item and the lanes that want it."""

    __slots__ = ("lanes", "part")

    def __init__(self, part: Part, lanes: tuple[Lane, ...]) -> None:
        self.part = part
        self.lanes = lanes

    def __len__(self) -> int:
        return len(self.part)


Share = tuple[Lane | None, list[Part | Run]]


class Sieve:
    """The lanes of one producer.

    Args:
        type_: What the items are.
        on_change: Called when lanes came or went.
        on_spent: Called when it is time to `settle`.
        clock: The seconds of now.

    Attributes:
        is_active: Whether anybody filters.
        version: Counts the changes: what was sorted before one is sorted by old lanes.
        unfiltered_count: Subscribers that take everything.
    """

    def __init__(
        self,
        type_: Any,
        on_change: Callable[[], None],
        on_spent: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self.is_active = False
        self.version = 0
        self.unfiltered_count = 0
        self._type = type_
        self._on_change = on_change
        self._on_spent = on_spent
        self._clock = clock
        self._until_measured = MEASURED_EACH
        self._measured_count = 0
        self._unsettled_s = 0.0
        self._is_settling = False
        self._lanes: dict[bytes, Lane] = {}
        self._was_active = False

    def open_lane(self, criteria: bytes) -> Lane | None:
        """Return the lane of a new subscriber; None is everything.

        Call `join` with it once the subscriber is accepted. May be repeated.

        Raises:
            RemoteError: These are no criteria, or there are too many different ones.
            CriteriaError: They do not fit the type of the items.
        """
        if not criteria:
            return None
        lane = self._lanes.get(criteria)
        if lane is not None:
            return lane
        if len(self._lanes) >= LANES_MAX:
            raise TooManyCriteria
        return Lane(criteria, compile_criteria(decode_criteria(criteria), self._type))

    def join(self, lane: Lane | None, peer_id: PeerId) -> None:
        """Count a subscriber in."""
        if lane is None:
            self.unfiltered_count += 1
        else:
            lane.subscribers[peer_id] = lane.subscribers.get(peer_id, 0) + 1
            self._lanes[lane.key] = lane
        self._changed()

    def leave(self, lane: Lane | None, peer_id: PeerId) -> None:
        """Count a subscriber out."""
        if lane is None:
            self.unfiltered_count -= 1
        else:
            lane.subscribers[peer_id] -= 1
            if not lane.subscribers[peer_id]:
                del lane.subscribers[peer_id]
            if not lane.subscribers:
                del self._lanes[lane.key]
        self._changed()

    def lanes_of(self, item: Any) -> tuple[Lane, ...] | None:
        """Return the lanes that want an item, None when nobody at all does."""
        self._until_measured -= 1
        if self._until_measured:
            lanes = tuple([lane for lane in self._lanes.values() if lane.judge(item)])
        else:
            lanes = self._measured_lanes_of(item)
        return lanes if lanes or self.unfiltered_count or not self._lanes else None

    def settle(self) -> tuple[dict[PeerId, float], int]:
        """Return the seconds that each peer's criteria took since the last time, of how many items.

        A lane is paid for in equal shares, by subscription.
        """
        spent: dict[PeerId, float] = {}
        for lane in self._lanes.values():
            share_s = lane.spent_s / sum(lane.subscribers.values())
            lane.spent_s = 0.0
            for peer_id, count in lane.subscribers.items():
                spent[peer_id] = spent.get(peer_id, 0.0) + share_s * count
        item_count = self._measured_count * MEASURED_EACH
        self._measured_count = 0
        self._unsettled_s = 0.0
        self._is_settling = False
        return spent, item_count

    def _measured_lanes_of(self, item: Any) -> tuple[Lane, ...]:
        """Judge as ever, and note what each lane took."""
        self._until_measured = MEASURED_EACH
        self._measured_count += 1
        lanes = []
        before = self._clock()
        for lane in self._lanes.values():
            if lane.judge(item):
                lanes.append(lane)
            after = self._clock()
            spent_s = min(after - before, MEASURED_MAX_S) * MEASURED_EACH
            lane.spent_s += spent_s
            self._unsettled_s += spent_s
            before = after
        if self._unsettled_s >= SETTLED_EACH_S and not self._is_settling:
            self._is_settling = True
            self._on_spent()
        return tuple(lanes)

    def split(self, parts: Sequence[Part | Run | SortedPart]) -> list[Share]:
        """Return parts by who gets them; under None is what everybody else gets."""
        if not self._was_active:
            return [(None, list(parts))]  # type: ignore[arg-type]  # nothing was sorted
        everything: list[Part | Run] = []
        wanted: dict[Lane, list[Part | Run]] = {}
        for part in parts:
            if isinstance(part, SortedPart):
                everything.append(part.part)
                for lane in part.lanes:
                    wanted.setdefault(lane, []).append(part.part)
            else:
                everything.append(part)
        shares: list[Share] = list(wanted.items())
        return [(None, everything), *shares] if self.unfiltered_count else shares

    def _changed(self) -> None:
        before = self.is_active
        self.is_active = bool(self._lanes)
        self._was_active = self._was_active or self.is_active
        self.version += 1
        if before != self.is_active:
            self._on_change()
