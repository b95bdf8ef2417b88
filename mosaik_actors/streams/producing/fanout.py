"""The producer's side of its subscriptions: one encoding, many subscribers.

A pure state machine. Frames are made once and handed to every subscriber as the
same bytes. Each subscriber has a *window*, which it granted: the items and
bytes on their way to it that its application has not taken. Frames beyond the
window wait in the subscriber's *backlog*, as references. In flight and backlog
together are what it is *behind*: never more than ``buffer_items`` items, nor
``buffer_bytes`` bytes (one frame may always exceed them, or large items would
never pass).

The slowest subscriber thus decides how much may be published (`room`). What
happens to one that leaves no room is the policy:

    * ``disconnect_lagging`` off: everybody waits for it.
    * on: it may hold the others up for ``lag_grace_s`` without taking half of
      what it may be behind, in items or in bytes, whatever its window; then
      `LaggardFound` has the owner disconnect it. With a grace of 0, that
      is at once. Otherwise it gets `CONFIRM_S` more from the moment the timer
      was handled: if this process stood still for the grace, the
      acknowledgements lie unread and the fault is ours. Any of them that comes
      then starts the grace anew.

Subscribers with different criteria see different items, so each *filter group* has a
sequence of its own; subscribers without criteria share the filter group None.

A subscriber may change its window (`change_window`). A smaller one holds from the
moment when every frame is sent that was cut for the larger one: those could
not pass any more. `WindowChanged` says when a change holds.

Rates (`limits`) hold frames back in the backlog, per subscriber and in total. A
subscriber whose backlog waits for a rate is never a laggard. When a total runs
short, subscribers take turns.

Invariants:
    * A subscriber is sent every item from its first sequence on, in order, once.
    * ``acked <= sent <= `` the group's next sequence for each subscriber.

Clock: monotonic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any

import msgspec

from ..config import SHARE_BYTES_MIN
from ..wire import Window, data_frame, data_header
from .limits import Rate, frame_limits, throttle_of
from .subscriber import Subscription

CONFIRM_S = 0.05
FRAME_ITEMS_MAX = 1024  # more in one frame gain nothing, and make the reader's turn long
FRAME_BYTES_MIN = SHARE_BYTES_MIN // 2  # not cut below this, however small a window is


class Batch(msgspec.Struct, frozen=True):
    """Some items, encoded: what a frame carries. In pieces, which are copied once, to the frame."""

    item_count: int
    pieces: Sequence[bytes]

    @property
    def data(self) -> bytes:
        """All pieces as one."""
        return b"".join(self.pieces)


class FramesReady(msgspec.Struct, frozen=True):
    """Write `frames`, with `item_count` items in all, to the subscriber `key`, in order."""

    key: Any
    frames: list[bytes]
    item_count: int


class LaggardFound(msgspec.Struct, frozen=True):
    """The subscriber `key` is too slow and already removed; close its link."""

    key: Any
    behind_items: int


class WindowChanged(msgspec.Struct, frozen=True):
    """Notify the subscriber `key`, after all written before, that `window` holds from here on."""

    key: Any
    window: Window


FanOutEvent = FramesReady | LaggardFound | WindowChanged


class _FilterGroup:
    """The subscribers that see the same items, and the number of the next one."""

    __slots__ = ("next_sequence", "subscriptions")

    def __init__(self) -> None:
        self.next_sequence = 0
        self.subscriptions: dict[Any, Subscription] = {}


class FanOut:
    """All subscriptions of one producer.

    After each call, drain `next_event` and read `get_timer` again.

    Attributes:
        subscriptions: Who is subscribed, by key.
        lone: The only one, where no criteria and no rates have a say.
        frame_items_max: How many items a frame may have. Half a window at most: a consumer
            that took everything may still hold back the acknowledgement of the other half.
        frame_bytes_max: How large a frame of many items may be: half of the smallest
            window, and less with a rate.
    """

    def __init__(
        self,
        *,
        buffer_items: int,
        buffer_bytes: int,
        disconnect_lagging: bool = True,
        lag_grace_s: float = 0.5,
        consumer_rate: Rate | None = None,
        total_rate: Rate | None = None,
        now: float = 0.0,
    ) -> None:
        self.subscriptions: dict[Any, Subscription] = {}
        self.lone: Subscription | None = None
        self._everybody = _FilterGroup()
        self._filter_groups: dict[Hashable, _FilterGroup] = {None: self._everybody}
        self._consumer_rate = consumer_rate
        self._total = throttle_of(total_rate, now=now)
        self._rate_items_max, self._rate_bytes_max = frame_limits(consumer_rate, total_rate)
        self._has_rates = self._rate_items_max is not None or self._rate_bytes_max is not None
        self._turn = 0
        self._buffer_items = buffer_items
        self._buffer_bytes = buffer_bytes
        self._find_frame_limits()
        self._disconnect_lagging = disconnect_lagging
        self._lag_grace_s = lag_grace_s
        self._events: deque[FanOutEvent] = deque()

    def subscribe(
        self,
        key: Any,
        *,
        window_items: int,
        window_bytes: int,
        filter_group: Hashable = None,
        now: float = 0.0,
    ) -> Subscription:
        """Add a subscriber: it gets everything published in its filter group from now on.

        Its window is cut to what it may be behind, so that its
        acknowledgements, due at half a window at the latest, come in time to matter.
        """
        assert key not in self.subscriptions, f"subscriber {key!r} is there already"
        window_items = min(window_items, self._buffer_items)
        window_bytes = min(window_bytes, self._buffer_bytes)
        own = throttle_of(self._consumer_rate, now=now)
        throttles = tuple(one for one in (own, self._total) if one is not None)
        home = self._filter_groups.setdefault(filter_group, _FilterGroup())
        first = home.next_sequence
        subscription = Subscription(key, first, window_items, window_bytes, filter_group, throttles)
        self.subscriptions[key] = home.subscriptions[key] = subscription
        self._find_lone()
        self._find_frame_limits()
        return subscription

    def change_window(self, key: Any, window: Window, *, now: float = 0.0) -> None:
        """Grant what a subscriber asks for, cut as in `subscribe`; `WindowChanged` follows.

        A question that comes while one is open replaces it: there is one answer.
        """
        subscription = self.subscriptions.get(key)
        if subscription is None:
            return
        wanted = window.at_most(Window(self._buffer_items, self._buffer_bytes))
        subscription.wanted = wanted
        # What is cut already must be able to pass: the window grows at once, and shrinks later.
        present = Window(subscription.window_items, subscription.window_bytes)
        subscription.window_items, subscription.window_bytes = present.at_least(wanted)
        subscription.narrows_at = self._filter_groups[subscription.filter_group].next_sequence
        self._find_frame_limits()
        self._release_one(subscription, now, 0 if self._has_rates else None)

    def unsubscribe(self, key: Any) -> None:
        """Forget a subscriber, if it is there, and all that waits for it."""
        subscription = self.subscriptions.pop(key, None)
        if subscription is None:
            return
        self._find_lone()
        self._find_frame_limits()
        home = self._filter_groups[subscription.filter_group]
        del home.subscriptions[key]
        if not home.subscriptions and subscription.filter_group is not None:
            del self._filter_groups[subscription.filter_group]

    def room(self) -> tuple[int, int]:
        """Return how many items and bytes may be published now.

        While there is room for a byte, one item of any size may pass.
        """
        item_room, byte_room = self._buffer_items, self._buffer_bytes
        for one in self.subscriptions.values():
            left = self._buffer_items - one.sent + one.acked - one.backlog_items
            if left < item_room:
                item_room = left
            left = self._buffer_bytes - one.behind_bytes
            if left < byte_room:
                byte_room = left
        return (item_room if item_room > 0 else 0), (byte_room if byte_room > 0 else 0)

    @property
    def next_sequence(self) -> int:
        """The number of the next item that everybody without criteria gets."""
        return self._everybody.next_sequence

    @property
    def is_throttled(self) -> bool:
        """Whether frames wait for a rate: then `get_timer` says when they may go."""
        return self._has_rates and any(s.is_throttled for s in self.subscriptions.values())

    @property
    def is_drained(self) -> bool:
        """Whether no subscriber has a backlog: all that was published is written."""
        return not any(subscription.backlog for subscription in self.subscriptions.values())

    @property
    def is_idle(self) -> bool:
        """Whether every subscriber has taken everything."""
        return not any(s.behind_items for s in self.subscriptions.values())

    def publish(
        self, batches: Sequence[Batch], *, filter_group: Hashable = None, now: float = 0.0
    ) -> None:
        """Send items to all subscribers of a filter group.

        The caller asked `room` and `frame_items_max` before. `now` only matters
        with rates.
        """
        home = self._filter_groups.get(filter_group)
        if home is None:
            return  # its last subscriber left meanwhile
        frames: list[tuple[int, bytes]] = []
        for batch in batches:
            frame = data_frame(home.next_sequence, batch.item_count, *batch.pieces)
            home.next_sequence += batch.item_count
            frames.append((batch.item_count, frame))
        for subscription in home.subscriptions.values():
            sent = subscription.sent
            writable: list[bytes] = []
            subscription.offer(frames, writable, now)
            if writable:
                count = subscription.sent - sent
                self._events.append(FramesReady(subscription.key, writable, count))

    def publish_lone(self, head: bytes, body: bytes) -> tuple[bytes, int] | None:
        """Send an item to the `lone` subscriber at once: return what to write, and its length.

        None, and nothing has happened, where it is not as simple as that: then `publish`.
        """
        lone, everybody = self.lone, self._everybody
        if lone is None or self._events:
            return None
        frame = data_header(everybody.next_sequence, 1) + head + body
        size = len(frame)
        if not lone.send_lone(size):
            return None
        everybody.next_sequence += 1
        return frame, size

    def receive_ack(self, key: Any, sequence: int, *, now: float = 0.0) -> int:
        """Take in a subscriber's acknowledgement; return how many items it freed.

        Raises:
            RemoteError: It goes back, or beyond what was sent. Nothing changed.
        """
        subscription = self.subscriptions.get(key)
        if subscription is None:
            return 0
        freed = sequence - subscription.acked
        subscription.acknowledge(sequence)
        if freed and self._is_keeping_up(subscription):
            subscription.note_progress()
        if self._has_rates:
            self._release(now)
        else:
            self._release_one(subscription, now)
        return freed

    def note_blocked(self, *, now: float) -> None:
        """Take in that items wait for `room`: whoever leaves none is holding them up."""
        for subscription in list(self.subscriptions.values()):
            if subscription.is_throttled:
                subscription.note_progress()
            elif subscription.blocking_since is None and self._is_full(subscription):
                subscription.note_blocking(now=now)
        self.handle_timer(now=now)

    def note_unblocked(self) -> None:
        """Take in that nothing waits any more: nobody holds anything up."""
        for subscription in self.subscriptions.values():
            subscription.note_progress()

    def get_timer(self) -> float | None:
        """Return when to call `handle_timer`, None for never."""
        due: list[float | None] = []
        if self._has_rates:
            due += [subscription.opens_at() for subscription in self.subscriptions.values()]
        if self._disconnect_lagging:
            due += [self._due_at(subscription) for subscription in self.subscriptions.values()]
        return min((at for at in due if at is not None), default=None)

    def handle_timer(self, *, now: float) -> None:
        """Remove those that held the stream up for too long; send what a rate held back."""
        if self._has_rates:
            self._release(now)
        if not self._disconnect_lagging:
            return
        for subscription in list(self.subscriptions.values()):
            due_at = self._due_at(subscription)
            if due_at is None or now < due_at:
                continue
            if subscription.suspected_at is None and self._lag_grace_s > 0:
                subscription.suspected_at = now
            else:
                self.unsubscribe(subscription.key)
                self._events.append(LaggardFound(subscription.key, subscription.behind_items))

    def _release_one(
        self, subscription: Subscription, now: float, frames_max: int | None = None
    ) -> bool:
        """Write what waited for a subscriber and may go now; return whether there was any."""
        sent = subscription.sent
        writable: list[bytes] = []
        if subscription.backlog:
            subscription.release(writable, now, frames_max)
        if writable:
            count = subscription.sent - sent
            self._events.append(FramesReady(subscription.key, writable, count))
        if subscription.narrow():
            self._events.append(WindowChanged(subscription.key, subscription.wanted))
        return bool(writable)

    def _release(self, now: float) -> None:
        """Let those whose frames wait for a rate take turns, one frame each."""
        waiting = [s for s in self.subscriptions.values() if s.backlog]
        waiting.sort(key=lambda one: one.turn)  # who had none for longest comes first
        while waiting:
            for subscription in list(waiting):
                if self._release_one(subscription, now, frames_max=1):
                    self._turn += 1
                    subscription.turn = self._turn
                else:
                    waiting.remove(subscription)

    def _due_at(self, subscription: Subscription) -> float | None:
        if subscription.suspected_at is not None:
            return subscription.suspected_at + CONFIRM_S
        if subscription.blocking_since is not None:
            return subscription.blocking_since + self._lag_grace_s
        return None

    def next_event(self) -> FanOutEvent | None:
        """Return the next thing to do, None when there is nothing."""
        return self._events.popleft() if self._events else None

    def _find_lone(self) -> None:
        self.lone = None
        if len(self.subscriptions) == 1 and not self._has_rates:
            (only,) = self.subscriptions.values()
            self.lone = only if only.filter_group is None else None

    def _find_frame_limits(self) -> None:
        smallest = Window(self._buffer_items, self._buffer_bytes)
        for subscription in self.subscriptions.values():
            smallest = smallest.at_most(subscription.wanted)
        half_items, half_bytes = ((one + 1) // 2 for one in smallest)
        self.frame_items_max = min(
            half_items, self._rate_items_max or FRAME_ITEMS_MAX, FRAME_ITEMS_MAX
        )
        half_bytes = max(half_bytes, FRAME_BYTES_MIN)
        self.frame_bytes_max = min(half_bytes, self._rate_bytes_max or half_bytes)

    def _is_keeping_up(self, subscription: Subscription) -> bool:
        """Return whether what it took while it was blocking is enough for a new grace."""
        # Rounded down, as acknowledgements of half a window are.
        if (
            subscription.freed_items >= self._buffer_items // 2
            or subscription.freed_bytes >= self._buffer_bytes // 2
        ):
            return True
        since, suspected_at = subscription.blocking_since, subscription.suspected_at
        if since is None or suspected_at is None:
            return False
        return suspected_at > since + self._lag_grace_s + CONFIRM_S  # we stood still

    def _is_full(self, subscription: Subscription) -> bool:
        return (
            subscription.behind_items >= self._buffer_items
            or subscription.behind_bytes >= self._buffer_bytes
        )
