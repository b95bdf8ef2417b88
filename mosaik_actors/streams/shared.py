"""What a producer or consumer shows of its channels.

A *channel* is one subscription seen from one side: who is at the other end,
whether it stands, and what went through it. Counters change silently; of all
else the actor lets those know who watch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

from ..errors import Closed
from ..ids import PeerId, StreamId
from ..shared_state import SharedState
from ..transport.close import SHUTDOWN, CloseReason

if TYPE_CHECKING:
    from ..discovery.info import PeerInfo


class ChannelState(Enum):
    """Whether a channel stands."""

    CONNECTED = "connected"
    CLOSED = "closed"


class StreamTotals:
    """What went through the channels of a stream that have ended, seen from one side.

    Attributes:
        opened_count: Channels that were opened, those that stand included.
        item_count: Items of those that ended.
        byte_count: Their bytes.
        rejected_count: Items that were not of the stream's type, of those that ended.
    """

    __slots__ = ("byte_count", "item_count", "opened_count", "rejected_count")

    def __init__(self) -> None:
        self.opened_count = 0
        self.item_count = 0
        self.byte_count = 0
        self.rejected_count = 0


class StreamLedger:
    """The totals of the streams of a node, which outlive the handles that they come from.

    There is a limit to the streams that are kept apart; those beyond share one entry.
    """

    STREAMS_MAX = 1024

    def __init__(self) -> None:
        self._totals: dict[tuple[str, StreamId], StreamTotals] = {}
        self._names: dict[tuple[str, StreamId], str] = {}
        self._others = StreamTotals()

    def totals_of(self, role: str, stream_id: StreamId, name: str) -> StreamTotals:
        """Return the totals of a stream, ``producer`` or ``consumer`` of it."""
        key = (role, stream_id)
        found = self._totals.get(key)
        if found is None:
            if len(self._totals) >= self.STREAMS_MAX:
                return self._others
            found = self._totals[key] = StreamTotals()
            self._names[key] = name
        return found

    def items(self) -> Iterator[tuple[str, StreamId, str, StreamTotals]]:
        """Give role, id, name and totals of each stream, in the order they came."""
        for key, totals in self._totals.items():
            yield *key, self._names[key], totals


class Channel:
    """One subscription, seen from one side. Live: it changes as things happen.

    Attributes:
        stream_id: The stream.
        producer_id: Who produces.
        consumer_id: Who consumes.
        peer: The other side's catalog entry, the newest known.
        state: Whether it stands.
        reason: Why it does not, None while it does.
        item_count: Items sent or received so far.
        byte_count: Bytes of frames sent or received so far.
        rejected_count: Items received that were not of the stream's type, and left out.
        opened_at_s: When it was opened, monotonic.
        closed_at_s: When it was closed, None while it stands.
    """

    __slots__ = (
        "_totals", "byte_count", "closed_at_s", "consumer_id", "item_count", "on_closed",
        "opened_at_s", "peer", "producer_id", "reason", "rejected_count", "state", "stream_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        stream_id: StreamId,
        producer_id: PeerId,
        consumer_id: PeerId,
        peer: PeerInfo,
        totals: StreamTotals,
        now: float,
    ) -> None:
        totals.opened_count += 1
        self._totals = totals
        self.stream_id = stream_id
        self.producer_id = producer_id
        self.consumer_id = consumer_id
        self.peer = peer
        self.state = ChannelState.CONNECTED
        self.reason: CloseReason | None = None
        self.item_count = 0
        self.byte_count = 0
        self.rejected_count = 0
        self.opened_at_s = now
        self.closed_at_s: float | None = None
        self.on_closed: list[Callable[[], None]] = []

    def uptime_s(self, *, now: float) -> float:
        """Return for how many seconds it stands, or stood."""
        return (now if self.closed_at_s is None else self.closed_at_s) - self.opened_at_s

    def close(self, reason: CloseReason, *, now: float) -> None:
        """Take in that it ended. Only the first reason counts."""
        if self.state is ChannelState.CLOSED:
            return
        self.state = ChannelState.CLOSED
        self.reason = reason
        self.closed_at_s = now
        self._totals.item_count += self.item_count
        self._totals.byte_count += self.byte_count
        self._totals.rejected_count += self.rejected_count
        for listener in self.on_closed:
            listener()
        self.on_closed.clear()


class StreamState(SharedState):
    """The channels of one producer or consumer that stand, and whether it is online.

    Args:
        what: Whose it is, for errors.
        totals: Where the channels that end are added up.

    Attributes:
        channels: The channels by their link, in the order they came.
        refusals: Why producers that were found are not subscribed to.
        is_online: Whether ``online_when`` holds.
        why_hidden: Why the catalog does not show the stream; empty when it does.
    """

    def __init__(self, what: str = "the handle", totals: StreamTotals | None = None) -> None:
        super().__init__()
        self.totals = totals or StreamTotals()
        self.channels: dict[Any, Channel] = {}
        self.refusals: dict[PeerId, Exception] = {}
        self.is_online = False
        self.why_hidden = ""
        self._what = what

    def peers(self) -> list[PeerInfo]:
        """Return who is at the other side of the channels that stand, each peer once."""
        return list({c.peer.peer_id: c.peer for c in self.channels.values()}.values())

    def open_channel(
        self,
        link: Any,
        *,
        stream_id: StreamId,
        producer_id: PeerId,
        consumer_id: PeerId,
        peer: PeerInfo,
        now: float,
    ) -> None:
        """Take in that a link is a channel from now on."""
        self.channels[link] = Channel(
            stream_id=stream_id,
            producer_id=producer_id,
            consumer_id=consumer_id,
            peer=peer,
            totals=self.totals,
            now=now,
        )

    def show(self, *, is_online: bool) -> None:
        """Take in that channels changed, and let all who watch look."""
        self.is_online = is_online
        self.changed()

    def close(self, error: Exception | None = None) -> None:
        """Take in that nothing will change any more; the channels are closed."""
        self.is_online = False
        super().close(error or Closed(reason=f"{self._what} is closed"))

    def abandon(self, *, now: float) -> None:
        """Close, with the channels that still stand: their actor is gone."""
        for channel in self.channels.values():
            channel.close(SHUTDOWN, now=now)
        self.channels.clear()
        self.close()
