"""What the actors of trusted domains say."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import MosaikError
from ..node import Node
from ..tickets.ticket import Ticket
from ..tickets.validator import Expiration, TicketHolder, TicketValidator
from .config import TeeConfig
from .measurements import Measurements
from .sources import QuoteSource
from .store import CollateralStore


@dataclass(frozen=True, slots=True)
class StartTee:
    """Begin. `started` is when the node did, in seconds since the Unix epoch."""

    node: Node
    source: QuoteSource
    started: int


@dataclass(frozen=True, slots=True)
class MakeTdxTicket:
    """Make a ticket of this node that ends at `expiration`; answered by `TdxTicketMade`."""

    expiration: Expiration


@dataclass(frozen=True, slots=True)
class TdxTicketMade:
    """The ticket."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class ReadMeasurements:
    """Read what this trusted domain runs; answered by `MeasurementsRead`."""


@dataclass(frozen=True, slots=True)
class MeasurementsRead:
    """What it runs."""

    measurements: Measurements


@dataclass(frozen=True, slots=True)
class CheckTdxTicket:
    """Ask a validator about a ticket; answered by `TdxTicketChecked`."""

    ticket: Ticket
    validator: TicketValidator
    peer: TicketHolder


@dataclass(frozen=True, slots=True)
class TdxTicketChecked:
    """Until when the ticket holds."""

    expiration: Expiration


@dataclass(frozen=True, slots=True)
class TeeFailed:
    """What was asked for could not be done."""

    error: MosaikError


@dataclass(frozen=True, slots=True)
class StartCollateral:
    """Keep the store full and fresh."""

    node: Node
    config: TeeConfig
    store: CollateralStore
