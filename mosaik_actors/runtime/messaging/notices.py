"""What the runtime notifies actors and programs of: the ends of other actors.

`MessageRejected` comes as a message to actors, as do `ActorGone` and `ChildFailed`, which
are beside the reference that they name; a `DeadLetter` is an event of ``net.actors.events()``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thespian.actors import ActorAddress, PoisonMessage


class Notice:
    """A message of the runtime to an actor: no bound on a mailbox drops it."""

    __slots__ = ()


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
