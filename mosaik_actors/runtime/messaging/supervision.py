"""What comes of an actor that fails: policies, and the core that applies one.

A pure core: failures and the time go in, decisions come out.

An actor *fails* when it gives up on a message (after the second attempt, as everywhere
in this runtime), when `started` raises, when its constructor raises in a restart, and
when one of its tasks raises. Its mailbox outlives a restart; the message that it failed on
does not.

The back-off doubles with each restart that counts: those of the last `within` seconds.
It needs no jitter, since actors that fail together share a process, not a server.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta

import msgspec

from ...config import require_above, seconds
from ...errors import ConfigError


class Resume(msgspec.Struct, frozen=True):
    """Go on with the next message and the same state; Thespian's own way, and the default."""


class Stop(msgspec.Struct, frozen=True):
    """End the actor, with the error as reason.

    Attributes:
        all_for_one: Whether its siblings, as far as they are supervised, end as well.
    """

    all_for_one: bool = False


class Escalate(msgspec.Struct, frozen=True):
    """End the actor, and let its parent have failed. An actor without one just ends."""


class Restart(msgspec.Struct, frozen=True):
    """Make the actor anew, under the same address and with what waits in its mailbox.

    Attributes:
        backoff: Seconds before the first restart, and the longest wait.
        max_restarts: So many restarts within `within` seconds; None is any number.
        within: The seconds in which restarts are counted, as a number or a `timedelta`.
        all_for_one: Whether its siblings, as far as they are supervised, restart as well.
        exhausted: What comes of the failure after that many restarts.
    """

    backoff: tuple[float, float] = (0.1, 10.0)
    max_restarts: int | None = 5
    within: float | timedelta = 60.0
    all_for_one: bool = False
    exhausted: Stop | Escalate = Stop()

    def __post_init__(self) -> None:
        try:
            low, high = self.backoff
        except (TypeError, ValueError):
            raise ConfigError(
                f"backoff is {self.backoff!r}, expected (first seconds, most seconds)"
            ) from None
        if not 0 <= low <= high:
            raise ConfigError(f"backoff is {self.backoff}, expected 0 <= first <= most")
        if self.max_restarts is not None and self.max_restarts < 0:
            raise ConfigError(f"max_restarts is {self.max_restarts}, expected 0 or more")
        require_above("within", seconds(self.within))


Policy = Resume | Restart | Stop | Escalate


class SupervisionDecision(msgspec.Struct, frozen=True):
    """What comes of one failure.

    Attributes:
        name: ``"resumed"``, ``"restarted"``, ``"stopped"`` or ``"escalated"``.
        delay_s: Of a restart: after how many seconds.
        all_for_one: Whether it holds for the siblings too.
    """

    name: str
    delay_s: float = 0.0
    all_for_one: bool = False


RESUMED = SupervisionDecision("resumed")
ESCALATED = SupervisionDecision("escalated")

# Doubling more often than this changes nothing: 2 to the 40th seconds are long.
_DOUBLINGS_MAX = 40


class Supervisor:
    """Applies one policy to the failures of one actor."""

    __slots__ = ("_restarts", "policy")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._restarts: deque[float] = deque()

    def decide(self, *, now: float, can_resume: bool = True) -> SupervisionDecision:
        """Take in a failure, and return what comes of it.

        Args:
            now: Monotonic time in seconds.
            can_resume: Whether there is an actor to go on with; False when it could not
                be made or started. Then `Resume` stops it.
        """
        match self.policy:
            case Resume():
                return RESUMED if can_resume else SupervisionDecision("stopped")
            case Stop(all_for_one):
                return SupervisionDecision("stopped", all_for_one=all_for_one)
            case Escalate():
                return ESCALATED
            case Restart() as policy:
                return self._restart(policy, now)

    def _restart(self, policy: Restart, now: float) -> SupervisionDecision:
        restarts = self._restarts
        since = now - seconds(policy.within)
        while restarts and restarts[0] <= since:
            restarts.popleft()
        if policy.max_restarts is not None and len(restarts) >= policy.max_restarts:
            if isinstance(policy.exhausted, Escalate):
                return ESCALATED
            return SupervisionDecision("stopped", all_for_one=policy.exhausted.all_for_one)
        low, high = policy.backoff
        delay_s = min(high, low * 2 ** min(len(restarts), _DOUBLINGS_MAX))
        restarts.append(now)
        if policy.max_restarts is None and len(restarts) > _DOUBLINGS_MAX:
            restarts.popleft()  # any number may come: what counts is that there were many
        return SupervisionDecision("restarted", delay_s, policy.all_for_one)
