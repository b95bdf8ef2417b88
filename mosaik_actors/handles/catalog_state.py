"""What discovery shows: the catalog, and what happens to it."""

from __future__ import annotations

from ..discovery.view import CatalogEvent, CatalogSnapshot
from ..errors import Closed
from ..shared_state import SharedState


class CatalogState(SharedState):
    """What the catalog actor shows to any number of readers.

    Args:
        snapshot: The catalog at first.
        events_backlog: Events that are kept for slow readers.

    Attributes:
        snapshot: The catalog at this moment.
    """

    def __init__(self, snapshot: CatalogSnapshot, events_backlog: int) -> None:
        super().__init__(events_backlog)
        self.snapshot = snapshot

    def show(self, snapshot: CatalogSnapshot, events: tuple[CatalogEvent, ...]) -> None:
        """Replace the snapshot, add events, and let all who watch look."""
        self.snapshot = snapshot
        self.publish(*events)

    def close(self, error: Exception | None = None) -> None:
        """Take in that nothing will change any more; all iterations end."""
        super().close(error or Closed(reason="the network is closed"))
