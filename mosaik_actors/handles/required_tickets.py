"""What makes a requirement of the validators that users name."""

from __future__ import annotations

from typing import Any

from thespian.actors import ActorAddress

from ..actors.tickets import TicketsActor
from ..node import Node
from ..tickets.messages import RequiredTickets, StartTickets
from ..tickets.requirement import TicketRequirement, as_validators
from ..tickets.table import TicketTable


class TicketChecks:
    """The tickets actor of one node, which starts when a ticket is required for the first time.

    Args:
        node: The node.
        catalog: The catalog actor.
    """

    def __init__(self, node: Node, catalog: ActorAddress) -> None:
        self._node = node
        self._catalog = catalog
        self._table = TicketTable()
        self._actor: ActorAddress | None = None

    def require(self, require_ticket: Any) -> RequiredTickets | None:
        """Return what to ask about peers, None when nothing is required.

        Whoever gets it watches `RequiredTickets.actor`, and releases it in the end
        with `UnwatchTickets`.

        Raises:
            ConfigError: It is neither a validator nor several.
            Closed: The network is closed.
        """
        validators = as_validators(require_ticket)
        if not validators:
            return None
        if self._actor is None:
            actor = self._node.system.createActor(TicketsActor)
            self._node.system.tell(actor, StartTickets(self._node, self._catalog, self._table))
            self._actor = actor
        wall = self._node.clock.wall
        return RequiredTickets(TicketRequirement(validators, self._table, wall), self._actor)
