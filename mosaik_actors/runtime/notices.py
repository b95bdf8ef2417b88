"""What the runtime tells actors and programs about other actors.

`ActorGone`, `ChildFailed` and `MessageRejected` come as messages to actors; a
`DeadLetter` is an event of ``net.actors.events()``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thespian.actors import ActorAddress, PoisonMessage

if TYPE_CHECKING:
    from .reference import ActorRef


class Notice:
    """A message of the runtime to an actor: no bound on a mailbox drops it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ActorGone(Notice):
    """An actor that was watched is gone, or its node is; nothing more comes of the watch.

    Attributes:
        ref: The actor.
        reason: Why, for people: it exited, it failed with an error, its node left, or does
            not answer. Of the last it may come back: then it can be resolved again.
    """

    ref: ActorRef
    reason: str


@dataclass(frozen=True, slots=True)
class ChildFailed(Notice):
    """A child has failed, and its policy has decided what comes of it.

    Attributes:
        ref: The child.
        reason: The error, for people.
        decision: ``"resumed"``, ``"restarted"``, ``"stopped"`` or ``"escalated"``.
    """

    ref: ActorRef
    reason: str
    decision: str


class MessageRejected(PoisonMessage):
    """A message came back: the mailbox of the receiver is full, or does not take it.

    Attributes:
        receiver: To whom it was sent.
        reason: Why it was not taken in, for people.
    """

    def __init__(self, message: Any, receiver: ActorAddress, reason: str) -> None:
        super().__init__(message, reason)
        self.receiver = receiver
        self.reason = reason

    @property
    def message(self) -> Any:
        """What was sent."""
        return self.poisonMessage


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nobody handles.

    Attributes:
        sender: Who sent it, as text.
        receiver: To whom it was sent, as text.
        type: The name of its class.
        reason: Why nobody handles it, for people.
    """

    sender: str
    receiver: str
    type: str
    reason: str
