"""The collection actor: looks who has the same store as another collection.

Receives: `StartCollection` first; `CatalogChanged`; `ActorExitRequest` when the
    collection is closed at this node.
Sends: `WatchCatalog` and `UnwatchCatalog` to the catalog.
Owns: whom it has warned of.
Failure: there is nothing to lose; the collection itself is its replica's.

The collection's state, log and links belong to its group's replica actor. This
one shows people what the replica cannot see: nodes that mean the same collection
and have another one, because they differ in a type or a setting.
"""

from __future__ import annotations

import logging

from thespian.actors import ActorAddress, ActorExitRequest

from ..collections.messages import StartCollection
from ..collections.naming import near_misses
from ..discovery.messages import CatalogChanged, UnwatchCatalog, WatchCatalog
from ..runtime import TypeDispatcher

logger = logging.getLogger(__name__)


class CollectionActor(TypeDispatcher):
    """Warns of collections that nearly are this one."""

    def __init__(self) -> None:
        self._start: StartCollection

    # Lifecycle.

    def receiveMsg_StartCollection(self, message: StartCollection, _sender: ActorAddress) -> None:
        """Watch the catalog from now on."""
        self._start = message
        self.send(message.catalog, WatchCatalog(self.myAddress))

    def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Watch no longer."""
        self.send(self._start.catalog, UnwatchCatalog(self.myAddress))

    # From the catalog.

    def receiveMsg_CatalogChanged(self, message: CatalogChanged, _sender: ActorAddress) -> None:
        """Warn of each peer that has another collection of the same store."""
        start = self._start
        found = list(near_misses(start.name, start.group_id, message.snapshot.values()))
        start.near_misses.why = found[0][1] if found else None
        for peer, why in found:
            now = start.node.clock.monotonic()
            start.node.peer_log.warning(logger, peer, "%s", why, now=now, about=start.group_id)
