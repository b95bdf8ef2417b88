"""Conditions on who is connected, and waiting for them.

`Condition` is a value: at least so many peers that have these tags and satisfy
these predicates, or not. ``online_when`` gets one and returns another.

`StreamWhen` is what a producer's or consumer's ``when()`` gives; see `when` for how
what it makes is awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..ids import Tag
from ..shared_state import Watched
from ..when import Wait, When
from .predicates import call_plain
from .shared import StreamState

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


class PeersWait(Wait[None]):
    """Waits for what a handle shows of its peers; refine it before awaiting it.

    Args:
        state: What the handle shows.
        peers: Returns who is connected.
        condition: What is to hold of them.
    """

    __slots__ = ("_condition", "_peers")

    def __init__(
        self, state: Watched, peers: Callable[[], list[PeerInfo]], condition: Condition
    ) -> None:
        super().__init__(state, lambda: condition.holds(peers()))
        self._peers = peers
        self._condition = condition

    def minimum_of(self, count: int) -> PeersWait:
        """Return a wait for at least `count` peers."""
        return self._refined(self._condition.minimum_of(count))

    def with_tags(self, *tags: str | Tag) -> PeersWait:
        """Return a wait that counts only peers with all of `tags`."""
        return self._refined(self._condition.with_tags(*tags))

    def with_predicate(self, predicate: PeerPredicate) -> PeersWait:
        """Return a wait that counts only peers for which `predicate` is true."""
        return self._refined(self._condition.with_predicate(predicate))

    def unmet(self) -> PeersWait:
        """Return a wait for the opposite."""
        return self._refined(self._condition.unmet())

    def _refined(self, condition: Condition) -> PeersWait:
        return PeersWait(self._state, self._peers, condition)


class StreamWhen(When):
    """What a producer or consumer can be waited for.

    Args:
        handle: What this handle shows, which may be closed before others of the stream.
        stream: What is shown of the channels.
    """

    __slots__ = ("_stream",)

    def __init__(self, handle: Watched, stream: StreamState) -> None:
        super().__init__(handle, lambda: stream.is_online)
        self._stream = stream

    def subscribed(self) -> PeersWait:
        """Return a wait for at least one connected peer; refine it for more."""
        return PeersWait(self._state, self._peers, Condition())

    def unsubscribed(self) -> PeersWait:
        """Return a wait for no connected peer."""
        return self.subscribed().unmet()

    def _peers(self) -> list[PeerInfo]:
        return [] if self._state.is_closed else self._stream.peers()
