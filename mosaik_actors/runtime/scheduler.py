"""The drain: one loop callback that hands messages to all actors that have some.

A cell that gets its first message queues itself in `ready` and arms the drain.
The drain then takes cells in that order, gives each up to `mailbox_batch`
messages, and stops after `drain_messages_max` messages or `drain_slice_s`
seconds. What is left goes on in the next turn of the loop, after sockets and
timers had theirs: two actors that play ping-pong for ever starve nothing.

Invariants:
    * A cell is in `ready` at most once, and only while `cell.scheduled`.
    * `armed` holds while a drain is running or due.
    * Nothing a handler raises leaves the drain, except KeyboardInterrupt, which
      ends a program; and even then the rest is still due.
    * A handler runs in its actor's own context (`contextvars`): what it sets is
      seen by later handlers of the same actor, and by nobody else.

Hardly any handler sets a variable, and to enter a context costs a tenth of a
message. So all actors share an empty one until the first of them leaves something
in it: that actor keeps it, and the others go on in another. Where variables were
set before the system started, each actor has its own from the start.

The clock is read once per message: the end of one handler is the start of the
next, which is all that slow-handler metrics and the slice need.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from thespian.actors import ActorAddress, ActorSystemMessage

from .config import RuntimeConfig


class Schedulable(Protocol):
    """What gets turns: an actor's cell, as far as the scheduler knows it.

    Attributes:
        scheduled: True while it is queued, and while it is parked.
        handled: Messages taken from the mailbox so far.
        depth_max: The longest the mailbox has been at the start of a turn.
    """

    scheduled: bool
    handled: int
    depth_max: int

    @property
    def scheduler(self) -> Scheduler:
        """Who gives it turns."""

    @property
    def parked(self) -> bool:
        """True while its mailbox must wait."""

    @property
    def exiting(self) -> bool:
        """True from a handled exit request on."""

    @property
    def dead(self) -> bool:
        """True after the end."""

    @property
    def mailbox(self) -> deque[tuple[Any, ActorAddress]]:
        """What waits, each with its sender."""

    @property
    def context(self) -> contextvars.Context | None:
        """The actor's own context variables, once it needs them."""

    @property
    def run(self) -> Callable[..., Any] | None:
        """Runs a function in that context; None while the actor shares one."""

    @property
    def actor(self) -> Any:
        """The actor, whose `receiveMessage` takes a message."""

    @property
    def watch(self) -> object:
        """Not None while `take_result` must be called, whatever was returned."""

    def receive_system(self, message: ActorSystemMessage, sender: ActorAddress) -> None:
        """Handle a message that means something to the runtime as well."""

    def take_result(self, result: Any, message: Any, sender: ActorAddress, attempt: int) -> None:
        """Act on what a handler returned."""

    def retry(self, message: Any, sender: ActorAddress, error: BaseException) -> None:
        """Hand a message over again after its first failure."""

    def quit(self, message: Any, sender: ActorAddress, request: SystemExit) -> None:
        """End the actor: its handler called for the program's end."""

    def keep_context(self, context: contextvars.Context) -> None:
        """Handle all messages in this context from now on."""

    def note_slow(self, seconds: float) -> None:
        """Count a handler call that held the loop for long."""


