"""`MosaikActor`: a Thespian actor with its node at hand.

    class Matcher(MosaikActor):
        def __init__(self, market: str) -> None:
            self.market = market

        async def started(self) -> None:
            self.fills = self.produce(Fill)
            self.consume(Order)

        async def receiveMsg_Order(self, order: Order, sender: ActorRef) -> None:
            await self.fills.send(Fill(order.id))

        def receiveMsg_Load(self, load: Load, sender: ActorRef) -> int:
            return len(self.book)              # the answer to a `Request[int]`

It is a `TypeDispatcher` on the same terms as every Thespian actor: one message at a
time, a coroutine handler keeps the mailbox waiting, a message that fails is tried once
more. Without a node (on a bare actor system) all works but what needs one.

What the actor opens through its own methods ends with it, on an exit before its children
do; on a restart and a failure it is closed in the background.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Mapping,
    Sequence,
)
from datetime import timedelta
from typing import Any, TypeVar, cast, get_args

from thespian.actors import ActorAddress, ActorExitRequest, PoisonMessage

from ..config import seconds
from ..errors import Closed, ConfigError
from ..groups.machine.machine import StateMachine
from ..groups.member.events import GroupEvent
from ..groups.mesh.key import GroupKey
from ..handles.collections import Cell, Map, Once, PriorityQueue, Set, Vec
from ..handles.consumer import Consumer
from ..handles.groups import Group
from ..handles.producer import Producer
from ..runtime import ActorRef, LocalAddress, Mailbox, Request, Resume, TypeDispatcher
from ..runtime.replies import Credit, StreamEnded, StreamItems
from ..runtime.requests import answer_type
from ..runtime.supervised import HookMessage, Hooks, Spawning, StartActor
from ..runtime.supervision import Policy
from .resources import Close, Resources
from .services import Net, Services
from .timers import Timer, TimerFired

logger = logging.getLogger(__name__)

C = TypeVar("C")
Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")
K = TypeVar("K")
V = TypeVar("V")
P = TypeVar("P")
T = TypeVar("T")

Handlers = tuple[Callable[[Any, Any, ActorAddress], Any], ...]

# Items of a stream that wait in the mailbox, at most; more wait in the consumer.
_ITEMS_MAX = 256
_RESUME = Resume()

_GROUP_EVENTS = tuple(kind.__name__ for kind in get_args(GroupEvent))
_CHANGES = (
    *("EntryInserted", "EntryUpdated", "EntryRemoved", "MemberInserted", "MemberRemoved"),
    *("ItemInserted", "ItemRemoved", "ItemsSwapped", "Truncated", "ValueWritten"),
    *("QueueInserted", "QueueEvicted", "QueueRemoved", "Cleared", "StateReplaced"),
)


class BatchTaken(HookMessage):
    """To the actor itself: what was handed to it before is handled."""

    def __init__(self, taken: asyncio.Future[None]) -> None:
        self.taken = taken


class MosaikActor(TypeDispatcher, Hooks):
    """The base of actors that use streams, groups, collections, names and timers."""

    # --- to be overridden ---

    def started(self) -> Any:
        """Begin; may be a coroutine. The first thing that the actor does; it has its address.

        If it raises, `spawn` raises that; a child's failure goes by its policy.
        """
        return None

    def stopping(self) -> Any:
        """Finish; may be a coroutine. Called on an exit, with everything still open.

        Not called when the actor fails or its node crashes. Takes `exit_grace_s` at most.
        """
        return None

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
    def _services(self) -> Services:
        services = self._myRef.host.services
        if services is None:
            raise Closed(reason="this actor system belongs to no node: spawn it by net.actors")
        return cast("Services", services)

    @property
    def _held(self) -> Resources:
        held = self.__dict__.get("_resources")
        if held is None:
            held = self.__dict__["_resources"] = Resources(self._myRef.host.loop)
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
        services, groups = self._services, self._net.groups
        before = list(groups)
        group = groups.join(key, machine, **settings)
        if group not in before or group in services.joins:
            services.joins[group] = services.joins.get(group, 0) + 1
            self._held.keep(group, lambda: _leave(services, group))
        if any(map(self._takes, _GROUP_EVENTS)):
            self._pump_events(group, group.events())
        return group

    def map(self, store_id: str, key: type[K], value: type[V], **settings: Any) -> Map[K, V]:
        """Open a map for writing; its changes come as messages where there are handlers."""
        return self._collection(Map[key, value].writer(self.net, store_id, **settings))  # type: ignore[valid-type]

    def vec(self, store_id: str, item: type[T], **settings: Any) -> Vec[T]:
        """Open a vector for writing; see `map`."""
        return self._collection(Vec[item].writer(self.net, store_id, **settings))  # type: ignore[valid-type]

    def set(self, store_id: str, item: type[T], **settings: Any) -> Set[T]:
        """Open a set for writing; see `map`."""
        return self._collection(Set[item].writer(self.net, store_id, **settings))  # type: ignore[valid-type]

    def cell(self, store_id: str, value: type[T], **settings: Any) -> Cell[T]:
        """Open a cell for writing; see `map`."""
        return self._collection(Cell[value].writer(self.net, store_id, **settings))  # type: ignore[valid-type]

    def once(self, store_id: str, value: type[T], **settings: Any) -> Once[T]:
        """Open a cell that is written once; see `map`."""
        return self._collection(Once[value].writer(self.net, store_id, **settings))  # type: ignore[valid-type]

    def priority_queue(
        self, store_id: str, priority: type[P], key: type[K], value: type[V], **settings: Any
    ) -> PriorityQueue[P, K, V]:
        """Open a priority queue for writing; see `map`."""
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

    # --- other actors ---

    def spawn(
        self,
        actor_class: type[Any],
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        supervision: Policy = _RESUME,
        mailbox: Mailbox | None = None,
    ) -> ActorRef:
        """Create a supervised child; messages wait until it has started.

        Args:
            actor_class: Any Thespian actor class.
            args: For its constructor.
            kwargs: For its constructor.
            name: A name by which all nodes can resolve it.
            supervision: What comes of its failures; of each the parent hears as
                `ChildFailed`.
            mailbox: How many messages may wait for it.

        Raises:
            AlreadyExists: An actor of this node has the name.
            Exception: Whatever its constructor raises.
        """
        spawning = Spawning(
            args=args, kwargs=dict(kwargs or {}), supervision=supervision, mailbox=mailbox
        )
        if name is not None:
            self._services.names.check_free(name)
        child: ActorRef = self._myRef.host.creation.spawn(actor_class, spawning, parent=self._myRef)
        if name is not None:
            self._services.names.advertise(name, child)
        return child

    def watch(self, ref: ActorAddress) -> None:
        """Get `ActorGone` when an actor of any node ends, or its node does. Once per actor."""
        _as_ref(ref).watch(self.ref)

    def unwatch(self, ref: ActorAddress) -> None:
        """Get no `ActorGone` for an actor. May be repeated."""
        _as_ref(ref).unwatch(self.ref)

    # --- time, and work beside the mailbox ---

    def after(
        self, delay: float | timedelta, message: Any, *, key: Hashable | None = None
    ) -> Timer:
        """Send a message to this actor after some seconds; replaces the timer of the same key."""
        return self._timer(delay, message, key, is_repeated=False)

    def every(
        self, period: float | timedelta, message: Any, *, key: Hashable | None = None
    ) -> Timer:
        """Send a message to this actor again and again; replaces the timer of the same key."""
        return self._timer(period, message, key, is_repeated=True)

    def cancel_timer(self, key: Hashable) -> bool:
        """Cancel the timer of a key; return whether there was one."""
        return self._held.cancel_timer(key)

    def _timer(
        self, delay: float | timedelta, message: Any, key: Hashable | None, *, is_repeated: bool
    ) -> Timer:
        me = self.ref
        held = self._held
        timer = Timer(
            self._myRef.host.loop,
            seconds(delay),
            message,
            lambda fired: me.deliver(fired, me),
            is_repeated=is_repeated,
        )
        held.put_timer(timer, key)
        return timer

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

    def pipe(
        self,
        work: Awaitable[T],
        done: Callable[[T], Any] | None = None,
        failed: Callable[[Exception], Any] | None = None,
    ) -> asyncio.Task[None]:
        """Send what an awaitable returns to this actor, as a message; handlers go on meanwhile.

        Args:
            work: What to await.
            done: Makes the message of the result; None sends the result itself.
            failed: Makes the message of an error; None lets it be a failure of the actor.
        """
        me = self.ref

        async def run() -> None:
            try:
                result = await work
            except Exception as error:
                if failed is None:
                    raise
                me.deliver(failed(error), me)
            else:
                me.deliver(result if done is None else done(result), me)

        return self.start_task(run(), name=f"pipe of {self._myRef}")

    # --- what the runtime calls ---

    def release(self) -> None:
        """End all that the actor has going, at once."""
        held: Resources | None = self.__dict__.get("_resources")
        if held is not None and not held.is_released:
            held.release(self._myRef.host.services)

    def abandon(self, asker: LocalAddress) -> None:
        """End the stream of answers to someone who does not read it any more."""
        task = self._streams.pop(asker, None)
        if task is not None:
            task.cancel()

    def receive_hook(self, message: HookMessage, sender: ActorAddress) -> Any:
        """Begin, take a timer's message, or ask for more items."""
        match message:
            case StartActor():
                return self.started()
            case TimerFired(timer=timer) if timer.take():
                return self.receiveMessage(timer.message, sender)
            case BatchTaken(taken=taken) if not taken.done():
                taken.set_result(None)
        return None

    def receive_exit(self, request: ActorExitRequest, sender: ActorAddress) -> Any:
        """Call the own handlers of the request, then `stopping`; end what is held."""
        own = self.receiveMessage(request, sender)
        held: Resources | None = self.__dict__.get("_resources")
        is_plain = type(self).stopping is MosaikActor.stopping and (held is None or held.is_empty)
        return own if is_plain else self._finish_exit(own)

    async def _finish_exit(self, own: Any) -> None:
        if asyncio.iscoroutine(own):
            await own
        stopped = self.stopping()
        if inspect.isawaitable(stopped):
            await stopped
        held: Resources | None = self.__dict__.get("_resources")
        if held is not None and not held.is_released:
            await held.close()

    @classmethod
    def _find_handlers(cls, message_class: type) -> Handlers:
        found: Handlers = super()._find_handlers(message_class)
        if issubclass(message_class, Request):
            found = (_answering(found, answer_type(message_class)),)
        cls._handlers[message_class] = found
        return found

    # --- helpers ---

    @property
    def _sources(self) -> dict[ActorAddress, Any]:
        sources: dict[ActorAddress, Any] = self.__dict__.setdefault("_source_handles", {})
        return sources

    @property
    def _streams(self) -> dict[ActorAddress, asyncio.Task[Any]]:
        streams: dict[ActorAddress, asyncio.Task[Any]] = self.__dict__.setdefault(
            "_answer_streams", {}
        )
        return streams

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

    def _send_stream(
        self, answers: AsyncGenerator[Any, Any], request: Any, sender: ActorAddress
    ) -> None:
        credit: Credit | None = getattr(getattr(sender, "question", None), "credit", None)
        if credit is None:
            raise TypeError(
                f"{type(request).__name__} is answered with a stream: read it by ref.stream(...)"
            )
        may_send = credit.take

        async def send() -> None:
            try:
                async for answer in answers:
                    await may_send()
                    self.send(sender, StreamItems((answer,)))
            except Exception:
                logger.warning("%s failed in a stream of answers", self._myRef, exc_info=True)
                self.send(sender, PoisonMessage(request, traceback.format_exc()))
            else:
                self.send(sender, StreamEnded())
            finally:
                self._streams.pop(sender, None)
                await answers.aclose()

        self._streams[sender] = self.start_task(send(), name=f"answers of {self._myRef}")


