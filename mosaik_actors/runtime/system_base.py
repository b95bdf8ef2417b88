"""Thespian's system base: the blocking interface of an actor system on asyncio.

``ActorSystem(systemBase=AsyncioSystemBase(), transientUnique=True)`` works in two
places:

    * Made where an event loop runs, the base uses that loop, and no thread.
      What blocks may then be called from other threads only; on the loop's
      own thread it raises `BlockingCallOnLoop` and names the coroutine to use.
    * Made in plain code, it runs a loop in a thread of its own, which starts
      with the first use and ends with `shutdown`.

Two habits of Thespian's `ActorSystem` to know, both for a system base that is
handed over as an object:

    * It does not pass its `capabilities` argument on. Give the capabilities to
      the base, or use `actor_system`, which makes the ActorSystem and shows
      the same capabilities in it.
    * Without ``transientUnique=True`` it is a singleton per class of base: the
      first base serves all, a second one is dropped. A dropped base costs
      nothing, because it has not started its thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, TypeVar

from thespian.actors import (
    ActorAddress,
    ActorSystem,
    ActorSystemRequestTimeout,
    ActorSystemStartupFailure,
)
from thespian.system.timing import timePeriodSeconds

from .config import RuntimeConfig
from .external import ThreadEndpoint
from .host import ActorHost
from .messaging.address import LocalAddress
from .messaging.errors import ActorSystemClosed, BlockingCallOnLoop, ForeignAddress

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How much longer than the work itself a thread waits for an answer of the loop.
_MARGIN_S = 10.0


class PrivateContext:
    """What ``ActorSystem.private()`` works on: an endpoint that nobody shares."""

    def __init__(self, base: AsyncioSystemBase) -> None:
        self._base = base
        self._endpoint = base.call(base.new_endpoint)

    def newPrimaryActor(
        self,
        actor_class: Any,
        requirements: Any = None,
        global_name: str | None = None,
        source_hash: str | None = None,
    ) -> ActorAddress:
        """Create a top-level actor; wait until it is there."""
        return self._base.newPrimaryActor(actor_class, requirements, global_name, source_hash)

    def tell(self, address: ActorAddress, message: Any) -> None:
        """Send a message; answers come to this context's `listen`."""
        self._base.send_from(self._endpoint, address, message)

    def ask(
        self, address: ActorAddress, message: Any, timeout: timedelta | float | None = None
    ) -> Any:
        """Send a message and wait for whatever comes to this context next."""
        return self._base.ask_from(self._endpoint, address, message, timeout)

    def listen(self, timeout: timedelta | float | None = None) -> Any:
        """Wait for the next message to this context."""
        return self._base.listen_on(self._endpoint, timeout)

    def exit_context(self) -> None:
        """Give the endpoint up."""
        self._base.call(self._base.drop_endpoint, self._endpoint)


