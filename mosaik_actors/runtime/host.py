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
    3. Sources are unloaded, endpoints closed, waiters told.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    DeadEnvelope,
    InvalidActorSpecification,
    NoCompatibleSystemForActor,
    Thespian_StatusReq,
    Thespian_SystemStatus,
    ThespianGeneration,
    ValidatedSource,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.utilis import actualActorClass, checkActorCapabilities

from .address import Deliver, LocalAddress
from .cell import ActorCell
from .config import RuntimeConfig
from .errors import ActorSystemClosed, ForeignAddress
from .isolated import Isolation
from .scheduler import Scheduler
from .sources import Sources
from .status import SystemStats

logger = logging.getLogger(__name__)

# What an actor's constructor may ask for by naming it (Thespian passes both).
_INIT_ARGUMENTS = ("capabilities", "requirements")
_init_arguments: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()

# Never worth a dead letter: notices to someone who is gone, and its own alarms.
_NEVER_LETTERS = (DeadEnvelope, ChildActorExited, WakeupMessage, WatchMessage)


# The beginning of Thespian's own text, which programs look for.
_NO_COMPATIBLE_SYSTEM = "No compatible ActorSystem could be found: it lacks a capability"

# Kinds of dead letters that are logged, each once; all are counted.
_LETTERS_LOGGED_MAX = 100