class Scheduler:
    """Runs the ready actors of one system on one event loop.

    Attributes:
        ready: Cells with messages, in the order in which they get their turn.
        handled: Messages handed to actors so far.
        drains: Turns of the loop used so far.
        cut_short: Drains that stopped at the quota, with work left.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, config: RuntimeConfig) -> None:
        self.loop = loop
        self.ready: deque[Schedulable] = deque()
        self.armed = False
        self.suspended = False
        self.handled = 0
        self.drains = 0
        self.cut_short = 0
        self._messages_max = config.drain_messages_max
        # A slow handler is noticed because it uses up the slice.
        self._slice_s = min(config.drain_slice_s, config.slow_handler_s)
        self._batch = config.mailbox_batch
        self._slow_s = config.slow_handler_s
        # That of the system's start, whoever sends: a drain belongs to the system.
        self._base = contextvars.copy_context()
        self._context = self._base.copy()
        self.shares_context = not self._base
        # The loop's clock in any case; that of asyncio without a call in between.
        is_monotonic = type(loop).time is asyncio.BaseEventLoop.time
        self._clock: Callable[[], float] = time.monotonic if is_monotonic else loop.time

    def arm(self) -> None:
        """Make the drain due in the next turn of the loop; call only if not armed."""
        self.armed = True
        self.loop.call_soon(self._drain, context=self._context)

    def new_context(self) -> contextvars.Context:
        """Return a context for an actor: what was set when the system started."""
        return self._base.copy()

    def suspend(self) -> None:
        """Hand out nothing until `resume`; messages wait in their mailboxes."""
        self.suspended = True

    def resume(self) -> None:
        """Go on after `suspend`."""
        self.suspended = False
        if self.ready and not self.armed:
            self.arm()

    def may_step(self, cell: Schedulable) -> bool:
        """Return whether a message would be an actor's next step, so that it may take one now."""
        return not (self.suspended or cell.mailbox or cell.parked or cell.exiting or cell.dead)

    def run_now(self, cell: Schedulable, step: Callable[[], object]) -> bool:
        """Take a step of an actor here and now, if a message would be its next one anyway.

        Not if anything waits in its mailbox or it is in the midst of a message,
        has ended, or nothing is handed out. Return whether the step was taken. What
        it raises is the caller's.
        """
        if not self.may_step(cell):
            return False
        # As in a drain, whoever calls: what the step begins belongs to the actor. In a
        # copy, since the caller may be in the actor's own context already.
        context = self._base if cell.context is None else cell.context
        context.copy().run(step)
        return True

    def wake(self, cell: Schedulable) -> None:
        """Queue a cell that is not queued yet."""
        cell.scheduled = True
        self.ready.append(cell)
        if not self.armed:
            self.arm()

    def unqueue(self, cell: Schedulable) -> None:
        """Give a cell no turn until it is woken again, though it is queued."""
        with suppress(ValueError):  # it is in its turn, or not queued
            self.ready.remove(cell)

    def _drain(self) -> None:
        # This is the hot loop of the whole library: locals instead of
        # attributes, and no call per message but the handler and the clock.
        if self.suspended:
            self.armed = False  # `resume` goes on
            return
        ready = self.ready
        clock = self._clock
        batch = self._batch
        system_message = ActorSystemMessage
        left_behind = self._context if self.shares_context else ()
        left = before = self._messages_max
        self.drains += 1
        now = clock()
        deadline = now + self._slice_s
        cell: Schedulable | None = None
        failure: BaseException | None = None
        try:
            while ready and left > 0:
                cell = ready.popleft()
                mailbox = cell.mailbox
                run = cell.run
                depth = len(mailbox)
                if depth > cell.depth_max:
                    cell.depth_max = depth
                before = left
                end = left - batch if left > batch else 0
                while left > end and mailbox:
                    message, sender = mailbox.popleft()
                    left -= 1
                    if isinstance(message, system_message):
                        cell.receive_system(message, sender)
                    else:
                        try:
                            if run is None:
                                result = cell.actor.receiveMessage(message, sender)
                            else:
                                result = run(cell.actor.receiveMessage, message, sender)
                            if result is not None or cell.watch is not None:
                                cell.take_result(result, message, sender, 1)
                        except (Exception, CancelledError) as error:
                            failure = error
                        except SystemExit as error:
                            cell.quit(message, sender, error)
                        if failure is not None:
                            cell.retry(message, sender, failure)
                            failure = None
                    started = now
                    now = clock()
                    if left_behind:
                        cell.keep_context(contextvars.copy_context())
                        self._context = self._base.copy()
                        deadline = now  # this drain is in the context that is kept
                    if now >= deadline:
                        if now - started > self._slow_s:
                            cell.note_slow(now - started)
                        break
                    if cell.parked:
                        break
                cell.handled += before - left
                if cell.parked:
                    pass  # the cell wakes itself when its coroutine is done
                elif mailbox:
                    ready.append(cell)
                else:
                    cell.scheduled = False
                cell = None
                if now >= deadline:
                    break
        finally:
            if cell is not None:  # interrupted in the middle of its turn
                cell.handled += before - left
                if not cell.parked:
                    self.wake(cell)
            self.handled += self._messages_max - left
            if ready:
                self.cut_short += 1
                self.loop.call_soon(self._drain, context=self._context)
            else:
                self.armed = False
