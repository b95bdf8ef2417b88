"""References: the addresses of actors, with which messages are also sent to them.

An `ActorRef` is a Thespian address: it goes into `Actor.send`, into messages, and into
dictionaries. There is one object for each actor, so references are compared with ``is``
or ``==``. That of an actor at another node behaves the same; its `deliver` leads to the
network (see ``mosaik_actors/remote``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from .address import AddressOwner, Deliver, LocalAddress
from .asking import Handling
from .notices import Notice
from .replies import Replies
from .requests import Request

R = TypeVar("R")

if TYPE_CHECKING:
    from ...ids import PeerId

ASK_TIMEOUT_S = 30.0
"""How long an ask by reference waits, unless it says otherwise."""


class ReferenceOwner(AddressOwner, Protocol):
    """The actor system that a reference belongs to, as far as the reference knows it."""

    @property
    def address(self) -> LocalAddress:
        """The system's own address, which takes no answers."""

    @property
    def home(self) -> Any:
        """Which node it is, for other nodes; None without one."""

    def ask(self, target: ActorRef, message: Any, timeout: float | timedelta | None) -> Any:
        """Ask, as a coroutine."""

    def stream(self, target: ActorRef, message: Any, window: int) -> Replies[Any]:
        """Ask for a stream of answers."""

    def watch(self, target: ActorRef, watcher: LocalAddress) -> None:
        """Send `ActorGone` to `watcher` at the end of an actor, once."""

    def unwatch(self, target: ActorRef, watcher: LocalAddress) -> None:
        """Send nothing to `watcher` at the end of an actor."""

    def stop(self, target: ActorRef, timeout: float | timedelta | None) -> Awaitable[None]:
        """Let an actor exit, and wait until it has."""


class ActorRef(LocalAddress):
    """The address of an actor, here or at another node.

    Attributes:
        name: The name under which it can be resolved; None if it has none.
        class_name: What kind of actor it is, for people.
        handling: The coroutine handler that runs, where the actor is of this node.
        abandon: Called with the address of an ask that nobody waits for any more.
        remote: Who leads to the actor's node; None where it is of this node.
        is_shared: Whether other nodes know of it, and so may send to it.
    """

    __slots__ = ("abandon", "class_name", "handling", "is_shared", "name", "remote")

    host: ReferenceOwner

    def __init__(self, host: ReferenceOwner, number: int, deliver: Deliver) -> None:
        super().__init__(host, number, deliver)
        self.name: str | None = None
        self.class_name = ""
        self.handling: Handling | None = None
        self.abandon: Callable[[LocalAddress], None] | None = None
        self.remote: Any = None
        self.is_shared = False

    @property
    def peer_id(self) -> PeerId | None:
        """The node of the actor; None in an actor system without a network."""
        home = self.host.home if self.remote is None else self.remote.home
        return None if home is None else home.peer_id

    @property
    def is_local(self) -> bool:
        """Whether the actor is of this node."""
        return self.remote is None

    def tell(self, message: Any) -> None:
        """Send a message, at most once and without an answer. On the loop's thread.

        What cannot be delivered is a dead letter, not an error.
        """
        self.deliver(message, self.host.address)

    @overload
    async def ask(self, message: Request[R], timeout: float | timedelta | None = ...) -> R: ...

    @overload  # a request whose answer is taken for another type than it has
    async def ask(
        self, message: Request[Any], timeout: float | timedelta | None = ...
    ) -> object: ...

    @overload
    async def ask(self, message: object, timeout: float | timedelta | None = ...) -> Any: ...

    async def ask(self, message: object, timeout: float | timedelta | None = ASK_TIMEOUT_S) -> Any:
        """Send a message and return the answer to it.

        In a handler that has a deadline itself it waits no longer than that. When this is
        cancelled, or its time is over, the actor's handler of a `Request` is cancelled too.

        Args:
            message: The question; a `Request` says what type the answer has.
            timeout: Seconds or a timedelta; None waits as long as the system runs.

        Raises:
            AskTimeout: No answer in time; a TimeoutError.
            AskCircle: The answer would wait for this very handler.
            AskPoisoned: The actor failed twice on the message.
            AskRejected: The actor's mailbox is full, or it takes no such message.
            AskUndeliverable: The actor is gone, or its node cannot be reached.
            ActorSystemClosed: The system shut down meanwhile.
        """
        return await self.host.ask(self, message, timeout)

    def stream(self, message: Request[R], window: int = 64) -> Replies[R]:
        """Return an iterator over a stream of answers: ``async for row in ref.stream(Rows())``.

        It begins with the first step. `window` answers may be under way. To leave the
        loop early ends the stream at the actor too: close it, or use ``async with``.
        Each step raises what `ask` does, but there is no time limit.
        """
        replies: Replies[R] = self.host.stream(self, message, window)
        return replies

    async def stop(self, timeout: float | timedelta | None = ASK_TIMEOUT_S) -> None:
        """Let the actor exit before anything else that waits for it, and wait until it has.

        Raises:
            TimeoutError: It has not exited in time.
        """
        await self.host.stop(self, timeout)

    def watch(self, watcher: LocalAddress) -> None:
        """Send `ActorGone` to `watcher` when the actor ends, or its node does, once."""
        (self.host if self.remote is None else self.remote).watch(self, watcher)

    def unwatch(self, watcher: LocalAddress) -> None:
        """Send nothing to `watcher` any more. May be repeated."""
        (self.host if self.remote is None else self.remote).unwatch(self, watcher)

    @property
    def label(self) -> str:
        """What it is called for people: its name or its class, and its address."""
        return f"{self.name or self.class_name or 'actor'} ({self._aaddr})"


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
