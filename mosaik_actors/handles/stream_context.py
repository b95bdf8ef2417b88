"""What the handles of streams on one node have in common."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from thespian.actors import ActorAddress

from ..node import Node
from ..streams.criteria.budget import CriteriaBudget
from ..streams.shared import StreamLedger, StreamState
from .channels import ChannelInfo
from .required_tickets import TicketChecks


@dataclass(frozen=True, slots=True, eq=False)
class StreamsContext:
    """Given to each producer and consumer.

    Attributes:
        node: The node.
        catalog: The catalog actor.
        actor: The actor that offers subscribers to producers.
        criteria_budget: What each peer's criteria may cost here.
        tickets: What makes requirements of validators.
        consumers: Those that are open.
        ledger: What went through the channels that ended.
    """

    node: Node
    catalog: ActorAddress
    actor: ActorAddress
    criteria_budget: CriteriaBudget
    tickets: TicketChecks
    consumers: WeakKeyDictionary[Any, None]
    ledger: StreamLedger

    def channels(self, state: StreamState) -> list[ChannelInfo]:
        """Return the channels of one producer or consumer."""
        make_future = asyncio.get_running_loop().create_future
        return [ChannelInfo(one, self.node.clock, make_future) for one in state.channels.values()]
