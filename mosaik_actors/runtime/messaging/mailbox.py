"""How many messages may wait for an actor, and what happens to those beyond.

A pure core: it decides which message has to go, the cell carries it out.

Messages of the runtime never count as too many, and are never dropped: an actor that
is flooded still learns that it is to exit, that its child has failed and that an
actor it watches is gone. An exit request goes to the front of the mailbox.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any

from thespian.actors import ActorAddress, ActorSystemMessage

from ...config import require_above
from ...errors import ConfigError
from .notices import Notice

Waiting = tuple[Any, ActorAddress]


class Overflow(Enum):
    """Which message is given up when a mailbox is full."""

    REJECT = "reject"
    """The new one; its sender gets `MessageRejected`, an ask raises `AskRejected`."""
    DROP_OLDEST = "drop oldest"
    """The one that has waited longest. It is a dead letter."""
    DROP_NEWEST = "drop newest"
    """The new one. It is a dead letter."""


REJECT = Overflow.REJECT
DROP_OLDEST = Overflow.DROP_OLDEST
DROP_NEWEST = Overflow.DROP_NEWEST


@dataclass(frozen=True, slots=True)
class Mailbox:
    """How many messages may wait for an actor.

    Attributes:
        limit: Messages that may wait, at most; 1 or more.
        overflow: What is given up when one more comes.
    """

    limit: int = 10_000
    overflow: Overflow = REJECT

    def __post_init__(self) -> None:
        require_above("limit", self.limit)
        if not isinstance(self.overflow, Overflow):
            raise ConfigError(
                f"overflow is {self.overflow!r}, expected REJECT, DROP_OLDEST or DROP_NEWEST"
            )


def is_counted(message: Any) -> bool:
    """Return whether a message may be dropped: those of the runtime may not."""
    return not isinstance(message, ActorSystemMessage | Notice)


def take_oldest(waiting: deque[Waiting]) -> Waiting | None:
    """Take the oldest message out that may be dropped; None if there is none."""
    for index, entry in enumerate(waiting):
        if is_counted(entry[0]):
            del waiting[index]
            return entry
    return None
