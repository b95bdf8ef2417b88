"""A node's side of relays: a link to each, for as long as the node runs.

The links are ordinary ones, of an endpoint with the node's own identity that speaks to relays
only. What comes and goes on them passes through the `RelayPort`. A relay that is lost is dialled
again, with a growing pause; links to peers that went through it live on if it comes back
within their idle timeout.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from random import Random

from ..address import PeerAddr
from ..close import MOVED, SHUTDOWN, CloseReason
from ..interface import Endpoint, FramesReceived, LinkClosed, LinkEvent, LinkRefused
from .config import RelayConfig
from .frames import PROTOCOL
from .port import RelayPort

logger = logging.getLogger(__name__)


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
        self._linked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin, and wait for the first relay, but not for long."""
        loop = asyncio.get_running_loop()
        self._endpoint.vouch(self._config.relays)
        for number, relay in enumerate(self._config.relays, 1):
            name = f"relay {relay.peer_id.short}"
            self._tasks.append(loop.create_task(self._hold(number, relay), name=name))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.wait):
                await self._linked.wait()

    @property
    def home(self) -> str:
        """The relay to tell others: the nearest of those that are linked, else the first."""
        linked = [self._config.relays[number - 1] for number in self.port.linked]
        found = min(linked, key=self._distance, default=self._config.relays[0])
        return str(found)

    async def close(self) -> None:
        """End all links, and the endpoint."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._endpoint.close(SHUTDOWN)

    def crash(self) -> None:
        """Vanish without a word."""
        for task in self._tasks:
            task.cancel()
        self._endpoint.crash()

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
            try:
                reason = await self._use(number, relay)
                wait_s = self._config.retry_min
            except LinkRefused as refused:
                reason = refused.reason
            finally:
                self.port.set_link(number, None)
            if (text := str(reason)) != said:
                said = text
                logger.warning("relay %s cannot be used now: %s", relay, text)
            if reason == MOVED:
                continue  # it is dialled already
            await asyncio.sleep(wait_s * self._rng.uniform(0.75, 1.25))
            wait_s = min(2 * wait_s, self._config.retry_max)

    async def _use(self, number: int, relay: PeerAddr) -> CloseReason:
        """Use a link to a relay until it ends; return why it did."""
        link = await self._endpoint.open_link(relay, PROTOCOL)
        ended: asyncio.Future[CloseReason] = asyncio.get_running_loop().create_future()
        link.attach(partial(self._take, number, ended))
        self.port.set_link(number, link)
        self._linked.set()
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
