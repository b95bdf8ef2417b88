"""The cell: one actor, its mailbox, and everything that is true of it.

A cell takes messages in, hands them to its actor one after the other, and is
what Thespian calls the actor's `_myRef`: the methods with camel-case names are
what `thespian.actors.Actor` calls.

A message, from the mailbox on:
    1. The handler returns: done. It may return a ThespianWatch.
    2. The handler returns a coroutine: the cell is *parked*, its mailbox waits,
       other actors go on. Done when the coroutine is.
    3. The handler raises: the same message is handed over once more, at once,
       so that the order is kept. If it raises again, its sender gets a
       PoisonMessage and the actor goes on with the next message (user guide,
       "PoisonMessage Returns").

An actor's end: it handles the ActorExitRequest; unless the request is not
recursive its children are asked to exit and waited for; then its parent gets
ChildActorExited and what is left in the mailbox goes to dead letters. A failure
in handling the request does not delay it. A handler that calls `sys.exit` ends
its actor at once, as it does where each actor is a process.

Invariants:
    * An actor handles one message at a time, in order of arrival.
    * `scheduled` is true while the cell is queued in the scheduler, and while
      it is parked, so that an arriving message never queues it twice.
    * A dead cell has no timer, no watch, no task and an empty mailbox.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from datetime import timedelta
from typing import Any, Protocol

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ActorSystemMessage,
    ChildActorExited,
    InvalidActorAddress,
    PoisonMessage,
    Thespian_ActorStatus,
    Thespian_StatusReq,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.timing import ExpirationTimer, timePeriodSeconds

from .address import Deliver, LocalAddress
from .config import RuntimeConfig
from .decorated import Saved, adapt, give_up
from .scheduler import Scheduler
from .sources import Sources
from .status import MailboxStats
from .watch import Watch

logger = logging.getLogger(__name__)

# Attempts to handle one message (user guide, "PoisonMessage Returns").
ATTEMPTS_MAX = 2


class CellHost(Protocol):
    """The actor system, as far as its cells know it.

    Attributes:
        failures: Exceptions out of handlers so far.
        poisoned: Messages given up so far.
    """

    failures: int
    poisoned: int

    @property
    def name(self) -> str:
        """The system's name."""

    @property
    def address(self) -> LocalAddress:
        """The system's own address."""

    @property
    def config(self) -> RuntimeConfig:
        """The settings."""

    @property
    def scheduler(self) -> Scheduler:
        """Who gives the cells their turns."""

    @property
    def sources(self) -> Sources:
        """The loaded sources."""

    # Messages.

    def new_address(self, deliver: Deliver) -> LocalAddress:
        """Return a new address."""

    def send(self, target: ActorAddress, message: Any, sender: ActorAddress) -> None:
        """Deliver a message to any kind of address."""

    def dead_letter(self, message: Any, target: ActorAddress, sender: ActorAddress) -> None:
        """Report a message that nobody will handle."""

    # The life of a cell.

    def note_slow(self, cell: ActorCell, seconds: float) -> None:
        """Count a slow handler."""

    def bury(self, cell: ActorCell) -> None:
        """Take a dead actor out of everything, and tell its parent."""

    # What actors ask of their system.

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
        """Create an actor for another one."""

    def handle_dead_letters(self, address: LocalAddress, enable: bool) -> None:
        """Register a handler of dead letters, or remove it."""

    def update_capability(self, name: str, value: Any = None) -> None:
        """Set a capability, or remove it with None."""

    def begin_shutdown(self) -> None:
        """Begin to stop all actors."""


