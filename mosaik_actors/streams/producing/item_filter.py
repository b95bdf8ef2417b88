"""Sorts a producer's items by what its subscribers' criteria want.

A *filter group* is one set of criteria and all subscribers that have it. An item is
judged once per filter group, before it is encoded; it then travels to the producer
actor as a `SortedItem`, which names the filter groups that want it. What no filter group and no
unfiltered subscriber wants is never encoded.

While nobody filters, none of this is on an item's way.

One item of `MEASURED_EACH` is judged with the clock at hand, and stands for the
others: who subscribed to a filter group pays for it in equal shares (see `criteria_budget`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...errors import RemoteError
from ...ids import PeerId
from ...transport.close import CloseCode
from ..criteria.binding import compile_criteria
from ..criteria.criteria import decode_criteria
from .encoded import EncodedBatch, EncodedItem

FILTER_GROUPS_MAX = 256
MEASURED_EACH = 61  # a prime: items that repeat after a round number are all seen
MEASURED_MAX_S = 0.001  # longer: this process stood still
SETTLED_EACH_S = 0.02  # of judging


class TooManyCriteria(RemoteError):
    """A producer judges for as many different criteria as it may."""

    def __init__(self) -> None:
        super().__init__(
            f"there are {FILTER_GROUPS_MAX} different criteria already",
            CloseCode.STREAM_NO_CAPACITY,
        )


class FilterGroup:
    """One set of criteria: who has the same is in the same filter group."""

    __slots__ = ("judge", "key", "spent_s", "subscribers")

    def __init__(self, key: bytes, judge: Callable[[Any], bool]) -> None:
        self.key = key
        self.judge = judge
        self.spent_s = 0.0
        self.subscribers: dict[PeerId, int] = {}  # with how often each has subscribed


class SortedItem:
    """An encoded item and the filter groups that want it."""

    __slots__ = ("encoded", "filter_groups")

    def __init__(self, encoded: EncodedItem, filter_groups: tuple[FilterGroup, ...]) -> None:
        self.encoded = encoded
        self.filter_groups = filter_groups

    def __len__(self) -> int:
        return len(self.encoded)


Share = tuple[FilterGroup | None, list[EncodedItem | EncodedBatch]]


class ItemFilter:
    """The filter groups of one producer.

    Args:
        type_: What the items are.
        on_change: Called when filter groups came or went.
        on_spent: Called when it is time to `settle`.
        clock: The seconds of now.

    Attributes:
        is_active: Whether anybody filters.
        version: Counts the changes: what was sorted before one is sorted by old filter groups.
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
        self._filter_groups: dict[bytes, FilterGroup] = {}
        self._was_active = False

    def open_filter_group(self, criteria: bytes) -> FilterGroup | None:
        """Return the filter group of a new subscriber; None is everything.

        Call `join` with it once the subscriber is accepted. May be repeated.

        Raises:
            RemoteError: These are no criteria, or there are too many different ones.
            CriteriaError: They do not fit the type of the items.
        """
        if not criteria:
            return None
        filter_group = self._filter_groups.get(criteria)
        if filter_group is not None:
            return filter_group
        if len(self._filter_groups) >= FILTER_GROUPS_MAX:
            raise TooManyCriteria
        return FilterGroup(criteria, compile_criteria(decode_criteria(criteria), self._type))

    def join(self, filter_group: FilterGroup | None, peer_id: PeerId) -> None:
        """Count a subscriber in."""
        if filter_group is None:
            self.unfiltered_count += 1
        else:
            filter_group.subscribers[peer_id] = filter_group.subscribers.get(peer_id, 0) + 1
            self._filter_groups[filter_group.key] = filter_group
        self._changed()

    def leave(self, filter_group: FilterGroup | None, peer_id: PeerId) -> None:
        """Count a subscriber out."""
        if filter_group is None:
            self.unfiltered_count -= 1
        else:
            filter_group.subscribers[peer_id] -= 1
            if not filter_group.subscribers[peer_id]:
                del filter_group.subscribers[peer_id]
            if not filter_group.subscribers:
                del self._filter_groups[filter_group.key]
        self._changed()

    def filter_groups_of(self, item: Any) -> tuple[FilterGroup, ...] | None:
        """Return the filter groups that want an item, None when nobody at all does."""
        self._until_measured -= 1
        if self._until_measured:
            filter_groups = tuple([one for one in self._filter_groups.values() if one.judge(item)])
        else:
            filter_groups = self._measured_filter_groups_of(item)
        is_wanted = filter_groups or self.unfiltered_count or not self._filter_groups
        return filter_groups if is_wanted else None

    def settle(self) -> tuple[dict[PeerId, float], int]:
        """Return the seconds that each peer's criteria took since the last time, of how many items.

        A filter group is paid for in equal shares, by subscription.
        """
        spent: dict[PeerId, float] = {}
        for filter_group in self._filter_groups.values():
            share_s = filter_group.spent_s / sum(filter_group.subscribers.values())
            filter_group.spent_s = 0.0
            for peer_id, count in filter_group.subscribers.items():
                spent[peer_id] = spent.get(peer_id, 0.0) + share_s * count
        item_count = self._measured_count * MEASURED_EACH
        self._measured_count = 0
        self._unsettled_s = 0.0
        self._is_settling = False
        return spent, item_count

    def _measured_filter_groups_of(self, item: Any) -> tuple[FilterGroup, ...]:
        """Judge as ever, and note what each filter group took."""
        self._until_measured = MEASURED_EACH
        self._measured_count += 1
        filter_groups = []
        before = self._clock()
        for filter_group in self._filter_groups.values():
            if filter_group.judge(item):
                filter_groups.append(filter_group)
            after = self._clock()
            spent_s = min(after - before, MEASURED_MAX_S) * MEASURED_EACH
            filter_group.spent_s += spent_s
            self._unsettled_s += spent_s
            before = after
        if self._unsettled_s >= SETTLED_EACH_S and not self._is_settling:
            self._is_settling = True
            self._on_spent()
        return tuple(filter_groups)

    def split(self, entries: Sequence[EncodedItem | EncodedBatch | SortedItem]) -> list[Share]:
        """Return entries by who gets them; under None is what everybody else gets."""
        if not self._was_active:
            return [(None, entries)]  # type: ignore[list-item]  # nothing was sorted
        everything: list[EncodedItem | EncodedBatch] = []
        wanted: dict[FilterGroup, list[EncodedItem | EncodedBatch]] = {}
        for entry in entries:
            if isinstance(entry, SortedItem):
                everything.append(entry.encoded)
                for filter_group in entry.filter_groups:
                    wanted.setdefault(filter_group, []).append(entry.encoded)
            else:
                everything.append(entry)
        shares: list[Share] = list(wanted.items())
        return [(None, everything), *shares] if self.unfiltered_count else shares

    def _changed(self) -> None:
        before = self.is_active
        self.is_active = bool(self._filter_groups)
        self._was_active = self._was_active or self.is_active
        self.version += 1
        if before != self.is_active:
            self._on_change()
