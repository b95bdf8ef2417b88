"""Streams of answers: ``async for row in ref.stream(Rows("users"))``.

The actor's handler is an async generator; what it yields comes here, in order. It runs on
only while there is *credit*: so many answers as the reader has taken, and `window` more.
So a slow reader holds the generator up, and nothing else. The generator ends when the
reader closes the iterator, or its task is cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import msgspec
from thespian.actors import ActorAddress, PoisonMessage

from ...config import require_between
from ...waiters import Waiters
from .address import Deliver, LocalAddress
from .errors import ActorSystemClosed, AskPoisoned, AskRejected, AskUndeliverable
from .notices import MessageRejected

R = TypeVar("R")

WINDOW_MAX = 65_536


class StreamItems(msgspec.Struct, frozen=True):
    """Some more answers of a stream."""

    items: tuple[Any, ...]


class StreamEnded(msgspec.Struct, frozen=True):
    """No more answers come: the generator has ended."""


class Credit:
    """How many more answers may be sent; the generator waits while it is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.count = count
        self._waiters = Waiters(loop.create_future)

    def grant(self, count: int) -> None:
        """Allow `count` more."""
        self.count += count
        self._waiters.wake_all()

    async def take(self) -> None:
        """Use one up; wait until there is one."""
        while self.count <= 0:
            await self._waiters.wait()
        self.count -= 1


class RepliesHost(Protocol):
    """The actor system, as far as streams of answers know it."""

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


class Replies(AsyncIterator[R], Generic[R]):
    """The answers of an actor to one request, one by one. Made by `ActorRef.stream`.

    Attributes:
        address: Where the answers go; None before the first step.
        chain: Empty: whoever reads a stream waits for no handler.
        deadline: None: a stream has no time limit.
        target: Who is asked.
        message: What is asked.
        delegate: Who was given the question to answer, by the target.
        window: How many answers may be under way.
        credit: How many more the actor may send; counted here if it is of this node.
    """

    def __init__(self, host: RepliesHost, target: Any, message: Any, window: int) -> None:
        require_between("window", window, 1, WINDOW_MAX)
        self._host = host
        self.target = target
        self.message = message
        self._items: deque[Any] = deque()
        self._waiters = Waiters(host.loop.create_future)
        self._error: Exception | None = None
        self._is_ended = False
        self._taken = 0
        self.address: LocalAddress | None = None
        self.chain: tuple[LocalAddress, ...] = ()
        self.deadline: float | None = None
        self.delegate: ActorAddress | None = None
        self.window = window
        self.credit = Credit(host.loop, window)

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for answers any more."""
        return self._is_ended

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        if self.address is None and not self._is_ended:
            self._begin()
        while not self._items:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._is_ended:
                raise StopAsyncIteration
            await self._waiters.wait()
        item: R = self._items.popleft()
        self._taken += 1
        if self._taken * 2 >= self.window and not self._is_ended:
            self._grant(self._taken)
            self._taken = 0
        return item

    def _begin(self) -> None:
        if self._host.closed:
            raise ActorSystemClosed
        self.address = self._host.new_address(self._deliver)
        self.address.question = self
        self.address.undeliverable = self._undeliverable
        self._host.send(self.target, self.message, self.address)

    def _grant(self, count: int) -> None:
        remote = getattr(self.delegate or self.target, "remote", None)
        if remote is None:
            self.credit.grant(count)
        else:
            remote.grant(self.address, count)

    def _deliver(self, message: Any, sender: ActorAddress) -> None:
        match message:
            case StreamItems(items):
                self._items.extend(items)
                self._waiters.wake(len(items))
            case StreamEnded():
                self._end(None)
            case MessageRejected():
                self._end(AskRejected(self.target, self.message, message.reason))
            case PoisonMessage():
                self._end(AskPoisoned(self.target, self.message, message.details))
            case _:  # one answer only, from an actor that knows of no streams
                self._items.append(message)
                self._end(None)

    def _undeliverable(self, message: Any, target: ActorAddress, reason: str) -> None:
        if message is self.message:
            self._end(AskUndeliverable.before_it_left(self.target, message, reason))

    def fail(self, error: Exception) -> None:
        """End the stream with an error."""
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._error = error
        if self.address is not None:
            self._host.retire(self.address)
            self.address.undeliverable = None
        self._waiters.wake_all()

    async def aclose(self) -> None:
        """End the stream, here and at the actor. May be repeated."""
        if self._is_ended or self.address is None:
            self._is_ended = True
            return
        self._end(None)
        self._items.clear()
        if self.target.abandon is not None:
            self.target.abandon(self.address)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
