"""A ticket that is renewed before it expires, for as long as the node runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from inspect import isawaitable
from typing import Any, Final, Protocol

from ..clock import validating_at
from ..errors import ConfigError
from ..ids import PeerId
from ..node import Node
from ..tickets.ticket import Ticket
from ..tickets.validator import Expiration

logger = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
SLEEP_MAX_S: Final = 3600.0
SHARE_OF_LIFE: Final = 0.5  # one that lives shorter than `before` is renewed at this share of it


class TicketBuilder(Protocol):
    """Makes tickets for a peer, such as `JwtTicketBuilder`."""

    def build(self, peer_id: PeerId) -> Any:
        """Return a new `Ticket`, or something that gives one when awaited."""


class KeptTicket:
    """A ticket that is kept up: made by `Discovery.keep_ticket`. Await it for the first ticket.

    Args:
        node: The node.
        builder: What makes the tickets.
        before_s: How many seconds before a ticket expires the next one is made.
        every_s: After how many seconds the next one is made, whatever the ticket says.
        show: Called with the new ticket and the one that it replaces.
    """

    def __init__(
        self,
        node: Node,
        builder: TicketBuilder,
        *,
        before_s: float,
        every_s: float | None,
        show: Callable[[Ticket, Ticket | None], None],
    ) -> None:
        self._node = node
        self._builder = builder
        self._before_s = before_s
        self._every_s = every_s
        self._show = show
        self._ticket: Ticket | None = None
        loop = asyncio.get_running_loop()
        self._first: asyncio.Future[Ticket] = loop.create_future()
        self._first.add_done_callback(lambda done: done.cancelled() or done.exception())
        made = self._ask_builder()
        wait_s = None if isawaitable(made) else self._take(made)
        self._task = loop.create_task(self._keep(made, wait_s), name="keep a ticket")

    @property
    def ticket(self) -> Ticket | None:
        """The ticket that is shown now; None before the first."""
        return self._ticket

    def __await__(self) -> Generator[Any, None, Ticket]:
        return asyncio.shield(self._first).__await__()

    def close(self) -> None:
        """Renew it no more. What is shown stays until it is removed. May be repeated."""
        self._task.cancel()
        if not self._first.done():
            self._first.cancel()

    def _ask_builder(self) -> Any:
        with validating_at(self._node.clock.wall()):
            return self._builder.build(self._node.peer_id)

    def _take(self, made: Any) -> float | None:
        """Show a ticket, and return in how many seconds the next one is due; None is never.

        Raises:
            ConfigError: It is not a ticket, or nobody can tell when to renew it.
        """
        if not isinstance(made, Ticket):
            raise ConfigError(f"a builder made a {type(made).__name__}, expected a Ticket")
        wait_s = self._find_wait(made)
        self._show(made, self._ticket)
        self._ticket = made
        if not self._first.done():
            self._first.set_result(made)
        return wait_s

    def _find_wait(self, ticket: Ticket) -> float | None:
        if self._every_s is not None:
            return self._every_s
        expiration = self._find_expiration(ticket)
        if expiration is None:
            raise ConfigError(
                "nobody can tell when this ticket expires: give keep_ticket every=, or the "
                "builder a method expiration(ticket) that returns an Expiration"
            )
        if expiration.seconds is None:
            return None
        left_s = expiration.seconds - self._node.clock.wall()
        return max(left_s - self._before_s, left_s * SHARE_OF_LIFE, 0.0)

    def _find_expiration(self, ticket: Ticket) -> Expiration | None:
        ask: Callable[[Ticket], Expiration] | None = getattr(self._builder, "expiration", None)
        if ask is not None:
            return ask(ticket)
        from ..tickets.jwt import stated_expiration  # loads what reads tokens, which few need

        return stated_expiration(ticket)

    async def _keep(self, made: Any, wait_s: float | None) -> None:
        failures = 0
        if self._ticket is None:
            wait_s, failures = await self._renew(made, failures)
        while wait_s is not None:
            # In short sleeps: the wall clock may be set meanwhile.
            await asyncio.sleep(min(wait_s, SLEEP_MAX_S))
            if wait_s > SLEEP_MAX_S:
                wait_s -= SLEEP_MAX_S
                continue
            wait_s, failures = await self._renew(None, failures)

    async def _renew(self, made: Any, failures: int) -> tuple[float | None, int]:
        """Make and show the next ticket; return when to do so again, and the failures so far."""
        try:
            made = self._ask_builder() if made is None else made
            return self._take(await made if isawaitable(made) else made), 0
        except Exception as exc:
            wait_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2**failures)
            log = logger.exception if failures == 0 else logger.warning
            log("a ticket could not be renewed, again in %g s: %s", wait_s, exc)
            return wait_s, min(failures + 1, 16)