class AsyncioSystemBase:
    """An actor system on one event loop, with Thespian's blocking interface.

    Args:
        capabilities: What the system can do, for actors with requirements.
        name: What addresses begin with.
        config: How it shares the loop.
    """

    def __init__(
        self,
        capabilities: dict[str, Any] | None = None,
        *,
        name: str = "actors",
        config: RuntimeConfig | None = None,
    ) -> None:
        self._capabilities = dict(capabilities or {})
        self._name = name
        self._config = config or RuntimeConfig()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._start_error: BaseException | None = None
        self._end_error: BaseException | None = None
        self._host: ActorHost | None = None
        self._endpoint: ThreadEndpoint | None = None
        self._endpoints: dict[LocalAddress, ThreadEndpoint] = {}
        self._closed = threading.Event()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._start(loop)

    # --- the loop, and the way to it ---

    @property
    def host(self) -> ActorHost:
        """The actors themselves; starts the loop's thread if there is none yet."""
        if self._host is None:
            with self._starting:
                if self._host is None:
                    self._start_thread()
        assert self._host is not None
        return self._host

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._thread_id = threading.get_ident()
        host = ActorHost(loop, self._capabilities, self._name, self._config)
        host.on_closed(self._close)
        self._endpoint = ThreadEndpoint(host)
        self._endpoints[self._endpoint.address] = self._endpoint
        self._host = host

    def _start_thread(self) -> None:
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run_loop, args=(started,), name=f"actor system {self._name}", daemon=True
        )
        self._thread.start()
        started.wait()
        if self._start_error is not None:
            raise ActorSystemStartupFailure("the event loop's thread ended") from self._start_error

    def _run_loop(self, started: threading.Event) -> None:
        try:
            loop = asyncio.new_event_loop()
            self._start(loop)
        except BaseException as error:  # no descriptors left, for one
            self._start_error = error
            return
        finally:
            started.set()
        try:
            loop.run_forever()
            rest = asyncio.all_tasks(loop)
            for task in rest:
                task.cancel()
            if rest:  # coroutines that ignored their cancellation
                loop.run_until_complete(asyncio.wait(rest, timeout=_MARGIN_S))
            loop.run_until_complete(loop.shutdown_asyncgens())
        except BaseException as error:  # KeyboardInterrupt out of a handler, for one
            self._end_error = error
            logger.critical(
                "actor system %s ended by %s", self._name, type(error).__name__, exc_info=error
            )
        finally:
            loop.close()
            self._close_endpoints()  # nobody may wait

    def _close(self) -> None:
        if self._thread is not None:
            self.host.loop.stop()
        self._close_endpoints()

    def _close_endpoints(self) -> None:
        for endpoint in list(self._endpoints.values()):
            endpoint.close()
        self._endpoints.clear()
        self._closed.set()

    @property
    def is_on_loop_thread(self) -> bool:
        """True on the thread that runs the actors."""
        return self._host is not None and threading.get_ident() == self._thread_id

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function on the loop's thread and return its result."""
        host = self.host
        if self.is_on_loop_thread:
            return function(*arguments)
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        self._post(host, run)
        return self._wait(future, _MARGIN_S)

    def _post(self, host: ActorHost, function: Callable[..., None], *arguments: Any) -> None:
        if host.closed:
            raise ActorSystemClosed
        try:
            host.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError as error:
            raise ActorSystemClosed from self._end_error or error

    def _wait(self, future: Future[T], timeout_s: float) -> T:
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            if future.done():
                raise  # what the function itself raised
            raise ActorSystemRequestTimeout(f"the event loop did not answer in {timeout_s}s") from (
                error
            )

    def _forbid_blocking(self, call: str, instead: str) -> None:
        if self.is_on_loop_thread:
            raise BlockingCallOnLoop(call, instead)

    # --- endpoints ---

    def new_endpoint(self) -> ThreadEndpoint:
        """Make an endpoint; on the loop's thread."""
        endpoint = ThreadEndpoint(self.host)
        self._endpoints[endpoint.address] = endpoint
        return endpoint

    def drop_endpoint(self, endpoint: ThreadEndpoint) -> None:
        """Close an endpoint; on the loop's thread."""
        self._endpoints.pop(endpoint.address, None)
        endpoint.close()

    def send_from(self, endpoint: ThreadEndpoint, address: ActorAddress, message: Any) -> None:
        """Send a message as an endpoint, from any thread.

        Thespian's `tell` and `ask` raise nothing on account of the receiver, so a
        message to an address of another actor system comes back as a PoisonMessage.
        """
        host = self.host
        try:
            host.check_own(address)
        except ForeignAddress as error:
            logger.warning("a message was refused: %s", error)
            endpoint.refuse(message, str(error))
            return
        if self.is_on_loop_thread:
            host.send(address, message, endpoint.address)
        else:
            self._post(host, host.send, address, message, endpoint.address)

    def ask_from(
        self,
        endpoint: ThreadEndpoint,
        address: ActorAddress,
        message: Any,
        timeout: timedelta | float | None,
    ) -> Any:
        """Send a message and wait for what comes to the endpoint next."""
        self._forbid_blocking("ask()", "await AsyncActorSystem.ask(...)")
        seconds = None if timeout is None else timePeriodSeconds(timeout)
        pending = endpoint.expect(message)
        try:
            self.send_from(endpoint, address, message)
        except ActorSystemClosed:
            endpoint.wait(0, pending)
            raise
        return endpoint.wait(seconds, pending)

    def listen_on(self, endpoint: ThreadEndpoint, timeout: timedelta | float | None) -> Any:
        """Wait for what comes to the endpoint next."""
        self._forbid_blocking("listen()", "await AsyncActorSystem.listen()")
        return endpoint.wait(None if timeout is None else timePeriodSeconds(timeout))

    # --- what thespian.actors.ActorSystem calls ---

    def newPrimaryActor(
        self,
        actor_class: Any,
        requirements: Any = None,
        global_name: str | None = None,
        source_hash: str | None = None,
    ) -> ActorAddress:
        """Create a top-level actor; wait until it is there, or raise why it is not."""
        host = self.host
        create = host.create_primary
        if self.is_on_loop_thread:
            return create(actor_class, requirements, global_name, source_hash)
        future: Future[ActorAddress] = Future()

        def run() -> None:
            try:
                if source_hash is not None and host.sources.is_pending(source_hash):
                    host.sources.when_decided(source_hash, run)
                else:
                    future.set_result(create(actor_class, requirements, global_name, source_hash))
            except BaseException as error:
                future.set_exception(error)

        self._post(host, run)
        return self._wait(future, host.config.source_validation_s + _MARGIN_S)

    def _main_endpoint(self) -> ThreadEndpoint:
        _ = self.host  # starts the loop's thread, which makes the endpoint
        assert self._endpoint is not None
        return self._endpoint

    def tell(self, address: ActorAddress, message: Any) -> None:
        """Send a message, from any thread."""
        self.send_from(self._main_endpoint(), address, message)

    def ask(
        self, address: ActorAddress, message: Any, timeout: timedelta | float | None = None
    ) -> Any:
        """Send a message and wait for the next one from any actor; None if none comes.

        Raises:
            BlockingCallOnLoop: Called on the loop's own thread.
        """
        return self.ask_from(self._main_endpoint(), address, message, timeout)

    def listen(self, timeout: timedelta | float | None = None) -> Any:
        """Wait for the next message from any actor; None if none comes.

        Raises:
            BlockingCallOnLoop: Called on the loop's own thread.
        """
        return self.listen_on(self._main_endpoint(), timeout)

    def external_clone(self) -> PrivateContext:
        """Return a context with an endpoint of its own."""
        return PrivateContext(self)

    def updateCapability(self, name: str, value: Any = None) -> None:
        """Set a capability, or remove it with None."""
        self.call(self.host.update_capability, name, value)

    def loadActorSource(self, file: str | Path | IO[bytes]) -> str:
        """Load a source file and return its hash; its validation goes on meanwhile."""
        return self.call(self.host.sources.load, file)

    def unloadActorSource(self, source_hash: str) -> None:
        """Unload a source."""
        self.call(self.host.sources.unload, source_hash)

    def _handleDeadLetters(self, address: LocalAddress, enable: bool) -> None:
        self.call(self.host.handle_dead_letters, address, enable)

    def shutdown(self) -> None:
        """Stop all actors, children before parents; wait until they are gone.

        May be repeated. Takes `shutdown_timeout_s` at most, and a little.

        Raises:
            BlockingCallOnLoop: Called on the loop's own thread.
        """
        if self._host is None:
            return
        self._forbid_blocking("shutdown()", "await AsyncActorSystem.shutdown()")
        host = self._host
        with suppress(ActorSystemClosed):
            self._post(host, host.begin_shutdown)
            self._closed.wait(host.config.shutdown_timeout_s + _MARGIN_S)
        if self._thread is not None:
            self._thread.join(_MARGIN_S)

    # --- ours ---

    @property
    def adminAddr(self) -> ActorAddress:
        """The system's own address, under the name that Thespian's bases use."""
        return self.host.address

    def actor_system(self) -> ActorSystem:
        """Return a Thespian ActorSystem on this base, with its capabilities in it."""
        system = ActorSystem(systemBase=self, transientUnique=True)
        system.capabilities = self.call(lambda: dict(self.host.capabilities))
        return system
