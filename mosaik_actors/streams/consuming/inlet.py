"""A link's first way into its consumer: through the mailbox.

Before a link was attached its frames went into the mailbox, as the transport sent
them, and whatever comes after must not overtake them. So an inlet queues what comes
until the mailbox is empty of the link's events (`is_caught_up`); then the consumer attaches
itself instead and takes frames at once, which is a turn of the loop less in every round trip.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ...transport.interface import Link, LinkEvent


class Inlet:
    """The sink of one link, until its consumer takes frames directly.

    Args:
        queue: Called with a `QueuedLinkEvent` for each event.
    """

    __slots__ = ("_handled_number", "_queue", "_queued_number")

    def __init__(self, queue: Callable[[QueuedLinkEvent], None]) -> None:
        self._queue = queue
        self._queued_number = 0
        self._handled_number = 0

    def __call__(self, event: LinkEvent) -> None:
        """Queue an event."""
        self._queued_number += 1
        self._queue(QueuedLinkEvent(self, self._queued_number, event))

    @property
    def is_caught_up(self) -> bool:
        """Whether everything that was queued has been handled."""
        return self._handled_number == self._queued_number

    def receive_handled(self, queued: QueuedLinkEvent) -> None:
        """Take in that an event came out of the mailbox, perhaps once more."""
        self._handled_number = queued.number


class QueuedLinkEvent(msgspec.Struct, frozen=True):
    """A link's event on its way through the mailbox.

    Numbered, and not counted: a message whose handler failed is handled again.
    """

    inlet: Inlet
    number: int
    event: LinkEvent


class OpenInlet(msgspec.Struct, frozen=True):
    """Everything the transport itself put into the mailbox is handled now."""

    inlet: Inlet
    link: Link
