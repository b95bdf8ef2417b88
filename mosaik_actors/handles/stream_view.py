"""What a producer or consumer shows, and what it can be waited for: who is connected.

`StreamWhen` is what their ``when()`` gives; see `when` for how what it makes is awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..ids import StreamId, Tag
from ..metrics.records import StreamStatus, clip_text
from ..shared_state import Watched
from ..streams.conditions import Condition, PeerPredicate
from ..streams.shared import StreamState, StreamTotals
from ..when import Wait, When

if TYPE_CHECKING:
    from ..discovery.info import PeerInfo


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


class StreamActivity(NamedTuple):
    """One producer or consumer that is open.

    Attributes:
        state: What it shows.
        buffered_count: Items that wait.
    """

    state: StreamState
    buffered_count: int


def read_stream(
    role: str,
    stream_id: StreamId,
    name: str,
    totals: StreamTotals,
    active: Sequence[StreamActivity],
) -> StreamStatus:
    """Return the status of a stream; `active` are its producers, or consumers, that are open."""
    channels = [channel for one in active for channel in one.state.channels.values()]
    return StreamStatus(
        name=clip_text(name),
        stream_id=str(stream_id),
        role=role,
        handles=len(active),
        is_online=any(one.state.is_online for one in active),
        subscriptions=len(channels),
        subscriptions_opened=totals.opened_count,
        items=totals.item_count + sum(c.item_count for c in channels),
        bytes=totals.byte_count + sum(c.byte_count for c in channels),
        rejected=totals.rejected_count + sum(c.rejected_count for c in channels),
        buffered=sum(one.buffered_count for one in active),
    )