class ActorCell:
    """One actor of a host. Only ever touched on the loop's thread.

    Attributes:
        address: The actor's address.
        actor: The actor itself; None before it starts and after its end.
        children: Addresses of living children, in order of creation.
        context: The actor's own context variables, once it needs them.
        run: Runs a function in that context; None while the actor shares one.
        parked: True while the mailbox must wait: for a coroutine, or a start.
        dead: True after the end.
        exiting: True from a handled exit request to the end.
        handled: Messages taken from the mailbox so far.
        depth_max: The longest the mailbox has been at the start of a turn.
        saved: Messages that the actor keeps until it is initialized, if it does.
        slow_count: Handler calls that took longer than `slow_handler_s`.
    """

    __slots__ = (
        "_attempt",
        "_cancelled",
        "_exit_request",
        "_exit_timer",
        "_handling",
        "_message",
        "_sender",
        "_task",
        "_timer_ids",
        "actor",
        "actor_class",
        "address",
        "children",
        "context",
        "dead",
        "depth_max",
        "exiting",
        "globalName",
        "handled",
        "host",
        "mailbox",
        "parent",
        "parked",
        "requirements",
        "run",
        "saved",
        "scheduled",
        "scheduler",
        "slow_count",
        "source_hash",
        "timers",
        "watch",
    )

    def __init__(
        self,
        host: CellHost,
        actor_class: Any,
        parent: LocalAddress,
        *,
        requirements: Any = None,
        source_hash: str | None = None,
    ) -> None:
        self.host = host
        self.scheduler = host.scheduler
        self.context: Context | None = None
        self.run: Callable[..., Any] | None = None
        if not host.scheduler.shares_context:
            self.keep_context(host.scheduler.new_context())
        self.actor: Any = None
        self.actor_class = actor_class
        self.parent = parent
        self.requirements = requirements
        self.source_hash = source_hash
        self.globalName: str | None = None
        self.mailbox: deque[tuple[Any, ActorAddress]] = deque()
        self.children: dict[LocalAddress, None] = {}
        self.timers: dict[int, asyncio.TimerHandle] = {}
        self.watch: Watch | None = None
        self.saved: Saved | None = None
        self.exiting = False
        self.dead = False
        # Parked until `start`, so that messages wait for the actor.
        self.scheduled = True
        self.parked = True
        self.handled = 0
        self.depth_max = 0
        self.slow_count = 0
        self._timer_ids = itertools.count()
        self._task: asyncio.Task[Any] | None = None
        self._handling: Coroutine[Any, Any, Any] | None = None
        self._message: Any = None
        self._sender: ActorAddress = parent
        self._attempt = 1
        self._cancelled = False
        self._exit_request: ActorExitRequest | None = None
        self._exit_timer: asyncio.TimerHandle | None = None
        self.address = host.new_address(self.deliver)
        self.address.cell = self

    # --- taking messages in: the values of address.deliver ---

    def deliver(self, message: Any, sender: ActorAddress) -> None:
        """Take a message in; it is handled in a later step of the drain."""
        self.mailbox.append((message, sender))
        if not self.scheduled:
            self.scheduled = True
            scheduler = self.scheduler
            scheduler.ready.append(self)
            if not scheduler.armed:
                scheduler.arm()

    def _take_in(self, deliver: Deliver) -> None:
        """Exchange the way messages are taken in."""
        self.address.deliver = deliver
        self.address.cell = self if deliver == self.deliver else None

    def _deliver_busy(self, message: Any, sender: ActorAddress) -> None:
        """Take a message in while a coroutine runs: an exit request starts its clock."""
        if self.exiting:
            self._deliver_exiting(message, sender)
            return
        self.mailbox.append((message, sender))
        if isinstance(message, ActorExitRequest):
            self._start_exit_clock()

    def _deliver_exiting(self, message: Any, sender: ActorAddress) -> None:
        """Take in only what an exiting actor still needs."""
        if isinstance(message, ActorExitRequest):
            return
        if isinstance(message, ChildActorExited | Thespian_StatusReq):
            self.deliver(message, sender)
        else:
            self.host.dead_letter(message, self.address, sender)

    # --- handling them ---

    def start(self, actor: Actor) -> None:
        """Give the cell its actor; messages that came before are handled now."""
        actor._myRef = self
        if type(actor).send is Actor.send:
            # Saves a call per message; the same checks are made below.
            actor.send = self.actor_send  # type: ignore[method-assign]
        self.saved = adapt(actor, self._put_back)
        self.actor = actor
        self._resume()

    # --- context variables, see scheduler.py ---

    def keep_context(self, context: Context) -> None:
        """Handle all messages in this context from now on."""
        self.context = context
        self.run = context.run

    def own_context(self) -> Context:
        """Return the actor's context, which it has to itself from now on."""
        if self.context is None:
            self.keep_context(self.scheduler.new_context())
        assert self.context is not None
        return self.context

    def run_in_context(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a function of the actor's outside of a drain, or where it has not begun yet."""
        if self.run is not None:
            return self.run(function, *arguments, **named)
        context = self.scheduler.new_context()
        try:
            return context.run(function, *arguments, **named)
        finally:
            if context:
                self.keep_context(context)

    def _put_back(self, messages: Saved) -> None:
        """Take messages in that are to be handled before all others."""
        if not self.exiting:
            self.mailbox.extendleft(reversed(messages))
            return
        for message, sender in messages:
            self._deliver_exiting(message, sender)

    def receive_system(self, message: ActorSystemMessage, sender: ActorAddress) -> None:
        """Handle a message that means something to the runtime as well."""
        if isinstance(message, ActorExitRequest):
            self._receive_exit(message, sender)
        elif isinstance(message, ChildActorExited):
            child = message.childAddress
            if isinstance(child, LocalAddress):  # anyone may send this message
                self.children.pop(child, None)
            self._run(message, sender, 1)
            self._settle()
        elif isinstance(message, Thespian_StatusReq):
            self.host.send(sender, self.status(), self.address)
        elif not self._is_stale(message):
            self._run(message, sender, 1)

    def _is_stale(self, message: ActorSystemMessage) -> bool:
        """Return whether a message reports on a watch that was replaced since."""
        return isinstance(message, WatchMessage) and (
            self.watch is None or self.watch.message is not message
        )

    def retry(self, message: Any, sender: ActorAddress, error: BaseException) -> None:
        """Hand a message over again after its first failure."""
        self._failed(message, sender, error, 1)

    def _run(self, message: Any, sender: ActorAddress, attempt: int) -> None:
        failure: BaseException | None = None
        try:
            result = self.run_in_context(self.actor.receiveMessage, message, sender)
            self.take_result(result, message, sender, attempt)
        except (Exception, asyncio.CancelledError) as error:
            failure = error
        except SystemExit as error:
            self.quit(message, sender, error)
        if failure is not None:
            try:
                self._failed(message, sender, failure, attempt)
            finally:
                del failure  # its traceback holds this frame

    def _failed(
        self, message: Any, sender: ActorAddress, error: BaseException, attempt: int
    ) -> None:
        self.host.failures += 1
        if isinstance(message, ActorExitRequest):
            logger.warning("%s failed in exiting", self, exc_info=error)
        elif attempt < ATTEMPTS_MAX:
            logger.warning("%s failed on %s, once more", self, _kind(message), exc_info=error)
            self._run(message, sender, attempt + 1)
        else:
            logger.error("%s failed twice on %s", self, _kind(message), exc_info=error)
            self._clear_watch()
            if not isinstance(message, PoisonMessage):
                self.host.poisoned += 1
                details = "".join(traceback.format_exception(error))
                message, sender = give_up(self.actor, message, sender)
                self.host.send(sender, PoisonMessage(message, details), self.address)

    def quit(self, message: Any, sender: ActorAddress, request: SystemExit) -> None:
        """End the actor, and its children, because its handler called for the program's end."""
        logger.error(
            "%s raised SystemExit in handling %s: it ends", self, _kind(message), exc_info=request
        )
        for child in list(self.children):
            child.deliver(ActorExitRequest(recursive=True), self.address)
        self.host.dead_letter(message, self.address, sender)
        self.end()

    def take_result(self, result: Any, message: Any, sender: ActorAddress, attempt: int) -> None:
        """Act on what a handler returned."""
        if asyncio.iscoroutine(result):
            self._park(result, message, sender, attempt)
        elif isinstance(result, ThespianWatch):
            self._clear_watch()
            self.watch = Watch(self.scheduler.loop, result.filenos, self._report_watch)
        else:
            self._clear_watch()

    def note_slow(self, seconds: float) -> None:
        """Count a handler call that held the loop for long."""
        self.slow_count += 1
        self.host.note_slow(self, seconds)

    # --- figures ---

    @property
    def class_name(self) -> str:
        """The name of the actor's class, which may be given as text."""
        return str(getattr(self.actor_class, "__name__", self.actor_class))

    def stats(self) -> MailboxStats:
        """Return the actor's figures."""
        return MailboxStats(
            address=self.address,
            actor_class=self.class_name,
            depth=len(self.mailbox),
            depth_max=self.depth_max,
            handled=self.handled,
            slow_count=self.slow_count,
            is_busy=self.parked,
        )

    def status(self) -> Thespian_ActorStatus:
        """Return what Thespian_StatusReq is answered with."""
        status = Thespian_ActorStatus(
            self.address,
            self.class_name,
            self.host.address,
            self.parent,
            self.source_hash,
            self.exiting or None,
        )
        for child in self.children:
            status.addChild(child)
        for message, sender in self.mailbox:
            status.addReceivedMessage(sender, self.address, type(message).__name__)
        now = self.scheduler.loop.time()
        for handle in self.timers.values():
            left = timedelta(seconds=max(handle.when() - now, 0))
            status.addWakeups([(self.address, ExpirationTimer(left))])
        status.addKeyVal("Messages Handled", self.handled)
        status.addKeyVal("Mailbox Depth Max", self.depth_max)
        status.addKeyVal("Slow Handler Calls", self.slow_count)
        return status

    # --- coroutine handlers ---

    def _park(
        self,
        coroutine: Coroutine[Any, Any, Any],
        message: Any,
        sender: ActorAddress,
        attempt: int,
    ) -> None:
        self._clear_watch()
        self.parked = self.scheduled = True
        self._message, self._sender, self._attempt = message, sender, attempt
        self._cancelled = False
        self._take_in(self._deliver_busy)
        self._handling = coroutine
        self._task = self.scheduler.loop.create_task(
            _without_exit(coroutine),
            name=f"{type(self.actor).__name__} {self.address._aaddr}",
            context=self.own_context(),
        )
        self._task.add_done_callback(self._coroutine_done)
        if isinstance(message, ActorExitRequest) or any(
            isinstance(waiting, ActorExitRequest) for waiting, _ in self.mailbox
        ):
            self._start_exit_clock()

    def _coroutine_done(self, task: asyncio.Task[Any]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if task is not self._task:
            return  # given up on, see _give_up
        message, sender, attempt = self._message, self._sender, self._attempt
        self._task = self._message = None
        self._close_unbegun()
        self.parked = False
        self._take_in(self._deliver_exiting if self.exiting else self.deliver)
        if error is None:
            self.take_result(task.result(), message, sender, attempt)
        elif self._cancelled:
            logger.warning("%s was cancelled in handling %s: it exits", self, _kind(message))
        elif isinstance(error, _Quit):
            self.quit(message, sender, error.request)
        else:
            self._failed(message, sender, error, attempt)
        if not self.parked:
            if self._exit_request is not None:
                self._stop_exit_clock()
            self._settle()
        if not self.parked:
            self._resume()

    def _close_unbegun(self) -> None:
        """Close the handler's coroutine if its task was cancelled before the first step."""
        handling, self._handling = self._handling, None
        if handling is not None and inspect.getcoroutinestate(handling) == inspect.CORO_CREATED:
            handling.close()

    def _resume(self) -> None:
        self.parked = False
        if self.mailbox:
            self.scheduler.wake(self)
        else:
            self.scheduled = False

    def _start_exit_clock(self) -> None:
        if self._exit_timer is None:
            self._exit_timer = self.scheduler.loop.call_later(
                self.host.config.exit_grace_s, self._end_of_patience
            )

    def _stop_exit_clock(self) -> None:
        if self._exit_timer is not None:
            self._exit_timer.cancel()
            self._exit_timer = None

    def _end_of_patience(self) -> None:
        """The exit request has waited long enough: it overtakes what is before it."""
        self._exit_timer = None
        if self._task is not None and self._cancelled:
            self._give_up()
            return
        if self._exit_request is None:
            while self.mailbox and not isinstance(self.mailbox[0][0], ActorExitRequest):
                message, sender = self.mailbox.popleft()
                self.host.dead_letter(message, self.address, sender)
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()
            self._start_exit_clock()

    def _give_up(self) -> None:
        logger.error("%s ignores that it was cancelled; it is left behind", self)
        self.end()

    # --- exit ---

    def _receive_exit(self, request: ActorExitRequest, sender: ActorAddress) -> None:
        if self._exit_request is not None:
            return
        self._exit_request = request
        self._stop_exit_clock()
        self._run(request, sender, 1)
        self._settle()

    def _settle(self) -> None:
        """Go on with an exit as far as possible; the actor may have cleared `recursive`."""
        request = self._exit_request
        if request is None or self.parked:
            return
        if not self.exiting:
            self.exiting = True
            if request.isRecursive and self.children:
                self._wait_for_children()
                return
            self.end()
        elif not self.children:
            self.end()

    def _wait_for_children(self) -> None:
        self._take_in(self._deliver_exiting)
        waiting = list(self.mailbox)
        self.mailbox.clear()
        for message, sender in waiting:
            self._deliver_exiting(message, sender)
        for child in list(self.children):
            child.deliver(ActorExitRequest(recursive=True), self.address)

    def end(self) -> None:
        """End the actor here and now, whatever it is doing. May be repeated."""
        if self.dead:
            return
        self.dead = True
        self.host.bury(self)
        self.parked = self.scheduled = True
        self._stop_exit_clock()
        self._clear_watch()
        for handle in self.timers.values():
            handle.cancel()
        self.timers.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            self._close_unbegun()
        waiting = [*(self.saved or ()), *self.mailbox]
        self.mailbox.clear()
        for message, sender in waiting:
            self.host.dead_letter(message, self.address, sender)
        self.actor = None

    # --- watches and wake-ups ---

    def _report_watch(self, message: WatchMessage) -> None:
        self.address.deliver(message, self.address)

    def _clear_watch(self) -> None:
        if self.watch is not None:
            self.watch.close()
            self.watch = None

    def wakeupAfter(self, period: timedelta | float, payload: Any = None) -> None:
        """Deliver a WakeupMessage after a period given as timedelta or in seconds."""
        seconds = timePeriodSeconds(period)
        if self.dead:
            return  # a coroutine that was left behind; nobody would cancel the timer
        timer_id = next(self._timer_ids)
        self.timers[timer_id] = self.scheduler.loop.call_later(
            seconds, self._wake_up, timer_id, WakeupMessage(period, payload)
        )

    def _wake_up(self, timer_id: int, message: WakeupMessage) -> None:
        del self.timers[timer_id]
        self.address.deliver(message, self.address)

    # --- the rest of what thespian.actors.Actor calls ---

    def actor_send(self, targetAddr: ActorAddress, msg: Any) -> None:
        """Send a message from this actor; the names are those of `Actor.send`.

        Raises:
            ForeignAddress: The address belongs to another actor system.
        """
        try:
            cell = targetAddr.cell  # type: ignore[attr-defined]
        except AttributeError:
            self._send_elsewhere(targetAddr, msg)
            return
        scheduler = self.scheduler
        if cell is None or cell.scheduler is not scheduler:
            self.host.send(targetAddr, msg, self.address)
            return
        # Cell.deliver once more: a call less for the most frequent of all steps.
        cell.mailbox.append((msg, self.address))
        if not cell.scheduled:
            cell.scheduled = True
            scheduler.ready.append(cell)
            if not scheduler.armed:
                scheduler.arm()

    def _send_elsewhere(self, target: ActorAddress, message: Any) -> None:
        if not isinstance(target, ActorAddress):
            raise InvalidActorAddress(target, "not a valid ActorAddress for sending messages to")
        self.host.send(target, message, self.address)

    def createActor(
        self,
        actor_class: Any,
        requirements: Any = None,
        global_name: str | None = None,
        source_hash: str | None = None,
    ) -> ActorAddress:
        """Create a child; its source is this actor's own unless another is named."""
        return self.host.create_child(
            self, actor_class, requirements, global_name, source_hash or self.source_hash
        )

    def handleDeadLetters(self, address: LocalAddress, enable: bool) -> None:
        """Register for dead letters, or stop."""
        self.host.handle_dead_letters(address, enable)

    def registerSourceAuthority(self, address: LocalAddress) -> None:
        """Become the source authority."""
        self.host.sources.authority = address

    def notifyOnSourceAvailability(self, address: LocalAddress, enable: bool) -> None:
        """Register for notices about loaded sources, or stop."""
        self.host.sources.notify(address, enable)

    def notifyOnSystemRegistrationChanges(self, address: LocalAddress, enable: bool) -> None:
        """Do nothing: this system base has no convention to join."""

    def preRegisterRemoteSystem(self, address: Any, capabilities: Any) -> None:
        """Do nothing: this system base has no convention to join."""

    def deRegisterRemoteSystem(self, address: Any) -> None:
        """Do nothing: this system base has no convention to leave."""

    def updateCapability(self, name: str, value: Any = None) -> None:
        """Change a capability of the system."""
        self.host.update_capability(name, value)

    def loadActorSource(self, source: Any) -> str:
        """Load a source file and return its hash."""
        return self.host.sources.load(source)

    def unloadActorSource(self, source_hash: str) -> None:
        """Unload a source."""
        self.host.sources.unload(source_hash)

    def actorSystemShutdown(self) -> None:
        """Shut the whole system down."""
        self.host.begin_shutdown()

    def __str__(self) -> str:
        return f"{self.class_name} {self.address._aaddr}"


class _Quit(Exception):
    """A coroutine handler raised SystemExit, which asyncio lets end the loop."""

    def __init__(self, request: SystemExit) -> None:
        super().__init__(request)
        self.request = request


async def _without_exit(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    except SystemExit as request:
        raise _Quit(request) from request


def _kind(message: object) -> str:
    return type(message).__name__
