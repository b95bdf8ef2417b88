"""How the actors of a system are made: Thespian's ways, and `spawn`.

An actor that Thespian's calls make gets an ordinary cell, one with hooks (a
`MosaikActor`) and one that is spawned a supervised cell.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from thespian.actors import (
    Actor,
    ChildActorExited,
    InvalidActorSpecification,
    NoCompatibleSystemForActor,
)
from thespian.system.utilis import actualActorClass, checkActorCapabilities

from .cell import ActorCell
from .cell_state import CellState, IsolatingHost
from .messaging.address import LocalAddress
from .messaging.errors import ActorSystemClosed
from .messaging.hooks import Hooks
from .messaging.reference import ActorRef
from .supervised import Spawning, SupervisedCell

if TYPE_CHECKING:
    from .isolated import IsolatedCell, Isolation

logger = logging.getLogger(__name__)

# What an actor's constructor may ask for by naming it (Thespian passes both).
_INIT_ARGUMENTS = ("capabilities", "requirements")
_init_arguments: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()

# The beginning of Thespian's own text, which programs look for.
_NO_COMPATIBLE_SYSTEM = "No compatible ActorSystem could be found: it lacks a capability"


class CreatingHost(IsolatingHost, Protocol):
    """The actor system, as far as the creation of actors knows it.

    Attributes:
        cells: The living actors by number.
        names: Global names.
    """

    cells: dict[int, ActorCell]
    names: dict[str, LocalAddress]

    def retire(self, address: LocalAddress) -> None:
        """Send what comes to an address from now on to dead letters."""


class Creation:
    """Makes the actors of one system.

    Attributes:
        created: Actors made so far.
        isolation: The actors in processes of their own; None before the first.
    """

    def __init__(self, host: CreatingHost) -> None:
        self._host = host
        self.created = 0
        self.isolation: Isolation | None = None

    def create_primary(
        self,
        actor_class: Any,
        requirements: Any = None,
        global_name: str | None = None,
        source_hash: str | None = None,
        *,
        isolated: bool | None = None,
    ) -> LocalAddress:
        """Create a top-level actor; see `AsyncActorSystem.createActor`."""
        if self._host.stopping:
            raise ActorSystemClosed
        if global_name and global_name in self._host.names:
            return self._host.names[global_name]
        if _is_isolated(actor_class, isolated):
            if source_hash is not None:
                raise InvalidActorSpecification(actor_class, "isolated and from a source")
            alone = self._isolate(actor_class, self._host.address, requirements, global_name)
            self._register(alone, global_name)
            return alone.address
        self._host.sources.loader(source_hash)  # raises if there is no such source
        cell = self._new_cell(
            actor_class, self._host.address, requirements=requirements, source_hash=source_hash
        )
        try:
            self._start(cell)
        except BaseException:
            self._host.retire(cell.address)
            raise
        self._register(cell, global_name)
        return cell.address

    def create_child(
        self,
        parent: CellState,
        actor_class: Any,
        requirements: Any,
        global_name: str | None,
        source_hash: str | None,
        *,
        isolated: bool | None = None,
    ) -> LocalAddress:
        """Create an actor for another one.

        An actor that cannot start has an address all the same: its parent gets
        ChildActorExited, messages to it are dead letters (user guide,
        "Non-startable Actors"). A named actor is the system's child.

        Raises:
            InvalidActorSpecification: `actor_class` can never be an actor.
        """
        if global_name and global_name in self._host.names:
            return self._host.names[global_name]
        check_specification(actor_class)
        owner = self._host.address if global_name else parent.address
        alive = not (self._host.stopping or parent.exiting or parent.dead)
        cell: ActorCell
        if alive and _is_isolated(actor_class, isolated):
            if source_hash is not None:
                raise InvalidActorSpecification(actor_class, "isolated and from a source")
            if self._can_run(actor_class, requirements):
                cell = self._isolate(actor_class, owner, requirements, global_name)
                self._register(cell, global_name)
                if not global_name:
                    parent.children[cell.address] = None
                return cell.address
        cell = self._new_cell(
            actor_class, owner, requirements=requirements, source_hash=source_hash
        )
        if not alive:
            self._host.retire(cell.address)
            return cell.address
        if not global_name:
            parent.children[cell.address] = None
        try:
            self._host.sources.loader(source_hash)
            self._start(cell)
        except (Exception, SystemExit):
            logger.warning("%s cannot start", cell, exc_info=True)
            self._host.retire(cell.address)
            parent.address.deliver(ChildActorExited(cell.address), self._host.address)
        else:
            self._register(cell, global_name)
        return cell.address

    def spawn(
        self, actor_class: Any, spawning: Spawning, *, parent: CellState | None = None
    ) -> ActorRef:
        """Create a supervised actor, of the system or of another actor.

        Its constructor runs before this returns; what it raises is raised here.
        """
        if self._host.stopping or (parent is not None and (parent.exiting or parent.dead)):
            raise ActorSystemClosed
        check_specification(actor_class)
        owner = self._host.address if parent is None else parent.address
        cell = SupervisedCell(self._host, actor_class, owner, spawning=spawning)
        try:
            actor = self.construct(cell)
        except BaseException:
            self._host.retire(cell.address)
            raise
        self._register(cell, None)
        if parent is not None:
            parent.children[cell.address] = None
        cell.start(actor)
        return cell.address

    def spawn_isolated(
        self, actor_class: Any, parent: CellState, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> IsolatedCell:
        """Create a child in a process of its own; it starts meanwhile."""
        cell = self._isolate(actor_class, parent.address, None, None, args, kwargs)
        self._register(cell, None)
        parent.children[cell.address] = None
        return cell

    def _new_cell(self, actor_class: Any, owner: LocalAddress, **settings: Any) -> ActorCell:
        # What a name stands for is not known yet; it may have hooks.
        is_plain = isinstance(actor_class, type) and not issubclass(actor_class, Hooks)
        kind = ActorCell if is_plain else SupervisedCell
        return kind(self._host, actor_class, owner, **settings)

    def _can_run(self, actor_class: Any, requirements: Any) -> bool:
        try:
            return self.has_capabilities(actor_class, requirements)
        except Exception:  # out of importing the class; starting it will raise the same
            return False

    def has_capabilities(self, actor_class: Any, requirements: Any) -> bool:
        """Return whether the system can run a class; raises what importing it does."""
        return bool(checkActorCapabilities(actor_class, self._host.capabilities, requirements))

    def _isolate(
        self,
        actor_class: Any,
        parent: LocalAddress,
        requirements: Any,
        global_name: str | None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> IsolatedCell:
        check_specification(actor_class)
        if not self.has_capabilities(actor_class, requirements):
            raise NoCompatibleSystemForActor(actor_class, _NO_COMPATIBLE_SYSTEM)
        if self.isolation is None:
            from .isolated import Isolation  # with what starts and talks to processes

            self.isolation = Isolation(self._host)
        return self.isolation.create(actor_class, parent, requirements, global_name, args, kwargs)

    def _register(self, cell: ActorCell, global_name: str | None) -> None:
        self._host.cells[cell.address.number] = cell
        self.created += 1
        if global_name:
            cell.globalName = global_name
            self._host.names[global_name] = cell.address

    def _start(self, cell: ActorCell) -> None:
        source_hash = cell.source_hash
        if source_hash is not None and self._host.sources.is_pending(source_hash):
            self._host.sources.when_decided(source_hash, partial(self._start_late, cell))
        else:
            cell.start(self.construct(cell))

    def _start_late(self, cell: ActorCell) -> None:
        if cell.dead:
            return
        try:
            cell.start(self.construct(cell))
        except (Exception, SystemExit):
            logger.warning("%s cannot start", cell, exc_info=True)
            cell.end()

    def construct(self, cell: CellState) -> Actor:
        """Make the actor of a cell. Raises what its class or its constructor does."""
        loader = self._host.sources.loader(cell.source_hash)
        try:
            found = actualActorClass(cell.actor_class, loader)
        except AttributeError as error:
            raise InvalidActorSpecification(cell.actor_class, str(error)) from error
        check_specification(found)
        if not self.has_capabilities(found, cell.requirements):
            raise NoCompatibleSystemForActor(found, _NO_COMPATIBLE_SYSTEM)
        values = {"capabilities": self._host.capabilities, "requirements": cell.requirements}
        arguments = {name: values[name] for name in _accepted_arguments(found)}
        if not isinstance(cell, SupervisedCell):
            actor: Actor = cell.run_in_context(found, **arguments)
        else:
            spawning = cell.spawning
            named = {**arguments, **spawning.kwargs}
            actor = cell.run_in_context(found, *spawning.args, **named)
        cell.actor_class = found
        return actor


def check_specification(actor_class: Any) -> None:
    """Refuse what no actor can be made of, with `InvalidActorSpecification`."""
    if isinstance(actor_class, str):
        if "." not in actor_class:
            raise InvalidActorSpecification(actor_class, "a name needs its module: package.Class")
    elif not (isinstance(actor_class, type) and hasattr(actor_class, "receiveMessage")):
        if hasattr(actor_class, "receiveMessage"):  # an actor, of which nothing can be shown yet
            why = "an actor of it was given, expected the class and the constructor's arguments"
            raise InvalidActorSpecification(type(actor_class), why)
        raise InvalidActorSpecification(actor_class, "not a subclass of Actor")


def _is_isolated(actor_class: Any, isolated: bool | None = None) -> bool:
    return getattr(actor_class, "isolated", False) is True if isolated is None else isolated


def _accepted_arguments(actor_class: type) -> tuple[str, ...]:
    accepted = _init_arguments.get(actor_class)
    if accepted is None:
        init = actor_class.__init__  # type: ignore[misc]
        parameters = inspect.signature(init).parameters
        accepted = tuple(name for name in _INIT_ARGUMENTS if name in parameters)
        _init_arguments[actor_class] = accepted
    return accepted
