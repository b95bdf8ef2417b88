"""The cell of an actor that is supervised: policies, bounded mailboxes, hooks, arguments.

What a `MosaikActor` runs in, and every actor that is made by `spawn`. To an ordinary cell
it adds:

    * Constructor arguments, which are used again when it restarts.
    * A policy for failures (`supervision`): the actor goes on, is made anew in the same
      cell, with its address and what waits in its mailbox, or ends.
    * A bound on the mailbox (`mailbox`), and a way past it: an exit request goes to
      the front, past everything that waits. Not so for an actor that
      `createActor` makes and that is no `MosaikActor`: programs for Thespian rely on it
      that work sent before the request is done.
    * Hooks of a `MosaikActor`: `StartActor` is its first message, and what it has opened
      is released when it ends or restarts.
    * Asks that nobody waits for any more: the handler that is at it is cancelled.

A restart, in order: what runs is cancelled, timers and watches end, the children are
asked to exit (nobody is notified of it: who made them is no more), the actor releases what it
holds; after the back-off a new one is made, and `StartActor` is its first message again.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
)

from ..errors import clip
from .cell import ATTEMPTS_MAX, ActorCell
from .messaging.address import Deliver, LocalAddress
from .messaging.hooks import HookMessage, Hooks, StartActor
from .messaging.mailbox import DROP_OLDEST, REJECT, Mailbox, is_counted, take_oldest
from .messaging.notices import MessageRejected
from .messaging.reference import ChildFailed
from .messaging.supervision import Policy, Resume, SupervisionDecision, Supervisor

logger = logging.getLogger(__name__)

RESUME = Resume()

_URGENT = (ActorExitRequest,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawning:
    """How an actor is made and kept.

    Attributes:
        args: For its constructor.
        kwargs: For its constructor.
        supervision: What comes of its failures.
        mailbox: How many messages may wait; None is any number.
        on_started: Called once with None when it has started, or with why it has not.
        stands_for: The class whose handlers say which messages it takes; None: its own.
    """

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    supervision: Policy = RESUME
    mailbox: Mailbox | None = None
    on_started: Callable[[BaseException | None], None] | None = None
    stands_for: type | None = None


PLAIN = Spawning()


class ChildError(Exception):
    """A child has escalated its failure."""


class SupervisedCell(ActorCell):
    """One supervised actor.

    Attributes:
        spawning: How it is made and kept.
    """

    __slots__ = (
        "_limit",
        "_on_started",
        "_restart_timer",
        "_supervisor",
        "_urgent",
        "spawning",
    )

    def __init__(self, *args: Any, spawning: Spawning = PLAIN, **kwargs: Any) -> None:
        self.spawning = spawning
        self._limit = sys.maxsize if spawning.mailbox is None else spawning.mailbox.limit
        # An actor that knows nothing of this has its messages in order, exits too.
        self._urgent: tuple[type, ...] = () if spawning is PLAIN else _URGENT
        self._supervisor = Supervisor(spawning.supervision)
        self._on_started = spawning.on_started
        self._restart_timer: asyncio.TimerHandle | None = None
        super().__init__(*args, **kwargs)
        self.address.cell = None  # who sends must not pass `deliver` by
        self.address.abandon = self._abandon

    @property
    def message_class(self) -> Any:
        """The class whose handlers say which messages the actor takes."""
        return self.spawning.stands_for or self.actor_class

    # --- taking messages in ---

    def _take_in(self, deliver: Deliver) -> None:
        self.address.deliver = deliver

    def deliver(self, message: Any, sender: ActorAddress) -> None:
        """Take a message in, in front if it is urgent, if there is room."""
        mailbox = self.mailbox
        if isinstance(message, self._urgent):
            mailbox.appendleft((message, sender))
        elif len(mailbox) >= self._limit and not self._make_room(message, sender):
            return
        else:
            mailbox.append((message, sender))
        if self._restart_timer is not None and isinstance(message, ActorExitRequest):
            self.end()  # there is no actor that could handle it
        elif not self.scheduled:
            self.scheduled = True
            scheduler = self.scheduler
            scheduler.ready.append(self)
            if not scheduler.armed:
                scheduler.arm()

    def _deliver_busy(self, message: Any, sender: ActorAddress) -> None:
        if self.exiting:
            self._deliver_exiting(message, sender)
            return
        if isinstance(message, ActorExitRequest):
            self._start_exit_clock()
        self.deliver(message, sender)
        self.note_backlog(self.scheduler.loop.time())

    def _make_room(self, message: Any, sender: ActorAddress) -> bool:
        """Return whether a message is to be taken in that is one too many."""
        if not is_counted(message):
            return True
        settings = self.spawning.mailbox
        assert settings is not None, "only a bounded mailbox is full"
        self.rejected_count += 1
        reason = f"its mailbox is full, {settings.limit} messages wait"
        if settings.overflow is DROP_OLDEST:
            oldest = take_oldest(self.mailbox)
            if oldest is not None:
                self.host.dead_letter(oldest[0], self.address, oldest[1], reason)
                return True
        if settings.overflow is REJECT:
            rejected = MessageRejected(message, self.address, reason)
            self.host.send(sender, rejected, self.address)
        self.host.dead_letter(message, self.address, sender, reason)
        return False

    # --- starting ---

    def start(self, actor: Actor) -> None:
        """Give the cell its actor, which starts with its hook if it has one."""
        if isinstance(actor, Hooks):
            self._urgent = _URGENT
            self.mailbox.appendleft((StartActor(), self.address))
        else:
            self._report_started(None)
        super().start(actor)

    def _handler_of(self, message: Any) -> Callable[[Any, ActorAddress], Any]:
        actor = self.actor
        if isinstance(actor, Hooks):
            if isinstance(message, HookMessage):
                return actor.receive_hook
            if isinstance(message, ActorExitRequest):
                return actor.receive_exit
        return super()._handler_of(message)

    def _report_started(self, error: BaseException | None) -> None:
        if self._on_started is not None:
            report, self._on_started = self._on_started, None
            report(error)

    def take_result(self, result: Any, message: Any, sender: ActorAddress, attempt: int) -> None:
        """Act on what a handler returned."""
        super().take_result(result, message, sender, attempt)
        if self._on_started is not None and not self.parked and isinstance(message, StartActor):
            self._report_started(None)

    # --- failures ---

    def _failed(
        self, message: Any, sender: ActorAddress, error: BaseException, attempt: int
    ) -> None:
        if isinstance(message, StartActor):
            self.host.failures += 1
            logger.warning("%s failed in starting", self, exc_info=error)
            if self._on_started is not None:  # whoever spawns it gets the error
                self.reason = describe(error)
                self._report_started(error)
                self.end_all()
            else:
                self.fail(error, can_resume=False)
            return
        super()._failed(message, sender, error, attempt)
        if attempt >= ATTEMPTS_MAX and not isinstance(message, ActorExitRequest):
            self.fail(error)

    def fail(self, error: BaseException, *, can_resume: bool = True) -> None:
        """Let the policy decide on a failure, notify the parent, and carry it out."""
        if self.dead or self.exiting:
            return
        now = self.scheduler.loop.time()
        decision = self._supervisor.decide(now=now, can_resume=can_resume)
        reason = describe(error)
        parent = self.host.supervised(self.parent)
        if parent is not None:
            notice = ChildFailed(self.address, reason, decision.name)
            parent.address.deliver(notice, self.address)
        siblings = self._siblings(parent) if decision.all_for_one else []
        self._carry_out(decision, reason)
        for sibling in siblings:
            sibling._carry_out(decision, f"its sibling {self} {reason}")
        if decision.name == "escalated" and parent is not None:
            parent.fail(ChildError(f"child {self} {reason}"))

    def _siblings(self, parent: SupervisedCell | None) -> list[SupervisedCell]:
        if parent is None:
            return []
        found = (self.host.supervised(child) for child in parent.children)
        return [cell for cell in found if isinstance(cell, SupervisedCell) and cell is not self]

    def _carry_out(self, decision: SupervisionDecision, reason: str) -> None:
        if decision.name == "resumed" or self.dead or self.exiting:
            return
        if decision.name == "restarted":
            logger.warning("%s restarts in %.3gs: it %s", self, decision.delay_s, reason)
            self._restart(decision.delay_s)
        else:
            logger.error("%s ends: it %s", self, reason)
            self.reason = reason
            self.end_all()

    def end_all(self) -> None:
        """End the actor here and now; its children are asked to exit."""
        for child in list(self.children):
            child.deliver(ActorExitRequest(recursive=True), self.address)
        self.end()

    def _restart(self, delay_s: float) -> None:
        self._drop_handling("its actor restarts")
        for handle in self.timers.values():
            handle.cancel()
        self.timers.clear()
        self._clear_watch()
        for child in list(self.children):
            self.host.orphan(child)
            child.deliver(ActorExitRequest(recursive=True), self.address)
        self.children.clear()
        self._release()
        self.scheduler.unqueue(self)
        self.parked = self.scheduled = True
        self._take_in(self.deliver)
        if self._restart_timer is None:
            self._restart_timer = self.scheduler.loop.call_later(delay_s, self._start_again)

    def _drop_handling(self, reason: str) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        message, sender = self._message, self._sender
        self._message = None
        self._end_handling()
        task.cancel()
        self._close_unbegun()
        self.host.dead_letter(message, self.address, sender, reason)

    def _start_again(self) -> None:
        self._restart_timer = None
        self.restart_count += 1
        try:
            actor = self.host.construct(self)
        except (Exception, SystemExit) as error:
            logger.warning("%s cannot restart", self, exc_info=True)
            self.fail(error, can_resume=False)
        else:
            self.start(actor)

    def _release(self) -> None:
        actor, self.actor = self.actor, None
        if isinstance(actor, Hooks):
            actor.release()

    def end(self) -> None:
        """End the actor here and now, whatever it is doing. May be repeated."""
        if self.dead:
            return
        if self._restart_timer is not None:
            self._restart_timer.cancel()
            self._restart_timer = None
        self._report_started(ChildError(self.reason or "it exited before it had started"))
        actor = self.actor
        super().end()
        self.actor = actor
        self._release()

    # --- asks that nobody waits for any more ---

    def _abandon(self, asker: LocalAddress) -> None:
        """Cancel what an ask has set going: its time is over, or it was cancelled."""
        actor = self.actor
        if isinstance(actor, Hooks):
            actor.abandon(asker)
        if self._task is None or self._sender is not asker or self._cancelled:
            return
        self._abandoned = True
        self._task.cancel()


def describe(error: BaseException) -> str:
    """Return an error as a reason, for people."""
    return f"failed: {type(error).__name__}: {clip(error)}"
