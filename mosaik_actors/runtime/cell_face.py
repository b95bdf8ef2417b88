"""What an actor may ask of its cell: the methods that `thespian.actors.Actor` calls.

To Thespian the cell is the actor's `_myRef`, which explains the camel-case names.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from thespian.actors import ActorAddress, InvalidActorAddress, WakeupMessage
from thespian.system.timing import timePeriodSeconds

from .cell_state import CellState
from .messaging.address import LocalAddress


class CellFace(CellState):
    """The cell as its actor sees it."""

    __slots__ = ()

    def wakeupAfter(self, period: timedelta | float, payload: Any = None) -> None:
        """Deliver a WakeupMessage after a period given as timedelta or in seconds."""
        seconds = timePeriodSeconds(period)
        if self.dead:
            return  # a coroutine that was left behind; nobody would cancel the timer
        timer_id = next(self._timer_ids)
        self.timers[timer_id] = self.scheduler.loop.call_later(
            seconds, self._wake_up, timer_id, WakeupMessage(period, payload)
        )

    def _wake_up(self, timer_id: int, message: WakeupMessage) -> None:
        del self.timers[timer_id]
        self.address.deliver(message, self.address)

    def actor_send(self, targetAddr: ActorAddress, msg: Any) -> None:
        """Send a message from this actor; the names are those of `Actor.send`.

        Raises:
            ForeignAddress: The address belongs to another actor system.
        """
        try:
            cell = targetAddr.cell  # type: ignore[attr-defined]
        except AttributeError:
            self._send_elsewhere(targetAddr, msg)
            return
        scheduler = self.scheduler
        if cell is None or cell.scheduler is not scheduler:
            self.host.send(targetAddr, msg, self.address)
            return
        # Cell.deliver once more: a call less for the most frequent of all steps.
        cell.mailbox.append((msg, self.address))
        if not cell.scheduled:
            cell.scheduled = True
            scheduler.ready.append(cell)
            if not scheduler.armed:
                scheduler.arm()

    def _send_elsewhere(self, target: ActorAddress, message: Any) -> None:
        if not isinstance(target, ActorAddress):
            raise InvalidActorAddress(target, "not a valid ActorAddress for sending messages to")
        self.host.send(target, message, self.address)

    def createActor(
        self,
        actor_class: Any,
        requirements: Any = None,
        global_name: str | None = None,
        source_hash: str | None = None,
    ) -> ActorAddress:
        """Create a child; its source is this actor's own unless another is named."""
        return self.host.create_child(
            self, actor_class, requirements, global_name, source_hash or self.source_hash
        )

    def handleDeadLetters(self, address: LocalAddress, enable: bool) -> None:
        """Register for dead letters, or stop."""
        self.host.handle_dead_letters(address, enable)

    def registerSourceAuthority(self, address: LocalAddress) -> None:
        """Become the source authority."""
        self.host.sources.authority = address

    def notifyOnSourceAvailability(self, address: LocalAddress, enable: bool) -> None:
        """Register for notices about loaded sources, or stop."""
        self.host.sources.notify(address, enable)

    def notifyOnSystemRegistrationChanges(self, address: LocalAddress, enable: bool) -> None:
        """Do nothing: this system base has no convention to join."""

    def preRegisterRemoteSystem(self, address: Any, capabilities: Any) -> None:
        """Do nothing: this system base has no convention to join."""

    def deRegisterRemoteSystem(self, address: Any) -> None:
        """Do nothing: this system base has no convention to leave."""

    def updateCapability(self, name: str, value: Any = None) -> None:
        """Change a capability of the system."""
        self.host.update_capability(name, value)

    def loadActorSource(self, source: Any) -> str:
        """Load a source file and return its hash."""
        return self.host.sources.load(source)

    def unloadActorSource(self, source_hash: str) -> None:
        """Unload a source."""
        self.host.sources.unload(source_hash)

    def actorSystemShutdown(self) -> None:
        """Shut the whole system down."""
        self.host.begin_shutdown()
