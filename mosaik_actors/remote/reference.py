"""References to actors of other nodes, and the questions that come from there."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from thespian.actors import ActorAddress, PoisonMessage

from ..ids import PeerId
from ..peer_text import printable
from ..runtime import ActorRef
from ..runtime.messaging.address import Deliver, LocalAddress
from ..runtime.messaging.errors import AskPoisoned, AskRejected
from ..runtime.messaging.notices import MessageRejected
from ..runtime.messaging.reference import ReferenceOwner
from ..runtime.messaging.replies import Credit


class Home(Protocol):
    """The node of an actor."""

    @property
    def peer_id(self) -> PeerId:
        """Who it is."""


class Route(Protocol):
    """What leads to the actors of another node."""

    @property
    def home(self) -> Home:
        """The node."""

    def send(self, ref: RemoteRef, message: Any, sender: ActorAddress) -> None:
        """Send a message to one of its actors."""

    def abandon(self, asker: LocalAddress) -> None:
        """Notify it that nobody waits for an answer any more."""


class RemoteRef(ActorRef):
    """A reference to an actor of another node, in one incarnation of it."""

    __slots__ = ("incarnation",)

    def __init__(self, host: ReferenceOwner, route: Route, number: int, incarnation: bytes) -> None:
        super().__init__(host, number, self._send)
        self.remote = route
        self.incarnation = incarnation
        self.abandon = route.abandon

    def _send(self, message: Any, sender: ActorAddress) -> None:
        self.remote.send(self, message, sender)

    @property
    def label(self) -> str:
        """What it is called for people: its name or its class, its number, and its node."""
        kind = printable(self.name or self.class_name or "actor")
        return f"{kind} #{self.number} on peer {self.remote.home.peer_id.short}"

    @property
    def _aaddr(self) -> str:
        return f"{self.remote.home.peer_id.short}/{self.number}"


class RemoteQuestionHost(Protocol):
    """The actor system, as far as questions from elsewhere know it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it runs."""

    def new_address(self, deliver: Deliver) -> LocalAddress:
        """Return a new address."""


class Asker(Protocol):
    """Where the answers of a question from elsewhere go."""

    def answer(self, question: RemoteQuestion, message: Any) -> None:
        """Take an answer, a part of one, or why there is none."""

    def cannot_answer(self, question: RemoteQuestion, reason: str) -> None:
        """Take in that nobody handles the question."""


class RemoteQuestion:
    """One question that came from another node: the address that its answer goes to.

    Attributes:
        number: What the asker calls it.
        address: The sender that the actor sees.
        chain: The actors that wait for the answer.
        deadline: When it is too late, on the loop's clock; None: never.
        credit: How many answers of a stream may be sent; None where one is wanted.
        target: The actor.
        delegate: Who was given the question to answer, by the target.
        expected: What the answer is to be; ``Any`` where the question does not say.
        message: What is asked, where the target may pass it on to another node.
        window: How many answers of a stream may be under way; 0 where one is wanted.
        is_cancelled: Whether the asker has given up.
    """

    __slots__ = (
        "_asker", "_loop", "address", "chain", "credit", "deadline", "delegate", "expected",
        "is_cancelled", "message", "number", "target", "window",
    )  # fmt: skip

    def __init__(
        self, host: RemoteQuestionHost, asker: Asker, number: int, target: ActorRef
    ) -> None:
        self._asker = asker
        self._loop = host.loop
        self.number = number
        self.target = target
        self.chain: tuple[LocalAddress, ...] = ()
        self.deadline: float | None = None
        self.credit: Credit | None = None
        self.delegate: ActorAddress | None = None
        self.expected: Any = Any
        self.message: Any = None
        self.window = 0
        self.is_cancelled = False
        self.address = host.new_address(self._deliver)
        self.address.question = self
        self.address.undeliverable = self._undeliverable

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the answer any more."""
        if self.is_cancelled:
            return True
        return self.deadline is not None and self._loop.time() >= self.deadline

    def grant(self, count: int) -> None:
        """Let more answers of a stream come, from whoever was given the question."""
        remote = getattr(self.delegate, "remote", None)
        if remote is not None:
            remote.grant(self.address, count)
        elif self.credit is not None:
            self.credit.grant(count)

    def fail(self, error: Exception) -> None:
        """Say why there is no answer: it was passed on to another node, and none came."""
        if isinstance(error, AskRejected):
            self._asker.answer(self, MessageRejected(self.message, self.target, error.reason))
        elif isinstance(error, AskPoisoned):
            self._asker.answer(self, PoisonMessage(self.message, error.details))
        else:
            self._asker.cannot_answer(self, getattr(error, "reason", "") or str(error))

    def _deliver(self, message: Any, sender: ActorAddress) -> None:
        self._asker.answer(self, message)

    def _undeliverable(self, message: Any, target: ActorAddress, reason: str) -> None:
        self._asker.cannot_answer(self, reason)
