"""What a stream shows of itself, from one side: what stands, and what has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..ids import StreamId
from ..metrics.records import StreamStatus, clip_text
from ..streams.shared import StreamState, StreamTotals


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