class ActorHost:
    """The actors of one system, and what they share.

    Attributes:
        cells: The living actors by number, in order of creation.
        names: Global names.
        capabilities: The system's capabilities; change with `update_capability`.
        stopping: True from the begin of a shutdown.
        closed: True from the end of it.
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
        self.cells: dict[int, ActorCell] = {}
        self.names: dict[str, LocalAddress] = {}
        self.dead_letter_handlers: dict[LocalAddress, None] = {}
        self.created = self.exited = 0
        self.failures = self.poisoned = self.dead_letters = 0
        self.slow: dict[str, int] = {}
        self._lettered: set[str] = set()
        self.stopping = self.closed = False
        self._on_closed: list[Callable[[], None]] = []
        self._shutdown_timer: asyncio.TimerHandle | None = None
        self._isolation: Isolation | None = None
        self._closing: asyncio.Task[None] | None = None

    # --- addresses and messages ---

    def new_address(self, deliver: Deliver) -> LocalAddress:
        """Return a new address."""
        return LocalAddress(self, next(self._numbers), deliver)

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

    def dead_letter(self, message: Any, target: ActorAddress, sender: ActorAddress) -> None:
        """Report a message that nobody will handle."""
        if isinstance(message, _NEVER_LETTERS):
            return
        self.dead_letters += 1
        if not self.dead_letter_handlers:
            self._log_letter(message, target)
        for handler in list(self.dead_letter_handlers):
            handler.deliver(DeadEnvelope(target, message), self.address)
        if isinstance(sender, LocalAddress) and sender.undeliverable is not None:
            sender.undeliverable(message, target)

    def _log_letter(self, message: Any, target: ActorAddress) -> None:
        kind = type(message).__name__
        if self.stopping or kind in self._lettered or len(self._lettered) >= _LETTERS_LOGGED_MAX:
            return
        self._lettered.add(kind)
        # Our own actors' messages cross each other whenever a peer or a link goes.
        is_ours = type(message).__module__.startswith(f"{__name__.partition('.')[0]}.")
        logger.log(
            logging.DEBUG if is_ours else logging.WARNING,
            "dead letter: %s to %s, which has exited or takes no more messages; "
            "further ones of this kind are only counted",
            kind,
            target,
        )

    def dead_letter_to_nobody(self, message: Any, sender: ActorAddress) -> None:
        """Report a message to an address that is forgotten altogether."""
        self.dead_letter(message, self.address, sender)

    def handle_dead_letters(self, address: LocalAddress, enable: bool) -> None:
        """Register a handler of dead letters, or remove it."""
        if enable:
            self.dead_letter_handlers[address] = None
        else:
            self.dead_letter_handlers.pop(address, None)

    def _receive(self, message: Any, sender: ActorAddress) -> None:
        """Handle a message to the system itself; others than these are ignored."""
        if isinstance(message, Thespian_StatusReq):
            self.send(sender, self.status(), self.address)
        elif isinstance(message, ValidatedSource):
            self.sources.receive_validated(message, sender)

    # --- creation ---

    def create_primary(
        self,
        actor_class: Any,
        requirements: Any = None,
        global_name: str | None = None,
        source_hash: str | None = None,
        *,
        isolated: bool | None = None,
    ) -> LocalAddress:
        """Create a top-level actor; see `AsyncActorSystem.createActor`."""
        if self.stopping:
            raise ActorSystemClosed
        if global_name and global_name in self.names:
            return self.names[global_name]
        if _is_isolated(actor_class, isolated):
            if source_hash is not None:
                raise InvalidActorSpecification(actor_class, "isolated and from a source")
            cell = self._isolate(actor_class, self.address, requirements, global_name)
            self._register(cell, global_name)
            return cell.address
        self.sources.loader(source_hash)  # raises if there is no such source
        cell = ActorCell(
            self, actor_class, self.address, requirements=requirements, source_hash=source_hash
        )
        try:
            self._start(cell)
        except BaseException:
            self.retire(cell.address)
            raise
        self._register(cell, global_name)
        return cell.address

    def create_child(
        self,
        parent: ActorCell,
        actor_class: Any,
        requirements: Any,
        global_name: str | None,
        source_hash: str | None,
        *,
        isolated: bool | None = None,
    ) -> LocalAddress:
        """Create an actor for another one.

        An actor that cannot start has an address all the same: its parent gets
        ChildActorExited, messages to it are dead letters (user guide,
        "Non-startable Actors"). A named actor is the system's child.

        Raises:
            InvalidActorSpecification: `actor_class` can never be an actor.
        """
        if global_name and global_name in self.names:
            return self.names[global_name]
        _check_specification(actor_class)
        owner = self.address if global_name else parent.address
        alive = not (self.stopping or parent.exiting or parent.dead)
        cell: ActorCell
        if alive and _is_isolated(actor_class, isolated):
            if source_hash is not None:
                raise InvalidActorSpecification(actor_class, "isolated and from a source")
            if self._can_run(actor_class, requirements):
                cell = self._isolate(actor_class, owner, requirements, global_name)
                self._register(cell, global_name)
                if not global_name:
                    parent.children[cell.address] = None
                return cell.address
        cell = ActorCell(
            self, actor_class, owner, requirements=requirements, source_hash=source_hash
        )
        if not alive:
            self.retire(cell.address)
            return cell.address
        if not global_name:
            parent.children[cell.address] = None
        try:
            self.sources.loader(source_hash)
            self._start(cell)
        except (Exception, SystemExit):
            logger.warning("%s cannot start", cell, exc_info=True)
            self.retire(cell.address)
            parent.address.deliver(ChildActorExited(cell.address), self.address)
        else:
            self._register(cell, global_name)
        return cell.address

    def _can_run(self, actor_class: Any, requirements: Any) -> bool:
        try:
            return self._has_capabilities(actor_class, requirements)
        except Exception:  # out of importing the class; starting it will raise the same
            return False

    def _has_capabilities(self, actor_class: Any, requirements: Any) -> bool:
        return bool(checkActorCapabilities(actor_class, self.capabilities, requirements))

    def _isolate(
        self, actor_class: Any, parent: LocalAddress, requirements: Any, global_name: str | None
    ) -> ActorCell:
        _check_specification(actor_class)
        if not self._has_capabilities(actor_class, requirements):
            raise NoCompatibleSystemForActor(actor_class, _NO_COMPATIBLE_SYSTEM)
        if self._isolation is None:
            self._isolation = Isolation(self)
        return self._isolation.create(actor_class, parent, requirements, global_name)

    def _register(self, cell: ActorCell, global_name: str | None) -> None:
        self.cells[cell.address.number] = cell
        self.created += 1
        if global_name:
            cell.globalName = global_name
            self.names[global_name] = cell.address

    def _start(self, cell: ActorCell) -> None:
        source_hash = cell.source_hash
        if source_hash is not None and self.sources.is_pending(source_hash):
            self.sources.when_decided(source_hash, partial(self._start_late, cell))
        else:
            cell.start(self._construct(cell))

    def _start_late(self, cell: ActorCell) -> None:
        if cell.dead:
            return
        try:
            cell.start(self._construct(cell))
        except (Exception, SystemExit):
            logger.warning("%s cannot start", cell, exc_info=True)
            cell.end()

    def _construct(self, cell: ActorCell) -> Actor:
        loader = self.sources.loader(cell.source_hash)
        try:
            found = actualActorClass(cell.actor_class, loader)
        except AttributeError as error:
            raise InvalidActorSpecification(cell.actor_class, str(error)) from error
        _check_specification(found)
        if not self._has_capabilities(found, cell.requirements):
            raise NoCompatibleSystemForActor(found, _NO_COMPATIBLE_SYSTEM)
        values = {"capabilities": self.capabilities, "requirements": cell.requirements}
        arguments = {name: values[name] for name in _accepted_arguments(found)}
        actor: Actor = cell.run_in_context(found, **arguments)
        cell.actor_class = found
        return actor

    # --- the end of an actor ---

    def bury(self, cell: ActorCell) -> None:
        """Take a dead actor out of everything, and tell its parent."""
        address = cell.address
        self.retire(address)
        self.cells.pop(address.number, None)
        self.exited += 1
        if cell.globalName:
            self.names.pop(cell.globalName, None)
        self.dead_letter_handlers.pop(address, None)
        self.sources.forget(address)
        cell.parent.deliver(ChildActorExited(address), self.address)
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
            if cell.actor is not None and not self._has_capabilities(
                cell.actor_class, cell.requirements
            ):
                cell.address.deliver(ActorExitRequest(recursive=True), self.address)

    # --- metrics ---

    def note_slow(self, cell: ActorCell, seconds: float) -> None:
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
            created=self.created,
            exited=self.exited,
            handled=self.scheduler.handled,
            queued=sum(len(cell.mailbox) for cell in self.cells.values()),
            failures=self.failures,
            poisoned=self.poisoned,
            dead_letters=self.dead_letters,
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
        status.setDeadLetterHandler(next(iter(self.dead_letter_handlers), None))
        status.setLoadedSources(self.sources.loaded)
        status.sourceAuthority = self.sources.authority
        status.addKeyVal("Messages Handled", self.scheduler.handled)
        status.addKeyVal("Messages Poisoned", self.poisoned)
        status.addKeyVal("Dead Letters", self.dead_letters)
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
        """End all actors here and now; none of them is asked or told."""
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
        if self._isolation is not None and self._closing is None:
            self._closing = self.loop.create_task(self._isolation.close(), name="isolation")
            self._closing.add_done_callback(lambda task: self._finish_shutdown())
        if self.closed or (self._closing is not None and not self._closing.done()):
            return
        self.closed = True
        if self._shutdown_timer is not None:
            self._shutdown_timer.cancel()
        self.sources.close()
        self.dead_letter_handlers.clear()
        for call in self._on_closed:
            call()
        self._on_closed.clear()


def _check_specification(actor_class: Any) -> None:
    if isinstance(actor_class, str):
        if "." not in actor_class:
            raise InvalidActorSpecification(actor_class, "a name needs its module: package.Class")
    elif not (isinstance(actor_class, type) and hasattr(actor_class, "receiveMessage")):
        raise InvalidActorSpecification(actor_class, "not a subclass of Actor")


def _is_isolated(actor_class: Any, isolated: bool | None = None) -> bool:
    return getattr(actor_class, "isolated", False) is True if isolated is None else isolated


def _accepted_arguments(actor_class: type) -> tuple[str, ...]:
    accepted = _init_arguments.get(actor_class)
    if accepted is None:
        init = actor_class.__init__  # type: ignore[misc]
        parameters = inspect.signature(init).parameters
        accepted = tuple(name for name in _INIT_ARGUMENTS if name in parameters)
        _init_arguments[actor_class] = accepted
    return accepted


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
