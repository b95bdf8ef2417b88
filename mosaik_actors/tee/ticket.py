"""A TDX ticket as its parts: the quote, and what it is bound to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from ..ids import NetworkId, PeerId
from ..tickets.ticket import Ticket
from ..tickets.validator import Expiration, InvalidTicket
from .measurements import Measurements
from .packing import TDX_CLASS, TdxBinding, pack, unpack
from .quote import Quote, QuoteError


@dataclass(frozen=True, slots=True)
class TdxTicket:
    """What a TDX ticket holds. Whether it is genuine says a `Tdx`.

    Attributes:
        quote_bytes: The quote.
        binding: What it is bound to.
        quote: The quote's parts.
    """

    quote_bytes: bytes
    binding: TdxBinding
    quote: Quote

    @classmethod
    def from_ticket(cls, ticket: Ticket) -> Self:
        """Return what is in a ticket.

        Raises:
            InvalidTicket: It is no TDX ticket, or its quote is bound to something else than
                it says; says which.
            ConfigError: The extra ``tdx`` is not installed.
        """
        if ticket.class_id != TDX_CLASS:
            raise InvalidTicket(f"a ticket of class {ticket.class_id.short} is no TDX ticket")
        return cls.from_data(ticket.data)

    @classmethod
    def from_data(cls, data: bytes) -> Self:
        """Return what is in a ticket's data. Raises as `from_ticket` does."""
        try:
            packed = unpack(data)
            quote = Quote.parse(packed.quote)
        except QuoteError as exc:
            raise InvalidTicket(str(exc)) from exc
        if quote.report.report_data != packed.binding.report_data:
            raise InvalidTicket("the quote is bound to another peer, network or time than it says")
        return cls(packed.quote, packed.binding, quote)

    @classmethod
    def make(cls, quote: bytes, binding: TdxBinding) -> Self:
        """Return the ticket of a quote that was made with the binding's report data.

        Raises:
            InvalidTicket: It is no TDX quote, or was made with other report data.
        """
        return cls.from_data(pack(quote, binding))

    def to_ticket(self) -> Ticket:
        """Return what goes into the peer's entry."""
        return Ticket(TDX_CLASS, pack(self.quote_bytes, self.binding))

    @property
    def peer_id(self) -> PeerId:
        """Whose ticket it is."""
        return self.binding.peer

    @property
    def network_id(self) -> NetworkId:
        """Where it counts."""
        return self.binding.network

    @property
    def started(self) -> datetime:
        """When the peer's node started."""
        return datetime.fromtimestamp(self.binding.started, UTC)

    @property
    def quoted(self) -> datetime:
        """When the quote was made."""
        return datetime.fromtimestamp(self.binding.quoted, UTC)

    @property
    def expiration(self) -> Expiration:
        """From when on it no longer counts."""
        seconds = self.binding.expiration
        return Expiration.at(seconds) if seconds else Expiration.NEVER

    @property
    def measurements(self) -> Measurements:
        """What the quote says that was built and loaded."""
        return Measurements.of(self.quote.report)
