"""How late this process is with what is due: what it sees of others is late by as much.

A pure bookkeeper. ``now`` is monotonic time in seconds.

A node that cannot keep up hears the answers of others late, takes them for silent, and dials,
accuses and refutes, which makes it, and others on its machine, later still. So it gives
others the more time, the later it is itself (Dadgar, Phillips, Currey: Lifeguard, 2018).

A process that stood still is late once. One that has too much to do is late again and
again: the smaller of two delays in a row counts, and is forgotten by halves.
"""

from __future__ import annotations

from math import exp2
from typing import Final

_PAUSED_S: Final = 2.0  # a timer that is so late shows that the process stood still
_BUSY_S: Final = 0.05  # less than this in a row is nothing
_TURNS: Final = 4  # an answer takes a turn here and there to be asked for, given, and heard
_ALLOWANCE_MAX_S: Final = 60.0
_HALVED_S: Final = 5.0


class Lateness:
    """The bookkeeper of this module's docstring."""

    def __init__(self) -> None:
        self._last_s = 0.0
        self._late_s = 0.0
        self._since = 0.0

    def receive(self, late_s: float, *, now: float) -> bool:
        """Take in how late a timer was; return whether the process stood still until now."""
        again_s = min(self._last_s, late_s)
        self._last_s = late_s
        if again_s >= self._find(now):
            self._late_s, self._since = again_s, now
        return late_s >= _PAUSED_S and again_s < _BUSY_S

    def allowance_s(self, *, now: float) -> float:
        """Return how much longer than usual others may take, in seconds."""
        late_s = self._find(now)
        return 0.0 if late_s < _BUSY_S else min(_TURNS * late_s, _ALLOWANCE_MAX_S)

    def _find(self, now: float) -> float:
        halvings = (now - self._since) / _HALVED_S
        return self._late_s * exp2(-halvings)
