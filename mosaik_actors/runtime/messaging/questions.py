"""Questions: one ask each, with an address of its own, so that answers never mix.

A `Question` ends with its first answer. Whoever asks from within a handler is part of a
chain (see `asking`), and its own deadline limits the ask.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from thespian.actors import ActorAddress, ActorSystemMessage, PoisonMessage
from thespian.system import isInternalActorSystemMessage

from ...config import seconds
from .address import Deliver, LocalAddress
from .asking import find_circle, handling_now
from .deadlines import QuestionDeadlines
from .errors import (
    ActorSystemClosed,
    AskCircle,
    AskFailed,
    AskPoisoned,
    AskRejected,
    AskTimeout,
    AskUndeliverable,
)
from .notices import MessageRejected
from .reference import ActorRef
from .replies import Replies


class QuestionHost(Protocol):
    """The actor system, as far as questions know it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it runs."""

    @property
    def closed(self) -> bool:
        """True after the shutdown."""

    def new_address(self, deliver: Deliver) -> LocalAddress:
        """Return a new address."""

    def retire(self, address: LocalAddress) -> None:
        """Send what comes to an address from now on to dead letters."""

    def send(self, target: ActorAddress, message: Any, sender: ActorAddress) -> None:
        """Deliver a message to any kind of address."""

    def check_own(self, target: ActorAddress) -> None:
        """Refuse an address of another actor system."""

    def dead_letter(
        self, message: Any, target: ActorAddress, sender: ActorAddress, reason: str = ""
    ) -> None:
        """Report a message that nobody will handle."""


class Question:
    """One ask on the event loop: an address that takes one answer.

    Attributes:
        address: Where the answer goes.
        message: What is asked.
        target: Who is asked.
        future: Gets the answer, or why there is none.
        chain: The actors that wait for the answer, the first asker first.
        deadline: When it is too late, on the loop's clock; None: never.
        delegate: Who was given the question to answer, by the target.
    """

    __slots__ = (
        "_host", "address", "chain", "deadline", "delegate", "future", "message", "target",
    )  # fmt: skip

    def __init__(
        self,
        host: QuestionHost,
        target: ActorAddress,
        message: Any,
        *,
        chain: tuple[LocalAddress, ...] = (),
        deadline: float | None = None,
    ) -> None:
        self._host = host
        self.target = target
        self.message = message
        self.chain = chain
        self.deadline = deadline
        self.delegate: ActorAddress | None = None
        self.future: asyncio.Future[Any] = host.loop.create_future()
        self.address = host.new_address(self.deliver)
        self.address.undeliverable = self._undeliverable
        self.address.question = self

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.done()

    def deliver(self, message: Any, sender: ActorAddress) -> None:
        """Take the answer; answers after the first are dead letters."""
        if isinstance(message, ActorSystemMessage):
            # From an isolated actor the poison is a copy of the question.
            if isinstance(message, PoisonMessage) and (
                message.poisonMessage is self.message or sender in (self.target, self.delegate)
            ):
                if isinstance(message, MessageRejected):
                    self.fail(AskRejected(self.target, self.message, message.reason))
                else:
                    self.fail(AskPoisoned(self.target, self.message, message.details))
                return
            if isInternalActorSystemMessage(message):
                return
        if self.future.done():
            self._host.dead_letter(message, self.address, sender, "the ask is over")
        else:
            self.future.set_result(message)

    def _undeliverable(self, message: Any, target: ActorAddress, reason: str) -> None:
        if message is self.message:
            self.fail(AskUndeliverable.before_it_left(self.target, message, reason))

    def expire(self, timeout: float) -> None:
        """End the ask because its time is over."""
        self.fail(AskTimeout(self.target, self.message, timeout))

    def fail(self, error: Exception) -> None:
        """End the ask with an error."""
        if not self.future.done():
            self.future.set_exception(error)

    def close(self) -> None:
        """Give the address up; what still comes is a dead letter."""
        self._host.retire(self.address)
        self.address.undeliverable = None


class Questions:
    """The asks of one actor system that wait for their answers."""

    def __init__(self, host: QuestionHost) -> None:
        self._host = host
        self._open: dict[Question, None] = {}
        self._deadlines = QuestionDeadlines(host.loop)
        self._streams: WeakKeyDictionary[Replies[Any], None] = WeakKeyDictionary()

    async def ask(
        self, target: ActorAddress, message: Any, timeout: float | timedelta | None
    ) -> Any:
        """Send a message and return the answer to it; see `ActorRef.ask`."""
        host = self._host
        if host.closed:
            raise ActorSystemClosed
        host.check_own(target)
        handling = handling_now.get()
        if handling is not None and getattr(handling.address, "handling", None) is not handling:
            handling = None  # that handler is over, this code goes on beside its actor
        chain: tuple[LocalAddress, ...] = ()
        limit_s = None if timeout is None else seconds(timeout)
        now = host.loop.time()
        if handling is not None:
            chain = handling.chain
            if isinstance(target, ActorRef):
                circle = find_circle(chain, target)
                if circle is not None:
                    raise AskCircle(target, message, circle)
            if handling.deadline is not None:
                left_s = max(0.0, handling.deadline - now)
                limit_s = left_s if limit_s is None else min(limit_s, left_s)
        deadline = None if limit_s is None else now + limit_s
        question = Question(host, target, message, chain=chain, deadline=deadline)
        self._open[question] = None
        asks: list[LocalAddress] = [] if handling is None else handling.asks
        if isinstance(target, LocalAddress):
            asks.append(target)
        number = None
        is_answered = False
        try:
            host.send(target, message, question.address)
            if limit_s is not None and not question.future.done():
                assert deadline is not None, "there is one where there is a limit"
                expire = partial(question.expire, limit_s)
                number = self._deadlines.add(question, deadline, now, expire)
            answer = await question.future
            is_answered = True
            return answer
        except AskTimeout:
            raise
        except AskFailed:
            is_answered = True
            raise
        finally:
            if number is not None:
                self._deadlines.discard(question, number)
            if isinstance(target, LocalAddress):
                asks.remove(target)
            question.close()
            del self._open[question]
            if not is_answered:
                abandon = getattr(target, "abandon", None)
                if abandon is not None:
                    abandon(question.address)

    def stream(self, target: ActorRef, message: Any, window: int) -> Replies[Any]:
        """Return an iterator over a stream of answers; see `ActorRef.stream`."""
        self._host.check_own(target)
        replies: Replies[Any] = Replies(self._host, target, message, window)
        self._streams[replies] = None
        return replies

    def close(self) -> None:
        """Fail all that wait: the system is shut down."""
        for question in self._open:
            question.fail(ActorSystemClosed())
        for replies in list(self._streams):
            replies.fail(ActorSystemClosed())
