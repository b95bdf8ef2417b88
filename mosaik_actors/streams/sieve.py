"""Sorts a producer's items by what its subscribers' criteria want.

A *lane* is one set of criteria and all subscribers that have it. An item is
judged once per lane, before it is encoded; it then travels to the producer
actor as a `SortedPart`, which names the lanes that want it. What no lane and no
unfiltered subscriber wants is never encoded.

While nobody filters, none of this is on an item's way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import RemoteError
from ..transport.close import CloseCode
from .criteria import compile_criteria, decode_criteria
from .runs import Part, Run

LANES_MAX = 256


class TooManyCriteria(RemoteError):
    """A producer judges for as many different criteria as it may."""

    def __init__(self) -> None:
        super().__init__(
            f"there are {LANES_MAX} different criteria already", CloseCode.STREAM_NO_CAPACITY
        )


class Lane:
    """One set of criteria: who has the same is in the same lane."""

    __slots__ = ("judge", "key", "subscriber_count")

    def __init__(self, key: bytes, judge: Callable[[Any], bool]) -> None:
        self.key = key
        self.judge = judge
        self.subscriber_count = 0


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

    Attributes:
        is_active: Whether anybody filters.
        version: Counts the changes: what was sorted before one is sorted by old lanes.
        unfiltered_count: Subscribers that take everything.
    """

    def __init__(self, type_: Any, on_change: Callable[[], None]) -> None:
        self.is_active = False
        self.version = 0
        self.unfiltered_count = 0
        self._type = type_
        self._on_change = on_change
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

    def join(self, lane: Lane | None) -> None:
        """Count a subscriber in."""
        if lane is None:
            self.unfiltered_count += 1
        else:
            lane.subscriber_count += 1
            self._lanes[lane.key] = lane
        self._changed()

    def leave(self, lane: Lane | None) -> None:
        """Count a subscriber out."""
        if lane is None:
            self.unfiltered_count -= 1
        else:
            lane.subscriber_count -= 1
            if not lane.subscriber_count:
                del self._lanes[lane.key]
        self._changed()

    def lanes_of(self, item: Any) -> tuple[Lane, ...] | None:
        """Return the lanes that want an item, None when nobody at all does."""
        lanes = tuple([lane for lane in self._lanes.values() if lane.judge(item)])
        return lanes if lanes or self.unfiltered_count or not self._lanes else None

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
