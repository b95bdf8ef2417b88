"""The gate of a network that requires tickets: who is connected, and gets nothing else.

It stands around the endpoint, beneath everything that opens or accepts links:

    1. A peer that connects is asked for its tickets (`tickets.wire`), whoever dialled.
    2. Until they are validated, the links that it opens are held, unread, and none is
       opened to it. It learns nothing, neither of this node nor of others.
    3. One without a valid ticket is disconnected, with the reason.
    4. Afterwards the node's table of tickets says until when it may stay: its entry may
       show newer tickets, or fewer. At the moment at which none holds any more it is
       disconnected (`judged`).

Both sides may require tickets of each other; each shows its own whenever it is asked
by somebody who has proven the network's secret.

Failure: who does not answer in `ANSWER_S` has no tickets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Final, cast

from .errors import DecodeError, clip
from .ids import PeerId
from .tickets.messages import RequiredTickets, TicketsTouched
from .tickets.table import Shown
from .tickets.wire import PROTOCOL, decode_shown
from .transport.address import PeerAddr
from .transport.close import CANCELLED, CloseCode, CloseReason
from .transport.interface import (
    ConnectionEvent,
    Endpoint,
    Link,
    LinkRefused,
    PeerConnected,
    PeerDisconnected,
)

logger = logging.getLogger(__name__)

ANSWER_S: Final = 5.0
HELD_MAX: Final = 64  # links of one peer
LOGGED_MAX: Final = 100

Acceptor = Callable[[Link], None]


class TicketGate:
    """An endpoint whose peers need tickets. What it does not do itself the endpoint does.

    Args:
        endpoint: The endpoint behind the gate.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._tickets: RequiredTickets
        self._tell: Callable[[Any, Any], None]
        self._wall: Callable[[], float]
        self._asking: dict[PeerId, asyncio.Task[LinkRefused | None]] = {}
        self._awaited: dict[PeerId, asyncio.Future[None]] = {}
        self._held: dict[PeerId, list[tuple[Link, Acceptor]]] = {}
        self._logged: dict[PeerId, None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._endpoint, name)

    @property
    def as_endpoint(self) -> Endpoint:
        """This gate, as the endpoint that it stands for."""
        return cast("Endpoint", self)

    def start(
        self,
        tickets: RequiredTickets,
        tell: Callable[[Any, Any], None],
        wall: Callable[[], float],
    ) -> None:
        """Ask whoever is connected, or will be.

        Args:
            tickets: What is required. Call `judged` when its verdicts change.
            tell: Sends a message to an actor.
            wall: What time it is, in seconds since the Unix epoch.
        """
        self._tickets, self._tell, self._wall = tickets, tell, wall
        self._endpoint.on_connection_event(self._take_connection_event)
        for peer_id in self._endpoint.connected_peers():
            self._ask(PeerAddr(peer_id))

    # In place of the endpoint's own.

    async def open_link(
        self,
        to: PeerAddr,
        protocol: str,
        header: bytes = b"",
        *,
        timeout: float = 10.0,
        is_essential: bool = False,
    ) -> Link:
        """Open a link as `Endpoint.open_link` does, once the peer has shown its tickets."""
        if self._why_not(to.peer_id) is not None:
            try:
                refused = await asyncio.wait_for(asyncio.shield(self._ask(to)), timeout)
            except TimeoutError:
                text = "its tickets were not shown in time"
                raise LinkRefused(CloseReason(CloseCode.NO_TICKET, text)) from None
            if refused is not None:
                raise refused
        return await self._endpoint.open_link(
            to, protocol, header, timeout=timeout, is_essential=is_essential
        )

    def serve(self, protocol: str, acceptor: Acceptor, *, is_essential: bool = False) -> None:
        """Serve a protocol for those who have shown their tickets."""
        if protocol != PROTOCOL:
            inner = acceptor

            def acceptor(link: Link) -> None:
                self._accept(link, inner)

        self._endpoint.serve(protocol, acceptor, is_essential=is_essential)

    async def close(self, reason: CloseReason) -> None:
        """Ask nobody any more, and close the endpoint."""
        self._stop()
        await self._endpoint.close(reason)

    def crash(self) -> None:
        """Vanish without a word."""
        self._stop()
        self._endpoint.crash()

    # Verdicts.

    def judged(self, peers: Iterable[PeerId]) -> None:
        """Take in that the verdicts on some peers are different."""
        connected = frozenset(self._endpoint.connected_peers())
        for peer_id in peers:
            if (waiting := self._awaited.pop(peer_id, None)) is not None and not waiting.done():
                waiting.set_result(None)
            if peer_id in connected and peer_id not in self._asking:
                verdict = self._tickets.requirement.judge_id(peer_id)
                is_unknown = verdict.is_awaited and verdict.until == -inf
                if not is_unknown and not verdict.allows(self._wall()):
                    self._turn_away(peer_id, verdict.reason)

    def _why_not(self, peer_id: PeerId) -> str | None:
        return self._tickets.requirement.why_not(peer_id)

    # Helpers.

    def _take_connection_event(self, event: ConnectionEvent) -> None:
        match event:
            case PeerConnected(peer_id, remote):
                if self._why_not(peer_id) is not None:
                    self._ask(remote)
            case PeerDisconnected(peer_id, _):
                self._held.pop(peer_id, None)

    def _accept(self, link: Link, acceptor: Acceptor) -> None:
        """Pass a link on, or hold it until its peer has shown its tickets."""
        if self._why_not(link.peer_id) is None:
            acceptor(link)
            return
        held = self._held.setdefault(link.peer_id, [])
        if len(held) >= HELD_MAX:
            link.close(CloseReason(CloseCode.NO_TICKET, "too many links before a ticket"))
            return
        held.append((link, acceptor))
        self._ask(PeerAddr(link.peer_id))

    def _ask(self, addr: PeerAddr) -> asyncio.Task[LinkRefused | None]:
        """Have a peer show its tickets, once at a time; the result says why it may not stay."""
        task = self._asking.get(addr.peer_id)
        if task is None:
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._clear(addr), name=f"tickets of {addr.peer_id.short}")
            self._asking[addr.peer_id] = task
            task.add_done_callback(lambda done: self._finish(addr.peer_id, done))
        return task

    async def _clear(self, addr: PeerAddr) -> LinkRefused | None:
        peer_id = addr.peer_id
        try:
            link = await self._endpoint.open_link(
                addr, PROTOCOL, timeout=ANSWER_S, is_essential=True
            )
            shown = decode_shown(link.reply)
            link.close()
        except LinkRefused as exc:
            return exc
        except DecodeError as exc:
            link.close(CloseReason(exc.close_code, clip(str(exc))))
            return LinkRefused(CloseReason(CloseCode.NO_TICKET, "its tickets are unreadable"))
        network_id, now = self._endpoint.network_id, self._wall()
        requirement = self._tickets.requirement
        holder = Shown(peer_id, network_id, shown.version, shown.tickets)
        verdict = requirement.judge(holder)
        self._tell(self._tickets.actor, TicketsTouched())
        if verdict.is_awaited and not verdict.allows(now):
            waiting = self._awaited[peer_id] = asyncio.get_running_loop().create_future()
            await asyncio.wait([waiting], timeout=ANSWER_S)
        why = self._why_not(peer_id)
        return None if why is None else LinkRefused(_no_ticket(why))

    def _finish(self, peer_id: PeerId, task: asyncio.Task[LinkRefused | None]) -> None:
        """Pass the held links on, or turn the peer away."""
        self._asking.pop(peer_id, None)
        self._awaited.pop(peer_id, None)
        held = self._held.pop(peer_id, [])
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            logger.error("asking peer %s for tickets failed", peer_id.short, exc_info=error)
        if self._why_not(peer_id) is None:
            for link, acceptor in held:
                if link.is_open:
                    acceptor(link)
            return
        refused = None if error is not None else task.result()
        self._turn_away(peer_id, "it did not show any" if refused is None else refused.reason.text)

    def _turn_away(self, peer_id: PeerId, why: str) -> None:
        reason = _no_ticket(why)
        if peer_id not in self._logged and len(self._logged) < LOGGED_MAX:
            self._logged[peer_id] = None
            logger.warning("peer %s is not admitted: %s", peer_id.short, reason.text)
        self._endpoint.disconnect(peer_id, reason)

    def _stop(self) -> None:
        for task in list(self._asking.values()):
            task.cancel()
        for held in self._held.values():
            for link, _ in held:
                link.close(CANCELLED)
        self._held.clear()


def _no_ticket(why: str) -> CloseReason:
    prefix = "no valid ticket: "
    return CloseReason(CloseCode.NO_TICKET, (prefix + why.removeprefix(prefix))[:200])
