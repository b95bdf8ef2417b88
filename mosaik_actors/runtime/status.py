"""Status: Thespian's answers to Thespian_StatusReq, and the runtime's own figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from thespian.actors import ActorAddress, Thespian_ActorStatus, Thespian_SystemStatus
from thespian.system.timing import ExpirationTimer

if TYPE_CHECKING:
    from .cell import Cell
    from .host import ActorHost


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxStats:
    """One actor's figures at one moment."""

    address: ActorAddress
    actor_class: str
    depth: int
    """Messages that wait."""
    depth_max: int
    """The most that waited at the start of one of its turns."""
    handled: int
    slow_count: int
    """Handler calls that held the loop longer than `slow_handler_s`."""
    is_busy: bool
    """True while a coroutine handler runs, or the actor waits for its source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStats:
    """The figures of an actor system at one moment; counts are since its start."""

    actors: int
    """Living actors."""
    created: int
    exited: int
    handled: int
    """Messages handed to actors."""
    queued: int
    """Messages in mailboxes."""
    failures: int
    """Exceptions out of handlers, first attempts included."""
    poisoned: int
    """Messages given up after the second failure."""
    dead_letters: int
    slow: dict[str, int]
    """Handler calls longer than `slow_handler_s`, by class of actor."""
    drains: int
    """Turns of the loop that the actors used."""
    drains_cut_short: int
    """Those of them that ended at the quota, with messages left."""


def mailbox_stats(cell: Cell) -> MailboxStats:
    """Return the figures of one actor."""
    return MailboxStats(
        address=cell.address,
        actor_class=class_name(cell),
        depth=len(cell.mailbox),
        depth_max=cell.depth_max,
        handled=cell.handled,
        slow_count=cell.slow_count,
        is_busy=cell.parked,
    )


def system_stats(host: ActorHost) -> SystemStats:
    """Return the figures of a whole system."""
    return SystemStats(
        actors=len(host.cells),
        created=host.created,
        exited=host.exited,
        handled=host.scheduler.handled,
        queued=sum(len(cell.mailbox) for cell in host.cells.values()),
        failures=host.failures,
        poisoned=host.poisoned,
        dead_letters=host.dead_letters,
        slow=dict(host.slow),
        drains=host.scheduler.drains,
        drains_cut_short=host.scheduler.cut_short,
    )


def class_name(cell: Cell) -> str:
    """Return the name of an actor's class, which may be given as text."""
    return str(getattr(cell.actor_class, "__name__", cell.actor_class))


def actor_status(cell: Cell) -> Thespian_ActorStatus:
    """Return Thespian's status of one actor."""
    status = Thespian_ActorStatus(
        cell.address,
        class_name(cell),
        cell.host.address,
        cell.parent,
        cell.source_hash,
        cell.exiting or None,
    )
    for child in cell.children:
        status.addChild(child)
    for message, sender in cell.mailbox:
        status.addReceivedMessage(sender, cell.address, type(message).__name__)
    now = cell.scheduler.loop.time()
    for handle in cell.timers.values():
        left = timedelta(seconds=max(handle.when() - now, 0))
        status.addWakeups([(cell.address, ExpirationTimer(left))])
    status.addKeyVal("Messages Handled", cell.handled)
    status.addKeyVal("Mailbox Depth Max", cell.depth_max)
    status.addKeyVal("Slow Handler Calls", cell.slow_count)
    return status


def system_status(host: ActorHost) -> Thespian_SystemStatus:
    """Return Thespian's status of the whole system."""
    status = Thespian_SystemStatus(
        host.address, capabilities=dict(host.capabilities), inShutdown=host.stopping
    )
    for cell in host.cells.values():
        if cell.parent is host.address:
            status.addChild(cell.address)
    for name, address in host.names.items():
        status.addGlobalActor(name, address)
    # Thespian's status has room for one handler; ours allows several.
    status.setDeadLetterHandler(next(iter(host.dead_letter_handlers), None))
    status.setLoadedSources(host.sources.loaded)
    status.sourceAuthority = host.sources.authority
    figures = system_stats(host)
    status.addKeyVal("Messages Handled", figures.handled)
    status.addKeyVal("Messages Poisoned", figures.poisoned)
    status.addKeyVal("Dead Letters", figures.dead_letters)
    return status
