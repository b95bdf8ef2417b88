"""What can go wrong between asyncio code and actors.

An `ask` has exactly one outcome: the answer, or one of the `AskFailed` classes. They
say what happened to the question, because that decides whether asking again is safe:

    * `AskTimeout`: nothing is known; it may have been handled.
    * `AskPoisoned`: the actor took it twice and failed both times.
    * `AskUndeliverable`: nobody handles it any more. Not handled, unless the
      actor, or its node, died in the middle of it: see `may_be_delivered`.
    * `AskRejected`, `AskCircle`: it was not taken in at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from thespian.actors import (
    ActorAddress,
    ActorSystemException,
    ActorSystemFailure,
    InvalidActorAddress,
)

from ...errors import MosaikError, WrongThread
from ...peer_text import printable
from .requests import Request


class AskFailed(MosaikError, ActorSystemException):
    """An ask got no answer. `address` was asked, `message` was the question."""

    def __init__(self, address: ActorAddress, message: Any) -> None:
        super().__init__()  # a message may be of any size, and `args` are written in logs
        self.address = address
        self.message = message

    def __str__(self) -> str:
        return f"{self._who} did not answer {type(self.message).__name__}"

    @property
    def _who(self) -> str:
        """Which actor, and on which peer where it is another node's, for people."""
        return str(getattr(self.address, "label", self.address))

    @property
    def _is_remote(self) -> bool:
        return getattr(self.address, "remote", None) is not None


class AskTimeout(AskFailed, TimeoutError):
    """No answer came within `timeout` seconds; the message may still be handled."""

    def __init__(self, address: ActorAddress, message: Any, timeout: float) -> None:
        super().__init__(address, message)
        self.timeout = timeout

    def __str__(self) -> str:
        kind = type(self.message).__name__
        hint = f" ({kind} is no Request: what its handler returns is no answer)"
        said = f"{self._who} did not answer {kind} within {self.timeout:g} s"
        if self._is_remote:
            said += ", which may have been delivered"
        return said + ("" if isinstance(self.message, Request) else hint)


class AskPoisoned(AskFailed):
    """The actor failed twice on the message; `details` is its traceback."""

    def __init__(self, address: ActorAddress, message: Any, details: str | None) -> None:
        super().__init__(address, message)
        self.details = details

    def __str__(self) -> str:
        lines = (self.details or "").strip().splitlines()
        reason = f": {lines[-1]}" if lines else ""
        return f"{self._who} failed twice on {type(self.message).__name__}{reason}"


class AskUndeliverable(AskFailed):
    """The actor has exited, or exits before it comes to the message.

    Attributes:
        reason: What else kept the message from it, such as that its node cannot be
            reached; empty when it has exited.
        may_be_delivered: Whether the message may have reached it. False where it surely has
            not, so that asking again does nothing twice.
    """

    def __init__(
        self,
        address: ActorAddress,
        message: Any,
        reason: str = "",
        *,
        may_be_delivered: bool = True,
    ) -> None:
        super().__init__(address, message)
        self.reason = reason
        self.may_be_delivered = may_be_delivered

    @classmethod
    def before_it_left(cls, address: ActorAddress, message: Any, reason: str) -> Self:
        """Return one for a message that this node had: another node's actor was not sent it."""
        error = cls(address, message, reason)
        error.may_be_delivered = not error._is_remote
        return error

    def __str__(self) -> str:
        kind, why = type(self.message).__name__, self.reason or "it has exited"
        if not self._is_remote:
            return f"{self._who} cannot answer {kind}: {why}"
        delivered = "may have been delivered" if self.may_be_delivered else "was not delivered"
        return f"{self._who} did not answer {kind}, which {delivered}: {printable(why)}"


class AskRejected(AskFailed):
    """The actor does not take the message in; `reason` says why, such as a full mailbox."""

    def __init__(self, address: ActorAddress, message: Any, reason: str) -> None:
        super().__init__(address, message)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self._who} does not take {type(self.message).__name__}: {self.reason}"


class AskCircle(AskFailed):
    """The ask would wait for ever: who is asked waits for the asker's own answer.

    Attributes:
        circle: The actors in order, the first one again at the end, as text.
    """

    def __init__(
        self, address: ActorAddress, message: Any, circle: Iterable[ActorAddress | str]
    ) -> None:
        super().__init__(address, message)
        self.circle = tuple(str(getattr(actor, "label", actor)) for actor in circle)

    def __str__(self) -> str:
        return f"{type(self.message).__name__} closes a circle of asks: {' -> '.join(self.circle)}"


class BlockingCallOnLoop(WrongThread, ActorSystemException):
    """A blocking call on the thread of the event loop would wait for itself."""

    def __init__(self, call: str, instead: str) -> None:
        super().__init__(call, instead)
        self.call = call
        self.instead = instead

    def __str__(self) -> str:
        return (
            f"{self.call} blocks the event loop thread that has to run the actors; "
            f"use '{self.instead}' there, or call it from another thread"
        )


class NotOnLoopThread(WrongThread, ActorSystemException):
    """An asyncio call was made from a thread that does not run the loop."""

    def __init__(self, call: str, instead: str) -> None:
        super().__init__(call, instead)
        self.call = call
        self.instead = instead

    def __str__(self) -> str:
        return f"{self.call} belongs on the event loop's thread; use {self.instead} elsewhere"


class ActorSystemClosed(MosaikError, ActorSystemFailure):
    """The actor system is shut down, or shutting down."""

    def __str__(self) -> str:
        return "the actor system is shut down"


class ForeignAddress(MosaikError, InvalidActorAddress):
    """An address of one actor system was used in another; nothing was sent.

    `address` is the address, `system_name` the system in which it was used.
    """

    def __init__(self, address: ActorAddress, system_name: str) -> None:
        super().__init__(address, "an address of another actor system")
        self.args = (address, system_name)
        self.address = address
        self.system_name = system_name

    def __str__(self) -> str:
        return (
            f"{self.address} is an address of another actor system than "
            f"{self.system_name!r}, which cannot send to it"
        )


class AddressNotPortable(MosaikError, ActorSystemException, TypeError):
    """An address of this process cannot be pickled: it holds its actor directly."""

    def __init__(self, address: ActorAddress) -> None:
        super().__init__(address)
        self.address = address

    def __str__(self) -> str:
        return (
            f"{self.address} is only good inside its process and cannot be pickled; "
            "an actor elsewhere answers to its sender instead"
        )
