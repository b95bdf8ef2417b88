"""The messages of the stream actors.

What the wire carries is in `wire`; these stay within one node. They hold the
buffers and the state that a handle shares with its actor, so they are for
actors of the same process only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from ..ids import StreamId
from ..node import Node
from ..schema import Schema
from ..tickets.messages import RequiredTickets
from ..transport.interface import Link
from .conditions import Condition
from .config import Backoff, StreamsConfig
from .consuming.inbox import Inbox
from .consuming.preference import Preference
from .consuming.session import ReceiverSession
from .criteria.budget import CriteriaBudget
from .gate import Requirement
from .producing.encoding import ItemEncoder
from .producing.item_filter import ItemFilter
from .producing.limits import Rate
from .producing.outbox import Outbox
from .shared import StreamState
from .wire import Subscribe, Window, encode


class StartStreams(msgspec.Struct, frozen=True):
    """Serve the subscriptions of this node. The first message of the streams actor."""

    node: Node


class RegisterProducer(msgspec.Struct, frozen=True):
    """Pass the subscriptions of a stream to `producer` from now on."""

    stream_id: StreamId
    producer: ActorAddress


class UnregisterProducer(msgspec.Struct, frozen=True):
    """Refuse the subscriptions of a stream, if `producer` is still the one who gets them."""

    stream_id: StreamId
    producer: ActorAddress


class SubscriberOffered(msgspec.Struct, frozen=True):
    """A peer asks for the stream. The link's events come to the receiver of this message."""

    link: Link
    header: Subscribe


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerSpec:
    """What a producer was asked to be.

    Attributes:
        stream_id: The stream.
        name: The name behind the id, for people.
        schema: What its items look like.
        encoder: What encoded the items; asked to read those nobody took.
        require: Who may subscribe; None is everybody known.
        tickets: What tickets they need besides; None is none.
        online_when: When it counts as online.
        max_consumers: How many may subscribe; None is no limit.
        buffer_size: How many items a consumer may be behind.
        disconnect_lagging: What happens to one that is.
        undelivered: Called with each item that no consumer was there to take.
        consumer_rate: How fast items go to one consumer.
        total_rate: How fast they go to all consumers together.
        config: The settings of the node's streams.
    """

    stream_id: StreamId
    name: str
    schema: Schema
    encoder: ItemEncoder
    require: Requirement | None
    tickets: RequiredTickets | None
    online_when: Condition
    max_consumers: int | None
    buffer_size: int
    disconnect_lagging: bool
    undelivered: Callable[[Any], object] | None
    consumer_rate: Rate | None
    total_rate: Rate | None
    config: StreamsConfig


class StartProducer(msgspec.Struct, frozen=True):
    """Advertise and serve a stream. The first message of a producer actor."""

    node: Node
    catalog: ActorAddress
    spec: ProducerSpec
    outbox: Outbox
    state: StreamState
    item_filter: ItemFilter
    criteria_budget: CriteriaBudget


class SettleCriteria(msgspec.Struct, frozen=True):
    """Charge the subscribers for what their criteria took. From the filter, once until done."""


class FlushOutbox(msgspec.Struct, frozen=True):
    """There are items in the outbox; one message per burst."""


class CloseProducer(msgspec.Struct, frozen=True):
    """Send what was accepted, for `drain_timeout_s` at most, then stop.

    Answered with `ProducerClosed`.
    """

    drain_timeout_s: float


class ProducerClosed(msgspec.Struct, frozen=True):
    """The producer stopped; `unsent_items` accepted items had no time to leave."""

    unsent_items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSpec:
    """What a consumer was asked to be.

    Attributes:
        stream_id: The stream.
        name: The name behind the id, for people.
        schema: What it can read.
        encoder: What decodes the items.
        require: Which producers it wants; None is all.
        tickets: What tickets they need besides; None is none.
        criteria: Which items it wants, encoded; empty is all.
        prefer: How it chooses among producers; None is all of them.
        online_when: When it counts as online.
        backoff: How it retries.
        config: The settings of the node's streams.
    """

    stream_id: StreamId
    name: str
    schema: Schema
    encoder: ItemEncoder
    require: Requirement | None
    tickets: RequiredTickets | None
    criteria: bytes
    prefer: Preference | None
    online_when: Condition
    backoff: Backoff
    config: StreamsConfig

    def make_header(self, window: Window) -> bytes:
        """Return the header of a link that asks for this window."""
        return encode(
            Subscribe(
                stream=bytes(self.stream_id),
                name=self.name,
                schema=self.schema,
                window_items=window.items,
                window_bytes=window.bytes,
                criteria=self.criteria,
            )
        )


class StartConsumer(msgspec.Struct, frozen=True):
    """Find producers of a stream and subscribe. The first message of a consumer actor."""

    node: Node
    catalog: ActorAddress
    spec: ConsumerSpec
    inbox: Inbox
    state: StreamState


class AckDue(msgspec.Struct, frozen=True):
    """The application took enough of a session's window to acknowledge it."""

    session: ReceiverSession


class CloseConsumer(msgspec.Struct, frozen=True):
    """Unsubscribe and stop. Answered with `ConsumerClosed`."""


class DropConsumer(msgspec.Struct, frozen=True):
    """Unsubscribe and stop: nobody has the handle any more, and nobody waits for an answer."""


class ConsumerClosed(msgspec.Struct, frozen=True):
    """The consumer stopped."""
