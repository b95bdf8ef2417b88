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
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from weakref import WeakKeyDictionary, WeakSet, finalize

from thespian.actors import ActorAddress, ActorExitRequest

from ..actors.consumer import ConsumerActor
from ..actors.producer import ProducerActor
from ..actors.streams import StreamsActor
from ..config import refuse_tickets, require_above, require_between
from ..discovery.messages import WithdrawStream
from ..errors import AlreadyExists, Closed, Full, ProducerOffline
from ..ids import PeerId, StreamId
from ..node import Node
from ..runtime import ActorSystemClosed, AskUndeliverable, AsyncActorSystem
from ..schema import Schema, check_same, describe, stream_name
from ..shared_state import HandleState
from ..streams.conditions import Condition
from ..streams.config import BUFFER_ITEMS_MAX, Backoff, StreamsConfig
from ..streams.criteria import Criteria, bind, encode_criteria, where
from ..streams.criteria_budget import CriteriaBudget
from ..streams.gate import Requirement, holds, make_condition, require_sync
from ..streams.inbox import Inbox
from ..streams.limits import Rate
from ..streams.messages import (
    AckDue,
    CloseConsumer,
    CloseProducer,
    ConsumerSpec,
    DropConsumer,
    FlushOutbox,
    ProducerSpec,
    RegisterProducer,
    SettleCriteria,
    StartConsumer,
    StartProducer,
    StartStreams,
    UnregisterProducer,
)
from ..streams.outbox import Outbox
from ..streams.parts import PartEncoder
from ..streams.preference import Key, Preference
from ..streams.runs import Part, Run, item_count_of, single_parts
from ..streams.session import ReceiverSession
from ..streams.shared import StreamState
from ..streams.sieve import Lane, Sieve, SortedPart
from .channels import ChannelInfo, Stats
from .stream_waits import StreamWhen

