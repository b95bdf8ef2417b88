"""Thespian's class decorators, made right for many actors in one process and for coroutines.

`@initializing_messages` and `@troupe` come from Thespian and are applied to a
class before it meets this system base. Two things in them hold only where each
actor is a process, and each handler has finished when it returns:

    * What `@initializing_messages` saves lies in a list of the class, so that
      actors of one class would take each other's messages. Here the list is the
      actor's own. What was saved goes back to the front of the mailbox when the
      actor is initialized: each message is handled by itself, with a second
      attempt, and poison to whoever sent it.
    * Both look at a handler's work as done when it returns. A coroutine handler
      returns at once: its result was dropped, and a worker of a troupe reported
      itself ready (and was dismissed) with the work still to do. Here the
      coroutine is awaited first. Work that fails twice goes back to the client
      whose it was, not to the manager, and the worker is ready again.

`@transient` needs no such care, since it returns what the handler returns.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from thespian.actors import ActorAddress, ActorSystemMessage
from thespian.initmsgs import initializing_messages
from thespian.troupe import _TroupeMemberReady, _TroupeWork

logger = logging.getLogger(__name__)

Saved = list[tuple[Any, ActorAddress]]


def adapt(actor: Any, put_back: Callable[[Saved], None]) -> Saved | None:
    """Prepare an actor whose class is decorated; any other is left as it is.

    Args:
        actor: The actor, constructed and connected.
        put_back: Called with saved messages that are to be handled next.

    Returns:
        The messages that the actor saves until it is initialized, or None.
    """
    actor_class = type(actor)
    if hasattr(actor_class, "_orig_receiveMessage"):
        _await_work(actor)
    if not hasattr(actor_class, "_post_init_pending"):
        return None
    saved: Saved = []
    actor._post_init_pending = saved
    receive = actor_class.receiveMessage
    if receive.__module__ == initializing_messages.__module__:
        given = inspect.getclosurevars(receive).nonlocals
        actor.receiveMessage = _Initialization(actor, saved, put_back, **given).receive
    return saved


class _Initialization:
    """Receives an actor's messages until it has all that it waits for.

    The arguments are those of `initializing_messages`, besides the first three.
    """

    def __init__(
        self,
        actor: Any,
        saved: Saved,
        put_back: Callable[[Saved], None],
        *,
        initset: list[tuple[Any, ...]],
        initdone: str | None = None,
        init_passthru: bool = False,
    ) -> None:
        self._actor = actor
        self._saved = saved
        self._put_back = put_back
        self._wanted = initset
        self._done = initdone
        self._passes_all = init_passthru

    def receive(self, message: Any, sender: ActorAddress) -> Any:
        """Take a message of the initialization, pass it on, or save it."""
        is_wanted = self._take(message, sender)
        is_complete = all(hasattr(self._actor, wanted[0]) for wanted in self._wanted)
        passes = self._passes_all or isinstance(message, ActorSystemMessage)
        result = self._actor._post_init_receiveMessage(message, sender) if passes else None
        late: Saved = [] if is_wanted or passes else [(message, sender)]
        if not is_complete:
            self._saved += late
            return result
        if asyncio.iscoroutine(result):
            return self._finish_after(result, late)
        done = self._call_done()
        if asyncio.iscoroutine(done):
            return self._finish_after_done(done, late, result)
        self._finish(late)
        return result

    def _take(self, message: Any, sender: ActorAddress) -> bool:
        is_wanted = False
        for name, kind, *with_sender in self._wanted:
            if isinstance(message, kind):
                is_wanted = True
                setattr(self._actor, name, message)
                if with_sender and with_sender[0]:
                    setattr(self._actor, f"{name}_sender", sender)
        return is_wanted

    async def _finish_after(self, handling: Coroutine[Any, Any, Any], late: Saved) -> Any:
        result = await handling
        done = self._call_done()
        if asyncio.iscoroutine(done):
            await done
        self._finish(late)
        return result

    async def _finish_after_done(
        self, done: Coroutine[Any, Any, Any], late: Saved, result: Any
    ) -> Any:
        await done
        self._finish(late)
        return result

    def _call_done(self) -> Any:
        if not self._done:
            return None
        method = getattr(self._actor, self._done, None)
        if method is None:
            logger.warning("%s has no method %s", type(self._actor).__name__, self._done)
            return None
        return method()

    def _finish(self, late: Saved) -> None:
        self._actor.receiveMessage = self._actor._post_init_receiveMessage
        saved = [*self._saved, *late]
        self._saved.clear()
        self._put_back(saved)


def _await_work(actor: Any) -> None:
    handle = actor._orig_receiveMessage

    def receive(message: Any, sender: ActorAddress) -> Any:
        result = handle(message, sender)
        if not asyncio.iscoroutine(result):
            return result
        # Until the coroutine begins, so that the troupe sees no work done.
        in_progress = getattr(actor, "troupe_work_in_progress", False)
        actor.troupe_work_in_progress = True
        return _work(actor, result, in_progress)

    actor._orig_receiveMessage = receive


async def _work(actor: Any, handling: Coroutine[Any, Any, Any], in_progress: bool) -> Any:
    actor.troupe_work_in_progress = in_progress
    result = await handling
    _report_ready(actor)
    return result


def _report_ready(actor: Any) -> None:
    number = getattr(actor, "_work_ident", -1)
    if number >= 0 and not getattr(actor, "troupe_work_in_progress", False):
        actor.send(actor._is_a_troupe_worker, _TroupeMemberReady(number))
        actor._work_ident = -1


def give_up(actor: Any, message: Any, sender: ActorAddress) -> tuple[Any, ActorAddress]:
    """Return the message that an actor failed on, and to whom it goes back."""
    if not isinstance(message, _TroupeWork):
        return message, sender
    actor.troupe_work_in_progress = False
    _report_ready(actor)
    return message.message, message.orig_sender
