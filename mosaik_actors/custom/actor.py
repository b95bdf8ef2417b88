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
    Hashable,
    Mapping,
    Sequence,
)
from datetime import timedelta
from typing import Any, TypeVar

from thespian.actors import ActorAddress, ActorExitRequest, ActorSystemMessage, PoisonMessage

from ..config import seconds
from ..runtime import ActorRef, LocalAddress, Mailbox, MessageRejected, Request, Resume
from ..runtime.messaging.hooks import HookMessage, StartActor
from ..runtime.messaging.replies import Credit, StreamEnded, StreamItems
from ..runtime.messaging.requests import answer_type
from ..runtime.messaging.supervision import Policy
from ..runtime.supervised import Spawning
from .opening import BatchTaken, Opening
from .resources import Resources
from .timers import Timer, TimerFired

logger = logging.getLogger(__name__)

T = TypeVar("T")

Handlers = tuple[Callable[[Any, Any, ActorAddress], Any], ...]

_RESUME = Resume()


class MosaikActor(Opening):
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
        held: Resources | None = self.__dict__.get("_resources")
        if type(self).stopping is MosaikActor.stopping and (held is None or held.is_empty):
            return self.receiveMessage(request, sender)
        return self._finish_exit(request, sender)

    async def _finish_exit(self, request: ActorExitRequest, sender: ActorAddress) -> None:
        own = self.receiveMessage(request, sender)
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
        if not found and not issubclass(message_class, ActorSystemMessage):
            found = (_reject,)
        elif issubclass(message_class, Request):
            found = (_answering(found, answer_type(message_class)),)
        cls._handlers[message_class] = found
        return found

    # --- helpers ---

    @property
    def _streams(self) -> dict[ActorAddress, asyncio.Task[Any]]:
        streams: dict[ActorAddress, asyncio.Task[Any]] = self.__dict__.setdefault(
            "_answer_streams", {}
        )
        return streams

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


def _reject(actor: Any, message: Any, sender: ActorAddress) -> None:
    """Tell who asks that there is no handler, as it is told to one on another node."""
    if getattr(sender, "question", None) is not None:
        reason = f"{type(actor).__name__} has no handler for {type(message).__name__}"
        actor.send(sender, MessageRejected(message, actor.myAddress, reason))


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
        if inspect.isasyncgen(result):
            actor._send_stream(result, message, sender)
        elif result is not None or answers_none:
            actor.send(sender, result)

    # Begun within: a coroutine that is never begun would complain about one made before.
    is_coroutine = any(map(inspect.iscoroutinefunction, handlers))

    async def handle_and_answer(actor: MosaikActor, message: Any, sender: ActorAddress) -> None:
        result = _call(handlers, actor, message, sender)
        answer(actor, await result if asyncio.iscoroutine(result) else result, message, sender)

    async def answer_later(
        actor: MosaikActor, running: Any, message: Any, sender: ActorAddress
    ) -> None:
        answer(actor, await running, message, sender)

    def handle(actor: MosaikActor, message: Any, sender: ActorAddress) -> Any:
        question = getattr(sender, "question", None)
        if question is not None and question.is_over:
            return None  # its time is over, or the asker has given up
        if is_coroutine:
            return handle_and_answer(actor, message, sender)
        result = _call(handlers, actor, message, sender)
        if asyncio.iscoroutine(result):
            return answer_later(actor, result, message, sender)
        answer(actor, result, message, sender)
        return None

    return handle
