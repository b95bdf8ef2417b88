"""Actors as users see them: ``net.actors``.

ref = await net.actors.spawn(Matcher, args=("ETH",), name="matcher")
ref = await net.actors.resolve("matcher")        # on any node
ref.tell(Order(1))
load = await ref.ask(Load())

async for letter in net.actors.events():         # dead letters
    ...
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, Self

from thespian.actors import ActorAddress, ActorExitRequest

from ..actors.remote import RemoteActor
from ..config import seconds
from ..discovery.entry import NAME_CHARACTERS_MAX, ActorInfo
from ..discovery.messages import AdvertiseActor, WithdrawActor
from ..errors import Closed, ConfigError, MosaikError
from ..events import Events
from ..ids import UniqueId
from ..node import Node
from ..remote.config import ActorsConfig
from ..remote.messages import StartRemote
from ..remote.node import RemoteNode, Requirement
from ..runtime import ActorRef, ActorSystemClosed, DeadLetter, Mailbox, Resume
from ..runtime.creation import check_specification
from ..runtime.messaging.supervision import Policy
from ..runtime.supervised import Spawning
from ..singletons.config import Singleton, check_singleton
from ..streams.gate import require_sync
from ..tickets.messages import RequiredTickets, TicketsTouched
from ..tickets.requirement import Validators
from ..transport.messages import ProtocolServed
from ..when import Wait
from .isolation import StandIn
from .pool import LEAST_LOADED, PREFIX, AddMember, Balance, Holders, Pool, PoolFront
from .services import Net, Services

logger = logging.getLogger(__name__)

_RESUME = Resume()


class NotResolved(MosaikError, TimeoutError):
    """No actor of that name was found in time; `name` is the name."""

    def __init__(self, name: str, timeout: float) -> None:
        super().__init__(name, timeout)
        self.name = name
        self.timeout = timeout

    def __str__(self) -> str:
        return f"no node has an actor named {self.name!r}, or none answered within {self.timeout}s"


RequireTickets = Callable[[Any], RequiredTickets | None]
"""Returns what to ask about peers where tickets are required. Raises `ConfigError`."""


class Actors:
    """The actors of a node, and the way to those of others: ``net.actors``."""

    def __init__(
        self,
        node: Node,
        remote: RemoteNode,
        actor: ActorAddress,
        catalog: ActorAddress,
        net: Net,
        require_tickets: RequireTickets,
    ) -> None:
        self._node = node
        self._require_tickets = require_tickets
        self._remote = remote
        self._actor = actor
        self._catalog = catalog
        self._spawned: dict[ActorRef, None] = {}
        self._is_closed = False
        self.services = Services(net, self)
        node.system.host.services = self.services
        remote.withdraw = self._withdraw

    @classmethod
    async def start(
        cls,
        node: Node,
        net: Net,
        catalog: ActorAddress,
        require_tickets: RequireTickets,
        config: ActorsConfig | None = None,
    ) -> Self:
        """Serve other nodes from now on. `close` it in the end."""
        remote = RemoteNode(
            node.system.host,
            node.peer_id,
            node.randomness.secret("incarnation"),
            config or ActorsConfig(),
            net.discovery.catalog(),
            node.endpoint.frame_bytes_max,
        )
        actor = node.system.createActor(RemoteActor)
        served = await node.system.ask(actor, StartRemote(node, remote, catalog))
        assert isinstance(served, ProtocolServed), served
        return cls(node, remote, actor, catalog, net, require_tickets)

    # --- making actors ---

    async def spawn(
        self,
        actor_class: type[Any],
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        supervision: Policy = _RESUME,
        mailbox: Mailbox | None = None,
        isolated: bool = False,
        serves: str | None = None,
        require: Requirement | None = None,
        require_ticket: Validators = (),
        singleton: Singleton | bool = False,
    ) -> ActorRef:
        """Create an actor, wait until it has started, and return its reference.

        When this is cancelled, the actor exits.

        Args:
            actor_class: A `MosaikActor`, or any Thespian actor.
            args: For its constructor.
            kwargs: For its constructor.
            name: A name by which all nodes can resolve it.
            supervision: What comes of its failures.
            mailbox: How many messages may wait; None is any number.
            isolated: Whether it runs in a process of its own, for work that would hold the
                event loop, and code that may crash. Its class must be importable; it gets
                and sends messages, and has no node at hand. The end of its process is a
                failure, for the policy to decide on.
            serves: The pool that it is a member of; see `pool`.
            require: Which nodes may send to it; None is all. Asked for each burst.
            require_ticket: A validator, or several, which all must accept a ticket of the
                node that sends to it; see `Jwt`. Looked up for each burst, so who has none,
                or whose ticket is over, is refused with the reason: an ask fails with it,
                and what was told is a dead letter there. This node needs none.
            singleton: Whether one instance of all those of the name runs in the network; a
                `Singleton` says more about it. Returns when it runs, here or on another
                node. The reference is good wherever it runs, and ends with this node.

        Raises:
            AlreadyExists: An actor of this node has the name; `existing` is it.
            EntryTooLarge: The node's entry has no room for the name.
            Exception: Whatever its constructor, or `started`, raises.
            InvalidActorSpecification: `actor_class` is no class of actors.
            ConfigError: A setting is wrong.
            Closed: The network is closed.
        """
        require_sync("require", require)
        check_specification(actor_class)
        self._check_open()
        if getattr(supervision, "all_for_one", False):
            raise ConfigError("all_for_one is for the children of an actor: use self.spawn(...)")
        if name is not None:
            check_name(name)
            self._remote.check_free(name)
        tickets = self._require_tickets(require_ticket)
        others = {"isolated": isolated, "serves": serves, "require_ticket": tickets}
        moves = check_singleton(singleton, name, others=others)
        started: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        spawning = Spawning(
            args=args,
            kwargs=dict(kwargs or {}),
            supervision=supervision,
            mailbox=mailbox,
            on_started=lambda error: None if started.done() else started.set_result(error),
        )
        made: type[Any] = actor_class
        if isolated:
            made, stood_in = StandIn, (actor_class, spawning.args, spawning.kwargs)
            spawning = replace(spawning, args=stood_in, kwargs={}, stands_for=actor_class)
        running: asyncio.Future[None] | None = None
        if moves is not None:
            from .singleton import (  # most nodes have none, and it needs groups
                Kept,
                SingletonKeeper,
            )

            assert name is not None, "a singleton has a name"
            running = asyncio.get_running_loop().create_future()
            kept = Kept(
                name=name,
                actor_class=actor_class,
                spawning=spawning,
                settings=moves,
                node=self._node,
                remote=self._remote,
                require=require,
                running=running,
            )
            made = SingletonKeeper
            spawning = Spawning(
                args=(kept,), on_started=spawning.on_started, stands_for=actor_class
            )
        ref = self._create(made, spawning)
        ref.class_name = actor_class.__name__
        try:
            if require is not None:
                self._remote.require(ref, require)
            if tickets is not None:
                self._remote.require_tickets(ref, tickets.requirement)
                self._node.system.tell(tickets.actor, TicketsTouched())
            if name is not None:
                self._remote.put_name(name, ref)  # taken from now on, announced when it has started
            error = await started
            if error is not None:
                raise error
            if running is not None:
                await self._until_running(running, ref)
            if name is not None:
                await self._advertise(name)
            if serves is not None:
                await self._join_pool(serves, ref, actor_class)
        except BaseException:
            ref.deliver(ActorExitRequest(), self._node.system.host.address)
            raise
        return ref

    async def _until_running(self, running: asyncio.Future[None], ref: ActorRef) -> None:
        try:
            await running
        except Exception:
            await _stop(ref, self._node.system.host.config.shutdown_timeout_s)  # frees the name
            raise

    def _create(self, actor_class: type[Any], spawning: Spawning) -> ActorRef:
        try:
            ref = self._node.system.host.creation.spawn(actor_class, spawning)
        except ActorSystemClosed:
            raise Closed(reason="the network is closed") from None
        self._spawned = {one: None for one in self._spawned if self._is_alive(one)}
        self._spawned[ref] = None
        return ref

    async def _join_pool(self, pool: str, member: ActorRef, actor_class: type[Any]) -> None:
        name = PREFIX + pool
        check_name(name)
        front = self._remote.find_name(name)
        if front is None:
            front = self._create(PoolFront, Spawning(stands_for=actor_class))
            self._remote.put_name(name, front)
            front.deliver(AddMember(member), front)
            await self._advertise(name)
        else:
            front.deliver(AddMember(member), front)

    def advertise(self, name: str, ref: ActorRef) -> None:
        """Let an actor be found by its name, until it ends; for actors that have children."""
        check_name(name)
        self._remote.put_name(name, ref)
        task = asyncio.get_running_loop().create_task(self._advertise(name))
        task.add_done_callback(lambda done: _log_failed(name, done))

    def check_free(self, name: str) -> None:
        """Raise `AlreadyExists` if an actor of this node has the name."""
        self._remote.check_free(name)

    def _is_alive(self, ref: ActorRef) -> bool:
        return ref.number in self._node.system.host.cells

    async def _advertise(self, name: str) -> None:
        outcome: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        message = AdvertiseActor(ActorInfo(UniqueId(name), name), outcome)
        self._node.system.tell(self._catalog, message)
        error = await outcome
        if error is not None:
            raise error
        if name not in self._remote.names:
            self._withdraw(name)  # it has ended meanwhile

    def _withdraw(self, name: str) -> None:
        with suppress(ActorSystemClosed):
            self._node.system.tell(self._catalog, WithdrawActor(UniqueId(name)))

    # --- finding actors ---

    async def resolve(
        self,
        name: str,
        *,
        nearest: bool = False,
        timeout: float | timedelta | None = None,
    ) -> ActorRef:
        """Return the actor that has a name, on whatever node; wait until there is one.

        Where several nodes have an actor of that name, all nodes get the same one: that of
        the smallest peer id among those that answer.

        Args:
            name: The name.
            nearest: Prefer this node's own, then those with the shortest round trip.
            timeout: Seconds or a timedelta; the configuration's by default.

        Raises:
            NotResolved: None was found in time; a TimeoutError.
            Closed: The network is closed.
        """
        limit_s = self._remote.config.resolve_timeout if timeout is None else seconds(timeout)
        self._check_open()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while True:
                    for holder in self._holders(name, nearest=nearest):
                        ref = await self._ask_holder(name, holder)
                        if ref is not None:
                            return ref
                    await self._next_change()
        raise NotResolved(name, limit_s)

    async def resolve_all(
        self, name: str, *, timeout: float | timedelta | None = None
    ) -> list[ActorRef]:
        """Return the actors that have a name, one a node, in order of peer ids.

        Those known at this moment; a node that does not answer in time is left out. The
        list may be empty.
        """
        limit_s = self._remote.config.resolve_timeout if timeout is None else seconds(timeout)
        self._check_open()

        async def ask(holder: Any) -> ActorRef | None:
            with suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    return await self._ask_holder(name, holder)
            return None

        holders = self._holders(name, nearest=False)
        found = await asyncio.gather(*map(ask, holders))
        return [ref for ref in found if ref is not None]

    def pool(self, name: str, *, balance: Balance = LEAST_LOADED) -> Pool:
        """Return a way to ask any of the actors that were spawned with ``serves=name``."""
        self._check_open()
        full_name = PREFIX + name
        check_name(full_name)
        holders = Holders(
            lambda: self._holders(full_name, nearest=True),
            lambda peer_id: self._ask_holder(full_name, peer_id),
            self._next_change,
        )
        return Pool(name, balance, holders)

    async def _next_change(self) -> None:
        version = self._remote.catalog, len(self._remote.names)
        await Wait(self._remote.state, lambda: self._has_changed(version))

    def _has_changed(self, version: tuple[Any, int]) -> bool:
        catalog, count = version
        return self._remote.catalog is not catalog or len(self._remote.names) != count

    def _holders(self, name: str, *, nearest: bool) -> list[Any]:
        peers = [
            info
            for info in self._remote.catalog.values()
            if info.is_reachable and name in info.actors
        ]
        if nearest:
            peers.sort(key=lambda info: (info.rtt is None, info.rtt or 0.0, info.peer_id))
        else:
            peers.sort(key=lambda info: info.peer_id)
        holders: list[Any] = [info.peer_id for info in peers]
        if name in self._remote.names:
            me = self._node.peer_id
            place = 0 if nearest else sum(1 for peer_id in holders if peer_id < me)
            holders.insert(place, me)
        return holders

    async def _ask_holder(self, name: str, peer_id: Any) -> ActorRef | None:
        if peer_id == self._node.peer_id:
            return self._remote.find_name(name)
        answer: asyncio.Future[ActorRef | None] = asyncio.get_running_loop().create_future()
        self._remote.peer(peer_id).resolve(
            name, lambda ref: None if answer.done() else answer.set_result(ref)
        )
        return await answer

    # --- what happens ---

    def events(self) -> Events[DeadLetter]:
        """Return an iterator over the dead letters from now on.

        A reader that falls far behind gets `Lagged` in place of what it missed. The
        iteration ends when the network closes.
        """
        return Events(self._remote.state)

    # --- the end ---

    async def close(self) -> None:
        """Let the actors exit, and wait until what they held is closed. May be repeated."""
        if self._is_closed:
            return
        self._is_closed = True
        living = [ref for ref in self._spawned if self._is_alive(ref)]
        limit_s = self._node.system.host.config.shutdown_timeout_s
        await asyncio.gather(*(_stop(ref, limit_s) for ref in living))
        await self.services.drain()
        self._remote.close(Closed(reason="the network is closed"))
        with suppress(ActorSystemClosed):
            self._node.system.tell(self._actor, ActorExitRequest())

    def abandon(self) -> None:
        """End here and now: the actors are gone."""
        self._is_closed = True
        self._remote.close(Closed(reason="the network is closed"))

    def _check_open(self) -> None:
        if self._is_closed:
            raise Closed(reason="the network is closed")


def check_name(name: str) -> None:
    """Raise `ConfigError` for what cannot be an actor's name."""
    if not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise ConfigError(f"name is {name!r}, expected 1 to {NAME_CHARACTERS_MAX} characters")


async def _stop(ref: ActorRef, limit_s: float) -> None:
    with suppress(TimeoutError):
        await ref.stop(limit_s)


def _log_failed(name: str, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the actor %r is not advertised: %s", name, error)