def _as_ref(address: ActorAddress) -> ActorRef:
    if not isinstance(address, ActorRef):
        raise TypeError(f"{address} is not the address of an actor that can be watched")
    return address


async def _leave(services: Services, group: Group[Any, Any, Any, Any]) -> None:
    left = services.joins.pop(group, 1) - 1
    if left > 0:
        services.joins[group] = left
    else:
        await group.leave()


def _call(handlers: Handlers, actor: Any, message: Any, sender: ActorAddress) -> Any:
    """Call the handlers of a message, as `TypeDispatcher.receiveMessage` does."""
    for index, handler in enumerate(handlers):
        result = handler(actor, message, sender)
        if asyncio.iscoroutine(result):
            rest = handlers[index + 1 :]
            return actor._finish(result, rest, message, sender) if rest else result
        if not (isinstance(result, str) and result == actor.SUPER):
            return result
    return None


def _answering(handlers: Handlers, expected: Any) -> Callable[[Any, Any, ActorAddress], Any]:
    """Return what handles a `Request`: its handlers, and the answer of what they return."""
    answers_none = expected is None or expected is type(None)

    def answer(actor: MosaikActor, result: Any, message: Any, sender: ActorAddress) -> None:
        if isinstance(result, AsyncGenerator):
            actor._send_stream(result, message, sender)
        elif result is not None or answers_none:
            actor.send(sender, result)

    async def answer_later(
        actor: MosaikActor, running: Any, message: Any, sender: ActorAddress
    ) -> None:
        answer(actor, await running, message, sender)

    def handle(actor: MosaikActor, message: Any, sender: ActorAddress) -> Any:
        question = getattr(sender, "question", None)
        if question is not None and question.is_over:
            return None  # its time is over, or the asker has given up
        result = _call(handlers, actor, message, sender)
        if asyncio.iscoroutine(result):
            return answer_later(actor, result, message, sender)
        answer(actor, result, message, sender)
        return None

    return handle
