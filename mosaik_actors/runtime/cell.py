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
import logging
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ActorSystemMessage,
    ChildActorExited,
    PoisonMessage,
    Thespian_StatusReq,
    ThespianWatch,
    WatchMessage,
)

from .cell_face import CellFace
from .cell_state import CellHost
from .decorated import Saved, adapt, give_up
from .messaging.address import Deliver, LocalAddress
from .messaging.asking import Handling, handling_now
from .watch import LoopWatch

logger = logging.getLogger(__name__)

# Attempts to handle one message (user guide, "PoisonMessage Returns").
ATTEMPTS_MAX = 2


class ActorCell(CellFace):
    """One actor: how it handles its messages, and how it ends."""

    __slots__ = ()

    def __init__(
        self, host: CellHost, actor_class: Any, parent: LocalAddress, **named: Any
    ) -> None:
        super().__init__(host, actor_class, parent, **named)
        self.address = host.new_reference(self.deliver)
        self.address.class_name = self.class_name
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
            result = self.run_in_context(self._handler_of(message), message, sender)
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

    def _handler_of(self, _message: Any) -> Callable[[Any, ActorAddress], Any]:
        handler: Callable[[Any, ActorAddress], Any] = self.actor.receiveMessage
        return handler

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
        self.reason = self.reason or f"its handler raised SystemExit({request.code})"
        self.end()

    def take_result(self, result: Any, message: Any, sender: ActorAddress, attempt: int) -> None:
        """Act on what a handler returned."""
        if asyncio.iscoroutine(result):
            self._park(result, message, sender, attempt)
        elif isinstance(result, ThespianWatch):
            self._clear_watch()
            self.watch = LoopWatch(self.scheduler.loop, result.filenos, self._report_watch)
        else:
            self._clear_watch()

    def note_slow(self, seconds: float) -> None:
        """Count a handler call that held the loop for long."""
        self.slow_count += 1
        self.host.note_slow(self, seconds)

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
        self._cancelled = self._abandoned = False
        handling = Handling(self.address, getattr(sender, "question", None))
        self.handling = self.address.handling = handling
        self._take_in(self._deliver_busy)
        self._handling = coroutine
        self._task = self.scheduler.loop.create_task(
            _without_exit(coroutine, handling),
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
        self._end_handling()
        self._close_unbegun()
        self.parked = False
        self._take_in(self._deliver_exiting if self.exiting else self.deliver)
        if error is None:
            self.take_result(task.result(), message, sender, attempt)
        elif self._abandoned and isinstance(error, asyncio.CancelledError):
            logger.debug("%s was cancelled in handling %s: the asker is gone", self, _kind(message))
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

    def _end_handling(self) -> None:
        self.handling = self.address.handling = None

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
        self.reason = "it did not exit in time"
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
        self._end_handling()
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


class _Quit(Exception):
    """A coroutine handler raised SystemExit, which asyncio lets end the loop."""

    def __init__(self, request: SystemExit) -> None:
        super().__init__(request)
        self.request = request


async def _without_exit(coroutine: Coroutine[Any, Any, Any], handling: Handling) -> Any:
    handling_now.set(handling)
    try:
        return await coroutine
    except SystemExit as request:
        raise _Quit(request) from request


def _kind(message: object) -> str:
    return type(message).__name__
