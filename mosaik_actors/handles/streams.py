"""Streams as users see them: `net.streams`, producers and consumers.

    producer = net.streams.produce(Price)
    await producer.when().online()
    await producer.send(Price("ETH", 1234.5))

    async for price in net.streams.consume(Price):
        ...

A handle is thin: it encodes what it is given, shares a buffer with its actor,
and reads what the actor publishes. Sending and receiving touch the event loop
only when there is no room or nothing to take.

What is promised (``docs/streams.md`` says it in full): per producer the items
come in order, each at most once, beginning with the subscription. Nothing is
unbounded: a consumer that does not take makes its producer wait or is
disconnected, by the producer's choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from thespian.actors import ActorAddress, ActorExitRequest

from ..actors.streams import StreamsActor
from ..config import require_above, require_between
from ..errors import AlreadyExists, Closed
from ..ids import StreamId
from ..metrics.records import StreamStatus
from ..node import Node
from ..runtime import ActorSystemClosed
from ..schema import check_same
from ..streams.conditions import Condition
from ..streams.config import BUFFER_ITEMS_MAX, Backoff, StreamsConfig
from ..streams.consuming.preference import Key, Preference
from ..streams.criteria.binding import bind
from ..streams.criteria.budget import CriteriaBudget
from ..streams.criteria.criteria import Criteria, encode_criteria, where
from ..streams.gate import Requirement, make_condition, require_sync
from ..streams.messages import (
    ConsumerSpec,
    ProducerSpec,
    StartStreams,
)
from ..streams.producing.encoding import ItemEncoder
from ..streams.producing.limits import Rate
from ..streams.schema import describe_items, identify
from ..streams.shared import StreamLedger
from ..tickets.requirement import Validators
from .consumer import Consumer
from .producer import Producer, SharedProducer
from .required_tickets import TicketChecks
from .stream_context import StreamsContext
from .stream_view import StreamActivity, read_stream

T = TypeVar("T")

OnlineWhen = Callable[[Condition], Condition]


def _at_least_one(condition: Condition) -> Condition:
    return condition.minimum_of(1)


class Streams:
    """The streams of one node: ``net.streams``.

    Args:
        node: The node.
        catalog: The catalog actor.
        tickets: What makes requirements of validators.
        config: The settings.
    """

    def __init__(
        self,
        node: Node,
        catalog: ActorAddress,
        tickets: TicketChecks,
        config: StreamsConfig | None = None,
    ) -> None:
        self._node = node
        self._config = config or StreamsConfig()
        self._sources: dict[StreamId, SharedProducer] = {}
        self._closing_sources: dict[SharedProducer, None] = {}
        self._consumers: WeakKeyDictionary[Consumer[Any], None] = WeakKeyDictionary()
        self._is_closed = False
        actor = node.system.createActor(StreamsActor)
        node.system.tell(actor, StartStreams(node))
        budget = CriteriaBudget(self._config.criteria_share, self._config.criteria_grace)
        self._context = StreamsContext(
            node, catalog, actor, budget, tickets, self._consumers, StreamLedger()
        )

    def produce(self, type_: type[T], *, stream_id: StreamId | str | None = None) -> Producer[T]:
        """Return a producer with default settings, or another handle of the one there is.

        Args:
            type_: What the items are: a `msgspec.Struct`, a dataclass, any annotated type.
            stream_id: The stream, or its name; the type's own by default.

        Raises:
            SchemaMismatch: The one there is produces items of another type.
            TypeError: `type_` is no type, or items of it cannot be encoded.
            Closed: The network is closed.
        """
        self._check_open()
        found = self._sources.get(identify(type_, stream_id)[0])
        if found is None:
            return self.producer(type_, stream_id=stream_id)
        check_same(describe_items(type_), found.spec.schema)
        return Producer(found)

    def producer(
        self,
        type_: type[T],
        *,
        stream_id: StreamId | str | None = None,
        require: Requirement | None = None,
        require_ticket: Validators = (),
        online_when: OnlineWhen = _at_least_one,
        max_consumers: int | None = None,
        buffer_size: int | None = None,
        disconnect_lagging: bool = True,
        undelivered: Callable[[T], object] | None = None,
        consumer_rate: Rate | None = None,
        total_rate: Rate | None = None,
        validate: bool = False,
    ) -> Producer[T]:
        """Return a new producer.

        Args:
            type_: What the items are.
            stream_id: The stream, or its name; the type's own by default.
            require: Who may subscribe. Asked at the subscription and on every
                catalog change; who does not meet it any more is disconnected.
            require_ticket: Validators of tickets, one or several, all of which must
                accept a peer. Asked as `require` is, and when a ticket expires: then
                the subscription ends with `CloseCode.STREAM_NOT_ALLOWED`.
            online_when: When items are accepted; by default with one consumer or more.
            max_consumers: How many peers may subscribe; None is no limit. One peer
                may always subscribe 16 times at most.
            buffer_size: How many items the buffer holds, and how many a
                consumer may be behind; the config's by default.
            disconnect_lagging: Whether a consumer that is `buffer_size` behind
                and holds up the others for `StreamsConfig.lag_grace` without
                taking half of that is disconnected. False: the sender waits for it.
            undelivered: Called with each accepted item that no consumer was
                connected to take when its turn came.
            consumer_rate: How fast items go to each consumer; None is no limit.
            total_rate: How fast items go to all consumers together, each one's
                copy counted.
            validate: Whether the fields of each item are checked when it is sent,
                which costs a decode. Otherwise only its class is, and a consumer
                leaves out and counts items with a field of another type.

        Raises:
            AlreadyExists: There is one; `existing` is another handle of it.
            ConfigError: A number is out of range, a function is a coroutine
                function, `online_when` returns no condition, or `require_ticket`
                holds something else than validators.
            Closed: The network is closed.
        """
        stream, name = identify(type_, stream_id)
        found = self._sources.get(stream)
        if found is not None:
            raise AlreadyExists(Producer(found), f"a producer of {name}")
        self._check_open()
        require_sync("require", require)
        require_sync("undelivered", undelivered)
        if max_consumers is not None:
            require_above("max_consumers", max_consumers)
        size = self._config.buffer_size if buffer_size is None else buffer_size
        require_between("buffer_size", size, 1, BUFFER_ITEMS_MAX)
        spec = ProducerSpec(
            stream_id=stream,
            name=name,
            schema=describe_items(type_),
            encoder=ItemEncoder(type_, self._node.endpoint.frame_bytes_max, validate=validate),
            require=require,
            tickets=self._context.tickets.require(require_ticket),
            online_when=make_condition(online_when),
            max_consumers=max_consumers,
            buffer_size=size,
            disconnect_lagging=disconnect_lagging,
            undelivered=undelivered,
            consumer_rate=consumer_rate,
            total_rate=total_rate,
            config=self._config,
        )
        source = self._sources[stream] = SharedProducer(
            self._context, spec, on_closing=self._forget_source
        )
        return Producer(source)

    def consume(self, type_: type[T], *, stream_id: StreamId | str | None = None) -> Consumer[T]:
        """Return a new consumer with default settings."""
        return self.consumer(type_, stream_id=stream_id)

    def consumer(
        self,
        type_: type[T],
        *,
        stream_id: StreamId | str | None = None,
        require: Requirement | None = None,
        require_ticket: Validators = (),
        criteria: Criteria | None = None,
        prefer: Preference | Key | None = None,
        online_when: OnlineWhen = _at_least_one,
        backoff: Backoff | None = None,
    ) -> Consumer[T]:
        """Return a new consumer, which subscribes to all other nodes' producers it wants.

        Args:
            type_: What the items are.
            stream_id: The stream, or its name; the type's own by default.
            require: Which producers it wants. Asked on every catalog change.
            require_ticket: Validators of tickets, one or several, all of which must
                accept a peer. Asked as `require` is, and when a ticket expires: then
                the subscription ends with `CloseCode.STREAM_NOT_ALLOWED`.
            criteria: Which items it wants, as ``where(...)``; judged by the
                producers before they encode. None is all.
            prefer: Keep to the best producers only: ``nearest(2)``,
                ``with_tags("eu")``, ``best(1, key=...)``, or a key alone, which
                is ``best(1, key=...)``. None subscribes to all.
            online_when: When it counts as online; by default with one producer or more.
            backoff: How it retries; the config's by default.

        Raises:
            CriteriaError: `criteria` name a field the type does not have, or
                compare one with a value of another type.
            ConfigError: A function is a coroutine function, `online_when`
                returns no condition, or `require_ticket` holds something else
                than validators.
            Closed: The network is closed.
        """
        self._check_open()
        require_sync("require", require)
        stream, name = identify(type_, stream_id)
        if prefer is not None and not isinstance(prefer, Preference):
            prefer = Preference(key=prefer)
        spec = ConsumerSpec(
            stream_id=stream,
            name=name,
            schema=describe_items(type_),
            encoder=ItemEncoder(type_, self._node.endpoint.frame_bytes_max),
            require=require,
            tickets=self._context.tickets.require(require_ticket),
            criteria=_encode_criteria(criteria, type_),
            prefer=prefer,
            online_when=make_condition(online_when),
            backoff=backoff or self._config.backoff,
            config=self._config,
        )
        consumer: Consumer[T] = Consumer(self._context, spec)
        self._consumers[consumer] = None
        return consumer

    def read_status(self) -> list[StreamStatus]:
        """Return what went through each stream so far, from either side."""
        producers = [*self._sources.values(), *self._closing_sources]
        found: dict[tuple[str, StreamId], list[StreamActivity]] = {}
        for source in producers:
            waiting = source.outbox.item_count
            key = ("producer", source.spec.stream_id)
            found.setdefault(key, []).append(StreamActivity(source.state, waiting))
        for consumer in list(self._consumers):
            key = ("consumer", consumer.stream_id)
            found.setdefault(key, []).append(consumer._activity())
        return [
            read_stream(role, stream_id, name, totals, found.get((role, stream_id), ()))
            for role, stream_id, name, totals in self._context.ledger.items()
        ]

    async def close(self) -> None:
        """Close all producers, which drains them, and all consumers. May be repeated."""
        self._is_closed = True
        sources = [*self._sources.values(), *self._closing_sources]
        await asyncio.gather(
            *(source.close() for source in sources),
            *(consumer.close() for consumer in list(self._consumers)),
        )
        with suppress(ActorSystemClosed):
            self._node.system.tell(self._context.actor, ActorExitRequest())

    def abandon(self) -> None:
        """End all producers and consumers here and now: their actors are gone."""
        self._is_closed = True
        for source in [*self._sources.values(), *self._closing_sources]:
            source.abandon()
        for consumer in list(self._consumers):
            consumer._abandon()

    def _forget_source(self, source: SharedProducer) -> None:
        if self._sources.get(source.spec.stream_id) is source:
            del self._sources[source.spec.stream_id]
        self._closing_sources[source] = None
        assert source.closing is not None, "it is closing"
        source.closing.add_done_callback(lambda _done: self._closing_sources.pop(source, None))

    def _check_open(self) -> None:
        if self._is_closed:
            raise Closed(reason="the network is closed")


def _encode_criteria(criteria: Criteria | None, type_: Any) -> bytes:
    if criteria is None:
        return b""
    return encode_criteria(bind(where(criteria), type_))  # `where` refuses what are none
