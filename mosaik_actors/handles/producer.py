"""Producers: encode what is sent, and append it to the buffer that the actor sends from."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from weakref import WeakSet

from ..actors.producer import ProducerActor
from ..discovery.messages import WithdrawStream
from ..errors import Closed, Full, ProducerOffline
from ..ids import StreamId
from ..runtime import ActorSystemClosed, AskUndeliverable
from ..shared_state import HandleState
from ..streams.gate import holds
from ..streams.messages import (
    CloseProducer,
    FlushOutbox,
    ProducerSpec,
    RegisterProducer,
    SettleCriteria,
    StartProducer,
    UnregisterProducer,
)
from ..streams.producing.encoded import EncodedBatch, EncodedItem, item_count_of, single_items
from ..streams.producing.item_filter import FilterGroup, ItemFilter, SortedItem
from ..streams.producing.outbox import CALM_IN_A_ROW, Outbox
from ..streams.shared import StreamState
from .channels import ChannelInfo
from .stream_context import StreamsContext
from .stream_view import StreamWhen

logger = logging.getLogger(__name__)

T = TypeVar("T")

UNWANTED_IN_A_ROW = 256
ENCODE_ITEMS = 4096  # send_many encodes this many before it lets the loop have a turn

_FLUSH = FlushOutbox()
_SETTLE = SettleCriteria()


class SharedProducer:
    """The one producer of a stream on this node, which its handles share.

    Args:
        context: Where it is.
        spec: What it is.
        on_closing: Called once, when it begins to close; `closing` then says when it has.
    """

    def __init__(
        self,
        context: StreamsContext,
        spec: ProducerSpec,
        *,
        on_closing: Callable[[SharedProducer], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        system = context.node.system
        address = system.createActor(ProducerActor)
        self.context = context
        self.spec = spec
        self.address = address
        totals = context.ledger.totals_of("producer", spec.stream_id, spec.name)
        self.state = StreamState(f"the producer of {spec.name}", totals)
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
            self.outbox.calm_left = 0  # the actor begins before a sender runs on and on
        self.handles: WeakSet[Producer[Any]] = WeakSet()
        self.item_filter = ItemFilter(
            spec.encoder.type, self._choose_path, self._settle, context.node.clock.monotonic
        )
        self.declared_by: object | None = None
        self.closing: asyncio.Future[int] | None = None
        self._on_closing = on_closing
        start = StartProducer(
            context.node,
            context.catalog,
            spec,
            self.outbox,
            self.state,
            self.item_filter,
            context.criteria_budget,
        )
        system.tell(address, start)
        system.tell(context.actor, RegisterProducer(spec.stream_id, address))

    def _wake(self) -> None:
        """Let the first item of a burst be published: at once, or with those that follow."""
        if self.outbox.publish_now():
            self.outbox.note_published()
        else:
            self.outbox.calm_left = CALM_IN_A_ROW  # the loop has its turn when the buffer is full
            self.context.node.system.tell(self.address, _FLUSH)

    def _choose_path(self) -> None:
        """Let the handles look at each item while somebody filters, and not otherwise."""
        for handle in list(self.handles):
            handle._choose_path()

    def _settle(self) -> None:
        """Let the actor charge the subscribers for what their criteria took."""
        if not self.state.is_closed:
            self.context.node.system.tell(self.address, _SETTLE)

    async def close(self) -> int:
        """Drain and stop, once; return how many accepted items did not leave."""
        if self.closing is None:
            self.outbox.close()
            system = self.context.node.system
            stream_id = self.spec.stream_id
            with suppress(ActorSystemClosed):
                # Here and not in the actor, so that a producer made right after this one
                # advertises after this was withdrawn.
                system.tell(self.context.catalog, WithdrawStream(stream_id))
                system.tell(self.context.actor, UnregisterProducer(stream_id, self.address))
            self.closing = asyncio.ensure_future(self._drain())
            self._on_closing(self)
        return await asyncio.shield(self.closing)

    async def _drain(self) -> int:
        limit_s = self.spec.config.drain_timeout
        try:
            answer = await self.context.node.system.ask(
                self.address, CloseProducer(limit_s), timeout=limit_s + 1
            )
        except (ActorSystemClosed, AskUndeliverable, TimeoutError):
            self.abandon()
            return self.outbox.item_count
        unsent: int = answer.unsent_items
        if unsent:
            logger.warning("%s: closed with %d items not sent", self.spec.name, unsent)
        return unsent

    def abandon(self) -> None:
        """End here and now: the actor is gone. May be repeated."""
        self.outbox.close()
        self.state.abandon(now=self.context.node.clock.monotonic())


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

    def __init__(self, source: SharedProducer) -> None:
        self._source = source
        self._outbox = source.outbox
        self._encode = source.spec.encoder.encode_unchecked
        # Up to this many bytes in the outbox, an entry needs no further look at its size.
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
        if state.why_hidden:
            return state.why_hidden
        peers = {channel.peer.peer_id for channel in self.consumers()}
        if not peers:
            return "no consumer has subscribed"
        return (
            f"`online_when` does not hold for the peers that have subscribed, {len(peers)} so far"
        )

    def consumers(self) -> list[ChannelInfo]:
        """Return the subscriptions that stand at this moment, in the order they came."""
        return self._source.context.channels(self._source.state)

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
            if self._source.item_filter.is_active:
                await self._send_sorted(item)
                return
            entry = self._source.spec.encoder.encode(item)
        else:
            try:
                entry = self._encode(item)
            except Exception:
                entry = self._source.spec.encoder.encode(item)
        box = self._outbox
        entries = box.entries
        byte_count = box.byte_count + len(entry)
        if byte_count > self._fast_bytes or not box.calm_left:
            await self._append_when_room(entry, item)
        elif not entries and box.room:
            if box.send_lone(entry):
                box.calm_left -= 1
            else:
                box.put(entry)
        elif len(entries) < box.room:
            box.byte_count = byte_count
            entries.append(entry)
        else:
            await self._append_when_room(entry, item)

    def try_send(self, item: T) -> None:
        """Send an item without waiting.

        Raises:
            ProducerOffline: ``online_when`` does not hold; `value` is the item.
            Full: The buffer has no room; `value` is the item.
            Closed: The producer is closed; `value` is the item.
            EncodeError, TooLargeError: As for `send`.
        """
        box, item_filter = self._outbox, self._source.item_filter
        filter_groups = (
            item_filter.filter_groups_of(self._checked(item)) if item_filter.is_active else ()
        )
        if filter_groups is None and box.is_ready:
            return  # nobody wants it
        entry = self._encode_checked(item)
        if box.has_room(len(entry)):
            box.append(SortedItem(entry, filter_groups) if filter_groups else entry)
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
        while items and self._source.item_filter.is_active:
            items = await self._send_many_sorted(items)
        entries: list[EncodedItem | EncodedBatch] = []
        for start in range(0, len(items), ENCODE_ITEMS):
            if start:
                await asyncio.sleep(0)
            entries += self._source.spec.encoder.encode_many(items[start : start + ENCODE_ITEMS])
        done = 0
        while done < len(entries):
            box = self._outbox
            if self._source.item_filter.is_active:
                # Somebody filters since these were encoded: each item is judged on its own.
                await self._append_each(single_items(entries[done:]), items)
                return
            if count := box.extend(entries, done):
                done += count
            else:
                rest = sum(map(item_count_of, entries[done:])) if box.is_closed else 0
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

    def _encode_checked(self, item: T) -> EncodedItem:
        if item.__class__ is self._record_class:
            with suppress(Exception):
                entry = self._encode(item)
                if len(entry) <= self._fast_bytes:
                    return entry
        return self._source.spec.encoder.encode(item)

    async def _append_when_room(self, entry: EncodedItem, item: Any) -> None:
        self._source.spec.encoder.check_size(item, len(entry))
        if not self._outbox.calm_left:
            self._outbox.calm_left = CALM_IN_A_ROW
            await asyncio.sleep(0)
        while True:
            box, item_filter = self._outbox, self._source.item_filter
            if box.has_room(len(entry)):
                if not item_filter.is_active:
                    box.append(entry)
                    return
                wanted = item_filter.filter_groups_of(self._source.spec.encoder.decode(entry))
                if wanted is not None:
                    box.append(SortedItem(entry, wanted))
                return
            await self._wait_for_room(item if box.is_closed else None)

    async def _append_each(self, entries: list[EncodedItem], items: Sequence[T]) -> None:
        """Append single entries, which the last of `items` were encoded to."""
        for index, entry in enumerate(entries, len(items) - len(entries)):
            await self._append_when_room(entry, items[index:])

    async def _send_sorted(self, item: T) -> None:
        """Send an item while somebody filters: judge it first, encode it if anybody wants it."""
        box, item_filter = self._outbox, self._source.item_filter
        filter_groups = item_filter.filter_groups_of(self._checked(item))
        if filter_groups is None and box.is_ready:
            self._unwanted_in_a_row += 1
            if self._unwanted_in_a_row % UNWANTED_IN_A_ROW == 0:
                await asyncio.sleep(0)  # nothing fills up, so nothing else would make it wait
            return
        entry = self._source.spec.encoder.encode(item)
        if filter_groups is not None and box.has_room(len(entry)):
            box.append(SortedItem(entry, filter_groups))
        else:
            # Who is subscribed when there is room at last decides then.
            await self._append_when_room(entry, item)

    async def _send_many_sorted(self, items: list[T] | tuple[T, ...]) -> list[T] | tuple[T, ...]:
        """Send items until all are, or subscribers come or go; return those left to be sorted."""
        item_filter, encode = self._source.item_filter, self._source.spec.encoder.encode
        version = item_filter.version
        is_ready = self._outbox.is_ready
        sorted_items: list[tuple[int, EncodedItem, tuple[FilterGroup, ...] | None]] = []
        for index, item in enumerate(items):
            if index and index % ENCODE_ITEMS == 0:
                await asyncio.sleep(0)
            filter_groups = item_filter.filter_groups_of(self._checked(item))
            if filter_groups is not None or not is_ready:
                sorted_items.append((index, encode(item), filter_groups))
        done = 0
        while done < len(sorted_items) and item_filter.version == version:
            index, entry, filter_groups = sorted_items[done]
            box = self._outbox
            if filter_groups is None and box.is_ready:
                done += 1
            elif filter_groups is not None and box.has_room(len(entry)):
                box.append(SortedItem(entry, filter_groups))
                done += 1
            else:
                await self._wait_for_room(items[index:] if box.is_closed else None)
        return items[sorted_items[done][0] :] if done < len(sorted_items) else items[:0]

    def _checked(self, item: T) -> T:
        self._source.spec.encoder.check(item)
        return item

    def _choose_path(self) -> None:
        """Note which class's items go the short way: none while somebody filters."""
        source = self._source
        record_class = source.spec.encoder.record_class
        # A class no item has, where every item needs the full check.
        self._record_class: type = (
            SharedProducer if source.item_filter.is_active or record_class is None else record_class
        )

    async def _wait_for_room(self, value: Any) -> None:
        box = self._outbox
        if box.is_closed:
            raise Closed(value, _closed_text(self.name))
        await box.senders.wait()

    def __repr__(self) -> str:
        return f"Producer({self.name})"
