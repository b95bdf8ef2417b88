"""What is true of one actor: its mailbox, its family, its figures.

`CellState` is the ground floor of an actor's cell: what others read of it. `CellFace`
(cell_face.py) adds what the actor itself may ask for, `ActorCell` (cell.py) how messages are
taken in and handled, and how the actor ends.

`CellHost` is what a cell needs of its actor system, `IsolatingHost` what those of actors in other
processes need of it besides.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from datetime import timedelta
from typing import Any, Protocol

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    Thespian_ActorStatus,
)
from thespian.system.timing import ExpirationTimer

from .config import RuntimeConfig
from .decorated import Saved
from .messaging.address import Deliver, LocalAddress
from .messaging.asking import Handling
from .messaging.reference import ActorRef
from .scheduler import Scheduler
from .sources import Sources
from .status import MailboxStats
from .watch import LoopWatch


class CellHost(Protocol):
    """The actor system, as far as its cells know it.

    Attributes:
        failures: Exceptions out of handlers so far.
        poisoned: Messages given up so far.
    """

    failures: int
    poisoned: int

    @property
    def name(self) -> str:
        """The system's name."""

    @property
    def address(self) -> LocalAddress:
        """The system's own address."""

    @property
    def config(self) -> RuntimeConfig:
        """The settings."""

    @property
    def scheduler(self) -> Scheduler:
        """Who gives the cells their turns."""

    @property
    def sources(self) -> Sources:
        """The loaded sources."""

    # Messages.

    def new_address(self, deliver: Deliver) -> LocalAddress:
        """Return a new address."""

    def new_reference(self, deliver: Deliver) -> ActorRef:
        """Return a new address of an actor."""

    def send(self, target: ActorAddress, message: Any, sender: ActorAddress) -> None:
        """Deliver a message to any kind of address."""

    def dead_letter(
        self, message: Any, target: ActorAddress, sender: ActorAddress, reason: str = ""
    ) -> None:
        """Report a message that nobody will handle."""

    # The life of a cell.

    def construct(self, cell: CellState) -> Any:
        """Make the actor of a cell."""

    def supervised(self, address: ActorAddress) -> Any:
        """Return the cell of a living supervised actor; None for anybody else."""

    def orphan(self, address: LocalAddress) -> None:
        """Let the system be the parent of an actor, so that nobody hears of its end."""

    def note_slow(self, cell: CellState, seconds: float) -> None:
        """Count a slow handler."""

    def bury(self, cell: CellState) -> None:
        """Take a dead actor out of everything, and notify its parent."""

    # What actors ask of their system.

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
        """Create an actor for another one."""

    def handle_dead_letters(self, address: LocalAddress, enable: bool) -> None:
        """Register a handler of dead letters, or remove it."""

    def update_capability(self, name: str, value: Any = None) -> None:
        """Set a capability, or remove it with None."""

    def begin_shutdown(self) -> None:
        """Begin to stop all actors."""


class IsolatingHost(CellHost, Protocol):
    """The actor system, as far as its isolated actors know it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it runs."""

    @property
    def capabilities(self) -> dict[str, Any]:
        """The system's capabilities."""

    @property
    def stopping(self) -> bool:
        """True from the begin of a shutdown."""

    def check_own(self, target: ActorAddress) -> None:
        """Refuse an address of another actor system."""

    def dead_letter_to_nobody(self, message: Any, sender: ActorAddress) -> None:
        """Report a message to an address that is forgotten altogether."""


