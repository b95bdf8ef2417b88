"""What makes a requirement of the validators that users name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thespian.actors import ActorAddress

from ..actors.network_gate import NetworkGateActor, StartNetworkGate
from ..actors.tickets import TicketsActor
from ..metrics.records import EXPIRING_S, TicketsStatus
from ..network_gate import TicketGate
from ..node import Node
from ..tickets.messages import FollowCatalog, RequiredTickets, StartTickets
from ..tickets.requirement import TicketRequirement, as_validators
from ..tickets.table import TicketTable
from ..tickets.validator import TicketValidator


class TicketChecks:
    """The tickets actor of one node, which starts when a ticket is required for the first time.

    Args:
        node: The node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._catalog: ActorAddress | None = None
        self._table = TicketTable()
        self._actor: ActorAddress | None = None

    def follow(self, catalog: ActorAddress) -> None:
        """Take from this catalog actor what peers show. Called once."""
        self._catalog = catalog
        if self._actor is not None:
            self._node.system.tell(self._actor, FollowCatalog(catalog))

    def read_status(self, shown: int) -> TicketsStatus:
        """Return what the node makes of tickets, beside how many it shows itself."""
        now, counts = self._node.clock.wall(), self._table.counts
        ends = self._table.valid_until(now=now)
        return TicketsStatus(
            shown=shown,
            valid=len(ends),
            expiring=sum(end < now + EXPIRING_S for end in ends),
            awaited=self._table.awaited_count,
            accepted=counts.accepted,
            refused=dict(counts.refused),
            validation_s=counts.seconds,
        )

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
            self._node.system.tell(actor, StartTickets(self._node, self._table))
            self._actor = actor
            if self._catalog is not None:
                self._node.system.tell(actor, FollowCatalog(self._catalog))
        wall = self._node.clock.wall
        return RequiredTickets(TicketRequirement(validators, self._table, wall), self._actor)


def start_gate(
    gate: TicketGate, node: Node, checks: TicketChecks, validators: Sequence[TicketValidator]
) -> None:
    """Let nobody past `gate` without tickets that all of `validators` accept."""
    tickets = checks.require(validators)
    assert tickets is not None, "there is a gate because something is required"
    gate.start(tickets, node.system.tell, node.clock.wall)
    actor = node.system.createActor(NetworkGateActor)
    node.system.tell(actor, StartNetworkGate(tickets, gate.judged))