__all__ = ["ChannelInfo", "Consumer", "Producer", "Stats", "Streams"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

OnlineWhen = Callable[[Condition], Condition]

UNWANTED_IN_A_ROW = 256
PUBLISHED_IN_A_ROW = 16  # each at least a CALM_S after the one before
ENCODE_ITEMS = 4096  # send_many encodes this many before it lets the loop have a turn
NAME_CHARACTERS_MAX = 256

_FLUSH = FlushOutbox()
_SETTLE = SettleCriteria()


def _at_least_one(condition: Condition) -> Condition:
    return condition.minimum_of(1)


class _Source:
    """The one producer of a stream on this node, which its handles share."""

    def __init__(self, streams: Streams, spec: ProducerSpec) -> None:
        loop = asyncio.get_running_loop()
        system = streams._node.system
        address = system.createActor(ProducerActor)
        self.streams = streams
        self.spec = spec
        self.address = address
        self.state = StreamState(f"the producer of {spec.name}")
        self.outbox = Outbox(
            items_max=spec.buffer_size,
            bytes_max=spec.config.buffer_bytes,
            wake=self._wake,
            make_future=loop.create_future,
        )
        self.closed_outbox = Outbox(
            items_max=1, bytes_max=1, wake=_never, make_future=loop.create_future
        )
        self.closed_outbox.close()
        if holds(spec.online_when, ()):  # with nobody there: from the first moment
            self.state.is_online = True
            self.outbox.set_online(True)
            self.outbox.is_turn_due = True  # the actor begins before a sender runs on and on
        self.handles: WeakSet[Producer[Any]] = WeakSet()
        self.sieve = Sieve(
            spec.encoder.type, self._choose_path, self._settle, streams._node.clock.monotonic
        )
        self.declared_by: object | None = None
        self.closing: asyncio.Future[int] | None = None
        self._published_in_a_row = 0
        start = StartProducer(
            streams._node,
            streams._catalog,
            spec,
            self.outbox,
            self.state,
            self.sieve,
            streams._criteria_budget,
        )
        system.tell(address, start)
        system.tell(streams._actor, RegisterProducer(spec.stream_id, address))

    def _wake(self) -> None:
        """Let the first item of a burst be published: at once, or with those that follow."""
        if not self.outbox.publish_now():
            self._published_in_a_row = 0  # the loop has its turn when the buffer is full
            self.streams._node.system.tell(self.address, _FLUSH)
            return
        self._published_in_a_row += 1
        if self._published_in_a_row == PUBLISHED_IN_A_ROW:
            # What leaves at once fills nothing up, so nothing else would make a sender wait.
            self._published_in_a_row = 0
            self.outbox.is_turn_due = True

    def _choose_path(self) -> None:
        """Let the handles look at each item while somebody filters, and not otherwise."""
        for handle in list(self.handles):
            handle._choose_path()

    def _settle(self) -> None:
        """Let the actor charge the subscribers for what their criteria took."""
        if not self.state.is_closed:
            self.streams._node.system.tell(self.address, _SETTLE)

    async def close(self) -> int:
        """Drain and stop, once; return how many accepted items did not leave."""
        if self.closing is None:
            self.outbox.close()
            system = self.streams._node.system
            self.streams._forget_source(self)
            stream_id = self.spec.stream_id
            with suppress(ActorSystemClosed):
                # Here and not in the actor, so that a producer made right after this one
                # advertises after this was withdrawn.
                system.tell(self.streams._catalog, WithdrawStream(stream_id))
                system.tell(self.streams._actor, UnregisterProducer(stream_id, self.address))
            self.closing = asyncio.ensure_future(self._drain())
        return await asyncio.shield(self.closing)

    async def _drain(self) -> int:
        limit_s = self.spec.config.drain_timeout
        try:
            answer = await self.streams._node.system.ask(
                self.address, CloseProducer(limit_s), timeout=limit_s + 1
            )
        except (ActorSystemClosed, AskUndeliverable, TimeoutError):
            self.abandon()
            return self.outbox.item_count
        finally:
            self.streams._closing_sources.pop(self, None)
        unsent: int = answer.unsent_items
        if unsent:
            logger.warning("%s: closed with %d items not sent", self.spec.name, unsent)
        return unsent

    def abandon(self) -> None:
        """End here and now: the actor is gone. May be repeated."""
        self.outbox.close()
        self.state.abandon(now=self.streams._node.clock.monotonic())


def _closed_text(name: str) -> str:
    return f"the producer of {name} is closed"


def _never() -> None:
    raise AssertionError("nothing is appended to a closed outbox")


class Producer(Generic[T]):
    """Sends items to all who subscribed. Made by `Streams.produce` and `Streams.producer`.

    Handles of one stream share one producer; it is closed with the last of them
    that is closed. A handle that is merely forgotten leaves the producer there, for
    whoever calls `Streams.produce` next, until the network closes.
    """

    __slots__ = (
        "__weakref__", "_encode", "_fast_bytes", "_outbox", "_record_class", "_source",
        "_state", "_unwanted_in_a_row",
    )  # fmt: skip

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._outbox = source.outbox
        self._encode = source.spec.encoder.encode_unchecked
        # Up to this many bytes in the outbox, a part needs no further look at its size.
        self._fast_bytes = min(source.outbox.bytes_max, source.spec.encoder.item_bytes_max)
        self._unwanted_in_a_row = 0
        name = source.spec.name
        self._state = HandleState(source.state, lambda: Closed(reason=_closed_text(name)))
        self._choose_path()
        source.handles.add(self)

    @property
    def stream_id(self) -> StreamId:
        """The stream."""
        return self._source.spec.stream_id

    @property
    def name(self) -> str:
        """The name behind the stream's id."""
        return self._source.spec.name

    @property
    def is_online(self) -> bool:
        """Whether ``online_when`` holds: whether items are accepted."""
        return self._source.state.is_online and not self._state.is_closed

    @property
    def why_offline(self) -> str | None:
        """Why items are not accepted at the moment; None when they are."""
        state = self._source.state
        if state.is_online:
            return None
        if state.is_closed:
            return "closed"
        return state.why_hidden or "`online_when` does not hold for the consumers at present"

    def consumers(self) -> list[ChannelInfo]:
        """Return the subscriptions that stand at this moment, in the order they came."""
        return self._source.streams._channels(self._source.state)

    def when(self) -> StreamWhen:
        """Return what can be waited for, such as ``await producer.when().online()``.

        When the producer is closed, waits for what does not hold then raise `Closed`.
        """
        return StreamWhen(self._state, self._source.state)

    async def send(self, item: T) -> None:
        """Send an item to all subscribers; wait while offline or without room.

        Returns when the item is accepted into the buffer, which is at once
        while there is room. The item is encoded before that, so changing it
        afterwards changes nothing. When cancelled while it waits, the item was
        not accepted.

        Raises:
            EncodeError: The item is not of the stream's type.
            TooLargeError: It is larger than a frame may be.
            Closed: The producer is closed; `value` is the item.
        """
        if item.__class__ is not self._record_class:
            if self._source.sieve.is_active:
                await self._send_sorted(item)
                return
            part = self._source.spec.encoder.encode(item)
        else:
            try:
                part = self._encode(item)
            except Exception:
                part = self._source.spec.encoder.encode(item)
        box = self._outbox
        parts = box.parts
        byte_count = box.byte_count + len(part)
        if len(parts) < box.room and byte_count <= self._fast_bytes and not box.is_turn_due:
            box.byte_count = byte_count
            parts.append(part)
            if len(parts) == 1:
                box.wake()
        else:
            await self._append_when_room(part, item)

    def try_send(self, item: T) -> None:
        """Send an item without waiting.

        Raises:
            ProducerOffline: ``online_when`` does not hold; `value` is the item.
            Full: The buffer has no room; `value` is the item.
            Closed: The producer is closed; `value` is the item.
            EncodeError, TooLargeError: As for `send`.
        """
        box, sieve = self._outbox, self._source.sieve
        lanes = sieve.lanes_of(self._checked(item)) if sieve.is_active else ()
        if lanes is None and box.is_ready:
            return  # nobody wants it
        part = self._encode_checked(item)
        if box.has_room(len(part)):
            box.append(SortedPart(part, lanes) if lanes else part)
        elif box.is_closed:
            raise Closed(item, _closed_text(self.name))
        elif not box.is_ready:
            raise ProducerOffline(item)
        else:
            raise Full(item)

    async def send_many(self, items: Iterable[T]) -> None:
        """Send items in order, waiting as `send` does. Faster than sending one by one.

        All items are encoded first: if one cannot be, nothing is sent. When
        cancelled while it waits for room, the items before are sent, those
        after are not.

        Raises:
            EncodeError, TooLargeError: As for `send`; nothing was sent.
            Closed: The producer is closed; `value` is the list of items not accepted.
        """
        items = items if isinstance(items, list | tuple) else list(items)
        while items and self._source.sieve.is_active:
            items = await self._send_many_sorted(items)
        parts: list[Part | Run] = []
        for start in range(0, len(items), ENCODE_ITEMS):
            if start:
                await asyncio.sleep(0)
            parts += self._source.spec.encoder.encode_many(items[start : start + ENCODE_ITEMS])
        done = 0
        while done < len(parts):
            box = self._outbox
            if self._source.sieve.is_active:
                # Somebody filters since these were encoded: each item is judged on its own.
                await self._append_each(single_parts(parts[done:]), items)
                return
            if count := box.extend(parts, done):
                done += count
            else:
                rest = sum(map(item_count_of, parts[done:])) if box.is_closed else 0
                await self._wait_for_room(items[len(items) - rest :])

    async def close(self) -> None:
        """Accept nothing more, send what was accepted, and end the subscriptions.

        Waits `StreamsConfig.drain_timeout` at most for slow consumers. While
        other handles share the producer it goes on for them. May be repeated;
        when cancelled, closing goes on.
        """
        source = self._source
        self._outbox = source.closed_outbox
        self._state.close()
        source.handles.discard(self)
        if not source.handles:
            await source.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _encode_checked(self, item: T) -> Part:
        if item.__class__ is self._record_class:
            with suppress(Exception):
                part = self._encode(item)
                if len(part) <= self._fast_bytes:
                    return part
        return self._source.spec.encoder.encode(item)

    async def _append_when_room(self, part: Part, item: Any) -> None:
        self._source.spec.encoder.check_size(item, len(part))
        if self._outbox.is_turn_due:
            self._outbox.is_turn_due = False
            await asyncio.sleep(0)
        while True:
            box, sieve = self._outbox, self._source.sieve
            if box.has_room(len(part)):
                if not sieve.is_active:
                    box.append(part)
                elif (lanes := sieve.lanes_of(self._source.spec.encoder.decode(part))) is not None:
                    box.append(SortedPart(part, lanes))
                return
            await self._wait_for_room(item if box.is_closed else None)

    async def _append_each(self, parts: list[Part], items: Sequence[T]) -> None:
        """Append single parts, which the last of `items` were encoded to."""
        for index, part in enumerate(parts, len(items) - len(parts)):
            await self._append_when_room(part, items[index:])

    async def _send_sorted(self, item: T) -> None:
        """Send an item while somebody filters: judge it first, encode it if anybody wants it."""
        box, sieve = self._outbox, self._source.sieve
        lanes = sieve.lanes_of(self._checked(item))
        if lanes is None and box.is_ready:
            self._unwanted_in_a_row += 1
            if self._unwanted_in_a_row % UNWANTED_IN_A_ROW == 0:
                await asyncio.sleep(0)  # nothing fills up, so nothing else would make it wait
            return
        part = self._source.spec.encoder.encode(item)
        if lanes is not None and box.has_room(len(part)):
            box.append(SortedPart(part, lanes))
        else:
            # Who is subscribed when there is room at last decides then.
            await self._append_when_room(part, item)

    async def _send_many_sorted(self, items: list[T] | tuple[T, ...]) -> list[T] | tuple[T, ...]:
        """Send items until all are, or subscribers come or go; return those left to be sorted."""
        sieve, encode = self._source.sieve, self._source.spec.encoder.encode
        version = sieve.version
        is_ready = self._outbox.is_ready
        sorted_parts: list[tuple[int, Part, tuple[Lane, ...] | None]] = []
        for index, item in enumerate(items):
            if index and index % ENCODE_ITEMS == 0:
                await asyncio.sleep(0)
            lanes = sieve.lanes_of(self._checked(item))
            if lanes is not None or not is_ready:
                sorted_parts.append((index, encode(item), lanes))
        done = 0
        while done < len(sorted_parts) and sieve.version == version:
            index, part, lanes = sorted_parts[done]
            box = self._outbox
            if lanes is None and box.is_ready:
                done += 1
            elif lanes is not None and box.has_room(len(part)):
                box.append(SortedPart(part, lanes))
                done += 1
            else:
                await self._wait_for_room(items[index:] if box.is_closed else None)
        return items[sorted_parts[done][0] :] if done < len(sorted_parts) else items[:0]

    def _checked(self, item: T) -> T:
        self._source.spec.encoder.check(item)
        return item

    def _choose_path(self) -> None:
        """Note which class's items go the short way: none while somebody filters."""
        source = self._source
        record_class = source.spec.encoder.record_class
        # A class no item has, where every item needs the full check.
        self._record_class: type = (
            _Source if source.sieve.is_active or record_class is None else record_class
        )

    async def _wait_for_room(self, value: Any) -> None:
        box = self._outbox
        if box.is_closed:
            raise Closed(value, _closed_text(self.name))
        await box.senders.wait()

    def __repr__(self) -> str:
        return f"Producer({self.name})"


class Consumer(Generic[T]):
    """Receives the items of a stream from all its producers. Made by `Streams.consume`.

    One consumer may be used by several tasks; each item goes to one of them.

    A consumer that nothing refers to any more ends its subscriptions, as `close`
    does. A wait made by `when` refers to it.
    """

    __slots__ = (
        "__weakref__", "_address", "_closing", "_dropped", "_inbox", "_spec", "_state",
        "_streams",
    )  # fmt: skip

    def __init__(self, streams: Streams, spec: ConsumerSpec) -> None:
        loop = asyncio.get_running_loop()
        system = streams._node.system
        address = system.createActor(ConsumerActor)

        def on_ack_due(session: ReceiverSession) -> None:
            with suppress(ActorSystemClosed):
                system.tell(address, AckDue(session))

        self._streams = streams
        self._spec = spec
        self._address: ActorAddress = address
        self._state = StreamState(f"the consumer of {spec.name}")
        self._state.is_online = holds(spec.online_when, ())
        self._inbox = Inbox(on_ack_due=on_ack_due, make_future=loop.create_future)
        self._closing: asyncio.Future[None] | None = None
        self._dropped = finalize(self, _drop_consumer, loop, system, address)
        self._dropped.atexit = False
        start = StartConsumer(streams._node, streams._catalog, spec, self._inbox, self._state)
        system.tell(address, start)

    @property
    def stream_id(self) -> StreamId:
        """The stream."""
        return self._spec.stream_id

    @property
    def name(self) -> str:
        """The name behind the stream's id."""
        return self._spec.name

    @property
    def is_online(self) -> bool:
        """Whether ``online_when`` holds."""
        return self._state.is_online

    def producers(self) -> list[ChannelInfo]:
        """Return the subscriptions that stand at this moment, in the order they came."""
        return self._streams._channels(self._state)

    def refusals(self) -> Mapping[PeerId, Exception]:
        """Return why producers that were found are not subscribed to.

        A `SchemaMismatch` names the field that differs; everything else is a
        `LinkRefused` with the reason, or a `RemoteError`.
        """
        return dict(self._state.refusals)

    def when(self) -> StreamWhen:
        """Return what can be waited for, such as ``await consumer.when().online()``.

        When the consumer is closed, waits for what does not hold then raise `Closed`.
        """
        return StreamWhen(HandleState(self._state, self._ended), self._state)

    async def recv(self) -> T:
        """Return the next item; wait for it. When cancelled, no item is lost.

        Raises:
            Closed: The consumer is closed and everything received is taken.
        """
        await self._wait_for_item()
        item: T = self._inbox.pop()
        return item

    def try_recv(self) -> T:
        """Return the next item without waiting.

        Raises:
            Empty: There is none at this moment.
            Closed: There will be none.
        """
        if self._inbox.is_empty:
            self._raise_if_closed()
        item: T = self._inbox.pop()
        return item

    async def recv_many(self, limit: int = 1024) -> list[T]:
        """Return what is there, at least one item and at most `limit`; wait for the first.

        When cancelled, no item is lost.

        Raises:
            Closed: The consumer is closed and everything received is taken.
        """
        require_above("limit", limit)
        await self._wait_for_item()
        return self._inbox.pop_many(limit)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        items = self._inbox.items
        if len(items) > 1:  # the last one of a frame has consequences
            item: T = items.pop()
            return item
        try:
            return await self.recv()
        except Closed:
            raise StopAsyncIteration from None

    async def close(self) -> None:
        """End the subscriptions. What was received can still be taken.

        May be repeated; when cancelled, closing goes on.
        """
        if self._closing is None:
            self._streams._consumers.pop(self, None)
            self._dropped.detach()
            self._closing = asyncio.ensure_future(self._stop())
        await asyncio.shield(self._closing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _stop(self) -> None:
        try:
            await self._streams._node.system.ask(self._address, CloseConsumer(), timeout=5)
        except (ActorSystemClosed, AskUndeliverable, TimeoutError):
            self._abandon()

    def _abandon(self) -> None:
        """End here and now: the actor is gone. May be repeated."""
        self._inbox.close()
        self._state.abandon(now=self._streams._node.clock.monotonic())

    def _ended(self) -> Exception:
        # What holds this method holds the consumer: who only waits for it keeps it.
        return self._state.ended()

    async def _wait_for_item(self) -> None:
        """Return when there is an item to take, without giving anybody else the chance to."""
        box = self._inbox
        while not box.items:
            if box.is_pause_due:
                await asyncio.sleep(0)
                box.resume()
            else:
                self._raise_if_closed()
                await box.receivers.wait()

    def _raise_if_closed(self) -> None:
        if self._inbox.is_closed:
            raise Closed(reason=f"the consumer of {self.name} is closed")

    def __repr__(self) -> str:
        return f"Consumer({self.name})"


def _drop_consumer(
    loop: asyncio.AbstractEventLoop, system: AsyncActorSystem, address: ActorAddress
) -> None:
    """End what a forgotten consumer holds.

    The collector calls this on any thread, in the middle of anything, so it
    only asks the loop to do it later.
    """
    with suppress(RuntimeError):  # the loop is closed, and all that it ran
        loop.call_soon_threadsafe(_tell_dropped, system, address)


def _tell_dropped(system: AsyncActorSystem, address: ActorAddress) -> None:
    with suppress(ActorSystemClosed):
        system.tell(address, DropConsumer())


class Streams:
    """The streams of one node: ``net.streams``.

    Args:
        node: The node.
        catalog: The catalog actor.
        config: The settings.
    """

    def __init__(
        self, node: Node, catalog: ActorAddress, config: StreamsConfig | None = None
    ) -> None:
        self._node = node
        self._catalog = catalog
        self._config = config or StreamsConfig()
        self._sources: dict[StreamId, _Source] = {}
        self._closing_sources: dict[_Source, None] = {}
        self._criteria_budget = CriteriaBudget(
            self._config.criteria_share, self._config.criteria_grace
        )
        self._consumers: WeakKeyDictionary[Consumer[Any], None] = WeakKeyDictionary()
        self._is_closed = False
        self._actor = node.system.createActor(StreamsActor)
        node.system.tell(self._actor, StartStreams(node))

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
        found = self._sources.get(_identify(type_, stream_id)[0])
        if found is None:
            return self.producer(type_, stream_id=stream_id)
        check_same(_describe(type_), found.spec.schema)
        return Producer(found)

    def producer(
        self,
        type_: type[T],
        *,
        stream_id: StreamId | str | None = None,
        require: Requirement | None = None,
        require_ticket: Sequence[Any] = (),
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
            require_ticket: Empty: tickets are not checked yet.
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
                is not empty.
            Closed: The network is closed.
        """
        refuse_tickets(require_ticket)
        stream, name = _identify(type_, stream_id)
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
            schema=_describe(type_),
            encoder=PartEncoder(type_, self._node.endpoint.frame_bytes_max, validate=validate),
            require=require,
            online_when=make_condition(online_when),
            max_consumers=max_consumers,
            buffer_size=size,
            disconnect_lagging=disconnect_lagging,
            undelivered=undelivered,
            consumer_rate=consumer_rate,
            total_rate=total_rate,
            config=self._config,
        )
        source = self._sources[stream] = _Source(self, spec)
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
        require_ticket: Sequence[Any] = (),
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
            require_ticket: Empty: tickets are not checked yet.
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
                returns no condition, or `require_ticket` is not empty.
            Closed: The network is closed.
        """
        self._check_open()
        refuse_tickets(require_ticket)
        require_sync("require", require)
        stream, name = _identify(type_, stream_id)
        if prefer is not None and not isinstance(prefer, Preference):
            prefer = Preference(key=prefer)
        spec = ConsumerSpec(
            stream_id=stream,
            name=name,
            schema=_describe(type_),
            encoder=PartEncoder(type_, self._node.endpoint.frame_bytes_max),
            require=require,
            criteria=_encode_criteria(criteria, type_),
            prefer=prefer,
            online_when=make_condition(online_when),
            backoff=backoff or self._config.backoff,
            config=self._config,
        )
        consumer: Consumer[T] = Consumer(self, spec)
        self._consumers[consumer] = None
        return consumer

    async def close(self) -> None:
        """Close all producers, which drains them, and all consumers. May be repeated."""
        self._is_closed = True
        sources = [*self._sources.values(), *self._closing_sources]
        await asyncio.gather(
            *(source.close() for source in sources),
            *(consumer.close() for consumer in list(self._consumers)),
        )
        with suppress(ActorSystemClosed):
            self._node.system.tell(self._actor, ActorExitRequest())

    def abandon(self) -> None:
        """End all producers and consumers here and now: their actors are gone."""
        self._is_closed = True
        for source in [*self._sources.values(), *self._closing_sources]:
            source.abandon()
        for consumer in list(self._consumers):
            consumer._abandon()

    def _channels(self, state: StreamState) -> list[ChannelInfo]:
        make_future = asyncio.get_running_loop().create_future
        clock = self._node.clock
        return [ChannelInfo(one, clock, make_future) for one in state.channels.values()]

    def _forget_source(self, source: _Source) -> None:
        if self._sources.get(source.spec.stream_id) is source:
            del self._sources[source.spec.stream_id]
        self._closing_sources[source] = None

    def _check_open(self) -> None:
        if self._is_closed:
            raise Closed(reason="the network is closed")


def _encode_criteria(criteria: Criteria | None, type_: Any) -> bytes:
    if criteria is None:
        return b""
    return encode_criteria(bind(where(criteria), type_))  # `where` refuses what are none


def _describe(type_: Any) -> Schema:
    """Return the schema of a type. For anything else a `TypeError` says what is expected."""
    try:
        return describe(type_)
    except TypeError as exc:
        hint = f"; a stream is given a name with stream_id={type_!r}" if type(type_) is str else ""
        raise TypeError(
            f"items cannot be {type_!r}, expected their type: a msgspec.Struct, a dataclass, or "
            f"another type that travels, such as int or dict[str, float]{hint} ({exc})"
        ) from exc


def _identify(type_: Any, stream_id: StreamId | str | None) -> tuple[StreamId, str]:
    """Return a stream's id and the name behind it."""
    if stream_id is None:
        name = stream_name(type_)
        return StreamId(name), name[:NAME_CHARACTERS_MAX]
    if isinstance(stream_id, str):
        return StreamId(stream_id), stream_id[:NAME_CHARACTERS_MAX]
    return StreamId(stream_id), stream_name(type_)[:NAME_CHARACTERS_MAX]
