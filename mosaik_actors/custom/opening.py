"""What an actor opens at its node: streams, groups and collections that end with it.

Their items, events and changes come to the actor as messages, some at a time: what it does
not get to stays where it is, so that a slow actor slows its sources down.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Sequence,
)
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from thespian.actors import ActorAddress

from ..errors import Closed, ConfigError
from ..handles.consumer import Consumer
from ..handles.producer import Producer
from ..runtime import ActorRef, LocalAddress, TypeDispatcher
from ..runtime.messaging.hooks import HookMessage, Hooks
from ..singletons.tenure import Tenure
from .resources import Close, Resources
from .services import Net, Services

if TYPE_CHECKING:
    from ..groups.machine.machine import StateMachine
    from ..groups.mesh.key import GroupKey
    from ..handles.collections import Cell, Map, Once, PriorityQueue, Set, Vec
    from ..handles.groups import Group

C = TypeVar("C")
Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")
K = TypeVar("K")
V = TypeVar("V")
P = TypeVar("P")
T = TypeVar("T")

# Items of a stream that wait in the mailbox, at most; more wait in the consumer.
_ITEMS_MAX = 256

_CHANGES = (
    *("EntryInserted", "EntryUpdated", "EntryRemoved", "MemberInserted", "MemberRemoved"),
    *("ItemInserted", "ItemRemoved", "ItemsSwapped", "Truncated", "ValueWritten"),
    *("QueueInserted", "QueueEvicted", "QueueRemoved", "Cleared", "StateReplaced"),
)


class BatchTaken(HookMessage):
    """To the actor itself: what was handed to it before is handled."""

    def __init__(self, taken: asyncio.Future[None]) -> None:
        self.taken = taken


class Opening(TypeDispatcher, Hooks):
    """The part of a `MosaikActor` that opens things at its node."""

    # --- where it is ---

    @property
    def ref(self) -> ActorRef:
        """The actor's own reference."""
        return cast("ActorRef", self.myAddress)

    @property
    def net(self) -> Any:
        """The node's `Network`.

        Raises:
            Closed: The actor runs on an actor system without a node.
        """
        return self._services.net

    @property
    def fencing_token(self) -> int:
        """The token of a singleton: higher with each move, for a `Fence` to refuse lower ones.

        Read it anew for each thing that is done: it is given only while the lease lasts.

        Raises:
            LeaseOver: This instance may not act any more.
            ConfigError: The actor is no singleton.
        """
        tenure: Tenure | None = getattr(type(self), "_tenure", None)
        if tenure is None:
            raise ConfigError(f"{type(self).__name__} is no singleton: spawn(..., singleton=True)")
        return tenure.token

    @property
    def _services(self) -> Services:
        host = getattr(self._myRef, "host", None)
        services = None if host is None else host.services
        if host is None:
            raise Closed(reason="an isolated actor has no node at hand: it gets and sends messages")
        if services is None:
            raise Closed(reason="this actor system belongs to no node: spawn it by net.actors")
        return cast("Services", services)

    @property
    def _held(self) -> Resources:
        held = self.__dict__.get("_resources")
        if held is None:
            host = getattr(self._myRef, "host", None)
            if host is None:
                raise Closed(reason="an isolated actor has no event loop of its own")
            held = self.__dict__["_resources"] = Resources(host.loop)
        if held.is_released:
            raise Closed(reason="the actor has ended")
        return cast("Resources", held)

    # --- streams, groups and collections ---

    def produce(self, type_: type[T], **settings: Any) -> Producer[T]:
        """Return a producer that ends with the actor; see `Streams.producer`.

        Without settings an existing one of the node is shared.
        """
        streams = self._net.streams
        make: Callable[..., Producer[T]] = streams.producer if settings else streams.produce
        return self.keep(make(type_, **settings))

    def consume(self, type_: type[T], **settings: Any) -> Consumer[T]:
        """Let the items of a stream come as messages; see `Streams.consumer`.

        They go to ``receiveMsg_<Type>``, some at a time: what the actor does not get to
        stays in the consumer, so that a slow actor slows its producers down. The
        consumer returned is for waiting (``when()``) and figures: what is received
        belongs to the actor. `source_of` tells from the sender whose items they are.

        Raises:
            ConfigError: The actor has no handler for them.
        """
        if not self._takes(type_.__name__):
            raise ConfigError(f"{type(self).__name__} has no receiveMsg_{type_.__name__}")
        consumer = self.keep(self._net.streams.consumer(type_, **settings))

        async def read() -> Sequence[Any]:
            return await consumer.recv_many(_ITEMS_MAX)

        self._pump(consumer, read)
        return consumer

    def join(
        self,
        key: GroupKey | str | bytes,
        machine: StateMachine[C, Q, A, R] | None = None,
        **settings: Any,
    ) -> Group[C, Q, A, R]:
        """Join a group, and leave it with the actor; see `Groups.join`.

        Its events come as messages, those that the actor has handlers for. A group that
        others of this node have joined as well is left when the last actor goes, and
        stays if it was not joined by actors alone.
        """
        from ..groups.member.events import GroupEvent

        services, groups = self._services, self._net.groups
        before = list(groups)
        group = groups.join(key, machine, **settings)
        if group not in before or group in services.joins:
            services.joins[group] = services.joins.get(group, 0) + 1
            self._held.keep(group, lambda: _leave(services, group))
        if any(self._takes(kind.__name__) for kind in get_args(GroupEvent)):
            self._pump_events(group, group.events())
        return group

    def map(self, store_id: str, key: type[K], value: type[V], **settings: Any) -> Map[K, V]:
        """Open a map for writing; its changes come as messages where there are handlers."""
        from ..handles.collections import Map

        return self._collection(Map[key, value].writer(self.net, store_id, **settings))  # type: ignore[valid-type]

    def vec(self, store_id: str, item: type[T], **settings: Any) -> Vec[T]:
        """Open a vector for writing; see `map`."""
        from ..handles.collections import Vec

        return self._collection(Vec[item].writer(self.net, store_id, **settings))  # type: ignore[valid-type]

    def set(self, store_id: str, item: type[T], **settings: Any) -> Set[T]:
        """Open a set for writing; see `map`."""
        from ..handles.collections import Set

        return self._collection(Set[item].writer(self.net, store_id, **settings))  # type: ignore[valid-type]

    def cell(self, store_id: str, value: type[T], **settings: Any) -> Cell[T]:
        """Open a cell for writing; see `map`."""
        from ..handles.collections import Cell

        return self._collection(Cell[value].writer(self.net, store_id, **settings))  # type: ignore[valid-type]

    def once(self, store_id: str, value: type[T], **settings: Any) -> Once[T]:
        """Open a cell that is written once; see `map`."""
        from ..handles.collections import Once

        return self._collection(Once[value].writer(self.net, store_id, **settings))  # type: ignore[valid-type]

    def priority_queue(
        self, store_id: str, priority: type[P], key: type[K], value: type[V], **settings: Any
    ) -> PriorityQueue[P, K, V]:
        """Open a priority queue for writing; see `map`."""
        from ..handles.collections import PriorityQueue

        made = PriorityQueue[priority, key, value]  # type: ignore[valid-type]
        return self._collection(made.writer(self.net, store_id, **settings))

    def watch_peers(self) -> None:
        """Let the events of discovery come as messages: ``receiveMsg_PeerDiscovered``."""
        self._pump_events(self._net.discovery, self._net.discovery.events())

    def keep(self, handle: T) -> T:
        """Close any handle with the actor: what has a coroutine ``close`` will do."""
        close: Close = handle.close  # type: ignore[attr-defined]
        self._held.keep(handle, close)
        return handle

    def source_of(self, sender: ActorAddress) -> Any:
        """Return the handle whose items or events `sender` stands for; None for actors."""
        return self._sources.get(sender)

    @property
    def _net(self) -> Net:
        return self._services.net

    def _collection(self, handle: T) -> T:
        self.keep(handle)
        if any(map(self._takes, _CHANGES)):
            self._pump_events(handle, handle.changes())  # type: ignore[attr-defined]
        return handle

    # --- helpers ---

    def start_task(
        self, work: Coroutine[Any, Any, T], *, name: str | None = None
    ) -> asyncio.Task[T]:
        """Run a coroutine beside the mailbox; it is cancelled when the actor ends.

        It must not change what handlers rely on across an ``await``: send messages to
        `ref`, or use `pipe`. An error in it is a failure of the actor.
        """
        cell = self._myRef
        task: asyncio.Task[T] = self._held.start_task(
            work, cell.own_context().copy(), cell.fail, name or f"task of {cell}"
        )
        return task

    @property
    def _sources(self) -> dict[ActorAddress, Any]:
        sources: dict[ActorAddress, Any] = self.__dict__.setdefault("_source_handles", {})
        return sources

    def _takes(self, name: str) -> bool:
        return hasattr(self, f"receiveMsg_{name}") or hasattr(self, "receiveUnrecognizedMessage")

    def _new_source(self, handle: Any) -> LocalAddress:
        host = self._myRef.host
        source: LocalAddress = host.new_address(lambda _message, _sender: None)
        self._sources[source] = handle
        return source

    def _pump(self, handle: Any, read: Callable[[], Awaitable[Sequence[Any]]]) -> None:
        source, me = self._new_source(handle), self.ref
        make_future = self._myRef.host.loop.create_future

        async def pump() -> None:
            while True:
                try:
                    items = await read()
                except Closed:
                    return
                for item in items:
                    me.deliver(item, source)
                taken = make_future()
                me.deliver(BatchTaken(taken), source)
                await taken

        self.start_task(pump(), name=f"items for {self._myRef}")

    def _pump_events(self, handle: Any, events: Any) -> None:
        async def read() -> Sequence[Any]:
            async for event in events:
                if self._takes(type(event).__name__):
                    return (event,)
            raise Closed

        self._pump(handle, read)


async def _leave(services: Services, group: Group[Any, Any, Any, Any]) -> None:
    left = services.joins.pop(group, 1) - 1
    if left > 0:
        services.joins[group] = left
    else:
        await group.leave()
