"""The tickets actor: has tickets validated off the loop, and says when verdicts change.

Receives: `StartTickets` first; `WatchTickets`, `UnwatchTickets` from whoever requires
    tickets; `TicketsTouched` from whoever changed the table; `FollowCatalog`,
    `CatalogChanged`;
    `TicketsValidated` from the thread that asks the validators.
Sends: `TicketsJudged` to its watchers.
Owns: the `TicketTable`. Those who require tickets read it, and may show it a peer that
    they know of already, on the same loop.
Failure: a validator that raises refuses the ticket. It never fails the actor.

The timer follows the wall clock. When that is set forward, an expiry is noticed
`LOOK_S` later at most.
"""

from __future__ import annotations

import asyncio

import msgspec
from thespian.actors import ActorAddress, ActorExitRequest, WakeupMessage

from ..discovery.messages import CatalogChanged, WatchCatalog
from ..runtime import TypeDispatcher
from ..tickets.messages import (
    FollowCatalog,
    StartTickets,
    TicketsJudged,
    TicketsTouched,
    TicketsValidated,
    UnwatchTickets,
    WatchTickets,
)
from ..tickets.table import JOBS_MAX, LOOK_S, TicketJob, do_timed


class _TicketTimer(msgspec.Struct, frozen=True):
    due_at: float


class TicketsActor(TypeDispatcher):
    """Keeps the node's table of tickets up to date."""

    def __init__(self) -> None:
        self._start: StartTickets
        self._watchers: dict[ActorAddress, None] = {}
        self._asking: asyncio.Task[None] | None = None
        self._armed: float | None = None

    # Lifecycle.

    def receiveMsg_StartTickets(self, message: StartTickets, _sender: ActorAddress) -> None:
        """Take the table."""
        self._start = message

    def receiveMsg_FollowCatalog(self, message: FollowCatalog, _sender: ActorAddress) -> None:
        """Look at the catalog from now on."""
        self.send(message.catalog, WatchCatalog(self.myAddress))

    def receiveMsg_ActorExitRequest(
        self, _message: ActorExitRequest, _sender: ActorAddress
    ) -> None:
        """Stop."""
        if self._asking is not None:
            self._asking.cancel()

    # Commands.

    def receiveMsg_WatchTickets(self, message: WatchTickets, _sender: ActorAddress) -> None:
        """Notify one more actor."""
        self._watchers[message.watcher] = None
        self._pump()

    def receiveMsg_UnwatchTickets(self, message: UnwatchTickets, _sender: ActorAddress) -> None:
        """Notify one actor less."""
        if message.watcher in self._watchers:
            del self._watchers[message.watcher]
            message.requirement.release()

    def receiveMsg_TicketsTouched(self, _message: TicketsTouched, _sender: ActorAddress) -> None:
        """See what there is to ask."""
        self._pump()

    def receiveMsg_CatalogChanged(self, message: CatalogChanged, _sender: ActorAddress) -> None:
        """Take in what peers show now."""
        self._start.table.receive_peers(message.snapshot, now=self._wall())
        self._pump()

    def receiveMsg_TicketsValidated(self, message: TicketsValidated, _sender: ActorAddress) -> None:
        """Take in answers, and ask the next questions."""
        self._asking = None
        self._start.table.receive_answers(
            message.jobs, message.answers, took_s=message.took_s, now=self._wall()
        )
        self._pump()

    # Timers.

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: ActorAddress) -> None:
        """Let tickets expire."""
        match message.payload:
            case _TicketTimer(due_at) if due_at == self._armed:
                self._armed = None
                self._start.table.handle_timer(now=self._wall())
                self._pump()

    # Helpers.

    def _pump(self) -> None:
        table = self._start.table
        if self._asking is None and (jobs := table.take_jobs(JOBS_MAX)):
            self._ask(jobs)
        if changed := table.take_changed():
            judged = TicketsJudged(changed)
            for watcher in self._watchers:
                self.send(watcher, judged)
        self._arm()

    def _ask(self, jobs: list[TicketJob]) -> None:
        """Have validators asked in a thread; `TicketsValidated` follows."""
        tell, me, now = self._start.node.system.tell, self.myAddress, self._wall()
        monotonic = self._start.node.clock.monotonic

        def validate() -> TicketsValidated:
            return TicketsValidated(jobs, *do_timed(jobs, now, monotonic))

        async def ask() -> None:
            tell(me, await asyncio.to_thread(validate))

        self._asking = asyncio.get_running_loop().create_task(ask(), name="validate tickets")

    def _arm(self) -> None:
        due_at = self._start.table.get_timer()
        if due_at is None:
            return
        now = self._wall()
        due_at = min(due_at, now + LOOK_S)
        if self._armed is None or due_at < self._armed:
            self._armed = due_at
            self.wakeupAfter(max(0.0, due_at - now), _TicketTimer(due_at))

    def _wall(self) -> float:
        return self._start.node.clock.wall()
