"""Who waits for whose answer, so that a circle of asks fails instead of waiting for ever.

An actor's mailbox waits while one of its coroutine handlers runs. If that handler asks
an actor that, by however many steps, waits for an answer of the first one, then none of
them can ever go on. The ask that would close the circle fails at once.

A `Handling` stands for one coroutine handler that runs. It knows who waits for it (the
*chain*: the actors whose asks led to the message) and whom it asks itself. The chain
travels with an ask to other nodes. So a circle is found

    * when an actor asks one that its own message came from, on any nodes;
    * when two or more actors of one node ask each other at the same moment.

Asks of different nodes that cross each other are not seen before they are made: there
the receiving node finds that its own actor waits for the sender (`find_circle` again).

Only asks that a handler makes count, also in tasks that it awaits (a context variable
says so). What an actor does beside its handlers (`start_task`) keeps no mailbox waiting.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Protocol

from .address import LocalAddress


class Asked(Protocol):
    """A question as the one who is asked sees it: `LocalAddress.question` of its sender.

    Attributes:
        chain: The actors that wait for the answer, the first asker first.
        deadline: When it is too late, on the loop's clock; None: never.
    """

    chain: tuple[LocalAddress, ...]
    deadline: float | None

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the answer any more."""


class Handling:
    """One coroutine handler that runs.

    Attributes:
        address: The actor.
        chain: The actors that wait for this handler, and this one at the end.
        deadline: When its answer is too late, on the loop's clock; None: never.
        asks: Whom it asks at this moment.
    """

    __slots__ = ("address", "asks", "chain", "deadline")

    def __init__(self, address: LocalAddress, question: Asked | None) -> None:
        self.address = address
        self.chain = (*(question.chain if question is not None else ()), address)
        self.deadline = question.deadline if question is not None else None
        self.asks: list[LocalAddress] = []


handling_now: ContextVar[Handling | None] = ContextVar("handling", default=None)
"""The handler that this code is part of; None outside of coroutine handlers."""


def find_circle(
    chain: tuple[LocalAddress, ...], target: LocalAddress
) -> tuple[LocalAddress, ...] | None:
    """Return the circle that an ask would close, as the actors in order; None if it is none.

    Args:
        chain: Who waits for the asker, and the asker at the end.
        target: Whom it asks.
    """
    if target in chain:
        return (*chain[chain.index(target) :], target)
    seen = {target}
    paths: list[tuple[LocalAddress, ...]] = [(target,)]
    while paths:
        path = paths.pop()
        for asked in _asked_by(path[-1]):
            if asked in chain:
                return (*chain[chain.index(asked) :], *path, asked)
            if asked not in seen:
                seen.add(asked)
                paths.append((*path, asked))
    return None


def _asked_by(address: LocalAddress) -> Iterable[LocalAddress]:
    handling = getattr(address, "handling", None)
    return handling.asks if isinstance(handling, Handling) else ()
