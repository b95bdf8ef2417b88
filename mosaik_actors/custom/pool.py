"""Pools: work that is shared out among actors of any nodes, without their names.

    await net.actors.spawn(Resizer, serves="resize")     # on some nodes, once or more often
    image = await net.actors.pool("resize").ask(Resize(data))

Each node with members has a *front* (`PoolFront`), an actor that other nodes find by name. It
passes each message on to the member that has the fewest unanswered ones, with its
sender, so answers come straight from the member. A `Pool` shares asks out among the fronts.

An ask that was surely not taken in goes to another node. One that may have been handled
does only if the caller says that it may be repeated; else the caller gets the error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import Enum
from typing import Any, TypeVar, overload

from thespian.actors import ActorAddress, ActorExitRequest, ActorSystemMessage

from ..config import seconds
from ..ids import PeerId
from ..runtime import (
    ActorGone,
    ActorRef,
    AskRejected,
    AskTimeout,
    AskUndeliverable,
    MessageRejected,
    Request,
)
from ..runtime.messaging.hooks import HookMessage
from ..runtime.messaging.reference import ASK_TIMEOUT_S
from .actor import MosaikActor

R = TypeVar("R")

PREFIX = "pool:"


class Balance(Enum):
    """Which node gets the next request of a pool."""

    LEAST_LOADED = "least loaded"
    """The one with the fewest unanswered requests of this node; the nearest of several."""
    NEAREST = "nearest"
    """This node, then the one with the shortest round trip."""
    ROUND_ROBIN = "round robin"
    """One after the other."""


LEAST_LOADED = Balance.LEAST_LOADED
NEAREST = Balance.NEAREST
ROUND_ROBIN = Balance.ROUND_ROBIN


class AddMember(HookMessage):
    """To a front: one more member."""

    def __init__(self, member: ActorRef) -> None:
        self.member = member


class PoolFront(MosaikActor):
    """Shares out what comes to a node among the members there; ends with the last of them."""

    def __init__(self) -> None:
        self._asked: dict[ActorRef, list[Any]] = {}

    def receive_hook(self, message: HookMessage, sender: ActorAddress) -> Any:
        """Take a member in."""
        if isinstance(message, AddMember):
            self._asked[message.member] = []
            self.watch(message.member)
            return None
        return super().receive_hook(message, sender)

    def receiveMessage(self, message: Any, sender: ActorAddress, /) -> None:
        """Pass a message on to the member with the fewest unanswered ones."""
        if isinstance(message, ActorGone):
            self._asked.pop(message.ref, None)
            if not self._asked:
                self.send(self.myAddress, ActorExitRequest())
        elif not self._asked:
            if not isinstance(message, ActorSystemMessage):
                self.send(sender, MessageRejected(message, self.myAddress, "no member is left"))
        elif not isinstance(message, ActorSystemMessage):
            member = min(self._asked, key=self._count)
            question = getattr(sender, "question", None)
            if question is not None:
                question.delegate = member
                self._asked[member].append(question)
            else:
                # Tells are not answered: they go round, as what was told last goes to the end.
                self._asked[member] = self._asked.pop(member)
            member.deliver(message, sender)

    def _count(self, member: ActorRef) -> int:
        open_ones = [one for one in self._asked[member] if not one.is_over]
        self._asked[member] = open_ones
        return len(open_ones)


class Holders:
    """Where the members of a pool are; what a `Pool` needs of ``net.actors``."""

    def __init__(
        self,
        find: Callable[[], list[PeerId]],
        ask: Callable[[PeerId], Awaitable[ActorRef | None]],
        changed: Callable[[], Awaitable[object]],
    ) -> None:
        self.find = find
        self.ask = ask
        self.changed = changed


class Pool:
    """All actors that serve something, on all nodes. Made by `Actors.pool`; needs no closing."""

    def __init__(self, name: str, balance: Balance, holders: Holders) -> None:
        self.name = name
        self._balance = balance
        self._holders = holders
        self._fronts: dict[PeerId, ActorRef] = {}
        self._open: dict[PeerId, int] = {}
        self._turn = 0

    @overload
    async def ask(
        self,
        message: Request[R],
        timeout: float | timedelta | None = ...,
        *,
        repeatable: bool = ...,
    ) -> R: ...

    @overload  # a request whose answer is taken for another type than it has
    async def ask(
        self,
        message: Request[Any],
        timeout: float | timedelta | None = ...,
        *,
        repeatable: bool = ...,
    ) -> object: ...

    @overload
    async def ask(
        self, message: object, timeout: float | timedelta | None = ..., *, repeatable: bool = ...
    ) -> Any: ...

    async def ask(
        self,
        message: object,
        timeout: float | timedelta | None = ASK_TIMEOUT_S,
        *,
        repeatable: bool = False,
    ) -> Any:
        """Ask one of the members; wait until there is one.

        Args:
            message: The question.
            timeout: Seconds or a timedelta, for all attempts together; None waits on.
            repeatable: Whether it may be handled more than once: then it goes to another
                member when the one that had it is gone.

        Raises:
            AskTimeout: No member, or no answer, in time.
            AskUndeliverable: The member that had it is gone; not if `repeatable`.
            AskPoisoned: A member failed twice on it.
            AskRejected: A member has no handler for it.
        """
        limit_s = None if timeout is None else seconds(timeout)
        last: AskRejected | None = None
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    tried: set[PeerId] = set()
                    while (peer_id := self._choose(tried)) is not None:
                        tried.add(peer_id)
                        front = await self._front(peer_id)
                        if front is None:
                            continue
                        self._open[peer_id] = self._open.get(peer_id, 0) + 1
                        try:
                            return await front.ask(message, None)
                        except AskRejected as error:
                            last = error  # it was not taken in
                        except AskUndeliverable:
                            self._fronts.pop(peer_id, None)
                            if not repeatable:
                                raise
                        finally:
                            self._open[peer_id] -= 1
                    if last is not None and "no handler" in last.reason:
                        raise last
                    await self._holders.changed()
        except TimeoutError as error:
            if isinstance(error, AskTimeout):
                raise
            raise AskTimeout(ActorAddress(self.name), message, limit_s or 0.0) from None

    def _choose(self, tried: set[PeerId]) -> PeerId | None:
        peers = [peer_id for peer_id in self._holders.find() if peer_id not in tried]
        if not peers:
            return None
        match self._balance:
            case Balance.NEAREST:
                return peers[0]
            case Balance.ROUND_ROBIN:
                self._turn += 1
                return peers[self._turn % len(peers)]
        return min(peers, key=lambda peer_id: self._open.get(peer_id, 0))  # the nearest first

    async def _front(self, peer_id: PeerId) -> ActorRef | None:
        front = self._fronts.get(peer_id)
        if front is None:
            front = await self._holders.ask(peer_id)
            if front is not None:
                self._fronts[peer_id] = front
        return front
