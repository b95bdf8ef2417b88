"""What is put before an instance of a singleton, so that it acts in its tenure only.

An instance that was held up may wake to a lease that is over, with messages in its mailbox
and timers due. Its tenure is asked on the clock before each of them, and before what it sends.
"""

from __future__ import annotations

from typing import Any, ClassVar

from thespian.actors import ActorAddress, ActorSystemMessage

from ..runtime import MessageRejected
from ..runtime.messaging.hooks import HookMessage
from ..singletons.tenure import Tenure


class Guarded:
    """What is put before the class of an instance: nothing is done when its lease is over."""

    _tenure: ClassVar[Tenure]
    _myRef: Any
    myAddress: Any

    def receiveMessage(self, message: Any, sender: ActorAddress, /) -> Any:
        """Handle a message, or send it back."""
        if self._tenure.is_over and not isinstance(message, ActorSystemMessage):
            host, reason = self._myRef.host, "the lease of its host is over"
            if getattr(sender, "question", None) is not None:
                host.send(sender, MessageRejected(message, self.myAddress, reason), self.myAddress)
            else:
                host.dead_letter(message, self.myAddress, sender, reason)
            return None
        return super().receiveMessage(message, sender)  # type: ignore[misc]

    def receive_hook(self, message: HookMessage, sender: ActorAddress) -> Any:
        """Start, or take a timer, unless the time for that is over."""
        if self._tenure.is_over:
            return None
        return super().receive_hook(message, sender)  # type: ignore[misc]

    def send(self, target: ActorAddress, message: Any) -> None:
        """Send a message, unless the time for that is over."""
        if self._tenure.is_over:
            reason = "the lease of its sender is over"
            self._myRef.host.dead_letter(message, target, self.myAddress, reason)
        else:
            super().send(target, message)  # type: ignore[misc]


def guarded(actor_class: type[Any], tenure: Tenure) -> type[Any]:
    """Return a subclass that acts in a tenure only."""
    named = {"_tenure": tenure, "__module__": actor_class.__module__}
    named["__qualname__"] = actor_class.__qualname__
    return type(actor_class.__name__, (Guarded, actor_class), named)
