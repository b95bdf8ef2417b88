"""Endpoints: how code that is no actor sends to actors and hears from them.

To an actor every endpoint is just an address:

    * `ExternalInbox` collects messages for ``await listen()``.
    * `ThreadEndpoint` is what Thespian's blocking `ask` and `listen` wait on in
      another thread. Every message that comes to it ends the wait, whoever
      sent it: that is Thespian's rule (user guide, "ask").

Messages between the runtime and actors are filtered out, as in Thespian; only
PoisonMessage and status answers reach code outside (user guide, "ActorSystem
Messages").

Backlogs are bounded; what exceeds them goes to dead letters, with one line in
the log for each endpoint.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from thespian.actors import ActorAddress, ActorSystemMessage, PoisonMessage
from thespian.system import isInternalActorSystemMessage

from .messaging.errors import ActorSystemClosed

if TYPE_CHECKING:
    from .host import ActorHost


logger = logging.getLogger(__name__)


class ExternalInbox:
    """The endpoint behind `tell` and `listen` on the event loop."""

    def __init__(self, host: ActorHost) -> None:
        self._host = host
        self._messages: deque[Any] = deque()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._is_full = False
        self.address = host.new_address(self._deliver)

    def _deliver(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, ActorSystemMessage) and isInternalActorSystemMessage(message):
            return
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(message)
                return
        if len(self._messages) < self._host.config.external_backlog_max:
            self._messages.append(message)
            return
        if not self._is_full:
            self._is_full = True
            _log_full(self._host, self.address)
        self._host.dead_letter(message, self.address, sender)

    async def listen(self) -> Any:
        """Return the next message. Cancelling loses none."""
        if self._messages:
            return self._messages.popleft()
        waiting: asyncio.Future[Any] = self._host.loop.create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._messages.appendleft(waiting.result())
            raise

    def close(self) -> None:
        """Fail all who wait; what still comes is a dead letter."""
        self._host.retire(self.address)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(ActorSystemClosed())
        self._waiting.clear()
        self._messages.clear()


def _log_full(host: ActorHost, address: ActorAddress) -> None:
    logger.warning(
        "%s messages wait for listen() at %s; what comes beyond them goes to dead letters "
        "(external_backlog_max)",
        host.config.external_backlog_max,
        address,
    )


class _Pending:
    """A blocking ask that waits; `is_lost` once its message was undeliverable."""

    def __init__(self, message: Any) -> None:
        self.message = message
        self.is_lost = False


class ThreadEndpoint:
    """The endpoint behind Thespian's blocking `ask` and `listen`.

    `deliver` and its kin run on the loop's thread, `wait` on any other; the
    lock is held for a few instructions only.
    """

    def __init__(self, host: ActorHost) -> None:
        self._host = host
        self._messages: deque[Any] = deque()
        self._pending: list[_Pending] = []
        self._changed = threading.Condition()
        self._closed = self._is_full = False
        self.address = host.new_address(self._deliver)
        self.address.undeliverable = self._undeliverable

    def _deliver(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, ActorSystemMessage) and isInternalActorSystemMessage(message):
            return
        with self._changed:
            if len(self._messages) < self._host.config.external_backlog_max:
                self._messages.append(message)
                self._changed.notify()
                return
        if not self._is_full:
            self._is_full = True
            _log_full(self._host, self.address)
        self._host.dead_letter(message, self.address, sender)

    def _undeliverable(self, message: Any, target: ActorAddress, _reason: str) -> None:
        with self._changed:
            for pending in self._pending:
                if pending.message is message:
                    pending.is_lost = True
            self._changed.notify_all()

    def expect(self, message: Any) -> _Pending:
        """Note that an ask with this message is about to be sent."""
        pending = _Pending(message)
        with self._changed:
            self._pending.append(pending)
        return pending

    def refuse(self, message: Any, reason: str) -> None:
        """Take in, as a PoisonMessage, what could not even be sent; from any thread."""
        with self._changed:
            if len(self._messages) < self._host.config.external_backlog_max:
                self._messages.append(PoisonMessage(message, reason))
                self._changed.notify()

    def wait(self, timeout: float | None, pending: _Pending | None = None) -> Any:
        """Return the next message; None after `timeout` seconds, at the end, or if lost."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._messages or self._closed or (pending is not None and pending.is_lost),
                timeout,
            )
            if pending is not None:
                self._pending.remove(pending)
            return self._messages.popleft() if self._messages else None

    def close(self) -> None:
        """Wake up all who wait, on the loop's thread."""
        self._host.retire(self.address)
        self.address.undeliverable = None
        with self._changed:
            self._closed = True
            self._changed.notify_all()
