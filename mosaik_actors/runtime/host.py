"""The host: all actors of one actor system, on one event loop.

Everything here runs on the loop's thread. `AsyncioSystemBase` puts Thespian's
blocking interface in front of it, `AsyncActorSystem` the asyncio one.

The host is also the system as actors see it: it has an address that answers
status requests, takes in validated sources, and is the parent of top-level and
named actors (user guide, "Named Actors").

Order of a shutdown:
    1. No new actors. Those without a living parent are asked to exit; they
       ask their children and wait for them, so children end before parents.
    2. After `shutdown_timeout_s` the rest is ended, youngest first.
    3. Sources are unloaded, endpoints closed, waiters notified.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    Thespian_StatusReq,
    Thespian_SystemStatus,
    ThespianGeneration,
    ValidatedSource,
)

from ..config import seconds
from .cell import ActorCell
from .cell_state import CellState
from .config import RuntimeConfig
from .creation import Creation
from .messaging.address import Deliver, LocalAddress
from .messaging.errors import ForeignAddress
from .messaging.letters import DeadLetters
from .messaging.questions import Questions
from .messaging.reference import ActorGone, ActorRef
from .messaging.replies import Replies
from .scheduler import Scheduler
from .sources import Sources
from .status import SystemStats
from .supervised import SupervisedCell

logger = logging.getLogger(__name__)

EXITED_BY_ITSELF = "it exited"
"""The reason of an end that was asked for."""


class ActorHost:
    """The actors of one system, and what they share.

    Attributes:
        cells: The living actors by number, in order of creation.
        names: Global names.
        capabilities: The system's capabilities; change with `update_capability`.
        stopping: True from the begin of a shutdown.
        closed: True from the end of it.
        letters: The dead letters.
        questions: The asks that wait for answers.
        home: Which node it is, for other nodes; None without one.
        services: What actors find at their node; None without one.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        capabilities: dict[str, Any],
        name: str,
        config: RuntimeConfig,
    ) -> None:
        self.loop = loop
        self.name = name
        self.config = config
        self.scheduler = Scheduler(loop, config)
        self.capabilities = {**_common_capabilities(loop), **capabilities}
        self.sources = Sources(self)
        self._numbers = itertools.count()
        self.address = self.new_address(self._receive)
        self.letters = DeadLetters(self.address, loop.time)
        self.questions = Questions(self)
        self.home: Any = None
        self.services: Any = None
        self.cells: dict[int, ActorCell] = {}
        self.names: dict[str, LocalAddress] = {}
        self.creation = Creation(self)
        self.create_primary = self.creation.create_primary
        self.create_child = self.creation.create_child
        self.construct = self.creation.construct
        self.exited = 0
        self.failures = self.poisoned = 0
        self.slow: dict[str, int] = {}
        self.stopping = self.closed = False
        self._on_closed: list[Callable[[], None]] = []
        self._shutdown_timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    # --- addresses and messages ---

    def new_address(self, deliver: Deliver) -> LocalAddress:
        """Return a new address."""
        return LocalAddress(self, next(self._numbers), deliver)

    def new_reference(self, deliver: Deliver) -> ActorRef:
        """Return a new address of an actor."""
        return ActorRef(self, next(self._numbers), deliver)

    def retire(self, address: LocalAddress) -> None:
        """Send what comes to an address from now on to dead letters."""
        address.deliver = partial(self._deliver_dead, address)
        address.cell = None

    def send(self, target: ActorAddress, message: Any, sender: ActorAddress) -> None:
        """Deliver a message to any kind of address.

        Raises:
            ForeignAddress: It belongs to another actor system.
        """
        if isinstance(target, LocalAddress):
            if target.host is not self:
                raise ForeignAddress(target, self.name)
            target.deliver(message, sender)
        elif target == self.address or target.addressDetails == "/ActorSys":
            # ActorSystem.systemAddress, which Thespian makes before it asks us.
            self._receive(message, sender)
        else:
            self.dead_letter(message, target, sender)

    def check_own(self, target: ActorAddress) -> None:
        """Refuse an address of another actor system; may be called from any thread.

        Raises:
            ForeignAddress: It is one.
        """
        if isinstance(target, LocalAddress) and target.host is not self:
            raise ForeignAddress(target, self.name)

    def _deliver_dead(self, target: LocalAddress, message: Any, sender: ActorAddress) -> None:
        self.dead_letter(message, target, sender)

    def dead_letter(
        self, message: Any, target: ActorAddress, sender: ActorAddress, reason: str = ""
    ) -> None:
        """Report a message that nobody will handle; the reason is for people."""
        self.letters.report(message, target, sender, reason, is_stopping=self.stopping)

    def dead_letter_to_nobody(self, message: Any, sender: ActorAddress) -> None:
        """Report a message to an address that is forgotten altogether."""
        self.dead_letter(message, self.address, sender)

    def handle_dead_letters(self, address: LocalAddress, enable: bool) -> None:
        """Register a handler of dead letters, or remove it."""
        if enable:
            self.letters.handlers[address] = None
        else:
            self.letters.handlers.pop(address, None)

    def _receive(self, message: Any, sender: ActorAddress) -> None:
        """Handle a message to the system itself; others than these are ignored."""
        if isinstance(message, Thespian_StatusReq):
            self.send(sender, self.status(), self.address)
        elif isinstance(message, ValidatedSource):
            self.sources.receive_validated(message, sender)

    # --- actors ---

    def supervised(self, address: ActorAddress) -> SupervisedCell | None:
        """Return the cell of a living supervised actor; None for anybody else."""
        found = self.cells.get(address.number) if isinstance(address, LocalAddress) else None
        return found if isinstance(found, SupervisedCell) and found.address is address else None

    def orphan(self, address: LocalAddress) -> None:
        """Let the system be the parent of an actor, so that nobody hears of its end."""
        cell = self.cells.get(address.number)
        if cell is not None:
            cell.parent = self.address

    def watch(self, target: ActorRef, watcher: LocalAddress) -> None:
        """Send `ActorGone` to `watcher` at the end of an actor of this node, once."""
        cell = self.cells.get(target.number)
        if cell is None or cell.address is not target:
            watcher.deliver(ActorGone(target, "it has exited before"), self.address)
            return
        if cell.watchers is None:
            cell.watchers = {}
        cell.watchers[watcher] = None

    def unwatch(self, target: ActorRef, watcher: LocalAddress) -> None:
        """Send nothing to `watcher` at the end of an actor. May be repeated."""
        cell = self.cells.get(target.number)
        if cell is not None and cell.watchers is not None:
            cell.watchers.pop(watcher, None)

    # --- asks by reference ---

    async def ask(self, target: ActorAddress, message: Any, timeout: Any) -> Any:
        """Ask; see `ActorRef.ask`."""
        return await self.questions.ask(target, message, timeout)

    def stream(self, target: ActorRef, message: Any, window: int) -> Replies[Any]:
        """Ask for a stream of answers; see `ActorRef.stream`."""
        return self.questions.stream(target, message, window)

    async def stop(self, target: ActorRef, timeout: float | timedelta | None) -> None:
        """Let an actor exit, and wait until it has; see `ActorRef.stop`."""
        gone: asyncio.Future[None] = self.loop.create_future()
        watcher = self.new_address(
            lambda _message, _sender: None if gone.done() else gone.set_result(None)
        )
        try:
            target.watch(watcher)
            target.deliver(ActorExitRequest(), self.address)
            async with asyncio.timeout(None if timeout is None else seconds(timeout)):
                await gone
        finally:
            self.retire(watcher)
            target.unwatch(watcher)

    # --- the end of an actor ---

    def bury(self, cell: CellState) -> None:
        """Take a dead actor out of everything, and notify its parent."""
        address = cell.address
        self.retire(address)
        self.cells.pop(address.number, None)
        self.exited += 1
        if cell.globalName:
            self.names.pop(cell.globalName, None)
        self.letters.handlers.pop(address, None)
        self.sources.forget(address)
        reason = cell.reason or ("its node shuts down" if self.stopping else EXITED_BY_ITSELF)
        notice = ChildActorExited(address)
        vars(notice)["reason"] = reason  # more than what Thespian says
        cell.parent.deliver(notice, self.address)
        watchers, cell.watchers = cell.watchers or {}, None
        for watcher in watchers:
            watcher.deliver(ActorGone(address, reason), self.address)
        if self.stopping:
            for child in list(cell.children):
                child.deliver(ActorExitRequest(recursive=True), self.address)
            if not self.cells:
                self.loop.call_soon(self._finish_shutdown)

    # --- capabilities ---

    def update_capability(self, name: str, value: Any = None) -> None:
        """Set a capability, or remove it with None; stop actors that no longer fit."""
        present = name in self.capabilities
        if (value is None and not present) or (present and self.capabilities[name] == value):
            return
        if value is None:
            del self.capabilities[name]
        else:
            self.capabilities[name] = value
        for cell in list(self.cells.values()):
            if cell.actor is not None and not self.creation.has_capabilities(
                cell.actor_class, cell.requirements
            ):
                cell.address.deliver(ActorExitRequest(recursive=True), self.address)

    # --- metrics ---

    def note_slow(self, cell: CellState, seconds: float) -> None:
        """Count a slow handler; log the first of each class."""
        name = cell.class_name
        if name not in self.slow:
            logger.warning(
                "a handler of %s held the event loop for %.3fs (more than %ss); "
                "further ones are only counted",
                name,
                seconds,
                self.config.slow_handler_s,
            )
        self.slow[name] = self.slow.get(name, 0) + 1

    def stats(self) -> SystemStats:
        """Return the figures of the whole system."""
        return SystemStats(
            actors=len(self.cells),
            created=self.creation.created,
            exited=self.exited,
            handled=self.scheduler.handled,
            queued=sum(len(cell.mailbox) for cell in self.cells.values()),
            failures=self.failures,
            poisoned=self.poisoned,
            dead_letters=self.letters.count,
            slow=dict(self.slow),
            drains=self.scheduler.drains,
            drains_cut_short=self.scheduler.cut_short,
        )

    def status(self) -> Thespian_SystemStatus:
        """Return what Thespian_StatusReq to the system is answered with."""
        status = Thespian_SystemStatus(
            self.address, capabilities=dict(self.capabilities), inShutdown=self.stopping
        )
        for cell in self.cells.values():
            if cell.parent is self.address:
                status.addChild(cell.address)
        for name, address in self.names.items():
            status.addGlobalActor(name, address)
        # Thespian's status has room for one handler; ours allows several.
        status.setDeadLetterHandler(next(iter(self.letters.handlers), None))
        status.setLoadedSources(self.sources.loaded)
        status.sourceAuthority = self.sources.authority
        status.addKeyVal("Messages Handled", self.scheduler.handled)
        status.addKeyVal("Messages Poisoned", self.poisoned)
        status.addKeyVal("Dead Letters", self.letters.count)
        return status

    # --- shutdown ---

    def on_closed(self, call: Callable[[], None]) -> None:
        """Call something at the end of the shutdown; at once if that is over."""
        if self.closed:
            call()
        else:
            self._on_closed.append(call)

    def begin_shutdown(self) -> None:
        """Begin to stop all actors. May be repeated; see `on_closed`."""
        if self.stopping:
            return
        self.stopping = True
        living = {cell.address: None for cell in self.cells.values()}
        for cell in list(self.cells.values()):
            if cell.actor is None:
                cell.end()  # still waits for its source
            elif cell.parent not in living:
                cell.address.deliver(ActorExitRequest(recursive=True), self.address)
        if self.cells:
            self._shutdown_timer = self.loop.call_later(
                self.config.shutdown_timeout_s, self._end_rest
            )
        else:
            self.loop.call_soon(self._finish_shutdown)

    def kill(self) -> None:
        """End all actors here and now; none of them is asked or notified."""
        self.stopping = True
        for cell in reversed(list(self.cells.values())):
            cell.end()
        self._finish_shutdown()

    def _end_rest(self) -> None:
        rest = list(self.cells.values())
        logger.error(
            "shutdown: %s actors did not exit within %ss and are ended, first of all %s",
            len(rest),
            self.config.shutdown_timeout_s,
            ", ".join(str(cell) for cell in rest[:5]),
        )
        for cell in reversed(rest):
            cell.end()

    def _finish_shutdown(self) -> None:
        isolation = self.creation.isolation
        if isolation is not None and self._closing is None:
            self._closing = self.loop.create_task(isolation.close(), name="isolation")
            self._closing.add_done_callback(lambda task: self._finish_shutdown())
        if self.closed or (self._closing is not None and not self._closing.done()):
            return
        self.closed = True
        if self._shutdown_timer is not None:
            self._shutdown_timer.cancel()
        self.sources.close()
        self.questions.close()
        self.letters.handlers.clear()
        for call in self._on_closed:
            call()
        self._on_closed.clear()


def _common_capabilities(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    # User guide, "Common Capabilities". The version tells one start from another.
    return {
        "Python Version": tuple(sys.version_info),
        "Thespian Generation": ThespianGeneration,
        "Thespian Version": str(int(loop.time() * 1000)),
        "Thespian ActorSystem Name": "asyncioSystem",
        "Thespian ActorSystem Version": 1,
        "Thespian Watch Supported": True,
        "AllowRemoteActorSources": "No",
    }
