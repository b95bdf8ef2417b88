"""How a machine gets back to where it began.

A member that gives up its history for another one begins anew, with the machine object that its
owner has. So the machine's attributes are copied when the group is joined, and put back. What can
be called is not copied: a callback stays what it is at the time, for it leads out of the machine.

A machine whose attributes cannot be copied, or that keeps state elsewhere, defines `reset()`.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ...errors import ConfigError
from .machine import StateMachine


class InitialState:
    """What a machine was like when this was made."""

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        self._cause: Exception | None = None
        self._reset = getattr(machine, "reset", None)
        self._attributes = {} if callable(self._reset) else self._copy(vars(machine))

    def bring_back(self) -> None:
        """Put the machine back to it; raise `ConfigError` if it has no copy and no `reset`."""
        if callable(self._reset):
            self._reset()
            return
        if self._cause is not None:
            name = type(self._machine).__name__
            text = f"{name} cannot be copied, expected a reset() of its own: {self._cause}"
            raise ConfigError(text) from self._cause
        now = vars(self._machine)
        kept = {name: value for name, value in now.items() if callable(value)}
        attributes = self._copy(self._attributes)
        now.clear()
        now.update(attributes | kept)

    def _copy(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Return a copy of what cannot be called; in one go, so that what is shared stays so."""
        state = {name: value for name, value in attributes.items() if not callable(value)}
        try:
            return deepcopy(state)
        except Exception as exc:  # whatever an attribute's own copying raises
            self._cause = exc
            return {}
