"""The TEE actor: makes and checks TDX tickets.

Receives: `StartTee` first; `MakeTdxTicket`, `ReadMeasurements`, `CheckTdxTicket`.
Sends: to who asked, `TdxTicketMade`, `MeasurementsRead`, `TdxTicketChecked` or `TeeFailed`.
Owns: nothing but what it was started with.
Failure: whatever goes wrong with a request is its answer.

Quotes are made and checked in a thread, one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from thespian.actors import ActorAddress

from ..clock import validating_at
from ..errors import MosaikError
from ..node import Node
from ..runtime import TypeDispatcher
from ..tee.measurements import Measurements
from ..tee.messages import (
    CheckTdxTicket,
    MakeTdxTicket,
    MeasurementsRead,
    ReadMeasurements,
    StartTee,
    TdxTicketChecked,
    TdxTicketMade,
    TeeFailed,
)
from ..tee.packing import TdxBinding
from ..tee.sources import QuoteSource
from ..tee.ticket import TdxTicket
from ..tickets.validator import ask_validator

Answer = TdxTicketMade | MeasurementsRead | TdxTicketChecked


class TeeActor(TypeDispatcher):
    """Speaks with the trusted domain that the node runs in."""

    def __init__(self) -> None:
        self._node: Node
        self._source: QuoteSource
        self._started = 0

    # Lifecycle.

    def receiveMsg_StartTee(self, message: StartTee, _sender: ActorAddress) -> None:
        """Take what is needed."""
        self._node = message.node
        self._source = message.source
        self._started = message.started

    # Commands.

    async def receiveMsg_MakeTdxTicket(self, message: MakeTdxTicket, sender: ActorAddress) -> None:
        """Make a quote that is bound to this node, and the ticket of it."""
        node = self._node
        binding = TdxBinding(
            peer=node.peer_id,
            network=node.network_id,
            started=self._started,
            quoted=max(int(node.clock.wall()), self._started),
            expiration=int(message.expiration.seconds or 0),
        )

        def make() -> TdxTicketMade:
            quote = self._source.quote(binding.report_data)
            return TdxTicketMade(TdxTicket.make(quote, binding).to_ticket())

        await self._answer(sender, make)

    async def receiveMsg_ReadMeasurements(
        self, _message: ReadMeasurements, sender: ActorAddress
    ) -> None:
        """Read them from a quote of their own: it is the one way that every kernel has."""
        await self._answer(sender, lambda: MeasurementsRead(Measurements.local(self._source)))

    async def receiveMsg_CheckTdxTicket(
        self, message: CheckTdxTicket, sender: ActorAddress
    ) -> None:
        """Ask the validator, at this node's time."""
        now = self._node.clock.wall()

        def check() -> TdxTicketChecked:
            with validating_at(now):
                found = ask_validator(message.validator, message.ticket.data, message.peer)
            return TdxTicketChecked(found)

        await self._answer(sender, check)

    # Helpers.

    async def _answer(self, sender: ActorAddress, call: Callable[[], Answer]) -> None:
        try:
            answer: Answer | TeeFailed = await asyncio.to_thread(call)
        except MosaikError as error:
            answer = TeeFailed(error)
        self.send(sender, answer)
