"""Consumers: take what the actor has decoded, and wait when there is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar
from weakref import finalize

from thespian.actors import ActorAddress

from ..actors.consumer import ConsumerActor
from ..config import require_above
from ..errors import Closed
from ..ids import PeerId, StreamId
from ..runtime import ActorSystemClosed, AskUndeliverable, AsyncActorSystem
from ..runtime.resuming import resume
from ..shared_state import HandleState
from ..streams.consuming.inbox import Inbox
from ..streams.consuming.session import ReceiverSession
from ..streams.gate import holds
from ..streams.messages import (
    AckDue,
    CloseConsumer,
    ConsumerSpec,
    DropConsumer,
    StartConsumer,
)
from ..streams.shared import StreamState
from .channels import ChannelInfo
from .stream_context import StreamsContext
from .stream_view import StreamActivity, StreamWhen

T = TypeVar("T")


class Consumer(Generic[T]):
    """Receives the items of a stream from all its producers. Made by `Streams.consume`.

    One consumer may be used by several tasks; each item goes to one of them.

    A consumer that nothing refers to any more ends its subscriptions, as `close`
    does. A wait made by `when` refers to it.
    """

    __slots__ = (
        "__weakref__", "_address", "_closing", "_context", "_dropped", "_inbox", "_spec", "_state",
    )  # fmt: skip

    def __init__(self, context: StreamsContext, spec: ConsumerSpec) -> None:
        loop = asyncio.get_running_loop()
        system = context.node.system
        address = system.createActor(ConsumerActor)

        def on_ack_due(session: ReceiverSession) -> None:
            with suppress(ActorSystemClosed):
                system.tell(address, AckDue(session))

        self._context = context
        self._spec = spec
        self._address: ActorAddress = address
        totals = context.ledger.totals_of("consumer", spec.stream_id, spec.name)
        self._state = StreamState(f"the consumer of {spec.name}", totals)
        self._state.is_online = holds(spec.online_when, ())
        self._inbox = Inbox(
            on_ack_due=on_ack_due, make_future=partial(asyncio.Future, loop=loop), resume=resume
        )
        self._closing: asyncio.Future[None] | None = None
        self._dropped = finalize(self, _drop_consumer, loop, system, address)
        self._dropped.atexit = False
        start = StartConsumer(context.node, context.catalog, spec, self._inbox, self._state)
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
        return self._context.channels(self._state)

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
        box = self._inbox
        while not box.items:
            if box.is_pause_due:
                await asyncio.sleep(0)
                box.resume()
                continue
            if box.is_closed:
                self._raise_if_closed()
            future = box.receivers.join()
            try:
                await future
            except BaseException:
                box.receivers.leave(future)
                raise
        item: T = box.pop()
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
        first = await self.recv()
        return [first, *self._inbox.pop_many(limit - 1)]

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        item: T
        items = self._inbox.items
        if items and len(items) > 1:  # the last one of a frame has consequences
            item = items.pop()
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
            self._context.consumers.pop(self, None)
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
            await self._context.node.system.ask(self._address, CloseConsumer(), timeout=5)
        except (ActorSystemClosed, AskUndeliverable, TimeoutError):
            self._abandon()

    def _activity(self) -> StreamActivity:
        """Return what `Streams.read_status` counts."""
        return StreamActivity(self._state, self._inbox.item_count)

    def _abandon(self) -> None:
        """End here and now: the actor is gone. May be repeated."""
        self._inbox.close()
        self._state.abandon(now=self._context.node.clock.monotonic())

    def _ended(self) -> Exception:
        # What holds this method holds the consumer: who only waits for it keeps it.
        return self._state.ended()

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
