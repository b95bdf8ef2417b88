"""The collateral actor: fetches what quotes are judged by, before it is needed.

Receives: `StartCollateral` first; its own wake-ups.
Sends: nothing.
Owns: the `CollateralRefresh`; it writes the files of the store.
Failure: a fetch that fails is logged, and tried again later. What is in the store stays.

`dcap-qvl` speaks with the service. It does not insist on the service's certificate: what comes
is signed by Intel, and validators check that. What is older than what is known is not taken.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from thespian.actors import ActorAddress, WakeupMessage

from ..errors import clip
from ..node import Node
from ..runtime import TypeDispatcher
from ..tee.collateral import Collateral, CollateralKey, format_time
from ..tee.config import TeeConfig
from ..tee.messages import StartCollateral
from ..tee.refresh import CollateralRefresh
from ..tee.store import CollateralStore

logger = logging.getLogger(__name__)


class CollateralActor(TypeDispatcher):
    """Keeps a store full and fresh."""

    def __init__(self) -> None:
        self._node: Node
        self._config: TeeConfig
        self._store: CollateralStore
        self._refresh: CollateralRefresh

    # Lifecycle.

    def receiveMsg_StartCollateral(self, message: StartCollateral, _sender: ActorAddress) -> None:
        """Look from time to time."""
        self._node = message.node
        self._config = message.config
        self._store = message.store
        self._refresh = CollateralRefresh(message.config.collateral_refresh)
        self._arm()

    # Timers.

    async def receiveMsg_WakeupMessage(
        self, _message: WakeupMessage, _sender: ActorAddress
    ) -> None:
        """Fetch what is due."""
        wanted = self._store.wanted
        due = self._refresh.list_due(wanted, self._store.load, now=self._now())
        for key in due:
            await self._fetch(key, wanted[key])
        self._arm()

    # Helpers.

    def _arm(self) -> None:
        self.wakeupAfter(self._config.collateral_check_interval)

    def _now(self) -> float:
        return self._node.clock.wall()

    async def _fetch(self, key: CollateralKey, quote: bytes) -> None:
        url = self._config.collateral_url
        assert url is not None
        try:
            async with asyncio.timeout(self._config.collateral_timeout):
                text = await _ask_service(url, quote)
            fetched = await asyncio.to_thread(Collateral.parse, text.encode())
            known = self._store.load(key)
            self._refresh.receive_collateral(key, fetched, known, now=self._now())
            await asyncio.to_thread(self._store.save, key, fetched)
        except (OSError, ValueError, RuntimeError) as error:
            wait_s = self._refresh.receive_failure(key, now=self._now())
            reason = clip(str(error) or type(error).__name__)
            logger.warning(
                "no collateral of %s from %s: %s; next try in %.0f s", key, url, reason, wait_s
            )
        else:
            logger.info("collateral of %s is here, until %s", key, format_time(fetched.expires))


async def _ask_service(url: str, quote: bytes) -> str:
    import dcap_qvl

    found: Any = await dcap_qvl.get_collateral(url, quote)
    text: str = found.to_json()
    return text
