"""Channels as users see them: who is at the other end, and what went through."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from ..clock import Clock
from ..discovery.info import PeerInfo
from ..ids import PeerId, StreamId
from ..streams.shared import Channel, ChannelState
from ..transport.close import CloseReason
from ..waiters import MakeFuture, Waiters


@dataclass(frozen=True, slots=True)
class Stats:
    """What went through one channel.

    Attributes:
        datums: Items sent or received.
        bytes: Bytes of frames sent or received.
        uptime: Seconds for which the channel has stood, or stood.
        rejected: Of the items received, those left out because a field was not
            of its type.
    """

    datums: int
    bytes: int
    uptime: float
    rejected: int = 0


class ChannelInfo:
    """One subscription, seen from one side. Live: it always shows the present."""

    __slots__ = ("_channel", "_clock", "_make_future")

    def __init__(self, channel: Channel, clock: Clock, make_future: MakeFuture) -> None:
        self._channel = channel
        self._clock = clock
        self._make_future = make_future

    @property
    def stream_id(self) -> StreamId:
        """The stream."""
        return self._channel.stream_id

    @property
    def producer_id(self) -> PeerId:
        """Who produces."""
        return self._channel.producer_id

    @property
    def consumer_id(self) -> PeerId:
        """Who consumes."""
        return self._channel.consumer_id

    @property
    def peer(self) -> PeerInfo:
        """The other side's catalog entry, the newest known."""
        return self._channel.peer

    @property
    def state(self) -> ChannelState:
        """Whether the channel stands."""
        return self._channel.state

    @property
    def is_connected(self) -> bool:
        """Whether the channel stands."""
        return self._channel.state is ChannelState.CONNECTED

    @property
    def reason(self) -> CloseReason | None:
        """Why the channel ended, None while it stands."""
        return self._channel.reason

    @property
    def stats(self) -> Stats:
        """What went through so far."""
        channel = self._channel
        uptime_s = channel.uptime_s(now=self._clock.monotonic())
        return Stats(channel.item_count, channel.byte_count, uptime_s, channel.rejected_count)

    async def disconnected(self) -> None:
        """Wait until the channel ended; at once if it has. May be cancelled."""
        if not self.is_connected:
            return
        waiters = Waiters(self._make_future)
        self._channel.on_closed.append(waiters.wake_all)
        try:
            await waiters.wait()
        finally:
            with suppress(ValueError):
                self._channel.on_closed.remove(waiters.wake_all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChannelInfo) and self._channel is other._channel

    def __hash__(self) -> int:
        return id(self._channel)

    def __repr__(self) -> str:
        return (
            f"ChannelInfo({self.producer_id.short} -> {self.consumer_id.short}, {self.state.value})"
        )
