"""From the outbox to the subscribers: what there is room for, in batches as large as may be.

The outbox has what was accepted, the `FanOut` knows how much its subscribers may get, and the
`ItemFilter` who wants what. What is published is encoded once, and waits in the `FanOut` as events.
With nobody there, what was accepted goes back to the application.
"""

from __future__ import annotations

from .encoding import ItemEncoder
from .fanout import FanOut
from .item_filter import ItemFilter
from .outbox import Outbox
from .undelivered import Undelivered


class Publisher:
    """The way of one producer's items.

    Args:
        outbox: Where they wait.
        fan_out: Where they go.
        filter: Which subscribers want them.
        encoder: What joins them to batches.
        batch_bytes_max: How large one may be.
        undelivered: Where they go when nobody has subscribed.
    """

    def __init__(
        self,
        outbox: Outbox,
        fan_out: FanOut,
        item_filter: ItemFilter,
        encoder: ItemEncoder,
        batch_bytes_max: int,
        undelivered: Undelivered,
    ) -> None:
        self._outbox = outbox
        self._fan_out = fan_out
        self._item_filter = item_filter
        self._encoder = encoder
        self._batch_bytes_max = batch_bytes_max
        self._undelivered = undelivered

    @property
    def is_drained(self) -> bool:
        """Whether everything accepted is written."""
        return not self._outbox.entries and self._fan_out.is_drained

    def publish(self, *, now: float) -> None:
        """Publish as much as there is room for."""
        fan_out, outbox = self._fan_out, self._outbox
        while outbox.entries:
            if not fan_out.subscriptions:
                # Once: the function that gets them may send again.
                self._undelivered.hand_back(outbox.take_all())
                return
            entries = outbox.take(*fan_out.room())
            if not entries:
                return
            items_max = fan_out.frame_items_max
            bytes_max = min(self._batch_bytes_max, fan_out.frame_bytes_max)
            for filter_group, share in self._item_filter.split(entries):
                batches = self._encoder.batches(
                    share, frame_items_max=items_max, frame_bytes_max=bytes_max
                )
                fan_out.publish(batches, filter_group=filter_group, now=now)

    def end(self) -> int:
        """Give back what was not published; return how many items will not leave any more."""
        unsent = self._outbox.item_count + max(
            (one.backlog_items for one in self._fan_out.subscriptions.values()), default=0
        )
        self._undelivered.hand_back(self._outbox.take_all())
        return unsent
