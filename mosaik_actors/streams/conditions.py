"""Conditions on who is connected.

`Condition` is a value: at least so many peers that have these tags and satisfy
these predicates, or not. ``online_when`` gets one and returns another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..ids import Tag
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
