"""The asyncio face of an actor system.

    async with AsyncActorSystem() as system:
        greeter = system.createActor(Greeter)
        answer = await system.ask(greeter, Hello("world"), timeout=5)

The actors run on the event loop of the caller. `tell` and `createActor` are
plain calls; what waits is a coroutine and can be cancelled. All of it belongs on
the loop's thread; `tell` alone may be called from others too. `actor_system`
gives the blocking interface for those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import get_ident
from types import MappingProxyType, TracebackType
from typing import IO, Any, Self

from thespian.actors import Actor, ActorAddress, ActorSystem, InvalidActorAddress

from ..config import seconds
from .config import RuntimeConfig
from .external import ExternalInbox
from .host import ActorHost
from .messaging.address import LocalAddress
from .messaging.errors import ActorSystemClosed, NotOnLoopThread
from .status import MailboxStats, SystemStats
from .system_base import AsyncioSystemBase


class AsyncActorSystem:
    """A system of Thespian actors on the running event loop.

    Use it as an async context manager, or `start` it and `shutdown` it.

    Args:
        capabilities: What the system can do, for actors with requirements.
        name: What addresses begin with.
        config: How it shares the loop.
    """

    def __init__(
        self,
        *,
        capabilities: Mapping[str, Any] | None = None,
        name: str = "actors",
        config: RuntimeConfig | None = None,
    ) -> None:
        self._capabilities = dict(capabilities or {})
        self._name = name
        self._config = config or RuntimeConfig()
        self._base: AsyncioSystemBase | None = None

    @classmethod
    async def start(
        cls,
        *,
        capabilities: Mapping[str, Any] | None = None,
        name: str = "actors",
        config: RuntimeConfig | None = None,
    ) -> Self:
        """Return a running system on the running loop; `shutdown` it in the end."""
        system = cls(capabilities=capabilities, name=name, config=config)
        system._open()
        return system

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.shutdown()

    def _open(self) -> None:
        assert self._base is None, "an AsyncActorSystem starts once"
        asyncio.get_running_loop()
        self._base = AsyncioSystemBase(self._capabilities, name=self._name, config=self._config)
        self._host = self._base.host
        self._thread_id = get_ident()
        self._inbox = ExternalInbox(self._host)
        self._inbox_address = self._inbox.address
        self._host.on_closed(self._close)

    def _close(self) -> None:
        self._inbox.close()

    # --- actors ---

    def createActor(
        self,
        actorClass: type[Actor] | str,
        targetActorRequirements: Any = None,
        globalName: str | None = None,
        sourceHash: str | None = None,
        *,
        isolated: bool | None = None,
    ) -> ActorAddress:
        """Create a top-level actor and return its address.

        Its constructor runs before this returns. With a source that is still
        being validated, and in a process of its own, the actor starts later;
        messages wait for it.

        Args:
            actorClass: The class, or its dotted name.
            targetActorRequirements: What the class's `actorSystemCapabilityCheck`
                gets to judge besides the system's capabilities.
            globalName: A name that makes it the only one: if it is taken, the
                address of the actor that has it is returned and nothing made.
            sourceHash: The loaded source to take the class from; not for an
                isolated actor.
            isolated: Whether the actor runs in an operating system process of
                its own; None takes the class's attribute `isolated`.

        Raises:
            NoCompatibleSystemForActor: The system lacks a capability.
            InvalidActorSpecification: `actorClass` is no actor class.
            InvalidActorSourceHash: There is no such source.
            ActorSystemClosed: The system is shutting down.
            Exception: Whatever importing the class or its constructor raises.
        """
        self._check_thread("createActor()", "actor_system().createActor(...)")
        return self._host.create_primary(
            actorClass, targetActorRequirements, globalName, sourceHash, isolated=isolated
        )

    def tell(self, address: ActorAddress, message: Any) -> None:
        """Send a message; answers to it come to `listen`.

        May be called from any thread. To an actor that has exited the message
        is a dead letter, not an error.

        Raises:
            ForeignAddress: The address belongs to another actor system.
        """
        if (
            isinstance(address, LocalAddress)
            and address.host is self._host
            and get_ident() == self._thread_id
        ):
            address.deliver(message, self._inbox_address)
        elif isinstance(address, ActorAddress):
            self._tell_slowly(address, message)
        else:
            raise InvalidActorAddress(address, "not a valid ActorAddress to send to")

    def _tell_slowly(self, address: ActorAddress, message: Any) -> None:
        send = self._host.send
        if get_ident() == self._thread_id:
            send(address, message, self._inbox_address)
            return
        self._host.check_own(address)
        try:
            self._host.loop.call_soon_threadsafe(send, address, message, self._inbox_address)
        except RuntimeError as error:
            raise ActorSystemClosed from error

    def run_now(self, address: ActorAddress, step: Callable[[], object]) -> bool:
        """Take a step on behalf of a local actor, saving the turn that a message would take.

        For an actor that hands `step` out itself. It must not be in the midst of
        handling a message: that is for the actor to know, unless it is a coroutine.

        Args:
            address: The actor.
            step: What to do. It runs as the actor's own code would, whoever calls.

        Returns:
            Whether it was done. It is not while messages wait for the actor, which it
            must not overtake, nor when the actor has ended or nothing is handed out:
            then send a message.
        """
        cell = getattr(address, "cell", None)
        return cell is not None and cell.scheduler.run_now(cell, step)

    def step_check(self, address: ActorAddress) -> Callable[[], bool]:
        """Return what says, at any time, whether `run_now` would take a step of a local actor.

        For an actor that takes the same step many times, and asks for this while it handles a
        message. A step that begins something is for `run_now`: here it runs as whoever calls.
        """
        assert isinstance(address, LocalAddress), "actors of others take their steps elsewhere"
        return partial(address.cell.scheduler.may_step, address.cell)

    async def ask(
        self, address: ActorAddress, message: Any, timeout: float | timedelta | None = None
    ) -> Any:
        """Send a message and return the answer to it.

        The actor sees a sender of its own for each ask, so answers to
        concurrent asks never mix, and whoever holds that address may answer.
        Only the first answer counts. Unlike Thespian's blocking `ask` this one
        never returns None for want of an answer: it raises.

        Args:
            address: Whom to ask.
            message: The question.
            timeout: Seconds or a timedelta; None waits as long as the system runs.

        Raises:
            AskTimeout: No answer in time; a TimeoutError.
            AskPoisoned: The actor failed twice on the message.
            AskUndeliverable: The actor has exited, or exits before its turn.
            ForeignAddress: The address belongs to another actor system.
            ActorSystemClosed: The system shut down meanwhile.
        """
        self._check_thread("ask()", "actor_system().ask(...)")
        if not isinstance(address, ActorAddress):
            raise InvalidActorAddress(address, "not a valid ActorAddress to ask")
        return await self._host.questions.ask(address, message, timeout)

    async def listen(self, timeout: float | timedelta | None = None) -> Any:
        """Return the next message that an actor sends in answer to a `tell`.

        Raises:
            TimeoutError: None came in time.
            ActorSystemClosed: The system shut down meanwhile.
        """
        self._check_thread("listen()", "actor_system().listen(...)")
        if self._host.closed:
            raise ActorSystemClosed
        async with asyncio.timeout(None if timeout is None else seconds(timeout)):
            return await self._inbox.listen()

    async def shutdown(self) -> None:
        """Stop all actors, children before their parents, and wait until they are gone.

        Takes `RuntimeConfig.shutdown_timeout_s` at most. May be repeated and
        cancelled; the shutdown goes on. Leaves no task, timer or descriptor.
        """
        if self._base is None:
            return
        self._check_thread("shutdown()", "actor_system().shutdown()")
        done: asyncio.Future[None] = self._host.loop.create_future()
        self._host.on_closed(lambda: None if done.done() else done.set_result(None))
        self._host.begin_shutdown()
        await done

    def kill(self) -> None:
        """End all actors here and now, as a killed process does; for tests and simulations.

        No actor is asked to exit or notified, and what is in mailboxes is lost.
        """
        if self._base is not None:
            self._check_thread("kill()", "shutdown()")
            self._host.kill()

    def suspend(self) -> None:
        """Stop handing out messages until `resume`, as a stopped process does."""
        self._check_thread("suspend()", "nothing")
        self._host.scheduler.suspend()

    def resume(self) -> None:
        """Go on after `suspend`."""
        self._check_thread("resume()", "nothing")
        self._host.scheduler.resume()

    # --- the system ---

    def updateCapability(self, capabilityName: str, capabilityValue: Any = None) -> None:
        """Set a capability, or remove it with None; actors that no longer fit exit."""
        self._check_thread("updateCapability()", "actor_system().updateCapability(...)")
        self._host.update_capability(capabilityName, capabilityValue)

    def loadActorSource(self, fname: str | Path | IO[bytes]) -> str:
        """Hand a source file to the source authority and return its hash."""
        self._check_thread("loadActorSource()", "actor_system().loadActorSource(...)")
        return self._host.sources.load(fname)

    def unloadActorSource(self, sourceHash: str) -> None:
        """Forget a source; actors that came from it go on."""
        self._check_thread("unloadActorSource()", "actor_system().unloadActorSource(...)")
        self._host.sources.unload(sourceHash)

    @property
    def address(self) -> ActorAddress:
        """The system's own address; ask it a Thespian_StatusReq."""
        return self._host.address

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """The capabilities at this moment; change them with `updateCapability`."""
        return MappingProxyType(self._host.capabilities)

    @property
    def host(self) -> ActorHost:
        """What the system is made of; for the parts of this library."""
        return self._host

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that runs the actors."""
        return self._host.loop

    @property
    def is_closed(self) -> bool:
        """True after the shutdown."""
        return self._host.closed

    def actor_system(self) -> ActorSystem:
        """Return Thespian's blocking interface to this system, for other threads."""
        assert self._base is not None, "not started"
        return self._base.actor_system()

    def stats(self) -> SystemStats:
        """Return the figures of the system at this moment."""
        return self._host.stats()

    def mailboxes(self) -> list[MailboxStats]:
        """Return the figures of each living actor, in order of creation."""
        return [cell.stats() for cell in self._host.cells.values()]

    def _check_thread(self, call: str, instead: str) -> None:
        assert self._base is not None, "not started"
        if get_ident() != self._thread_id:
            raise NotOnLoopThread(call, instead)
