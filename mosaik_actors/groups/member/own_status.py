"""What a member says of itself to those it is bonded with."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..wire.status import Status
from .context import Context
from .continuing import Continuing
from .following import Following
from .leaving import Leaving

_STATUS_EVERY_S: Final = 0.05


class OwnStatus:
    """The status of one member."""

    def __init__(
        self, context: Context, following: Following, continuing: Continuing, leaving: Leaving
    ) -> None:
        self._context, self._following = context, following
        self._continuing, self._leaving = continuing, leaving
        self._published_key: object = None
        self._publish_again_at_s = 0.0
        context.status = self.make

    def publish(self, *, now: float) -> None:
        """Have the mesh tell what this member is: now if others may act on it, else now and then.

        What changes with every command, as the commit index, is looked at only
        so often as a heartbeat could tell it.
        """
        history, bootstrap = self._following.history, self._following.bootstrap
        wishes = (self._leaving.has_begun, self._context.is_observer)
        standing = bootstrap.standing if history is None else history.standing_key
        key = (history, wishes, standing, self._continuing.takeover.is_abandoned)
        if key != self._published_key or now >= self._publish_again_at_s:
            self._published_key, self._publish_again_at_s = key, now + _STATUS_EVERY_S
            status = self.make()
            if status.is_leaving and not self._leaving.is_final:
                # It comes back with its log, as the voter that it is: nobody shall replace it.
                status = msgspec.structs.replace(status, is_leaving=False)
            self._context.mesh.set_status(status, now=now)

    def make(self) -> Status:
        """Return what this member says of itself now."""
        context, history = self._context, self._following.history
        said: dict[str, Any] = {"standing": self._following.bootstrap.standing}
        if history is not None:
            said = history.status() | {"is_abandoned": self._continuing.takeover.is_abandoned}
        return Status(
            is_observer=context.is_observer,
            leadership_factor=context.factor,
            is_leaving=self._leaving.has_begun,
            is_durable=context.is_durable,
            **said,
        )
