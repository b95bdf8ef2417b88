"""Conditions on who is connected, and waiting for them.

`Condition` is a value: at least so many peers that have these tags and satisfy
these predicates, or not. ``online_when`` gets one and returns another.

`When` is what a handle's ``when()`` gives: it makes `Wait` objects, which can
be awaited, asked (`is_met`), refined, and awaited again. The first await
returns at once if the condition holds. The next ones wait for it to *become*
true: it must have been false since the last return, however briefly, so

    while True:
        await ready          # first at once, then once per time it comes back

makes one round per transition and loses none.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from ..errors import Closed, ConfigError
from ..ids import Tag
from ..waiters import MakeFuture, Waiters
from .board import Board
from .predicates import call_plain

if TYPE_CHECKING:
    from ..discovery.info import PeerInfo

PeerPredicate = Callable[["PeerInfo"], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """At least `minimum` connected peers that have all tags and satisfy all predicates.

    Each method returns another condition.
    """

    minimum: int = 1
    tags: frozenset[Tag] = frozenset()
    predicates: tuple[PeerPredicate, ...] = ()
    is_inverse: bool = False

    def minimum_of(self, count: int) -> Condition:
        """Return this condition for at least `count` peers; with 0 it always holds."""
        if count < 0:
            raise ValueError(f"minimum_of({count}), expected 0 or more")
        return replace(self, minimum=count)

    def with_tags(self, *tags: str | Tag) -> Condition:
        """Return this condition, counting only peers that have all of `tags` too."""
        return replace(self, tags=self.tags.union(map(Tag, tags)))

    def with_predicate(self, predicate: PeerPredicate) -> Condition:
        """Return this condition, counting only peers for which `predicate` is true too."""
        if iscoroutinefunction(predicate):
            raise ConfigError("a predicate is a coroutine function, expected a plain one")
        return replace(self, predicates=(*self.predicates, predicate))

    def unmet(self) -> Condition:
        """Return the opposite of this condition."""
        return replace(self, is_inverse=not self.is_inverse)

    def counts(self, peer: PeerInfo) -> bool:
        """Return whether a connected peer counts.

        Raises what a predicate raises, or `AwaitableAnswer` for one that is not plain.
        """
        return all(tag in peer.tags for tag in self.tags) and all(
            call_plain("the predicate", predicate, peer) for predicate in self.predicates
        )

    def holds(self, peers: Iterable[PeerInfo]) -> bool:
        """Return whether the condition holds with these peers connected."""
        return (sum(map(self.counts, peers)) >= self.minimum) != self.is_inverse


class Wait:
    """Something to wait for: await it, ask `is_met`, or refine it first."""

    __slots__ = (
        "__weakref__", "_board", "_condition",
        "_error", "_inverse", "_is_reported", "_listener",
        "_make_future", "_spell_count", "_waiters",
    )  # fmt: skip

    def __init__(
        self,
        board: Board,
        make_future: MakeFuture,
        condition: Condition | None,
        inverse: bool = False,
    ) -> None:
        self._board = board
        self._condition = condition  # None: the handle's own online condition
        self._inverse = inverse
        self._make_future = make_future
        self._waiters = Waiters(make_future)
        self._is_reported = False  # whether somebody heard of the present spell of being true
        self._spell_count = 0  # spells that woke somebody
        self._listener: int | None = None
        self._error: Exception | None = None  # what the condition raised when it was looked at

    @property
    def is_met(self) -> bool:
        """Whether it holds at this moment."""
        if self._condition is None:
            return self._board.is_online != self._inverse
        return self._condition.holds(self._board.peers()) != self._inverse

    def minimum_of(self, count: int) -> Wait:
        """Return a wait for at least `count` peers."""
        return self._refined(self._peers_condition().minimum_of(count))

    def with_tags(self, *tags: str | Tag) -> Wait:
        """Return a wait that counts only peers with all of `tags`."""
        return self._refined(self._peers_condition().with_tags(*tags))

    def with_predicate(self, predicate: PeerPredicate) -> Wait:
        """Return a wait that counts only peers for which `predicate` is true."""
        return self._refined(self._peers_condition().with_predicate(predicate))

    def unmet(self) -> Wait:
        """Return a wait for the opposite."""
        return Wait(self._board, self._make_future, self._condition, not self._inverse)

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        self._watch()
        self._error = None
        if self.is_met:
            if not self._is_reported:
                self._is_reported = True
                return
        else:
            self._is_reported = False
            self._raise_if_closed()
        spell = self._spell_count
        try:
            while self._spell_count == spell:
                await self._waiters.wait()
                self._raise_if_failed()
                if self._spell_count == spell:
                    self._raise_if_closed()
        except BaseException:
            if self._spell_count != spell:
                self._is_reported = False  # woken, but cancelled: the report was not delivered
            raise

    def _raise_if_failed(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _raise_if_closed(self) -> None:
        if self._board.is_closed:
            raise Closed(reason="closed while waiting for a condition")

    def _watch(self) -> None:
        if self._listener is not None:
            return
        reference = weakref.ref(self)
        board = self._board

        def changed() -> None:
            wait = reference()
            if wait is not None:
                wait._changed()

        self._listener = board.listen(changed)
        weakref.finalize(self, board.unlisten, self._listener).atexit = False

    def _changed(self) -> None:
        """Follow the condition, so that a spell of being false is not missed.

        A predicate that raises concerns whoever waits for it, and nobody else:
        the error is theirs, and whatever made the change goes on.
        """
        try:
            is_met = self.is_met
        except Exception as error:
            self._error = error
            self._waiters.wake_all()
            return
        if not is_met:
            self._is_reported = False
            if self._board.is_closed:
                self._waiters.wake_all()
        elif not self._is_reported and self._waiters:
            self._is_reported = True
            self._spell_count += 1
            self._waiters.wake_all()

    def _peers_condition(self) -> Condition:
        if self._condition is None:
            raise TypeError("online() and offline() take no refinement; use subscribed()")
        return self._condition

    def _refined(self, condition: Condition) -> Wait:
        return Wait(self._board, self._make_future, condition, self._inverse)


class When:
    """What a producer or consumer can be waited for."""

    __slots__ = ("_board", "_make_future")

    def __init__(self, board: Board, make_future: MakeFuture) -> None:
        self._board = board
        self._make_future = make_future

    def online(self) -> Wait:
        """Return a wait for the handle's own ``online_when`` condition to hold."""
        return Wait(self._board, self._make_future, None)

    def offline(self) -> Wait:
        """Return a wait for the handle's own ``online_when`` condition not to hold."""
        return Wait(self._board, self._make_future, None, inverse=True)

    def subscribed(self) -> Wait:
        """Return a wait for at least one connected peer; refine it for more."""
        return Wait(self._board, self._make_future, Condition())

    def unsubscribed(self) -> Wait:
        """Return a wait for no connected peer."""
        return Wait(self._board, self._make_future, Condition(), inverse=True)
