"""Isolated actors with a policy: a stand-in on the node for an actor in another process.

The stand-in has the name, the mailbox and the policy, and is what others watch. It passes every
message on, with its sender, so answers come from the isolated actor itself. When the
process ends unasked, the stand-in has failed: a restart starts another process.

What is in the other process is a plain Thespian actor (``runtime/isolated.py``): messages
to it are pickled, by the node, for a process of the same user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest, ActorSystemMessage, ChildActorExited

from ..errors import MosaikError
from .actor import MosaikActor

# With so many questions passed on it is looked which are answered, then with twice those left.
_ASKED_MIN = 64


class ProcessEnded(MosaikError):
    """The process of an isolated actor has ended, or could not start; `reason` says more."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class StandIn(MosaikActor):
    """Stands for one isolated actor on its node."""

    def __init__(
        self, actor_class: type, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self._class = actor_class
        self._args = args
        self._kwargs = kwargs or {}
        self._child: ActorAddress | None = None
        self._asked: dict[ActorAddress, Any] = {}
        self._look_at = _ASKED_MIN

    async def started(self) -> None:
        """Start the process, and wait until its actor has started."""
        creation, loop = self._myRef.host.creation, self._myRef.host.loop
        cell = creation.spawn_isolated(self._class, self._myRef, self._args, self._kwargs)
        ready: asyncio.Future[str | None] = loop.create_future()
        cell.on_ready = lambda failure: None if ready.done() else ready.set_result(failure)
        failure = await ready
        if failure is not None:
            raise ProcessEnded(failure.strip().splitlines()[-1])
        self._child = cell.address

    def receiveMessage(self, message: Any, sender: ActorAddress, /) -> None:
        """Pass a message on; take in that the process has ended."""
        child = self._child
        if isinstance(message, ChildActorExited):
            if message.childAddress is child:
                self._child = None
                reason = "its process has ended unasked"
                self._fail_questions(reason)
                # Not within a handler of the actor that is to be made anew.
                self._myRef.host.loop.call_soon(self._myRef.fail, ProcessEnded(reason))
        elif child is not None and not isinstance(message, ActorExitRequest):
            question = getattr(sender, "question", None)
            if question is not None:
                question.delegate = child
                self._asked[sender] = message
                if len(self._asked) >= self._look_at:
                    self._forget_answered()
            child.deliver(message, sender)  # type: ignore[attr-defined]
        elif not isinstance(message, ActorSystemMessage):
            self._myRef.host.dead_letter(message, self.myAddress, sender, "it has not started")

    def release(self) -> None:
        """Fail what was asked: nobody will answer it."""
        self._fail_questions("its process has ended")
        super().release()

    def _forget_answered(self) -> None:
        self._asked = {
            sender: message
            for sender, message in self._asked.items()
            if not sender.question.is_over  # type: ignore[attr-defined]
        }
        self._look_at = max(_ASKED_MIN, 2 * len(self._asked))

    def _fail_questions(self, reason: str) -> None:
        self._forget_answered()
        asked, self._asked = self._asked, {}
        for sender, message in asked.items():
            sender.undeliverable(message, self.myAddress, reason)  # type: ignore[attr-defined]
