"""The trusted domain that a node runs in, as a user sees it: `net.tdx`.

    if net.tdx.available():
        await net.tdx.install_own_ticket()

A node that runs in none can check the tickets of others all the same.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from thespian.actors import ActorAddress

from ..actors.collateral import CollateralActor
from ..actors.tee import TeeActor
from ..config import require_above, seconds
from ..errors import Closed, ConfigError
from ..ids import PeerId
from ..node import Node
from ..runtime import ActorSystemClosed, AskUndeliverable
from ..tee.config import TeeConfig
from ..tee.measurements import Measurements
from ..tee.messages import (
    CheckTdxTicket,
    MakeTdxTicket,
    MeasurementsRead,
    ReadMeasurements,
    StartCollateral,
    StartTee,
    TdxTicketChecked,
    TdxTicketMade,
    TeeFailed,
)
from ..tee.packing import SECONDS_MAX, missing_extra, require_extra
from ..tee.sources import TDX_PROVIDER, NoQuotes, QuoteSource, TdxUnavailable, TsmReports
from ..tee.store import CollateralStore, default_store, store_at
from ..tee.ticket import TdxTicket
from ..tickets.ticket import Ticket
from ..tickets.validator import Expiration, TicketHolder, TicketValidator
from .discovery import Discovery

logger = logging.getLogger(__name__)

ExpirationLike = Expiration | datetime | timedelta | float
A = TypeVar("A", TdxTicketMade, MeasurementsRead, TdxTicketChecked)

_SIMULATED_NODE: Final = "a node of a simulation has the trusted domain that it is given, or none"


@dataclass(frozen=True, slots=True)
class TdxStatus:
    """Whether quotes can be made here.

    Attributes:
        is_available: Whether they can.
        reason: Why not; empty when they can.
        provider: Who makes them: "tdx_guest" is the kernel of a real trusted domain.
        is_simulated: Whether they prove nothing about hardware.
    """

    is_available: bool
    reason: str
    provider: str
    is_simulated: bool

    def __str__(self) -> str:
        if not self.is_available:
            return f"no trusted domain: {self.reason}"
        loud = " (SIMULATED: its quotes prove nothing about hardware)" if self.is_simulated else ""
        return f"trusted domain, quotes by {self.provider}{loud}"


class TrustedDomain:
    """Makes and shows this node's TDX tickets. Made by `start`; ends with its `Network`."""

    def __init__(
        self, node: Node, discovery: Discovery, source: QuoteSource, actor: ActorAddress
    ) -> None:
        self._node = node
        self._discovery = discovery
        self._source = source
        self._actor = actor

    @classmethod
    def start(
        cls, node: Node, discovery: Discovery, config: TeeConfig, *, has_machine: bool
    ) -> Self:
        """Start the actors. A node of a simulation has no kernel that would make its quotes.

        Raises:
            ConfigError: A service of collateral is named, and the extra is not installed.
        """
        source = config.source or (TsmReports() if has_machine else NoQuotes(_SIMULATED_NODE))
        actor = node.system.createActor(TeeActor)
        started = discovery.me.entry.version.start // 1000
        node.system.tell(actor, StartTee(node, source, started))
        if config.collateral_url is not None:
            require_extra()
            keeper = node.system.createActor(CollateralActor)
            node.system.tell(keeper, StartCollateral(node, config, _store_of(config)))
        self = cls(node, discovery, source, actor)
        if self.status.is_simulated:
            logger.warning("node %s: %s", node.peer_id.short, self.status)
        return self

    @property
    def status(self) -> TdxStatus:
        """Whether quotes can be made here, by whom, and if not, why."""
        reason = missing_extra() or getattr(self._source, "reason", "")
        provider = self._source.provider
        return TdxStatus(not reason, reason, provider, provider != TDX_PROVIDER)

    def available(self) -> bool:
        """Return whether quotes can be made here; `status` says why not."""
        return self.status.is_available

    async def ticket(self, expiration: ExpirationLike = Expiration.NEVER) -> Ticket:
        """Return a new ticket of this node, which nobody has seen yet.

        Args:
            expiration: When it ends: an `Expiration`, an aware `datetime`, or how long from
                now on, in seconds or as a `timedelta`. It ends at a whole second.

        Raises:
            TdxUnavailable: No quote can be made here; says why.
            ConfigError: The expiration is past.
            Closed: The network is closed.
        """
        ends = self._as_expiration(expiration)
        return (await self._ask(MakeTdxTicket(ends), TdxTicketMade)).ticket

    async def install_own_ticket(self, expiration: ExpirationLike = Expiration.NEVER) -> Ticket:
        """Show a new ticket to the network, instead of any TDX ticket so far, and return it.

        May be repeated, which renews it; ``net.discovery.keep_ticket(net.tdx.builder(3600))``
        does so by itself. Arguments and errors are those of `ticket`.
        """
        ticket = await self.ticket(expiration)
        self._discovery.replace_ticket(ticket)
        return ticket

    def builder(self, expires_in: float | timedelta) -> TdxTicketBuilder:
        """Return what makes tickets that hold so long, for `Discovery.keep_ticket`.

        Raises:
            ConfigError: It is less than two seconds.
        """
        return TdxTicketBuilder(self, expires_in)

    async def measurements(self) -> Measurements:
        """Return what this trusted domain was built of and has loaded.

        Raises:
            TdxUnavailable: This is none; says why.
            Closed: The network is closed.
        """
        return (await self._ask(ReadMeasurements(), MeasurementsRead)).measurements

    async def check(
        self, ticket: Ticket, validator: TicketValidator, peer: TicketHolder
    ) -> Expiration:
        """Return until when a ticket that `peer` shows holds, by this node's clock.

        Raises:
            InvalidTicket: It is not accepted; says why not.
            Closed: The network is closed.
        """
        message = CheckTdxTicket(ticket, validator, peer)
        return (await self._ask(message, TdxTicketChecked)).expiration

    async def _ask(self, message: Any, answer_class: type[A]) -> A:
        try:
            answer = await self._node.system.ask(self._actor, message)
        except (AskUndeliverable, ActorSystemClosed):
            raise Closed(reason="the network is closed") from None
        if isinstance(answer, TeeFailed):
            raise answer.error
        assert isinstance(answer, answer_class), answer
        return answer

    def _as_expiration(self, given: ExpirationLike) -> Expiration:
        if missing := missing_extra():
            raise TdxUnavailable(missing)
        now = self._node.clock.wall()
        match given:
            case Expiration():
                ends = given
            case datetime():
                ends = Expiration.at(given)
            case timedelta():
                ends = Expiration.at(now + given.total_seconds())
            case _:
                ends = Expiration.at(now + given)
        if ends.seconds is not None and not now < ends.seconds <= SECONDS_MAX:
            raise ConfigError(f"the expiration is {given!r}, expected one to come")
        return ends


class TdxTicketBuilder:
    """Makes a new TDX ticket of its node whenever it is asked; made by `TrustedDomain.builder`."""

    def __init__(self, domain: TrustedDomain, expires_in: float | timedelta) -> None:
        self._domain = domain
        self._expires_in_s = seconds(expires_in)
        require_above("expires_in", self._expires_in_s, 2)

    async def build(self, peer_id: PeerId) -> Ticket:
        """Return a ticket, which is always this node's own. Raises `TdxUnavailable`."""
        ticket = await self._domain.ticket(self._expires_in_s)
        if TdxTicket.from_ticket(ticket).peer_id != peer_id:
            raise ConfigError(f"a trusted domain makes no ticket of peer {peer_id.short}")
        return ticket

    def expiration(self, ticket: Ticket) -> Expiration:
        """Return when a ticket of its ends."""
        return TdxTicket.from_ticket(ticket).expiration


def _store_of(config: TeeConfig) -> CollateralStore:
    folder = config.collateral_folder
    return default_store() if folder is None else store_at(Path(folder))
