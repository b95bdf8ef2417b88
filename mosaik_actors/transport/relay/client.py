"""A node's side of relays: a link to each, for as long as the node runs.

The links are ordinary ones, of an endpoint with the node's own identity that speaks to relays
only. What comes and goes on them passes through the `RelayPort`. A relay that is lost is dialled
again, with a growing pause; links to peers that went through it live on if it comes back
within their idle timeout.

What the node shows to relays that require tickets goes with each new link, and over those
that stand whenever it changes, at most once in `SHOW_S`. A relay that has refused the node is
dialled again at once when there is something else to show.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from random import Random
from typing import Final

from ..address import PeerAddr
from ..close import MOVED, SHUTDOWN, CloseCode, CloseReason
from ..interface import Endpoint, FramesReceived, Link, LinkClosed, LinkEvent, LinkRefused
from .config import RelayConfig
from .frames import PROTOCOL, RELAY_TICKETS
from .port import RelayPort

logger = logging.getLogger(__name__)

SHOW_S: Final = 1.0


class RelayClient:
    """Keeps the links to the relays of a node. Made by `start`; `close` it in the end.

    Attributes:
        port: What datagrams go through.
    """

    def __init__(self, endpoint: Endpoint, config: RelayConfig, rng: Random) -> None:
        self.port = RelayPort(config, self._receive_move)
        self._endpoint = endpoint
        self._config = config
        self._rng = rng
        self._answered = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._shown = b""
        self._links: dict[int, Link] = {}
        self._refused: dict[int, asyncio.Event] = {}  # those that want other tickets
        self._may_show_at = 0.0
        self._show_timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin, and wait for the first relay that says yes or wants tickets, but not for long."""
        loop = asyncio.get_running_loop()
        self._endpoint.vouch(self._config.relays)
        for number, relay in enumerate(self._config.relays, 1):
            name = f"relay {relay.peer_id.short}"
            self._tasks.append(loop.create_task(self._hold(number, relay), name=name))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.wait):
                await self._answered.wait()

    @property
    def home(self) -> str:
        """The relay to tell others: the nearest of those that are linked, else the first."""
        linked = [self._config.relays[number - 1] for number in self.port.linked]
        found = min(linked, key=self._distance, default=self._config.relays[0])
        return str(found)

    def show(self, tickets: bytes) -> None:
        """Show these tickets, encoded, to relays from now on, in place of those before."""
        if tickets == self._shown:
            return
        self._shown = tickets
        if self._show_timer is None:
            loop = asyncio.get_running_loop()
            self._show_timer = loop.call_at(max(loop.time(), self._may_show_at), self._show_now)

    def _show_now(self) -> None:
        self._show_timer = None
        self._may_show_at = asyncio.get_running_loop().time() + SHOW_S
        for link in self._links.values():
            link.write(RELAY_TICKETS + self._shown)
        for refused in self._refused.values():
            refused.set()

    async def close(self) -> None:
        """End all links, and the endpoint."""
        self._stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._endpoint.close(SHUTDOWN)

    def crash(self) -> None:
        """Vanish without a word."""
        self._stop()
        self._endpoint.crash()

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._show_timer is not None:
            self._show_timer.cancel()

    def _receive_move(self) -> None:
        """Go on from the addresses that this machine has by now."""
        relays = {relay.peer_id: relay for relay in self._config.relays}
        self._endpoint.look_where(relays.get)

    def _distance(self, relay: PeerAddr) -> float:
        rtt = self._endpoint.rtt(relay.peer_id)
        return float("inf") if rtt is None else rtt

    async def _hold(self, number: int, relay: PeerAddr) -> None:
        """Keep a link to one relay."""
        wait_s = self._config.retry_min
        said = ""
        while True:
            shown = self._shown
            try:
                reason = await self._use(number, relay)
                wait_s = self._config.retry_min
            except LinkRefused as refused:
                reason = refused.reason
            finally:
                self._links.pop(number, None)
                self.port.set_link(number, None)
            if (text := str(reason)) != said:
                said = text
                other = reason.code == CloseCode.DIFFERENT_NETWORK
                hint = (
                    "; its secret is another one than RelayConfig(secret=...) here" if other else ""
                )
                logger.warning("relay %s cannot be used now: %s%s", relay, text, hint)
            if reason == MOVED:
                continue  # it is dialled already
            paused_s = wait_s * self._rng.uniform(0.75, 1.25)
            wait_s = min(2 * wait_s, self._config.retry_max)
            if reason.code != CloseCode.NO_TICKET:
                await asyncio.sleep(paused_s)
            elif await self._until_shown_anew(number, shown, paused_s):
                wait_s = self._config.retry_min

    async def _until_shown_anew(self, number: int, shown: bytes, wait_s: float) -> bool:
        """Wait, or until there are other tickets to show; return whether there are."""
        self._answered.set()  # the start of the node waits no longer: it can show none yet
        refused = self._refused[number] = asyncio.Event()
        try:
            async with asyncio.timeout(wait_s):
                if shown == self._shown:
                    await refused.wait()
            return True
        except TimeoutError:
            return False
        finally:
            del self._refused[number]

    async def _use(self, number: int, relay: PeerAddr) -> CloseReason:
        """Use a link to a relay until it ends; return why it did."""
        shown = self._shown
        link = await self._endpoint.open_link(relay, PROTOCOL, shown)
        ended: asyncio.Future[CloseReason] = asyncio.get_running_loop().create_future()
        link.attach(partial(self._take, number, ended))
        if shown != self._shown:  # meanwhile
            link.write(RELAY_TICKETS + self._shown)
        self._links[number] = link
        self.port.set_link(number, link)
        self._answered.set()
        logger.info("relay %s is used", relay)
        try:
            return await ended
        finally:
            link.close(SHUTDOWN)

    def _take(self, number: int, ended: asyncio.Future[CloseReason], event: LinkEvent) -> None:
        match event:
            case FramesReceived(_, frames):
                self.port.receive(number, frames)
            case LinkClosed(_, reason) if not ended.done():
                ended.set_result(reason)