class CellState:
    """What is true of one actor of a host. Only ever touched on the loop's thread.

    Attributes:
        address: The actor's address.
        actor: The actor itself; None before it starts and after its end.
        children: Addresses of living children, in order of creation.
        context: The actor's own context variables, once it needs them.
        run: Runs a function in that context; None while the actor shares one.
        parked: True while the mailbox must wait: for a coroutine, or a start.
        dead: True after the end.
        exiting: True from a handled exit request to the end.
        handled: Messages taken from the mailbox so far.
        depth_max: The longest the mailbox has been at the start of a turn.
        saved: Messages that the actor keeps until it is initialized, if it does.
        slow_count: Handler calls that took longer than `slow_handler_s`.
        reason: Why the actor ends, or has ended; empty for an exit on request.
        watchers: Who is notified of its end; None while nobody is.
        rejected_count: Messages that a full mailbox did not take, or did not keep.
        restart_count: How often the actor was made anew.
        handling: What stands for the coroutine handler that runs, in the asks that
            it makes; None while there is none.
    """

    address: ActorRef

    __slots__ = (
        "_abandoned",
        "_attempt",
        "_cancelled",
        "_exit_request",
        "_exit_timer",
        "_handling",
        "_message",
        "_sender",
        "_task",
        "_timer_ids",
        "actor",
        "actor_class",
        "address",
        "children",
        "context",
        "dead",
        "depth_max",
        "exiting",
        "globalName",
        "handled",
        "handling",
        "host",
        "mailbox",
        "mark_number",
        "mark_s",
        "parent",
        "parked",
        "reason",
        "rejected_count",
        "requirements",
        "restart_count",
        "run",
        "saved",
        "scheduled",
        "scheduler",
        "slow_count",
        "source_hash",
        "timers",
        "watch",
        "watchers",
    )

    def __init__(
        self,
        host: CellHost,
        actor_class: Any,
        parent: LocalAddress,
        *,
        requirements: Any = None,
        source_hash: str | None = None,
    ) -> None:
        self.host = host
        self.scheduler = host.scheduler
        self.context: Context | None = None
        self.run: Callable[..., Any] | None = None
        if not host.scheduler.shares_context:
            self.keep_context(host.scheduler.new_context())
        self.actor: Any = None
        self.actor_class = actor_class
        self.parent = parent
        self.requirements = requirements
        self.source_hash = source_hash
        self.globalName: str | None = None
        self.mailbox: deque[tuple[Any, ActorAddress]] = deque()
        self.children: dict[LocalAddress, None] = {}
        self.timers: dict[int, asyncio.TimerHandle] = {}
        self.watch: LoopWatch | None = None
        self.saved: Saved | None = None
        self.exiting = False
        self.dead = False
        # Parked until `start`, so that messages wait for the actor.
        self.scheduled = True
        self.parked = True
        self.handled = 0
        self.depth_max = 0
        self.slow_count = 0
        self.rejected_count = self.restart_count = 0
        self.mark_number = 0
        self.mark_s = 0.0
        self.reason = ""
        self.watchers: dict[LocalAddress, None] | None = None
        self.handling: Handling | None = None
        self._timer_ids = itertools.count()
        self._task: asyncio.Task[Any] | None = None
        self._handling: Coroutine[Any, Any, Any] | None = None
        self._message: Any = None
        self._sender: ActorAddress = parent
        self._attempt = 1
        self._cancelled = self._abandoned = False
        self._exit_request: ActorExitRequest | None = None
        self._exit_timer: asyncio.TimerHandle | None = None

    # --- context variables, see scheduler.py ---

    def keep_context(self, context: Context) -> None:
        """Handle all messages in this context from now on."""
        self.context = context
        self.run = context.run

    def own_context(self) -> Context:
        """Return the actor's context, which it has to itself from now on."""
        if self.context is None:
            self.keep_context(self.scheduler.new_context())
        assert self.context is not None
        return self.context

    def run_in_context(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a function of the actor's outside of a drain, or where it has not begun yet."""
        if self.run is not None:
            return self.run(function, *arguments, **named)
        context = self.scheduler.new_context()
        try:
            return context.run(function, *arguments, **named)
        finally:
            if context:
                self.keep_context(context)

    # --- figures ---

    @property
    def class_name(self) -> str:
        """The name of the actor's class, which may be given as text."""
        return str(getattr(self.actor_class, "__name__", self.actor_class))

    @property
    def age_s(self) -> float:
        """For how long the oldest message that waits has waited, at least; see `note_backlog`."""
        if not self.mailbox or self.handled >= self.mark_number:
            return 0.0
        return max(0.0, self.scheduler.loop.time() - self.mark_s)

    def note_backlog(self, now: float) -> None:
        """Note that there are messages now which wait, to tell their age by.

        Of what waits only one moment is kept, so that a message costs nothing: until the
        last of those that waited then is handled, the oldest has waited since then.
        """
        if self.handled >= self.mark_number:
            self.mark_number = self.handled + len(self.mailbox)
            self.mark_s = now

    @property
    def message_class(self) -> Any:
        """The class whose handlers say which messages the actor takes."""
        return self.actor_class

    def stats(self) -> MailboxStats:
        """Return the actor's figures."""
        return MailboxStats(
            address=self.address,
            actor_class=self.class_name,
            depth=len(self.mailbox),
            depth_max=self.depth_max,
            age_s=self.age_s,
            rejected=self.rejected_count,
            restarts=self.restart_count,
            handled=self.handled,
            slow_count=self.slow_count,
            is_busy=self.parked,
        )

    def status(self) -> Thespian_ActorStatus:
        """Return what Thespian_StatusReq is answered with."""
        status = Thespian_ActorStatus(
            self.address,
            self.class_name,
            self.host.address,
            self.parent,
            self.source_hash,
            self.exiting or None,
        )
        for child in self.children:
            status.addChild(child)
        for message, sender in self.mailbox:
            status.addReceivedMessage(sender, self.address, type(message).__name__)
        now = self.scheduler.loop.time()
        for handle in self.timers.values():
            left = timedelta(seconds=max(handle.when() - now, 0))
            status.addWakeups([(self.address, ExpirationTimer(left))])
        status.addKeyVal("Messages Handled", self.handled)
        status.addKeyVal("Mailbox Depth Max", self.depth_max)
        status.addKeyVal("Mailbox Age", round(self.age_s, 3))
        status.addKeyVal("Slow Handler Calls", self.slow_count)
        return status

    def __str__(self) -> str:
        return f"{self.class_name} {self.address._aaddr}"
