"""The collateral actor: fetches what quotes are judged by, before it is needed.

Receives: `StartCollateral` first; its own wake-ups.
Sends: nothing.
Owns: the `CollateralRefresh`, and a task that fetches; it writes the files of the store.
Failure: a fetch that fails is logged, and tried again later. What is in the store stays.

The standard library speaks with the service, in a thread that nobody waits for when the node
ends. (The fetching of `dcap-qvl` accepts any certificate of the service, and its threads can
bring the interpreter down when it ends.)
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from thespian.actors import ActorAddress, ActorExitRequest, WakeupMessage

from ..errors import DecodeError, clip
from ..node import Node
from ..runtime import TypeDispatcher
from ..tee.collateral import Collateral, CollateralKey, format_time
from ..tee.config import TeeConfig
from ..tee.messages import StartCollateral
from ..tee.refresh import CollateralRefresh
from ..tee.service import DOCUMENT_BYTES_MAX, ServiceAnswer, join, list_documents
from ..tee.store import CollateralStore

logger = logging.getLogger(__name__)

T = TypeVar("T")


class CollateralActor(TypeDispatcher):
    """Keeps a store full and fresh."""

    def __init__(self) -> None:
        self._node: Node
        self._config: TeeConfig
        self._store: CollateralStore
        self._refresh: CollateralRefresh
        self._fetching: asyncio.Task[None] | None = None

    # Lifecycle.

    def receiveMsg_StartCollateral(self, message: StartCollateral, _sender: ActorAddress) -> None:
        """Look from time to time."""
        self._node = message.node
        self._config = message.config
        self._store = message.store
        self._refresh = CollateralRefresh(message.config.collateral_refresh)
        self._arm()

    def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Wait for no answer any more."""
        if self._fetching is not None:
            self._fetching.cancel()

    # Timers.

    def receiveMsg_WakeupMessage(self, _message: WakeupMessage, _sender: ActorAddress) -> None:
        """Fetch what is due, beside the mailbox: an end must not wait for a service."""
        if self._fetching is None or self._fetching.done():
            loop = asyncio.get_running_loop()
            self._fetching = loop.create_task(self._fetch_due(), name="fetch collateral")
        self._arm()

    # Helpers.

    async def _fetch_due(self) -> None:
        for key in self._refresh.list_due(self._store.wanted, self._store.load, now=self._now()):
            await self._fetch(key)

    def _arm(self) -> None:
        self.wakeupAfter(self._config.collateral_check_interval)

    def _now(self) -> float:
        return self._node.clock.wall()

    async def _fetch(self, key: CollateralKey) -> None:
        url, timeout_s = self._config.collateral_url, self._config.collateral_timeout
        assert url is not None
        try:
            async with asyncio.timeout(timeout_s):
                fetched = await _in_thread(lambda: _ask_service(url, key, timeout_s))
            known = self._store.load(key)
            self._refresh.receive_collateral(key, fetched, known, now=self._now())
            await asyncio.to_thread(self._store.save, key, fetched)
        except (OSError, DecodeError) as error:
            wait_s = self._refresh.receive_failure(key, now=self._now())
            reason = clip(str(error) or type(error).__name__)
            logger.warning(
                "no collateral of %s from %s: %s; next try in %.0f s", key, url, reason, wait_s
            )
        else:
            logger.info("collateral of %s is here, until %s", key, format_time(fetched.expires))


def _ask_service(url: str, key: CollateralKey, timeout_s: float) -> Collateral:
    """Return what the service has. Blocks. Raises `OSError` and `DecodeError`."""
    pck_crl, tcb, qe, root_crl = [_get(one, timeout_s) for one in list_documents(url, key)]
    return join(pck_crl, tcb, qe, root_crl)


def _get(url: str, timeout_s: float) -> ServiceAnswer:
    # The setting has to be http or https, and so has what it redirects to.
    try:
        with urlopen(Request(url), timeout=timeout_s) as response:
            body: bytes = response.read(DOCUMENT_BYTES_MAX + 1)
            headers = {name.lower(): value for name, value in response.headers.items()}
    except HTTPError as error:
        with error:  # it holds the connection
            raise OSError(f"{url}: {error}") from None
    if len(body) > DOCUMENT_BYTES_MAX:
        raise DecodeError(f"{url} has more than {DOCUMENT_BYTES_MAX} bytes")
    return ServiceAnswer(body, headers)


async def _in_thread(call: Callable[[], T]) -> T:
    """Return what `call` returns; when cancelled, or when the program ends, it is left alone."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: Exception | None) -> None:
        if not done.done():
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]  # what `call` returned

    def work() -> None:
        try:
            outcome: tuple[T | None, Exception | None] = (call(), None)
        except Exception as error:
            outcome = (None, error)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(finish, *outcome)

    threading.Thread(target=work, name="fetch collateral", daemon=True).start()
    return await done
